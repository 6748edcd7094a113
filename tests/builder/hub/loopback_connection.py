"""One connection to the loopback Hub: its routes, ordered faults, who may what, and errors in the Hub's form."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from .loopback_state import Fault, Refusal, Repo

if TYPE_CHECKING:
    from .loopback_hub import LoopbackHub

REPO = r"(?P<kind>model|dataset|space)s/(?P<id>[^/]+/[^/]+)"
PLAIN = r"/(?:(?P<kind>dataset|space)s/)?(?P<id>[^/]+/[^/]+?)"
ROUTES = [  # name, method, path
    ("whoami", "GET", r"/api/whoami-v2"),
    ("create", "POST", r"/api/repos/create"),
    ("validate", "POST", r"/api/validate-yaml"),
    ("preupload", "POST", rf"/api/{REPO}/preupload/(?P<rev>[^/]+)"),
    ("commit", "POST", rf"/api/{REPO}/commit/(?P<rev>[^/]+)"),
    ("tree", "GET", rf"/api/{REPO}/tree/(?P<rev>[^/]+)(?:/(?P<path>.+))?"),
    ("paths", "POST", rf"/api/{REPO}/paths-info/(?P<rev>[^/]+)"),
    ("xet", "GET", rf"/api/{REPO}/xet-write-token/(?P<rev>[^/]+)"),
    ("refs", "GET", rf"/api/{REPO}/refs"),
    ("tag", "POST", rf"/api/{REPO}/tag/(?P<rev>[^/]+)"),
    ("branch", "POST", rf"/api/{REPO}/branch/(?P<name>[^/]+)"),
    ("discussions", "GET", rf"/api/{REPO}/discussions"),
    ("info", "GET", rf"/api/{REPO}(?:/revision/(?P<rev>[^/]+))?"),
    ("batch", "POST", rf"{PLAIN}\.git/info/lfs/objects/batch"),
    ("lfs-verify", "POST", r"/lfs/verify"),
    ("put", "PUT", r"/lfs/(?P<oid>[0-9a-f]{64})"),
    ("head", "HEAD", rf"{PLAIN}/resolve/(?P<rev>[^/]+)/(?P<path>.+)"),
    ("get", "GET", rf"{PLAIN}/resolve/(?P<rev>[^/]+)/(?P<path>.+)"),
]
COMPILED = [(name, method, re.compile(pattern)) for name, method, pattern in ROUTES]


class Connection(BaseHTTPRequestHandler):
    """Reads a request, spoils it if so ordered, else lets the route `on_NAME` answer."""

    hub: LoopbackHub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.hub.live.add(self.connection)

    def finish(self) -> None:
        self.hub.live.discard(self.connection)
        super().finish()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def _serve(self) -> None:
        url = urlsplit(self.path)
        self.query = {key: values[0] for key, values in parse_qs(url.query).items()}
        self.body: bytes | None = None
        self.left = int(self.headers.get("Content-Length") or 0)
        routes = ((name, pattern.fullmatch(url.path)) for name, method, pattern in COMPILED if method == self.command)
        name, match = next(((name, match) for name, match in routes if match), ("", None))
        if match is None:
            self.hub.problem(f"unknown route: {self.command} {self.path}")
            return self._answer(404, {"error": "unknown route"})
        self.parts = {key: unquote(value) if value else value for key, value in match.groupdict().items()}
        with self.hub.lock:
            self.hub.log.append(f"{name} {unquote(url.path)}")
            fault = self._fault(name)
            if self.hub.every and len(self.hub.log) % self.hub.every[0] == 0:
                fault = Fault(name, self.hub.every[1])
        if fault is not None and self._spoil(fault, name):
            return None
        try:
            if name != "put":
                self._read_body()
                if self.command == "POST" and self.headers.get("Content-Length") is None:
                    self.hub.problem(f"{name}: a POST of unknown length")
            with threading.Lock() if name in ("put", "get", "head") else self.hub.lock:
                self.user = self._authorise(name)
                answer = getattr(self, f"on_{name.replace('-', '_')}")()
        except (KeyError, TypeError, ValueError, AssertionError) as error:
            self.hub.problem(f"{name}: a request that cannot be read: {error!r}")
            return self._answer(400, {"error": "malformed"})
        except Refusal as refusal:
            headers = {"X-Error-Message": refusal.message} | ({"X-Error-Code": refusal.code} if refusal.code else {})
            return self._answer(refusal.status, {"error": refusal.message, **refusal.more}, headers)
        if fault is not None and fault.unsaid:
            self.close_connection = True
            return self.connection.shutdown(socket.SHUT_RDWR)
        return None if answer is None else self._answer(200, answer)

    def _fault(self, name: str) -> Fault | None:
        for fault in self.hub.faults:
            if fault.route == name and fault.times:
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                return fault
        return None

    def _spoil(self, fault: Fault, name: str) -> bool:
        """Whether the fault answered."""
        time.sleep(fault.delay)
        if fault.cut is not None:
            taken = self.rfile.read(min(fault.cut, self.left))
            if name == "put" and taken:
                self.hub.begun[self.parts["oid"]] += 1
            if fault.action:
                fault.action()
            self.close_connection = True
            self.connection.close()
            return True
        if fault.action:
            fault.action()
        if fault.status is None:
            return False
        if name == "put" and self.left:
            self.hub.begun[self.parts["oid"]] += 1
        self._read_body()
        headers = {} if fault.page else {"X-Error-Message": fault.message}
        self._answer(fault.status, fault.page or {"error": fault.message}, headers | fault.headers)
        return True

    def _read_body(self) -> None:
        self.body = self.rfile.read(self.left) if self.left else b""
        self.left = 0

    def _answer(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        if self.left:
            self._read_body()
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for key, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _authorise(self, name: str) -> dict[str, Any] | None:
        header = self.headers.get("Authorization")
        if name == "put":
            if header is not None:
                self.hub.problem("put: the token was sent to the storage")
            return None
        if header is None:
            if name in ("get", "head", "tree", "info", "paths", "refs", "validate"):
                return None
            raise Refusal(401, "Authorization header is missing")
        user = self.hub.users.get(header.removeprefix("Bearer "))
        if user is None:
            raise Refusal(401, "Invalid credentials in Authorization header")
        return user

    def _may_write(self, space: str) -> bool:
        user = self.user
        return user is not None and user["role"] == "write" and (space == user["name"] or space in user["orgs"])

    def _repo(self, write: bool = False) -> Repo:
        kind, id = self.parts.get("kind") or "model", self.parts["id"]
        repo = self.hub.repos.get((kind, id))
        member = self.user is not None and id.split("/")[0] in (self.user["name"], *self.user["orgs"])
        if repo is None or (repo.private and not member):
            raise Refusal(404 if self.user else 401, "Repository not found", "RepoNotFound")
        if write and not (self._may_write(id.split("/")[0]) or (self.query.get("create_pr") and self.user)):
            raise Refusal(403, f"You do not have write access to {id} with this token")
        return repo

    def _commit_of(self, repo: Repo) -> str:
        oid = repo.resolve(self.parts.get("rev") or "main")
        if oid is None:
            raise Refusal(404, f"Invalid rev id: {self.parts['rev']}", "RevisionNotFound")
        return oid

    def _json(self, kind: str = "application/json") -> Any:
        if not (self.headers.get("Content-Type") or "").startswith(kind):
            self.hub.problem(f"{self.path}: sent as {self.headers.get('Content-Type')}, not {kind}")
        return json.loads(self.body or b"null")
