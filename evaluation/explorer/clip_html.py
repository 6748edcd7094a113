"""Clips of a corpus as HTML: a table, one clip in full, a short form, pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ..rendering.piano_roll import describe_annotation, format_production
from .html_parts import escape, format_value, render_spectrogram, render_tags

if TYPE_CHECKING:
    from .clip_table import Clips

PROMPT_LENGTH = 2_000  # characters shown; the longest prompt that a recipe takes
COLUMNS = (("genre", "genre"), ("prompt", "prompt"), ("tempo_bpm", "tempo"), ("key", "key"))  # of the table
LABEL_NAMES = {
    "subgenre": "sub-genre", "mood": "mood", "instruments": "instruments", "tempo_bpm": "tempo", "key": "key",
    "vocals": "vocals", "split": "split", "duration": "duration", "loudness": "loudness", "peak": "peak",
    "attempts": "attempts", "seed": "seed", "generator": "generator",
    "soundfont": "sound font",
}  # fmt: skip


class ClipHtml:
    """Renders the clips of one corpus. `side` names the corpus in the addresses of audio and images."""

    def __init__(self, clips: Clips, side: str) -> None:
        self.clips, self.side = clips, side

    def labels_of(self, position: int) -> dict[str, Any]:
        """Return a clip's row of the table; missing labels are None or NaN."""
        return {str(column): value for column, value in self.clips.table.iloc[position].items()}

    def render_player(self, position: int, autoplay: bool = False) -> str:
        """Render an audio player, which loads nothing until it plays."""
        labels = self.labels_of(position)
        attribute = "autoplay" if autoplay else ""
        return (
            f'<audio controls preload="none" {attribute} data-side="{self.side}" data-position="{position}" '
            f'src="clip/{self.side}/{position}.flac" aria-label="{escape(_describe(labels))}"></audio>'
        )

    def render_table(self, positions: Iterable[int], selected: int | None) -> str:
        """Render rows with a button each, which selects and plays the clip."""
        rows = []
        for position in map(int, positions):
            labels = self.labels_of(position)
            cells = "".join(
                f'<td class="{column}">{escape(format_value(labels[column], column))}</td>'
                for column in ("tempo_bpm", "key")
            )
            current = ' aria-current="true"' if position == selected else ""
            button = self._button(position, f"Play {_describe(labels)}")
            rows.append(
                f'<tr{current}><td>{button}</td><th scope="row">{escape(_title(labels))}</th>'
                f'<td class="prompt"><span dir="auto">{_prompt(labels)}</span></td>{cells}</tr>'
            )
        heads = "".join(f'<th scope="col" class="{column}">{name}</th>' for column, name in COLUMNS)
        return (
            f'<table class="clips"><thead><tr><th scope="col"><span class="hidden">Play</span></th>{heads}</tr>'
            f"</thead><tbody>{''.join(rows)}</tbody></table>"
        )

    def render_details(self, position: int, autoplay: bool = True) -> str:
        """Render a clip in full: player, prompt, spectrogram, labels."""
        labels = self.labels_of(position)
        items = "".join(
            f"<dt>{name}</dt><dd>{escape(value)}</dd>"
            for column, name in LABEL_NAMES.items()
            if (value := format_value(labels.get(column), column))
        )
        image = f"clip/{self.side}/{position}.png"
        roll = f"clip/{self.side}/{position}.svg" if self.clips.configs.has_annotations else ""
        return (
            f'<article class="clip-details"><div class="player-bar"><h2>{escape(_title(labels))}</h2>'
            f'<p class="muted id">{escape(labels["id"])}</p>'
            f'<a class="details-link" href="#selected-clip">prompt and labels</a>'
            f"{self.render_player(position, autoplay)}</div>"
            f'<blockquote dir="auto">{_prompt(labels)}</blockquote>'
            f"{render_spectrogram(image, labels['id'], labels['duration'], roll)}"
            f'<dl class="labels">{items}</dl></article>'
        )

    def render_summary(self, position: int, similarity: str = "") -> str:
        """Render a clip in short with a player, after its similarity to another clip if given."""
        labels = self.labels_of(position)
        lead = f'<span class="similarity">{escape(similarity)}</span> ' if similarity else ""
        return (
            f'<div class="clip-summary"><p>{self._button(position, f"Show {_describe(labels)}", "→")} '
            f"{lead}<b>{escape(_title(labels))}</b> "
            f'<span class="muted id">{escape(labels["id"])}</span></p>{self.render_player(position)}'
            f'<p class="prompt" dir="auto">{_prompt(labels)}</p></div>'
        )

    def render_played(self, position: int) -> str:
        """Render what is played in a clip, its stems as buttons that mute them, and how it was produced."""
        parts = []
        if (annotation := self.clips.read_annotation(position)) is not None:
            parts.append(f'<p><span class="muted">Played:</span> {escape(describe_annotation(annotation))}</p>')
        if stems := self.clips.list_stems(position):
            buttons = "".join(
                f'<button type="button" data-stem="{escape(stem)}" aria-pressed="true" '
                f'data-src="clip/{self.side}/{position}/{escape(stem)}.flac">{escape(stem)}</button>'
                for stem in stems
            )
            parts.append(f'<div class="stems" role="group" aria-label="Stems that sound">{buttons}</div>')
        if production := self.clips.read_production(position):
            lines = escape(format_production(production))
            parts.append(f'<details class="production"><summary>Production</summary><pre>{lines}</pre></details>')
        return "".join(parts)

    def render_tags(self, position: int) -> str:
        """Render what musicnn predicts for a clip; "" without embeddings of musicnn."""
        return render_tags(self.clips.predict_tags(position))

    def render_neighbours(self, neighbours: Sequence[tuple[int, float]]) -> str:
        """Render (position, cosine) pairs as a list of clips."""
        items = "".join(
            f"<li>{self.render_summary(position, f'{cosine:.3f}')}</li>" for position, cosine in neighbours
        )
        return f'<ol class="neighbours">{items}</ol>'

    def render_pairs(self, pairs: Sequence[tuple[int, int, float]]) -> str:
        """Render (position, position, cosine) triples of near-duplicates side by side."""
        return "".join(
            f'<section class="pair"><h3>cosine {cosine:.3f}</h3>'
            f"<div>{self.render_summary(left)}{self.render_summary(right)}</div></section>"
            for left, right, cosine in pairs
        )

    def _button(self, position: int, label: str, symbol: str = "▶") -> str:
        """Render a button that selects a clip (see select_clip.js)."""
        return (
            f'<button type="button" class="select" data-side="{self.side}" data-position="{position}" '
            f'aria-label="{escape(label)}">{symbol}</button>'
        )


def _title(labels: dict[str, Any]) -> str:
    """Genre and sub-genre."""
    return " · ".join(filter(None, (format_value(labels["genre"]), format_value(labels["subgenre"])))) or "clip"


def _describe(labels: dict[str, Any]) -> str:
    """Title and id, for assistive technology."""
    return f"{_title(labels)}, {labels['id']}"


def _prompt(labels: dict[str, Any]) -> str:
    """The prompt, escaped."""
    return escape(format_value(labels["prompt"])[:PROMPT_LENGTH])
