"""Version 2 of the sound: a score is played track by track, and the tracks are mixed.

Arrays are float32 [channels, samples]. What is random has a stream of its own (`SeededRandom(seed, "pan")`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .mix import duck, limit, master, play_track
from .rng import SeededRandom
from .sampler import Sampler
from .score import Score, Track
from .style import Vocabulary

_CENTRED = ("drums", "bass", "lead", "voice")
_WIDTH = 0.6  # of the other tracks: -1 left .. 1 right


@dataclass(frozen=True, slots=True)
class TrackSound:
    """A track as it is played, before it is mixed."""

    track: Track
    sound: np.ndarray  # float32 [channels, samples]; one channel where the instrument is mono


def render_score(score: Score, seconds: float, sampler: Sampler, vocabulary: Vocabulary, channels: int) -> np.ndarray:
    """Play a score.

    Args:
        score: The notes and the production.
        seconds: The length of the clip.
        sampler: The instruments.
        vocabulary: The envelopes of the instruments.
        channels: 1 or 2.

    Returns:
        float32 [round(seconds * sampling_rate), channels], with peaks up to -1 dBFS.
    """
    tracks = [TrackSound(track, play(track, score, seconds, sampler, vocabulary)) for track in score.tracks]
    return np.ascontiguousarray(mix_tracks(tracks, score, channels, sampler.sampling_rate).T)


def play(track: Track, score: Score, seconds: float, sampler: Sampler, vocabulary: Vocabulary) -> np.ndarray:
    """Play a track: float32 [1, samples]."""
    sound = np.zeros((1, round(seconds * sampler.sampling_rate)), np.float32)
    play_track(track, sound[0], score.tempo, sampler, vocabulary)
    return sound


def mix_tracks(tracks: list[TrackSound], score: Score, channels: int, rate: int) -> np.ndarray:
    """Mix and master the tracks of a score: float32 [channels, samples]."""
    length = tracks[0].sound.shape[-1]
    ducking = duck(score, length, rate) if score.production.pump else 1.0
    mix = np.zeros((channels, length), np.float32)
    for place, part in zip(pan_tracks(score), tracks, strict=True):
        gains = np.array([[1.0]] if channels == 1 else [[(1.0 - place) ** 0.5], [(1.0 + place) ** 0.5]], np.float32)
        mix += gains * (part.sound if part.track.is_drum else part.sound * ducking)
    return np.stack([limit(master(channel, score.production, score.seed, rate), rate) for channel in mix])


def pan_tracks(score: Score) -> list[float]:
    """Draw the place of each track: -1 left, 0 centre, 1 right."""
    rng = SeededRandom(score.seed, "pan")
    return [0.0 if track.role in _CENTRED else rng.uniform(-_WIDTH, _WIDTH) for track in score.tracks]


def describe_production(score: Score) -> dict[str, Any]:
    """Describe how a score is mixed and mastered, for the column `production`."""
    places = {track.instrument: place for track, place in zip(score.tracks, pan_tracks(score), strict=True)}
    return {**asdict(score.production), "pan": places}
