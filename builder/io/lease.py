"""A lock in an object store: an object that its owner rewrites, with a counter, as long as it works.

No clocks are compared: who finds a lock watches, by a clock of its own, whether the counter moves. One that stands
still for `PATIENCE` signs of life is a dead owner's, and is taken over. An owner that finds another's name in its lock
stops.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from ..errors import DataError
from ..interrupts import clear_interrupt, interrupt_main
from .safe_files import parse_json
from .storage import delete_file, storage_errors, store_of

PATIENCE = 5  # signs of life that a lock may miss
log = logging.getLogger(__name__)


@contextmanager
def leased(lock: Any) -> Iterator[None]:
    """Hold `lock`, the place of an object in a store; a second run is refused with DataError.

    It is the first thing that is written: rights that are missing are told here, as `reaching` tells them.
    """
    lease = _Lease(lock)
    with storage_errors(lock.parent):
        _try_rights(lock.with_name(f"probe-{lease.owner}"))
        lease.acquire()
    turning = threading.Thread(target=lease.turn, daemon=True)
    turning.start()
    try:
        yield
    except KeyboardInterrupt:
        if lease.lost:
            clear_interrupt()
            raise DataError(f"{lock.parent.parent}: another run has taken this over", "let it finish") from None
        raise
    finally:
        lease.done.set()
        turning.join(2.0)  # it may hang on the network
        if not lease.lost:
            lease.release()


class _Lease:
    def __init__(self, lock: Any) -> None:
        self.fs = lock.fs
        self.lock, self.key, self.beat = lock, str(lock.path), store_of(lock).beat
        self.owner, self.count = uuid4().hex, 0
        self.done, self.lost = threading.Event(), False

    def acquire(self) -> None:
        """Make the lock, or take a dead owner's. Raises DataError while another owner lives."""
        while not self._create():
            found = self._read()
            if found is None:
                continue  # let go just now
            if not _dead(found):
                self._watch(found)
            if self._read() == found:
                delete_file(self.lock)

    def _create(self) -> bool:
        try:
            self.fs.pipe_file(self.key, self._content(), mode="create")
        except FileExistsError:
            return False
        except OSError as error:
            if "PreconditionFailed" in str(error.__cause__) or "ConditionalRequestConflict" in str(error.__cause__):
                return False
            if error.errno != errno.ENOSYS:
                raise
            if self._read() is not None:
                return False
            self.fs.pipe_file(self.key, self._content())  # no conditions here: `turn` sees who came last
        return True

    def _content(self) -> bytes:
        told: dict[str, Any] = {"owner": self.owner, "count": self.count}
        if self.lock.protocol != "hf":  # where it would be public
            told |= {"host": socket.gethostname(), "pid": os.getpid(), "processes": _processes()}
        return json.dumps(told).encode()

    def _read(self) -> dict[str, Any] | None:
        self.fs.invalidate_cache()
        try:
            return dict(parse_json(self.fs.cat_file(self.key)))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            return {}  # not what we write: it will stand still

    def _watch(self, found: dict[str, Any]) -> None:
        """Return when the lock has stood still long enough; raise DataError as soon as it moves."""
        log.warning("%s: is held; waiting up to %.0f s for a sign of its owner", self.lock, PATIENCE * self.beat)
        until = time.monotonic() + PATIENCE * self.beat
        while time.monotonic() < until:
            time.sleep(self.beat / 2)
            now = self._read()
            if now is None:
                return
            if now != found:
                raise self._taken(now)

    def _taken(self, by: dict[str, Any]) -> DataError:
        whose = f" ({by['host']}, process {by['pid']})" if by.get("host") else ""
        return DataError(
            f"{self.lock.parent.parent}: another run is at work here{whose}", "wait for it, or stop it first"
        )

    def turn(self) -> None:
        """Rewrite the lock until `done`; interrupt the main thread when it is another's."""
        wait = min(self.beat, 2.0)  # soon: another may have come in the same moment
        while not self.done.wait(wait):
            wait = self.beat
            try:
                found = self._read()
                if found is not None and found.get("owner") != self.owner:
                    self.lost = True
                    interrupt_main()
                    return
                self.count += 1
                self.fs.pipe_file(self.key, self._content())
            except Exception as error:  # a bad moment of the network: the next turn comes before the patience ends
                log.warning("%s: cannot be renewed: %s", self.lock, type(error).__name__)

    def release(self) -> None:
        """Let go, if it is still ours. What cannot be deleted is taken over by the next run, later."""
        try:
            if (self._read() or {}).get("owner") == self.owner:
                delete_file(self.lock)
        except Exception as error:
            log.warning("%s: cannot be deleted: %s", self.lock, type(error).__name__)


def _try_rights(probe: Any) -> None:
    """Write, read and delete a few bytes."""
    if probe.protocol == "hf":  # two commits more; the lock itself tells
        return
    probe.fs.pipe_file(probe.path, b"rights")
    probe.fs.cat_file(probe.path)
    probe.fs.rm_file(probe.path)


def _processes() -> str | None:
    """What this process's number is one of: this boot of this machine, and its space of process numbers."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None


def _dead(found: dict[str, Any]) -> bool:
    """Whether the owner was a process that could be seen from here, and is gone."""
    if found.get("processes") is None or found["processes"] != _processes():
        return False
    return not Path(f"/proc/{found['pid']}").exists()
