"""What the loopback Hub knows: files, repositories, ordered faults."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

PREFIXES = {"model": "", "dataset": "datasets/", "space": "spaces/"}


@dataclass(frozen=True)
class Entry:
    """One file of a tree: `oid` is git's, `sha256` the content's where it is an LFS file."""

    oid: str
    size: int
    sha256: str | None = None

    def shown(self, path: str) -> dict[str, Any]:
        lfs = {"oid": self.sha256, "size": self.size, "pointerSize": 130}
        return {"type": "file", "path": path, "oid": self.oid, "size": self.size} | (
            {"lfs": lfs} if self.sha256 else {}
        )


@dataclass
class Repo:
    """Commits are whole trees; `refs` names heads of branches and of pull requests."""

    kind: str
    id: str
    private: bool
    commits: dict[str, dict[str, Entry]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    refs: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    pulls: list[str] = field(default_factory=list)  # titles; number = place + 1
    sdk: str | None = None  # of a Space

    def add(self, ref: str, tree: dict[str, Entry], message: str) -> str:
        oid = secrets.token_hex(20)
        self.commits[oid], self.refs[ref] = tree, oid
        self.messages.append(message)
        return oid

    def resolve(self, rev: str) -> str | None:
        return rev if rev in self.commits else self.refs.get(rev) or self.tags.get(rev)

    @property
    def files(self) -> dict[str, Entry]:
        """What stands on main."""
        return self.commits[self.refs["main"]]


@dataclass
class Fault:
    """What goes wrong on a route, `times` times, after `skip` requests that go well."""

    route: str
    status: int | None = None
    times: int = 1
    skip: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    message: str = "ordered fault"
    page: bytes | None = None  # answer with this, as a proxy does that is in the way
    cut: int | None = None  # read so many bytes of the body, then close the connection
    unsaid: bool = False  # do the work, then close the connection without an answer
    delay: float = 0.0
    action: Callable[[], None] | None = None  # before anything else: move a head, die


class Refusal(Exception):
    """An answer that is an error, in the Hub's form."""

    def __init__(self, status: int, message: str, code: str | None = None, **more: Any) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.more = status, message, code, more


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
