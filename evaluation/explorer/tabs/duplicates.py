"""The tab "Duplicates": pairs of clips with nearly the same embedding."""

from __future__ import annotations

from typing import Any

from builder.errors import SynthmirError
from builder.names import format_count

from ..html_parts import render_error, render_note
from ..page_context import FAST_EVENT, Component, PageContext

PAIRS = 10  # shown at once


def add_duplicates_tab(context: PageContext, _: Component) -> None:
    """Add the search for near-duplicates, which starts at the push of a button."""
    gr = context.gradio
    with gr.Row():
        by_chance = gr.Checkbox(True, label="Pairs closer than chance", min_width=200)
        threshold = gr.Slider(0.5, 1.0, 0.95, step=0.005, label="Minimum cosine", visible=False, min_width=200)
    by_chance.change(lambda checked: gr.update(visible=not checked), by_chance, threshold, **FAST_EVENT)
    search = gr.Button("Find near-duplicates", variant="primary")
    pairs_html, page_number = context.add_clip_html(), gr.State(0)
    more = gr.Button("More pairs", size="sm", visible=False)
    context.selectors.append(pairs_html)

    def show_pairs(number: int, threshold: float, by_chance: bool) -> tuple[str, int, Any]:
        hidden = gr.update(visible=False)
        try:
            pairs = context.clips.find_duplicates(None if by_chance else float(threshold))
        except SynthmirError as error:
            return render_error(error), 0, hidden
        if not pairs:
            reason = context.clips.no_embeddings_reason or "There are no near-duplicates."
            return render_note(reason), 0, hidden
        pages = -(-len(pairs) // PAIRS)
        start = int(number) % pages * PAIRS  # after the last page comes the first
        shown = pairs[start : start + PAIRS]
        note = f"{format_count(len(pairs), 'pair')}; {start + 1} to {start + len(shown)} are shown, nearest first"
        html = render_note(note) + context.own_html.render_pairs(shown)
        return html, start // PAIRS + 1, gr.update(visible=pages > 1)

    search.click(
        lambda threshold, by_chance: show_pairs(0, threshold, by_chance),
        [threshold, by_chance],
        [pairs_html, page_number, more],
        api_name="duplicates",
    )
    more.click(
        show_pairs, [page_number, threshold, by_chance], [pairs_html, page_number, more], api_visibility="private"
    )
