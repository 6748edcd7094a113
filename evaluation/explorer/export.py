"""The explorer as a Space: a folder with README, app, requirements, and the parts of synthmir that it runs on."""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from builder.corpus.corpus import CARD, SUMS
from builder.errors import BackendError, DataError, RecipeError
from builder.io.atomic import replace_folder, write_text
from builder.io.safe_files import find_shipped as find_resource
from builder.io.storage import is_remote
from builder.records import package_versions

from .clip_table import Clips
from .corpus_source import REPO_NAME, CorpusFolder, CorpusSource, HubCorpus

APP, REQUIREMENTS, PACKAGES = "app.py", "requirements.txt", ("builder", "training", "evaluation")
RESOURCES = ("recipes", "dataset_card.md")  # which the wheel keeps in builder/
FIRST_LINE = '"""The explorer of '  # of app.py, by which an exported Space is recognised
MAX_BYTES = 1_000_000_000  # of a Space's repository
PYTHON = "3.11"
MAX_DESCRIPTION = 60  # characters of a Space's short description
Progress = Callable[[int, int], None]

PROGRAM = (
    FIRST_LINE
    + '''{name}. Run it: python app.py

Written by `synthmir explore --export`; builder/, training/ and evaluation/ are synthmir {version}.
"""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from evaluation.explorer.server import serve

if __name__ == "__main__":
    host = "0.0.0.0" if "SPACE_ID" in os.environ else "127.0.0.1"
    port = int(os.environ.get("PORT", "7860"))
    serve({corpora}, host=host, port=port{limit}, browser=False)
'''
)

DESCRIPTION = """
# {title}

{clips:,} clips to filter, play, see on a map and compare{generator}. {origin}

To run the page on your own machine: `python app.py` in an environment with `requirements.txt`.
"""


def write_space(
    clips: Clips,
    out: Path,
    repo: str | None = None,
    against: Clips | None = None,
    limit: int | None = None,
    progress: Progress = lambda done, total: None,
) -> Path:
    """Write a Space.

    Args:
        clips: The corpus.
        out: The folder to write. A Space that is there is replaced.
        repo: Where the corpus is on the Hub. Without it, it is copied into the Space with its model.
        against: Another corpus to compare it with.
        limit: How many clips the Space shows at most.
        progress: Called with the number of files that are written, and of all.

    Returns:
        `out`.

    Raises:
        DataError: `out` holds other files, or the copy is larger than a Space may be.
        BackendError: Gradio is not installed; the Space runs its version.
        RecipeError: `repo` is not a repository's name.
    """
    if repo is not None and not REPO_NAME.fullmatch(repo):
        raise RecipeError(f"--repo {repo!r}: not a name on the Hub", "write NAMESPACE/NAME")
    gradio = _gradio_version()
    sources = [corpus.source for corpus in (clips, against) if corpus is not None]
    copies = _folders_to_copy(sources[1:] if repo else sources)
    _check_size(list(copies.values()))
    with replace_folder(out, _is_space, "an exported Space", "--export") as part:
        files = [*_list_code(), *_list_data(copies)]
        for done, (path, name) in enumerate(files, 1):
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, part / name)
            progress(done, len(files))
        write_text(part / APP, _render_program(sources, copies, repo, limit))
        lines = [*_requirements(), f"gradio=={gradio}"]
        write_text(part / REQUIREMENTS, "".join(f"{line}\n" for line in lines))
        write_text(part / CARD, render_card(clips, repo, gradio))
    return out


def _render_program(
    sources: Sequence[CorpusSource], copies: Mapping[str, CorpusFolder], repo: str | None, limit: int | None
) -> str:
    """Render app.py, which serves copied corpora from the Space's folder and others from the Hub."""
    copied = {id(folder): f"str(HERE / {name!r})" for name, folder in copies.items()}
    arguments = [copied.get(id(source), repr(source.name)) for source in sources]
    if repo:
        arguments[0] = repr(repo)
    name = sources[0].name.replace("\\", "").replace('"""', "")
    keyword = f", limit={limit}" if limit is not None else ""
    version = package_versions().get("synthmir", "")
    return PROGRAM.format(name=name, version=version, corpora=", ".join(arguments), limit=keyword)


def _is_space(folder: Path) -> bool:
    """Whether a folder holds an exported Space, which may be replaced."""
    try:
        return (folder / APP).read_text(encoding="utf-8").startswith(FIRST_LINE)
    except (OSError, UnicodeDecodeError):
        return False


