"""Upload a folder to a repository: files with another hash are sent in commits, until the Hub lists all of them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, RepoFile
from huggingface_hub.errors import RepositoryNotFoundError
from huggingface_hub.utils.sha import git_hash

from ..errors import HubError
from .client import AFTER_WRITE, AGAIN, NOT_STARTED, TEMPORARY, Hub, find_cause, http_status

COMMIT_FILES = 50  # the Hub recommends 50-100 per commit: hub docs, storage limits
COMMIT_BYTES = 10 * 10**9  # files that were sent but not committed may be deleted by the Hub
INLINE_BYTES = 20 * 10**6  # small files are inside the commit
ALONE_FROM = 1 << 20  # bytes: larger files are sent one by one, before the commit
LARGE = (".parquet", ".safetensors")  # sent one by one at any size
MAX_FILE = 200 * 10**9
MAX_FILES = 100_000
MAX_PER_FOLDER = 10_000
MISSING = (401, 404)  # statuses for a repository that does not exist, or that the token may not read


@dataclass(frozen=True)
class UploadItem:
    """A file to upload.

    Attributes:
        path: Its path in the repository.
        source: The local file, or the content.
        size: Bytes.
        sha256: Hash of the content.
    """

    path: str
    source: Path | bytes
    size: int
    sha256: str

    def text(self) -> str:
        """The content of a text file."""
        return (self.source if isinstance(self.source, bytes) else self.source.read_bytes()).decode("utf-8")

    @property
    def sent_alone(self) -> bool:
        """Whether it is sent by itself, before the commit."""
        return isinstance(self.source, Path) and (self.size >= ALONE_FROM or self.path.endswith(LARGE))

    @cached_property
    def git_hash(self) -> str:
        """Git's hash of the content, which the Hub lists for small files."""
        return git_hash(self.source if isinstance(self.source, bytes) else self.source.read_bytes())

    def matches(self, remote: RepoFile | None) -> bool:
        """Whether the repository has this content."""
        if remote is None or remote.size != self.size:
            return False
        return bool(remote.lfs.sha256 == self.sha256 if remote.lfs else remote.blob_id == self.git_hash)

    def make_operation(self) -> CommitOperationAdd:
        """The commit operation of the client, with the hash set, so that the file is not read again."""
        operation = CommitOperationAdd(self.path, self.source)
        operation.upload_info.sha256 = bytes.fromhex(self.sha256)
        return operation


Tree = dict[str, RepoFile]


