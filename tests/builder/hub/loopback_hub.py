"""A small strict Hub on this machine: the protocol that huggingface_hub, datasets and transformers speak, and faults.

Every request that the Hub would not see from a well-behaved client is written to `problems`; a test that uses the
`hub` fixture fails if there is one. Large content is kept on disk by its hash and never held whole.
"""

from __future__ import annotations

import socket
import threading
from collections import Counter
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from .loopback_connection import ROUTES
from .loopback_routes import Routes
from .loopback_state import Entry, Fault, Repo, git_hash


class LoopbackHub:
    """The server and all that it holds. `keep=False` keeps hashes of large content only."""

    def __init__(self, root: Path, keep: bool = True) -> None:
        self.root, self.keep = root, keep
        self.users = {
            "hf_test": {"name": "me", "role": "write", "orgs": ["org"]},
            "hf_reader": {"name": "me", "role": "read", "orgs": ["org"]},
            "hf_other": {"name": "other", "role": "write", "orgs": []},
        }
        self.repos: dict[tuple[str, str], Repo] = {}
        self.sizes: dict[str, int] = {}  # of what is stored, by sha256
        self.issued: set[str] = set()  # upload addresses given out
        self.modes: dict[tuple[str, str, str], str] = {}  # what preupload said of a path
        self.faults: list[Fault] = []
        self.every: tuple[int, int] | None = None  # (n, status): each n-th request is answered by this status
        self.handled: Counter[str] = Counter()  # "preupload PATH" and "batch SHA256", answered as asked
        self.problems: list[str] = []
        self.log: list[str] = []  # "route path" of every request
        self.begun: Counter[str] = Counter()  # PUTs by sha256: some of the body came
        self.whole: Counter[str] = Counter()  # PUTs by sha256: all of it came
        self.served: Counter[str] = Counter()  # bytes of downloads by path
        self.lock = threading.RLock()
        self.port = 0
        self.start()

    def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        self.live: set[socket.socket] = set()
        handler = type("Handler", (Routes,), {"hub": self})
        self.server = Server(("127.0.0.1", self.port), handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """Die: nobody listens, open connections are cut."""
        self.server.shutdown()
        self.server.server_close()
        for connection in list(self.live):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def fail(self, route: str, status: int | None = None, **options: Any) -> Fault:
        """Order a fault."""
        assert route in {name for name, _, _ in ROUTES}, route
        self.faults.append(Fault(route, status, **options))
        return self.faults[-1]

    def requests(self, route: str) -> list[str]:
        return [line.partition(" ")[2] for line in self.log if line.partition(" ")[0] == route]

    def add_repo(self, kind: str, id: str, files: dict[str, bytes] | None = None, private: bool = False) -> Repo:
        """Somebody made this repository before."""
        repo = self.repos[kind, id] = Repo(kind, id, private)
        repo.add("main", {".gitattributes": self.store(b"* text=auto\n")}, "initial commit")
        if files:
            self.push(repo, files)
        return repo

    def push(self, repo: Repo, files: dict[str, bytes], ref: str = "main") -> str:
        """Somebody else commits."""
        return repo.add(ref, repo.commits[repo.refs[ref]] | {p: self.store(c) for p, c in files.items()}, "by hand")

    def store(self, content: bytes) -> Entry:
        oid = git_hash(content)
        (self.root / oid).write_bytes(content)
        return Entry(oid, len(content))

    def content(self, kind: str, id: str, path: str) -> bytes:
        entry = self.repos[kind, id].files[path]
        return (self.root / (entry.sha256 or entry.oid)).read_bytes()

    def problem(self, what: str) -> None:
        with self.lock:
            self.problems.append(what)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a connection that was cut, by us or by the client
