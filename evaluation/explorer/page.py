"""The explorer's page: clips to filter, to hear and to see on a map, and what the run's own parts make of new ones."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.errors import DataError, SynthmirError

from .cards import Cards, fault, note, text
from .framework import load_gradio
from .scripts import CHOOSE
from .shelf import Shelf

if TYPE_CHECKING:
    from .clip_table import Clips

ROWS = 20  # of the table at once
NEAR = 6
WORDS = ("genre", "subgenre", "mood", "instruments", "vocals", "split")
ENDS = ("Tempo from", "Tempo to", "LUFS from", "LUFS to", "Attempts to")
# Of events that answer at once. What takes seconds waits in Gradio's queue, one at a time.
QUICK: Any = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": 8}


class Page:
    """One page over a corpus, or two. Nothing of it is worked out before somebody looks at it."""

    def __init__(self, clips: Clips, other: Clips | None) -> None:
        session = secrets.token_hex(4)  # in the addresses, so that a browser never plays another run's clip
        self.gradio = load_gradio()
        self.shelf = Shelf()
        self.clips, self.other = clips, other
        both = (clips,) if other is None else (clips, other)
        self.cards = {
            f"{session}{side}": Cards(part, f"{session}{side}") for side, part in zip("ab", both, strict=False)
        }
        self.sides = tuple(self.cards)
        self.filters: list[Any] = []

    def build(self) -> Any:
        """The Blocks."""
        gr, source = self.gradio, self.clips.source
        with gr.Blocks(title=source.name, analytics_enabled=False, delete_cache=(600, 600)) as page:
            self.chosen = gr.State([self.sides[0], 0])
            self.plain(self.head(), elem_id="head")
            with gr.Row(elem_id="room"):
                with gr.Column(scale=3, min_width=300, elem_id="work"), gr.Tabs():
                    for name, draw in self.tabs().items():
                        with gr.Tab(name) as tab:
                            draw(tab)
                with gr.Column(scale=2, min_width=300, elem_id="chosen"):
                    card = self.cards[self.sides[0]]
                    self.card = self.plain(card.chosen(0, play=False) if len(self.clips) else note("no clips"))
                    with gr.Row(elem_id="steps"):
                        back, on = gr.Button("← Previous", size="sm"), gr.Button("Next →", size="sm")
                    # Of a published corpus the embeddings are fetched when somebody asks, not before.
                    here = source.kind == "folder"
                    self.opened = gr.State(here)
                    with gr.Accordion("Nearest neighbours", open=here) as accordion:
                        self.near = self.html()
            for button, step in ((back, -1), (on, 1)):
                self.after(button.click(
                    self.stepping(step), [self.chosen, *self.filters], [self.card, self.chosen], **QUICK
                ))  # fmt: skip
            for source_of_choice in (self.near, *self.choosers):
                self.choosing(source_of_choice)
            for event, opened in ((accordion.expand, True), (accordion.collapse, False)):
                self.after(event(partial(bool, opened), None, self.opened, **QUICK))
            self.after(page.load(None, **QUICK))
        page.sides, page.shelf = self.sides, self.shelf
        return page

    def tabs(self) -> dict[str, Callable[[Any], None]]:
        """The tabs, those first that need nothing but the corpus."""
        from .alike import duplicates_tab, map_tab
        from .own import generate_tab, listen_tab

        self.choosers: list[Any] = []
        tabs: dict[str, Callable[[Any], None]] = {
            "Clips": self.clips_tab, "Map": partial(map_tab, self), "Duplicates": partial(duplicates_tab, self),
            "Generate": partial(generate_tab, self), "Your audio": partial(listen_tab, self),
        }  # fmt: skip
        if self.other is not None:
            from .versus import compare_tab

            tabs["Compare"] = partial(compare_tab, self)
        return tabs

    def html(self, value: Any = "", **more: Any) -> Any:
        """An HTML component whose buttons choose clips."""
        return self.plain(value, **({"js_on_load": CHOOSE} | more))

    def plain(self, value: Any = "", **more: Any) -> Any:
        """An HTML component, in this page's style alone."""
        return self.gradio.HTML(value, apply_default_css=False, **more)

    def head(self) -> str:
        """What is looked at, in a line."""
        source = self.clips.source
        many = f"{source.clips:,} clips" if source.clips == source.of else f"{source.clips:,} of {source.of:,} clips"
        hours = f"{source.seconds / 3600:.1f} h" if source.seconds >= 3600 else f"{source.seconds / 60:.0f} min"
        told = [many, hours, f"{len(source.genres)} genres", source.generator and f"made by {source.generator}"]
        return f"<h1>{text(source.name)}</h1>{note(' · '.join(filter(None, told)))}"

    # Clips

    def clips_tab(self, _: Any) -> None:
        """Filters and the table."""
        gr, facets = self.gradio, self.clips.facets()
        words = gr.Textbox(label="Search prompts and ids", placeholder="words that all occur", lines=1, max_lines=1)
        fields = [words]
        with gr.Row():
            fields += [self.several("Genre", facets["genre"]), self.several("Sub-genre", facets["subgenre"])]
        with gr.Accordion("More filters", open=False):
            with gr.Row():
                for name in WORDS[2:]:
                    fields.append(self.several(name.capitalize(), facets[name]))
            with gr.Row():
                for label in ENDS:  # Gradio's field for numbers shows 0 where there is none
                    fields.append(gr.Textbox(label=label, placeholder="any", max_lines=1, min_width=90))
        self.filters = fields
        self.told = self.plain(elem_id="count")
        self.table = self.html(elem_id="table")
        with gr.Row(elem_id="pages"):
            back, on = gr.Button("← Page before", size="sm"), gr.Button("Page after →", size="sm")
        self.number = gr.State(0)
        outputs = [self.table, self.told, self.number]
        self.table.value, self.told.value, _ = self.page_of(np.arange(len(self.clips)), 0, 0)
        gr.on(
            [field.change for field in fields], self.browse, [self.chosen, *fields], outputs,
            trigger_mode="always_last", **QUICK | {"api_name": "browse", "api_visibility": "public"},
        )  # fmt: skip
        for button, step in ((back, -1), (on, 1)):
            button.click(self.turning(step), [self.number, self.chosen, *fields], outputs, **QUICK)
        self.choosers.append(self.table)

    def several(self, label: str, choices: list[str]) -> Any:
        """A list of which several can be taken."""
        return self.gradio.Dropdown(choices, value=[], label=label, multiselect=True, min_width=140, max_choices=None)

    def matching(self, values: tuple[Any, ...]) -> np.ndarray:
        """Positions of the clips that the filters, in the order of `clips_tab`, let through."""
        words, *rest = values
        lists: dict[str, Any] = {
            name: tuple(map(str, chosen or ())) for name, chosen in zip(WORDS, rest, strict=False)
        }
        slow, fast, soft, loud, tries = map(number_of, rest[len(WORDS) :])
        return self.clips.filter(
            **lists, tempo=(slow, fast), loudness=(soft, loud), attempts=(None, tries), text=str(words or "")
        )

    def page_of(self, positions: np.ndarray, number: int, chosen: int | None) -> tuple[str, str, int]:
        """Table, count and page, the nearest there is to the one asked for."""
        pages = max(1, -(-len(positions) // ROWS))
        number = min(max(0, int(number)), pages - 1)
        some = positions[number * ROWS : (number + 1) * ROWS]
        told = f"{len(positions):,} of {len(self.clips):,} clips"
        if pages > 1:
            told += f", page {number + 1} of {pages}"
        empty = note("No clip fits all of that.")
        table = self.cards[self.sides[0]].table(some, chosen) if len(some) else empty
        return table, f'<p role="status" class="soft">{told}</p>', number

    def browse(self, chosen: Any, *values: Any) -> tuple[str, str, int]:
        """The first page of what the filters let through, and which of them is no number."""
        table, told, number = self.page_of(self.matching(values), 0, self.mine(chosen))
        odd = [str(value) for value in values[-len(ENDS) :] if str(value or "").strip() and number_of(value) is None]
        return table, "".join(fault(DataError(f"{value}: not a number")) for value in odd) + told, number

    def turning(self, step: int) -> Callable[..., tuple[str, str, int]]:
        """A handler that turns the page."""
        return lambda number, chosen, *values: self.page_of(self.matching(values), number + step, self.mine(chosen))

    def mine(self, chosen: Any) -> int | None:
        """The chosen clip's position, if it is of this corpus."""
        return int(chosen[1]) if chosen[0] == self.sides[0] else None

    # The chosen clip

    def choosing(self, component: Any) -> None:
        """Let a component's buttons, or its points, choose clips."""

        def choose(event: Any) -> tuple[str, Any]:
            side, position = str(getattr(event, "side", "")), getattr(event, "position", None)
            if (
                side not in self.cards
                or not isinstance(position, int)
                or not 0 <= position < len(self.cards[side].clips)
            ):
                return note("There is no such clip."), self.gradio.skip()
            return self.cards[side].chosen(position), [side, position]

        choose.__annotations__["event"] = self.gradio.EventData  # as Gradio looks for it, which is imported late
        self.after(component.choose(choose, None, [self.card, self.chosen], **QUICK))

    def after(self, event: Any) -> None:
        """What follows the sound: neighbours, and the mark in the table."""
        given = [self.opened, self.chosen, self.number, *self.filters]
        event.then(self.beside, given, [self.near, self.table], **QUICK)

    def beside(self, opened: bool, chosen: Any, number: int, *values: Any) -> tuple[str, str]:
        """Neighbours of the chosen clip where they are looked at, and the table with it marked."""
        cards = self.cards[chosen[0]]
        table = self.page_of(self.matching(values), number, self.mine(chosen))[0]
        if not opened or not len(cards.clips):
            return "", table
        try:
            found = cards.clips.neighbours(int(chosen[1]), NEAR)
        except SynthmirError as error:
            return fault(error), table
        return (cards.neighbours(found) if found else note(cards.clips.why or "It is the only clip.")), table

    def stepping(self, step: int) -> Callable[..., tuple[Any, Any]]:
        """A handler that goes to the next clip of those that the filters let through."""

        def go(chosen: Any, *values: Any) -> tuple[Any, Any]:
            positions, here = self.matching(values), self.mine(chosen)
            if not len(positions):
                return self.gradio.skip(), chosen
            at = int(np.searchsorted(positions, -1 if here is None else here, side="right" if step > 0 else "left"))
            at = at if step > 0 else at - 1
            position = int(positions[at % len(positions)])  # round from the last to the first
            return self.cards[self.sides[0]].chosen(position), [self.sides[0], position]

        return go


def number_of(value: Any) -> float | None:
    """What stands in a field, None where it is empty or no number."""
    try:
        number = float(str(value).replace(",", "."))
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def build_page(clips: Clips, other: Clips | None = None) -> Any:
    """The page as Gradio Blocks; `server.create_app` serves it with the sound and the pictures that it shows."""
    return Page(clips, other).build()
