"""A folder becomes a repository: only what is not there by hash is sent, in commits, until the Hub lists all of it."""

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
from .client import AGAIN, PASSING, UNDONE, WRITTEN, Hub, find_cause, http_status

COMMIT_FILES = 50  # the Hub's advice is 50-100 a commit: hub docs, storage limits
COMMIT_BYTES = 10 * 10**9  # what is sent and in no commit may be swept: commit before it is much
INLINE_BYTES = 20 * 10**6  # small files travel inside the commit
ALONE_FROM = 1 << 20  # bytes: from here on a file is sent by itself, before its commit
LARGE = (".parquet", ".safetensors")  # sent so at any size
MAX_FILE = 200 * 10**9
MAX_FILES = 100_000
MAX_PER_FOLDER = 10_000
MISSING = (401, 404)  # what the Hub answers for a repository that is not there, or not for this token


@dataclass(frozen=True)
class UploadItem:
    """One file to be: `path` in the repository; `source` a file here, or what it holds."""

    path: str
    source: Path | bytes
    size: int
    sha256: str

    def text(self) -> str:
        """What a file of text holds."""
        return (self.source if isinstance(self.source, bytes) else self.source.read_bytes()).decode("utf-8")

    @property
    def alone(self) -> bool:
        """Whether it is sent by itself, before the commit."""
        return isinstance(self.source, Path) and (self.size >= ALONE_FROM or self.path.endswith(LARGE))

    @cached_property
    def git_hash(self) -> str:
        """Git's hash of the content, by which the Hub knows small files."""
        return git_hash(self.source if isinstance(self.source, bytes) else self.source.read_bytes())

    def same(self, remote: RepoFile | None) -> bool:
        """Whether the repository holds just this."""
        if remote is None or remote.size != self.size:
            return False
        return bool(remote.lfs.sha256 == self.sha256 if remote.lfs else remote.blob_id == self.git_hash)

    def addition(self) -> CommitOperationAdd:
        """What the client sends. The hash is known: nothing is read twice."""
        operation = CommitOperationAdd(self.path, self.source)
        operation.upload_info.sha256 = bytes.fromhex(self.sha256)
        return operation


Tree = dict[str, RepoFile]


