"""Locks of folders, so that two runs never work in the same one.

A folder of this machine is locked by the operating system (filelock). In an object store the lock is an object that
its owner rewrites, with a counter, as long as it works: a heartbeat. No clocks are compared. A run that finds the
object watches, by its own clock, whether the counter changes. If it stands still for `PATIENCE` heartbeats, its owner
is dead, and the lock is taken over. An owner that finds another owner in its lock stops.
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
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from filelock import BaseFileLock, FileLock, Timeout

from ..errors import DataError
from ..interrupts import clear_interrupt, interrupt_main
from .safe_files import parse_json
from .storage import delete_file, is_remote, object_storage_of, storage_errors, write_error

LOCK = "lock"  # the lock's name in the folder that it locks
ATTEMPTS = 100  # when a run that is ending deletes the folder in between
WAIT_SECONDS = 0.2  # for a run that is ending
UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # a network folder that is mounted without locks
PATIENCE = 5  # heartbeats that an owner may miss
FIRST_HEARTBEAT_SECONDS = 2.0  # soon: another run may have created the lock at the same moment
log = logging.getLogger(__name__)


@contextmanager
def lock_folder(work: Path) -> Iterator[None]:
    """Hold the lock of a folder inside the block. The folder is made, and deleted after if it holds only the lock.

    The lock is released when the process ends, however it ends. In an object store the lock is the first thing that
    is written, so that missing rights are found before any work is done.

    Args:
        work: The folder, in the folder that the run writes to.

    Raises:
        DataError: If another run holds the lock, or the folder cannot be locked.
    """
    if is_remote(work):
        with storage_errors(work.parent), _hold_object(work / LOCK):
            yield
        return
    lock = _acquire_file(work)
    try:
        yield
    finally:
        # Delete it while it is held, so that no other run locks a deleted file. Windows deletes it on release.
        if {path.name for path in work.glob("*")} == {LOCK}:
            with suppress(OSError):
                (work / LOCK).unlink()
        lock.release()
        with suppress(OSError):  # the folder holds more, or another run has locked it
            work.rmdir()


def _acquire_file(work: Path) -> BaseFileLock:
    """Lock a folder of this machine. Raises DataError."""
    lock = FileLock(work / LOCK, fallback_to_soft=False)
    attempts = ATTEMPTS
    while True:
        attempts -= 1
        try:
            work.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=WAIT_SECONDS, poll_interval=WAIT_SECONDS / 4)
        except Timeout:
            raise DataError(f"{work.parent}: another run is at work here", "wait for it, or stop it first") from None
        except OSError as error:
            if isinstance(error, FileNotFoundError) and attempts:
                continue  # the run that was ending has deleted the folder
            if error.errno in UNSUPPORTED:
                raise DataError(
                    f"{work.parent}: cannot be locked: {error.strerror}",
                    "mount it with locks, or choose another folder",
                ) from error
            raise DataError(
                f"cannot write in {work.parent}: {error.strerror}", write_error(work.parent, error).fix
            ) from error
        else:
            return lock


@contextmanager
def _hold_object(path: Any) -> Iterator[None]:
    """Hold a lock that is an object. Raises DataError if another run holds it, or takes it over."""
    lock = _ObjectLock(path)
    lock.check_rights()
    lock.acquire()
    heartbeat = threading.Thread(target=lock.keep_alive, daemon=True)
    heartbeat.start()
    try:
        yield
    except KeyboardInterrupt:
        if lock.lost:
            clear_interrupt()
            raise DataError(f"{path.parent.parent}: another run has taken this over", "let it finish") from None
        raise
    finally:
        lock.done.set()
        heartbeat.join(2.0)  # it may wait for the network
        if not lock.lost:
            lock.release()


class _ObjectLock:
    """A lock that is an object of a store."""

    def __init__(self, path: Any) -> None:
        self.path, self.fs, self.key = path, path.fs, str(path.path)
        self.storage = object_storage_of(path)
        self.heartbeat_seconds = self.storage.heartbeat_seconds
        self.owner, self.count = uuid4().hex, 0
        self.done, self.lost = threading.Event(), False

    def check_rights(self) -> None:
        """Write, read and delete a few bytes, unless each write is a commit."""
        if not self.storage.public:
            probe = str(self.path.with_name(f"probe-{self.owner}").path)
            self.fs.pipe_file(probe, b"rights")
            self.fs.cat_file(probe)
            self.fs.rm_file(probe)

    def acquire(self) -> None:
        """Create the lock, or take a dead owner's. Raises DataError while another owner lives."""
        while not self._create():
            content = self._read()
            if content is None:
                continue  # it was just released
            if not _is_dead(content):
                self._watch(content)
            if self._read() == content:
                delete_file(self.path)

    def _create(self) -> bool:
        """Create the object if there is none; returns whether it was created."""
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
            # The store knows no conditional writes: `keep_alive` sees which run wrote last.
            self.fs.pipe_file(self.key, self._content())
        return True

    def _content(self) -> bytes:
        content: dict[str, Any] = {"owner": self.owner, "count": self.count}
        if not self.storage.public:
            content |= {"host": socket.gethostname(), "pid": os.getpid(), "processes": _process_space()}
        return json.dumps(content).encode()

    def _read(self) -> dict[str, Any] | None:
        """Return the lock's content, None if there is no lock."""
        self.fs.invalidate_cache()
        try:
            return dict(parse_json(self.fs.cat_file(self.key)))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            return {}  # not written by synthmir: it will not change

    def _watch(self, content: dict[str, Any]) -> None:
        """Return when the lock has not changed for long enough; raise DataError as soon as it does."""
        patience = PATIENCE * self.heartbeat_seconds
        log.warning("%s: is held; waiting up to %.0f s for a sign of its owner", self.path, patience)
        until = time.monotonic() + patience
        while time.monotonic() < until:
            time.sleep(self.heartbeat_seconds / 2)
            now = self._read()
            if now is None:
                return
            if now != content:
                owner = f" ({now['host']}, process {now['pid']})" if now.get("host") else ""
                folder = self.path.parent.parent
                raise DataError(f"{folder}: another run is at work here{owner}", "wait for it, or stop it first")

    def keep_alive(self) -> None:
        """Rewrite the lock until `done` is set; interrupt the main thread if another run owns it."""
        wait = min(self.heartbeat_seconds, FIRST_HEARTBEAT_SECONDS)
        while not self.done.wait(wait):
            wait = self.heartbeat_seconds
            try:
                content = self._read()
                if content is not None and content.get("owner") != self.owner:
                    self.lost = True
                    interrupt_main()
                    return
                self.count += 1
                self.fs.pipe_file(self.key, self._content())
            except Exception as error:  # the network failed: the next heartbeat comes before the patience ends
                log.warning("%s: cannot be renewed: %s", self.path, type(error).__name__)

    def release(self) -> None:
        """Delete the lock if this run still owns it. One that cannot be deleted is taken over by the next run."""
        try:
            if (self._read() or {}).get("owner") == self.owner:
                delete_file(self.path)
        except Exception as error:
            log.warning("%s: cannot be deleted: %s", self.path, type(error).__name__)


def _process_space() -> str | None:
    """Identify the boot of this machine and the namespace that its process numbers are of; None if unknown."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None


def _is_dead(content: dict[str, Any]) -> bool:
    """Return whether the owner was a process that would be visible from here, and no longer exists."""
    if content.get("processes") is None or content["processes"] != _process_space():
        return False
    return not Path(f"/proc/{content['pid']}").exists()
