"""The explorer as a web application: the page, the clips' audio and images, and what is refused."""

from __future__ import annotations

import logging
import os
import socket
import sys
import tempfile
import threading
import time
import webbrowser
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from builder.errors import BackendError, SynthmirError

from .clip_table import Clips
from .gradio_loader import load_gradio, without_web_app

if TYPE_CHECKING:
    from fastapi import FastAPI, Request, Response

MAX_UPLOAD = "100mb"
# Gradio's routes to other files and to other servers, which this page does not use.
REFUSED_PATHS = (
    "/gradio_api/file", "/gradio_api/proxy", "/gradio_api/stream", "/monitoring", "/custom_component",
)  # fmt: skip
HEADERS = {
    # Gradio compiles its templates in the browser, hence 'unsafe-eval'. No other server may be contacted.
    "content-security-policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'self' https://huggingface.co",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")
CACHE_HEADERS = {"cache-control": "private, max-age=3600"}  # addresses change with each run, so nothing gets stale
MEDIA_TYPES = {
    ".flac": "audio/flac", ".wav": "audio/wav", ".mp3": "audio/mpeg", ".ogg": "audio/ogg", ".opus": "audio/ogg",
}  # fmt: skip

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Message, Receive, Send], Awaitable[None]]


def serve(
    run_or_repo: str,
    against: str | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    limit: int | None = None,
    browser: bool = True,
) -> None:
    """Open a corpus and serve its page until Ctrl-C. A Space's app.py calls this too.

    Args:
        run_or_repo: A run, a corpus folder, or NAMESPACE/NAME[@REVISION] on the Hub.
        against: Another one to compare it with.
        host: The address to listen on; "0.0.0.0" is reachable from the network.
        port: 0 takes any free port.
        limit: How many clips at most, evenly from all genres.
        browser: Also open the page in the user's browser.

    Raises:
        BackendError: Gradio is not installed, or the port is taken.
        DataError: It is not a corpus, or cannot be read.
        HubError: The repository cannot be read.
    """
    load_gradio()  # before the corpus, so that a missing package is reported at once
    clips = Clips.open(run_or_repo, limit=limit)
    other = Clips.open(against, limit=limit) if against is not None else None
    with running_server(clips, other, host, port) as address:
        print(f"{clips.summary.name}: {len(clips):,} clips at {address} (Ctrl-C stops)", file=sys.stderr, flush=True)  # noqa: T201
        if browser and _has_display():
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return


def _has_display() -> bool:
    """Whether a graphical browser can open. Otherwise Python might start one that takes over the terminal."""
    return sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def create_app(clips: Clips, other: Clips | None = None, host: str = "127.0.0.1", port: int = 7860) -> FastAPI:
    """Create the web application of one corpus, or of two that are compared.

    If it is bound to a loopback address, it only answers requests for a loopback host name. That refuses pages of
    other sites whose names resolve to this machine (DNS rebinding).

    Args:
        clips: The clips of the corpus.
        other: The clips of a second corpus, which adds the tab "Compare".
        host: The address that the server is bound to.
        port: The port that the server is bound to.

    Returns:
        The application, which a server such as uvicorn runs.

    Raises:
        BackendError: Gradio is not installed.
    """
    gradio = load_gradio()
    from fastapi import FastAPI, HTTPException, Response
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.responses import PlainTextResponse

    from .page import ExplorerPage
    from .theme import CSS, create_theme

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    page = ExplorerPage(clips, other)
    with without_web_app():
        blocks = page.build()

    def requested_clip(request: Request) -> tuple[Clips, int]:
        side, position = request.path_params["side"], request.path_params["position"]
        html = page.context.html.get(side)
        if html is None or not 0 <= position < len(html.clips):
            raise HTTPException(404, "no such clip")
        return html.clips, position

    def send_clip(request: Request) -> Response:
        corpus, position = requested_clip(request)
        data, suffix = corpus.read_audio(position)
        media_type = MEDIA_TYPES.get(suffix, "application/octet-stream")
        return create_range_response(data, media_type, request.headers.get("range"))

    def send_image(request: Request) -> Response:
        corpus, position = requested_clip(request)
        return Response(corpus.render_thumbnail(position), media_type="image/png", headers=CACHE_HEADERS)

    def send_roll(request: Request) -> Response:
        from ..rendering.piano_roll import render_piano_roll

        corpus, position = requested_clip(request)
        if (annotation := corpus.read_annotation(position)) is None:
            raise HTTPException(404, "not annotated")
        return Response(render_piano_roll(annotation), media_type="image/svg+xml", headers=CACHE_HEADERS)

    def send_stem(request: Request) -> Response:
        corpus, position = requested_clip(request)
        stem = request.path_params["stem"]
        if stem not in corpus.list_stems(position):
            raise HTTPException(404, "no such stem")
        data, suffix = corpus.read_stem(position, stem)
        media_type = MEDIA_TYPES.get(suffix, "application/octet-stream")
        return create_range_response(data, media_type, request.headers.get("range"))

    def send_cached_audio(request: Request) -> Response:
        if (data := page.context.audio_cache.get(request.path_params["name"])) is None:
            raise HTTPException(404, "no such audio")
        return create_range_response(data, "audio/flac", request.headers.get("range"))

    app.add_route("/clip/{side}/{position:int}.flac", send_clip)
    app.add_route("/clip/{side}/{position:int}.png", send_image)
    app.add_route("/clip/{side}/{position:int}.svg", send_roll)
    app.add_route("/clip/{side}/{position:int}/{stem}.flac", send_stem)
    app.add_route("/sound/{name}.flac", send_cached_audio)
    app.add_exception_handler(SynthmirError, lambda _, error: PlainTextResponse(error.message, 500))

    # Set explicitly, as GRADIO_* variables could otherwise open the page to others or start more than a page.
    gradio.mount_gradio_app(
        app, blocks, "/", server_name=host, server_port=port, footer_links=[], run_history=False, allowed_paths=[],
        show_error=False, max_file_size=MAX_UPLOAD, ssr_mode=False, enable_monitoring=False, pwa=False,
        mcp_server=False, theme=create_theme(), css=CSS,
    )  # fmt: skip
    mounted: Any = app.routes[-1]
    blocks.app = mounted.app  # Gradio ends sessions, and frees their state, through this application
    blocks.has_launched = True  # not set on mounted pages, and without it Gradio accepts any path as an upload
    app.add_middleware(RequestGuard)
    if host in LOOPBACK:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(LOOPBACK), www_redirect=False)
    return app


