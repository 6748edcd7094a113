"""The row of an annotation: what is written is read back, in Parquet too."""

from dataclasses import fields

import numpy as np
import pyarrow as pa

from builder.annotations.annotation import Annotation, Notes, Segments, TrackActivity, annotation_features


def make_annotation() -> Annotation:
    return Annotation(
        id="clip-0",
        duration=2.0,
        beats=np.array([0.012, 0.512, 1.012, 1.512]),
        positions=np.array([1, 2, 3, 4], np.int8),
        tempo_bpm=120.0,
        time_signature="4/4",
        chords=Segments(np.array([0.0, 1.0]), np.array([1.0, 2.0]), ("A:min7", "D:maj")),
        key="A:minor",
        sections=Segments(np.array([0.0]), np.array([2.0]), ("verse",)),
        melody=np.linspace(0, 440, 200, dtype=np.float32),
        notes=Notes(
            np.array([0.012, 0.5]),
            np.array([0.4, 0.6]),
            np.array([57, 38], np.int16),
            np.array([90, 127], np.int16),
            np.array([0, 8], np.int16),
            np.array([False, True]),
            np.array([0, 1], np.int16),
        ),
        tracks=(
            TrackActivity("piano", 0, False, "harmony", np.array([0.012]), np.array([0.4])),
            TrackActivity("drum kit", 8, True, "drums", np.zeros(0), np.zeros(0)),
        ),
        midi=b"MThd",
    )


def assert_equal(left: object, right: object) -> None:
    if isinstance(left, Annotation | Notes | Segments | TrackActivity):
        assert type(left) is type(right)
        for field in fields(left):
            assert_equal(getattr(left, field.name), getattr(right, field.name))
    elif isinstance(left, np.ndarray):
        assert isinstance(right, np.ndarray) and left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)
    elif isinstance(left, tuple):
        assert isinstance(right, tuple) and len(left) == len(right)
        for one, other in zip(left, right, strict=True):
            assert_equal(one, other)
    else:
        assert left == right


def test_a_row_is_read_back_as_it_was_written() -> None:
    annotation = make_annotation()
    table = pa.Table.from_pylist([annotation.to_row()], schema=annotation_features().arrow_schema)
    assert_equal(Annotation.from_row(table.to_pylist()[0]), annotation)


def test_what_is_not_annotated_stays_apart_from_what_is_empty() -> None:
    nothing = Annotation("clip-1", 3.0)
    empty = Annotation("clip-2", 3.0, beats=np.zeros(0), positions=np.zeros(0, np.int8))
    schema = annotation_features().arrow_schema
    rows = pa.Table.from_pylist([nothing.to_row(), empty.to_row()], schema=schema).to_pylist()
    assert_equal(Annotation.from_row(rows[0]), nothing)
    assert_equal(Annotation.from_row(rows[1]), empty)
