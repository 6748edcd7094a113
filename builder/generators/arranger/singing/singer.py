"""Singers: who sings in a clip, and how."""

from __future__ import annotations

from dataclasses import dataclass

from ..rng import SeededRandom


@dataclass(frozen=True, slots=True)
class Singer:
    """A voice and its habits."""

    low: int  # MIDI pitches of the comfortable range
    high: int
    tract: float  # 0 a man's, 1 a woman's, 2 a child's: see `vowel_formants`
    scale: float  # of the formants above F3, which depend on the tract's length alone
    quality: float  # the glottal shape: 0.5 pressed, 1 normal, 2.5 breathy
    breathiness: float  # breath noise relative to the voice
    jitter: float  # standard deviation of the pitch in semitones, quick
    drift: float  # the same, slow
    shimmer: float  # standard deviation of a period's amplitude
    roughness: float  # how much weaker every second period is
    damping: float  # of the formants: wider is duller
    ring: float  # 0..1: the singer's formant of trained voices
    vibrato_rate: float  # Hz
    vibrato_depth: float  # semitones
    vibrato_delay: float  # seconds from a note's start
    glide: float  # seconds from a pitch to the next one
    scoop: float  # semitones below the pitch where some notes start
    legato: float  # probability that a close note continues with the same vowel
    clarity: float  # loudness of consonants
    presence: float  # dB by which the recording raises the treble


def draw_singer(rng: SeededRandom, trained: float = 0.1, rough: float = 0.15) -> Singer:
    """Draw a singer.

    Args:
        rng: The random numbers.
        trained: How likely the voice is a classical one: a singer's formant, and much vibrato.
        rough: How likely it is a rough one.
    """
    woman = rng.happens(0.5)
    classical, raw = rng.happens(trained), rng.happens(rough)
    # From baritone to soprano; pop and rock singers stay in the middle of it.
    height = rng.uniform(0.0, 1.0)
    low = round((51 if woman else 41) + 8 * height)
    tract = (0.85 if woman else 0.0) + 0.3 * (height - 0.4) + rng.bell_curve(0.08)
    tract = min(1.3, max(0.0, tract))
    return Singer(
        low=low,
        high=low + (23 if classical else 19),
        tract=tract,
        scale=1.0 + 0.16 * tract + rng.bell_curve(0.03),
        quality=round(rng.uniform(0.4, 0.8) if raw else rng.uniform(0.5, 1.7), 1),
        breathiness=10 ** (rng.uniform(-38.0, -16.0) / 20),
        jitter=rng.uniform(0.01, 0.03) + (0.05 if raw else 0.0),
        drift=rng.uniform(0.05, 0.16),
        shimmer=rng.uniform(0.01, 0.05) + (0.06 if raw else 0.0),
        roughness=rng.uniform(0.1, 0.4) if raw else 0.0,
        damping=rng.uniform(0.9, 1.5),
        ring=1.0 if classical else rng.uniform(0.0, 0.5),
        vibrato_rate=rng.uniform(4.8, 6.6),
        vibrato_depth=rng.uniform(0.5, 1.0) if classical else rng.uniform(0.05, 0.6),
        vibrato_delay=rng.uniform(0.1, 0.25) if classical else rng.uniform(0.2, 0.6),
        glide=rng.uniform(0.05, 0.14),
        scoop=rng.uniform(0.5, 2.5),
        legato=rng.uniform(0.05, 0.3),
        clarity=rng.uniform(0.5, 1.2),
        presence=rng.uniform(4.0, 16.0),
    )
