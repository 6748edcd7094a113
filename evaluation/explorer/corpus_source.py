"""Where a corpus is read from: a folder on disk or in an object store, or a repository on the Hub."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Protocol

from builder.corpus.corpus import Corpus, list_corpus_files
from builder.errors import DataError
from builder.io.parquet_guard import check_parquet
from builder.io.safe_files import MAX_JSON_BYTES, read_json, read_text
from builder.io.storage import is_folder, is_remote, storage_errors, to_path

REPO_NAME = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", re.ASCII)
HUB_SCHEME = "hf://datasets/"
RECIPE_FILES = ("recipe.yaml", "taxonomy.yaml", "descriptions.*")
MODEL_LINK = re.compile(
    r"A classifier that was trained on it: \[([\w.-]+/[\w.-]+)\]", re.ASCII
)  # builder/hub/cards.py
REQUEST_BYTES = 4 << 20  # fetched from the Hub at once while a clip is read


class CorpusSource(Protocol):
    """The files of a corpus by their relative names. Files outside the corpus cannot be named."""

    name: str  # shown to people
    kind: str  # "folder" or "hub"

    def files(self) -> list[str]:
        """List the files' names, sorted."""

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Open a file for reading. Raises DataError or HubError."""

    def check_parquet(self, name: str, columns: Collection[str]) -> None:
        """Raise DataError if these columns of a Parquet file cannot be read safely."""

    def read_text(self, name: str) -> str | None:
        """Read a small text file; None if there is none."""

    def recipe_folder(self) -> Path:
        """Return a local folder with the recipe and the files that it names."""

    def has_model(self) -> bool:
        """Whether a classifier belongs to the corpus. Downloads nothing."""

    def model_folder(self) -> Path | None:
        """Return the folder of the classifier that belongs to the corpus, downloading it if necessary."""


class CorpusFolder:
    """A finished corpus on disk or in an object store, with the model beside it if there is one."""

    kind = "folder"

    def __init__(self, root: Path, model: Path | None) -> None:
        self.root, self._model = Corpus.open(root).root, model
        resolved = root if is_remote(root) else root.resolve()
        # A run keeps its corpus in a folder called "corpus": the run's name says more.
        self.name = resolved.parent.name if resolved.name == "corpus" else resolved.name

    @cached_property
    def _files(self) -> list[str]:
        return list_corpus_files(self.root)

    def files(self) -> list[str]:
        """See `CorpusSource`."""
        return self._files

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """See `CorpusSource`."""
        try:
            with storage_errors(self.root):
                handle = (self.root / name).open("rb")
        except OSError as error:
            raise DataError(f"{self.root / name}: cannot be read: {error.strerror}") from error
        with storage_errors(self.root), handle:
            yield handle

    def check_parquet(self, name: str, columns: Collection[str]) -> None:
        """See `CorpusSource`."""
        with storage_errors(self.root):
            check_parquet(self.root / name, columns)

    def read_text(self, name: str) -> str | None:
        """See `CorpusSource`."""
        try:
            return read_text(self.root / name)
        except (OSError, ValueError):
            return None

    def recipe_folder(self) -> Path:
        """See `CorpusSource`."""
        return self.root

    def has_model(self) -> bool:
        """See `CorpusSource`."""
        return self._model is not None

    def model_folder(self) -> Path | None:
        """See `CorpusSource`."""
        return self._model


class HubCorpus:
    """A published corpus at its newest commit when it is opened. Later commits do not affect it."""

    kind = "hub"

    def __init__(self, repo: str) -> None:
        from huggingface_hub import HfFileSystem

        from builder.hub.client import Hub, quiet_client

        self.name, _, revision = repo.partition("@")
        with quiet_client():
            self._hub = Hub.connect(None, lambda line: None, anonymous=True)
            info: Any = self._hub.call(
                f"open the data set {self.name}", self._hub.api.dataset_info, self.name, revision=revision or None
            )
        self.commit = str(info.sha)
        self._names = sorted(file.rfilename for file in info.siblings or [])
        self._filesystem = HfFileSystem(endpoint=self._hub.endpoint, token=self._hub.api.token)

    def files(self) -> list[str]:
        """See `CorpusSource`."""
        return self._names

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """See `CorpusSource`. Only the parts of the file that are read are downloaded."""
        import httpx2
        from huggingface_hub.errors import HfHubHTTPError

        from builder.hub.client import quiet_client

        path, action = f"datasets/{self.name}@{self.commit}/{name}", f"read {self.name}/{name}"
        handle = self._hub.call(action, self._filesystem.open, path, block_size=REQUEST_BYTES, cache_type="none")
        with quiet_client(), handle:
            try:
                yield handle
            except (httpx2.HTTPError, HfHubHTTPError) as error:
                self._hub.raise_error(action, error)

    def check_parquet(self, name: str, columns: Collection[str]) -> None:
        """Do nothing: each page would be a request. The footer is checked when it is read."""

    def read_text(self, name: str) -> str | None:
        """See `CorpusSource`."""
        if name not in self._names:
            return None
        with self.open(name) as handle:
            return str(handle.read(MAX_JSON_BYTES).decode("utf-8", "replace"))

    def recipe_folder(self) -> Path:
        """See `CorpusSource`. The files are in the cache of the Hub's client."""
        return self._download(self.name, "dataset", self.commit, list(RECIPE_FILES))

    def has_model(self) -> bool:
        """See `CorpusSource`."""
        return self.linked_model() is not None

    def model_folder(self) -> Path | None:
        """See `CorpusSource`. It is the classifier that the card links, in the cache of the Hub's client."""
        repo = self.linked_model()
        if repo is None:
            return None
        folder = self._download(repo, "model", None, ["*.json", "*.safetensors", "*.md"])
        return folder if is_classifier(folder) else None

    def linked_model(self) -> str | None:
        """Return the repository of the classifier that the card links."""
        link = MODEL_LINK.search(self.read_text("README.md") or "")
        return link[1] if link else None

    def _download(self, repo: str, kind: str, revision: str | None, patterns: list[str]) -> Path:
        """Download the files that match the patterns, and return their folder."""
        from huggingface_hub import snapshot_download

        from builder.hub.client import quiet_client

        with quiet_client():
            folder = self._hub.call(
                f"fetch {repo}", snapshot_download, repo, repo_type=kind, revision=revision, allow_patterns=patterns,
                endpoint=self._hub.endpoint, token=self._hub.api.token,
            )  # fmt: skip
        return Path(str(folder))


