"""The explorer as a Space: a folder with its README, app and requirements, and the code of ours that it runs on."""

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
from builder.io.safe_files import find_shipped as shipped
from builder.io.storage import is_remote
from builder.records import package_versions

from .clip_table import Clips
from .corpus_source import REPO, Folder, Place, Repository

APP, REQUIREMENTS, PACKAGES = "app.py", "requirements.txt", ("builder", "training", "evaluation")
BESIDE = ("recipes", "dataset_card.md")  # what the wheel puts into builder/
FIRST = '"""The explorer of '  # of app.py: how a folder of ours is known
LARGEST = 1_000_000_000  # bytes that a Space's own repository takes
PYTHON = "3.11"
SHORT = 60  # characters of a Space's short description
Progress = Callable[[int, int], None]

PROGRAM = (
    FIRST
    + '''{name}. Run it: python app.py

Written by `synthmir explore --export`; builder/, training/ and evaluation/ are synthmir {version}.
"""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from evaluation.explorer.serve import serve

if __name__ == "__main__":
    host = "0.0.0.0" if "SPACE_ID" in os.environ else "127.0.0.1"
    port = int(os.environ.get("PORT", "7860"))
    serve({opened}, host=host, port=port{limit}, browser=False)
'''
)

ABOUT = """
# {title}

{clips:,} clips to filter, play, see on a map and compare{generator}. {origin}

`python app.py` in an environment with `requirements.txt` runs the same page on a machine of your own.
"""


def write_space(
    clips: Clips,
    out: Path,
    repo: str | None = None,
    against: Clips | None = None,
    limit: int | None = None,
    progress: Progress = lambda done, total: None,
) -> Path:
    """Write a Space into `out`, and return it. `repo`: where the corpus is on the Hub; without it, it is copied in.

    Raises DataError if `out` holds something else, or the copy is larger than a Space may be; BackendError where
    gradio, whose version the Space is to run, is not installed; RecipeError for a `repo` that is no name.
    """
    if repo is not None and not REPO.fullmatch(repo):
        raise RecipeError(f"--repo {repo!r}: not a name on the Hub", "write NAMESPACE/NAME")
    gradio = _gradio()
    places = [one.place for one in (clips, against) if one is not None]
    copies = _copies(places[1:] if repo else places)
    _refuse_large(list(copies.values()))
    with replace_folder(out, _ours, "exported Space", "--export") as part:
        files = [*_code(), *_data(copies)]
        for done, (source, name) in enumerate(files, 1):
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, part / name)
            progress(done, len(files))
        version = package_versions().get("synthmir", "")
        names = {id(place): f"str(HERE / {name!r})" for name, place in copies.items()}
        opened = [names.get(id(place), repr(place.name)) for place in places]
        listed = ", ".join([repr(repo), *opened[1:]] if repo else opened)
        few = f", limit={limit}" if limit is not None else ""
        name = clips.place.name.replace("\\", "").replace('"""', "")
        write_text(part / APP, PROGRAM.format(name=name, version=version, opened=listed, limit=few))
        write_text(part / REQUIREMENTS, "".join(f"{line}\n" for line in [*_needs(), f"gradio=={gradio}"]))
        write_text(part / CARD, card(clips, repo, gradio))
    return out


def _ours(folder: Path) -> bool:
    try:
        return (folder / APP).read_text(encoding="utf-8").startswith(FIRST)
    except (OSError, UnicodeDecodeError):
        return False


