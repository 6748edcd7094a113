"""Convert the values of mirdata's tracks, by their type, to the fields of an `Annotation`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from builder.annotations.annotation import MELODY_RATE, Notes, Segments

Fields = dict[str, Any]
UNKNOWN_CHORD = "X"  # mir_eval leaves stretches of this label out
UNKNOWN_VELOCITY = 64  # of notes that are annotated without one
_KEY = re.compile(r"([A-Ga-g])\s*(sharp|flat|[#♯b♭]*)[\s:_-]*([A-Za-z]*)$")
_MODES = {
    "": "major", "maj": "major", "major": "major", "M": "major", "ionian": "major",
    "min": "minor", "minor": "minor", "m": "minor", "aeolian": "minor",
}  # fmt: skip
_NO_KEY = {"n", "x", "none", "unknown", "-", ""}


class ConversionError(ValueError):
    """A value that no `Annotation` can hold; the message says why."""


class Converted(Fields):
    """Fields of an `Annotation`; empty where nothing is annotated. `remarks` say what was changed."""

    def __init__(self, remarks: Iterable[str] = (), **values: Any) -> None:
        super().__init__(values)
        self.remarks = tuple(remarks)


def convert_value(task: str, value: Any, duration: float) -> Converted:
    """Convert what an attribute of a track holds.

    Args:
        task: What it annotates, of `CONVERTERS`.
        value: An object of mirdata.annotations, text, a number, or a list or dictionary of them. None: not annotated.
        duration: Seconds of audio.

    Returns:
        Fields of an `Annotation`; empty where nothing is annotated.

    Raises:
        ConversionError: The value is of a type that has no converter, or holds what an `Annotation` cannot.
    """
    if type(value).__name__ == "MultiAnnotator":
        value = next((one for one in value.annotations if one is not None), None)
    if value is None:
        return Converted()
    converters = CONVERTERS[task]
    for kind in type(value).__mro__:
        if kind.__name__ in converters:
            return converters[kind.__name__](value, duration)
    raise ConversionError(f"{task} of the type {type(value).__name__}")


def to_seconds(times: Any, unit: str) -> np.ndarray:
    """Convert times to float64 seconds. Raises ConversionError for MIDI ticks, which say no time."""
    if unit not in ("s", "ms"):
        raise ConversionError(f"times in {unit}, not in seconds")
    seconds = np.asarray(times, np.float64) / (1000 if unit == "ms" else 1)
    if not np.isfinite(seconds).all():
        raise ConversionError("a time that is not finite")
    return seconds


def to_midi_pitch(pitches: Any, unit: str) -> np.ndarray:
    """Convert pitches in Hz or as MIDI numbers to float64 MIDI numbers. Raises ConversionError for names of notes."""
    if unit not in ("hz", "midi"):
        raise ConversionError(f"pitches in {unit}, not in Hz or MIDI numbers")
    values = np.asarray(pitches, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return values if unit == "midi" else 69 + 12 * np.log2(values / 440)


def parse_key(text: str) -> str | None:
    """Parse "D:minor", "Db maj", "F# minor", "Am", "bb:min" as "D:minor", "Db:major", ...; None for no key.

    Raises:
        ConversionError: A mode that is neither major nor minor, or no key.
    """
    text = text.strip()
    if text.lower() in _NO_KEY:
        return None
    match = _KEY.match(text)
    if match is None:
        raise ConversionError(f"the key {text[:40]!r}")
    accidental = match[2].replace("♯", "#").replace("♭", "b").replace("sharp", "#").replace("flat", "b")
    mode = _MODES.get(match[3]) or _MODES.get(match[3].lower())
    if mode is None:
        raise ConversionError(f"the mode {match[3][:20].lower()}, neither major nor minor")
    return f"{match[1].upper()}{accidental}:{mode}"


@lru_cache(4096)
def is_chord(label: str) -> bool:
    """Whether mir_eval can read a label of a chord (Harte et al. 2005)."""
    from mir_eval.chord import InvalidChordException, encode

    try:
        encode(label)
    except (InvalidChordException, ValueError, KeyError, IndexError):
        return False
    return True


def make_segments(intervals: np.ndarray, labels: Sequence[str]) -> tuple[Segments, int]:
    """Order stretches by their start, and cut those that overlap the next.

    Args:
        intervals: float64 [segments, 2], seconds.
        labels: Of each.

    Returns:
        The segments without empty ones, and how many were cut.
    """
    intervals = np.asarray(intervals, np.float64).reshape(-1, 2)
    order = np.argsort(intervals[:, 0], kind="stable")
    start, end = intervals[order].T
    ends = np.minimum(end, np.append(start[1:], np.inf))
    kept = ends > start
    names = tuple(str(labels[place]) for place in order[kept])
    return Segments(start[kept], ends[kept], names), int((ends < end - 1e-6).sum())


def _beats(value: Any, duration: float) -> Converted:
    """BeatData; positions only where they count within bars."""
    times = to_seconds(value.times, value.time_unit)
    positions = None
    if value.positions is not None and value.position_unit == "bar_index":
        places = np.asarray(value.positions, np.float64)
        if np.isfinite(places).all() and (places == np.round(places)).all() and ((places >= 0) & (places < 128)).all():
            positions = places.astype(np.int8)
    return Converted(_after_end(times, duration), beats=times, positions=positions)


def _tempo_data(value: Any, duration: float) -> Converted:
    """TempoData: the most confident of several, else the longest."""
    tempi = np.asarray(value.tempos, np.float64)
    if not len(tempi):
        return Converted()
    weights = np.diff(value.intervals, axis=1)[:, 0] if value.confidence is None else np.asarray(value.confidence)
    return _tempo(float(tempi[int(np.argmax(weights))]), duration)


def _tempo(value: Any, duration: float) -> Converted:
    """A number, or text of one. Data sets write 0 or NaN where there is no tempo."""
    try:
        bpm = float(value)
    except ValueError as error:
        raise ConversionError(f"the tempo {str(value)[:40]!r}") from error
    return Converted(tempo_bpm=bpm) if math.isfinite(bpm) and bpm > 0 else Converted()


def _tempo_dict(value: dict[str, Any], duration: float) -> Converted:
    if not isinstance(value.get("tempo_bpm"), int | float):
        raise ConversionError("tempo of the type dict")
    return _tempo(value["tempo_bpm"], duration)


def _chords(value: Any, duration: float) -> Converted:
    """ChordData; labels that mir_eval cannot read become X."""
    intervals = to_seconds(value.intervals, getattr(value, "interval_unit", "s"))  # mirdata 1.0 does not keep the unit
    labels = [str(label).strip() for label in value.labels]
    odd = sum(not is_chord(label) for label in labels)
    segments, cut = make_segments(intervals, [label if is_chord(label) else UNKNOWN_CHORD for label in labels])
    remarks = ["chords that mir_eval cannot read are left out of the score"] if odd else []
    remarks += ["chords that overlap are cut"] if cut else []
    return Converted([*remarks, *_after_end(segments.start, duration)], chords=segments)


def _key_data(value: Any, duration: float) -> Converted:
    """KeyData: the key that lasts longest."""
    intervals = to_seconds(value.intervals, value.interval_unit)
    lengths: dict[str, float] = {}
    for label, (start, end) in zip(value.keys, intervals, strict=True):
        if (name := _key_or_none(str(label))) is not None:
            lengths[name] = lengths.get(name, 0.0) + float(end - start)
    if not lengths:
        if len(value.keys):
            parse_key(str(value.keys[0]))  # says why
        return Converted()
    remarks = ["the key changes: the one that lasts longest counts"] if len(lengths) > 1 else []
    return Converted(remarks, key=max(lengths, key=lambda name: lengths[name]))


def _key_or_none(text: str) -> str | None:
    try:
        return parse_key(text)
    except ConversionError:
        return None


def _key_text(value: str, duration: float) -> Converted:
    name = parse_key(value)
    return Converted() if name is None else Converted(key=name)


def _key_list(value: Sequence[str], duration: float) -> Converted:
    """Several keys of one track, as Beatport's annotators wrote them: the first."""
    if not value:
        return Converted()
    remarks = ["several keys are annotated: the first counts"] if len(value) > 1 else []
    return Converted(remarks, **_key_text(str(value[0]), duration))


