"""`Annotation`: the beats, chords, key, sections, melody and notes of one clip or recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DataError

if TYPE_CHECKING:
    from datasets import Features

MELODY_RATE = 100  # values a second of `Annotation.melody`
STEMS = ("drums", "bass", "harmony", "melody", "vocals", "other")


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """Labelled stretches of time, in order, such as chords or sections."""

    start: np.ndarray  # float64 [segments], seconds
    end: np.ndarray  # float64 [segments], seconds
    label: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.label)


@dataclass(frozen=True, slots=True, eq=False)
class Notes:
    """Notes, ordered by onset and pitch."""

    onset: np.ndarray  # float64 [notes], seconds
    offset: np.ndarray  # float64 [notes], seconds, later than the onset
    pitch: np.ndarray  # int16 [notes], MIDI note number; of a drum its General-MIDI key
    velocity: np.ndarray  # int16 [notes], 1 to 127
    program: np.ndarray  # int16 [notes], General-MIDI program from 0; of a drum the kit
    is_drum: np.ndarray  # bool [notes]
    track: np.ndarray  # int16 [notes], the place of its track in `Annotation.tracks`

    def __len__(self) -> int:
        return len(self.onset)


@dataclass(frozen=True, slots=True, eq=False)
class TrackActivity:
    """One track: what plays it, the stem that it is in, and when it sounds."""

    instrument: str  # its name in the taxonomy, or "voice"
    program: int  # General-MIDI program from 0; of a drum track the kit
    is_drum: bool
    stem: str  # one of STEMS
    start: np.ndarray  # float64 [stretches], seconds
    end: np.ndarray  # float64 [stretches], seconds


@dataclass(frozen=True, slots=True, eq=False)
class Annotation:
    """What is played in one clip or recording. Times are those of the audio, in seconds from its start.

    None means that this is not annotated; an empty list means that there is nothing of the kind.
    """

    id: str
    duration: float  # seconds
    beats: np.ndarray | None = None  # float64 [beats], seconds
    positions: np.ndarray | None = None  # int8 [beats], place of each beat in its bar: 1 is a downbeat
    tempo_bpm: float | None = None  # quarter notes a minute
    time_signature: str | None = None  # "4/4"
    chords: Segments | None = None  # labels as Harte et al. 2005 write them: "C:maj", "A:min7", "N"
    key: str | None = None  # tonic:mode, "A:minor"
    sections: Segments | None = None
    melody: np.ndarray | None = None  # float32 [ceil(100 * duration)], f0 in Hz every 10 ms, 0 where unvoiced
    notes: Notes | None = None
    tracks: tuple[TrackActivity, ...] = field(default=())
    midi: bytes | None = None  # a type-1 file

    def to_row(self) -> dict[str, Any]:
        """Return the row of the config `annotations`."""
        row: dict[str, Any] = {name: getattr(self, name) for name in _PLAIN}
        if self.beats is not None:
            positions = [None] * len(self.beats) if self.positions is None else self.positions.tolist()
            row["beats"] = [
                {"time": time, "position": position}
                for time, position in zip(self.beats.tolist(), positions, strict=True)
            ]
        else:
            row["beats"] = None
        for name in ("chords", "sections"):
            segments: Segments | None = getattr(self, name)
            row[name] = None if segments is None else _rows_of(segments)
        row["melody"] = None if self.melody is None else self.melody.tolist()
        row["notes"] = None if self.notes is None else _rows_of(self.notes)
        row["instruments_active"] = [
            {
                "track": number,
                "instrument": track.instrument,
                "program": track.program,
                "is_drum": track.is_drum,
                "stem": track.stem,
                "intervals": [
                    {"start": start, "end": end}
                    for start, end in zip(track.start.tolist(), track.end.tolist(), strict=True)
                ],
            }
            for number, track in enumerate(self.tracks)
        ]
        return row

    def to_arrays(self) -> dict[str, Any]:
        """Return the row of the config `annotations` with arrays for its lists: {"beats": {"time": [beats], ...}}."""
        row: dict[str, Any] = {name: getattr(self, name) for name in (*_PLAIN, "melody")}
        row["beats"] = None if self.beats is None else {"time": self.beats, "position": self.positions}
        for name in ("chords", "sections", "notes"):
            table: Segments | Notes | None = getattr(self, name)
            row[name] = table and {item.name: np.asarray(getattr(table, item.name)) for item in fields(table)}
        row["instruments_active"] = [
            {"track": number}
            | {name: getattr(track, name) for name in ("instrument", "program", "is_drum", "stem")}
            | {"intervals": {"start": track.start, "end": track.end}}
            for number, track in enumerate(self.tracks)
        ]
        return row

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Annotation:
        """Read a row of the config `annotations`, as `datasets` or as `load_corpus` gives it.

        Columns that it lacks are not annotated.

        Raises:
            DataError: The row is of another config.
        """
        if not {"id", "duration"} <= row.keys() or ("prompt" in row and "beats" not in row):
            raise DataError(
                f"row {row.get('id', '')}: is not of the config annotations",
                'take one of load_corpus(CORPUS, "annotations")',
            )
        beats, melody, notes = row.get("beats"), row.get("melody"), row.get("notes")
        positions = None
        if beats is not None:
            places = _column(beats, "position")
            if places is not None and all(place is not None for place in places):
                positions = np.array(places, np.int8)
        return cls(
            **{name: row.get(name) for name in _PLAIN if name not in ("id", "duration")},
            id=str(row["id"]),
            duration=float(row["duration"]),
            beats=None if beats is None else np.array(_column(beats, "time"), np.float64),
            positions=positions,
            chords=_read_segments(row.get("chords")),
            sections=_read_segments(row.get("sections")),
            melody=None if melody is None else np.asarray(melody, np.float32),
            notes=None
            if notes is None
            else Notes(*(np.array(_column(notes, name), kind) for name, kind in _NOTE_TYPES.items())),
            tracks=tuple(
                TrackActivity(
                    track["instrument"],
                    track["program"],
                    track["is_drum"],
                    track["stem"],
                    np.array(_column(track["intervals"], "start"), np.float64),
                    np.array(_column(track["intervals"], "end"), np.float64),
                )
                for track in row.get("instruments_active") or ()
            ),
        )


def as_annotation(source: Annotation | Mapping[str, Any]) -> Annotation:
    """Return an annotation, or that of a row of the config `annotations`."""
    return source if isinstance(source, Annotation) else Annotation.from_row(source)


_PLAIN = ("id", "duration", "tempo_bpm", "time_signature", "key", "midi")
_NOTE_TYPES = {
    "onset": np.float64,
    "offset": np.float64,
    "pitch": np.int16,
    "velocity": np.int16,
    "program": np.int16,
    "is_drum": np.bool_,
    "track": np.int16,
}


def _rows_of(table: Segments | Notes) -> list[dict[str, Any]]:
    """A table of columns as a list of rows."""
    names = [item.name for item in fields(table)]
    columns = [getattr(table, name) for name in names]
    values = [column.tolist() if isinstance(column, np.ndarray) else column for column in columns]
    return [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]


def _column(table: Mapping[str, Any] | Sequence[Mapping[str, Any]], name: str) -> Any:
    """A column of a table: of a list of rows, or of a dictionary of columns. Rows may lack it."""
    return table.get(name) if isinstance(table, Mapping) else [row.get(name) for row in table]


def _read_segments(table: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None) -> Segments | None:
    if table is None:
        return None
    start, end = (np.array(_column(table, name), np.float64) for name in ("start", "end"))
    return Segments(start, end, tuple(map(str, _column(table, "label"))))


def annotation_features() -> Features:
    """Make the features of the config `annotations`."""
    from datasets import Features, List, Value

    seconds = Value("float64")
    stretch = {"start": seconds, "end": seconds}
    return Features(
        {
            "id": Value("string"),
            "duration": seconds,
            "tempo_bpm": seconds,
            "time_signature": Value("string"),
            "key": Value("string"),
            "beats": List({"time": seconds, "position": Value("int8")}),
            "chords": List({**stretch, "label": Value("string")}),
            "sections": List({**stretch, "label": Value("string")}),
            "melody": List(Value("float32")),
            "notes": List({name: Value(np.dtype(kind).name) for name, kind in _NOTE_TYPES.items()}),
            "instruments_active": List(
                {
                    "track": Value("int16"),
                    "instrument": Value("string"),
                    "program": Value("int16"),
                    "is_drum": Value("bool"),
                    "stem": Value("string"),
                    "intervals": List(stretch),
                }
            ),
            "midi": Value("binary"),
        }
    )
