"""Annotations as JAMS (Humphrey et al., ISMIR 2014), through the package `jams` and its validator."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BackendError, DataError
from ..io.atomic import write_text
from ..io.safe_files import read_json
from .annotation import MELODY_RATE, Annotation, Notes, Segments, TrackActivity, as_annotation

if TYPE_CHECKING:
    import jams

CHORDS = ("chord_harte", "chord")  # namespaces, the stricter first
SECTIONS = "segment_open"
CHORD_SPACES = re.compile("chord(_harte)?")
SECTION_SPACES = re.compile("segment_.*")
BEAT_SPACES = re.compile("beat(_position)?")
BEAT_UNITS = (1, 2, 4, 8, 16, 32)
DEFAULT_VELOCITY = 64
LONGEST = 24 * 3600  # seconds


def to_jams(annotation: Annotation | Mapping[str, Any], *, data_source: str = "") -> jams.JAMS:
    """Convert an annotation to JAMS. The result is validated against the schemas of JAMS.

    | of the annotation | namespace | |
    |---|---|---|
    | beats | `beat_position`; `beat` without positions | bars are counted from 0 |
    | chords | `chord_harte`; `chord` where a label needs it | |
    | key, tempo | `key_mode`, `tempo` | for the whole duration |
    | sections | `segment_open` | |
    | melody | `pitch_contour` | every 10 ms |
    | notes | `note_midi`, one for each track | velocities and the program are in its sandbox |
    | tracks | `tag_open`, one for each track: when it sounds | stem and program are in its sandbox |

    The id and the time signature are in `file_metadata.identifiers` and in the sandbox. The MIDI bytes are left out:
    `write_midi` makes them from the notes.

    Args:
        annotation: An annotation, or a row of the config `annotations`.
        data_source: Where it comes from, such as "score" or the name of a model.

    Returns:
        A `jams.JAMS`. `from_jams` reads it; `jams.JAMS.save` or `write_jams` writes it.

    Raises:
        DataError: JAMS cannot hold it, such as a chord that is not in its syntax.
        BackendError: The package jams is not installed.
    """
    package = _import_jams()
    annotation = as_annotation(annotation)
    jam = package.JAMS()
    jam.file_metadata.duration = annotation.duration
    jam.file_metadata.title = annotation.id
    jam.file_metadata.identifiers = package.Sandbox(synthmir=annotation.id)
    if annotation.time_signature is not None:
        jam.sandbox.time_signature = annotation.time_signature
    for namespace, columns, sandbox in _list_parts(package, annotation):
        part = package.Annotation(namespace, time=0.0, duration=annotation.duration, sandbox=sandbox)
        part.annotation_metadata.data_source = data_source
        part.annotation_metadata.annotation_tools = "synthmir"
        part.append_columns(columns)
        jam.annotations.append(part)
    _validate(package, jam, f"annotation {annotation.id}")
    return jam


def write_jams(annotation: Annotation | Mapping[str, Any], path: str | Path, *, data_source: str = "") -> None:
    """Write an annotation as a JAMS file, atomically.

    Args:
        annotation: An annotation, or a row of the config `annotations`.
        path: A file whose name ends in `.jams`.
        data_source: As in `to_jams`.

    Raises:
        DataError: JAMS cannot hold the annotation, or the file cannot be written.
        BackendError: The package jams is not installed.
    """
    if Path(path).suffix != ".jams":
        raise DataError(f"{path}: the name of a JAMS file ends in .jams", f"write {Path(path).with_suffix('.jams')}")
    write_text(Path(path), to_jams(annotation, data_source=data_source).dumps() + "\n")


def read_jams(path: str | Path, *, id: str | None = None) -> Annotation:
    """Read a JAMS file: one that `write_jams` wrote, or of a data set.

    Args:
        path: The file.
        id: The clip that it must be of. Default: any.

    Returns:
        See `from_jams`. Without an id in the file, the id is the name of the file.

    Raises:
        DataError: The file cannot be read, is not valid JAMS, or is of another clip.
        BackendError: The package jams is not installed.
    """
    package, path = _import_jams(), Path(path)
    try:
        jam = package.JAMS(**read_json(path))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, TypeError, KeyError, AttributeError, package.JamsError) as error:
        raise DataError(f"{path}: is not a JAMS file: {error}", "give a file that `jams.load` reads") from error
    _validate(package, jam, str(path))
    return _read(jam, str(path), path.stem, id)


def from_jams(jam: jams.JAMS, *, id: str | None = None) -> Annotation:
    """Convert JAMS to an annotation.

    Of beats, chords, key, tempo and sections, the first annotation of a namespace that has them is read (the tempo of
    the highest confidence). The melody is read if there is one `pitch_contour`. All of `note_midi` are read, each as
    a track: a data set may have one for each string.

    Args:
        jam: A `jams.JAMS`.
        id: The clip that it must be of. Default: any.

    Returns:
        The annotation, with times from the start of the audio.

    Raises:
        DataError: It is not valid, has no duration, or is of another clip.
    """
    package = _import_jams()
    _validate(package, jam, "the JAMS")
    return _read(jam, "the JAMS", "", id)


def _import_jams() -> Any:
    try:
        import jams
    except ModuleNotFoundError as error:
        raise BackendError(
            f"JAMS needs the package {error.name!r}, which is not installed",
            "uv sync --extra annotations   (or: pip install 'synthmir[annotations]')",
        ) from error
    return jams


def _validate(package: Any, jam: Any, where: str) -> None:
    import jsonschema

    try:
        jam.validate(strict=True)
    except (package.JamsError, jsonschema.exceptions.SchemaError, TypeError, ValueError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise DataError(f"{where}: is not valid JAMS: {reason}", "correct it as the JAMS schema says") from error


# Writing ------------------------------------------------------------------------------------------------------------


def _list_parts(package: Any, annotation: Annotation) -> Iterable[tuple[str, dict[str, list[Any]], dict[str, Any]]]:
    """The namespace, the columns and the sandbox of each annotation in the file."""
    whole = ([0.0], [annotation.duration])
    if annotation.beats is not None:
        yield _beats_part(annotation)
    if annotation.tempo_bpm is not None:
        yield "tempo", _columns(*whole, [annotation.tempo_bpm], confidence=1.0), {}
    if annotation.chords is not None:
        yield _chord_space(package, annotation), _segment_columns(annotation.chords), {}
    if annotation.key is not None:
        yield "key_mode", _columns(*whole, [annotation.key]), {}
    if annotation.sections is not None:
        yield SECTIONS, _segment_columns(annotation.sections), {}
    if annotation.melody is not None:
        pitches = annotation.melody.tolist()
        values = [{"index": 0, "frequency": pitch, "voiced": pitch > 0} for pitch in pitches]
        times = (np.arange(len(pitches)) / MELODY_RATE).tolist()
        yield "pitch_contour", _columns(times, [0.0] * len(times), values), {}
    if (notes := annotation.notes) is not None:
        for number in sorted({*range(len(annotation.tracks)), *notes.track.tolist()}) or [0]:
            yield _notes_part(annotation, notes, number)
    for number, track in enumerate(annotation.tracks):
        lengths = (track.end - track.start).tolist()
        columns = _columns(track.start.tolist(), lengths, [track.instrument] * len(lengths))
        yield "tag_open", columns, _describe_track(annotation, number)


def _columns(time: list[float], duration: list[float], value: list[Any], confidence: Any = None) -> dict[str, Any]:
    return {"time": time, "duration": duration, "value": value, "confidence": [confidence] * len(time)}


def _segment_columns(segments: Segments) -> dict[str, Any]:
    return _columns(segments.start.tolist(), (segments.end - segments.start).tolist(), list(segments.label))


def _beats_part(annotation: Annotation) -> tuple[str, dict[str, Any], dict[str, Any]]:
    assert annotation.beats is not None
    times = annotation.beats.tolist()
    if annotation.positions is None:
        return "beat", _columns(times, [0.0] * len(times), [None] * len(times)), {}
    positions = annotation.positions.tolist()
    unit = (annotation.time_signature or "").partition("/")[2]
    meter = {
        "num_beats": max(positions, default=1),
        "beat_units": int(unit) if unit in map(str, BEAT_UNITS) else 4,
    }
    bars = np.maximum(np.cumsum(annotation.positions == 1) - int(positions[:1] == [1]), 0).tolist()
    values = [{"position": place, "measure": bar, **meter} for place, bar in zip(positions, bars, strict=True)]
    return "beat_position", _columns(times, [0.0] * len(times), values), {}


def _chord_space(package: Any, annotation: Annotation) -> str:
    """The namespace that all chords are in. Raises DataError for a label that is in none."""
    assert annotation.chords is not None
    labels = set(annotation.chords.label)
    for namespace in CHORDS:
        pattern = re.compile(package.schema.namespace(namespace)["properties"]["value"]["pattern"])
        if not (other := sorted(label for label in labels if not pattern.search(label))):
            return namespace
    raise DataError(
        f"annotation {annotation.id}: JAMS has no chord {other[0]!r}", "write it as Harte et al. 2005 do: A:min7, C, N"
    )


def _notes_part(annotation: Annotation, notes: Notes, number: int) -> tuple[str, dict[str, Any], dict[str, Any]]:
    rows = np.flatnonzero(notes.track == number)
    rows = rows[np.argsort(notes.onset[rows], kind="stable")]
    onset, pitch = notes.onset[rows].tolist(), notes.pitch[rows].tolist()
    sandbox: dict[str, Any] = (
        _describe_track(annotation, number) if number < len(annotation.tracks) else {"track": number}
    )
    for name in ("velocity", "program", "is_drum"):
        values = getattr(notes, name)[rows].tolist()
        alike = name != "velocity" and len(set(values)) == 1
        sandbox[name] = values[0] if alike else values
    return "note_midi", _columns(onset, (notes.offset[rows] - notes.onset[rows]).tolist(), pitch), sandbox


def _describe_track(annotation: Annotation, number: int) -> dict[str, Any]:
    track = annotation.tracks[number]
    return {
        "track": number,
        "instrument": track.instrument,
        "stem": track.stem,
        "program": track.program,
        "is_drum": track.is_drum,
    }


# Reading ------------------------------------------------------------------------------------------------------------


def _read(jam: Any, where: str, name: str, id: str | None) -> Annotation:
    """Read JAMS that is valid. Its schema leaves sandboxes and the values of `pitch_contour` open."""
    found = str(vars(jam.file_metadata.identifiers).get("synthmir") or jam.file_metadata.title or name)
    if id is not None and found != id:
        raise DataError(f"{where}: is of {found!r}, not of {id!r}", f"give the file of {id!r}")
    duration = jam.file_metadata.duration
    if duration is None or not 0 < duration <= LONGEST:
        raise DataError(
            f"{where}: the duration in its file_metadata is {duration}", "set it to the length of the audio in seconds"
        )
    try:
        return _read_parts(jam, found, float(duration))
    except (KeyError, AttributeError, TypeError, ValueError, OverflowError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"{where}: has a value that is not of its namespace: {reason}", "correct it") from error


def _read_parts(jam: Any, id: str, duration: float) -> Annotation:
    beats = _first(jam, BEAT_SPACES)
    positions, meter = None, vars(jam.sandbox).get("time_signature")
    if beats is not None and beats.namespace == "beat_position":
        positions = np.array([int(beat.value["position"]) for beat in beats.data], np.int8)
        if meter is None and beats.data and "synthmir" not in jam.file_metadata.identifiers:
            value = beats.data[0].value
            meter = f"{value['num_beats']}/{value['beat_units']}"
    key, tempo = _first(jam, re.compile("key_mode")), _first(jam, re.compile("tempo"))
    contours = [part for part in jam.annotations if part.namespace == "pitch_contour"]
    return Annotation(
        id=id,
        duration=duration,
        beats=None if beats is None else np.array([beat.time for beat in beats.data], np.float64),
        positions=positions,
        tempo_bpm=float(max(tempo.data, key=lambda item: item.confidence or 0).value)
        if tempo and tempo.data
        else None,
        time_signature=None if meter is None else str(meter),
        chords=_read_segments(_first(jam, CHORD_SPACES)),
        key=key.data[0].value if key and key.data else None,
        sections=_read_segments(_first(jam, SECTION_SPACES)),
        melody=_read_melody(contours[0], duration) if len(contours) == 1 else None,
        notes=_read_notes([part for part in jam.annotations if part.namespace == "note_midi"]),
        tracks=_read_tracks([part for part in jam.annotations if part.namespace == "tag_open"]),
    )


def _first(jam: Any, namespace: re.Pattern[str]) -> Any:
    return next((part for part in jam.annotations if namespace.fullmatch(part.namespace)), None)


def _read_segments(part: Any) -> Segments | None:
    if part is None:
        return None
    start = np.array([item.time for item in part.data], np.float64)
    lengths = np.array([item.duration for item in part.data], np.float64)
    return Segments(start, start + lengths, tuple(str(item.value) for item in part.data))


def _read_melody(part: Any, duration: float) -> np.ndarray:
    """The value nearest to each 10 ms; 0 where none is within that time."""
    times = np.array([item.time for item in part.data], np.float64)
    pitches = np.array([item.value["frequency"] if item.value["voiced"] else 0.0 for item in part.data], np.float32)
    grid = np.arange(int(np.ceil(round(duration * MELODY_RATE, 6)))) / MELODY_RATE
    if not len(times):
        return np.zeros(len(grid), np.float32)
    right = np.searchsorted(times, grid).clip(1, max(len(times) - 1, 1))
    nearest = np.where(np.abs(grid - times[right - 1]) <= np.abs(times[right % len(times)] - grid), right - 1, right)
    nearest = nearest.clip(0, len(times) - 1)
    return np.where(np.abs(times[nearest] - grid) < 1 / MELODY_RATE, pitches[nearest], np.float32(0))


def _read_notes(parts: list[Any]) -> Notes | None:
    if not parts:
        return None
    columns: dict[str, list[Any]] = {name: [] for name in Notes.__dataclass_fields__}
    for number, part in enumerate(parts):
        notes, given = list(part.data), vars(part.sandbox)
        onset = [note.time for note in notes]
        values = {
            "onset": onset,
            "offset": [start + note.duration for start, note in zip(onset, notes, strict=True)],
            "pitch": [round(note.value) for note in notes],
            "track": [_whole(given.get("track"), number)] * len(notes),
        }
        for name, default in (("velocity", DEFAULT_VELOCITY), ("program", 0), ("is_drum", False)):
            value = given.get(name)
            listed = value if isinstance(value, list) else [default if value is None else value] * len(notes)
            if len(listed) != len(notes) or not all(isinstance(item, int | float) for item in listed):
                raise DataError(
                    f"JAMS: note_midi {number} has {len(notes)} notes, and its sandbox other {name}", "write it again"
                )
            values[name] = listed
        for name, column in columns.items():
            column += values[name]
    kinds = (np.float64, np.float64, np.int16, np.int16, np.int16, np.bool_, np.int16)
    arrays: list[np.ndarray] = [
        np.array(column).astype(kind) for column, kind in zip(columns.values(), kinds, strict=True)
    ]
    order = np.lexsort((arrays[-1], arrays[2], arrays[0]))
    return Notes(*(array[order] for array in arrays))


def _read_tracks(parts: list[Any]) -> tuple[TrackActivity, ...]:
    """The tracks of a file that `to_jams` made; tags of other files are not about tracks."""
    tracks: dict[int, TrackActivity] = {}
    for part in parts:
        given = vars(part.sandbox)
        if all(name in given for name in ("track", "instrument", "stem", "program", "is_drum")):
            start = np.array([item.time for item in part.data], np.float64)
            end = start + np.array([item.duration for item in part.data], np.float64)
            tracks[_whole(given["track"], len(tracks))] = TrackActivity(
                str(given["instrument"]),
                _whole(given["program"], 0),
                bool(given["is_drum"]),
                str(given["stem"]),
                start,
                end,
            )
    return tuple(tracks[number] for number in sorted(tracks))


def _whole(value: Any, default: int) -> int:
    return value if isinstance(value, int) else default