def _sections(value: Any, duration: float) -> Converted:
    """SectionData; without labels each section has an empty one."""
    intervals = to_seconds(value.intervals, value.interval_unit)
    return Converted(sections=make_segments(intervals, value.labels or [""] * len(intervals))[0])


def _melody(value: Any, duration: float) -> Converted:
    """F0Data on the grid of `Annotation.melody`."""
    times = to_seconds(value.times, value.time_unit)
    pitches = to_midi_pitch(value.frequencies, value.frequency_unit)
    voiced = (np.asarray(value.voicing, np.float64) > 0) & np.isfinite(pitches)
    if value.frequency_unit == "midi":
        voiced &= pitches > 0
    return Converted(_after_end(times, duration), melody=resample_melody(times, pitches, voiced, duration))


def _several_f0(value: Any, duration: float) -> Converted:
    """MultiF0Data with at most one pitch at a time."""
    if any(len(frame) > 1 for frame in value.frequency_list):
        raise ConversionError("several pitches at a time, where a melody has one")
    times = to_seconds(value.times, value.time_unit)
    frames = [frame[0] if len(frame) else 0.0 for frame in value.frequency_list]
    pitches = to_midi_pitch(frames, value.frequency_unit)
    voiced = np.isfinite(pitches) & (np.asarray(frames, np.float64) > 0)
    return Converted(_after_end(times, duration), melody=resample_melody(times, pitches, voiced, duration))


