"""The tab "Map": the embeddings of all clips in two dimensions, coloured by genre."""

from __future__ import annotations

from typing import Any

import numpy as np

from builder.errors import SynthmirError

from ..html_parts import render_error, render_note
from ..page_context import Component, PageContext, Selection
from ..scatter import ScatterPoints, add_scatter

INSTRUCTIONS = (
    "Each point is a clip; points close to each other have similar embeddings. Click a point to play its clip. "
    "Keys: arrows move from clip to clip, Enter plays, + and - zoom. Clips that do not match the filters are faint."
)


def add_map_tab(context: PageContext, tab: Component) -> None:
    """Add the map, which is computed when the tab is first opened."""
    context.add_html(render_note(INSTRUCTIONS))
    status = context.add_html()
    scatter = add_scatter(context, context.clips.facets()["genre"], "Map of embeddings")

    def show_map(selected: Selection, *values: Any) -> tuple[Any, str]:
        clips = context.clips
        try:
            points = clips.map_points()
        except SynthmirError as error:
            return None, render_error(error)
        if points is None or clips.embeddings is None:
            return None, render_note(clips.no_embeddings_reason or "A map needs three clips or more.")
        matches = np.zeros(len(points), bool)
        matches[context.matching_positions(values)] = True
        text = f"{int(matches.sum()):,} of {len(points):,} clips · {clips.embeddings[0]}"
        return genre_points(context, points, matches, selected).to_json(), render_note(text)

    tab.select(show_map, [context.selected, *context.filters], [scatter, status], api_visibility="private")


def genre_points(context: PageContext, points: np.ndarray, matches: np.ndarray, selected: Selection) -> ScatterPoints:
    """Colour the points of the page's own corpus by genre.

    Args:
        context: The page.
        points: float32 [n, 2] in [-1, 1], a point for each clip.
        matches: bool [n]: whether a clip matches the filters. The others are drawn faint.
        selected: The side and the position of the selected clip.

    Returns:
        The points. Clips without a genre are the last group.
    """
    names, table = context.clips.facets()["genre"], context.clips.table
    index = {name: number for number, name in enumerate(names)}
    return ScatterPoints(
        points=points,
        matches=matches,
        groups=[index.get(genre, len(names)) for genre in table["genre"]],
        names=[*names, "no genre"],
        ids=table["id"].tolist(),
        sides=context.sides,
        side=[0] * len(points),
        positions=list(range(len(points))),
        selected=context.own_position(selected),
    )
