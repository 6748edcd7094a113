"""Whether the sound agrees with an annotation: onsets, chords, f0 and beats, each by a measure of its own.

Each function takes float32 [samples], mono, and its rate. What it returns are counts and lists, so that a mean over
clips weighs every stroke, second or frame alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import librosa
import mir_eval
import numpy as np
from scipy.ndimage import maximum_filter1d, median_filter

from builder.annotations.annotation import MELODY_RATE, Segments

_WINDOW = 0.012  # seconds of a frame of the onset strength
_PEAK = 1.5  # times the median of 100 ms around it
_CHROMA_RATE = 22_050
_CHROMA_HOP = 1024
_F0_RATE, _F0_FRAME = 16_000, 1024
_ONE_NOTE = 1.0  # semitones by which f0 may change in a frame
_VITERBI = 0.1  # semitones: the steps of pYIN's pitches


def measure_strength(sound: np.ndarray, rate: int) -> np.ndarray:
    """Return the onset strength, a value a millisecond: the rise of the log spectrum over 2 ms."""
    hop = rate // 1000
    size = 1 << round(np.log2(_WINDOW * rate))
    spectrum = np.abs(librosa.stft(sound, n_fft=size, hop_length=hop))
    levels = np.log1p(1000.0 * spectrum / (spectrum.max() + 1e-9))
    rises = np.maximum(0.0, levels[:, 2:] - levels[:, :-2]).mean(axis=0)
    return np.pad(rises, 1)


def find_peaks(strength: np.ndarray) -> np.ndarray:
    """Return the times in ms of the local maxima that stand out from their surroundings."""
    highest = (strength == maximum_filter1d(strength, 7)) & (strength > 1e-6)
    return np.flatnonzero(highest & (strength > _PEAK * median_filter(strength, 101)))


def measure_deviations(onsets: np.ndarray, sound: np.ndarray, rate: int) -> np.ndarray:
    """Return how far in ms the nearest peak of the onset strength is from each onset, which is in seconds."""
    peaks = find_peaks(measure_strength(sound, rate))
    if not len(peaks):
        return np.full(len(onsets), np.inf)
    nearest = np.abs(peaks[None] - 1000.0 * np.asarray(onsets)[:, None])
    return np.asarray(nearest.min(axis=1))


@dataclass(frozen=True)
class ChordAgreement:
    """Seconds in which the sound was compared with a chord, and in which it agreed; the same of each label."""

    seconds: float
    agreeing: float
    faults: list[tuple[str, int, float]]  # label, semitones to the better root or 12 for the other third, seconds


def measure_chroma(sound: np.ndarray, rate: int, lowest: str, octaves: int) -> np.ndarray:
    """Return the chroma of some octaves, with equal energy over the clip: [12, frames]."""
    audio = librosa.resample(sound, orig_sr=rate, target_sr=_CHROMA_RATE, res_type="polyphase")
    chroma = librosa.feature.chroma_cqt(
        y=audio, sr=_CHROMA_RATE, hop_length=_CHROMA_HOP, fmin=librosa.note_to_hz(lowest), n_octaves=octaves,
        tuning=0.0, norm=None,
    )  # fmt: skip
    return np.asarray(chroma / max(1e-9, float(chroma.mean())))


def measure_chords(chords: Segments, chroma: np.ndarray) -> ChordAgreement:
    """Compare chords with the mean chroma of the time of each.

    A chord agrees if its tones have more of the chroma than those of the same kind of chord on the other eleven
    roots, and of the chord with the other third. No chord, and stretches under 0.25 s, are left out.

    Args:
        chords: The chords.
        chroma: [12, frames], as `measure_chroma` makes it.
    """
    times = np.arange(chroma.shape[1]) * _CHROMA_HOP / _CHROMA_RATE
    seconds = agreeing = 0.0
    faults = []
    for start, end, label in zip(chords.start, chords.end, chords.label, strict=True):
        root, tones, _ = mir_eval.chord.encode(label)
        inside = (times >= start + 0.03) & (times < end - 0.03)
        if root < 0 or end - start < 0.25 or not inside.any():
            continue
        mean = chroma[:, inside].mean(axis=1)
        rivals = [np.roll(tones, step) for step in range(12)]
        if tones[3] != tones[4]:
            other = tones.copy()
            other[[3, 4]] = tones[[4, 3]]
            rivals.append(other)
        scores = [float(mean @ np.roll(rival, root)) for rival in rivals]
        seconds += end - start
        if scores[0] >= max(scores[1:]):
            agreeing += end - start
        else:
            faults.append((label, int(np.argmax(scores)), float(end - start)))
    return ChordAgreement(seconds, agreeing, faults)


def measure_pitch(melody: np.ndarray, sound: np.ndarray, rate: int) -> np.ndarray:
    """Return the deviations in cents of pYIN (Mauch and Dixon 2014) where it and the annotation are voiced.

    pYIN looks from an octave below the lowest annotated f0 to an octave above the highest, every 20 ms. Frames in which
    the annotated f0 jumps by a semitone or more, from note to note, are left out.
    """
    voiced = melody[melody > 0.0]
    if not len(voiced):
        return np.zeros(0)
    audio = librosa.resample(sound, orig_sr=rate, target_sr=_F0_RATE, res_type="polyphase")
    step = 2 * _F0_RATE // MELODY_RATE
    found, sounding, _ = librosa.pyin(
        audio, fmin=max(40.0, voiced.min() / 2.0), fmax=min(4000.0, voiced.max() * 2.0), sr=_F0_RATE,
        frame_length=_F0_FRAME, hop_length=step, resolution=_VITERBI,
    )  # fmt: skip
    # pYIN's frame is as long as five values: their mean, where the five are one note.
    around = np.lib.stride_tricks.sliding_window_view(np.pad(np.log2(np.maximum(melody, 1.0)), 2), 5)[::2]
    one_note = (around.min(axis=1) > 0.0) & (np.ptp(around, axis=1) < _ONE_NOTE / 12.0)
    count = min(len(found), len(around))
    both = sounding[:count] & one_note[:count]
    return np.asarray(1200.0 * (np.log2(found[:count][both]) - around[:count][both].mean(axis=1)))


def measure_shift(beats: np.ndarray, strength: np.ndarray, reach: int = 60) -> int:
    """Return the shift in ms, up to `reach` to either side, at which the beats meet the most onset strength."""
    smooth = np.convolve(strength, np.hanning(13) / 6.0, "same")
    places = np.round(1000.0 * beats).astype(int)
    shifts = np.arange(-reach, reach + 1)
    inside = np.clip(places[:, None] + shifts, 0, len(smooth) - 1)
    return int(shifts[np.argmax(smooth[inside].mean(axis=0))])
