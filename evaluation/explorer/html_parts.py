"""Small pieces of HTML. All text that comes from a corpus, a file name or a user passes `escape`."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import pandas as pd

from builder.errors import SynthmirError

UNITS = {"tempo_bpm": "bpm", "duration": "s", "loudness": "LUFS", "peak": "dBFS"}


def escape(value: object) -> str:
    """Escape text for HTML and for attributes, and also the characters that Gradio's templates interpret ({, $, `)."""
    escaped = html.escape(str(value), quote=True)
    return escaped.translate({ord(character): f"&#{ord(character)};" for character in "{}$`\\"})


def render_error(error: Exception) -> str:
    """Render an error as an alert with its message and its fix."""
    message, fix = (error.message, error.fix) if isinstance(error, SynthmirError) else (str(error), None)
    hint = f"<br><span>{escape(fix)}</span>" if fix else ""
    return f'<p role="alert" class="error">{escape(message)}{hint}</p>'


def render_note(text: str) -> str:
    """Render a sentence that explains something, or why something is missing."""
    return f'<p class="muted">{escape(text)}</p>'


def render_tags(tags: Sequence[tuple[str, float]]) -> str:
    """Render tags with their probabilities, as the tagger musicnn predicts them; "" for none."""
    named = " · ".join(f"{name} {probability:.0%}" for name, probability in tags)
    return f'<p class="tags"><span class="muted">Tags by musicnn:</span> {escape(named)}</p>' if tags else ""


def format_value(value: Any, column: str = "") -> str:
    """Format a label or a number with its unit; "" for a missing one."""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if pd.isna(value) or value == "":
        return ""
    if column in ("duration", "loudness", "peak"):
        value = f"{float(value):.1f}"
    return f"{value} {UNITS[column]}" if column in UNITS else str(value)


def render_spectrogram(address: str, name: str, seconds: Any, roll: str = "") -> str:
    """Render a spectrogram with its axes described in a caption, and with a playhead that timeline.js moves.

    Args:
        address: The address of the image, or a data URL. It is not escaped.
        name: The clip's name, for the text that replaces the image.
        seconds: The clip's length in seconds. A missing value is left out of the caption.
        roll: The address of its piano roll, which is drawn below. Default: none.

    Returns:
        A `figure` element.
    """
    length = f"0 to {float(seconds):.1f} s, " if format_value(seconds) else ""
    below = "; beats, chords and notes" if roll else ""
    image = f'<img src="{roll}" alt="Piano roll of {escape(name)}" class="roll" loading="lazy">' if roll else ""
    return (
        f'<figure class="spectrogram"><div class="with-playhead" data-seconds="{escape(format_value(seconds) or 0)}">'
        f'<img src="{address}" alt="Spectrogram of {escape(name)}" width="480" height="96">{image}'
        '<span class="playhead" hidden></span></div>'
        f'<figcaption class="muted">{length}40 Hz (bottom) to 14 kHz, mel scale{below}</figcaption></figure>'
    )
