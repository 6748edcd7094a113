"""A few hundred damaged files over every reader: perf/fuzz.py does the same with a hundred thousand."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .hostile_readers import READERS
from .hostile_runs import Outcome, serve
from .mutations import mutated

INPUTS = 4  # for each unit of a reader's weight
SLOW = ("corpus", "benchmark", "data set")
HANG, MEMORY = 5.0, 1 << 30  # seconds and bytes of an input


@given(st.binary(max_size=2_000), st.integers(0, 10_000), st.booleans())
def test_a_damage_comes_again_by_its_number(data: bytes, number: int, text: bool) -> None:
    assert mutated(data, Random(number), text) == mutated(data, Random(number), text)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    """What became of all inputs, read by a process of its own; what ends it is the last outcome."""
    ours, theirs = multiprocessing.Pipe()
    sandbox: Path = tmp_path_factory.mktemp("hostile")
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, sandbox), daemon=True)
    process.start()
    theirs.close()
    found: list[Outcome] = []
    for place, reader in enumerate(READERS):
        ours.send((place, 0, INPUTS * (1 if reader.name.startswith(SLOW) else reader.weight)))
        while True:
            if not ours.poll(60):
                found.append(Outcome(reader.name, len(found), "hang"))
                process.kill()
                return found
            try:
                message = ours.recv()
            except EOFError:
                found.append(Outcome(reader.name, len(found), "died"))
                return found
            if message is None:
                break
            if isinstance(message, str):
                assert message == "ready", message
            else:
                found.append(message)
    ours.send(None)
    process.join(10)
    return found


def test_nothing_crashes_hangs_is_run_or_written_elsewhere(outcomes: list[Outcome]) -> None:
    bad = [one for one in outcomes if one.kind not in ("accepted", "refused")]
    assert not bad, "\n\n".join(f"{one.reader} {one.number}: {one.kind}\n{one.message}" for one in bad[:3])


def test_time_and_memory_are_bounded(outcomes: list[Outcome]) -> None:
    assert max(one.memory for one in outcomes) < MEMORY
    assert not [one for one in outcomes if one.seconds > HANG]


def test_damage_reaches_the_readers(outcomes: list[Outcome]) -> None:
    """Each reader refused some; were all of them accepted, or all refused, nothing would have been tried."""
    kinds = Counter(one.kind for one in outcomes)
    assert kinds["accepted"] > 50 and kinds["refused"] > 150
    assert {one.reader for one in outcomes} == {reader.name for reader in READERS}