def open_source(run_or_repo: str) -> CorpusSource:
    """Open what a user names.

    Args:
        run_or_repo: A run (a folder with corpus/ and model/), a corpus folder, the address of one in an object store,
            or NAMESPACE/NAME[@REVISION] on the Hub.

    Raises:
        DataError: The folder is not a corpus.
        HubError: The repository cannot be read.
    """
    if run_or_repo.startswith(HUB_SCHEME):
        return HubCorpus(run_or_repo.removeprefix(HUB_SCHEME).rstrip("/"))
    path = to_path(run_or_repo)
    if is_remote(path):  # models are not read from object stores
        return CorpusFolder(path / "corpus" if is_folder(path / "corpus") else path, None)
    path = path.expanduser()
    if path.is_dir():
        if is_classifier(path):
            raise DataError(f"{path}: is a model, not a corpus", "give the run, or the corpus that it was trained on")
        model = path.resolve().parent / "model"
        if (path / "corpus").is_dir():
            path, model = path / "corpus", path / "model"
        return CorpusFolder(path, model if is_classifier(model) else None)
    if path.exists():
        raise DataError(f"{path}: is a file, not a folder", "give a run, a corpus folder or NAMESPACE/NAME")
    if not REPO_NAME.fullmatch(run_or_repo) or run_or_repo.startswith((".", "/", "~")):
        raise DataError(
            f"{run_or_repo}: there is no such folder, and it is not the name of a repository on the Hub",
            "give a run, a corpus folder or NAMESPACE/NAME",
        )
    return HubCorpus(run_or_repo)


def is_classifier(folder: Path) -> bool:
    """Whether a folder holds a finished classifier of synthmir. Does not import torch."""
    try:
        config = read_json(folder / "config.json")
    except (OSError, ValueError):
        return False
    return config.get("model_type") == "synthmir" and (folder / "model.safetensors").is_file()
