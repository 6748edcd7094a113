"""Folders that can be published: what they hold, whether they are complete, and their files on the Hub."""

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
from ..names import MODEL_TYPES, format_count
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
KINDS = {"corpus": "dataset", "model": "model", "metric": "space", "space": "space"}  # types of repositories
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
    """Find the folders to publish.

    Args:
        run: A run with corpus/ and model/; or one of these, a metric or a Space.
        what: A key of PARTS. Default: what `run` holds.
        shipped: Folder of metrics that `run` may name.

    Returns:
        The kind and path of each folder.

    Raises:
        DataError: The run does not have the folder.
    """
    if what == "metrics":
        return [("metric", folder) for folder in find_metrics(run, shipped)]
    if not run.is_dir():
        raise DataError(f"{run}: there is no such folder", "make a run: synthmir run RECIPE --out DIR")
    if what == "space":
        return [("space", find_space(run))]
    if _is_corpus(run):
        folders: dict[FolderKind, Path] = {"corpus": run}
    elif _is_model(run):
        folders = {"model": run}
    elif what is None and is_metric(run.resolve()):
        return [("metric", run.resolve())]
    elif what is None and is_space(run):
        return [("space", run)]
    else:
        folders = {"corpus": run / "corpus", "model": run / "model"}
        what = what or "both"
    wanted = PARTS[what] if what else tuple(folders)
    for part in wanted:
        if part not in folders or not folders[part].is_dir():
            other = "corpus" if part == "model" else "model"
            raise DataError(
                f"{run}: has no {part}",
                f"make one: synthmir {MAKERS[part]}; or publish the {other} alone: --what {other}",
            )
    return [(part, folders[part]) for part in wanted]


def _is_corpus(folder: Path) -> bool:
    return (folder / SUMS).exists() or (folder / "recipe.yaml").exists()


def _is_model(folder: Path) -> bool:
    return (folder / "config.json").exists() or (folder / "model.safetensors").exists()


def check_folder(part: FolderKind, folder: Path, progress: Progress = lambda done, total: None) -> None:
    """Check a folder before it is published.

    Args:
        part: Kind of the folder: "corpus", "model", "metric" or "space".
        folder: The folder.
        progress: Is called with the work done and the total while a corpus is verified. Default: nothing is reported.

    Raises:
        DataError: `verify` finds faults in a corpus, or another folder is incomplete.
    """
    if part != "corpus":
        {"model": _check_model, "metric": check_metric, "space": check_space}[part](folder)
        return
    if faults := verify(folder, progress).faults:
        listed = "\n".join(f"  - {fault}" for fault in faults[:10]) + ("\n  ..." if len(faults) > 10 else "")
        raise DataError(
            f"{folder}: {format_count(len(faults), 'problem')}, so it is not published\n{listed}",
            f"repair it until this finds no fault: synthmir verify {folder}",
        )


def check_finished(part: FolderKind, folder: Path) -> None:
    """The quick part of `check_folder`: raise DataError for a folder that is not finished."""
    if part == "corpus":
        Corpus.open(folder)
    elif part != "model":
        check_folder(part, folder)
    elif missing := [name for name in MODEL_FILES if not (folder / name).is_file()]:
        raise DataError(f"{folder}: not a finished model, {missing[0]} is missing", "train it: synthmir train")


def _check_model(folder: Path) -> None:
    check_finished("model", folder)
    config = model_config(folder)
    if config.get("model_type") not in MODEL_TYPES:
        raise DataError(
            f"{folder}/config.json: not a model of synthmir ({config.get('model_type')!r})", "synthmir train"
        )
    if pickled := [name for name in list_corpus_files(folder) if name.endswith(PICKLED)]:
        raise DataError(f"{folder}/{pickled[0]}: a pickle may run code where it is opened", "delete it")
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / "model.safetensors", "np") as weights:
            weights.keys()
    except (SafetensorError, OSError) as error:
        raise DataError(f"{folder}/model.safetensors: cannot be read: {error}", "train it again") from error


def model_config(folder: Path) -> dict[str, Any]:
    """Read config.json of a model folder. Raises DataError."""
    try:
        return read_json(folder / "config.json")
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}/config.json: cannot be read: {error}", "train the model again") from error


def find_local_weights(folder: Path) -> str | None:
    """The weights of a model's embedder, if they are a file or folder of this machine."""
    settings = (model_config(folder).get("embedder") or {}).get("settings") or {}
    kind, _, checkpoint = str(settings.get("name") or "").partition(":")
    for place in (settings.get("weights"), checkpoint if kind == "hf" else None):
        if place and (Path(place).is_absolute() or place.startswith((".", "~")) or Path(place).exists()):
            return str(place)
    return None


def list_items(part: FolderKind, folder: Path, repo: str, link: Link | None) -> dict[str, UploadItem]:
    """List the files of a repository.

    Args:
        part: What the folder holds.
        folder: The folder.
        repo: The repository, which its card names.
        link: The model of a corpus, or the corpus of a model, which its card links to.

    Returns:
        The files by path.
    """
    if part == "metric":
        return list_metric_items(folder, repo)
    if part == "space":
        return list_space_items(folder)
    known = Corpus.open(folder).sums() if part == "corpus" else {}
    items = {name: _item(folder, name, known.get(name)) for name in list_corpus_files(folder)}
    changed = remove_machine_paths(folder, items)
    text = changed.get(CARD) or read_card(folder / CARD)
    if part == "corpus":
        changed[CARD] = adapt_dataset_card(text, repo, link)
        changed[SUMS] = update_sums((folder / SUMS).read_text(encoding="utf-8"), changed)
    else:
        changed[CARD] = adapt_model_card(text, repo, link)
    return items | {name: make_item(name, new) for name, new in changed.items()}


def _item(folder: Path, name: str, known: str | None) -> UploadItem:
    path = folder / name
    return UploadItem(name, path, path.stat().st_size, known or hash_file(path))


def format_loading_code(part: FolderKind, folder: Path, repo: str, revision: str | None = None) -> list[str]:
    """Format lines of Python that load a repository.

    Args:
        part: Kind of the folder: "corpus", "model", "metric" or "space".
        folder: The local folder, whose content decides how it is loaded.
        repo: Full name of the repository, NAMESPACE/NAME.
        revision: Tag, branch or commit to load. Default: the Hub's default branch.

    Returns:
        The lines; none for a Space.

    Raises:
        DataError: The folder of a corpus or a model cannot be read.
    """
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
    config = model_config(folder)
    if "AutoModelForAudioClassification" in config.get("auto_map", ()):
        call = f'classify = pipeline("audio-classification", model="{repo}"{at}, trust_remote_code=True)'
        return ["from transformers import pipeline", call, 'classify("song.mp3")']
    if "auto_map" in config:  # of beats, say, for which transformers has no pipeline
        call = f'model = AutoModel.from_pretrained("{repo}"{at}, trust_remote_code=True)'
        return ["from transformers import AutoModel", call, "annotation = model.annotate(samples, sampling_rate)"]
    call = f'model = AutoModel.from_pretrained("{repo}"{at})'
    return ["import training  # of synthmir", "from transformers import AutoModel", call]
