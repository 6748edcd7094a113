"""The explorer as a web application: the page, the clips' sound and pictures, and what nobody may ask for."""

from __future__ import annotations

import logging
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from builder.errors import BackendError, SynthmirError

from .framework import load_gradio, unserved
from .shelf import Shelf

if TYPE_CHECKING:
    from .clip_table import Clips

MAX_UPLOAD = "100mb"
# Gradio's own ways to other files and to other servers; this page has no use for them.
REFUSED = ("/gradio_api/file", "/gradio_api/proxy", "/gradio_api/stream", "/monitoring", "/custom_component")
HEADERS = {
    # Gradio's templates are compiled in the browser, hence 'unsafe-eval'. Nothing but this server is ever asked.
    "content-security-policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'self' https://huggingface.co",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")
KEPT = {"cache-control": "private, max-age=3600"}  # addresses hold the session's name, so nothing goes stale


def create_app(clips: Clips, other: Clips | None = None, host: str = "127.0.0.1", port: int = 7860) -> Any:
    """The FastAPI application of one corpus, or of two side by side.

    Bound to this machine alone, it answers only to this machine's names: a page elsewhere that lets its own name
    point here is refused.
    """
    gradio = load_gradio()
    from fastapi import FastAPI, HTTPException, Response
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.responses import PlainTextResponse

    from .page import build_page
    from .theme import CSS, theme

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    with unserved():
        page = build_page(clips, other)
    sides: dict[str, Clips] = {page.sides[0]: clips} | ({page.sides[1]: other} if other is not None else {})
    shelf: Shelf = page.shelf

    def clip_of(request: Any) -> tuple[Clips, int]:
        name, position = request.path_params["name"], request.path_params["position"]
        if name not in sides or not 0 <= position < len(sides[name]):
            raise HTTPException(404, "no such clip")
        return sides[name], position

    def sound(request: Any) -> Any:
        found, position = clip_of(request)
        data, suffix = found.audio(position)
        return ranged(data, MEDIA.get(suffix, "application/octet-stream"), request.headers.get("range"))

    def picture(request: Any) -> Any:
        found, position = clip_of(request)
        return Response(found.thumbnail(position), media_type="image/png", headers=KEPT)

    def kept(request: Any) -> Any:
        if (data := shelf.get(request.path_params["name"])) is None:
            raise HTTPException(404, "no such sound")
        return ranged(data, "audio/flac", request.headers.get("range"))

    app.add_route("/clip/{name}/{position:int}.flac", sound)
    app.add_route("/clip/{name}/{position:int}.png", picture)
    app.add_route("/sound/{name}.flac", kept)
    app.add_exception_handler(SynthmirError, lambda _, error: PlainTextResponse(error.message, 500))

    # GRADIO_* variables that open the page to others, or start more than a page, do not count here.
    gradio.mount_gradio_app(
        app, page, "/", server_name=host, server_port=port, footer_links=[], run_history=False, allowed_paths=[],
        show_error=False, max_file_size=MAX_UPLOAD, ssr_mode=False, enable_monitoring=False, pwa=False,
        mcp_server=False, theme=theme(), css=CSS,
    )  # fmt: skip
    mounted: Any = app.routes[-1]
    page.app = mounted.app  # where sessions end, and so where their state is to be kept
    page.has_launched = True  # a mounted page is not, and until it is Gradio takes any path for an upload
    app.add_middleware(Guard)
    if host in LOOPBACK:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(LOOPBACK), www_redirect=False)
    return app


MEDIA = {".flac": "audio/flac", ".wav": "audio/wav", ".mp3": "audio/mpeg", ".ogg": "audio/ogg", ".opus": "audio/ogg"}


def ranged(data: bytes, media: str, asked: str | None) -> Any:
    """Bytes, or the part of them that a `Range` header asks for, as players do to seek (RFC 9110, 14)."""
    from fastapi import Response

    headers = KEPT | {"accept-ranges": "bytes"}
    unit, _, parts = (asked or "").replace(" ", "").partition("=")
    first, dash, last = parts.partition("-")
    if unit != "bytes" or not dash or not (first + last).isdecimal():  # none, several, or not understood: the whole
        return Response(data, media_type=media, headers=headers)
    start = int(first) if first else max(0, len(data) - int(last))
    end = min(int(last), len(data) - 1) if first and last else len(data) - 1
    if start > end:
        return Response(status_code=416, headers=headers | {"content-range": f"bytes */{len(data)}"})
    headers |= {"content-range": f"bytes {start}-{end}/{len(data)}"}
    return Response(data[start : end + 1], 206, media_type=media, headers=headers)


class Guard:
    """Refuses Gradio's ways to files and other servers, and sends the headers above with every answer."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        from starlette.responses import PlainTextResponse

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                told = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *((k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in told),
                ]
            await send(message)

        refused = scope["path"].startswith(REFUSED)
        answer = PlainTextResponse("not served here", 403) if refused else self.app
        await answer(scope, receive, with_headers)


@contextmanager
def running(clips: Clips, other: Clips | None = None, host: str = "127.0.0.1", port: int = 7860) -> Iterator[str]:
    """Serve until the block ends; the page's address. Port 0 takes any that is free. Raises BackendError."""
    listener = _listen(host, port)
    uploads, before = tempfile.TemporaryDirectory(prefix="synthmir-"), os.environ.get("GRADIO_TEMP_DIR")
    os.environ["GRADIO_TEMP_DIR"] = uploads.name  # whatever Gradio leaves there goes with the server
    try:
        port = listener.getsockname()[1]
        app = create_app(clips, other, host, port)
        import uvicorn

        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="explorer", daemon=True)
        thread.start()
        while not server.started:
            if not thread.is_alive():
                raise BackendError(f"{host}:{port}: the server did not start")
            time.sleep(0.01)
        shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(
            host, f"[{host}]" if ":" in host else host
        )
        try:
            yield f"http://{shown}:{port}/"
        finally:
            log = logging.getLogger("uvicorn.error")  # open pages hold a connection: that it is cut is no error
            level = log.level
            log.setLevel(logging.CRITICAL + 1)
            server.should_exit = True
            thread.join(timeout=5)
            log.setLevel(level)
    finally:
        listener.close()
        os.environ.pop("GRADIO_TEMP_DIR")
        if before is not None:
            os.environ["GRADIO_TEMP_DIR"] = before
        uploads.cleanup()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except (OSError, OverflowError) as error:
        raise BackendError(f"{host}:{port}: no such address: {error}", "say another: --host, --port") from error
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise BackendError(
            f"{host}:{port}: cannot be listened on: {error.strerror or error}", "choose another port: --port N"
        ) from error
    return listener
