"""How often Python looks for garbage in reference cycles."""

from __future__ import annotations

import gc


def collect_garbage_rarely() -> None:
    """Look for garbage rarely in this process. With Python's own thresholds importing torch takes a sixth longer."""
    gc.set_threshold(50_000, 20, 20)