def render_card(clips: Clips, repo: str | None, gradio: str) -> str:
    """Render README.md with the metadata of https://huggingface.co/docs/hub/spaces-config-reference.

    Args:
        clips: The clips of the corpus that the Space shows.
        repo: The data set on the Hub that the Space reads, "OWNER/NAME" or with "@REVISION". None: the corpus's own
            if it is on the Hub, otherwise the clips in the Space's folder.
        gradio: The version of Gradio that the Space installs.

    Returns:
        The text of README.md.
    """
    source, summary = clips.source, clips.summary
    hub = source if isinstance(source, HubCorpus) else None
    dataset = repo or (hub.name if hub else None)
    model = hub.linked_model() if hub else None
    title = f"{source.name.rpartition('/')[2]} explorer"
    head: dict[str, Any] = {
        "title": title, "emoji": "🎧", "colorFrom": "indigo", "colorTo": "blue", "sdk": "gradio",
        "sdk_version": gradio, "app_file": APP, "python_version": PYTHON, "license": "apache-2.0", "pinned": False,
        "short_description": f"{summary.clips:,} clips of labelled generated music"[:MAX_DESCRIPTION],
        "tags": ["synthmir", "music", "audio", "music-information-retrieval", "synthetic"],
    }  # fmt: skip
    if dataset:
        head["datasets"] = [dataset.partition("@")[0]]
    if model:
        head["models"] = [model]
    text = DESCRIPTION.format(
        title=title,
        clips=summary.clips,
        origin=f"They are read from the data set `{dataset}`."
        if dataset
        else "They are in `runs/` of this repository.",
        generator=f", generated by {summary.generator}" if summary.generator else "",
    )
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n{text}"


def _folders_to_copy(sources: Sequence[CorpusSource]) -> dict[str, CorpusFolder]:
    """The corpora on disk among the sources, by their folders in the Space."""
    copies: dict[str, CorpusFolder] = {}
    for source in sources:
        if isinstance(source, CorpusFolder):
            if is_remote(source.root):
                raise DataError(
                    f"{source.root}: a corpus in an object store is not copied into a Space",
                    "publish it, and name where it is: --repo NAMESPACE/NAME",
                )
            name = f"runs/{re.sub(r'[^A-Za-z0-9_-]+', '-', source.name).strip('-') or 'run'}"
            copies[name if name not in copies else f"{name}-2"] = source
    return copies


def _check_size(folders: Sequence[CorpusFolder]) -> None:
    size = sum((folder.root / name).stat().st_size for folder in folders for name in folder.files())
    if size > MAX_BYTES:
        raise DataError(
            f"{folders[0].name}: {size / 1e9:.1f} GB, and a Space's own repository takes {MAX_BYTES / 1e9:.0f} GB",
            "publish the corpus and let the Space read it there: synthmir publish RUN --repo NAMESPACE/NAME, then "
            "--export DIR --repo NAMESPACE/NAME",
        )


def _list_code() -> list[tuple[Path, str]]:
    """The files of synthmir's packages, and their names in the Space."""
    root = Path(__file__).resolve().parents[2]  # the folder that holds the packages
    files = [(file, file.relative_to(root).as_posix()) for package in PACKAGES for file in _list_files(root / package)]
    for name in RESOURCES:
        path = find_resource(name)
        inner = _list_files(path) if path.is_dir() else [path]
        files += [(file, f"builder/{file.relative_to(path.parent).as_posix()}") for file in inner]
    return files


def _list_files(folder: Path) -> list[Path]:
    """All files under a folder but hidden and compiled ones."""
    files = (file for file in folder.rglob("*") if file.is_file())
    ignored = (".", "__pycache__")
    return sorted(file for file in files if not any(p.startswith(ignored) for p in file.relative_to(folder).parts))


def _list_data(copies: Mapping[str, CorpusFolder]) -> list[tuple[Path, str]]:
    """The files of the corpora that are copied and of their models, and their names in the Space."""
    files = []
    for name, corpus in copies.items():
        files += [(corpus.root / file, f"{name}/corpus/{file}") for file in (*corpus.files(), SUMS)]
        if (model := corpus.model_folder()) is not None:
            files += [(file, f"{name}/model/{file.relative_to(model).as_posix()}") for file in _list_files(model)]
    return files


def _gradio_version() -> str:
    """The version of Gradio that is installed. Raises BackendError if there is none."""
    try:
        return metadata.version("gradio")
    except metadata.PackageNotFoundError:
        raise BackendError(
            "a Space runs the version of Gradio that is installed here, and none is",
            "uv sync --extra explorer, or pip install 'synthmir[explorer]'; a page without a server: --static DIR",
        ) from None


def _requirements() -> list[str]:
    """What synthmir requires without extras, from the installed package or else the checkout."""
    try:
        lines = metadata.requires("synthmir") or []
    except metadata.PackageNotFoundError:
        lines = tomllib.loads(find_resource("pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    return [line for line in lines if "extra ==" not in line]
