"""Key: the pitch classes of a clip, compared with the profiles of the 24 major and minor keys."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ..corpus.schema import SAMPLING_RATE
from .base import Estimate, EstimatorSettings
from .sound import Sound, power_spectra

SIZE, HOP = 8_192, 3_200  # samples: 256 ms every 100 ms, so that semitones are resolved from about 130 Hz on
LOWEST, HIGHEST = 60.0, 1_000.0  # Hz: bass and fundamentals; above, partials outnumber them
PITCHES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")  # as the prompts write them
# How often each degree occurs in a corpus of music, tonic first (Albrecht and Shanahan 2013, "The use of large corpora
# to train a new type of key-finding algorithm", table 1).
MAJOR = (0.238, 0.006, 0.111, 0.006, 0.137, 0.094, 0.016, 0.214, 0.009, 0.080, 0.008, 0.081)
MINOR = (0.220, 0.006, 0.104, 0.123, 0.019, 0.103, 0.012, 0.214, 0.062, 0.022, 0.061, 0.052)


class Key:
    """Key of a clip: "A minor".

    Peaks of the spectrum between 60 Hz and 1 kHz are added up by pitch class, after the tuning of the clip is
    estimated (as in Gómez 2006, "Tonal description of music audio signals", chapter 3), and correlated with profiles
    of major and minor keys (Krumhansl 1990; the profiles of Albrecht and Shanahan 2013). One key is assumed
    for the clip.
    """

    name = "key"
    revision = "1"
    about = (
        "Key by correlation of pitch classes (spectral peaks, Gómez 2006) with the major and minor profiles of "
        "Albrecht and Shanahan 2013. A key and its relative or dominant are often confused."
    )
    light = True

    def __init__(self, settings: EstimatorSettings) -> None:
        settings.refuse_source()

    def columns(self) -> dict[str, Any]:
        """`key`, `key_confidence` in [0, 1], the next best `key_alternative`, and `chroma` from C to B."""
        from datasets import List, Value

        return {
            "key": Value("string"),
            "key_confidence": Value("float32"),
            "key_alternative": Value("string"),
            "chroma": List(Value("float32"), length=12),
        }

    def estimate(self, sounds: Sequence[Sound]) -> list[Estimate]:
        """Estimate the key of each clip; None where no pitch is distinct."""
        return [_estimate_key(compute_chroma(sound.samples)) for sound in sounds]


def _estimate_key(chroma: np.ndarray) -> Estimate:
    if np.ptp(chroma) < 1e-6:
        return {"key": None, "key_confidence": None, "key_alternative": None, "chroma": None}
    correlations = np.array([np.corrcoef(chroma, profile)[0, 1] for profile in list_profiles()])
    best, second = np.argsort(-correlations, kind="stable")[:2].tolist()
    return {
        "key": name_key(best),
        # Twice the lead over the next key, of its correlation: a lead of 0.5 is more than any clip of one key has.
        "key_confidence": round(float(np.clip(2 * (correlations[best] - correlations[second]), 0, 1)), 4),
        "key_alternative": name_key(second),
        "chroma": np.round(chroma, 4).tolist(),
    }


def name_key(index: int) -> str:
    """The name of a key by its place in `list_profiles`: 0 is "C major", 12 "C minor"."""
    return f"{PITCHES[index % 12]} {'major' if index < 12 else 'minor'}"


@lru_cache(maxsize=1)
def list_profiles() -> np.ndarray:
    """The profiles of the 24 keys, float64 [24, 12]: C major to B major, then C minor to B minor."""
    return np.array([np.roll(profile, tonic) for profile in (MAJOR, MINOR) for tonic in range(12)])


def compute_chroma(samples: np.ndarray) -> np.ndarray:
    """Measure how strong each pitch class is.

    Args:
        samples: float32 [samples] at 32 kHz.

    Returns:
        float64 [12] from C to B, which add up to 1; zeros where there are no peaks.
    """
    amplitude = np.sqrt(power_spectra(samples, SIZE, HOP))
    first, last = (round(edge * SIZE / SAMPLING_RATE) for edge in (LOWEST, HIGHEST))
    body, left, right = (amplitude[:, first + shift : last + shift] for shift in (0, -1, 1))
    loudest = amplitude.max(axis=1, keepdims=True)
    frames, bins = np.nonzero((body > left) & (body >= right) & (body > 0.01 * loudest) & (body > 1e-4))
    if not len(frames):
        return np.zeros(12)
    centre, before, after = body[frames, bins], left[frames, bins], right[frames, bins]
    shift = 0.5 * (before - after) / np.minimum(before - 2 * centre + after, -1e-12)
    semitones = 12 * np.log2((bins + first + shift) * (SAMPLING_RATE / SIZE) / 440.0) + 69
    weights = centre / loudest[frames, 0]  # each frame counts alike, however loud it is
    # The tuning is the mean angle of the pitches' distances from semitones.
    turns = np.exp(2j * np.pi * semitones) @ weights
    tuning = float(np.angle(turns) / (2 * np.pi))
    distance = semitones - tuning
    classes = np.rint(distance).astype(int)
    weights = weights * np.cos(np.pi * (distance - classes)) ** 2
    chroma = np.bincount(classes % 12, weights, minlength=12)
    return np.asarray(chroma / chroma.sum())
