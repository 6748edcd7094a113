"""Whether the sound agrees with an annotation: onsets, chords, f0 and beats, each by a measure of its own.

Each function takes float32 [samples], mono, and its rate. What it returns are counts and lists, so that a mean over
clips weighs every stroke, second or frame alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import librosa
import mir_eval
import numpy as np
from scipy.ndimage import maximum_filter1d, median_filter

from builder.annotations.annotation import MELODY_RATE, Segments

_WINDOW = 0.008  # seconds of a frame of the onset strength
_RISE = 4  # ms over which the spectrum rises
_PEAK = 1.5  # times the median of 100 ms around it
_TOGETHER = 20.0  # ms: strokes that are closer are one event
_CHROMA_RATE = 22_050
_CHROMA_HOP = 1024
CHROMA_STEP = _CHROMA_HOP / _CHROMA_RATE  # seconds
_EMPHASIS = 1.5  # exponent of the spectrum: fundamentals over harmonics
_F0_RATE, _F0_FRAME = 16_000, 1024
_VITERBI = 0.1  # semitones: the steps of pYIN's pitches
_RANGE = 1.5  # times the annotated f0


def measure_strength(sound: np.ndarray, rate: int) -> np.ndarray:
    """Return the onset strength, a value a millisecond: the mean rise of the spectrum's square root over 4 ms."""
    size = 1 << round(np.log2(_WINDOW * rate))
    levels = np.sqrt(np.abs(librosa.stft(sound, n_fft=size, hop_length=rate // 1000)))
    rises = np.maximum(0.0, levels[:, _RISE:] - levels[:, :-_RISE]).mean(axis=0)
    return np.pad(rises, _RISE // 2)


def find_peaks(strength: np.ndarray) -> np.ndarray:
    """Return the times in ms of the local maxima that stand out from their surroundings."""
    highest = (strength == maximum_filter1d(strength, 7)) & (strength > 1e-6)
    return np.flatnonzero(highest & (strength > _PEAK * median_filter(strength, 101)))


def group_onsets(onsets: np.ndarray, velocities: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Group onsets to events: strokes that follow each other within 20 ms.

    Args:
        onsets: float64 [strokes], in seconds.
        velocities: [strokes], 1 to 127.

    Returns:
        For each event its onsets in ms, and the highest of its velocities.
    """
    order = np.argsort(onsets)
    times = 1000.0 * onsets[order]
    cuts = np.flatnonzero(np.diff(times) > _TOGETHER) + 1
    return np.split(times, cuts), np.array([part.max() for part in np.split(velocities[order], cuts)])


def measure_deviations(events: Sequence[np.ndarray], peaks: np.ndarray) -> np.ndarray:
    """Return how far in ms the nearest peak is from each event, which lasts from its first stroke to its last."""
    if not len(peaks):
        return np.full(len(events), np.inf)
    return np.array([np.maximum(0.0, np.maximum(event[0] - peaks, peaks - event[-1])).min() for event in events])


@dataclass(frozen=True)
class ChordAgreement:
    """Seconds in which the sound was compared with a chord, and in which it agreed."""

    seconds: float
    root: float  # with the root
    chord: float  # with root and third


def measure_chroma(sound: np.ndarray, rate: int, lowest: str, octaves: int) -> np.ndarray:
    """Return the chroma of some octaves, with equal energy over the clip: [12, frames].

    Of three bins a semitone the middle one counts, as bins that are a semitone wide take energy of their neighbours.
    """
    audio = librosa.resample(sound, orig_sr=rate, target_sr=_CHROMA_RATE, res_type="polyphase")
    first = round(float(librosa.note_to_midi(lowest)))
    spectrum = np.abs(
        librosa.cqt(audio, sr=_CHROMA_RATE, hop_length=_CHROMA_HOP, fmin=librosa.midi_to_hz(first), tuning=0.0,
                    n_bins=36 * octaves - 2, bins_per_octave=36)
    )[::3]  # fmt: skip
    chroma = np.roll((spectrum**_EMPHASIS).reshape(octaves, 12, -1).sum(axis=0), first, axis=0)
    return np.asarray(chroma / max(1e-9, float(chroma.mean())))


def measure_chords(chords: Segments, chroma: np.ndarray) -> ChordAgreement:
    """Compare chords with the mean chroma of the time of each.

    A chord agrees if its tones have more of the chroma than those of the same kind of chord on the other eleven
    roots, and of the chord with the other third. No chord, and stretches under 0.25 s, are left out.

    Args:
        chords: The chords.
        chroma: [12, frames], as `measure_chroma` makes it.
    """
    times = np.arange(chroma.shape[1]) * CHROMA_STEP
    seconds = of_root = of_chord = 0.0
    for start, end, label in zip(chords.start, chords.end, chords.label, strict=True):
        root, tones, _ = mir_eval.chord.encode(label)
        inside = (times >= start + 0.03) & (times < end - 0.03)
        if root < 0 or end - start < 0.25 or not inside.any():
            continue
        mean = np.roll(chroma[:, inside].mean(axis=1), -root)
        scores = [float(mean @ np.roll(tones, step)) for step in range(12)]
        seconds += end - start
        if scores[0] < max(scores):
            continue
        of_root += end - start
        other = tones.copy()
        other[[3, 4]] = tones[[4, 3]]
        of_chord += (end - start) * (scores[0] >= float(mean @ other))
    return ChordAgreement(seconds, of_root, of_chord)


def drop_silent(chords: Segments, played: np.ndarray) -> Segments:
    """Return the chords during which notes sound in at least a quarter of the frames: `played` is bool [frames]."""
    frames = np.round(np.stack([chords.start, chords.end]).T / CHROMA_STEP).astype(int)
    kept = [number for number, (first, last) in enumerate(frames) if played[first:last].mean() >= 0.25]
    return Segments(chords.start[kept], chords.end[kept], tuple(chords.label[number] for number in kept))


def measure_pitch(melody: np.ndarray, sound: np.ndarray, rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Compare f0 with pYIN (Mauch and Dixon 2014), every 20 ms.

    pYIN looks from a fifth below the lowest annotated f0 to a fifth above the highest.

    Returns:
        Deviations in cents where both are voiced, and whether each is in a held note: the annotated f0 is within a
        semitone from 120 ms before to 40 ms after. Before that, the note before still rings in the room.
    """
    voiced = melody[melody > 0.0]
    if not len(voiced):
        return np.zeros(0), np.zeros(0, bool)
    audio = librosa.resample(sound, orig_sr=rate, target_sr=_F0_RATE, res_type="polyphase")
    step = 2 * _F0_RATE // MELODY_RATE
    found, sounding, _ = librosa.pyin(
        audio, fmin=max(40.0, voiced.min() / _RANGE), fmax=min(4000.0, voiced.max() * _RANGE), sr=_F0_RATE,
        frame_length=_F0_FRAME, hop_length=step, resolution=_VITERBI,
    )  # fmt: skip
    octaves = np.log2(np.maximum(melody, 1.0))
    # pYIN's frame is as long as five values: it is compared with their mean.
    around, wide = (
        np.lib.stride_tricks.sliding_window_view(np.pad(octaves, pad), sum(pad) + 1)[::2] for pad in ((2, 2), (12, 4))
    )
    count = min(len(found), len(around))
    found, around, wide = found[:count], around[:count], wide[:count]
    both = sounding[:count] & (around.min(axis=1) > 0.0)
    held = (wide.min(axis=1) > 0.0) & (np.ptp(wide, axis=1) < 1.0 / 12.0)
    return 1200.0 * (np.log2(found[both]) - around[both].mean(axis=1)), held[both]


def measure_shift(beats: np.ndarray, strength: np.ndarray, reach: int = 60) -> int:
    """Return the shift in ms, up to `reach` to either side, at which the beats meet the most onset strength."""
    smooth = np.convolve(strength, np.hanning(13) / 6.0, "same")
    places = np.round(1000.0 * beats).astype(int)
    shifts = np.arange(-reach, reach + 1)
    inside = np.clip(places[:, None] + shifts, 0, len(smooth) - 1)
    return int(shifts[np.argmax(smooth[inside].mean(axis=0))])
