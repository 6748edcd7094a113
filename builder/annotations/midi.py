"""Annotations as MIDI files: the notes, the beats as the tempo map, the key and the sections."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Mapping
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DataError
from .annotation import Annotation, Notes, as_annotation

if TYPE_CHECKING:
    from pretty_midi import PrettyMIDI

TICKS = 9600  # in a quarter note: 0.05 ms at 120 a minute
DRUM_CHANNEL = 9
CHANNELS = tuple(channel for channel in range(16) if channel != DRUM_CHANNEL)
FLATS_AND_SHARPS = {"C": 0, "G": 1, "D": 2, "A": 3, "E": 4, "B": 5, "F": -1}  # of the major key of each letter
DEFAULT_TEMPO = 120.0
SLOWEST = 0xFFFFFF  # microseconds of a quarter note that a tempo event can hold


def write_midi(annotation: Annotation | Mapping[str, Any]) -> bytes:
    """Write the notes as a type-1 MIDI file that sounds in time with the audio.

    The tempo map follows the beats, so that a bar of the file is a bar of the music: what comes before the first beat
    is a pick-up of one beat. Without beats, or without positions, the tempo is constant. Times are rounded to
    1/9600 of a quarter note. A note that is repeated before it ends, which MIDI cannot say, ends where it is repeated.

    Args:
        annotation: An annotation with notes, or a row of the config `annotations`. Its `midi` is not used.

    Returns:
        The bytes of the file: a track of tempo, time signature, key and sections, then one for each instrument.

    Raises:
        DataError: The annotation has no notes.
    """
    annotation = as_annotation(annotation)
    notes = annotation.notes
    if notes is None:
        raise DataError(f"annotation {annotation.id}: has no notes", "MIDI needs an annotation with notes")
    clock = _Clock(annotation)
    tracks = [_write_track(clock.events + _list_marks(annotation, clock))]
    channels = cycle(CHANNELS)
    for number in sorted({*range(len(annotation.tracks)), *notes.track.tolist()}):
        tracks.append(_write_track(_list_notes(annotation, notes, number, clock, channels)))
    return b"".join([b"MThd", struct.pack(">IHHH", 6, 1, len(tracks), TICKS), *tracks])


def to_pretty_midi(annotation: Annotation | Mapping[str, Any]) -> PrettyMIDI:
    """Convert the notes to a `pretty_midi.PrettyMIDI`.

    Args:
        annotation: An annotation with `midi` or with notes, or a row of the config `annotations`.

    Returns:
        Its `instruments` are the tracks, and `get_beats` and `get_downbeats` give the beats.

    Raises:
        DataError: The annotation has neither, or its MIDI cannot be read.
    """
    import pretty_midi

    annotation = as_annotation(annotation)
    data = annotation.midi if annotation.midi is not None else write_midi(annotation)
    try:
        return pretty_midi.PrettyMIDI(io.BytesIO(data))
    except (EOFError, OSError, ValueError, KeyError, IndexError) as error:
        raise DataError(
            f"annotation {annotation.id}: its MIDI cannot be read: {error}",
            "drop it: dataclasses.replace(a, midi=None)",
        ) from error


class _Clock:
    """Turns seconds into ticks; `events` are the tempo map and the time signatures of its file."""

    def __init__(self, annotation: Annotation) -> None:
        beats = np.zeros(0) if annotation.beats is None else np.maximum.accumulate(annotation.beats)
        positions = annotation.positions if annotation.positions is not None and len(beats) else None
        tempo = annotation.tempo_bpm if annotation.tempo_bpm and annotation.tempo_bpm > 0 else DEFAULT_TEMPO
        meter = _parse_meter(annotation.time_signature)
        quarters = 1.0  # in a beat
        if meter and positions is not None:
            quarters = 4 * meter[0] / meter[1] / max(1, int(positions.max()))
        pickup = 0  # beats before the first that is annotated
        targets = [0.0, *beats.tolist()]
        if len(beats) and beats[0] > 0:
            length = beats[1] - beats[0] if len(beats) > 1 and beats[1] > beats[0] else 60 * quarters / tempo
            pickup = max(1, round(beats[0] / length))
            targets = [*np.arange(pickup) * (beats[0] / pickup), *beats.tolist()]
        elif len(beats):
            targets = beats.tolist()
        self._seconds, self._ticks, self.events = [0.0], [0], []
        step, current = round(TICKS * quarters), 0
        for target in targets[1:] or [60 * quarters / tempo]:
            if target <= self._seconds[-1]:
                continue
            # Each beat makes up for what rounding left over, so that the file never drifts from the audio.
            wanted = min(max(1, round(1e6 * (target - self._seconds[-1]) * TICKS / step)), SLOWEST)
            if abs(wanted - current) > 1:
                current = wanted
                self.events.append((self._ticks[-1], 0, b"\xff\x51\x03" + struct.pack(">I", current)[1:]))
            self._seconds.append(self._seconds[-1] + 1e-6 * current * step / TICKS)
            self._ticks.append(self._ticks[-1] + step)
        self._rate = TICKS * 1e6 / current  # ticks a second after the last beat
        if meter:
            self._add_meters(meter, positions, pickup, step)

    def _add_meters(self, meter: tuple[int, int], positions: np.ndarray | None, pickup: int, step: int) -> None:
        """Add the time signature, after that of a first bar that is incomplete."""
        first = 0 if positions is None or 1 not in positions else pickup + int(np.argmax(positions == 1))
        in_pickup = round(first * step * meter[1] / (4 * TICKS))  # notes of the meter's kind
        if 0 < in_pickup < 256:
            self.events.append((0, 0, _format_meter(in_pickup, meter[1])))
        else:
            first = 0
        self.events.append((first * step, 0, _format_meter(*meter)))

    def to_ticks(self, seconds: np.ndarray) -> np.ndarray:
        """The nearest ticks, int64; 0 for what is before the audio."""
        ticks = np.interp(seconds, self._seconds, self._ticks) + self._rate * np.maximum(
            seconds - self._seconds[-1], 0
        )
        return np.rint(ticks).astype(np.int64)


def _parse_meter(text: str | None) -> tuple[int, int] | None:
    """The two numbers of a time signature that MIDI can hold."""
    upper, _, lower = (text or "").partition("/")
    if not (upper.isdecimal() and lower.isdecimal()):
        return None
    numbers = int(upper), int(lower)
    return numbers if 0 < numbers[0] < 256 and numbers[1] in (1, 2, 4, 8, 16, 32) else None


def _format_meter(upper: int, lower: int) -> bytes:
    return bytes((0xFF, 0x58, 4, upper, lower.bit_length() - 1, 24, 8))


def _list_marks(annotation: Annotation, clock: _Clock) -> list[tuple[int, int, bytes]]:
    """The key, and a marker at the start of each section."""
    events = []
    tonic, _, mode = (annotation.key or "").partition(":")
    if tonic[:1] in FLATS_AND_SHARPS and tonic and mode in ("major", "minor"):
        count = FLATS_AND_SHARPS[tonic[0]] + 7 * (tonic.count("#") - tonic.count("b")) - 3 * (mode == "minor")
        count = (count + 6) % 12 - 6 if abs(count) > 7 else count  # G# major is written as A flat major
        events.append((0, 0, b"\xff\x59\x02" + struct.pack("bB", count, mode == "minor")))
    if (sections := annotation.sections) is not None:
        for tick, label in zip(clock.to_ticks(sections.start).tolist(), sections.label, strict=True):
            events.append((tick, 1, _format_text(6, label)))
    return events


def _format_text(kind: int, text: str) -> bytes:
    data = text.encode("latin-1", "replace")
    return bytes((0xFF, kind)) + _format_number(len(data)) + data


def _list_notes(
    annotation: Annotation, notes: Notes, number: int, clock: _Clock, channels: Iterator[int]
) -> list[tuple[int, int, bytes]]:
    """The name, the program and the notes of a track."""
    rows = np.flatnonzero(notes.track == number)
    track = annotation.tracks[number] if 0 <= number < len(annotation.tracks) else None
    is_drum = track.is_drum if track else bool(notes.is_drum[rows[0]])
    program = track.program if track else int(notes.program[rows[0]])
    channel = DRUM_CHANNEL if is_drum else next(channels)
    events = [(0, 0, bytes((0xC0 | channel, program & 0x7F)))]
    if track:
        events.insert(0, (0, 0, _format_text(3, track.instrument)))
    starts = clock.to_ticks(notes.onset[rows])
    rows = rows[order := np.lexsort((starts, notes.pitch[rows]))]
    starts = starts[order]
    ends = np.maximum(clock.to_ticks(notes.offset[rows]), starts + 1)
    pitches = notes.pitch[rows] & 0x7F
    repeated = pitches[1:] == pitches[:-1]
    ends[:-1] = np.where(repeated, np.minimum(ends[:-1], starts[1:]), ends[:-1])
    velocities = np.clip(notes.velocity[rows], 1, 127)
    for start, end, pitch, velocity in zip(
        starts.tolist(), ends.tolist(), pitches.tolist(), velocities.tolist(), strict=True
    ):
        if end > start:
            events += [
                (start, 3, bytes((0x90 | channel, pitch, velocity))),
                (end, 2, bytes((0x80 | channel, pitch, 0))),
            ]
    return events


def _write_track(events: list[tuple[int, int, bytes]]) -> bytes:
    """A chunk of the file. At the same tick a note ends before another begins."""
    parts, last = [], 0
    for tick, _, message in sorted(events, key=lambda event: event[:2]):
        parts += [_format_number(tick - last), message]
        last = tick
    body = b"".join([*parts, b"\x00\xff\x2f\x00"])
    return b"MTrk" + struct.pack(">I", len(body)) + body


def _format_number(value: int) -> bytes:
    """A number in groups of 7 bits, the highest first."""
    data = bytes((value & 0x7F,))
    while value := value >> 7:
        data = bytes((value & 0x7F | 0x80,)) + data
    return data
