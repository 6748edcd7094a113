"""Clips as HTML: the table, the chosen clip, pairs. Every word of a corpus passes `text` on its way in."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from builder.errors import SynthmirError

if TYPE_CHECKING:
    from .clip_table import Clips

PROMPT_SHOWN = 2_000  # characters of a prompt; the longest that a recipe takes
UNITS = {"tempo_bpm": "bpm", "duration": "s", "loudness": "LUFS", "peak": "dBFS"}
NAMES = {
    "subgenre": "sub-genre", "mood": "mood", "instruments": "instruments", "tempo_bpm": "tempo", "key": "key",
    "vocals": "vocals", "split": "split", "duration": "length", "loudness": "loudness", "peak": "peak",
    "attempts": "attempts", "seed": "seed", "generator": "generator",
}  # fmt: skip


def text(value: object) -> str:
    """Anything as text within HTML or an attribute, of characters too that templates read ({, $, `)."""
    escaped = html.escape(str(value), quote=True)
    return escaped.translate({ord(sign): f"&#{ord(sign)};" for sign in "{}$`\\"})


def fault(error: Exception) -> str:
    """An error as a message on the page: what is wrong, and what mends it."""
    message, fix = (error.message, error.fix) if isinstance(error, SynthmirError) else (str(error), None)
    mends = f"<br><span>{text(fix)}</span>" if fix else ""
    return f'<p role="alert" class="fault">{text(message)}{mends}</p>'


def note(words: str) -> str:
    """A sentence of ours, or what stands in place of something that is not there."""
    return f'<p class="soft">{text(words)}</p>'


def word(value: Any, column: str = "") -> str:
    """A label or a number as people read it; "" where there is none."""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if pd.isna(value) or value == "":
        return ""
    if column in ("duration", "loudness", "peak"):
        value = f"{float(value):.1f}"
    return f"{value} {UNITS[column]}" if column in UNITS else str(value)


def spectrogram(address: str, name: str, seconds: Any) -> str:
    """The log-mel picture with its axes in words."""
    length = f"0 to {float(seconds):.1f} s, " if word(seconds) else ""
    return (
        f'<figure class="sound"><img src="{address}" alt="Spectrogram of {text(name)}" width="480" height="96">'
        f'<figcaption class="soft">{length}40 Hz (bottom) to 14 kHz, mel scale</figcaption></figure>'
    )


class Cards:
    """A corpus's clips as HTML. `side` is its name in the addresses of sounds and pictures."""

    def __init__(self, clips: Clips, side: str) -> None:
        self.clips, self.side = clips, side

    def row(self, position: int) -> dict[str, Any]:
        """A clip's labels as they stand in the table, missing ones as None or NaN."""
        return {str(column): value for column, value in self.clips.table.iloc[position].items()}

    def title(self, row: dict[str, Any]) -> str:
        """Genre and sub-genre, as text."""
        return " · ".join(filter(None, (word(row["genre"]), word(row["subgenre"])))) or "clip"

    def player(self, position: int, play: bool = False) -> str:
        """An audio element that asks for nothing before it is played."""
        label = text(f"{self.title(self.row(position))}, {self.clips.table['id'].iloc[position]}")
        how = "autoplay" if play else ""
        return (
            f'<audio controls preload="none" {how} data-side="{self.side}" data-position="{position}" '
            f'src="clip/{self.side}/{position}.flac" aria-label="{label}"></audio>'
        )

    def table(self, positions: Iterable[int], chosen: int | None) -> str:
        """Rows with a button each, which plays the clip and shows it."""
        lines = []
        for position in map(int, positions):
            row = self.row(position)
            told = f"Play {self.title(row)}, {row['id']}"
            cells = "".join(
                f'<td class="{column}">{text(word(row[column], column))}</td>' for column in ("tempo_bpm", "key")
            )
            mark = ' aria-current="true"' if position == chosen else ""
            lines.append(
                f"<tr{mark}><td>{_button(self.side, position, told)}</td>"
                f'<th scope="row">{text(self.title(row))}</th>'
                f'<td class="prompt"><span dir="auto">{text(word(row["prompt"])[:PROMPT_SHOWN])}</span></td>'
                f"{cells}</tr>"
            )
        heads = "".join(f'<th scope="col" class="{c}">{h}</th>' for c, h in HEADS)
        return (
            f'<table class="clips"><thead><tr><th scope="col"><span class="hidden">Play</span></th>{heads}</tr>'
            f"</thead><tbody>{''.join(lines)}</tbody></table>"
        )

    def chosen(self, position: int, play: bool = True) -> str:
        """The clip in full: player, prompt, spectrogram, labels."""
        row = self.row(position)
        facts = "".join(
            f"<dt>{name}</dt><dd>{text(value)}</dd>"
            for column, name in NAMES.items()
            if (value := word(row.get(column), column))
        )
        return (
            f'<article class="chosen"><div class="bar"><h2>{text(self.title(row))}</h2>'
            f'<p class="soft id">{text(row["id"])}</p><a class="more" href="#chosen">prompt and labels</a>'
            f"{self.player(position, play)}</div>"
            f'<blockquote dir="auto">{text(word(row["prompt"])[:PROMPT_SHOWN])}</blockquote>'
            f"{spectrogram(f'clip/{self.side}/{position}.png', row['id'], row['duration'])}"
            f'<dl class="facts">{facts}</dl></article>'
        )

    def small(self, position: int, told: str = "") -> str:
        """A clip in short, with a player of its own."""
        row = self.row(position)
        show = f"Show {self.title(row)}, {row['id']}"
        lead = f'<span class="told">{text(told)}</span> ' if told else ""
        return (
            f'<div class="small"><p>{_button(self.side, position, show, "→")} '
            f"{lead}<b>{text(self.title(row))}</b> "
            f'<span class="soft id">{text(row["id"])}</span></p>{self.player(position)}'
            f'<p class="prompt" dir="auto">{text(word(row["prompt"])[:PROMPT_SHOWN])}</p></div>'
        )

    def neighbours(self, found: Sequence[tuple[int, float]]) -> str:
        """The nearest clips, nearest first."""
        items = "".join(f"<li>{self.small(position, f'{cosine:.3f}')}</li>" for position, cosine in found)
        return f'<ol class="near">{items}</ol>'

    def pairs(self, found: Sequence[tuple[int, int, float]]) -> str:
        """Suspected duplicates, side by side."""
        return "".join(
            f'<section class="pair"><h3>cosine {cosine:.3f}</h3>'
            f"<div>{self.small(left)}{self.small(right)}</div></section>"
            for left, right, cosine in found
        )


HEADS = (("genre", "genre"), ("prompt", "prompt"), ("tempo_bpm", "tempo"), ("key", "key"))


def _button(side: str, position: int, told: str, sign: str = "▶") -> str:
    return (
        f'<button type="button" class="choose" data-side="{side}" data-position="{position}" '
        f'aria-label="{text(told)}">{sign}</button>'
    )
