"""Plots of experiments: robustness, ablations and training strategies."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from builder.names import format_count

from ..rendering.plot_style import COLOURS, FAINT, INK, styled, svg
from ..results.ablation import Ablation
from ..results.robustness import Robustness
from ..results.scores import HEADLINES, SHARES
from ..results.strategies import StrategyComparison
from .tables import shown_metric

COLUMNS = 4


@styled
def plot_robustness(robustness: Robustness) -> bytes:
    """Draw a model's robustness as SVG: a panel a damage, the first score at each level with its 95 % interval.

    The dashed line and the band are the score of the clean tracks and its interval.
    """
    document = robustness.model_dump(mode="json")
    key, name = next(iter(HEADLINES[document["problem"]].items()))
    if document["clean"].get(key) is None:
        key, name = "mae", HEADLINES[document["problem"]]["mae"]
    kinds: dict[str, list[dict[str, Any]]] = {}
    for level in document["levels"]:
        kinds.setdefault(level["kind"], []).append(level)
    rows = max(1, -(-len(kinds) // COLUMNS))
    figure = Figure(figsize=(10.0, 0.6 + 2.2 * rows), layout="constrained")
    clean = document["clean"][key]
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
def plot_ablation(ablation: Ablation) -> bytes:
    """Draw an ablation as SVG: a panel for each split or benchmark and a line for each cell; or a curve."""
    document = ablation.model_dump(mode="json")
    places, cells = document["places"], document["cells"]
    keys = HEADLINES[document["problem"]]
    curve = _numbers(document)
    height = 2.6 if curve is not None else 1.1 + 0.36 * len(cells)
    figure = Figure(figsize=(9.0, 0.4 + height * len(places)), layout="constrained")
    for number, place in enumerate(places):
        axes = figure.add_subplot(len(places), 1, number + 1)
        key = shown_metric(document["problem"], cells[0]["scores"][place], document["metric"])
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
            axes.set_xlabel(next(iter(document["vary"])))
            axes.set_ylabel(keys[key])
            axes.grid()
        axes.set_title(
            f"{place}, mean of {format_count(document['seeds'], 'training run')} with 95 % interval", fontsize=10
        )
    return svg(figure)


@styled
def plot_strategies(comparison: StrategyComparison) -> bytes:
    """Draw training strategies as SVG, the best on top: mean score, 95 % interval, and a mark for each training."""
    document = comparison.model_dump(mode="json")
    key, strategies = document["metric"], document["strategies"]
    figure = Figure(figsize=(7.2, 1.5 + 0.5 * len(strategies)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(strategies))[::-1]
    for place, one in zip(places, strategies, strict=True):
        mean, seeds = one["figures"][key]["mean"], one["figures"][key]["seeds"]
        upper = one["name"] == document["upper"]
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
            label = f"{one['name']}: trained on all of the real music"
            axes.axvline(mean["value"], color=colour, linewidth=1, linestyle="--", zorder=0, label=label)
            figure.legend(loc="outside lower center", fontsize=8)
    axes.set_yticks(places, [one["name"] for one in strategies])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.7, len(strategies) - 0.3)
    if key in SHARES:
        axes.set_xlim(min(axes.get_xlim()[0], 0.98), min(axes.get_xlim()[1], 1.02))
    axes.grid(axis="x")
    axes.set_xlabel(
        f"{HEADLINES[document['problem']][key]} on the test part of {document['target']}, n = {document['n']}"
    )
    count = len(document["seeds"])
    axes.set_title(f"Strategies: mean of {count} training{'s' if count > 1 else ''}, 95 % interval")
    axes.title.set_color(INK)
    return svg(figure)


def _numbers(document: dict[str, Any]) -> np.ndarray | None:
    """Return the varied values where one key is varied and its values are numbers. "all" clips count as their rows."""
    if len(document["vary"]) != 1 or len(document["cells"]) < 3:
        return None
    (key,) = document["vary"]
    values = [cell["train_rows"] if key == "training.clips" else cell["values"][key] for cell in document["cells"]]
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return None
    return np.array(values, float)
