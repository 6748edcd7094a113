"""A corpus that grows, killed at each step and on a full disk: what is there stays, and the end is the same."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from .refused import CLIPS_PER_SHARD, Fault, Host, Outcome, host

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: the shim cannot be made")
JOINING = "rename .work/state.json"
MOMENTS = {
    "before the first clip": "rename .work/growth/state.json",
    "before a shard's rename": "rename .work/growth/data/train-p01-00001",
    "between shard and ledger": "write .work/growth/ledger.jsonl",
    "after the last shard": JOINING,
    "as the old recipe is put aside": "rename recipes/.*/recipe.yaml",
    "before the card names its shards": "rename README.md",
    "in the move into place": "rename data/train-p01-00001",
    "before the new recipe": "rename recipe.yaml",
    "before the record": "rename records/build.json",
    "before SHA256SUMS": "rename SHA256SUMS",
    "as the work folder goes": "unlink.* .work/",
    "between embeddings and ledger": "rename .work/levels/levels/train-p01-00001",
    "in the move of embeddings into place": "rename levels/train-p01-00001",
    "before the card of the embeddings": "rename README.md",
}


@pytest.fixture(scope="module")
def disturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with host(tmp_path_factory.mktemp("growing"), pictures=False, grow=True) as found:
        yield found


def assert_nothing_is_lost(outcome: Outcome) -> None:
    assert "Traceback" not in outcome.words + outcome.words_after, outcome
    assert (outcome.seen, outcome.damaged, outcome.differs, outcome.code_after) == ([], [], [], 0), outcome


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_each_step_it_ends_in_the_same_corpus(disturbed: Host, moment: str):
    last = moment == "before the card of the embeddings"  # of four that are written
    outcome = disturbed.run(Fault(disturbed.before(MOMENTS[moment], last), kill=True))
    assert outcome.code == -9
    assert_nothing_is_lost(outcome)
    assert outcome.again <= CLIPS_PER_SHARD, outcome  # what was in work
    assert outcome.again == 0 or outcome.fault.nth < disturbed.before(JOINING), outcome


@pytest.mark.parametrize(
    ("moment", "then"),
    [("in the move into place", 13), ("in the move into place", 40), ("in the move of embeddings into place", 18)],
)
def test_killed_again_as_it_goes_on_it_is_still_the_old_one(disturbed: Host, moment: str, then: int):
    outcome = disturbed.run(Fault(disturbed.before(MOMENTS[moment]), kill=True, then=then))
    assert outcome.code == -9 and outcome.again == 0
    assert_nothing_is_lost(outcome)


@pytest.mark.parametrize("part", range(1, 4))
def test_a_disk_that_is_full_from_some_write_on(disturbed: Host, part: int):
    outcome = disturbed.run(Fault(part * disturbed.calls // 4))
    assert outcome.refused and outcome.code == 3 and "make room" in outcome.words, outcome
    assert_nothing_is_lost(outcome)
