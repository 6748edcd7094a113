"""Concurrent runs, damaged files, failing generators: the result is the same corpus, or a clear error."""

from __future__ import annotations

import os
import shutil
import signal
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from builder.corpus.building.build import build
from builder.corpus.building.plan import plan_clips
from builder.corpus.corpus import Corpus
from builder.corpus.verify import verify
from builder.embedders.embed_corpus import embed_corpus
from builder.errors import BackendError, DataError, SynthmirError
from builder.executors import ExecutorSettings, InProcessExecutor, ProcessExecutor
from builder.recipe import Recipe
from tests.builder import fakes

from . import troubled
from .refused import blank, content

fakes.register()
RECIPE = """
name: broken
prompts: {total: 12}
generator: {name: troubled, seconds: 1, batch_size: 3}
split: {validation: 0.25}
quality: {attempts: 1}
embedder: {name: levels}
"""
SIZE = 3  # clips a shard


class Stopped(BaseException):
    """What a test stops a run with."""


@dataclass
class Place:
    """A folder to build in, and what an undisturbed corpus of the recipe is."""

    recipe: Recipe
    corpus: Path
    whole: dict[str, str]

    def build(self, **options: Any) -> None:
        build(self.recipe, self.corpus, clips_per_shard=SIZE, **options)

    def embed(self, **options: Any) -> None:
        embed_corpus(self.corpus, self.recipe.embedder, **options)

    def stop_after(self, clips: int, what: Callable[..., None]) -> None:
        """Stop it when so many are done."""

        def progress(done: int, total: int) -> None:
            if done >= clips:
                raise Stopped

        with pytest.raises(Stopped):
            what(progress=progress)

    def assert_the_same(self) -> None:
        assert content(self.corpus) == self.whole
        sums = Corpus.open(self.corpus).sums()
        assert {name: digest for name, digest in sums.items() if name in self.whole} == self.whole


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, dict[str, str]]:
    folder = tmp_path_factory.mktemp("broken")
    (folder / "r.yaml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        blank(patch.setattr)
        place = Place(Recipe.load(folder / "r.yaml"), folder / "whole", {})
        place.build()
        place.embed()
    return place.recipe, content(folder / "whole")


@pytest.fixture
def place(whole: tuple[Recipe, dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    blank(monkeypatch.setattr)
    return Place(whole[0], tmp_path / "corpus", whole[1])


def test_a_second_run_into_a_folder_is_refused_and_the_first_continues(place: Place):
    errors: list[SynthmirError] = []

    def progress(done: int, total: int) -> None:
        for run in (place.build, place.embed):
            if not errors or done == total:
                with pytest.raises(DataError) as refused:
                    run()
                errors.append(refused.value)

    place.build(progress=progress)
    place.embed(progress=progress)
    place.assert_the_same()
    assert {error.message.partition(": ")[2] for error in errors} == {
        "another run is at work here", "this corpus is not finished"
    }  # fmt: skip


def test_a_second_run_that_waited_for_the_first_one_by_chance_makes_nothing(place: Place, monkeypatch):
    def slowly(recipe: Recipe) -> Any:
        clips = plan_clips(recipe)
        monkeypatch.setattr("builder.corpus.building.build.plan_clips", plan_clips)
        place.build()  # another process
        place.embed()
        return clips

    monkeypatch.setattr("builder.corpus.building.build.plan_clips", slowly)
    place.build(progress=lambda done, total: pytest.fail("made something"))
    place.assert_the_same()


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def _halve(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


DAMAGES = [
    pytest.param("data/train-00001-of-00003.parquet", _flip, id="a-flipped-bit"),
    pytest.param("data/train-00001-of-00003.parquet", _halve, id="a-truncated-shard"),
    pytest.param("data/train-00000-of-00003.parquet", Path.unlink, id="a-lost-shard"),
    pytest.param("ledger.jsonl", _halve, id="a-torn-ledger"),
    pytest.param("ledger.jsonl", _flip, id="a-damaged-ledger"),
    pytest.param("ledger.jsonl", Path.unlink, id="no-ledger"),
    pytest.param("state.json", Path.unlink, id="no-state"),
    pytest.param("state.json", _empty, id="an-empty-state"),
    pytest.param("state.json", _halve, id="a-torn-state"),
    pytest.param("generator.json", Path.unlink, id="no-generator"),
    pytest.param("generator.json", _halve, id="a-torn-generator"),
    pytest.param("lock", Path.unlink, id="no-lock"),
]


@pytest.mark.parametrize(("name", "damage"), DAMAGES)
def test_a_damaged_work_folder(place: Place, name: str, damage: Callable[[Path], None]):
    place.stop_after(2 * SIZE + 1, place.build)
    made = set(content(place.corpus))
    damage(place.corpus / ".work" / name)
    try:
        place.build()
    except DataError as refused:
        assert "is damaged" in refused.message and refused.fix and "delete this file only" in refused.fix
        assert set(content(place.corpus)) >= made
        Path(refused.message.partition(": ")[0]).unlink()
        place.build()
    place.embed()
    place.assert_the_same()


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("levels/levels/train-00001-of-00003.parquet", _flip),
        ("levels/levels/train-00001-of-00003.parquet", _halve),
        ("levels/ledger.jsonl", _halve),
        ("levels/ledger.jsonl", Path.unlink),
    ],
    ids=["a-flipped-bit", "a-truncated-shard", "a-torn-ledger", "no-ledger"],
)
def test_a_damaged_work_folder_of_embeddings(place: Place, name: str, damage: Callable[[Path], None]):
    place.build()
    place.stop_after(2 * SIZE + 1, place.embed)
    damage(place.corpus / ".work" / name)
    place.embed()
    place.assert_the_same()


@pytest.mark.parametrize(
    "damage", [_flip, _halve, Path.unlink], ids=["a-flipped-bit", "a-truncated-shard", "a-lost-one"]
)
def test_a_damaged_finished_corpus_is_repaired(place: Place, damage: Callable[[Path], None]):
    place.build()
    place.embed()
    damage(place.corpus / "levels" / "train-00000-of-00003.parquet")
    damage(place.corpus / "data" / "train-00002-of-00003.parquet")
    assert len(verify(place.corpus).faults) >= 2
    place.build()
    place.embed()
    place.assert_the_same()


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        ("nan", DataError, r"3 of 12 clips were rejected.* NaN: 32000 samples are not finite"),
        ("short", DataError, r"3 of 12 clips were rejected.* length: \(31999,\) samples, asked for \(32000,\)"),
        ("few", BackendError, r"(?s)1 of 5 shard\(s\) failed 3 times.*returned 2 clips for 3 rows"),
        ("memory", BackendError, r"(?s)1 of 5 shard\(s\) failed 3 times.*Unable to allocate.*fix: fewer --workers or"),
    ],
    ids=["nan", "wrong-length", "wrong-number", "out-of-memory"],
)
def test_a_failing_generator(place: Place, tmp_path, monkeypatch, kind, error, words):
    mark = tmp_path / "trouble"
    mark.write_text(next(clip.id for clip in plan_clips(place.recipe) if clip.split == "train"))
    monkeypatch.setenv("TROUBLE", f"{kind} {mark}")
    with pytest.raises(error, match=words):
        place.build()
    with pytest.raises(DataError, match="not finished"):
        Corpus.open(place.corpus)
    mark.unlink()
    if kind in ("nan", "short"):  # such clips are rejected, and a shard that is finished is not made again
        with pytest.raises(error, match="to generate the rejected ones again, delete") as refused:
            place.build()
        shutil.rmtree(str(refused.value.fix).rpartition("delete ")[2])
    place.build()
    place.embed()
    place.assert_the_same()


