"""Convert the values of mirdata's tracks, by their type, to the fields of an `Annotation`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from .annotated_values import (
    ConversionError,
    clean_chords,
    key_or_none,
    make_notes,
    make_segments,
    parse_key,
    resample_melody,
)

Fields = dict[str, Any]
UNKNOWN_VELOCITY = 64  # of notes that are annotated without one


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
    segments, remarks = clean_chords(intervals, list(map(str, value.labels)))
    return Converted([*remarks, *_after_end(segments.start, duration)], chords=segments)


def _key_data(value: Any, duration: float) -> Converted:
    """KeyData: the key that lasts longest."""
    intervals = to_seconds(value.intervals, value.interval_unit)
    lengths: dict[str, float] = {}
    for label, (start, end) in zip(value.keys, intervals, strict=True):
        if (name := key_or_none(str(label))) is not None:
            lengths[name] = lengths.get(name, 0.0) + float(end - start)
    if not lengths:
        if len(value.keys):
            parse_key(str(value.keys[0]))  # says why
        return Converted()
    remarks = ["the key changes: the one that lasts longest counts"] if len(lengths) > 1 else []
    return Converted(remarks, key=max(lengths, key=lambda name: lengths[name]))


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


def _time_signature(value: Any, duration: float) -> Converted:
    """ "4-4", "6/8", or the number of quarter notes in a bar."""
    match = re.fullmatch(r"\s*(\d{1,2})\s*(?:[-/:]\s*(\d{1,2}))?\s*", str(value))
    if match is None:
        raise ConversionError(f"the time signature {str(value)[:40]!r}")
    return Converted(time_signature=f"{int(match[1])}/{int(match[2] or 4)}")


def _after_end(times: np.ndarray, duration: float) -> list[str]:
    """A remark where an annotation continues for over a second after the audio: then they do not belong together."""
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
