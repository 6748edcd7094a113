"""annotation_scores.json as a text table, as report.html, and as a section of another report."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from builder.io.atomic import write_text
from builder.names import format_count

from ..rendering.html_page import html_environment
from ..rendering.text_table import align_columns
from ..results.annotation_scores import FILE, SCORES, AnnotationScores, SourceScores
from ..results.scores import Quantity

if TYPE_CHECKING:
    from jinja2 import Environment

PAGE, TABLE = "report.html", "annotation_scores.txt"
TEMPLATE, SECTION = "annotation_report.html.jinja", "annotation_section.html.jinja"
TASK_NAMES = {
    "beats": "Beats",
    "tempo": "Tempo",
    "time_signature": "Time signature",
    "chords": "Chords",
    "key": "Key",
    "melody": "Melody",
    "notes": "Notes",
    "instruments": "Instruments",
}
LISTED = 5  # unreadable tracks that are named


def write_annotation_report(out: Path) -> Path:
    """Render `out`/report.html and the text table from `out`/annotation_scores.json. The page works offline.

    Returns:
        The page's path.

    Raises:
        DataError: annotation_scores.json cannot be read.
    """
    out = Path(out)
    scores = AnnotationScores.read(out / FILE)
    write_text(out / TABLE, format_annotation_scores(scores) + "\n")
    on = [word for source in scores.sources for word in ("--on", source.name)]
    peers = ["--peers", "librosa"] if scores.record["details"]["peers"] else []
    page = (
        _environment()
        .get_template(TEMPLATE)
        .render(
            scores=scores,
            task_names=TASK_NAMES,
            section=_render_section(scores),
            command=shlex.join(["synthmir", "evaluate", scores.model, *on, *peers, "--out", str(out)]),
        )
    )
    write_text(out / PAGE, page)
    return out / PAGE


def render_annotation_section(folder: Path) -> str:
    """Render `folder`/annotation_scores.json as a section of another page, with all text escaped. Raises DataError."""
    return _render_section(AnnotationScores.read(folder / FILE))


def _render_section(scores: AnnotationScores) -> str:
    from markupsafe import Markup

    return Markup(
        _environment().get_template(SECTION).render(scores=scores, names=SCORES, task_names=TASK_NAMES, listed=LISTED)
    )


def _environment() -> Environment:
    environment = html_environment(Path(__file__).parent)
    environment.filters |= {"share": format_share, "points": format_points}
    return environment


def format_annotation_scores(scores: AnnotationScores) -> str:
    """Format scores as text tables: for each source and task a line for each system, with 95 % intervals.

    Args:
        scores: What `evaluate_sources` returns.
    """
    return "\n\n".join("\n".join(_format_source(source)) for source in scores.sources)


def format_share(figure: Quantity | None) -> str:
    """Format a score with its interval: "0.846 [0.820, 0.871]"; "-" where it is not defined."""
    if figure is None:
        return "-"
    return f"{figure.value:.3f}" + ("" if figure.low is None else f" [{figure.low:.3f}, {figure.high:.3f}]")


def format_points(figure: Quantity) -> str:
    """Format a difference of scores with its sign and interval: "+0.021 [-0.004, +0.045]"."""
    return f"{figure.value:+.3f}" + ("" if figure.low is None else f" [{figure.low:+.3f}, {figure.high:+.3f}]")


def _format_source(source: SourceScores) -> list[str]:
    over = f", intervals over {source.sampling.describe()}" if source.sampling.over == "artists" else ""
    lines = [f"{source.name}, {format_count(source.n, 'track')}{over}"]
    for task in source.tasks:
        names = {
            key: name
            for key, name in SCORES[task.task].items()
            if any(system.scores.get(key) is not None for system in task.systems)
        }
        rows = [(TASK_NAMES[task.task].lower(), "n", *names.values())]
        rows += [
            (system.name, str(system.n), *(format_share(system.scores.get(key)) for key in names))
            for system in task.systems
        ]
        lines += ["", *align_columns(rows)]
        first = next(iter(names), "")
        lines += [
            f"{format_points(one.difference)} {names[first]} against {one.against} (p = {one.p_holm:.2g}, Holm)"
            for one in task.comparisons
            if one.metric == first
        ]
    remarks = [*source.notes, *(f"skipped {skip.id}: {skip.reason}" for skip in source.skips[:LISTED])]
    if (more := len(source.skips) - LISTED) > 0:
        remarks.append(f"skipped {more} more; all are in {FILE}")
    return [*lines, *(["", *remarks] if remarks else [])]
