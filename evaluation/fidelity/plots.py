"""Plots of fidelity as SVG: both sets on one map, values by genre, the extrapolation of the Fréchet distance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from builder.io.atomic import write_bytes
from builder.plotting import project_embeddings

from ..rendering.plot_style import COLOURS, INK, panel, styled, svg
from ..results.fidelity import Extrapolation, Figure, Genre

POINTS = 500  # of each set on the map
SYNTHETIC, REAL = COLOURS[5], COLOURS[0]


def write_plot(out: Path, name: str, data: bytes) -> str:
    """Write a plot to `assets/` under `out`.

    Args:
        out: The folder of results.
        name: The plot's file name.
        data: The plot as SVG.

    Returns:
        The file's path relative to `out`.
    """
    write_bytes(out / "assets" / name, data)
    return f"assets/{name}"


def plot_map(corpus: np.ndarray, reference: np.ndarray, seed: int = 0) -> bytes | None:
    """Plot t-SNE of both sets together: where they mix, their embeddings are similar.

    Args:
        corpus: float32 [n, dim].
        reference: float32 [m, dim].
        seed: Of t-SNE.

    Returns:
        None with fewer than three clips.
    """
    if len(corpus) + len(reference) < 3:
        return None
    points = project_embeddings(np.concatenate([corpus, reference]), seed)
    return _draw_map(points[: len(corpus)], points[len(corpus) :])


@styled
def _draw_map(corpus: np.ndarray, reference: np.ndarray) -> bytes:
    figure, axes = panel(6.4, 4.8, "Corpus and reference on one map")
    axes.plot(*reference.T, "o", color=REAL, ms=4, mec="white", mew=0.3, label=f"reference (n = {len(reference)})")
    axes.plot(*corpus.T, "^", color=SYNTHETIC, ms=4.5, mec="white", mew=0.3, label=f"corpus (n = {len(corpus)})")
    axes.set(xticks=[], yticks=[], xlabel="t-SNE 1 (no unit)", ylabel="t-SNE 2 (no unit)")
    figure.legend(ncols=2, loc="outside lower center", handletextpad=0.2)
    return svg(figure)


@styled
def plot_genres(genres: Sequence[Genre]) -> bytes:
    """Plot kernel distance and prompt adherence of each genre, with 95 % intervals."""
    has_adherence = any(row.adherence for row in genres)
    columns = 2 if has_adherence else 1
    figure = Canvas(figsize=(8.4 if has_adherence else 5.4, 0.42 * len(genres) + 1.5), layout="constrained")
    panels = figure.subplots(1, columns, sharey=True, squeeze=False)[0]
    _draw_bars(panels[0], [row.kernel for row in genres], SYNTHETIC)
    panels[0].set(title="Distance to real music", xlabel="kernel distance (0: equal); whiskers: 95 % interval")
    panels[0].axvline(0, color=INK, linewidth=0.8)
    panels[0].set_yticks(range(len(genres)), [f"{row.genre}\nn = {row.n} / {row.n_reference}" for row in genres])
    panels[0].set_ylim(len(genres) - 0.5, -0.5)
    if has_adherence:
        _draw_bars(panels[1], [row.adherence for row in genres], COLOURS[2])
        panels[1].set(title="Prompt adherence", xlabel="share of clips; whiskers: 95 % interval", xlim=(0, 1.02))
    return svg(figure)


def _draw_bars(axes: Axes, values: Sequence[Figure | None], colour: str) -> None:
    """Draw a horizontal bar with a 95 % interval for each value."""
    for index, figure in enumerate(values):
        if figure is None:
            axes.text(0, index, " too few", va="center", fontsize=8, color=INK)
            continue
        axes.barh(index, figure.value, 0.6, color=colour)
        if figure.low is not None and figure.high is not None:
            lengths = [[max(0.0, figure.value - figure.low)], [max(0.0, figure.high - figure.value)]]
            axes.errorbar(figure.value, index, xerr=lengths, color=INK, linewidth=1, capsize=2)
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)


@styled
def plot_extrapolation(line: Extrapolation) -> bytes:
    """Plot Fréchet distances of subsets over 1 / size, the fitted line, and the extrapolated value."""
    figure, axes = panel(6.0, 3.6, "The Fréchet distance falls as the corpus grows")
    inverse = 1 / np.array(line.sizes)
    axes.plot([0, inverse.max()], [line.value, line.value + line.slope * inverse.max()], color=COLOURS[0], lw=1)
    axes.plot(inverse, line.distances, "o", color=COLOURS[0], label="subsets of the corpus")
    lengths = [[max(0.0, line.value - line.low)], [max(0.0, line.high - line.value)]]
    axes.errorbar(0, line.value, yerr=lengths, fmt="D", color=SYNTHETIC, capsize=3, label="extrapolated", zorder=3)
    axes.set_xticks([0, *inverse[[-1, 0]]], ["∞", f"{line.sizes[-1]:,}", f"{line.sizes[0]:,}"])
    axes.set(xlabel="clips (on a scale of 1 / clips)", ylabel="Fréchet distance")
    axes.grid(axis="y")
    axes.legend(title=f"r² = {line.r2:.3f}")
    return svg(figure)
