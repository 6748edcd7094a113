"""Tempo: the period of the onsets, from their autocorrelation and spectrum together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from .base import Estimate, EstimatorSettings
from .sound import FRAME_RATE, Sound

SLOWEST, FASTEST = 40.0, 240.0  # BPM
STEPS = 100  # tempi an octave that are compared: 0.7 % apart
CENTRE, WIDTH = 100.0, 0.2 * np.log2(10)  # of the prior: a period of 0.6 s, its standard deviation of 0.2 decades
METRE = (1, 2, 4)  # periods, and onsets in a period, that a beat's metre gives peaks to
SHORTEST = 2.0  # seconds: two periods of a slow tempo
SHARES = (1 / 3, 1 / 2, 1.0, 2.0, 3.0)  # of the tempo, which are its metrical alternatives
NEAR = 0.04  # tempi this close are the same: the tolerance of the field's accuracy measures


class Tempo:
    """Tempo of a clip, in beats per minute.

    The onset strength's autocorrelation has peaks at multiples of the beat's period, and its spectrum at multiples of
    the beat's rate, so that the product of both is large at the beat itself (Peeters 2007, "Template-based estimation
    of time-varying tempo", section 3.2). Both are averaged over one, two and four times. The product is weighted by
    how salient a period is: a normal distribution in octaves around 0.6 s (Parncutt 1994, "A perceptual model of pulse
    salience and metrical accent in musical rhythms", equation 3). One tempo is assumed for the clip.
    """

    name = "tempo"
    revision = "1"
    about = (
        "Tempo by autocorrelation and spectrum of the onset strength (Peeters 2007), weighted by the salience of "
        "periods (Parncutt 1994). Half and double tempo are often confused: see `tempo_alternatives`."
    )
    light = True

    def __init__(self, settings: EstimatorSettings) -> None:
        settings.refuse_source()

    def columns(self) -> dict[str, Any]:
        """`tempo` in BPM, `tempo_confidence` in [0, 1], and `tempo_alternatives`, more probable ones first."""
        from datasets import List, Value

        number = Value("float32")
        return {
            "tempo": number,
            "tempo_confidence": number,
            "tempo_alternatives": List({"bpm": number, "confidence": number}),
        }

    def estimate(self, sounds: Sequence[Sound]) -> list[Estimate]:
        """Estimate the tempo of each clip; None without onsets and for less than two seconds."""
        return [_estimate_tempo(sound.onset_strength) for sound in sounds]


def _estimate_tempo(onsets: np.ndarray) -> Estimate:
    scores = score_tempi(onsets)
    if scores is None:
        return {"tempo": None, "tempo_confidence": None, "tempo_alternatives": []}
    tempi, best = list_tempi(), _refine(scores)

    def confidence(tempo: float) -> float:
        near = np.abs(tempi / tempo - 1) <= NEAR
        return round(float(scores[near].sum() / scores.sum()), 4)

    alternatives = []
    for share in SHARES:
        if share != 1 and SLOWEST <= best * share <= FASTEST:
            alternatives.append({"bpm": round(best * share, 2), "confidence": confidence(best * share)})
    return {
        "tempo": round(best, 2),
        "tempo_confidence": confidence(best),
        "tempo_alternatives": sorted(alternatives, key=lambda one: -one["confidence"]),
    }


@lru_cache(maxsize=1)
def list_tempi() -> np.ndarray:
    """The tempi that are compared, in BPM, float64 [n]."""
    count = int(STEPS * np.log2(FASTEST / SLOWEST)) + 1
    return np.asarray(SLOWEST * 2 ** (np.arange(count) / STEPS))


def score_tempi(onsets: np.ndarray) -> np.ndarray | None:
    """Score each tempo of `list_tempi` by how well it fits the onsets.

    Args:
        onsets: Onset strength at `FRAME_RATE`, float32 [frames].

    Returns:
        float64 [tempi], at least 0. None without onsets, or for too short a clip.
    """
    if len(onsets) < SHORTEST * FRAME_RATE or onsets.max() < 1e-3:
        return None
    strength = onsets - onsets.mean()
    size = 1 << (4 * len(strength) - 1).bit_length()  # at least twice the length, and finer steps of the spectrum
    spectrum = np.fft.rfft(strength, size)
    power = spectrum.real**2 + spectrum.imag**2
    lags = np.fft.irfft(power, size)[: 3 * len(strength) // 4]
    lags = np.maximum(lags / (1 - np.arange(len(lags)) / len(strength)) / max(lags[0], 1e-12), 0)
    amplitude = np.sqrt(power / power.max())
    rates, places, frequencies = list_tempi() / 60, np.arange(len(lags)), np.arange(len(amplitude)) * FRAME_RATE / size
    periodic = sum(np.interp(n * FRAME_RATE / rates, places, lags, right=0) for n in METRE)
    spectral = sum(np.interp(n * rates, frequencies, amplitude) for n in METRE)
    prior = np.exp(-0.5 * (np.log2(list_tempi() / CENTRE) / WIDTH) ** 2)
    scores = np.asarray(periodic * spectral * prior)
    return scores if scores.max() > 0 else None


def _refine(scores: np.ndarray) -> float:
    """The tempo of the highest score, between the steps: the peak of a parabola."""
    place = int(scores.argmax())
    shift = 0.0
    if 0 < place < len(scores) - 1:
        left, peak, right = scores[place - 1 : place + 2]
        if (bend := left - 2 * peak + right) < 0:
            shift = float(0.5 * (left - right) / bend)
    return float(SLOWEST * 2 ** ((place + shift) / STEPS))