def resample_melody(times: np.ndarray, pitches: np.ndarray, voiced: np.ndarray, duration: float) -> np.ndarray:
    """Resample a melody to `MELODY_RATE` values a second.

    A value is voiced where the nearest one in time is, and no further from it than one and a half hops. Between two
    voiced ones within a semitone the pitch is interpolated in cents.

    Args:
        times: float64 [values], seconds, increasing.
        pitches: float64 [values], MIDI numbers; of unvoiced values any.
        voiced: bool [values].
        duration: Seconds of audio.

    Returns:
        float32 [ceil(MELODY_RATE * duration)], Hz, 0 where unvoiced.
    """
    grid = np.arange(math.ceil(round(MELODY_RATE * duration, 6))) / MELODY_RATE
    if not voiced.any():
        return np.zeros(len(grid), np.float32)
    hop = float(np.median(np.diff(times))) if len(times) > 1 else 1 / MELODY_RATE
    after = np.clip(np.searchsorted(times, grid), 1, max(len(times) - 1, 1))
    before = after - 1
    after = np.minimum(after, len(times) - 1)
    nearest = np.where(np.abs(times[after] - grid) < np.abs(grid - times[before]), after, before)
    sounds = voiced[nearest] & (np.abs(times[nearest] - grid) <= 1.5 * hop)
    pitch = pitches[nearest].copy()
    smooth = voiced[before] & voiced[after] & (times[after] > times[before])
    smooth &= (grid >= times[before]) & (grid <= times[after])
    smooth[smooth] &= np.abs(pitches[after[smooth]] - pitches[before[smooth]]) <= 1
    low, high = before[smooth], after[smooth]
    share = (grid[smooth] - times[low]) / (times[high] - times[low])
    pitch[smooth] = pitches[low] + share * (pitches[high] - pitches[low])
    hertz = np.zeros(len(grid), np.float32)
    hertz[sounds] = 440 * 2 ** ((pitch[sounds] - 69) / 12)
    return hertz


def _note_data(value: Any, duration: float) -> Converted:
    return _merge_notes([value], duration)


def _note_dict(value: dict[str, Any], duration: float) -> Converted:
    """NoteData by string or voice, all of one instrument."""
    return _merge_notes([part for part in value.values() if part is not None], duration)


def _merge_notes(parts: Sequence[Any], duration: float) -> Converted:
    if not parts:
        return Converted()
    for part in parts:
        if type(part).__name__ != "NoteData":
            raise ConversionError(f"notes of the type {type(part).__name__}")
    intervals = np.concatenate([to_seconds(part.intervals, part.interval_unit).reshape(-1, 2) for part in parts])
    pitches = np.concatenate([to_midi_pitch(part.pitches, part.pitch_unit) for part in parts])
    velocity = np.concatenate(
        [
            np.asarray(part.confidence, np.float64)
            if part.confidence is not None and part.confidence_unit == "velocity"
            else np.full(len(part.pitches), UNKNOWN_VELOCITY)
            for part in parts
        ]
    )
    return Converted(_after_end(intervals[:, 0], duration), notes=make_notes(intervals, pitches, velocity))