@dataclass
class Upload:
    """The upload of one repository.

    Attributes:
        hub: The Hub.
        kind: "dataset", "model" or "space".
        repo: Name of the repository.
        items: Its files by path.
        title: Title of the commits.
        last: Files of the last commit, which describe the others.
        stale: Whether to delete a file that is not in `items`.
        pull_request: Whether to commit to a pull request.
        progress: Called with the bytes that have arrived, and all bytes.
        branch: The branch to commit to.
        pull_url: The page of the pull request.
        created: Whether this run made the repository: a replica may not list it yet, and it takes no pull request.
    """

    hub: Hub
    kind: str
    repo: str
    items: dict[str, UploadItem]
    title: str
    last: tuple[str, ...] = ()
    stale: Callable[[str], bool] = lambda path: False
    pull_request: bool = False
    progress: Callable[[int, int], None] = lambda done, total: None
    branch: str = "main"
    pull_url: str | None = None
    created: bool = False
    _additions: dict[str, CommitOperationAdd] = field(default_factory=dict)  # by path: each keeps what was sent of it
    _first_tree: Tree = field(default_factory=dict)  # the repository before this upload
    _sent: int = 0  # bytes that have arrived

    def __post_init__(self) -> None:
        folders: dict[str, int] = {}
        for path, item in self.items.items():
            folders[path.rpartition("/")[0]] = folders.get(path.rpartition("/")[0], 0) + 1
            if item.size > MAX_FILE:
                raise HubError(
                    f"{path}: {item.size / 1e9:.0f} GB, the limit of the Hub is 200 GB", "use smaller shards"
                )
        if len(self.items) > MAX_FILES or max(folders.values(), default=0) > MAX_PER_FOLDER:
            raise HubError(
                f"{self.repo}: too many files for the Hub: at most {MAX_FILES:,}, and {MAX_PER_FOLDER:,} in a folder",
                "build with more clips per shard: synthmir build RECIPE --out NEW --clips-per-shard N",
            )

    def read_state(self, codes: Collection[int | None] = TEMPORARY) -> tuple[str, Tree] | None:
        """The last commit and the files of the branch, None where the repository does not exist or cannot be seen."""
        try:
            head = self.hub.call(f"look at {self.repo}", self._info, codes=codes).sha
        except HubError as error:
            cause = find_cause(error)
            missing = isinstance(cause, RepositoryNotFoundError) or (
                http_status(cause) == 401 and self.hub.account is None
            )
            if missing:
                return None
            raise
        return str(head), self._tree(str(head), codes)

    def _info(self) -> Any:
        return self.hub.api.repo_info(self.repo, repo_type=self.kind, revision=self.branch)

    def _tree(self, head: str, codes: Collection[int | None] = TEMPORARY) -> Tree:
        def listed() -> Tree:
            tree = self.hub.api.list_repo_tree(self.repo, repo_type=self.kind, revision=head, recursive=True)
            return {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}

        return self.hub.call(f"list {self.repo}", listed, codes=codes)

    def changes(self, tree: Tree) -> tuple[list[UploadItem], list[str]]:
        """The files to send, and those to delete."""
        send = [item for path, item in self.items.items() if not item.matches(tree.get(path))]
        return send, [path for path in tree if path not in self.items and self.stale(path)]

    def send(self) -> str:
        """Send the files that are missing or differ.

        Returns:
            The commit that has all files, as the Hub lists them by hash.

        Raises:
            HubError: The Hub refuses a request, or someone else changed the repository.
        """
        if self.pull_request:
            self._find_pull_request()
        head, tree = self._present()
        self._first_tree = tree
        todo, gone = self.changes(tree)
        total = sum(item.size for item in self.items.values())
        failed = 0
        while todo or gone:
            self._refuse_changed(tree)
            self._sent = total - sum(item.size for item in todo)
            self.progress(self._sent, total)
            group = self._next_commit(todo, gone)
            try:
                head = self._commit(group, head)
                left, _ = self.changes(tree := self._tree(head, AFTER_WRITE))
                if lost := [item.path for item in group if isinstance(item, UploadItem) and item in left]:
                    raise HubError(f"{self.repo}: {lost[0]} did not arrive as it was sent (another hash)", AGAIN)
                failed = 0
            except HubError:
                raise
            except Exception as error:
                failed += 1
                # Other temporary errors were repeated already, but for a commit that may have opened a pull request.
                if not self.hub.wait_to_retry(error, failed, (412, *TEMPORARY) if self._opening else (412,)):
                    self.hub.raise_error(f"commit to {self.repo}", error, self._advice)
                if self.pull_request:
                    self._find_pull_request()
                head, tree = self._present()  # the commit may have arrived without an answer
            todo, gone = self.changes(tree)
        self.progress(total, total)
        return head

    def _present(self) -> tuple[str, Tree]:
        found = self.read_state(AFTER_WRITE)
        if found is None:
            raise HubError(
                f"{self.repo}: does not exist, or the token may not read it", "check both, or choose another name"
            )
        return found

    def _next_commit(self, todo: list[UploadItem], gone: list[str]) -> list[UploadItem | str]:
        """The next commit: files to add and paths to delete; the last files only together with all the rest."""
        first = [item for item in todo if item.path not in self.last]
        final: list[UploadItem | str] = [*gone, *(item for item in todo if item.path in self.last)]
        group: list[UploadItem | str] = []
        large = small = 0
        for item in first:
            large, small = large + item.size * item.sent_alone, small + item.size * (not item.sent_alone)
            if group and (len(group) == COMMIT_FILES or large > COMMIT_BYTES or small > INLINE_BYTES):
                return group
            group.append(item)
        if len(group) + len(final) <= COMMIT_FILES or not group:
            group += final[: COMMIT_FILES - len(self.last)] if len(final) > COMMIT_FILES else final
        return group

    def _commit(self, group: list[UploadItem | str], head: str) -> str:
        """Send large files one by one and the others together, then commit. Raises the errors of the client.

        Requests are repeated one by one: an operation does not send a file again.
        """
        opening, send = self._opening, self.hub.api.preupload_lfs_files
        place: dict[str, Any] = {"repo_id": self.repo, "repo_type": self.kind, "revision": self.branch}
        place["create_pr"] = opening
        options = {"num_threads": 1, "free_memory": False, "advice": self._advice, **place}
        additions = {item: self._addition(item) for item in group if isinstance(item, UploadItem)}
        for item, operation in additions.items():
            if item.sent_alone:
                self.hub.call(f"send {item.path} to {self.repo}", send, additions=[operation], **options)
                self._sent += item.size
                self.progress(self._sent, sum(item.size for item in self.items.values()))
        if small := [operation for item, operation in additions.items() if not item.sent_alone]:
            self.hub.call(f"send small files to {self.repo}", send, additions=small, **options)
        operations: list[CommitOperationAdd | CommitOperationDelete] = [*additions.values()]
        operations += [CommitOperationDelete(path, is_folder=False) for path in group if isinstance(path, str)]
        done = self.hub.attempt(
            self.hub.api.create_commit, operations=operations, commit_message=self.title, parent_commit=head,
            num_threads=1, codes=NOT_STARTED if opening else TEMPORARY, **place,
        )  # fmt: skip
        if opening:
            self.branch, self.pull_url = str(done.pr_revision), done.pr_url
        return str(done.oid)

    @property
    def _opening(self) -> bool:
        """Whether the next commit opens the pull request."""
        return self.pull_request and self.branch == "main"

    @property
    def _advice(self) -> dict[int, str]:
        """Fixes by status: a repository of others accepts pull requests."""
        if self.pull_request or self.created:
            return {}
        return {403: "use a name in your namespace, a token with write access to it, or a pull request: --pr"}

    def _addition(self, item: UploadItem) -> CommitOperationAdd:
        if item.path not in self._additions:
            self._additions[item.path] = item.make_operation()
        return self._additions[item.path]

    def _refuse_changed(self, tree: Tree) -> None:
        """Raise HubError if someone else has changed files that this upload writes since it began."""
        written = {*self.items, *(path for path in self._first_tree if self.stale(path))}
        changed = [
            path
            for path in sorted(written)
            if _get_hash(tree.get(path)) != _get_hash(self._first_tree.get(path))
            and not (path in self.items and self.items[path].matches(tree.get(path)))
            and not (path not in self.items and path not in tree)
        ]
        if changed:
            named = ", ".join(changed[:5]) + (", ..." if len(changed) > 5 else "")
            raise HubError(
                f"{self.repo}: changed by someone else while it was being published: {named}",
                f"look at {self.hub.address(self.kind, self.repo)}, then run the same command again to overwrite it",
            )

    def _find_pull_request(self) -> None:
        """Continue the open pull request of an earlier run."""
        if self.branch != "main":
            return

        def numbers() -> list[int]:
            discussions = self.hub.api.get_repo_discussions(
                self.repo, repo_type=self.kind, discussion_type="pull_request", discussion_status="open",
                author=self.hub.account,
            )  # fmt: skip
            return [discussion.num for discussion in discussions if discussion.title == self.title]

        for number in self.hub.call(f"list the pull requests of {self.repo}", numbers)[:1]:
            self.branch = f"refs/pr/{number}"
            self.pull_url = f"{self.hub.address(self.kind, self.repo)}/discussions/{number}"


def _get_hash(file: RepoFile | None) -> str | None:
    return None if file is None else file.lfs.sha256 if file.lfs else file.blob_id
