"""Pictures of fidelity, as SVG in the style of the other pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from builder.io.atomic import write_bytes
from builder.plotting import project_embeddings

from ..rendering.plot_style import COLOURS, INK, STYLE, panel, svg
from .figures import Extrapolation, Genre

POINTS = 500  # of each set on the map
SYNTHETIC, REAL = COLOURS[5], COLOURS[0]


def put(out: Path, name: str, data: bytes) -> str:
    """Write a picture under `out`/assets; its address from `out`."""
    write_bytes(out / "assets" / name, data)
    return f"assets/{name}"


def two_worlds(corpus: np.ndarray, reference: np.ndarray, seed: int = 0) -> bytes | None:
    """float32 [n, dim], [m, dim] -> t-SNE of both together: mixed where they are alike. None under three clips."""
    if len(corpus) + len(reference) < 3:
        return None
    points = project_embeddings(np.concatenate([corpus, reference]), seed)
    with matplotlib.rc_context(STYLE):
        figure, axes = panel(6.4, 4.8, "Corpus and reference on one map")
        mine, other = points[: len(corpus)], points[len(corpus) :]
        axes.plot(*other.T, "o", color=REAL, ms=4, mec="white", mew=0.3, label=f"reference (n = {len(other)})")
        axes.plot(*mine.T, "^", color=SYNTHETIC, ms=4.5, mec="white", mew=0.3, label=f"corpus (n = {len(mine)})")
        axes.set(xticks=[], yticks=[], xlabel="t-SNE 1 (no unit)", ylabel="t-SNE 2 (no unit)")
        figure.legend(ncols=2, loc="outside lower center", handletextpad=0.2)
        return svg(figure)


def genre_bars(genres: Sequence[Genre]) -> bytes:
    """Kernel distance and prompt adherence of each genre, with 95 % whiskers."""
    with matplotlib.rc_context(STYLE):
        told = any(row.adherence for row in genres)
        figure = Figure(figsize=(8.4 if told else 5.4, 0.42 * len(genres) + 1.5), layout="constrained")
        panels = figure.subplots(1, 2 if told else 1, sharey=True, squeeze=False)[0]
        for axes, name, colour, title, unit in (
            (panels[0], "kernel", SYNTHETIC, "Distance to real music", "kernel distance (0: the same)"),
            (panels[-1], "adherence", COLOURS[2], "Heard as what was asked for", "share of clips"),
        )[: 2 if told else 1]:
            for at, row in enumerate(genres):
                found = getattr(row, name)
                if found is None:
                    axes.text(0, at, " too few", va="center", fontsize=8, color=INK)
                    continue
                axes.barh(at, found.value, 0.6, color=colour)
                if found.low is not None:
                    reach = [[max(0.0, found.value - found.low)], [max(0.0, found.high - found.value)]]
                    axes.errorbar(found.value, at, xerr=reach, color=INK, linewidth=1, capsize=2)
            axes.set(title=title, xlabel=f"{unit}; whiskers: 95 % interval")
            axes.grid(axis="x")
            axes.tick_params(axis="y", length=0)
        panels[0].axvline(0, color=INK, linewidth=0.8)
        panels[0].set_yticks(range(len(genres)), [f"{row.genre}\nn = {row.n} / {row.n_reference}" for row in genres])
        panels[0].set_ylim(len(genres) - 0.5, -0.5)
        if told:
            panels[-1].set_xlim(0, 1.02)
        return svg(figure)


def extrapolation(found: Extrapolation) -> bytes:
    """Distances over 1 / size, the line through them, and where it ends."""
    with matplotlib.rc_context(STYLE):
        figure, axes = panel(6.0, 3.6, "The Fréchet distance falls as the corpus grows")
        inverse = 1 / np.array(found.sizes)
        axes.plot([0, inverse.max()], [found.value, found.value + found.slope * inverse.max()], color=COLOURS[0], lw=1)
        axes.plot(inverse, found.distances, "o", color=COLOURS[0], label="subsets of the corpus")
        reach = [[max(0.0, found.value - found.low)], [max(0.0, found.high - found.value)]]
        axes.errorbar(0, found.value, yerr=reach, fmt="D", color=SYNTHETIC, capsize=3, label="without end", zorder=3)
        axes.set_xticks([0, *inverse[[-1, 0]]], ["∞", f"{found.sizes[-1]:,}", f"{found.sizes[0]:,}"])
        axes.set(xlabel="clips (on a scale of 1 / clips)", ylabel="Fréchet distance")
        axes.grid(axis="y")
        axes.legend(title=f"r² = {found.r2:.3f}")
        return svg(figure)
