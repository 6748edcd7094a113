"""The sung part of a clip: who sings it, with which syllables, and who joins in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..rng import SeededRandom
from ..score import LEAD_IN, Note, Score, Track
from ..theory import Key, scale_walk
from .diction import SungNote
from .phonemes import Syllable, draw_syllables
from .singer import Singer, draw_singer
from .voice import sing, trace_voice

_ECHOES = (0.45, 0.22)  # how much softer the composer's echoes are
_JOINED = 0.14  # seconds: shorter gaps are sung through
_CLOSE = 7  # semitones: wider steps get a syllable of their own
_FORWARD = (1.5, 7.0)  # dB by which the voice is in front of the band
_LATE = 0.03  # seconds by which the others may be late


@dataclass(frozen=True, slots=True)
class SungPart:
    """One singer's notes."""

    singer: Singer
    notes: tuple[SungNote, ...]
    level: float  # relative to the lead


@dataclass(frozen=True, slots=True)
class Vocals:
    """Who sings in a clip: "lead" alone, with "backing", or a "choir"; the first part leads."""

    kind: str
    parts: tuple[SungPart, ...]

    def describe(self) -> dict[str, Any]:
        """Describe the singers for the column `production`."""
        lead = {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in asdict(self.parts[0].singer).items()
        }
        return {"kind": self.kind, "singers": len(self.parts), "lead": lead}


def fit_melody(track: Track, score: Score) -> list[Note]:
    """A vocal track's notes as its singer sings them: one at a time, without echoes, in the singer's range."""
    singer = _draw_lead(score)[0]
    return _fit(_single_line(track.notes), singer)


def _draw_lead(score: Score) -> tuple[Singer, SeededRandom]:
    """The lead singer, and the random numbers for what else is drawn."""
    rng = SeededRandom(score.seed, "singers")
    trained, rough = (0.06, min(0.8, 0.1 + 0.8 * score.production.drive)) if _has_drums(score) else (0.7, 0.0)
    return draw_singer(rng, trained, rough), rng


def _has_drums(score: Score) -> bool:
    return any(track.is_drum for track in score.tracks)


def plan_vocals(track: Track, score: Score) -> Vocals:
    """Draw the singers of a clip and what they sing.

    Args:
        track: The vocal track, with the notes of `fit_melody`.
        score: The score that it is of.
    """
    singer, rng = _draw_lead(score)
    if not _has_drums(score) and rng.happens(0.6):
        text = (Syllable("", (rng.choice(("a", "O", "u", "uh")),)),)
        lead = _set_text(track.notes, score, singer, rng, text)
        others = [(0, 0.9), (-2, 0.9), (rng.choice((-5, -7)), 0.9)]
        return Vocals("choir", (SungPart(singer, lead, 1.0), *_join(others, lead, score, rng)))
    lead = _set_text(track.notes, score, singer, rng)
    if not rng.happens(0.25):
        return Vocals("lead", (SungPart(singer, lead, 1.0),))
    interval = rng.weighted_choice({2: 0.4, -2: 0.3, 0: 0.15, 7: 0.15})
    first = rng.choice((0.0, 0.5)) * lead[-1].end  # all the time, or from the middle on
    entry = next((number for number, note in enumerate(lead) if note.start >= first and note.syllable), 0)
    chorus = lead[entry:]
    return Vocals(
        "backing", (SungPart(singer, lead, 1.0), *_join([(interval, rng.uniform(0.25, 0.6))], chorus, score, rng))
    )


def describe_vocals(score: Score) -> dict[str, Any]:
    """Describe who sings, for the column `production`: {} if nobody does."""
    track = next((track for track in score.tracks if track.role == "voice"), None)
    return {"vocals": plan_vocals(track, score).describe()} if track else {}


def trace_lead(vocals: Vocals, score: Score, rate: int) -> Iterator[tuple[float, np.ndarray, np.ndarray]]:
    """Yield the pitch and the loudness of the part that leads, phrase by phrase, as `trace_voice` does."""
    return trace_voice(vocals.parts[0].notes, vocals.parts[0].singer, score.seed, rate)


