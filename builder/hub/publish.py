"""A run's corpus and model, metrics or a Space to the Hub: checked, sent, resumed after any failure, tagged last."""

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
from .client import PASSING, WRITTEN, Hub, find_cause, http_status, quiet_client
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
COMMON = {".gitattributes", ".gitignore", CARD, "LICENSE", "LICENSE.md"}  # what a repository may hold besides


@dataclass
class Target:
    """One folder and the repository that it becomes."""

    part: FolderKind
    folder: Path
    repo: str
    address: str
    head: str | None = None  # None: not on the Hub yet
    send: list[UploadItem] = field(default_factory=list)
    delete: list[str] = field(default_factory=list)
    total: int = 0  # files
    pull_url: str | None = None
    tag: str | None = None

    @property
    def kind(self) -> str:
        """What the Hub calls it: dataset, model or space."""
        return KINDS[self.part]

    @property
    def lines(self) -> list[str]:
        """Three lines that load it."""
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
    """Send what `run` holds to `repo`, and say where it is. See `synthmir publish --help` for what the options mean.

    With both, `repo` is the data set's and `model_repo` (default: repo-task) the model's. With one of them, the
    other's address is only linked. Of metrics, `repo` may be the namespace alone: each has its own name; `metrics` is
    where those lie that `run` may name. `meter(stage)` gives what hears how far it is, in clips and bytes.
    Raises DataError for folders that are not sound, HubError for what the Hub refuses; a tag is set last of all.
    """
    if what is not None and what not in PARTS:
        raise RecipeError(f"--what {what}: not one of {', '.join(PARTS)}")
    if pull_request and revision:
        raise RecipeError("--pr and --revision: a pull request is no release yet", "merge it, then tag it")
    if revision is not None and not TAG.fullmatch(revision):
        raise RecipeError(
            f"--revision {revision!r}: not a name for a tag", "use letters, digits, dots and dashes: v1.0"
        )
    found = find_folders(run, what, metrics)
    for part, folder in found:
        check_finished(part, folder)
    names = _names(found, repo, model_repo, dataset_repo)
    with quiet_client():
        hub = Hub.connect(endpoint, notice, anonymous=dry_run)
        targets = [
            Target(part, folder, name, hub.address(KINDS[part], name), tag=revision)
            for (part, folder), name in zip(found, names, strict=True)
        ]
        known = {"corpus": dataset_repo, "model": model_repo} | {target.part: target.repo for target in targets}
        uploads = [_upload(hub, target, known, pull_request) for target in targets]
        pairs = list(zip(targets, uploads, strict=True))
        cards = [(upload.items[CARD].text(), target.kind, f"{target.folder}/{CARD}") for target, upload in pairs]
        for card in cards:
            check_card(*card)
        for target, upload in pairs:
            _look(hub, target, upload, private, revision)
        for card in cards:
            hub.validate_card(*card)
        for target in targets:
            check_folder(target.part, target.folder, meter("verify"))
            if target.part == "model" and (weights := find_local_weights(target.folder)):
                notice(f"{target.repo} hears through weights of this machine, which others must have too: {weights}")
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
                _tag(hub, target, revision)
    return targets


def _names(
    found: list[tuple[FolderKind, Path]], repo: str, model_repo: str | None, dataset_repo: str | None
) -> list[str]:
    """The repository of each folder. Raises HubError for a name, a linked one too, that the Hub cannot have."""
    names = []
    for part, folder in found:
        if part == "metric":
            names.append(name_metric_repo(folder, repo, alone=len(found) == 1))
        elif part == "model" and len(found) > 1:
            names.append(model_repo or f"{repo}-{model_config(folder).get('task', 'genre')}")
        else:
            names.append(repo)
    linked = model_repo if found[0][0] == "corpus" else dataset_repo if found[0][0] == "model" else None
    for name in [*names, *([linked] if linked else [])]:
        try:
            validate_repo_id(name)
        except HFValidationError as error:
            raise HubError(f"{name}: {error}", "a name is NAMESPACE/NAME, of letters, digits, -, _ and .") from None
        if "/" not in name:
            raise HubError(f"{name}: lacks whose it is", f"write NAMESPACE/{name}: your account's or organisation's")
    return names


