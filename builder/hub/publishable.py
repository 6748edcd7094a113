"""What a folder publishes: it is checked first, and what is unsound or unfinished is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from ..corpus.corpus import CARD, SUMS, Corpus, list_corpus_files
from ..corpus.shards import hash_file
from ..corpus.verify import verify
from ..errors import DataError
from ..io.markdown import read_card
from ..io.safe_files import read_json
from .cards import adapt_dataset_card, adapt_model_card, remove_machine_paths, update_sums
from .spaces import (
    PICKLED,
    check_metric,
    check_space,
    find_metrics,
    find_space,
    is_metric,
    is_space,
    list_metric_items,
    list_space_items,
    make_item,
)
from .upload import UploadItem

FolderKind = Literal["corpus", "model", "metric", "space"]
KINDS = {"corpus": "dataset", "model": "model", "metric": "space", "space": "space"}  # as the Hub calls each
PARTS: dict[str, tuple[FolderKind, ...]] = {
    "corpus": ("corpus",),
    "model": ("model",),
    "both": ("corpus", "model"),
    "metrics": ("metric",),
    "space": ("space",),
}
MAKERS = {"corpus": "build", "model": "train"}
Link = tuple[str, str]  # repository and address
MODEL_FILES = ("config.json", "model.safetensors", "training.json", CARD)
Progress = Callable[[int, int], None]


def find_folders(run: Path, what: str | None, shipped: Path | None = None) -> list[tuple[FolderKind, Path]]:
    """What of `run` to publish: its corpus/ and model/, or itself if it is one of these, a metric or a Space.

    `shipped`: where the metrics lie that may be named. Raises DataError for a run that lacks what is wanted.
    """
    if what == "metrics":
        return [("metric", folder) for folder in find_metrics(run, shipped)]
    if not run.is_dir():
        raise DataError(f"{run}: there is no such folder", "make a run: synthmir run RECIPE --out DIR")
    if what == "space":
        return [("space", find_space(run))]
    if _is_corpus(run):
        found: dict[FolderKind, Path] = {"corpus": run}
    elif _is_model(run):
        found = {"model": run}
    elif what is None and is_metric(run.resolve()):
        return [("metric", run.resolve())]
    elif what is None and is_space(run):
        return [("space", run)]
    else:
        found = {"corpus": run / "corpus", "model": run / "model"}
        what = what or "both"
    wanted = PARTS[what] if what else tuple(found)
    for part in wanted:
        if part not in found or not found[part].is_dir():
            other = "corpus" if part == "model" else "model"
            raise DataError(
                f"{run}: holds no {part}",
                f"synthmir {MAKERS[part]} makes one; or the {other} alone: --what {other}",
            )
    return [(part, found[part]) for part in wanted]


def _is_corpus(folder: Path) -> bool:
    return (folder / SUMS).exists() or (folder / "recipe.yaml").exists()


def _is_model(folder: Path) -> bool:
    return (folder / "config.json").exists() or (folder / "model.safetensors").exists()


def check_folder(part: FolderKind, folder: Path, progress: Progress = lambda done, total: None) -> None:
    """Raises DataError for a corpus that `verify` finds fault with, and for another folder that is not whole."""
    if part != "corpus":
        {"model": _check_model, "metric": check_metric, "space": check_space}[part](folder)
        return
    if faults := verify(folder, progress).faults:
        listed = "\n".join(f"  - {fault}" for fault in faults[:10]) + ("\n  ..." if len(faults) > 10 else "")
        raise DataError(
            f"{folder}: {len(faults)} fault(s), so it is not published\n{listed}",
            f"mend it, until it is sound: synthmir verify {folder}",
        )


def check_finished(part: FolderKind, folder: Path) -> None:
    """What `check_folder` sees at once: is it finished? Raises DataError."""
    if part == "corpus":
        Corpus.open(folder)
    elif part != "model":
        check_folder(part, folder)
    elif missing := [name for name in MODEL_FILES if not (folder / name).is_file()]:
        raise DataError(f"{folder}: not a finished model, {missing[0]} is missing", "train it: synthmir train")


def _check_model(folder: Path) -> None:
    check_finished("model", folder)
    config = model_config(folder)
    if config.get("model_type") != "synthmir":
        raise DataError(
            f"{folder}/config.json: not a model of synthmir ({config.get('model_type')!r})", "synthmir train"
        )
    if pickled := [name for name in list_corpus_files(folder) if name.endswith(PICKLED)]:
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
        return read_json(folder / "config.json")
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}/config.json: cannot be read: {error}", "train the model anew") from error


def find_local_weights(folder: Path) -> str | None:
    """The embedder's weights of a model folder, if they are a place on this machine: others will not have them."""
    settings = (model_config(folder).get("embedder") or {}).get("settings") or {}
    kind, _, checkpoint = str(settings.get("name") or "").partition(":")
    for place in (settings.get("weights"), checkpoint if kind == "hf" else None):
        if place and (Path(place).is_absolute() or place.startswith((".", "~")) or Path(place).exists()):
            return str(place)
    return None


def list_items(part: FolderKind, folder: Path, repo: str, link: Link | None) -> dict[str, UploadItem]:
    """The files as they will be in `repo`, by path, its card naming it. Hashes that are known are not redone.

    `link`: where the model of a corpus is, or the corpus of a model.
    """
    if part == "metric":
        return list_metric_items(folder, repo)
    if part == "space":
        return list_space_items(folder)
    known = Corpus.open(folder).sums() if part == "corpus" else {}
    found = {name: _item(folder, name, known.get(name)) for name in list_corpus_files(folder)}
    changed = remove_machine_paths(folder, found)
    text = changed.get(CARD) or read_card(folder / CARD)
    if part == "corpus":
        changed[CARD] = adapt_dataset_card(text, repo, link)
        changed[SUMS] = update_sums((folder / SUMS).read_text(encoding="utf-8"), changed)
    else:
        changed[CARD] = adapt_model_card(text, repo, link)
    return found | {name: make_item(name, new) for name, new in changed.items()}


def _item(folder: Path, name: str, known: str | None) -> UploadItem:
    path = folder / name
    return UploadItem(name, path, path.stat().st_size, known or hash_file(path))


def format_loading_code(part: FolderKind, folder: Path, repo: str, revision: str | None = None) -> list[str]:
    """Three lines of Python that use it; none for a Space, which is looked at."""
    at = f', revision="{revision}"' if revision else ""
    if part == "space":
        return []
    if part == "metric":
        load = f'report = evaluate.load("{repo}"{at})'
        return ["import evaluate", load, "report.compute(predictions=..., references=...)"]
    if part == "corpus":
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