def sing_track(track: Track, score: Score, length: int, rate: int) -> np.ndarray:
    """Sing a vocal track: float32 [length], at the track's level."""
    vocals = plan_vocals(track, score)
    out = np.zeros(length, np.float32)
    for number, part in enumerate(vocals.parts):
        out += np.float32(part.level) * sing(part.notes, part.singer, score.seed + number, length, rate)
    forward = SeededRandom(score.seed, "vocal level").uniform(*_FORWARD)
    level = 10 ** ((track.level + forward) / 20) * (len(vocals.parts) ** -0.5 if vocals.kind == "choir" else 1.0)
    return out * np.float32(level)


def _single_line(notes: Sequence[Note]) -> list[Note]:
    """The notes without the composer's echoes, one at a time."""
    line: list[Note] = []
    for note in sorted(notes, key=lambda note: (note.start, -note.velocity)):
        echoed = any(
            other.pitch == note.pitch and abs(note.velocity - fade * other.velocity) < 1e-9
            for other in line
            for fade in _ECHOES
        )
        if not echoed and (not line or note.start - line[-1].start > 0.05):
            line.append(note)
    return line


def _fit(notes: list[Note], singer: Singer) -> list[Note]:
    """The melody in the octave that suits the singer best, and the notes that are still outside moved by octaves."""
    middle = (singer.low + singer.high) / 2 + 1
    centre = sum(note.pitch for note in notes) / max(1, len(notes))
    shift = 12 * round((middle - centre) / 12)
    fitted = []
    for note in notes:
        pitch = note.pitch + shift
        while pitch > singer.high:
            pitch -= 12
        while pitch < singer.low:
            pitch += 12
        fitted.append(Note(note.start, note.duration, pitch, note.velocity))
    return fitted


def _set_text(
    melody: Sequence[Note],
    score: Score,
    singer: Singer,
    rng: SeededRandom,
    text: tuple[Syllable, ...] = (),
) -> tuple[SungNote, ...]:
    """Put syllables to a melody. Bars with the same rhythm often have the same words."""
    second = 60.0 / score.tempo
    texts: dict[tuple[int, ...], tuple[Syllable, ...]] = {}
    bars: dict[int, list[Note]] = {}
    for note in melody:
        bars.setdefault(int((note.start + 0.1) // score.metre), []).append(note)
    sung: list[SungNote] = []
    for bar, notes in bars.items():
        rhythm = tuple(round(4 * (note.start - bar * score.metre)) for note in notes)
        if rhythm not in texts or not rng.happens(0.6):
            texts[rhythm] = draw_syllables(rng, len(notes))
        for note, word in zip(notes, text * len(notes) or texts[rhythm], strict=False):
            start = note.start * second + LEAD_IN
            syllable: Syllable | None = word
            if sung and start - sung[-1].end < _JOINED:
                last = sung[-1]
                sung[-1] = SungNote(last.start, start, last.pitch, last.velocity, last.syllable)
                if abs(last.pitch - note.pitch) <= _CLOSE and rng.happens(singer.legato if not text else 0.8):
                    syllable = None
            end = start + max(0.08, note.duration * second)
            sung.append(SungNote(start, end, note.pitch, note.velocity, syllable))
    return tuple(sung)


def _join(
    intervals: Sequence[tuple[int, float]], lead: Sequence[SungNote], score: Score, rng: SeededRandom
) -> list[SungPart]:
    """Others who sing along, so many scale steps away, in their own range and never quite together."""
    parts = []
    for steps, level in intervals:
        singer = draw_singer(rng, 0.1, 0.0)
        late = rng.uniform(-0.3, 1.0) * _LATE
        notes = tuple(
            SungNote(
                note.start + late,
                note.end + late,
                _in_range(_walk(int(note.pitch), steps, score.key), singer),
                0.8 * note.velocity,
                note.syllable,
            )
            for note in lead
        )
        parts.append(SungPart(singer, notes, level))
    return parts


def _walk(pitch: int, steps: int, key: Key) -> int:
    """A pitch some scale steps away."""
    return scale_walk(pitch, steps, key.scale) if steps else pitch


def _in_range(pitch: int, singer: Singer) -> int:
    """The pitch moved by octaves into the singer's range."""
    while pitch > singer.high + 2:
        pitch -= 12
    while pitch < singer.low - 2:
        pitch += 12
    return pitch
