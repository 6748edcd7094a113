"""Open a data set with mirdata, from an index on disk. Nothing is downloaded."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from builder.errors import BackendError, DataError, RecipeError
from builder.io.safe_files import read_json
from builder.validation import suggest

from .files import require_folder
from .text import join_names, printable

MAX_INDEX_BYTES = 512 << 20  # the largest of mirdata's, of Da-TACOS, has 70 MB
TEST_VERSIONS = re.compile(r"test|sample")
PICKLED = ("dali",)  # loaders whose annotations are pickle files, which can run code when they are read


def list_loaders() -> list[str]:
    """Return the names of mirdata's loaders. Raises BackendError where mirdata is not installed."""
    with quiet():
        try:
            import mirdata
        except ImportError as error:
            raise BackendError(
                f"mirdata is not installed, or cannot be imported: {error}",
                "uv sync --extra benchmarks, or pip install 'synthmir[benchmarks]'",
            ) from error
        return sorted(mirdata.list_datasets())


def open_mirdata(name: str, home: Path, version: str | None = None, index: Path | None = None) -> Any:
    """Open a data set with its mirdata loader.

    The index of most loaders is not in mirdata's package: it is found in `home`, in the folder `mirdata_indexes` of
    `home`, or in mirdata's folder of indexes, where its `download` writes it.

    Args:
        name: Of the loader: "gtzan_genre".
        home: The folder of the data, as mirdata's `data_home`.
        version: Of the data set. Default: the loader's own default.
        index: The index. Default: it is searched by its file name.

    Returns:
        A mirdata.core.Dataset whose index is read and checked: no path in it leaves `home`.

    Raises:
        RecipeError: There is no such loader or version.
        DataError: The folder or the index is missing or damaged.
        BackendError: mirdata, or a package that the loader needs, is not installed.
    """
    known = list_loaders()
    if name not in known:
        raise RecipeError(
            f"mirdata has no loader {printable(name)!r}{suggest(name, known)}",
            f"write mirdata:DATASET:PATH, with DATASET one of: {', '.join(known)}",
        )
    if name in PICKLED:
        raise DataError(
            f"mirdata:{name}: its annotations are pickle files, which can run code when they are read",
            "convert them to .lab or .jams files, and evaluate on folder:PATH",
        )
    require_folder(home, f"mirdata's documentation of {name} says how to get the data")
    with quiet():
        import mirdata

        try:
            module = __import__(f"mirdata.datasets.{name}", fromlist=["INDEXES"])
            versions = [
                key for key, entry in module.INDEXES.items() if key != "default" and not TEST_VERSIONS.match(key)
            ]
            if version is not None and version not in module.INDEXES:
                raise RecipeError(
                    f"mirdata:{name}: has no version {version!r}{suggest(version, versions)}",
                    f"use one of: {', '.join(versions)}",
                )
            broken = module.INDEXES.get("default") not in module.INDEXES  # of SIMAC mirdata 1.0 has only the sample
            version = version or ("test" if broken else "default")
            dataset = mirdata.initialize(name, data_home=str(home.resolve()), version=version)
        except (ImportError, OSError) as error:  # some loaders raise ImportError without a message
            needed = _packages_of(name)
            raise BackendError(
                f"mirdata:{name}: the loader needs {needed}, which is not installed", f"pip install '{needed}'"
            ) from error
    path = index if index is not None else _find_index(name, dataset, home)
    dataset.index_path = str(path)
    dataset.__dict__["_index"] = read_index(path, name)  # mirdata keeps it there once it is read
    return dataset


def read_index(path: Path, name: str) -> dict[str, Any]:
    """Read an index of mirdata and check it: the kinds of its values, and that its paths are inside the data.

    Args:
        path: A JSON file.
        name: Of the loader, for messages.

    Raises:
        DataError: It cannot be read, or is no index.
    """
    where = printable(str(path))
    fix = "download the index again: it may be cut off, or be of another data set"
    try:
        index = read_json(path, MAX_INDEX_BYTES)
    except (OSError, ValueError) as error:
        raise DataError(f"{where}: cannot be read as an index of mirdata: {error}", fix) from error
    parts = {key: index[key] for key in ("tracks", "multitracks") if index.get(key) is not None}
    if not parts or not all(isinstance(part, dict) for part in parts.values()):
        raise DataError(f"{where}: has no tracks: not an index of mirdata's {name}", fix)
    for key, part in parts.items():
        for identity, files in part.items():
            if not isinstance(files, dict):
                raise DataError(f"{where}: {key}: {identity[:80]!r} has no files", fix)
            for kind, file in files.items():
                if kind != "tracks":
                    _check_entry(file, f"{where}: {key}: {identity[:80]!r}: {kind[:40]}", fix)
                elif not isinstance(file, list) or not set(map(str, file)) <= set(index.get("tracks") or {}):
                    raise DataError(f"{where}: {key}: {identity[:80]!r}: names tracks that the index lacks", fix)
    return index


def _check_entry(file: Any, where: str, fix: str) -> None:
    """Check [path, checksum] of one file; both may be null."""
    if not isinstance(file, list) or not file or not all(part is None or isinstance(part, str) for part in file):
        raise DataError(f"{where}: is not a path with its checksum", fix)
    path = file[0]
    if path is None:
        return
    parts = path.replace("\\", "/").split("/")
    if not path or path[0] in "/\\~" or ".." in parts or "\0" in path or re.match(r"[A-Za-z]:", path):
        raise DataError(f"{where}: the path {path[:200]!r} leaves the data folder", fix)


def _find_index(name: str, dataset: Any, home: Path) -> Path:
    """Find the index of the data set's version by its file name. Raises DataError that says where to get it."""
    entry = dataset._index_data
    file = Path(entry.filename).name.replace("_sample", "")
    places = [home / file, home / "mirdata_indexes" / file, Path(entry.get_path())]
    for place in places:
        if place.is_file():
            return place
    near = sorted(path.name for path in home.glob("*index*.json"))
    hint = f"; there: {join_names(near)}, which ?index=FILE chooses" if near else ""
    if entry.remote is None:
        raise DataError(
            f"mirdata:{name}: its index {file} is not in {printable(str(home))}{hint}",
            "mirdata ships no index of this data set: write one, and give ?index=FILE",
        )
    packed = entry.remote.url.partition("?")[0].endswith(".zip")
    raise DataError(
        f"mirdata:{name}: its index {file} is neither in {printable(str(home))} nor in {places[-1].parent}{hint}",
        f"download {entry.remote.url} and {'unpack' if packed else 'save'} it as {printable(str(places[0]))}; or let "
        f"mirdata do it: python -c \"import mirdata; mirdata.initialize('{name}').download(['index'])\"",
    )


def _packages_of(name: str) -> str:
    """The packages that a loader asks for, as its own message names them."""
    import mirdata

    text = (Path(mirdata.__file__).parent / "datasets" / f"{name}.py").read_text(encoding="utf-8")
    found = re.search(r"except ImportError.*?pip install '?(mirdata\[\w+\])", text, re.DOTALL)
    return found[1] if found else "a package that mirdata does not install"


@contextmanager
def quiet() -> Iterator[None]:
    """Hide what mirdata prints, logs and warns of: it logs with the root logger, and adds a handler to it."""
    root, hidden = logging.getLogger(), logging.NullHandler()
    disabled = root.manager.disable
    root.addHandler(hidden)
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        root.removeHandler(hidden)
