"""Sounds that belong to no corpus: what was generated or dropped in. Kept in memory, the oldest forgotten."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from threading import Lock

SHELF_BYTES = 256_000_000


class Shelf:
    """FLAC bytes by names that nobody can guess, at most `capacity` bytes of them."""

    def __init__(self, capacity: int = SHELF_BYTES) -> None:
        self._capacity, self._lock = capacity, Lock()
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    def put(self, flac: bytes) -> str:
        """Keep a sound; its name. The oldest go where there is no room, never the newest."""
        name = secrets.token_urlsafe(12)
        with self._lock:
            self._kept[name] = flac
            while len(self._kept) > 1 and sum(map(len, self._kept.values())) > self._capacity:
                self._kept.popitem(last=False)
        return name

    def get(self, name: str) -> bytes | None:
        """The sound of that name, None where it is forgotten or never was."""
        with self._lock:
            return self._kept.get(name)
