"""Progress bars and log lines of `datasets` and transformers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Hide the progress bars of `datasets` within the block."""
    import datasets

    were_hidden = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not were_hidden:
            datasets.enable_progress_bars()


@contextmanager
def quiet_transformers(verbosity: int | None = None) -> Iterator[None]:
    """Hide the progress bars of transformers within the block, and log lines below `verbosity` if it is given."""
    from transformers.utils import logging as transformers_logging

    shown, before = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    if verbosity is not None:
        transformers_logging.set_verbosity(verbosity)
    try:
        yield
    finally:
        if verbosity is not None:
            transformers_logging.set_verbosity(before)
        if shown:
            transformers_logging.enable_progress_bar()
