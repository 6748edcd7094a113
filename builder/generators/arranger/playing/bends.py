"""Version 2: slides into notes and vibrato of melodic instruments, as a curve of pitch over the whole track."""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

from ..production.effects import modulate
from ..rng import SeededRandom
from ..score import LEAD_IN, Score, Track

_BENDING = frozenset((*range(24, 38), *range(40, 43), *range(56, 61), *range(64, 72), *range(80, 88), 110))
_STEP = 128  # samples between values of the curve
_RETURN = 1.2  # seconds in which the delay that a slide leaves falls to a third


def bend_track(sound: np.ndarray, track: Track, score: Score, rate: int) -> np.ndarray:
    """Bend the notes of a lead or a bass, in a share of the clips.

    Args:
        sound: float32 [channels, samples], the track as it was played in tune.
        track: Its notes.
        score: The score that it is of.
        rate: The sampling rate in Hz.

    Returns:
        float32 [channels, samples]: `sound` itself where nothing is bent.
    """
    curve = draw_bends(track, score, sound.shape[1], rate)
    if not curve.any():
        return sound
    steps, late = _plan_delays(curve, rate)
    delays = np.interp(np.arange(sound.shape[1]), np.arange(len(steps)) * _STEP, steps)
    padded = np.pad(sound, ((0, 0), (0, late)))
    return modulate(padded, np.pad(delays, (0, late), "edge").astype(np.float32))[:, late:]


def measure_bends(track: Track, score: Score, samples: np.ndarray, length: int, rate: int) -> np.ndarray | None:
    """Return how late a track is after `bend_track`.

    Args:
        track: Its notes.
        score: The score that it is of.
        samples: float64 [times], samples of the bent track.
        length: Samples of the clip.
        rate: The sampling rate in Hz.

    Returns:
        float64 [times], in samples, below 0 where it is early; None if nothing is bent.
    """
    curve = draw_bends(track, score, length, rate)
    if not curve.any():
        return None
    steps, late = _plan_delays(curve, rate)
    return np.asarray(np.interp(samples + late, np.arange(len(steps)) * _STEP, steps) - late)


def _plan_delays(curve: np.ndarray, rate: int) -> tuple[np.ndarray, int]:
    """The delays in samples, at least 0, that bend the pitch along a curve, and how late they make everything."""
    # Playing faster by a factor f for a time moves what follows by f - 1 of that time, which is made up for slowly.
    ahead = np.asarray(lfilter([_STEP], [1.0, -np.exp(-_STEP / (_RETURN * rate))], 2.0 ** (curve / 12.0) - 1.0))
    return ahead.max() - ahead, round(float(ahead.max()))


def draw_bends(track: Track, score: Score, length: int, rate: int) -> np.ndarray:
    """Draw how far the pitch is from the notes, in semitones: [length // 128 + 1], all 0 if nobody bends."""
    curve = np.zeros(length // _STEP + 1)
    rng = SeededRandom(score.seed, f"bends {track.instrument}")
    if track.is_drum or track.role not in ("lead", "bass") or track.program not in _BENDING or not rng.happens(0.45):
        return curve
    often = rng.uniform(0.1, 0.5) * (0.5 if track.role == "bass" else 1.0)
    depth, speed = rng.uniform(0.08, 0.35), rng.uniform(4.5, 6.5)
    second = score.tempo / 60.0
    for note in track.notes:
        start, seconds = note.start / second + LEAD_IN, note.duration / second
        from_, size, delay = rng.weighted_choice({-2: 0.35, -1: 0.5, 1: 0.15}), rng.uniform(0.05, 0.14), 0.25
        first = round(start * rate / _STEP)
        if rng.happens(often):
            slide = from_ * np.linspace(1.0, 0.0, max(2, round(min(size, 0.5 * seconds) * rate / _STEP))) ** 1.5
            part = curve[first : first + len(slide)]
            part[:] = slide[: len(part)]
        if seconds > delay + 0.2 and track.role == "lead":
            time = np.arange(round((seconds - delay) * rate / _STEP)) * (_STEP / rate)
            wave = depth * np.minimum(1.0, time / 0.3) * np.sin(2.0 * np.pi * speed * time)
            begin = first + round(delay * rate / _STEP)
            part = curve[begin : begin + len(wave)]
            part += wave[: len(part)]
    return curve
