"""Spaces: a metric that `evaluate.load` finds, with a page to try it, or an explorer that was exported."""

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
PAGES = {"gradio": PAGE, "static": "index.html"}  # what a Space of each kind opens, where its card names nothing
SOURCE = Path(__file__).with_name("metric_page.py")
EVERY = "all"  # the word for all shipped metrics
PICKLED = (".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt", ".joblib")


def is_metric(folder: Path) -> bool:
    """Whether a folder is an `evaluate` module: NAME/NAME.py and its card."""
    return (folder / f"{folder.name}.py").is_file() and (folder / CARD).is_file()


def is_space(folder: Path) -> bool:
    """Whether a folder is a Space: its card says how it runs."""
    try:
        return "sdk" in parse_front_matter(_card(folder))
    except DataError:
        return False


def find_metrics(run: Path, shipped: Path | None) -> list[Path]:
    """The metrics in a folder, or the folder if it is one itself, or a shipped one by its name.

    Raises DataError where there is none.
    """
    if shipped is not None and not run.is_dir() and run.parts == (run.name,):
        run = shipped if run.name == EVERY else shipped / run.name
    folder = run.resolve()
    found = [folder] if is_metric(folder) else sorted(p for p in folder.glob("*") if is_metric(p))
    if not found:
        known = [] if shipped is None else [*sorted(p.name for p in shipped.glob("*") if is_metric(p)), EVERY]
        raise DataError(
            f"{run}: holds no metric, a folder NAME with NAME.py and {CARD}",
            f"give one, or a shipped one by its name: {', '.join(known)}",
        )
    return found


def find_space(run: Path) -> Path:
    """The folder of a Space: the one given, or `space` in it. Raises DataError where there is none."""
    for folder in (run, run / "space"):
        if (folder / CARD).is_file() and not is_metric(folder.resolve()) and is_space(folder):
            return folder
    raise DataError(
        f"{run}: is no Space, its {CARD} has no YAML with sdk: in it", "write one: synthmir explore RUN --export DIR"
    )


def name_metric_repo(folder: Path, repo: str, alone: bool) -> str:
    """A metric's repository. `repo` is its namespace, or the whole. Raises HubError for a name that it cannot have."""
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
    """Raises DataError for a module that is no Python, or a card or requirements that are missing or unreadable."""
    for name in (f"{folder.name}.py", CARD, "requirements.txt"):
        if not (folder / name).is_file():
            raise DataError(f"{folder}: not a whole metric, {name} is missing", "add it")
    parse_front_matter(_card(folder))
    try:
        ast.parse((folder / f"{folder.name}.py").read_text(encoding="utf-8"))
    except (SyntaxError, ValueError) as error:
        raise DataError(f"{folder / folder.name}.py: not Python: {error}", "mend it") from error
    _refuse_pickles(folder)


def check_space(folder: Path) -> None:
    """Raises DataError for a Space of another kind, without its page, or with a pickle in it."""
    told = parse_front_matter(_card(folder))
    sdk = str(told.get("sdk"))
    if sdk not in PAGES:
        raise DataError(f"{folder}/{CARD}: sdk: {sdk} is not taken here", f"one of {', '.join(PAGES)}")
    page = str(told.get("app_file") or PAGES[sdk])
    if PurePosixPath(page).is_absolute() or ".." in PurePosixPath(page).parts or not (folder / page).is_file():
        raise DataError(f"{folder}: not a whole Space, its page {page} is missing", "export it again")
    _refuse_pickles(folder)


def read_sdk(folder: Path) -> str:
    """How a Space runs: gradio or static. A metric's is gradio whatever its card says: its page is made with it."""
    return "gradio" if is_metric(folder) else str(parse_front_matter(_card(folder))["sdk"])


def list_metric_items(folder: Path, repo: str) -> dict[str, UploadItem]:
    """The files as they will be in `repo`: its card names it, and a page is added where the metric has none."""
    found = _files(folder)
    found |= {name: make_item(name, text) for name, text in remove_machine_paths(folder, found).items()}
    text = found[CARD].text().replace(f'"path/to/{folder.name}"', f'"{repo}"')
    told = parse_front_matter(text)
    tags = [tag for tag in ("evaluate", "metric") if tag not in (told.get("tags") or [])]
    more: dict[str, Any] = {"sdk": "gradio", "app_file": told.get("app_file") or PAGE}
    text = update_metadata(text, more | {"tags": [*tags, *(told.get("tags") or [])]})
    found[CARD] = make_item(CARD, text)
    if PAGE not in found:
        found[PAGE] = make_item(PAGE, SOURCE.read_text(encoding="utf-8").replace('"METRIC"', f'"{folder.name}"'))
    return found


def list_space_items(folder: Path) -> dict[str, UploadItem]:
    """The files as they are, with their sums: by those a later publishing knows the Space as its own."""
    found = _files(folder)
    found |= {name: make_item(name, text) for name, text in remove_machine_paths(folder, found).items()}
    sums = "".join(f"{item.sha256}  {path}\n" for path, item in sorted(found.items()))
    return found | {SUMS: make_item(SUMS, sums)}


def make_item(path: str, text: str) -> UploadItem:
    """A file that is not on disk."""
    data = text.encode("utf-8")
    return UploadItem(path, data, len(data), hashlib.sha256(data).hexdigest())


def _files(folder: Path) -> dict[str, UploadItem]:
    """What goes: all but what is hidden, what Python has compiled, and sums of an earlier publishing."""
    paths = {p.relative_to(folder): p for p in sorted(folder.rglob("*")) if p.is_file()}
    kept = {
        path.as_posix(): p
        for path, p in paths.items()
        if not any(part.startswith(".") or part == "__pycache__" for part in path.parts)
    }
    return {name: UploadItem(name, p, p.stat().st_size, hash_file(p)) for name, p in kept.items() if name != SUMS}


def _card(folder: Path) -> str:
    try:
        return (folder / CARD).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{folder}/{CARD}: cannot be read: {error}") from error


def _refuse_pickles(folder: Path) -> None:
    if pickled := [p for p in sorted(folder.rglob("*")) if p.name.endswith(PICKLED)]:
        raise DataError(f"{pickled[0]}: a pickle may run code where it is opened", "take it away")
