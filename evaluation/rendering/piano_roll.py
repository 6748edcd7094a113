"""What is played in a clip as a picture: beats, chords and a piano roll."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from builder.annotations.annotation import STEMS, Annotation, Notes, Segments

WIDTH, BEATS, CHORDS, ROLL, DRUMS = 480, 8, 18, 90, 14  # units; the heights of beats, chords, pitches and drums
LEAST_RANGE = 24  # semitones that are shown at least
FONT = 12
# Okabe and Ito's colours, which differ for every kind of colour vision, on the dark ground of the spectrogram.
COLOURS = dict(zip(STEMS, ("#B0B0B0", "#E69F00", "#56B4E9", "#F0E442", "#CC79A7", "#009E73"), strict=True))


def render_piano_roll(annotation: Annotation) -> str:
    """Draw an annotation as SVG: from the left edge to the right is the whole clip.

    Args:
        annotation: What is played. What it does not annotate is left out.

    Returns:
        From top to bottom beats (downbeats are longer), chords, and notes by pitch with drums below, in the colours of
        their stems.
    """
    seconds = max(annotation.duration, 1e-3)
    height = BEATS + CHORDS + ROLL + DRUMS
    parts = [f'<rect width="{WIDTH}" height="{height}" fill="#101418"/>']
    parts += _draw_beats(annotation, seconds, height)
    if annotation.chords is not None:
        parts += _draw_chords(annotation.chords, seconds)
    if annotation.notes is not None:
        parts += _draw_notes(annotation, annotation.notes, seconds)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'font-family="sans-serif" font-size="{FONT}">{"".join(parts)}</svg>'
    )


def describe_annotation(annotation: Annotation) -> str:
    """Describe what is played in a line: key, tempo, time signature and chords."""
    tempo = f"{annotation.tempo_bpm:.4g} bpm" if annotation.tempo_bpm else ""
    facts = [annotation.key or "", tempo, annotation.time_signature or ""]
    if annotation.chords is not None:
        labels = [label for number, label in enumerate(annotation.chords.label) if _is_new(annotation.chords, number)]
        facts.append(", ".join(labels[:16]) + (", ..." if len(labels) > 16 else ""))
    return " · ".join(fact for fact in facts if fact)


def format_production(text: str) -> str:
    """Format the JSON of the column `production` as lines, one for each key; text that is no object as it is."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if not isinstance(content, dict):
        return text
    return "\n".join(f"{key}: {_format_value(value)}" for key, value in content.items())


def _format_value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_format_inner(inner)}" for key, inner in value.items())
    return str(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _format_inner(value: Any) -> str:
    return f"({_format_value(value)})" if isinstance(value, dict) else _format_value(value)


def _is_new(segments: Segments, number: int) -> bool:
    """Whether a label differs from the one before."""
    return number == 0 or segments.label[number] != segments.label[number - 1]


def _place(times: np.ndarray, seconds: float) -> list[float]:
    """Horizontal places of times, within the picture."""
    return np.round(np.clip(times / seconds, 0, 1) * WIDTH, 1).tolist()


def _draw_beats(annotation: Annotation, seconds: float, height: int) -> Iterator[str]:
    if annotation.beats is None:
        return
    down = annotation.positions == 1 if annotation.positions is not None else np.zeros(len(annotation.beats), bool)
    for x, first in zip(_place(annotation.beats, seconds), down.tolist(), strict=True):
        end, colour = (height, "#6b7785") if first else (BEATS - 2, "#a3b0bd")
        yield f'<path d="M{x} 0V{end}" stroke="{colour}"/>'


def _draw_chords(chords: Segments, seconds: float) -> Iterator[str]:
    """Blocks, and in each as much of its label as fits."""
    for number, (x, end) in enumerate(zip(_place(chords.start, seconds), _place(chords.end, seconds), strict=True)):
        width = max(0.5, end - x - 1)
        yield f'<rect x="{x}" y="{BEATS}" width="{width:.1f}" height="{CHORDS - 2}" fill="#2b3540" rx="2"/>'
        label = chords.label[number]
        fits = int((end - x - 4) / (0.58 * FONT))
        shown = label if len(label) <= fits else label.partition(":")[0][:fits]
        if shown:
            yield f'<text x="{x + 3}" y="{BEATS + FONT}" fill="#f4f6f8">{html.escape(shown)}</text>'


def _draw_notes(annotation: Annotation, notes: Notes, seconds: float) -> Iterator[str]:
    """Notes by pitch, louder ones more opaque; drums in a band of their own."""
    pitches = notes.pitch[~notes.is_drum].astype(np.int64)
    low, high = (int(pitches.min()), int(pitches.max())) if len(pitches) else (48, 72)
    spare = max(0, LEAST_RANGE - (high - low))
    low, high = low - spare // 2, high + spare - spare // 2
    step = ROLL / (high - low + 1)
    stems = [track.stem for track in annotation.tracks]
    kit = {pitch: number for number, pitch in enumerate(sorted(set(notes.pitch[notes.is_drum].tolist())))}
    starts, ends = _place(notes.onset, seconds), _place(notes.offset, seconds)
    rows = zip(
        starts, ends, notes.pitch.tolist(), notes.velocity.tolist(), notes.is_drum.tolist(), notes.track.tolist(),
        strict=True,
    )  # fmt: skip
    for x, end, pitch, velocity, is_drum, track in rows:
        stem = stems[track] if 0 <= track < len(stems) else "drums" if is_drum else "other"
        if is_drum:
            thick = DRUMS / max(1, len(kit))
            y, width = BEATS + CHORDS + ROLL + DRUMS - thick * (kit[pitch] + 1), 2.0
        else:
            thick, y, width = step, BEATS + CHORDS + step * (high - pitch), max(1.0, end - x)
        yield (
            f'<rect x="{x}" y="{y:.1f}" width="{width:.1f}" height="{max(1.0, thick - 0.3):.1f}" '
            f'fill="{COLOURS.get(stem, COLOURS["other"])}" fill-opacity="{0.4 + 0.6 * velocity / 127:.2f}"/>'
        )
