"""Audio that belongs to no corpus, such as generated clips and uploaded recordings, kept in memory."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from threading import Lock

CAPACITY = 256_000_000  # bytes


class AudioCache:
    """FLAC files by random names. When they take more than `capacity` bytes, the oldest are dropped."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity, self._lock = capacity, Lock()
        self._files: OrderedDict[str, bytes] = OrderedDict()

    def put(self, flac: bytes) -> str:
        """Store a file and return its name. The newest file is always kept, whatever its size."""
        name = secrets.token_urlsafe(12)
        with self._lock:
            self._files[name] = flac
            while len(self._files) > 1 and sum(map(len, self._files.values())) > self._capacity:
                self._files.popitem(last=False)
        return name

    def get(self, name: str) -> bytes | None:
        """Return a file, or None if there is none of that name any more."""
        with self._lock:
            return self._files.get(name)
