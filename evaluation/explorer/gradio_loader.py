"""Gradio without the work that it does at import and start-up but this page does not need."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from builder.errors import BackendError


def load_gradio() -> Any:
    """Import Gradio without its analytics and without rewriting its type stubs.

    Returns:
        The module `gradio`.

    Raises:
        BackendError: Gradio is not installed.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read at import; the user's own setting is kept
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
    """Keep Gradio from writing a type stub beside each component, which takes half of its import time.

    Gradio looks up the component's source file for that, and skips the stub if the file is not found.
    """
    original = inspect.getfile

    def getfile(item: Any) -> str:
        if isinstance(item, type) and item.__module__.startswith("gradio."):
            raise OSError("not needed")
        return original(item)

    inspect.getfile = getfile  # type: ignore[assignment]
    try:
        yield
    finally:
        inspect.getfile = original


@contextmanager
def without_web_app() -> Iterator[None]:
    """Build a page without a web application. Gradio builds three of them before the one that is mounted."""
    from gradio.routes import App

    original = App.__dict__["create_app"]
    App.create_app = staticmethod(lambda *_, **__: None)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        App.create_app = original  # type: ignore[method-assign]
