"""Version 2 of the sound: a score is played track by track, and the tracks are mixed.

Arrays are float32 [channels, samples]. What is random has a stream of its own (`SeededRandom(seed, "production")`).
"""

from __future__ import annotations

import numpy as np

from .console import mix_tracks
from .draw import draw_production
from .kit import TunedSampler
from .mix import play_track
from .production import TrackProduction
from .sampler import Sampler
from .score import Score, Track
from .style import Vocabulary
from .vocals import sing_track


def render_score(score: Score, seconds: float, sampler: Sampler, vocabulary: Vocabulary, channels: int) -> np.ndarray:
    """Play a score.

    Args:
        score: The notes and the production.
        seconds: The length of the clip.
        sampler: The instruments.
        vocabulary: The envelopes of the instruments.
        channels: 1 or 2.

    Returns:
        float32 [round(seconds * sampling_rate), channels], with peaks up to the one that the production allows.
    """
    production = draw_production(score)
    sounds = [
        play(track, score, seconds, sampler, vocabulary, production.tracks[track.instrument]) for track in score.tracks
    ]
    mix = mix_tracks(sounds, score, production, channels, sampler.sampling_rate)
    return np.ascontiguousarray(mix.T)


def play(
    track: Track,
    score: Score,
    seconds: float,
    sampler: Sampler,
    vocabulary: Vocabulary,
    production: TrackProduction,
) -> np.ndarray:
    """Play a track: float32 [1, samples]."""
    sound = np.zeros((1, round(seconds * sampler.sampling_rate)), np.float32)
    if track.role == "voice":
        return sing_track(track, score, sound.shape[1], sampler.sampling_rate)[None]
    tuned = TunedSampler(sampler, production.kit) if production.kit else sampler
    play_track(track, sound[0], score.tempo, tuned, vocabulary, production.bright)
    return sound