def create_range_response(data: bytes, media_type: str, range_header: str | None) -> Response:
    """Create a response with the bytes that a `Range` header asks for (RFC 9110, section 14), as players send to seek.

    Args:
        data: The whole file.
        media_type: The file's media type: "audio/flac".
        range_header: The value of the `Range` header. Several ranges, or a header that is not understood, give all
            bytes, as None does.

    Returns:
        A response with status 206 and the range, 200 and all bytes, or 416 if the range starts after the end.
    """
    from fastapi import Response

    headers = CACHE_HEADERS | {"accept-ranges": "bytes"}
    unit, _, ranges = (range_header or "").replace(" ", "").partition("=")
    first, dash, last = ranges.partition("-")
    if unit != "bytes" or not dash or not (first + last).isdecimal():
        return Response(data, media_type=media_type, headers=headers)
    start = int(first) if first else max(0, len(data) - int(last))
    end = min(int(last), len(data) - 1) if first and last else len(data) - 1
    if start > end:
        return Response(status_code=416, headers=headers | {"content-range": f"bytes */{len(data)}"})
    headers |= {"content-range": f"bytes {start}-{end}/{len(data)}"}
    return Response(data[start : end + 1], 206, media_type=media_type, headers=headers)


class RequestGuard:
    """ASGI middleware that refuses `REFUSED_PATHS` and adds `HEADERS` to every response."""

    def __init__(self, app: AsgiApp) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle a request (see ASGI)."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        from starlette.responses import PlainTextResponse

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                added = ((name.encode(), value.encode()) for name, value in HEADERS.items())
                message["headers"] = [*message["headers"], *(pair for pair in added if pair[0] not in present)]
            await send(message)

        refused = scope["path"].startswith(REFUSED_PATHS)
        app: AsgiApp = PlainTextResponse("not served here", 403) if refused else self.app
        await app(scope, receive, send_with_headers)


@contextmanager
def running_server(
    clips: Clips, other: Clips | None = None, host: str = "127.0.0.1", port: int = 7860
) -> Iterator[str]:
    """Serve in a thread until the block ends.

    Args:
        clips: The clips of the corpus.
        other: The clips of a second corpus to compare with.
        host: The address to listen on.
        port: The port to listen on. 0 takes any free port.

    Yields:
        The page's address.

    Raises:
        BackendError: Gradio is not installed, the address cannot be listened on, or the server does not start.
    """
    listener = open_socket(host, port)
    uploads, previous = tempfile.TemporaryDirectory(prefix="synthmir-"), os.environ.get("GRADIO_TEMP_DIR")
    os.environ["GRADIO_TEMP_DIR"] = uploads.name  # what Gradio stores is deleted with the server
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
        try:
            yield f"http://{_browser_host(host)}:{port}/"
        finally:
            log = logging.getLogger("uvicorn.error")  # open pages hold a connection: cutting it is not an error
            level = log.level
            log.setLevel(logging.CRITICAL + 1)
            server.should_exit = True
            thread.join(timeout=5)
            log.setLevel(level)
    finally:
        listener.close()
        os.environ.pop("GRADIO_TEMP_DIR")
        if previous is not None:
            os.environ["GRADIO_TEMP_DIR"] = previous
        uploads.cleanup()


def _browser_host(host: str) -> str:
    """The host of the page's address: loopback if the server listens on all addresses."""
    every = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}
    return every.get(host, f"[{host}]" if ":" in host else host)


def open_socket(host: str, port: int) -> socket.socket:
    """Open a listening socket. Raises BackendError if the address is unknown or taken."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except (OSError, OverflowError) as error:
        raise BackendError(f"{host}:{port}: no such address: {error}", "choose another: --host, --port") from error
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
