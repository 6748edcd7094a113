"""What the explorer's page and its tabs share."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .audio_cache import AudioCache
from .clip_html import ClipHtml
from .gradio_loader import load_gradio

if TYPE_CHECKING:
    from .clip_table import Clips

Component = Any  # of Gradio, which makes its events at run time: mypy cannot know them
Selection = tuple[str, int]  # the side and the position of the selected clip

# For events that answer at once. Slow ones wait in Gradio's queue and run one at a time.
FAST_EVENT: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": 8}
SELECT_CLIP = "".join(
    Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("select_clip.js", "timeline.js")
)
LABEL_FILTERS = ("genre", "subgenre", "mood", "instruments", "vocals", "split")
RANGE_FILTERS = ("Minimum tempo", "Maximum tempo", "Minimum LUFS", "Maximum LUFS", "Maximum attempts")


class PageContext:
    """The corpora of a page, how their clips are rendered, and the components that several tabs use.

    Attributes:
        sides: The names of the corpora in addresses, the page's own corpus first. They differ from run to run, so
            that a browser never plays a cached clip of another run.
        selected: Gradio's state with the `Selection`.
        filters: The filter fields: text, `LABEL_FILTERS`, `RANGE_FILTERS`.
        selectors: Components whose event `select_clip` selects a clip.
    """

    def __init__(self, clips: Clips, other: Clips | None) -> None:
        session = secrets.token_hex(4)
        self.gradio = load_gradio()
        self.audio_cache = AudioCache()
        self.clips, self.other = clips, other
        corpora = (clips,) if other is None else (clips, other)
        self.html = {
            f"{session}{side}": ClipHtml(corpus, f"{session}{side}")
            for side, corpus in zip("ab", corpora, strict=False)
        }
        self.sides = tuple(self.html)
        self.selected: Component = None
        self.filters: list[Component] = []
        self.selectors: list[Component] = []

    @property
    def own_html(self) -> ClipHtml:
        """How clips of the page's own corpus are rendered."""
        return self.html[self.sides[0]]

    def own_position(self, selected: Selection) -> int | None:
        """Return the selected clip's position if it is in the page's own corpus."""
        return int(selected[1]) if selected[0] == self.sides[0] else None

    def add_html(self, value: Any = "", **options: Any) -> Component:
        """Add an HTML component in the page's own style."""
        return self.gradio.HTML(value, apply_default_css=False, **options)

    def add_clip_html(self, value: str = "", **options: Any) -> Component:
        """Add an HTML component whose buttons select clips and positions in a recording (select_clip.js)."""
        return self.add_html(value, js_on_load=SELECT_CLIP, **options)

    def matching_positions(self, values: tuple[Any, ...]) -> np.ndarray:
        """Return the positions of the clips that match the values of `filters`, int64, ascending."""
        text, *fields = values
        labels: dict[str, Any] = {
            name: tuple(map(str, accepted or ())) for name, accepted in zip(LABEL_FILTERS, fields, strict=False)
        }
        slowest, fastest, quietest, loudest, attempts = map(parse_number, fields[len(LABEL_FILTERS) :])
        return self.clips.filter(
            **labels, tempo=(slowest, fastest), loudness=(quietest, loudest), attempts=(None, attempts),
            text=str(text or ""),
        )  # fmt: skip


def parse_number(value: Any) -> float | None:
    """Parse the text of a number field; None if it is empty or not a finite number."""
    try:
        number = float(str(value).replace(",", "."))
    except ValueError:
        return None
    return number if np.isfinite(number) else None
