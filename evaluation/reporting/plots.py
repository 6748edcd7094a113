"""Plots of scores, training, embeddings and audio, as the bytes of SVG or PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from builder.plotting import log_mel, mel_ticks, project_embeddings

from ..rendering.plot_style import COLOURS, INK, SHAPES, panel, png, styled, svg

BOUNDS = ("low", "high")
MAP_POINTS = 1_500  # t-SNE takes seconds up to here


@styled
def plot_confusion(confusion: Sequence[Sequence[int]], labels: Sequence[str], title: str = "Confusion") -> bytes:
    """Plot a confusion matrix as SVG. Cells hold counts, and their shade is the share of the row.

    Args:
        confusion: [labels, labels] counts, rows true, columns predicted.
        labels: Their names.
        title: Of the plot.
    """
    counts = np.asarray(confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    roomy = len(labels) <= 6
    size = max(3.6, (0.62 if roomy else 0.44) * len(labels) + 1.6)
    figure, axes = panel(size + 0.5, size, title)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            share = shares[row, column]
            text = f"{count}\n{share:.0%}" if roomy else f"{count}"
            colour = "white" if share > 0.55 else INK
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9, linespacing=1.3)
    axes.set_xticks(range(len(labels)), labels, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xticks(np.arange(len(labels) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(labels) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="predicted", ylabel="true")
    return svg(figure)


@styled
def plot_label_scores(
    per_class: Sequence[Mapping[str, Any]], title: str = "Precision, recall and F1 by class"
) -> bytes:
    """Plot precision, recall and F1 of each label as SVG, with 95 % intervals where there are some.

    Args:
        per_class: `per_class` of scores.json.
        title: Of the plot.
    """
    figure, axes = panel(5.2, 0.55 * len(per_class) + 1.4, title)
    for place, (name, text) in enumerate((("precision", "precision"), ("recall", "recall"), ("f1", "F1"))):
        at = np.arange(len(per_class)) + (place - 1) * 0.26
        values = [row[name] for row in per_class]
        axes.barh(at, values, 0.24, color=COLOURS[place], label=text)
        bounds = [(row.get("intervals") or {}).get(name) for row in per_class]
        for y, value, bound in zip(at, values, bounds, strict=True):
            if bound:
                # A percentile interval need not hold the value itself.
                reach = [[max(0.0, value - bound["low"])], [max(0.0, bound["high"] - value)]]
                axes.errorbar(value, y, xerr=reach, color=INK, linewidth=1, capsize=2)
    axes.set_yticks(range(len(per_class)), [f"{row['label']}\nn = {row['support']}" for row in per_class])
    axes.set_ylim(len(per_class) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.set(xlim=(0, 1.02), xlabel="share (whiskers: 95 % interval)")
    axes.grid(axis="x")
    figure.legend(ncols=3, loc="outside lower center")
    return svg(figure)


@styled
def plot_reliability(bins: Sequence[Mapping[str, Any]], title: str = "Reliability diagram") -> bytes:
    """Plot a reliability diagram (Guo et al., ICML 2017) as SVG: share correct by confidence, with counts below.

    Args:
        bins: `calibration.equal_width` of scores.json.
        title: Of the plot.
    """
    figure = Figure(figsize=(4.6, 4.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    width = [row["high"] - row["low"] for row in bins]
    low = [row["low"] for row in bins]
    above.plot([0, 1], [0, 1], color=INK, linewidth=0.8, ls=":", label="perfect calibration")
    above.bar(
        low, [row["share"] for row in bins], width, align="edge", color=COLOURS[4], ec="white", label="share correct"
    )
    above.plot(
        [row["confidence"] for row in bins],
        [row["share"] for row in bins],
        "o",
        color=COLOURS[0],
        ms=4,
        label="mean confidence",
    )
    below.bar(low, [row["n"] for row in bins], width, align="edge", color=COLOURS[8], ec="white")
    above.set(title=title, ylabel="share correct", xlim=(0, 1), ylim=(0, 1.02))
    below.set(xlabel="confidence", ylabel="predictions")
    above.grid(axis="y")
    above.legend(loc="upper left")
    return svg(figure)


@styled
def plot_average_precision(
    per_tag: Sequence[Mapping[str, Any]], n: int, title: str = "Average precision by label"
) -> bytes:
    """Plot the average precision of each label as SVG, the best first, with 95 % intervals and the chance level.

    Args:
        per_tag: `per_tag` of scores.json.
        n: Tracks in all.
        title: Of the plot.
    """
    rows = sorted(per_tag, key=lambda row: -row["average_precision"]["value"])
    figure, axes = panel(5.2, 0.24 * len(rows) + 1.5, title)
    at = np.arange(len(rows))
    values = np.array([row["average_precision"]["value"] for row in rows])
    bounds = [[row["average_precision"][key] for row in rows] for key in ("low", "high")]
    low, high = (np.array([np.nan if b is None else b for b in bound], np.float64) for bound in bounds)
    axes.plot([row["support"] / n for row in rows], at, "|", color=COLOURS[5], ms=8, label="chance: share of tracks")
    axes.hlines(at, np.fmin(low, values), np.fmax(high, values), color=INK, linewidth=1)
    axes.plot(values, at, "o", color=COLOURS[0], ms=5, label="average precision")
    axes.set_yticks(at, [f"{row['label']} ({row['support']})" for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set(xlim=(0, 1.02), xlabel="average precision (lines: 95 % interval)")
    axes.grid(axis="x")
    figure.legend(ncols=2, loc="outside lower center")
    return svg(figure)


@styled
def plot_numbers(
    truth: np.ndarray, estimate: np.ndarray, unit: str, title: str = "Predicted and true values"
) -> bytes:
    """Plot predicted over true numbers as SVG. Tempi in bpm get logarithmic axes.

    Args:
        truth: float64 [n].
        estimate: float64 [n].
        unit: "bpm", or "" for none.
        title: Of the plot.
    """
    figure, axes = panel(4.6, 4.6, title)
    ends = np.array([min(truth.min(), estimate.min()), max(truth.max(), estimate.max())])
    octaves = unit == "bpm" and ends[0] > 0
    if octaves:
        ends = ends * (0.9, 1.1)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        ticks = [bpm for bpm in (30, 40, 60, 80, 120, 160, 240, 320) if ends[0] <= bpm <= ends[1]]
        axes.set_xticks(ticks, map(str, ticks), minor=False)
        axes.set_yticks(ticks, map(str, ticks), minor=False)
        axes.minorticks_off()
    for factor, style in ((1.0, "-"), *(((2.0, "--"), (0.5, ":")) if octaves else ())):
        name = {1.0: "equal", 2.0: "double", 0.5: "half"}[factor]
        axes.plot(ends, factor * ends, color=COLOURS[8], linewidth=0.8, ls=style, label=name)
    axes.plot(truth, estimate, "o", color=COLOURS[0], alpha=0.6, ms=4, mec="white", mew=0.3)
    axes.set(xlim=ends, ylim=ends, xlabel=f"true {unit.upper()}".rstrip(), ylabel=f"predicted {unit.upper()}".rstrip())
    axes.grid()
    axes.legend(loc="upper left")
    return svg(figure)


# Of a training record; the first that there is is plotted.
CURVE_METRICS = {"accuracy": "accuracy (%)", "map": "mAP (%)", "within_4_percent": "within 4 % (%)"}


@styled
def plot_training(curve: Sequence[Mapping[str, float]], best_epoch: int | None = None) -> bytes:
    """Plot a training as SVG: losses above, the validation metric below.

    Args:
        curve: `details.curve` of a training record: a point for each epoch.
        best_epoch: The epoch whose weights were kept.
    """
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    losses, metric = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    epochs = [point["epoch"] for point in curve]
    losses.plot(epochs, [point["train_loss"] for point in curve], color=COLOURS[0], label="training")
    losses.plot(epochs, [point["validation_loss"] for point in curve], color=COLOURS[5], ls="--", label="validation")
    key = next(key for key in CURVE_METRICS if key in curve[0])
    metric.plot(epochs, [100 * point[key] for point in curve], color=COLOURS[5], ls="--")
    for axes in (losses, metric):
        axes.grid(axis="y")
        if best_epoch is not None:
            axes.axvline(best_epoch, color=INK, linewidth=0.8, ls=":")
    if best_epoch is not None:
        losses.plot([], [], color=INK, linewidth=0.8, ls=":", label=f"kept: epoch {best_epoch}")
    losses.legend(loc="upper right")
    losses.set(title="Learning curve", ylabel="loss", ylim=(0, None))
    metric.set(xlabel="epoch", ylabel=f"validation\n{CURVE_METRICS[key]}")
    metric.xaxis.get_major_locator().set_params(integer=True)
    return svg(figure)


@styled
def plot_embeddings(
    embeddings: np.ndarray, classes: np.ndarray, labels: Sequence[str], seed: int = 0, title: str = "Map of embeddings"
) -> bytes:
    """Plot embeddings in two dimensions as SVG: t-SNE of the standardised vectors (van der Maaten and Hinton 2008).

    Args:
        embeddings: float32 [n, dim], three rows or more. Of more than 1,500 rows so many are drawn.
        classes: int [n], indices into `labels`.
        labels: Names in the legend.
        seed: Of the draw and of t-SNE; the same seed gives the same bytes.
        title: Of the plot.
    """
    chosen = np.arange(len(embeddings))
    if len(chosen) > MAP_POINTS:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, MAP_POINTS, replace=False))
    points, classes = project_embeddings(embeddings[chosen], seed), classes[chosen]
    figure, axes = panel(6.4, 5.0, title)
    for index, label in enumerate(labels):
        mine = points[classes == index]
        shape, colour = SHAPES[(index + index // len(COLOURS)) % len(SHAPES)], COLOURS[index % len(COLOURS)]
        axes.plot(mine[:, 0], mine[:, 1], shape, color=colour, mec="white", mew=0.4, label=label)
    axes.set(xticks=[], yticks=[], xlabel="t-SNE 1 (no unit)", ylabel="t-SNE 2 (no unit)")
    axes.spines[["top", "right"]].set_visible(True)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), handletextpad=0.2)
    return svg(figure)


@styled
def plot_spectrogram(samples: np.ndarray, sampling_rate: int, seconds: float = 10.0) -> bytes:
    """Plot a log-mel spectrogram as PNG, in dB below its loudest point.

    Args:
        samples: float32 [samples], mono.
        sampling_rate: Hz.
        seconds: So much of it is plotted.
    """
    cut = samples[: round(seconds * sampling_rate)]
    mel = log_mel(cut, sampling_rate, round(0.016 * sampling_rate))
    figure = Figure(figsize=(4.6, 1.7), layout="constrained")
    axes = figure.subplots()
    length = max(len(cut) / sampling_rate, 0.064)  # a frame at least
    axes.imshow(mel, origin="lower", aspect="auto", cmap="magma", vmin=-70, vmax=0, extent=(0, length, 0, 1))
    axes.set_yticks(*mel_ticks((100, 500, 1_000, 2_000, 5_000, 10_000), sampling_rate))
    axes.set_xlabel("seconds", labelpad=1, fontsize=8)
    axes.tick_params(length=2, pad=2, labelsize=8)
    axes.spines[:].set_visible(False)
    return png(figure)


@styled
def plot_probes(probes: Mapping[str, Any], score: Mapping[str, Any], labels: int) -> bytes:
    """Plot linear probes on more and more real tracks beside a model, as SVG.

    Args:
        probes: `probes` of scores.json.
        score: The model's balanced accuracy, its value and interval.
        labels: The number of labels that have tracks.
    """
    figure, axes = panel(5.2, 3.4, "Balanced accuracy by real training tracks")
    points = probes["points"]
    tracks = np.array([point["rows"] / labels for point in points])
    means = [point["scores"]["balanced_accuracy"]["mean"] for point in points]
    values = np.array([mean["value"] for mean in means])
    reach = np.abs(
        np.array([[np.nan if mean[end] is None else mean[end] for mean in means] for end in BOUNDS]) - values
    )
    if score["low"] is not None:
        axes.axhspan(score["low"], score["high"], color=COLOURS[1], alpha=0.15, linewidth=0)
    axes.axhline(score["value"], color=COLOURS[1], label="this model")
    axes.errorbar(tracks, values, reach, fmt="o-", color=COLOURS[0], capsize=3, markersize=5, label="linear probe")
    axes.set_xscale("log")
    axes.set_xticks(tracks, [str(point["shots"]) for point in points])
    axes.minorticks_off()
    axes.set(xlabel="real tracks of each label", ylabel="balanced accuracy", ylim=(0, 1.02))
    axes.grid()
    axes.legend(loc="lower right", fontsize=8)
    return svg(figure)
