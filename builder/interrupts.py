"""Ctrl-C and SIGTERM, handled so that none is lost.

Python swallows a KeyboardInterrupt that is raised while an object is deleted or a weak reference's callback runs.
Therefore the handler also sets a flag, and loops call `check_interrupt`.
"""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

_interrupted = threading.Event()


def handle_signal(number: int, frame: FrameType | None) -> NoReturn:
    """Set the flag and raise KeyboardInterrupt: the handler of SIGINT and SIGTERM."""
    _interrupted.set()
    raise KeyboardInterrupt


def check_interrupt() -> None:
    """Raise KeyboardInterrupt if a signal has arrived. Threads other than the main one are not interrupted."""
    if _interrupted.is_set() and threading.current_thread() is threading.main_thread():
        raise KeyboardInterrupt


def interrupt_main() -> None:
    """Interrupt the main thread as Ctrl-C does, or at its next `check_interrupt` where SIGINT is ignored."""
    _interrupted.set()
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)  # ends a wait, too
    else:  # Windows
        _thread.interrupt_main()


def clear_interrupt() -> None:
    """Clear the flag, after an interrupt has been handled."""
    _interrupted.clear()


@contextmanager
def handle_signals() -> Iterator[None]:
    """Handle SIGINT and SIGTERM while a command runs, then restore the handlers."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    signal.signal(signal.SIGTERM, handle_signal)
    if before[signal.SIGINT] is signal.default_int_handler:  # it is ignored in a background job of a shell
        signal.signal(signal.SIGINT, handle_signal)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        _interrupted.clear()


@contextmanager
def handle_interrupts() -> Iterator[None]:
    """Handle SIGINT where Python's own handler is installed, as in a notebook, then restore it."""
    is_default = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if is_default:
        _interrupted.clear()
        signal.signal(signal.SIGINT, handle_signal)
    try:
        yield
    finally:
        if is_default:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            _interrupted.clear()
