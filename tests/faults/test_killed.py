"""Killed and stopped, then given the same command: the same corpus. `perf/faults.py` does it often, and on Ray."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import psutil
import pytest

from builder.corpus.building.build import build
from builder.corpus.corpus import Corpus
from builder.recipe import Recipe

from .killed import Plan, disturb, start, workers


@pytest.mark.long
def test_killed_at_drawn_moments_it_ends_in_the_same_corpus(tmp_path: Path):
    tones = {"clips": 24, "clips_per_shard": 3, "generator": "tone", "embedder": "levels", "slow": 0.1}
    plan = Plan(tmp_path, kills=2, workers=1, embedding=False, **tones)  # type: ignore[arg-type]
    found = disturb(plan)
    assert found.kills.total() and found.kills.keys() <= {"main", "worker"}, found
    assert (found.differs, found.lost, found.doubled, found.faults) == ([], 0, 0, []), found
    assert found.made_again + found.embedded_again <= 2 * plan.clips_per_shard, found  # what was in work


@pytest.mark.long
def test_a_corpus_that_grows_is_killed_and_stopped_at_drawn_moments(tmp_path: Path):
    tones = {"clips": 24, "clips_per_shard": 3, "generator": "tone", "embedder": "levels", "slow": 0.1}
    plan = Plan(tmp_path, kills=8, workers=2, grow=True, **tones)  # type: ignore[arg-type]
    found = disturb(plan)
    assert found.kills.total() > 3 and found.kills.keys() <= {"main", "worker", "stop"}, found
    assert (found.differs, found.lost, found.doubled, found.faults, found.seen) == ([], 0, 0, [], []), found


def test_sigterm_ends_it_with_words_and_leaves_no_process_and_no_torn_file(tmp_path: Path):
    plan = Plan(tmp_path, clips=24, kills=0, clips_per_shard=3, generator="tone", embedder="levels")
    log, (command, _) = tmp_path / "log", plan.commands(tmp_path / "corpus")
    run = start(log, [*command, *workers(1)], slow=1.0)
    while run.poll() is None and not log.exists():
        time.sleep(0.02)
    below = psutil.Process(run.pid).children(recursive=True)
    assert below
    run.send_signal(signal.SIGTERM)
    output = run.communicate()[0]
    assert run.returncode == 130 and "resumes from here" in output and "Traceback" not in output, output
    assert psutil.wait_procs(below, timeout=200)[1] == []
    assert not (tmp_path / "corpus" / "SHA256SUMS").exists()
    build(Recipe.load(plan.recipe), tmp_path / "corpus", workers=1)
    assert sum(1 for _ in (tmp_path / "corpus").rglob("*.part")) == 0
    assert Corpus.open(tmp_path / "corpus").record()["details"]["clips"] == 24