def _note_list(value: Sequence[Any], duration: float) -> Converted:
    """Filosax's own class of notes."""
    if not value:
        return Converted()
    if not all(hasattr(note, "a_start_time") for note in value):
        raise ConversionError("notes of the type list")
    intervals = np.array([(note.a_start_time, note.a_end_time) for note in value], np.float64)
    pitches = np.array([note.midi_pitch for note in value], np.float64)
    return Converted(
        _after_end(intervals[:, 0], duration),
        notes=make_notes(intervals, pitches, np.full(len(pitches), UNKNOWN_VELOCITY)),
    )


def _midi(value: Any, duration: float) -> Converted:
    """PrettyMIDI: the notes of all instruments, with their programs."""
    rows = [
        (note.start, note.end, note.pitch, note.velocity, part.program, part.is_drum, number)
        for number, part in enumerate(value.instruments)
        for note in part.notes
    ]
    if not rows:
        return Converted()
    table = np.array(rows, np.float64)
    notes = make_notes(table[:, :2], table[:, 2], table[:, 3], table[:, 4], table[:, 5] > 0, table[:, 6])
    return Converted(_after_end(notes.onset, duration), notes=notes)


def make_notes(
    intervals: np.ndarray,
    pitches: np.ndarray,
    velocity: np.ndarray,
    program: np.ndarray | int = 0,
    is_drum: np.ndarray | bool = False,
    track: np.ndarray | int = 0,
) -> Notes:
    """Make notes of columns: pitches are rounded, notes without length or with an impossible pitch left out.

    Args:
        intervals: float64 [notes, 2], onset and offset in seconds.
        pitches: float64 [notes], MIDI numbers.
        velocity: float64 [notes], 0 to 127.
        program: [notes], General-MIDI programs from 0.
        is_drum: bool [notes].
        track: [notes].
    """
    with np.errstate(invalid="ignore"):
        kept = (intervals[:, 1] > intervals[:, 0]) & np.isfinite(pitches) & (pitches >= 0) & (pitches < 127.5)
    rows = np.flatnonzero(kept)
    numbers = np.round(pitches[rows])
    rows = rows[np.lexsort((numbers, intervals[rows, 0]))]
    columns = [np.broadcast_to(np.asarray(column), (len(pitches),))[rows] for column in (program, is_drum, track)]
    return Notes(
        intervals[rows, 0],
        intervals[rows, 1],
        np.minimum(np.round(pitches[rows]), 127).astype(np.int16),
        np.clip(np.round(velocity[rows]), 1, 127).astype(np.int16),
        columns[0].astype(np.int16),
        columns[1].astype(np.bool_),
        columns[2].astype(np.int16),
    )


def _time_signature(value: Any, duration: float) -> Converted:
    """ "4-4", "6/8", or the number of quarter notes in a bar."""
    match = re.fullmatch(r"\s*(\d{1,2})\s*(?:[-/:]\s*(\d{1,2}))?\s*", str(value))
    if match is None:
        raise ConversionError(f"the time signature {str(value)[:40]!r}")
    return Converted(time_signature=f"{int(match[1])}/{int(match[2] or 4)}")


def _after_end(times: np.ndarray, duration: float) -> list[str]:
    """A remark where an annotation goes on for over a second after the audio: then they do not belong together."""
    late = len(times) > 0 and float(times.max()) > duration + 1
    return ["is annotated beyond the end of its audio: another version of the recording?"] if late else []


CONVERTERS: dict[str, dict[str, Callable[[Any, float], Converted]]] = {  # by the name of the value's class
    "beats": {"BeatData": _beats},
    "tempo": {
        "TempoData": _tempo_data, "float": _tempo, "int": _tempo, "str": _tempo, "dict": _tempo_dict,
        "floating": _tempo, "integer": _tempo,
    },
    "chords": {"ChordData": _chords},
    "key": {"KeyData": _key_data, "str": _key_text, "list": _key_list},
    "sections": {"SectionData": _sections},
    "melody": {"F0Data": _melody, "MultiF0Data": _several_f0},
    "notes": {"NoteData": _note_data, "dict": _note_dict, "list": _note_list, "PrettyMIDI": _midi},
    "time_signature": {"str": _time_signature, "int": _time_signature},
}  # fmt: skip