@pytest.mark.long
def test_a_generator_that_hangs_is_stopped_and_its_shard_made_again(place: Place, tmp_path, monkeypatch):
    mark = tmp_path / "trouble"
    mark.write_text(next(clip.id for clip in plan_clips(place.recipe) if clip.split == "train"))
    monkeypatch.setenv("TROUBLE", f"hang-once {mark}")
    monkeypatch.setattr("builder.corpus.building.build.ShardBuilder", troubled.TroubledBuilder)
    place.build(workers=1, scale=ExecutorSettings(shard_timeout=4))
    assert not mark.exists()
    place.embed()
    place.assert_the_same()


class Interrupting:
    """Is interrupted as it is deleted, where Python swallows exceptions."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


def interrupted_setup() -> Callable[[int, Callable[[int], None]], int]:
    return lambda task, tick: [tick(1), task][1]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("executor", [InProcessExecutor(), ProcessExecutor(1)], ids=["in-process", "processes"])
def test_ctrl_c_in_a_destructor_is_obeyed_all_the_same(executor):
    seen: list[int] = []

    def tick(count: int) -> None:
        if not seen:
            Interrupting()
        seen.append(count)

    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        list(executor.run(interrupted_setup, range(1000), tick))
    assert 0 < len(seen) < 1000
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert list(executor.run(interrupted_setup, [1], lambda count: None)) == [1]  # a notebook continues


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_in_a_callback_of_a_weak_reference(place: Place):
    class Thing:
        pass

    def progress(done: int, total: int) -> None:
        if done == SIZE:
            thing = Thing()
            reference = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
            del thing
            assert reference() is None

    with pytest.raises(KeyboardInterrupt):
        place.build(progress=progress)
    place.build()
    place.embed()
    place.assert_the_same()
