"""What a folder publishes: it is checked first, and what is unsound or unfinished is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from ..corpus.folder import CARD, SUMS, Corpus, files
from ..corpus.shards import sha256
from ..corpus.verify import verify
from ..errors import DataError
from .cards import dataset_card, model_card, sums_with
from .upload import Item

Kind = Literal["dataset", "model"]
Link = tuple[str, str]  # repository and address
MODEL_FILES = ("config.json", "model.safetensors", "training.json", CARD)
PICKLED = (".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt", ".joblib")
Progress = Callable[[int, int], None]


def folders(run: Path, what: str | None) -> dict[Kind, Path]:
    """The folders of a run to publish: {"dataset": .../corpus, "model": .../model}, or the run if it is one itself.

    Raises DataError for a run that lacks what is wanted.
    """
    if not run.is_dir():
        raise DataError(f"{run}: there is no such folder", "make a run: synthmir run RECIPE --out DIR")
    if _is_corpus(run):
        found: dict[Kind, Path] = {"dataset": run}
    elif _is_model(run):
        found = {"model": run}
    else:
        found = {"dataset": run / "corpus", "model": run / "model"}
        what = what or "both"
    both: dict[str, list[Kind]] = {"corpus": ["dataset"], "model": ["model"], "both": ["dataset", "model"]}
    wanted = both[what] if what else list(found)
    for kind in wanted:
        if kind not in found or not found[kind].is_dir():
            name = "corpus" if kind == "dataset" else "model"
            other = "corpus" if kind == "model" else "model"
            raise DataError(
                f"{run}: holds no {name}",
                f"synthmir {'build' if name == 'corpus' else 'train'} makes one; or the {other} alone: --what {other}",
            )
    return {kind: folder for kind, folder in found.items() if kind in wanted}


def _is_corpus(folder: Path) -> bool:
    return (folder / SUMS).exists() or (folder / "recipe.yaml").exists()


def _is_model(folder: Path) -> bool:
    return (folder / "config.json").exists() or (folder / "model.safetensors").exists()


def check(kind: Kind, folder: Path, progress: Progress = lambda done, total: None) -> None:
    """Raises DataError for a corpus that `verify` finds fault with, and for a model folder that is not whole."""
    if kind == "model":
        _check_model(folder)
        return
    if faults := verify(folder, progress).faults:
        listed = "\n".join(f"  - {fault}" for fault in faults[:10]) + ("\n  ..." if len(faults) > 10 else "")
        raise DataError(
            f"{folder}: {len(faults)} fault(s), so it is not published\n{listed}",
            f"mend it, until it is sound: synthmir verify {folder}",
        )


def glance(kind: Kind, folder: Path) -> None:
    """What `check` sees at once: is it finished? Raises DataError."""
    if kind == "dataset":
        Corpus.open(folder)
    elif missing := [name for name in MODEL_FILES if not (folder / name).is_file()]:
        raise DataError(f"{folder}: not a finished model, {missing[0]} is missing", "train it: synthmir train")


def _check_model(folder: Path) -> None:
    glance("model", folder)
    config = model_config(folder)
    if config.get("model_type") != "synthmir":
        raise DataError(
            f"{folder}/config.json: not a model of synthmir ({config.get('model_type')!r})", "synthmir train"
        )
    if pickled := [name for name in files(folder) if name.endswith(PICKLED)]:
        raise DataError(f"{folder}/{pickled[0]}: a pickle may run code where it is opened", "take it away")
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / "model.safetensors", "np") as weights:
            weights.keys()
    except (SafetensorError, OSError) as error:
        raise DataError(f"{folder}/model.safetensors: cannot be read: {error}", "train it anew") from error


def model_config(folder: Path) -> dict[str, Any]:
    """config.json of a model folder."""
    try:
        return dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}/config.json: cannot be read: {error}", "train the model anew") from error


def local_weights(folder: Path) -> str | None:
    """The embedder's weights of a model folder, if they are a place on this machine: others will not have them."""
    settings = (model_config(folder).get("embedder") or {}).get("settings") or {}
    kind, _, checkpoint = str(settings.get("name") or "").partition(":")
    for place in (settings.get("weights"), checkpoint if kind == "hf" else None):
        if place and (Path(place).is_absolute() or place.startswith((".", "~")) or Path(place).exists()):
            return str(place)
    return None


def items(kind: Kind, folder: Path, repo: str, link: Link | None) -> dict[str, Item]:
    """The files as they will be in `repo`, by path, its card naming it. Hashes that are known are not redone."""
    known = Corpus.open(folder).sums() if kind == "dataset" else {}
    found = {name: _item(folder, name, known.get(name)) for name in files(folder)}
    text = (folder / CARD).read_text(encoding="utf-8")
    if kind == "dataset":
        card = dataset_card(text, repo, link)
        changed = {CARD: card, SUMS: sums_with((folder / SUMS).read_text(encoding="utf-8"), card)}
    else:
        changed = {CARD: model_card(text, repo, link)}
    for name, new in changed.items():
        data = new.encode("utf-8")
        found[name] = Item(name, data, len(data), hashlib.sha256(data).hexdigest())
    return found


def _item(folder: Path, name: str, known: str | None) -> Item:
    path = folder / name
    return Item(name, path, path.stat().st_size, known or sha256(path))


def load_lines(kind: Kind, folder: Path, repo: str, revision: str | None = None) -> list[str]:
    """Three lines of Python that use it."""
    at = f', revision="{revision}"' if revision else ""
    if kind == "dataset":
        embedder = next(iter(Corpus.open(folder).embedders()), None)
        last = f'embeddings = load_dataset("{repo}", "{embedder}"{at})  # labels too, no audio'
        stream = f'stream = load_dataset("{repo}", streaming=True{at})'
        first = f'corpus = load_dataset("{repo}"{at})'
        return ["from datasets import load_dataset", first, last if embedder else stream]
    if "auto_map" in model_config(folder):
        call = f'listen = pipeline("audio-classification", model="{repo}"{at}, trust_remote_code=True)'
        return ["from transformers import pipeline", call, 'listen("song.mp3")']
    call = f'model = AutoModel.from_pretrained("{repo}"{at})'
    return ["import training  # of synthmir", "from transformers import AutoModel", call]
