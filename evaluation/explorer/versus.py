"""The tab that holds two corpora against each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from builder.errors import SynthmirError

from .alike import layout, scatter
from .cards import fault, note, text

if TYPE_CHECKING:
    from .compare import Comparison
    from .page import Page

LABELS = 12  # of a column, those that differ most


def compare_tab(page: Page, tab: Any) -> None:
    """Labels, levels, distances, and both on one map: worked out when the tab is first looked at."""
    other = page.other
    assert other is not None
    mine, theirs = page.clips.source.name, other.source.name
    names = [mine, theirs if theirs != mine else f"{theirs} (the other)"]
    out = page.plain()
    points = scatter(page, names, "Both on one map")
    tables = page.plain()
    page.choosers.append(points)

    def held() -> tuple[str, Any, str]:
        try:
            found = page.clips.compare(other)
        except SynthmirError as error:
            return fault(error), None, ""
        return distances(found, names), both(found, page, names), shares(found, names) + levels(found, names)

    tab.select(held, None, [out, points, tables], api_name="compare")


def both(found: Comparison, page: Page, names: list[str]) -> Any:
    """The points of the shared map, coloured by corpus."""
    if found.map is None:
        return None
    tables = [page.clips.table, page.other.table if page.other is not None else page.clips.table]
    ids = [tables[side]["id"].iloc[place] for side, place in zip(found.side, found.positions, strict=True)]
    side = found.side.tolist()
    return layout(
        found.map, np.ones(len(found.map), bool), side, names, ids, page.sides, side, found.positions.tolist()
    )


def figures(caption: str, heads: list[str], rows: list[str]) -> str:
    """A table of numbers, which scrolls by itself where the page is narrow."""
    head = f"<tr><td></td>{''.join(f'<th scope=col>{text(name)}</th>' for name in heads)}</tr>" if heads else ""
    body = f"<caption>{text(caption)}</caption>{head}{''.join(rows)}"
    return f'<div class="scroll"><table class="figures">{body}</table></div>'


def distances(found: Comparison, names: list[str]) -> str:
    """How far apart they sound."""
    title = f"<h2>{text(names[0])} against {text(names[1])}</h2>"
    if found.why:
        return title + note(found.why)
    rows = [
        f'<tr><th scope="row">{text(row.figure)}</th><td>{row.value:.3f}</td>'
        f'<td class="prompt">{text(row.meaning)}</td></tr>'
        for row in found.distances.itertuples()
    ]
    return title + figures(f"Embeddings of {found.embedder}", [], rows)


def levels(found: Comparison, names: list[str]) -> str:
    """Medians with the 5th to the 95th percentile."""

    def told(row: Any, side: str) -> str:
        middle, low, high = (row[f"{side} {part}"] for part in ("median", "5 %", "95 %"))
        return "" if middle is None or middle != middle else f"{middle:.1f} ({low:.1f} to {high:.1f})"

    rows = [
        f'<tr><th scope="row">{text(row["what"].replace("_bpm", ""))}</th><td>{told(row, "this")}</td>'
        f"<td>{told(row, 'other')}</td><td>{text(row['unit'])}</td></tr>"
        for _, row in found.levels.iterrows()
    ]
    return figures("Median (5th to 95th percentile)", [*names, "unit"], rows)


def shares(found: Comparison, names: list[str]) -> str:
    """The share of clips with each label; of many labels those that differ most."""
    parts = []
    for column, rows in found.labels.groupby("column", sort=False):
        gap = (rows["this"] - rows["other"]).abs()
        some = rows.loc[gap.sort_values(ascending=False, kind="stable").index[:LABELS]].sort_index()
        lines = [
            f'<tr><th scope="row">{text(row.label)}</th>{_share(row.this, names[0])}{_share(row.other, names[1])}</tr>'
            for row in some.itertuples()
        ]
        title = f"{column}: share of clips" + (f", {LABELS} that differ most" if len(rows) > LABELS else "")
        parts.append(figures(title, names, lines))
    return "".join(parts)


def _share(share: Any, name: str) -> str:
    meter = f'<meter min="0" max="1" value="{share:.4f}" aria-label="{text(name)}"></meter>'
    return f"<td>{meter} {share:.1%}</td>"
