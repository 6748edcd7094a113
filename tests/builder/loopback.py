"""A Hub on this machine that serves folders, with the routes that loading a model needs."""

from __future__ import annotations

import hashlib
import json
import threading
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import _http

COMMIT = "0123456789abcdef0123456789abcdef01234567"
BRANCHES = ("main", "v1", COMMIT)
NOBODY = "http://127.0.0.1:9"  # a port without a server

models: dict[str, Path] = {}  # "owner/name": the folder that is served
gated: set[str] = set()


def hub(monkeypatch: pytest.MonkeyPatch, cache: Path, shelf: dict[str, Path], locked: set[str] | None = None) -> None:
    """Let `huggingface_hub` use a server on this machine with the models of `shelf`; those in `locked` are gated."""
    models.clear()
    models.update(shelf)
    gated.clear()
    gated.update(locked or ())
    _point(monkeypatch, _serve(), cache)


def no_network(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Let `huggingface_hub` find no server, without waiting for retries."""
    _point(monkeypatch, NOBODY, cache)
    monkeypatch.setattr(_http.time, "sleep", lambda seconds: None)


def _point(monkeypatch: pytest.MonkeyPatch, address: str, cache: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))


@lru_cache  # one for the whole process, as transformers keeps the first address
def _serve() -> str:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """Answers with the Hub's status codes."""

    def do_GET(self) -> None:
        self._answer(send=True)

    def do_HEAD(self) -> None:
        self._answer(send=False)

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self, send: bool) -> None:
        path = unquote(self.path.partition("?")[0]).lstrip("/")
        listing = path.startswith("api/models/")
        place, _, rest = path.removeprefix("api/models/").partition("/tree/" if listing else "/resolve/")
        revision, _, file = rest.partition("/")
        if place not in models:
            return self._refuse(401, "RepoNotFound")
        if place in gated:
            return self._refuse(403, "GatedRepo")
        if revision not in BRANCHES:
            return self._refuse(404, "RevisionNotFound")
        if listing and not file:
            files = models[place].iterdir()
            listed = [{"type": "file", "path": p.name, "size": p.stat().st_size, "oid": p.name} for p in files]
            content = json.dumps(listed).encode()
        elif not listing and (models[place] / file).is_file():
            content = (models[place] / file).read_bytes()
        else:
            return self._refuse(404, "EntryNotFound")
        self._head(200, len(content))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.end_headers()
        if send:
            self.wfile.write(content)
        return None

    def _refuse(self, status: int, code: str) -> None:
        self._head(status, 0)
        self.send_header("X-Error-Code", code)
        self.end_headers()

    def _head(self, status: int, length: int) -> None:
        self.send_response(status)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(length))