def _upload(hub: Hub, target: Target, known: dict[str, str | None], pull_request: bool) -> Upload:
    """How a folder goes. `known`: the repositories of corpus and model, which name each other in their cards."""
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
        hub, target.kind, target.repo, files, title, LAST[target.part], stale=_stale(target, files),
        pull_request=pull_request,
    )  # fmt: skip


def _mark(target: Target) -> str:
    """The file by which a repository is known to be of the same sort."""
    marks = {"model": "model.safetensors", "metric": f"{target.folder.resolve().name}.py"}
    return marks.get(target.part, SUMS)


def _stale(target: Target, files: dict[str, UploadItem]) -> Callable[[str], bool]:
    """What goes from a repository if the folder has it no more."""
    if target.part == "corpus":
        return _is_shard
    folders = {path.partition("/")[0] for path in files if "/" in path} if target.part == "space" else set()
    return lambda path: "/" in path and path.partition("/")[0] in folders


def _is_shard(path: str) -> bool:
    """A shard of a corpus, of this one or of one that it takes the place of."""
    return path.count("/") == 1 and SHARD_FILE.match(path.split("/")[1]) is not None


def _look(hub: Hub, target: Target, upload: Upload, private: bool, tag: str | None) -> None:
    """See what is there. Raises HubError for a name that is taken, and for a tag that stands for something else."""
    target.total = len(upload.items)
    state = upload.look()
    if state is None:
        _refuse_other_kind(hub, target)
        target.send = list(upload.items.values())
        return
    target.head, tree = state
    mark = "training.json" if target.part == "model" else _mark(target)
    foreign = sorted(set(tree) - set(upload.items) - COMMON)
    if foreign and mark not in tree:
        raise HubError(
            f"{target.repo}: is taken, it holds something else ({', '.join(foreign[:3])})",
            f"choose another name, or empty it first: {target.address}",
        )
    target.send, target.delete = upload.changes(tree)
    if private and not _is_private(hub, target):
        raise HubError(
            f"{target.repo}: is there already, and public", f"make it private in {target.address}/settings first"
        )
    there = _tags(hub, target).get(tag) if tag else None
    if there and (there != target.head or target.send or target.delete):
        raise HubError(f"{target.repo}: the tag {tag} stands for another state already", "choose another --revision")


def _is_private(hub: Hub, target: Target) -> bool:
    return bool(hub.ask(f"look at {target.repo}", hub.api.repo_info, target.repo, repo_type=target.kind).private)


def _refuse_other_kind(hub: Hub, target: Target) -> None:
    for kind in ("dataset", "model", "space"):
        if kind == target.kind:
            continue
        try:
            there = hub.ask("look", hub.api.repo_exists, target.repo, repo_type=kind)
        except HubError as error:
            if http_status(find_cause(error)) == 401:
                continue
            raise
        if there:
            raise HubError(
                f"{target.repo}: is a {kind} on the Hub, not a {target.kind}",
                "choose another name" + (": --model-repo NAMESPACE/NAME" if target.part == "model" else ""),
            )


def _create(hub: Hub, target: Target, private: bool) -> None:
    hub.ask(
        f"create {target.repo}", hub.api.create_repo, target.repo, repo_type=target.kind, private=private or None,
        exist_ok=True, space_sdk=read_sdk(target.folder) if target.kind == "space" else None,
    )  # fmt: skip


def _tags(hub: Hub, target: Target, codes: Collection[int | None] = PASSING) -> dict[str, str]:
    refs = hub.ask(
        f"list the tags of {target.repo}", hub.api.list_repo_refs, target.repo, repo_type=target.kind, codes=codes
    )  # fmt: skip
    return {tag.name: tag.target_commit for tag in refs.tags}


def _tag(hub: Hub, target: Target, tag: str) -> None:
    """Name the commit. Raises HubError if the tag stands for another one."""
    if _tags(hub, target, WRITTEN).get(tag) != target.head:
        hub.ask(
            f"tag {target.repo} as {tag}", hub.api.create_tag, target.repo, tag=tag, revision=target.head,
            repo_type=target.kind, exist_ok=True, codes=WRITTEN,
        )  # fmt: skip
        if _tags(hub, target, WRITTEN).get(tag) != target.head:
            raise HubError(f"{target.repo}: the tag {tag} now stands for another commit", "choose another --revision")
