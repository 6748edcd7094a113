"""Annotated tracks: what is read, what is left out and counted, and the clips of a corpus."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from builder.annotations.annotation import Annotation, annotation_features
from builder.corpus.shards import write_shard
from builder.errors import DataError, RecipeError
from evaluation.benchmarks.annotated import HAS_TASK, AnnotatedTrack, AnnotatedTracks, load_annotated
from evaluation.benchmarks.spec import Spec


class Listed(AnnotatedTracks):
    """Three tracks: with beats and a key, with a key, with nothing; and one that cannot be read."""

    def open(self) -> None:
        beats = np.array([0.5, 1.0])
        self.all = [Annotation("a", 2.0, beats=beats, key="A:minor"), Annotation("b", 2.0, key="C:major")]
        self.all.append(Annotation("c", 2.0))

    def __len__(self) -> int:
        return len(self.all) + 1

    def read(self) -> Iterator[AnnotatedTrack]:
        for one in self.all:
            yield AnnotatedTrack(one.id, None, b"", one)
        self.leave_out("d", "whose audio is missing")


@pytest.mark.parametrize(
    "tasks, ids, notes",
    [
        ((), "abc", ["left out 1 track whose audio is missing: d"]),
        (("beats",), "a", ["left out 2 tracks without beats: b, c", "left out 1 track whose audio is missing: d"]),
        (
            ("beats", "key"),
            "ab",
            [
                "left out 1 track without beats or key: c",
                "left out 1 track whose audio is missing: d",
                "1 track without beats: b",
            ],
        ),
    ],
)
def test_tracks_without_the_asked_annotations_are_counted(tasks: tuple[str, ...], ids: str, notes: list[str]) -> None:
    tracks = Listed(Spec("listed:x", "listed", target="x"), tasks)
    for _ in range(2):  # counts start again with each loop
        assert [track.id for track in tracks] == list(ids)
        assert tracks.notes == notes


def test_an_unknown_task_or_source_says_which_there_are(corpus: Path) -> None:
    with pytest.raises(RecipeError, match="did you mean 'beats'"):
        Listed(Spec("listed:x", "listed", target="x"), ["beat"])
    with pytest.raises(RecipeError, match="gtzan:x: has no annotated tracks"):
        load_annotated("gtzan:x")
    with pytest.raises(RecipeError, match="names no data"):
        load_annotated("corpus:")
    with pytest.raises(RecipeError, match="--corpus"):
        load_annotated("validation")
    with pytest.raises(RecipeError, match="has no option 'part'"):
        load_annotated(f"corpus:{corpus}?part=test")


@pytest.fixture
def annotated(corpus: Path, tmp_path: Path) -> Path:
    """The corpus with annotations: a beat every half second, and a key, but not of the last clip of a split."""
    folder = shutil.copytree(corpus, tmp_path / "corpus")
    for shard in (folder / "data").iterdir():
        ids = pq.read_table(shard, columns=["id"])["id"].to_pylist()
        rows = [
            Annotation(identity, 1.0, beats=np.array([0.0, 0.5]), key="A:minor" if identity != ids[-1] else None)
            for identity in ids
        ]
        file = folder / "annotations" / shard.name
        write_shard(file, [[row.to_row() for row in rows]], annotation_features(), {})
    return folder


def test_a_corpus_with_annotations(annotated: Path) -> None:
    tracks = load_annotated("validation", ["key"], annotated)
    read = list(tracks)
    assert len(tracks) == 9 and len(read) == 8 and tracks.notes == ["left out 1 track without key: Rock-8"]
    assert all(track.annotation.id == track.id and track.split == "validation" for track in read)
    assert isinstance(read[0].audio, bytes) and read[0].audio[:4] == b"fLaC"
    np.testing.assert_array_equal(read[0].annotation.beats, [0.0, 0.5])
    assert len(list(load_annotated(f"corpus:{annotated}?split=train", ["beats"]))) == 18


def test_a_corpus_without_annotations_or_of_other_clips(corpus: Path, annotated: Path) -> None:
    with pytest.raises(DataError, match="annotations: true"):
        load_annotated(f"corpus:{corpus}")
    with pytest.raises(RecipeError, match="has no split 'test'"):
        load_annotated(f"corpus:{annotated}?split=test")
    (train, validation) = sorted((annotated / "annotations").iterdir())
    validation.unlink()
    with pytest.raises(DataError, match=r"validation-00000-of-00001\.parquet has no annotations"):
        load_annotated(f"corpus:{annotated}")
    train.rename(validation)
    with pytest.raises(DataError, match=r"where validation-00000-of-00001\.parquet has the clip 'Electronica-6'"):
        list(load_annotated(f"corpus:{annotated}"))


def test_every_task_is_a_question_to_an_annotation() -> None:
    assert not any(has(Annotation("a", 1.0)) for has in HAS_TASK.values())
