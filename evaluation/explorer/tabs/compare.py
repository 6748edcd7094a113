"""The tab "Compare": labels, levels and distances of two corpora, and both on one map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from builder.errors import SynthmirError

from ..comparison import Comparison, compare_corpora
from ..html_parts import escape, render_error, render_note
from ..page_context import Component, PageContext
from ..scatter import ScatterPoints, add_scatter

if TYPE_CHECKING:
    from ..clip_table import Clips

LABELS_SHOWN = 12  # of a column, those whose shares differ most


def add_compare_tab(context: PageContext, other: Clips, tab: Component) -> None:
    """Add the comparison, which is computed when the tab is opened.

    Args:
        context: The page of the first corpus.
        other: The clips of the corpus that it is compared with.
        tab: The tab that the comparison is added to.
    """
    name, other_name = context.clips.summary.name, other.summary.name
    names = [name, other_name if other_name != name else f"{other_name} (the other)"]
    distances_html = context.add_html()
    scatter = add_scatter(context, names, "Both corpora on one map")
    tables_html = context.add_html()

    def show_comparison() -> tuple[str, Any, str]:
        try:
            comparison = compare_corpora(context.clips, other)
        except SynthmirError as error:
            return render_error(error), None, ""
        points = corpus_points(comparison, context, other, names)
        tables = render_label_shares(comparison, names) + render_levels(comparison, names)
        return render_distances(comparison, names), points and points.to_json(), tables

    tab.select(show_comparison, None, [distances_html, scatter, tables_html], api_name="compare")


def corpus_points(
    comparison: Comparison, context: PageContext, other: Clips, names: list[str]
) -> ScatterPoints | None:
    """Colour the points of the common map by corpus.

    Args:
        comparison: The comparison, with the points.
        context: The page of the first corpus.
        other: The clips of the second corpus.
        names: The names of both corpora in the legend.

    Returns:
        The points, or None if the comparison has no map.
    """
    if comparison.map_points is None:
        return None
    tables, side = (context.clips.table, other.table), comparison.side.tolist()
    positions = comparison.positions.tolist()
    return ScatterPoints(
        points=comparison.map_points,
        matches=np.ones(len(positions), bool),
        groups=side,
        names=names,
        ids=[tables[number]["id"].iloc[position] for number, position in zip(side, positions, strict=True)],
        sides=context.sides,
        side=side,
        positions=positions,
    )


def render_numbers(caption: str, heads: list[str], rows: list[str]) -> str:
    """Render a table of numbers, which scrolls where the page is narrow.

    Args:
        caption: The table's caption. It is escaped.
        heads: The heads of the columns after the first one. They are escaped. Empty: no row of heads.
        rows: The rows as `tr` elements.

    Returns:
        The table as HTML.
    """
    head = f"<tr><td></td>{''.join(f'<th scope=col>{escape(name)}</th>' for name in heads)}</tr>" if heads else ""
    body = f"<caption>{escape(caption)}</caption>{head}{''.join(rows)}"
    return f'<div class="scroll"><table class="numbers">{body}</table></div>'


def render_distances(comparison: Comparison, names: list[str]) -> str:
    """Render the distances between the embeddings, or why there are none."""
    title = f"<h2>{escape(names[0])} compared with {escape(names[1])}</h2>"
    if comparison.reason:
        return title + render_note(comparison.reason)
    rows = [
        f'<tr><th scope="row">{escape(row.metric)}</th><td>{row.value:.3f}</td>'
        f'<td class="prompt">{escape(row.meaning)}</td></tr>'
        for row in comparison.distances.itertuples()
    ]
    return title + render_numbers(f"Embeddings of {comparison.embedder}", [], rows)


def render_levels(comparison: Comparison, names: list[str]) -> str:
    """Render medians with the 5th to the 95th percentile."""
    rows = [
        f'<tr><th scope="row">{escape(row["column"].replace("_bpm", ""))}</th><td>{_format_level(row, "this")}</td>'
        f"<td>{_format_level(row, 'other')}</td><td>{escape(row['unit'])}</td></tr>"
        for _, row in comparison.levels.iterrows()
    ]
    return render_numbers("Median (5th to 95th percentile)", [*names, "unit"], rows)


def _format_level(row: pd.Series, corpus: str) -> str:
    median, low, high = (row[f"{corpus} {part}"] for part in ("median", "5 %", "95 %"))
    return "" if pd.isna(median) else f"{median:.1f} ({low:.1f} to {high:.1f})"


def render_label_shares(comparison: Comparison, names: list[str]) -> str:
    """Render the share of clips with each label; of long columns the labels that differ most."""
    parts = []
    for column, rows in comparison.labels.groupby("column", sort=False):
        difference = (rows["this"] - rows["other"]).abs()
        shown = rows.loc[difference.sort_values(ascending=False, kind="stable").index[:LABELS_SHOWN]].sort_index()
        lines = [
            f'<tr><th scope="row">{escape(row.label)}</th>{_render_share(row.this, names[0])}'
            f"{_render_share(row.other, names[1])}</tr>"
            for row in shown.itertuples()
        ]
        title = f"{column}: share of clips"
        if len(rows) > LABELS_SHOWN:
            title += f", the {LABELS_SHOWN} labels that differ most"
        parts.append(render_numbers(title, names, lines))
    return "".join(parts)


def _render_share(share: Any, name: str) -> str:
    meter = f'<meter min="0" max="1" value="{share:.4f}" aria-label="{escape(name)}"></meter>'
    return f"<td>{meter} {share:.1%}</td>"
