"""Gradio, imported without what it does at start-up: rewriting its type stubs, and asking the network."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from builder.errors import BackendError


def load_gradio() -> Any:
    """The module `gradio`. Raises BackendError where it is not installed."""
    # Read when it is imported. What a person has set stands.
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    if (loaded := sys.modules.get("gradio")) is not None:
        return loaded
    try:
        with _no_stubs():
            import gradio
    except ImportError as error:
        raise BackendError(
            f"the explorer needs the package gradio: {error}",
            "uv sync --extra explorer, or pip install 'synthmir[explorer]'; a page that needs no server: --static DIR",
        ) from error
    return gradio


@contextmanager
def _no_stubs() -> Iterator[None]:
    """Each of Gradio's classes looks up its own file to write a stub beside it, which is half of the import's time.

    It goes on without one where the file is not to be found.
    """
    found = inspect.getfile

    def getfile(item: Any) -> str:
        if isinstance(item, type) and item.__module__.startswith("gradio."):
            raise OSError("not needed")
        return found(item)

    inspect.getfile = getfile  # type: ignore[assignment]
    try:
        yield
    finally:
        inspect.getfile = found


@contextmanager
def unserved() -> Iterator[None]:
    """Build a page without a web application: Gradio makes three of it before the one that is mounted."""
    from gradio.routes import App

    made = App.__dict__["create_app"]
    App.create_app = staticmethod(lambda *_, **__: None)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        App.create_app = made  # type: ignore[method-assign]
