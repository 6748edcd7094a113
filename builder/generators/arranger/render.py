"""Version 2 of the sound: a score is played track by track, and the tracks are mixed.

Arrays are float32 [channels, samples]. What is random has a stream of its own (`SeededRandom(seed, "production")`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .playing.bends import bend_track
from .playing.instruments import Instruments
from .production.console import mix_tracks
from .production.draw import draw_production
from .production.parameters import TrackProduction
from .score import Score, Track
from .singing.vocals import sing_track


def render_score(
    score: Score, seconds: float, instruments: Instruments, stems: Sequence[str] = ()
) -> list[np.ndarray]:
    """Play a score.

    Args:
        score: The notes and the production.
        seconds: The length of the clip.
        instruments: The instruments, which know the sampling rate and the channels.
        stems: The stems that are wanted.

    Returns:
        The mix, float32 [channels, round(seconds * sampling_rate)], with peaks up to the one that the production
        allows, and the same of each wanted stem.
    """
    production, length = draw_production(score), round(seconds * instruments.rate)
    sounds = [play(track, score, length, instruments, production.tracks[track.instrument]) for track in score.tracks]
    return mix_tracks(sounds, score, production, instruments.channels, instruments.rate, stems)


def play(track: Track, score: Score, length: int, instruments: Instruments, production: TrackProduction) -> np.ndarray:
    """Play a track: float32 [1 or channels, length]."""
    if track.role == "voice":
        return sing_track(track, score, length, instruments.rate)[None]
    sound = instruments.play_track(track, length, score.tempo, production.bright, production.kit or {})
    return bend_track(sound, track, score, instruments.rate)
