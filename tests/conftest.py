"""What the whole suite shares: no network, one thread a process, and tools that are missing said or refused."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# Before anything imports them: the clients read these once.
os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest

from .browser import chrome

TOOLS = {"ffmpeg": "ffmpeg", "chromium": "chromedriver"}
EXTRAS = ("audiocraft",)  # packages, and the markers of what needs them


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes bear their argument's name: a WAV header holds the second it was written, and workers must agree."""
    return argname if isinstance(val, bytes) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a tool this machine lacks; where SYNTHMIR_NO_SKIP is set, let it run and fail."""
    if os.environ.get("SYNTHMIR_NO_SKIP"):
        return
    missing = {marker: tool for marker, tool in TOOLS.items() if shutil.which(tool) is None}
    missing |= {extra: extra for extra in EXTRAS if find_spec(extra) is None}
    for item in items:
        for marker, tool in missing.items():
            if item.get_closest_marker(marker) is not None:
                item.add_marker(pytest.mark.skip(reason=f"{tool} is not installed here; .ci/run installs it"))


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    """Chromium with a profile of its own."""
    with chrome(tmp_path / "profile") as driver:
        yield driver
