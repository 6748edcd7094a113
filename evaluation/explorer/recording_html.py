"""Predictions for a recording as HTML: the overall result, a timeline as SVG, and a table of windows."""

from __future__ import annotations

import numpy as np

from builder.names import format_count

from .html_parts import escape, render_tags
from .recording import WindowPredictions
from .theme import label_colour

WIDTH, HEIGHT = 1000, 200  # of the timeline, in SVG units
LABELS_SHOWN = 12  # in the timeline and in the list


def format_time(seconds: float) -> str:
    """Format a time as minutes, seconds and tenths: 1:02.5."""
    return f"{int(seconds // 60)}:{seconds % 60:04.1f}"


def render_predictions(predictions: WindowPredictions, name: str, address: str | None) -> str:
    """Render everything about a recording.

    Args:
        predictions: The windows and what was predicted for them.
        name: The recording's file name.
        address: Where the page plays it from; None for no player.
    """
    rows = []
    for index, (start, end) in enumerate(zip(predictions.starts, predictions.ends, strict=True)):
        best = _format_values(predictions, predictions.values[index], 2)
        rows.append(
            f'<tr><td><button type="button" class="select" data-seek="{start:.2f}" '
            f'aria-label="Play from {format_time(start)}">▶</button></td>'
            f'<th scope="row">{format_time(start)} to {format_time(end)}</th><td>{escape(best)}</td></tr>'
        )
    player = f'<audio controls preload="none" src="{address}" aria-label="{escape(name)}"></audio>' if address else ""
    return (
        f'<article class="recording"><h2 dir="auto">{escape(name)}</h2>'
        f"<p><b>{escape(_format_values(predictions, predictions.overall, 3))}</b> "
        f'<span class="muted">over {format_time(predictions.seconds)}, {format_count(len(rows), "window")}</span></p>'
        f"{player}{render_tags(predictions.tags)}{render_timeline(predictions)}"
        f'<dl class="probabilities">{_render_probabilities(predictions)}</dl>'
        f'<details><summary>Windows</summary><table class="windows"><tbody>{"".join(rows)}</tbody></table>'
        f"</details></article>"
    )


def render_timeline(predictions: WindowPredictions) -> str:
    """Draw predictions over time: stacked probabilities of exclusive labels, or else a line for each label."""
    edges = predictions.boundaries() / max(predictions.seconds, 1e-9) * WIDTH
    if predictions.problem == "single_label_classification":
        shapes = _draw_stacked(predictions, edges)
        description = "probability of each label"
    else:
        shapes = _draw_lines(predictions, edges)
        description = f"value in {predictions.unit.upper()}" if predictions.unit else "probability of each label"
    ticks = "".join(f"<span>{format_time(part * predictions.seconds)}</span>" for part in (0, 0.5, 1))
    return (
        f'<svg class="timeline" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="Over time: {description}">{shapes}</svg><div class="ticks muted">{ticks}</div>'
    )


def _format_values(predictions: WindowPredictions, values: np.ndarray, count: int) -> str:
    """The number of a regression with its unit, or the `count` most probable labels."""
    if predictions.problem == "regression":
        return f"{values[0]:.1f} {predictions.unit.upper()}".strip()
    order = np.argsort(-values, kind="stable")[:count]
    return ", ".join(f"{predictions.labels[label]} {values[label]:.0%}" for label in order)


def _render_probabilities(predictions: WindowPredictions) -> str:
    """A meter for each of the most probable labels; nothing for a regression."""
    if predictions.problem == "regression":
        return ""
    return "".join(
        f'<dt><span style="color:{label_colour(label)}" aria-hidden="true">■</span> '
        f"{escape(predictions.labels[label])}</dt>"
        f'<dd><meter min="0" max="1" value="{predictions.overall[label]:.4f}"></meter> '
        f"{predictions.overall[label]:.1%}</dd>"
        for label in predictions.top_labels(LABELS_SHOWN)
    )


def _draw_stacked(predictions: WindowPredictions, edges: np.ndarray) -> str:
    """A rectangle for each window and label; its height is the probability."""
    shapes, seconds = [], predictions.boundaries()
    for index, probabilities in enumerate(predictions.values):
        top = 0.0
        for label, probability in enumerate(probabilities):
            height = probability * HEIGHT
            if height >= 0.5:
                times = f"{format_time(predictions.starts[index])} to {format_time(predictions.ends[index])}"
                shapes.append(
                    f'<rect x="{edges[index]:.1f}" y="{top:.1f}" width="{edges[index + 1] - edges[index] + 0.3:.1f}" '
                    f'height="{height:.1f}" fill="{label_colour(label)}" data-seek="{seconds[index]:.2f}">'
                    f"<title>{escape(f'{times}: {predictions.labels[label]} {probability:.0%}')}</title></rect>"
                )
            top += height
    return "".join(shapes)


def _draw_lines(predictions: WindowPredictions, edges: np.ndarray) -> str:
    """A step line for each label."""
    values = predictions.values
    multi_label = predictions.problem.startswith("multi")
    low, high = (0.0, 1.0) if multi_label else (float(values.min()) - 1, float(values.max()) + 1)
    lines = []
    for label in predictions.top_labels(LABELS_SHOWN):
        points = " ".join(
            f"{x:.1f},{(1 - (value - low) / (high - low)) * HEIGHT:.1f}"
            for index, value in enumerate(values[:, label])
            for x in (edges[index], edges[index + 1])
        )
        title = f"<title>{escape(predictions.labels[label])}</title>"
        lines.append(f'<polyline points="{points}" stroke="{label_colour(label)}">{title}</polyline>')
    return "".join(lines)
