"""A scatter plot of clips on a canvas, whose points can be selected (map.js)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .html_parts import escape
from .page_context import Component, PageContext
from .theme import MARKERS, PALETTE, label_colour

SCRIPT = Path(__file__).with_name("map.js").read_text(encoding="utf-8")


@dataclass(frozen=True)
class ScatterPoints:
    """The points of a scatter plot; all lists have one item for each point."""

    points: np.ndarray  # float32 [n, 2] in [-1, 1]
    matches: np.ndarray  # bool [n]: False draws the point faint
    groups: list[int]  # index into `names`
    names: Sequence[str]  # of the groups, which have a colour and a marker each
    ids: list[str]
    sides: tuple[str, ...]  # the corpora
    side: list[int]  # index into `sides`
    positions: list[int]  # of the clip in its corpus
    selected: int | None = None  # index of the selected point

    def to_json(self) -> dict[str, Any]:
        """Return what map.js draws."""
        return {
            "x": self.points[:, 0].round(4).tolist(), "y": self.points[:, 1].round(4).tolist(),
            "matches": self.matches.tolist(), "groups": self.groups, "names": list(self.names), "colours": PALETTE,
            "ids": self.ids, "sides": self.sides, "side": self.side, "positions": self.positions,
            "selected": self.selected,
        }  # fmt: skip


def add_scatter(context: PageContext, names: Sequence[str], label: str) -> Component:
    """Add a scatter plot with a legend. Its value is `ScatterPoints.to_json()`.

    Args:
        context: The page, whose selected clip the plot can change.
        names: The names of the groups, in the order of their colours.
        label: The name of the plot for screen readers.

    Returns:
        The component.
    """
    legend = "".join(
        f'<li><span style="color:{label_colour(index)}" aria-hidden="true">{MARKERS[index % len(MARKERS)]}</span> '
        f"{escape(name)}</li>"
        for index, name in enumerate(names)
    )
    template = (
        f'<ul class="legend">{legend}</ul><canvas tabindex="0" role="application" aria-label="{escape(label)}. '
        'Arrow keys move from clip to clip, Enter plays."></canvas><p class="status muted" role="status"></p>'
        '<p class="zoom"><button type="button" data-zoom="1.4" aria-label="Zoom in">+</button>'
        '<button type="button" data-zoom="0.71" aria-label="Zoom out">−</button>'
        '<button type="button" data-zoom="0" aria-label="Show all">all</button></p>'
    )
    component = context.add_html(None, html_template=template, js_on_load=SCRIPT, elem_classes="map")
    context.selectors.append(component)
    return component
