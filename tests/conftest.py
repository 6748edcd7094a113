"""What the whole suite shares: no network, one thread a process, Ctrl-C as in a terminal, missing tools reported."""

from __future__ import annotations

import atexit
import gc
import io
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# Before anything imports them: the clients read these once.
os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest

from builder.corpus.card import card, plots

from .browser import chrome

gc.disable()  # until all tests are imported: nothing of it is garbage, and looking for it takes a sixth of the time

# A script's background job inherits SIGINT as ignored, and so would every process that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

NO_SKIP = "SYNTHMIR_NO_SKIP"  # environment: "1" skips nothing, "tools" only what lacks a tool; any other skip fails
WITH_PLOTS = ("test_card", "test_run")  # files whose tests draw the plots of cards
MISSING = "is missing on this machine; .ci/run installs it"


def has_ffmpeg() -> bool:
    """Whether torchcodec decodes here: it needs FFmpeg's shared libraries, not the program."""
    import numpy as np
    import soundfile

    wav = io.BytesIO()
    soundfile.write(wav, np.zeros(800, dtype=np.float32), 8000, format="WAV")
    try:
        from torchcodec.decoders import AudioDecoder

        return AudioDecoder(wav.getvalue()).get_all_samples().sample_rate == 8000
    except (ImportError, OSError, RuntimeError):  # not installed, another torch's build, or no libraries
        return False


def has_chromium() -> bool:
    """Whether there is a browser and its driver."""
    return all(shutil.which(name) for name in ("chromium", "chromedriver"))


def has_audiocraft() -> bool:
    """Whether the extra is installed."""
    return find_spec("audiocraft") is not None


def has_musicnn() -> bool:
    """Whether the extra is installed. A folder of this name on the path is no package."""
    spec = find_spec("musicnn")
    return spec is not None and spec.origin is not None


TOOLS: dict[str, Callable[[], bool]] = {  # by the marker of what needs them
    "ffmpeg": lru_cache(has_ffmpeg),
    "chromium": lru_cache(has_chromium),
    "audiocraft": lru_cache(has_audiocraft),
    "musicnn": lru_cache(has_musicnn),
}


# Minutes of two workers are theirs: they begin first, so that both workers end together.
LONGEST = (
    "test_run", "test_growing", "test_passt", "test_ray", "test_storage", "test_musicgen", "test_hostile_fuzz",
    "test_loop", "test_build", "test_reuse", "test_bootstrap", "test_faults", "test_remote_code", "test_refused",
    "test_generator_contract", "test_onnx_export", "test_strategies", "test_extend", "test_augment",
    "test_explorer_browser", "test_evaluate", "test_audiocraft", "test_report", "test_fidelity",
)  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Let xdist hand files out in the order of `pytest_collection_modifyitems`, not by their number of tests."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first; the order inside a file stays."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONGEST)))


def pytest_collection_finish() -> None:
    """Leave what was imported out of garbage collection, which takes a tenth of the suite's time otherwise."""
    gc.enable()
    gc.freeze()
    atexit.register(gc.unfreeze)  # extension modules report what is not collected as leaks
    gc.set_threshold(20_000, 20, 20)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes bear their argument's name: a WAV header holds the second it was written, and workers must agree."""
    return argname if isinstance(val, bytes) else None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a tool that is missing, before its fixtures are made; where nothing may be skipped, it fails."""
    if os.environ.get(NO_SKIP) == "1":
        return
    for marker, there in TOOLS.items():
        if item.get_closest_marker(marker) is not None and not there():
            item.add_marker(pytest.mark.skip(reason=f"{marker} {MISSING}"))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that skipped what `SYNTHMIR_NO_SKIP` does not let it skip. Workers send theirs to the controller."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not os.environ.get(NO_SKIP) or reporter is None or hasattr(session.config, "workerinput"):
        return
    reasons = [str(report.longrepr) for report in reporter.stats.get("skipped", [])]
    if refused := [reason for reason in reasons if MISSING not in reason]:
        reporter.write_line("\n".join(["skipped without the lack of a tool:", *refused]), red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="module", autouse=True)
def without_plots(request: pytest.FixtureRequest) -> Iterator[None]:
    """Draw no plots in the cards of corpora, except in the tests of them: hundreds of tests build a corpus."""
    with pytest.MonkeyPatch.context() as patch:
        if request.path.stem not in WITH_PLOTS:
            patch.setattr(card, "draw_plots", lambda *_: [])
        yield


@pytest.fixture
def with_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw the plots of cards in this test."""
    monkeypatch.setattr(card, "draw_plots", plots.draw_plots)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    """Chromium with a profile of its own."""
    with chrome(tmp_path / "profile") as driver:
        yield driver
