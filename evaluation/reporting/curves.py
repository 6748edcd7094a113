"""The picture of robustness: a panel a damage, the first figure at each level with its interval, clean beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ..rendering.plot_style import COLOURS, FAINT, INK, styled, svg
from ..results.scores import HEADLINES, SHARES

COLUMNS = 4


@styled
def robustness_curves(found: dict[str, Any]) -> bytes:
    """What robustness.json holds -> SVG. Levels stand in the order of the file; the band is the clean interval."""
    key, name = next(iter(HEADLINES[found["problem"]].items()))
    if found["clean"].get(key) is None:
        key, name = "mae", HEADLINES[found["problem"]]["mae"]
    kinds: dict[str, list[dict[str, Any]]] = {}
    for level in found["levels"]:
        kinds.setdefault(level["kind"], []).append(level)
    rows = max(1, -(-len(kinds) // COLUMNS))
    figure = Figure(figsize=(10.0, 0.6 + 2.2 * rows), layout="constrained")
    clean = found["clean"][key]
    for place, (kind, levels) in enumerate(kinds.items()):
        axes = figure.add_subplot(rows, COLUMNS, place + 1)
        if clean["low"] is not None:
            axes.axhspan(clean["low"], clean["high"], color=FAINT, alpha=0.6, linewidth=0)
        axes.axhline(clean["value"], color=INK, linewidth=0.8, linestyle="--")
        places = np.arange(len(levels))
        figures = [level["figures"][key] for level in levels]
        values = np.array([np.nan if one is None else one["value"] for one in figures])
        low, high = (
            np.array([np.nan if one is None or one[end] is None else one[end] for one in figures])
            for end in ("low", "high")
        )
        known = ~np.isnan(low)
        axes.errorbar(
            places[known],
            values[known],
            np.stack([values - low, high - values])[:, known].clip(0),
            fmt="none",
            ecolor=COLOURS[0],
            elinewidth=1.4,
            capsize=3,
        )
        axes.plot(places, values, "o", color=COLOURS[0], markersize=5)
        axes.set_xticks(places, [f"{level['level']:g}" for level in levels])
        axes.set_xlim(-0.6, len(levels) - 0.4)
        axes.set_title(kind, fontsize=10)
        axes.set_xlabel(levels[0]["unit"], fontsize=8)
        if key in SHARES:
            axes.set_ylim(0, 1.02)
        if place % COLUMNS == 0:
            axes.set_ylabel(name, fontsize=9)
        axes.grid(axis="y")
    return svg(figure)


@styled
def ablation_picture(found: dict[str, Any]) -> bytes:
    """What ablation.json holds -> SVG: a panel a place, a line a cell; of one varied number, a curve over it."""
    places, cells = found["places"], found["cells"]
    keys = HEADLINES[found["problem"]]
    curve = _numbers(found)
    height = 2.6 if curve is not None else 1.1 + 0.36 * len(cells)
    figure = Figure(figsize=(9.0, 0.4 + height * len(places)), layout="constrained")
    for number, place in enumerate(places):
        axes = figure.add_subplot(len(places), 1, number + 1)
        key = next(key for key in keys if key in cells[0]["scores"][place])
        means = [cell["scores"][place][key]["mean"] for cell in cells]
        values = np.array([mean["value"] for mean in means])
        ends = [[np.nan if mean[end] is None else mean[end] for mean in means] for end in ("low", "high")]
        reach = np.abs(np.array(ends) - values)
        seeds = [cell["scores"][place][key]["seeds"] for cell in cells]
        if curve is None:
            at = np.arange(len(cells))[::-1]
            axes.axvline(values[0], color=FAINT, linewidth=1)
            axes.errorbar(values, at, xerr=reach, fmt="o", color=COLOURS[0], capsize=3, markersize=5)
            for y, each in zip(at, seeds, strict=True):
                axes.plot(each, np.full(len(each), y - 0.18), "|", color=COLOURS[1], markersize=6)
            axes.set_yticks(at, [cell["name"] for cell in cells], fontsize=8)
            axes.set_ylim(-0.7, len(cells) - 0.3)
            axes.set_xlabel(keys[key])
            axes.grid(axis="x")
        else:
            order = np.argsort(curve)
            axes.errorbar(
                curve[order], values[order], reach[:, order], fmt="o-", color=COLOURS[0], capsize=3, markersize=5
            )
            if curve.min() > 0 and curve.max() / curve.min() > 5:
                axes.set_xscale("log")
            axes.set_xticks(curve[order], [f"{value:g}" for value in curve[order]])
            axes.minorticks_off()
            axes.set_xlabel(next(iter(found["vary"])))
            axes.set_ylabel(keys[key])
            axes.grid()
        axes.set_title(f"{place}, mean of {found['seeds']} training(s) with 95 % interval", fontsize=10)
    return svg(figure)


def _numbers(found: dict[str, Any]) -> np.ndarray | None:
    """The varied values, where one key alone is varied and they are numbers; "all" clips are the rows there are."""
    if len(found["vary"]) != 1 or len(found["cells"]) < 3:
        return None
    (key,) = found["vary"]
    values = [cell["train_rows"] if key == "training.clips" else cell["values"][key] for cell in found["cells"]]
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return None
    return np.array(values, float)
