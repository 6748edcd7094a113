"""Ctrl-C and SIGTERM: heard once, obeyed whatever happens to the exception.

A KeyboardInterrupt that is raised while an object is being deleted or a weak reference's callback runs is swallowed by
Python. So the handler also leaves a mark, and who works in a loop looks at it now and then.
"""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

_heard = threading.Event()


def handle_signal(number: int, frame: FrameType | None) -> NoReturn:
    """The handler of both signals."""
    _heard.set()
    raise KeyboardInterrupt


def check_interrupt() -> None:
    """Raise KeyboardInterrupt if a signal came, from the main thread alone: it is the one that is stopped."""
    if _heard.is_set() and threading.current_thread() is threading.main_thread():
        raise KeyboardInterrupt


def interrupt_main() -> None:
    """Stop the main thread as Ctrl-C does: at once, or, where SIGINT is ignored, when it next calls `obey`."""
    _heard.set()
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)  # out of a wait, too
    else:  # Windows
        _thread.interrupt_main()


def clear_interrupt() -> None:
    """The interrupt has been obeyed: what is run next in this process is not stopped by it."""
    _heard.clear()


@contextmanager
def handle_signals() -> Iterator[None]:
    """Inside, a command is run: both signals are heard. What heard them before does so again after."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    signal.signal(signal.SIGTERM, handle_signal)
    if before[signal.SIGINT] is signal.default_int_handler:  # in a shell's background it is ignored
        signal.signal(signal.SIGINT, handle_signal)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        _heard.clear()


@contextmanager
def handle_interrupts() -> Iterator[None]:
    """Inside, Ctrl-C is heard also where nobody else has installed `hear`, and forgotten after: a notebook goes on."""
    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if ours:
        _heard.clear()
        signal.signal(signal.SIGINT, handle_signal)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            _heard.clear()
