"""Publish a corpus and a model, metrics, or a Space to the Hub. A failed publication resumes; tags are set last."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from ..corpus.corpus import CARD, SHARD_FILE, SUMS, Corpus
from ..errors import HubError, RecipeError
from .cards import check_card
from .client import AFTER_WRITE, TEMPORARY, Hub, find_cause, http_status, quiet_client
from .publishable import (
    KINDS,
    PARTS,
    FolderKind,
    Link,
    Progress,
    check_finished,
    check_folder,
    find_folders,
    find_local_weights,
    format_loading_code,
    list_items,
    model_config,
)
from .spaces import name_metric_repo, read_sdk
from .upload import Upload, UploadItem

LAST = {"corpus": (SUMS, CARD), "model": (CARD,), "metric": (CARD,), "space": (SUMS, CARD)}
TAG = re.compile(r"(?![./])(?!.*(\.\.|//|@\{|\.lock$))[\w.\-/+]{1,200}(?<![./])", re.ASCII)
COMMON = {".gitattributes", ".gitignore", CARD, "LICENSE", "LICENSE.md"}  # other files that a repository may have


@dataclass
class Target:
    """A folder and its repository.

    Attributes:
        part: What the folder holds.
        folder: The folder.
        repo: Name of the repository.
        address: Its page.
        head: Its last commit; None where it does not exist yet.
        send: Files that are, or would be, sent.
        delete: Files that are, or would be, deleted.
        total: Number of files of the folder.
        pull_url: The page of the pull request.
        tag: The tag of this release.
    """

    part: FolderKind
    folder: Path
    repo: str
    address: str
    head: str | None = None
    send: list[UploadItem] = field(default_factory=list)
    delete: list[str] = field(default_factory=list)
    total: int = 0
    pull_url: str | None = None
    tag: str | None = None

    @property
    def kind(self) -> str:
        """The type of the repository: dataset, model or space."""
        return KINDS[self.part]

    @property
    def lines(self) -> list[str]:
        """Lines of Python that load it."""
        return format_loading_code(self.part, self.folder, self.repo, self.tag)


def publish(
    run: Path,
    repo: str,
    *,
    what: str | None = None,
    model_repo: str | None = None,
    dataset_repo: str | None = None,
    private: bool = False,
    revision: str | None = None,
    pull_request: bool = False,
    dry_run: bool = False,
    endpoint: str | None = None,
    metrics: Path | None = None,
    meter: Callable[[str], Progress] = lambda stage: lambda done, total: None,
    notice: Callable[[str], None] = lambda line: None,
) -> list[Target]:
    """Publish folders to the Hub.

    Args:
        run: A run with a corpus and a model; or one of these, a metric, a folder of metrics, or a Space.
        repo: Repository of the corpus, or of what is published alone. For metrics the namespace is enough.
        what: "corpus", "model", "both", "metrics" or "space". Default: what `run` holds.
        model_repo: Repository of the model; where only the corpus is published, its card links to it. Default:
            REPO-TASK.
        dataset_repo: Repository of the corpus that the card of a model links to, where only the model is published.
        private: Whether new repositories are private.
        revision: A tag to set on all repositories, after everything has arrived.
        pull_request: Open a pull request instead of committing to the main branch.
        dry_run: Check everything, and send nothing.
        endpoint: Address of the Hub. Default: HF_ENDPOINT.
        metrics: Folder of metrics that `run` may name.
        meter: Called with the name of a stage; returns a function of progress and total, in clips or bytes.
        notice: Called with lines of text: pauses and warnings.

    Returns:
        The repositories.

    Raises:
        RecipeError: Options contradict each other.
        DataError: A folder is unfinished or damaged.
        HubError: The Hub refuses a request.
    """
    if what is not None and what not in PARTS:
        raise RecipeError(f"--what {what}: not one of {', '.join(PARTS)}")
    if pull_request and revision:
        raise RecipeError("--pr and --revision: a pull request cannot be tagged", "merge it, then tag it")
    if revision is not None and not TAG.fullmatch(revision):
        raise RecipeError(
            f"--revision {revision!r}: not a name for a tag", "use letters, digits, dots and dashes: v1.0"
        )
    folders = find_folders(run, what, metrics)
    for part, folder in folders:
        check_finished(part, folder)
    names = _name_repos(folders, repo, model_repo, dataset_repo)
    with quiet_client():
        hub = Hub.connect(endpoint, notice, anonymous=dry_run)
        targets = [
            Target(part, folder, name, hub.address(KINDS[part], name), tag=revision)
            for (part, folder), name in zip(folders, names, strict=True)
        ]
        known = {"corpus": dataset_repo, "model": model_repo} | {target.part: target.repo for target in targets}
        uploads = [_prepare_upload(hub, target, known, pull_request) for target in targets]
        pairs = list(zip(targets, uploads, strict=True))
        cards = [(upload.items[CARD].text(), target.kind, f"{target.folder}/{CARD}") for target, upload in pairs]
        for card in cards:
            check_card(*card)
        for target, upload in pairs:
            _plan_upload(hub, target, upload, private, revision)
        for card in cards:
            hub.validate_card(*card)
        for target in targets:
            check_folder(target.part, target.folder, meter("verify"))
            if target.part == "model" and (weights := find_local_weights(target.folder)):
                notice(f"{target.repo} needs embedder weights that are only on this machine: {weights}")
        if dry_run:
            return targets
        for target, upload in pairs:
            if target.head is None:
                _create(hub, target, private)
                upload.created = True
            upload.progress = meter("publish")
            target.head = upload.send()
            target.pull_url = upload.pull_url
        if revision:
            for target in targets:
                _set_tag(hub, target, revision)
    return targets


def _name_repos(
    folders: list[tuple[FolderKind, Path]], repo: str, model_repo: str | None, dataset_repo: str | None
) -> list[str]:
    """The repository of each folder. Raises HubError for a name that the Hub does not allow."""
    names = []
    for part, folder in folders:
        if part == "metric":
            names.append(name_metric_repo(folder, repo, alone=len(folders) == 1))
        elif part == "model" and len(folders) > 1:
            names.append(model_repo or f"{repo}-{model_config(folder).get('task', 'genre')}")
        else:
            names.append(repo)
    first = folders[0][0]
    linked = model_repo if first == "corpus" else dataset_repo if first == "model" else None
    for name in [*names, *([linked] if linked else [])]:
        try:
            validate_repo_id(name)
        except HFValidationError as error:
            raise HubError(f"{name}: {error}", "a name is NAMESPACE/NAME, of letters, digits, -, _ and .") from None
        if "/" not in name:
            raise HubError(f"{name}: has no namespace", f"write NAMESPACE/{name}, with your account or organisation")
    return names


def _prepare_upload(hub: Hub, target: Target, known: dict[str, str | None], pull_request: bool) -> Upload:
    """The upload of a folder. `known`: the repositories of corpus and model, which their cards link to."""
    other = {"corpus": "model", "model": "corpus"}.get(target.part, "")
    name = known.get(other)
    link: Link | None = (name, hub.address(KINDS[other], name)) if name else None
    files = list_items(target.part, target.folder, target.repo, link)
    if target.part == "corpus":
        mark = Corpus.open(target.folder).fingerprint
    else:
        mark = files[_mark(target)].sha256
    title = f"Publish the {target.part} {mark[:16]}"
    return Upload(
        hub, target.kind, target.repo, files, title, LAST[target.part], stale=_find_stale(target, files),
        pull_request=pull_request,
    )  # fmt: skip


def _mark(target: Target) -> str:
    """The file that shows that a repository is of the same kind."""
    marks = {"model": "model.safetensors", "metric": f"{target.folder.resolve().name}.py"}
    return marks.get(target.part, SUMS)


def _find_stale(target: Target, files: dict[str, UploadItem]) -> Callable[[str], bool]:
    """Which files of a repository are deleted where the folder does not have them."""
    if target.part == "corpus":
        return _is_shard
    folders = {path.partition("/")[0] for path in files if "/" in path} if target.part == "space" else set()
    return lambda path: "/" in path and path.partition("/")[0] in folders


def _is_shard(path: str) -> bool:
    """Whether a file is a shard, of this corpus or of one that it replaces."""
    return path.count("/") == 1 and SHARD_FILE.match(path.split("/")[1]) is not None


def _plan_upload(hub: Hub, target: Target, upload: Upload, private: bool, tag: str | None) -> None:
    """Compare the folder with its repository. Raises HubError for a name or a tag that is taken."""
    target.total = len(upload.items)
    state = upload.read_state()
    if state is None:
        _refuse_other_kind(hub, target)
        target.send = list(upload.items.values())
        return
    target.head, tree = state
    mark = "training.json" if target.part == "model" else _mark(target)
    foreign = sorted(set(tree) - set(upload.items) - COMMON)
    if foreign and mark not in tree:
        raise HubError(
            f"{target.repo}: is taken, as it has other files ({', '.join(foreign[:3])})",
            f"choose another name, or empty it first: {target.address}",
        )
    target.send, target.delete = upload.changes(tree)
    if private and not _is_private(hub, target):
        raise HubError(f"{target.repo}: exists, and is public", f"make it private in {target.address}/settings first")
    tagged = _list_tags(hub, target).get(tag) if tag else None
    if tagged and (tagged != target.head or target.send or target.delete):
        raise HubError(f"{target.repo}: the tag {tag} is of another state already", "choose another --revision")


def _is_private(hub: Hub, target: Target) -> bool:
    return bool(hub.call(f"look at {target.repo}", hub.api.repo_info, target.repo, repo_type=target.kind).private)


def _refuse_other_kind(hub: Hub, target: Target) -> None:
    for kind in ("dataset", "model", "space"):
        if kind == target.kind:
            continue
        try:
            exists = hub.call("look", hub.api.repo_exists, target.repo, repo_type=kind)
        except HubError as error:
            if http_status(find_cause(error)) == 401:
                continue
            raise
        if exists:
            raise HubError(
                f"{target.repo}: is a {kind} on the Hub, not a {target.kind}",
                "choose another name" + (": --model-repo NAMESPACE/NAME" if target.part == "model" else ""),
            )


def _create(hub: Hub, target: Target, private: bool) -> None:
    hub.call(
        f"create {target.repo}", hub.api.create_repo, target.repo, repo_type=target.kind, private=private or None,
        exist_ok=True, space_sdk=read_sdk(target.folder) if target.kind == "space" else None,
    )  # fmt: skip


def _list_tags(hub: Hub, target: Target, codes: Collection[int | None] = TEMPORARY) -> dict[str, str]:
    refs = hub.call(
        f"list the tags of {target.repo}", hub.api.list_repo_refs, target.repo, repo_type=target.kind, codes=codes
    )  # fmt: skip
    return {tag.name: tag.target_commit for tag in refs.tags}


def _set_tag(hub: Hub, target: Target, tag: str) -> None:
    """Tag the commit. Raises HubError if the tag is of another one."""
    if _list_tags(hub, target, AFTER_WRITE).get(tag) != target.head:
        hub.call(
            f"tag {target.repo} as {tag}", hub.api.create_tag, target.repo, tag=tag, revision=target.head,
            repo_type=target.kind, exist_ok=True, codes=AFTER_WRITE,
        )  # fmt: skip
        if _list_tags(hub, target, AFTER_WRITE).get(tag) != target.head:
            raise HubError(f"{target.repo}: the tag {tag} is of another commit now", "choose another --revision")
