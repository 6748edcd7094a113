"""The tabs that embeddings make: the map, and suspected duplicates side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from builder.errors import SynthmirError

from .cards import fault, note, text
from .page import QUICK
from .scripts import MAP
from .theme import PALETTE, SIGNS, colour

if TYPE_CHECKING:
    from .page import Page

PAIRS = 10  # of suspected duplicates at once
HOW = (
    "Each point is a clip; near ones sound alike to the embedder. Click one to hear it. "
    "Keys: arrows walk, Enter plays, + and - zoom. Faint: left out by the filters."
)


def map_tab(page: Page, tab: Any) -> None:
    """The 2-D map, laid out when the tab is first looked at."""
    page.plain(note(HOW))
    told, points = page.plain(), scatter(page, page.clips.facets()["genre"], "Map of embeddings")
    page.choosers.append(points)

    def mapped(chosen: Any, *values: Any) -> tuple[Any, str]:
        try:
            found = page.clips.map()
        except SynthmirError as error:
            return None, fault(error)
        if found is None:
            return None, note(page.clips.why or "A map takes three clips.")
        shown = np.zeros(len(found), bool)
        shown[page.matching(values)] = True
        embedder = page.clips.embeddings[0] if page.clips.embeddings else ""
        return genres(page, found, shown, page.mine(chosen)), note(
            f"{int(shown.sum()):,} of {len(found):,} clips · {embedder}"
        )

    tab.select(mapped, [page.chosen, *page.filters], [points, told], api_visibility="private")


def genres(page: Page, points: np.ndarray, shown: np.ndarray, chosen: int | None) -> dict[str, Any]:
    """The corpus's own map, coloured by genre: float32 [n, 2] and bool [n]."""
    names = page.clips.facets()["genre"]
    place = {name: at for at, name in enumerate(names)}
    return layout(
        points, shown, [place.get(genre, len(names)) for genre in page.clips.table["genre"]], [*names, "no genre"],
        page.clips.table["id"].tolist(), page.sides, [0] * len(points), list(range(len(points))), chosen,
    )  # fmt: skip


def layout(
    points: np.ndarray,
    shown: np.ndarray,
    group: list[int],
    names: list[str],
    ids: list[str],
    sides: tuple[str, ...],
    side: list[int],
    position: list[int],
    chosen: int | None = None,
) -> dict[str, Any]:
    """What map.js draws: points in [-1, 1], the group of each by its place in `names`, and the clip behind each."""
    return {
        "x": points[:, 0].round(4).tolist(), "y": points[:, 1].round(4).tolist(), "shown": shown.tolist(),
        "genre": group, "names": names, "colours": PALETTE, "ids": ids, "sides": sides, "side": side,
        "position": position, "chosen": chosen,
    }  # fmt: skip


def scatter(page: Page, names: list[str], label: str) -> Any:
    """A canvas with its legend; its value is a `layout`."""
    legend = "".join(
        f'<li><span style="color:{colour(at)}" aria-hidden="true">{SIGNS[at % len(SIGNS)]}</span> {text(name)}</li>'
        for at, name in enumerate(names)
    )
    template = (
        f'<ul class="legend">{legend}</ul><canvas tabindex="0" role="application" aria-label="{text(label)}. '
        'Arrow keys walk from clip to clip, Enter plays."></canvas><p class="told soft" role="status"></p>'
        '<p class="zoom"><button type="button" data-zoom="1.4" aria-label="Zoom in">+</button>'
        '<button type="button" data-zoom="0.71" aria-label="Zoom out">−</button>'
        '<button type="button" data-zoom="0" aria-label="Show all">all</button></p>'
    )
    return page.plain(None, html_template=template, js_on_load=MAP, elem_classes="map")


def duplicates_tab(page: Page, _: Any) -> None:
    """Suspected duplicates, looked for when asked."""
    gr = page.gradio
    with gr.Row():
        chance = gr.Checkbox(True, label="Nearer than chance allows in this corpus", min_width=200)
        least = gr.Slider(0.5, 1.0, 0.95, step=0.005, label="Cosine at least", visible=False, min_width=200)
    chance.change(lambda on: gr.update(visible=not on), chance, least, **QUICK)
    look = gr.Button("Look for near-duplicates", variant="primary")
    found, number = page.html(), gr.State(0)
    more = gr.Button("More pairs", size="sm", visible=False)
    page.choosers.append(found)

    def doubled(number: int, least: float, chance: bool) -> tuple[str, int, Any]:
        try:
            pairs = page.clips.duplicates(None if chance else float(least))
        except SynthmirError as error:
            return fault(error), 0, gr.update(visible=False)
        if not pairs:
            return note(page.clips.why or "No two clips are that near."), 0, gr.update(visible=False)
        start = int(number) * PAIRS % (-(-len(pairs) // PAIRS) * PAIRS)  # after the last the first again
        some = pairs[start : start + PAIRS]
        told = note(f"{len(pairs):,} pair(s); here {start + 1} to {start + len(some)}, nearest first")
        shown = told + page.cards[page.sides[0]].pairs(some)
        return shown, start // PAIRS + 1, gr.update(visible=len(pairs) > PAIRS)

    look.click(
        lambda least, chance: doubled(0, least, chance), [least, chance], [found, number, more],
        api_name="duplicates",
    )  # fmt: skip
    more.click(doubled, [number, least, chance], [found, number, more], api_visibility="private")
