"""The picture of strategies: a line each, the best on top, and real music whole as the line to be reached."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ..rendering.plot_style import COLOURS, INK, styled, svg
from ..results.scores import HEADLINES, SHARES


@styled
def strategy_picture(found: dict[str, Any]) -> bytes:
    """What strategies.json holds -> SVG: mean and 95 % interval of the first figure, a mark a training under it."""
    key, strategies = found["metric"], found["strategies"]
    figure = Figure(figsize=(7.2, 1.5 + 0.5 * len(strategies)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(strategies))[::-1]
    for place, one in zip(places, strategies, strict=True):
        mean, seeds = one["figures"][key]["mean"], one["figures"][key]["seeds"]
        upper = one["name"] == found["upper"]
        colour = COLOURS[2] if upper else COLOURS[0]
        if mean["low"] is not None:
            axes.plot([mean["low"], mean["high"]], [place, place], color=colour, linewidth=2, solid_capstyle="butt")
        axes.plot(mean["value"], place, "D" if upper else "o", color=colour, markersize=6)
        axes.plot(seeds, np.full(len(seeds), place - 0.22), "|", color=COLOURS[1], markersize=6)
        axes.annotate(
            f"{mean['value']:.1%}" if key in SHARES else f"{mean['value']:.2f}",
            (mean["value"], place),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
        if upper:
            label = f"{one['name']}: what all of the real music gives"
            axes.axvline(mean["value"], color=colour, linewidth=1, linestyle="--", zorder=0, label=label)
            figure.legend(loc="outside lower center", fontsize=8)
    axes.set_yticks(places, [one["name"] for one in strategies])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.7, len(strategies) - 0.3)
    if key in SHARES:
        axes.set_xlim(min(axes.get_xlim()[0], 0.98), min(axes.get_xlim()[1], 1.02))
    axes.grid(axis="x")
    axes.set_xlabel(f"{HEADLINES[found['problem']][key]} on the test part of {found['target']}, n = {found['n']}")
    count = len(found["seeds"])
    axes.set_title(f"Strategies: mean of {count} training{'s' if count > 1 else ''}, 95 % interval")
    axes.title.set_color(INK)
    return svg(figure)
