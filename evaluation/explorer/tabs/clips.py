"""The tab "Clips": filters and a table of the clips that match them."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from builder.errors import DataError

from ..html_parts import render_error, render_note
from ..page_context import (
    FAST_EVENT,
    LABEL_FILTERS,
    RANGE_FILTERS,
    Component,
    PageContext,
    Selection,
    parse_number,
)

ROWS = 20  # of the table on one page


class ClipsTab:
    """The filters and the table. Other parts of the page use `table` and `page_number`."""

    def __init__(self, context: PageContext) -> None:
        self.context = context
        self.table: Component = None
        self.page_number: Component = None

    def add(self, _: Component) -> None:
        """Add the filters and the table to the page."""
        context, gr, facets = self.context, self.context.gradio, self.context.clips.facets()
        search = gr.Textbox(label="Search prompts and ids", placeholder="words that all occur", lines=1, max_lines=1)
        fields = [search]
        with gr.Row():
            fields += [self._add_choice("Genre", facets["genre"]), self._add_choice("Sub-genre", facets["subgenre"])]
        with gr.Accordion("More filters", open=False):
            with gr.Row():
                fields += [self._add_choice(name.capitalize(), facets[name]) for name in LABEL_FILTERS[2:]]
            with gr.Row():
                for label in RANGE_FILTERS:  # gr.Number shows an empty field as 0
                    fields.append(gr.Textbox(label=label, placeholder="any", max_lines=1, min_width=90))
        context.filters = fields
        count = context.add_html(elem_id="count")
        self.table = context.add_clip_html(elem_id="clip-table")
        with gr.Row():
            previous, following = gr.Button("← Previous page", size="sm"), gr.Button("Next page →", size="sm")
        self.page_number = gr.State(0)
        outputs = [self.table, count, self.page_number]
        self.table.value, count.value, _number = self.render_page(np.arange(len(context.clips)), 0, 0)
        gr.on(
            [field.change for field in fields], self.apply_filters, [context.selected, *fields], outputs,
            trigger_mode="always_last", **FAST_EVENT | {"api_name": "browse", "api_visibility": "public"},
        )  # fmt: skip
        for button, step in ((previous, -1), (following, 1)):
            inputs = [self.page_number, context.selected, *fields]
            button.click(partial(self.turn_page, step), inputs, outputs, **FAST_EVENT)
        context.selectors.append(self.table)

    def _add_choice(self, label: str, choices: list[str]) -> Component:
        """Add a list from which several values can be chosen."""
        return self.context.gradio.Dropdown(
            choices, value=[], label=label, multiselect=True, min_width=140, max_choices=None
        )

    def render_page(self, positions: np.ndarray, number: int, selected: int | None) -> tuple[str, str, int]:
        """Render a page of the table.

        Args:
            positions: The clips that match the filters.
            number: The page, from 0. A page that does not exist is replaced by the nearest one.
            selected: The position of the clip to mark.

        Returns:
            The table, the number of clips as text, and the page's number.
        """
        pages = max(1, -(-len(positions) // ROWS))
        number = min(max(0, int(number)), pages - 1)
        shown = positions[number * ROWS : (number + 1) * ROWS]
        count = f"{len(positions):,} of {len(self.context.clips):,} clips"
        if pages > 1:
            count += f", page {number + 1} of {pages}"
        table = self.context.own_html.render_table(shown, selected)
        if not len(shown):
            table = render_note("No clips match the filters.")
        return table, f'<p role="status" class="muted">{count}</p>', number

    def apply_filters(self, selected: Selection, *values: Any) -> tuple[str, str, int]:
        """Render the first page of the clips that match, with an error for each range that is not a number."""
        positions = self.context.matching_positions(values)
        table, count, number = self.render_page(positions, 0, self.context.own_position(selected))
        ranges = [str(value or "").strip() for value in values[-len(RANGE_FILTERS) :]]
        invalid = [text for text in ranges if text and parse_number(text) is None]
        return table, "".join(render_error(DataError(f"{text}: not a number")) for text in invalid) + count, number

    def turn_page(self, step: int, number: int, selected: Selection, *values: Any) -> tuple[str, str, int]:
        """Render the next or the previous page.

        Args:
            step: 1 for the next page, -1 for the previous one.
            number: The number of the page that is shown, from 0.
            selected: The side and the position of the selected clip, which is marked.
            *values: The values of the filters.

        Returns:
            The table, the number of clips as text, and the page's number.
        """
        positions = self.context.matching_positions(values)
        return self.render_page(positions, number + step, self.context.own_position(selected))
