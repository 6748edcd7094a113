"""Version 2: how players perform a score."""

from __future__ import annotations

from dataclasses import replace

from .score import Score, Track
from .vocals import fit_melody


def perform_score(score: Score) -> Score:
    """Return the score as its players perform it. What is random has streams of its own."""
    return replace(score, tracks=tuple(_perform(track, score) for track in score.tracks))


def _perform(track: Track, score: Score) -> Track:
    """A track as it is performed."""
    return replace(track, notes=fit_melody(track, score)) if track.role == "voice" else track
