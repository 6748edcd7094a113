"""The tab "Doubtful": the clips whose labels the sound contradicts, by the results beside the corpus."""

from __future__ import annotations

from pathlib import Path

from builder.errors import DataError
from builder.io.storage import is_file

from ...agreement.page import TITLES
from ...results.agreement import FILE as AGREEMENT
from ...results.agreement import Agreement
from ...results.label_noise import FILE as LABEL_NOISE
from ...results.label_noise import LabelNoise
from ..clip_table import Clips
from ..corpus_source import CorpusFolder
from ..html_parts import escape, render_error, render_note
from ..page_context import Component, PageContext

LISTED = 20  # clips of each kind
NONE = (
    "Nothing is known of the labels of these clips. `synthmir label-noise CORPUS` finds doubtful ones, "
    "`synthmir agreement CORPUS` those that disagree with the sound."
)


def add_doubtful_tab(context: PageContext, _: Component) -> None:
    """Add the clips of label_noise.json and agreement.json, a player each."""
    context.selectors.append(context.add_clip_html(render_doubtful(context)))


def render_doubtful(context: PageContext) -> str:
    """Render the most doubtful clips, and those that disagree with most of what was asked for."""
    clips = context.clips
    parts: list[str] = []
    try:
        if (path := find_result(clips, "label_noise", LABEL_NOISE)) is not None:
            noise = LabelNoise.read(path)
            reasons = {
                clip.id: f"{noise.column} {clip.label} {clip.probability:.2f}, sounds like {clip.predicted} "
                f"{clip.predicted_probability:.2f}"
                for clip in noise.doubtful
            }
            parts.append(_render_clips(context, "Doubtful labels", reasons))
        if (path := find_result(clips, "agreement", AGREEMENT)) is not None:
            disagreeing = Agreement.read(path).disagreeing
            reasons = {
                clip.id: f"disagrees: {', '.join(TITLES.get(name, name).lower() for name in clip.labels)}"
                for clip in disagreeing
            }
            parts.append(_render_clips(context, "Labels that disagree with the sound", reasons))
    except DataError as error:
        parts.append(render_error(error))
    return "".join(parts) or render_note(NONE)


def find_result(clips: Clips, folder: str, name: str) -> Path | None:
    """A file of results beside the corpus, or in the report beside it; None if there is none."""
    if not isinstance(clips.source, CorpusFolder):
        return None
    run = clips.source.root.absolute().parent
    places = (run / folder / name, run / "report" / folder / name)
    return next((path for path in places if is_file(path)), None)


def _render_clips(context: PageContext, title: str, reasons: dict[str, str]) -> str:
    """Render the clips of the page that have a reason, in its order."""
    positions = {identity: place for place, identity in enumerate(context.clips.table["id"].tolist())}
    shown = [(positions[identity], reason) for identity, reason in reasons.items() if identity in positions]
    items = "".join(
        f"<li>{context.own_html.render_summary(position, reason)}</li>" for position, reason in shown[:LISTED]
    )
    lead = f"{min(len(shown), LISTED)} of {len(reasons):,}" if shown else "none of this page"
    return f'<h3>{escape(title)}</h3>{render_note(lead)}<ol class="neighbours">{items}</ol>'
