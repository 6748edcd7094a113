"""Where a corpus lies: a folder on disk, or a repository on the Hub. Both list their files and open them in parts."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Protocol

from builder.corpus.corpus import Corpus, files
from builder.errors import DataError
from builder.io.parquet_guard import check_parquet
from builder.io.safe_files import MAX_JSON_BYTES, read_json, read_text
from builder.io.storage import is_folder, is_remote, storage_errors, to_path

REPO = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", re.ASCII)
HUB = "hf://datasets/"
MARK = "model_type"  # in the config.json of a classifier
RECIPE_FILES = ("recipe.yaml", "taxonomy.yaml", "descriptions.*")
LINKED = re.compile(r"A classifier that was trained on it: \[([\w.-]+/[\w.-]+)\]", re.ASCII)  # builder/hub/cards.py
PART = 4 << 20  # bytes asked of the Hub at once where a clip is read


class Place(Protocol):
    """A corpus's files, by their names within it; nothing else can be named."""

    name: str  # for people
    kind: str  # "folder" or "hub"

    def files(self) -> list[str]:
        """Their names, sorted."""

    def open(self, name: str) -> Any:
        """A context that gives a binary file to seek in."""

    def look_over(self, name: str, columns: Collection[str]) -> None:
        """Raise DataError for a Parquet file whose columns cannot be read safely."""

    def text(self, name: str) -> str | None:
        """A small file's text, None where it is not there."""

    def recipe_folder(self) -> Path:
        """A folder with the recipe and its own files."""

    def model(self) -> Path | None:
        """The folder of the classifier that goes with the corpus."""


class Folder:
    """A finished corpus on disk or in an object store. With it goes the model that lies beside it in a run."""

    kind = "folder"

    def __init__(self, root: Path, model: Path | None) -> None:
        self.root, self._model = Corpus.open(root).root, model
        here = root if is_remote(root) else root.resolve()
        self.name = here.parent.name if here.name == "corpus" else here.name  # a run's own name says more

    @cached_property
    def _files(self) -> list[str]:
        return files(self.root)

    def files(self) -> list[str]:
        """Their names, sorted."""
        return self._files

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """A context that gives a binary file to seek in. Raises DataError."""
        try:
            with storage_errors(self.root):
                handle = (self.root / name).open("rb")
        except OSError as error:
            raise DataError(f"{self.root / name}: cannot be read: {error.strerror}") from error
        with storage_errors(self.root), handle:
            yield handle

    def look_over(self, name: str, columns: Collection[str]) -> None:
        """Raise DataError for a Parquet file whose columns cannot be read safely."""
        with storage_errors(self.root):
            check_parquet(self.root / name, columns)

    def text(self, name: str) -> str | None:
        """A small file's text, None where it is not there."""
        try:
            return read_text(self.root / name)
        except (OSError, ValueError):
            return None

    def recipe_folder(self) -> Path:
        """The corpus itself."""
        return self.root

    def model(self) -> Path | None:
        """The folder of the classifier that goes with the corpus."""
        return self._model


class Repository:
    """A published corpus, at the commit that is the newest when it is opened: later ones change nothing here."""

    kind = "hub"

    def __init__(self, spec: str) -> None:
        from huggingface_hub import HfFileSystem

        from builder.hub.client import Hub, quiet_client

        self.name, _, revision = spec.partition("@")
        with quiet_client():
            self._hub = Hub.connect(None, lambda line: None, anonymous=True)
            info: Any = self._hub.ask(
                f"open the data set {self.name}", self._hub.api.dataset_info, self.name, revision=revision or None
            )
        self.commit = str(info.sha)
        self._names = sorted(file.rfilename for file in info.siblings or [])
        self._system = HfFileSystem(endpoint=self._hub.endpoint, token=self._hub.api.token)

    def files(self) -> list[str]:
        """Their names, sorted."""
        return self._names

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """A context that gives a binary file, of which only the parts are fetched that are read. Raises HubError."""
        import httpx2
        from huggingface_hub.errors import HfHubHTTPError

        from builder.hub.client import quiet_client

        path, what = f"datasets/{self.name}@{self.commit}/{name}", f"read {self.name}/{name}"
        opened = self._hub.ask(what, self._system.open, path, block_size=PART, cache_type="none")
        with quiet_client(), opened as handle:
            try:
                yield handle
            except (httpx2.HTTPError, HfHubHTTPError) as error:  # of a part that did not come
                self._hub.refuse(what, error)

    def look_over(self, name: str, columns: Collection[str]) -> None:
        """Nothing: each page would be a request. The footer is looked at when it is there."""

    def text(self, name: str) -> str | None:
        """A small file's text, None where it is not there."""
        if name not in self._names:
            return None
        with self.open(name) as handle:
            return str(handle.read(MAX_JSON_BYTES).decode("utf-8", "replace"))

    def recipe_folder(self) -> Path:
        """The recipe and its own files, in the cache of the Hub's client."""
        return self._fetched(self.name, "dataset", self.commit, list(RECIPE_FILES))

    def model(self) -> Path | None:
        """The classifier that the card links, fetched into the cache of the Hub's client."""
        repo = self.linked_model()
        if repo is None:
            return None
        found = self._fetched(repo, "model", None, ["*.json", "*.safetensors", "*.md"])
        return found if is_classifier(found) else None

    def linked_model(self) -> str | None:
        """The repository of the classifier that the card links."""
        linked = LINKED.search(self.text("README.md") or "")
        return linked[1] if linked else None

    def _fetched(self, repo: str, kind: str, revision: str | None, patterns: list[str]) -> Path:
        from huggingface_hub import snapshot_download

        from builder.hub.client import quiet_client

        with quiet_client():
            folder = self._hub.ask(
                f"fetch {repo}", snapshot_download, repo, repo_type=kind, revision=revision, allow_patterns=patterns,
                endpoint=self._hub.endpoint, token=self._hub.api.token,
            )  # fmt: skip
        return Path(str(folder))


def find(run_or_repo: str) -> Place:
    """What a user names: a run, a corpus folder (an address too), or NAMESPACE/NAME[@REVISION] on the Hub.

    Raises DataError for a folder that is no corpus, HubError for a repository that cannot be read.
    """
    if run_or_repo.startswith(HUB):
        return Repository(run_or_repo.removeprefix(HUB).rstrip("/"))
    path = to_path(run_or_repo)
    if is_remote(path):  # a model is not opened there
        return Folder(path / "corpus" if is_folder(path / "corpus") else path, None)
    path = path.expanduser()
    if path.is_dir():
        if is_classifier(path):
            raise DataError(f"{path}: is a model, not a corpus", "give the run, or the corpus that it was trained on")
        beside = path.resolve().parent / "model"
        if (path / "corpus").is_dir():
            path, beside = path / "corpus", path / "model"
        return Folder(path, beside if is_classifier(beside) else None)
    if path.exists():
        raise DataError(f"{path}: is a file, not a folder", "give a run, a corpus folder or NAMESPACE/NAME")
    if not REPO.fullmatch(run_or_repo) or run_or_repo.startswith((".", "/", "~")):
        raise DataError(
            f"{run_or_repo}: there is no such folder, and it is no name on the Hub",
            "give a run, a corpus folder or NAMESPACE/NAME",
        )
    return Repository(run_or_repo)


def is_classifier(folder: Path) -> bool:
    """Whether a folder holds a finished classifier of ours; told without loading torch."""
    try:
        config = read_json(folder / "config.json")
    except (OSError, ValueError):
        return False
    return config.get(MARK) == "synthmir" and (folder / "model.safetensors").is_file()
