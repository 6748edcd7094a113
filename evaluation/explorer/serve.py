"""The explorer's page served until it is stopped: what `synthmir explore` and a Space's app.py call."""

from __future__ import annotations

import os
import sys
import threading
import webbrowser

from .clip_table import Clips
from .framework import load_gradio
from .server import running


def serve(
    run_or_repo: str,
    against: str | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    limit: int | None = None,
    browser: bool = True,
) -> None:
    """Open a corpus, and another to compare it with, and serve the page until Ctrl-C. `browser`: show it, too.

    Raises BackendError without gradio or where the port is taken, DataError, HubError.
    """
    load_gradio()  # before the corpus: what is missing is told at once
    clips = Clips.open(run_or_repo, limit=limit)
    other = Clips.open(against, limit=limit) if against is not None else None
    with running(clips, other, host, port) as address:
        print(f"{clips.source.name}: {len(clips):,} clips at {address} (Ctrl-C stops)", file=sys.stderr, flush=True)  # noqa: T201
        if browser and _has_screen():
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return


def _has_screen() -> bool:
    """Whether a browser has somewhere to open: without, Python would start one that takes the terminal."""
    return sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
