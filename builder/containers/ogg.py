"""Ogg: the links of a chained file, and whether each stream has its last page (RFC 3533)."""

from __future__ import annotations

from itertools import pairwise

from .layout import READ_BYTES, Layout, Stream, View, limit_streams

NO_LAST_PAGE = "an Ogg stream in it has no last page"
FIRST_PAGE, LAST_PAGE = 2, 4  # bits of a page's header


def find_ogg_streams(view: View) -> Layout:
    """Find the links of an Ogg file, one stream each. A stream that does not end with a last page is a fault."""
    links: list[int] = []
    unended: set[bytes] = set()
    at, starting, fault = 0, False, None
    while (at := _find(view, at, b"OggS\0")) < view.size:
        head = view.read(at, 27 + 255)
        kind, serial, segments = head[5], head[14:18], head[26]
        if kind & FIRST_PAGE and not starting:
            fault = fault or (NO_LAST_PAGE if unended else None)
            links.append(at)
            unended.clear()
        if starting := bool(kind & FIRST_PAGE):
            unended.add(serial)
        if kind & LAST_PAGE:
            unended.discard(serial)
        following = at + 27 + segments + sum(head[27 : 27 + segments])
        if following < view.size and view.read(following, 4) != b"OggS":
            if (page := _find(view, at + 4, b"OggS\0")) < following:
                fault = fault or "it breaks off in the middle of an Ogg page"
            following = page
        at = following
    fault = fault or (NO_LAST_PAGE if unended or at > view.size else None)
    if len(links) < 2:
        return Layout(fault=fault)
    return limit_streams([Stream((ends,), plain=False) for ends in pairwise([*links, view.size])], fault)


def _find(view: View, at: int, pattern: bytes) -> int:
    """The next position of a pattern from `at` on; at least the size of the file where there is none."""
    while at < view.size:
        offset = view.read(at, READ_BYTES).find(pattern)
        if offset >= 0:
            return at + offset
        at = min(view.size, at + READ_BYTES - len(pattern) + 1)
    return at
