"""glibc's allocator, told to keep what is freed.

By default it gives large blocks back to the system when they are freed and asks for them again a moment later, page
by page, zeroed. Where the same activations come and go (EnCodec's decoder), that is half of the time.
"""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # malloc.h


def keep_freed_memory() -> bool:
    """For this whole process, from now on: blocks come from one heap that is not trimmed. False where not glibc."""
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl
        return False
    return all([mallopt(_M_MMAP_MAX, 0), mallopt(_M_TRIM_THRESHOLD, 2**31 - 1), mallopt(_M_TOP_PAD, 256 << 20)])