def card(clips: Clips, repo: str | None, gradio: str) -> str:
    """README.md, its head as the Hub reads it (https://huggingface.co/docs/hub/spaces-config-reference)."""
    place, source = clips.place, clips.source
    dataset = repo or (place.name if isinstance(place, Repository) else None)
    model = place.linked_model() if isinstance(place, Repository) else None
    title = f"{place.name.rpartition('/')[2]} explorer"
    head: dict[str, Any] = {
        "title": title, "emoji": "🎧", "colorFrom": "indigo", "colorTo": "blue", "sdk": "gradio",
        "sdk_version": gradio, "app_file": APP, "python_version": PYTHON, "license": "apache-2.0", "pinned": False,
        "short_description": f"Hear {source.clips:,} clips of labelled generated music"[:SHORT],
        "tags": ["synthmir", "music", "audio", "music-information-retrieval", "synthetic"],
    }  # fmt: skip
    if dataset:
        head["datasets"] = [dataset.partition("@")[0]]
    if model:
        head["models"] = [model]
    origin = f"They are read from the data set `{dataset}`." if dataset else "They lie in this repository's `runs/`."
    about = ABOUT.format(
        title=title, clips=source.clips, origin=origin,
        generator=f", made by {source.generator}" if source.generator else "",
    )  # fmt: skip
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n{about}"


def _copies(places: Sequence[Place]) -> dict[str, Folder]:
    """The folders among the places, by their names in the Space."""
    found: dict[str, Folder] = {}
    for place in places:
        if isinstance(place, Folder):
            if is_remote(place.root):
                raise DataError(
                    f"{place.root}: is not copied into a Space",
                    "publish it, and name where it is: --repo NAMESPACE/NAME",
                )
            name = f"runs/{re.sub(r'[^A-Za-z0-9_-]+', '-', place.name).strip('-') or 'run'}"
            found[name if name not in found else f"{name}-2"] = place
    return found


def _refuse_large(copied: Sequence[Folder]) -> None:
    size = sum((place.root / name).stat().st_size for place in copied for name in place.files())
    if size > LARGEST:
        raise DataError(
            f"{copied[0].name}: {size / 1e9:.1f} GB, and a Space's own repository takes {LARGEST / 1e9:.0f} GB",
            "publish the corpus and let the Space read it there: synthmir publish RUN --repo NAMESPACE/NAME, then "
            "--export DIR --repo NAMESPACE/NAME",
        )


def _code() -> list[tuple[Path, str]]:
    """Our packages' files and their names in the Space."""
    root = Path(__file__).resolve().parents[2]
    found = [(file, file.relative_to(root).as_posix()) for package in PACKAGES for file in _files(root / package)]
    for name in BESIDE:
        place = shipped(name)
        inner = _files(place) if place.is_dir() else [place]
        found += [(file, f"builder/{file.relative_to(place.parent).as_posix()}") for file in inner]
    return found


def _files(folder: Path) -> list[Path]:
    found = (file for file in folder.rglob("*") if file.is_file())
    return sorted(f for f in found if not any(p.startswith((".", "__pycache__")) for p in f.relative_to(folder).parts))


def _data(copies: Mapping[str, Folder]) -> list[tuple[Path, str]]:
    """The files of the corpora that are copied, with the model that goes with each."""
    found = []
    for name, place in copies.items():
        found += [(place.root / file, f"{name}/corpus/{file}") for file in (*place.files(), SUMS)]
        if (model := place.model()) is not None:
            found += [(file, f"{name}/model/{file.relative_to(model).as_posix()}") for file in _files(model)]
    return found


def _gradio() -> str:
    """The version of gradio here, which the Space is to run. Raises BackendError where there is none."""
    try:
        return metadata.version("gradio")
    except metadata.PackageNotFoundError:
        raise BackendError(
            "a Space runs on gradio, which is not installed, so that its version is not known",
            "uv sync --extra explorer, or pip install 'synthmir[explorer]'; a page without a server: --static DIR",
        ) from None


def _needs() -> list[str]:
    """What synthmir itself requires, without extras: of the installed package, or of the checkout."""
    try:
        listed = metadata.requires("synthmir") or []
    except metadata.PackageNotFoundError:
        listed = tomllib.loads(shipped("pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    return [line for line in listed if "extra ==" not in line]
