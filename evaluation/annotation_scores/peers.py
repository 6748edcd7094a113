"""Peers of a model on annotations: what users have today, as published methods on librosa's features."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from builder.annotations.annotation import MELODY_RATE, Annotation
from builder.errors import BackendError, RecipeError
from builder.resampling import resample
from builder.validation import suggest
from training.frames.decoding import decode_chords
from training.frames.labels import KEY_LABELS, list_chords

RATE = 22_050  # Hz, librosa's own
CHROMA_HOP = 2_048
PITCH_HOP = 441  # samples: 20 ms
# The probe-tone ratings of Krumhansl and Kessler (1982), which correlate with the pitch classes of a piece in its key
# (Krumhansl, Cognitive Foundations of Musical Pitch, 1990, chapter 4).
MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
SHARPNESS = 20.0  # of the probabilities of chords, as the exponent of their similarity
SELF_TRANSITION = 0.9  # of a chord, from one chroma frame to the next, of 93 ms


@dataclass(frozen=True)
class Peer:
    """A system to compare a model with.

    Attributes:
        name: In tables.
        about: What it is, and its source.
        tasks: What it predicts, of `SCORES`.
        annotate: Predicts the annotation of audio, float32 [samples] in mono, and its sampling rate in Hz.
    """

    name: str
    about: str
    tasks: tuple[str, ...]
    annotate: Callable[[np.ndarray, int], Annotation]


def track_beats(audio: np.ndarray, rate: int) -> Annotation:
    """Track beats with `librosa.beat.beat_track` (Ellis, *Beat Tracking by Dynamic Programming*, 2007)."""
    import librosa

    samples = resample(audio, rate, RATE)
    tempo, beats = librosa.beat.beat_track(y=samples, sr=RATE, units="time")
    bpm = float(np.atleast_1d(tempo)[0])
    return Annotation("", len(samples) / RATE, beats=np.asarray(beats, np.float64), tempo_bpm=bpm or None)


def estimate_key(audio: np.ndarray, rate: int) -> Annotation:
    """Correlate the mean chroma with the profiles of the 24 keys (Krumhansl and Schmuckler)."""
    chroma, duration = _chroma(audio, rate)
    profiles = np.array([np.roll(profile, tonic) for profile in (MAJOR, MINOR) for tonic in range(12)])
    mean = chroma.mean(axis=0)
    if np.ptp(mean) < 1e-9:
        return Annotation("", duration, key=KEY_LABELS[0])
    return Annotation("", duration, key=KEY_LABELS[int(np.argmax(np.corrcoef(mean, profiles)[0, 1:]))])


def match_chord_templates(audio: np.ndarray, rate: int) -> Annotation:
    """Compare chroma with templates of major and minor triads, and smooth by the Viterbi algorithm.

    Source: Fujishima (ICMC 1999); Müller, *Fundamentals of Music Processing* (2015), section 5.3.
    """
    chroma, duration = _chroma(audio, rate)
    labels = list_chords("majmin")
    templates = np.zeros((len(labels), 12))
    for place in range(24):
        for note in (0, 4 if place < 12 else 3, 7):
            templates[1 + place, (place + note) % 12] = 1.0
    templates /= math.sqrt(3)
    norms = np.linalg.norm(chroma, axis=1, keepdims=True)
    similarity = SHARPNESS * (chroma / np.maximum(norms, 1e-9)) @ templates.T
    # "N" is silence: a flat template would be nearer to a band's chroma, which has all pitches, than any triad.
    similarity[:, 0] = np.where(norms[:, 0] < 1e-9, SHARPNESS, 0.0)
    likely = similarity - np.log(np.exp(similarity).sum(axis=1, keepdims=True))
    return Annotation("", duration, chords=decode_chords(likely, labels, RATE / CHROMA_HOP, SELF_TRANSITION))


def track_pitch(audio: np.ndarray, rate: int) -> Annotation:
    """Track the fundamental frequency with `librosa.pyin` (Mauch and Dixon, ICASSP 2014), meant for solo voices."""
    import librosa

    samples = resample(audio, rate, RATE)
    pitch, voiced, _ = librosa.pyin(samples, fmin=65.0, fmax=1_600.0, sr=RATE, hop_length=PITCH_HOP)
    steps = int(np.ceil(MELODY_RATE * len(samples) / RATE))
    nearest = np.minimum(np.arange(steps) * RATE // (MELODY_RATE * PITCH_HOP), len(pitch) - 1)
    melody = np.where(voiced[nearest], np.nan_to_num(pitch[nearest]), 0.0)
    return Annotation("", len(samples) / RATE, melody=melody.astype(np.float32))


def _chroma(audio: np.ndarray, rate: int) -> tuple[np.ndarray, float]:
    """Return the chroma of a constant-Q transform, float64 [frames, 12], and the duration in seconds."""
    import librosa

    samples = resample(audio, rate, RATE)
    chroma: Any = librosa.feature.chroma_cqt(y=samples, sr=RATE, hop_length=CHROMA_HOP)
    return np.asarray(chroma.T, np.float64), len(samples) / RATE


PEERS: dict[str, Peer] = {
    "librosa-beats": Peer("librosa beat_track", "Ellis 2007, librosa's defaults", ("beats", "tempo"), track_beats),
    "key-profiles": Peer(
        "Krumhansl-Schmuckler", "key profiles of Krumhansl and Kessler on librosa's chroma_cqt", ("key",), estimate_key
    ),
    "chord-templates": Peer(
        "chord templates", "binary templates on librosa's chroma_cqt, Viterbi", ("chords",), match_chord_templates
    ),
    "pyin": Peer("pYIN", "Mauch and Dixon 2014, librosa's defaults, from 65 Hz to 1.6 kHz", ("melody",), track_pitch),
}
ALL = "librosa"  # names all of them


def choose_peers(names: Sequence[str], tasks: Sequence[str] = ()) -> list[Peer]:
    """Return the peers of some names.

    Args:
        names: Of `PEERS`; "librosa" for all of them.
        tasks: Only peers that predict one of these. Empty: any.

    Raises:
        RecipeError: There is no such peer.
        BackendError: librosa is not installed.
    """
    chosen: dict[str, Peer] = {}
    for name in names:
        if name != ALL and name not in PEERS:
            known = ", ".join([ALL, *PEERS])
            raise RecipeError(f"no peer is called {name!r}{suggest(name, PEERS)}", f"use one of: {known}")
        chosen |= PEERS if name == ALL else {name: PEERS[name]}
    if chosen:
        try:
            import librosa  # noqa: F401
        except ImportError as error:
            raise BackendError(
                "peers need librosa, which is not installed",
                "uv sync --extra benchmarks   (or: pip install 'synthmir[benchmarks]')",
            ) from error
    return [peer for peer in chosen.values() if not tasks or set(peer.tasks) & set(tasks)]
