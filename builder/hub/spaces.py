"""Spaces: a metric that `evaluate.load` finds, with a page to try it, or an exported explorer."""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path, PurePosixPath
from typing import Any

from ..corpus.corpus import CARD, SUMS
from ..corpus.shards import hash_file
from ..errors import DataError, HubError
from ..io.markdown import parse_front_matter
from .cards import remove_machine_paths, update_metadata
from .upload import UploadItem

PAGE = "app.py"
PAGES = {"gradio": PAGE, "static": "index.html"}  # the page of each kind of Space, unless its card names another
SOURCE = Path(__file__).with_name("metric_page.py")
EVERY = "all"  # names all shipped metrics
PICKLED = (".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt", ".joblib")


def is_metric(folder: Path) -> bool:
    """Whether a folder is an `evaluate` module: NAME/NAME.py and its card."""
    return (folder / f"{folder.name}.py").is_file() and (folder / CARD).is_file()


def is_space(folder: Path) -> bool:
    """Whether a folder is a Space: its card has an `sdk`."""
    try:
        return "sdk" in parse_front_matter(_read_card(folder))
    except DataError:
        return False


def find_metrics(run: Path, shipped: Path | None) -> list[Path]:
    """Find metrics: those in a folder, the folder itself, or a shipped one by its name. Raises DataError for none."""
    if shipped is not None and not run.is_dir() and run.parts == (run.name,):
        run = shipped if run.name == EVERY else shipped / run.name
    folder = run.resolve()
    metrics = [folder] if is_metric(folder) else sorted(p for p in folder.glob("*") if is_metric(p))
    if not metrics:
        known = [] if shipped is None else [*sorted(p.name for p in shipped.glob("*") if is_metric(p)), EVERY]
        raise DataError(
            f"{run}: has no metric, which is a folder NAME with NAME.py and {CARD}",
            f"give one, or the name of a shipped one: {', '.join(known)}",
        )
    return metrics


def find_space(run: Path) -> Path:
    """Find a Space: the folder itself, or `space` in it. Raises DataError for none."""
    for folder in (run, run / "space"):
        if (folder / CARD).is_file() and not is_metric(folder.resolve()) and is_space(folder):
            return folder
    raise DataError(
        f"{run}: is not a Space, as its {CARD} has no `sdk` in its YAML",
        "write one: synthmir explore RUN --export DIR",
    )


def name_metric_repo(folder: Path, repo: str, alone: bool) -> str:
    """Return the name of the repository of a metric.

    Args:
        folder: The folder of the metric, whose name is the metric's.
        repo: Full name of the repository, or the namespace.
        alone: Whether this metric alone is published.

    Returns:
        NAMESPACE/NAME.

    Raises:
        HubError: `repo` is the full name for several metrics, or differs from the metric's name.
    """
    namespace, _, name = repo.partition("/")
    if name and not alone:
        raise HubError(f"{repo}: there are several metrics, each a Space of its own", f"--repo {namespace}")
    if name and name != folder.name:
        raise HubError(
            f"{repo}: evaluate looks for {name}.py in it, and the metric is {folder.name}.py",
            f"--repo {namespace}/{folder.name}",
        )
    return f"{namespace}/{folder.name}"


def check_metric(folder: Path) -> None:
    """Raise DataError for a metric whose module, card or requirements are missing or cannot be read."""
    for name in (f"{folder.name}.py", CARD, "requirements.txt"):
        if not (folder / name).is_file():
            raise DataError(f"{folder}: not a complete metric, {name} is missing", "add it")
    parse_front_matter(_read_card(folder))
    try:
        ast.parse((folder / f"{folder.name}.py").read_text(encoding="utf-8"))
    except (SyntaxError, ValueError) as error:
        raise DataError(f"{folder / folder.name}.py: not Python: {error}", "correct it") from error
    _refuse_pickles(folder)


def check_space(folder: Path) -> None:
    """Raise DataError for a Space of an unsupported kind, without its page, or with a pickle."""
    metadata = parse_front_matter(_read_card(folder))
    sdk = str(metadata.get("sdk"))
    if sdk not in PAGES:
        raise DataError(f"{folder}/{CARD}: sdk: {sdk} is not supported", f"one of {', '.join(PAGES)}")
    page = str(metadata.get("app_file") or PAGES[sdk])
    if PurePosixPath(page).is_absolute() or ".." in PurePosixPath(page).parts or not (folder / page).is_file():
        raise DataError(f"{folder}: not a complete Space, its page {page} is missing", "export it again")
    _refuse_pickles(folder)


def read_sdk(folder: Path) -> str:
    """How a Space runs: "gradio" or "static". A metric always runs with gradio."""
    return "gradio" if is_metric(folder) else str(parse_front_matter(_read_card(folder))["sdk"])


def list_metric_items(folder: Path, repo: str) -> dict[str, UploadItem]:
    """List the files of a metric, with the card naming `repo`, and a page where the metric has none."""
    items = _list_files(folder)
    items |= {name: make_item(name, text) for name, text in remove_machine_paths(folder, items).items()}
    text = items[CARD].text().replace(f'"path/to/{folder.name}"', f'"{repo}"')
    metadata = parse_front_matter(text)
    tags = [tag for tag in ("evaluate", "metric") if tag not in (metadata.get("tags") or [])]
    more: dict[str, Any] = {"sdk": "gradio", "app_file": metadata.get("app_file") or PAGE}
    text = update_metadata(text, more | {"tags": [*tags, *(metadata.get("tags") or [])]})
    items[CARD] = make_item(CARD, text)
    if PAGE not in items:
        items[PAGE] = make_item(PAGE, SOURCE.read_text(encoding="utf-8").replace('"METRIC"', f'"{folder.name}"'))
    return items


def list_space_items(folder: Path) -> dict[str, UploadItem]:
    """List the files of a Space, and their sums, by which a later publication recognises the Space."""
    items = _list_files(folder)
    items |= {name: make_item(name, text) for name, text in remove_machine_paths(folder, items).items()}
    sums = "".join(f"{item.sha256}  {path}\n" for path, item in sorted(items.items()))
    return items | {SUMS: make_item(SUMS, sums)}


def make_item(path: str, text: str) -> UploadItem:
    """Make a file from its text."""
    data = text.encode("utf-8")
    return UploadItem(path, data, len(data), hashlib.sha256(data).hexdigest())


def _list_files(folder: Path) -> dict[str, UploadItem]:
    """All files but hidden ones, compiled Python, and the sums of an earlier publication."""
    paths = {p.relative_to(folder): p for p in sorted(folder.rglob("*")) if p.is_file()}
    kept = {
        path.as_posix(): p
        for path, p in paths.items()
        if not any(part.startswith(".") or part == "__pycache__" for part in path.parts)
    }
    return {name: UploadItem(name, p, p.stat().st_size, hash_file(p)) for name, p in kept.items() if name != SUMS}


def _read_card(folder: Path) -> str:
    try:
        return (folder / CARD).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{folder}/{CARD}: cannot be read: {error}") from error


def _refuse_pickles(folder: Path) -> None:
    if pickled := [p for p in sorted(folder.rglob("*")) if p.name.endswith(PICKLED)]:
        raise DataError(f"{pickled[0]}: a pickle may run code where it is opened", "delete it")