@dataclass
class Upload:
    """One repository on its way. `last` files go in the last commit: they never speak of what is not there."""

    hub: Hub
    kind: str  # "dataset", "model"
    repo: str
    items: dict[str, UploadItem]
    title: str
    last: tuple[str, ...] = ()
    stale: Callable[[str], bool] = lambda path: False  # what of the repository goes if the folder has it no more
    pull_request: bool = False
    progress: Callable[[int, int], None] = lambda done, total: None
    branch: str = "main"
    pull_url: str | None = None
    created: bool = False  # by this run: what is there then may lag behind, and takes no pull request
    _additions: dict[str, CommitOperationAdd] = field(default_factory=dict)  # by path: each knows what was sent of it
    _found: Tree = field(default_factory=dict)  # the repository as it was when we came
    _sent: int = 0  # bytes that are there

    def __post_init__(self) -> None:
        folders: dict[str, int] = {}
        for path, item in self.items.items():
            folders[path.rpartition("/")[0]] = folders.get(path.rpartition("/")[0], 0) + 1
            if item.size > MAX_FILE:
                raise HubError(f"{path}: {item.size / 1e9:.0f} GB, the Hub takes 200 GB a file", "use smaller shards")
        if len(self.items) > MAX_FILES or max(folders.values(), default=0) > MAX_PER_FOLDER:
            raise HubError(
                f"{self.repo}: the Hub takes {MAX_FILES:,} files, {MAX_PER_FOLDER:,} a folder",
                "build with more clips a shard: synthmir build RECIPE --out NEW --clips-per-shard N",
            )

    def look(self, codes: Collection[int | None] = PASSING) -> tuple[str, Tree] | None:
        """The head and the files of the branch, None if there is no such repository (or none that we may see)."""
        try:
            head = self.hub.ask(f"look at {self.repo}", self._info, codes=codes).sha
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

    def _tree(self, head: str, codes: Collection[int | None] = PASSING) -> Tree:
        def listed() -> Tree:
            tree = self.hub.api.list_repo_tree(self.repo, repo_type=self.kind, revision=head, recursive=True)
            return {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}

        return self.hub.ask(f"list {self.repo}", listed, codes=codes)

    def changes(self, tree: Tree) -> tuple[list[UploadItem], list[str]]:
        """What is to be sent, and what is to go."""
        send = [item for path, item in self.items.items() if not item.same(tree.get(path))]
        return send, [path for path in tree if path not in self.items and self.stale(path)]

    def send(self) -> str:
        """Send what lacks; returns the commit that holds all of it, as the Hub lists it by hash."""
        if self.pull_request:
            self._find_pull_request()
        head, tree = self._present()
        self._found = tree
        todo, gone = self.changes(tree)
        total = sum(item.size for item in self.items.values())
        failed = 0
        while todo or gone:
            self._refuse_strangers(tree)
            self._sent = total - sum(item.size for item in todo)
            self.progress(self._sent, total)
            group = self._group(todo, gone)
            try:
                head = self._commit(group, head)
                left, _ = self.changes(tree := self._tree(head, WRITTEN))
                if lost := [item.path for item in group if isinstance(item, UploadItem) and item in left]:
                    raise HubError(f"{self.repo}: {lost[0]} did not arrive as it was sent (another hash)", AGAIN)
                failed = 0
            except HubError:
                raise
            except Exception as error:
                failed += 1
                # What else may pass was tried again already, save what may have opened a pull request: look for that.
                if not self.hub.pause(error, failed, (412, *PASSING) if self._opening else (412,)):
                    self.hub.refuse(f"commit to {self.repo}", error, self._advice)
                if self.pull_request:
                    self._find_pull_request()
                head, tree = self._present()  # an answer may be lost after the work was done
            todo, gone = self.changes(tree)
        self.progress(total, total)
        return head

    def _present(self) -> tuple[str, Tree]:
        found = self.look(WRITTEN)
        if found is None:
            raise HubError(
                f"{self.repo}: is not there, or this token may not see it", "check both, or choose another name"
            )
        return found

    def _group(self, todo: list[UploadItem], gone: list[str]) -> list[UploadItem | str]:
        """The next commit: files to add, paths to delete; the last files only where all the rest goes along."""
        first = [item for item in todo if item.path not in self.last]
        final: list[UploadItem | str] = [*gone, *(item for item in todo if item.path in self.last)]
        group: list[UploadItem | str] = []
        large = small = 0
        for item in first:
            large, small = large + item.size * item.alone, small + item.size * (not item.alone)
            if group and (len(group) == COMMIT_FILES or large > COMMIT_BYTES or small > INLINE_BYTES):
                return group
            group.append(item)
        if len(group) + len(final) <= COMMIT_FILES or not group:
            group += final[: COMMIT_FILES - len(self.last)] if len(final) > COMMIT_FILES else final
        return group

    def _commit(self, group: list[UploadItem | str], head: str) -> str:
        """Send the large files one after the other, the others together, then commit. Raises what the client raises.

        Each request is repeated by itself: what an addition has sent, it sends no second time.
        """
        opening, send = self._opening, self.hub.api.preupload_lfs_files
        place: dict[str, Any] = {"repo_id": self.repo, "repo_type": self.kind, "revision": self.branch}
        place["create_pr"] = opening
        options = {"num_threads": 1, "free_memory": False, "advice": self._advice, **place}
        additions = {item: self._addition(item) for item in group if isinstance(item, UploadItem)}
        for item, operation in additions.items():
            if item.alone:
                self.hub.ask(f"send {item.path} to {self.repo}", send, additions=[operation], **options)
                self._sent += item.size
                self.progress(self._sent, sum(each.size for each in self.items.values()))
        if small := [operation for item, operation in additions.items() if not item.alone]:
            self.hub.ask(f"send small files to {self.repo}", send, additions=small, **options)
        operations: list[CommitOperationAdd | CommitOperationDelete] = [*additions.values()]
        operations += [CommitOperationDelete(path, is_folder=False) for path in group if isinstance(path, str)]
        done = self.hub.attempt(
            self.hub.api.create_commit, operations=operations, commit_message=self.title, parent_commit=head,
            num_threads=1, codes=UNDONE if opening else PASSING, **place,
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
        """What a general fix lacks: others' repositories take pull requests, those that are not there do not."""
        if self.pull_request or self.created:
            return {}
        return {403: "use a name in a namespace of yours, a token with write access to it, or a pull request: --pr"}

    def _addition(self, item: UploadItem) -> CommitOperationAdd:
        if item.path not in self._additions:
            self._additions[item.path] = item.addition()
        return self._additions[item.path]

    def _refuse_strangers(self, tree: Tree) -> None:
        """Raises HubError if, since we came, somebody else has changed what we are about to write."""
        ours = {*self.items, *(path for path in self._found if self.stale(path))}
        changed = [
            path
            for path in sorted(ours)
            if _content(tree.get(path)) != _content(self._found.get(path))
            and not (path in self.items and self.items[path].same(tree.get(path)))
            and not (path not in self.items and path not in tree)
        ]
        if changed:
            named = ", ".join(changed[:5]) + (", ..." if len(changed) > 5 else "")
            raise HubError(
                f"{self.repo}: changed by somebody else while this was being published: {named}",
                f"look at {self.hub.address(self.kind, self.repo)}, then run the same command again to write over it",
            )

    def _find_pull_request(self) -> None:
        """Go on with the open pull request of an earlier run."""
        if self.branch != "main":
            return

        def numbers() -> list[int]:
            found = self.hub.api.get_repo_discussions(
                self.repo, repo_type=self.kind, discussion_type="pull_request", discussion_status="open",
                author=self.hub.account,
            )  # fmt: skip
            return [each.num for each in found if each.title == self.title]

        for number in self.hub.ask(f"list the pull requests of {self.repo}", numbers)[:1]:
            self.branch = f"refs/pr/{number}"
            self.pull_url = f"{self.hub.address(self.kind, self.repo)}/discussions/{number}"


def _content(file: RepoFile | None) -> str | None:
    return None if file is None else file.lfs.sha256 if file.lfs else file.blob_id
