"""The style that all plots of evaluation share. Nothing here needs a display or keeps global state."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.figure import Figure

from builder import plotting

if TYPE_CHECKING:
    from typing import ParamSpec

    from matplotlib.axes import Axes

    P = ParamSpec("P")

COLOURS, SHAPES = (*plotting.COLOURS, "#A0522D"), (*plotting.SHAPES, "*")
INK, FAINT = "#1f2933", "#d5dbe1"
STYLE: Any = {
    "font.size": 10,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "text.parse_math": False,  # a label with dollar signs is text
    "svg.fonttype": "none",  # text stays text: it can be searched, and the reader's fonts draw every script
    "svg.hashsalt": "synthmir",  # the same figure gives the same bytes
}


def styled(draw: Callable[P, bytes]) -> Callable[P, bytes]:
    """Run a drawing function in `STYLE`, and leave the caller's matplotlib settings as they are."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> bytes:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


def panel(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    """Create a figure with one set of axes.

    Args:
        width: The figure's width in inches.
        height: The figure's height in inches.
        title: The title of the axes.

    Returns:
        The figure and its axes.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title)
    return figure, axes


def svg(figure: Figure) -> bytes:
    """Save a figure as SVG. The same figure gives the same bytes."""
    return _save(figure, "svg", metadata={"Date": None})


def png(figure: Figure, dpi: int = 160) -> bytes:
    """Save a figure as PNG."""
    return _save(figure, "png", dpi=dpi)


def _save(figure: Figure, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the reader's fonts draw the text, not matplotlib's
        figure.savefig(buffer, format=kind, **options)
    return buffer.getvalue()
