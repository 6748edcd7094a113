"""A full disk, a read-only folder, a clock that jumps: a clear error, and no work is lost."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator

import pytest

from .refused import Fault, Host, Outcome, host

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: the shim cannot be made")
FIRST = range(1, 11)
SOME = range(1, 6)  # of as many parts of all the calls


@pytest.fixture(scope="module")
def disturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with host(tmp_path_factory.mktemp("refused"), pictures=False) as found:
        assert found.calls > 200
        yield found


def assert_nothing_is_lost(outcome: Outcome) -> None:
    assert "Traceback" not in outcome.words, outcome
    assert outcome.damaged == [] and outcome.differs == [] and outcome.code_after == 0, outcome


@pytest.mark.parametrize("at", [*FIRST, *(f"{part}/{SOME[-1] + 1}" for part in SOME)])
def test_a_disk_that_is_full_from_some_write_on(disturbed: Host, at: int | str):
    part, _, parts = str(at).partition("/")
    outcome = disturbed.run(Fault(int(part) * disturbed.calls // int(parts) if parts else int(part)))
    assert outcome.refused
    assert_nothing_is_lost(outcome)
    assert outcome.code == 3 and "make room" in outcome.words and "No space left on device" in outcome.words, outcome


@pytest.mark.parametrize("part", [3])
def test_a_single_write_that_fails_is_reported(disturbed: Host, part: int):
    outcome = disturbed.run(Fault(part * disturbed.calls // 7, lasting=False))
    assert_nothing_is_lost(outcome)
    assert (outcome.code, "make room" in outcome.words) in ((3, True), (0, False)), outcome


@pytest.mark.parametrize(("nth", "error"), [(1, errno.EACCES), (30, errno.EROFS)], ids=str)
def test_a_folder_that_is_or_becomes_read_only(disturbed: Host, nth: int, error: int):
    outcome = disturbed.run(Fault(nth, error=error))
    assert_nothing_is_lost(outcome)
    assert outcome.code == 3 and "choose a folder that you may write to" in outcome.words, outcome


def test_a_clock_that_jumps_back_changes_nothing(disturbed: Host):
    outcome = disturbed.run(Fault(disturbed.calls // 2, clock=-3650 * 86_400))
    assert (outcome.code, outcome.code_after, outcome.differs, outcome.damaged) == (0, 0, [], []), outcome
