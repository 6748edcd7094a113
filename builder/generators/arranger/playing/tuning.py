"""How far the samples of a sound font are out of tune."""

from __future__ import annotations

import math

from .soundfont import ATTENUATION, CENTS, DEFAULTS, KEYTRACK, ROOT, SAMPLE, SEMITONES, SoundFont
from .synthesis import cut_sample

_VELOCITY = 104
_FARTHEST = 0.7  # semitones: farther away the loop is not of whole periods


def measure_tuning(font: SoundFont, program: int, key: int) -> float:
    """Return how far a held note is from its pitch, in semitones.

    A loop has a whole number of periods, and its length sets their frequency. Attacks, notes without a loop, and what
    a font's modulators change are not measured.

    Args:
        font: The sound font.
        program: A program that it has.
        key: MIDI note number.

    Returns:
        The mean over the layers of the note, weighted by their amplitudes; 0.0 if none has a loop.
    """
    total = weights = 0.0
    for zone, _ in font.list_zones(program, False, key, _VELOCITY):
        settings = DEFAULTS | zone
        sample = font.samples[settings[SAMPLE]]
        loop = cut_sample(font, sample, settings)[1]
        if loop is None:
            continue
        root = settings[ROOT] if settings[ROOT] >= 0 else min(127, sample.root)
        semitones = (key - root) * settings[KEYTRACK] / 100 + settings.get(SEMITONES, 0)
        semitones += (settings.get(CENTS, 0) + sample.correction) / 100
        played = sample.rate * 2.0 ** (semitones / 12)  # samples a second
        periods = (loop[1] - loop[0]) * 440.0 * 2.0 ** ((key - 69) / 12) / played
        whole = float(round(periods)) or 0.5  # or the fundamental is an octave lower
        away = 12.0 * math.log2(whole / periods)
        if abs(away) < _FARTHEST:
            weight = 10.0 ** (-0.4 * max(0, settings.get(ATTENUATION, 0)) / 200)
            total, weights = total + weight * away, weights + weight
    return total / weights if weights else 0.0
