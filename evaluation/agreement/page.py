"""Agreement as a section of the report and as tables for a terminal: all from agreement.json."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..rendering.html_page import html_environment
from ..rendering.text_table import align_columns
from ..results.agreement import FILE, Agreement, LabelAgreement, Word
from ..results.fidelity import Figure

SECTION = "agreement.html.jinja"
LISTED, CLEAR = 5, 0.05  # lines of a table; the adjusted p-value of a difference that the terminal lists
TITLES = {
    "tempo": "Tempo",
    "tempo_octave": "Tempo, any octave",
    "key": "Key",
    "key_score": "Key, weighted score",
    "genre": "Genre",
    "mood": "Mood",
    "vocals": "Vocals",
    "vocals_probability": "Vocals, probability",
    "instruments": "Instruments, probability of tags",
    "instruments_rank": "Instruments, place",
}


def render_section(folder: Path, prefix: str = "") -> str:
    """Render agreement.json as a section of another page, with all text escaped.

    Args:
        folder: The folder of agreement.json.
        prefix: The path from the page to `folder`, such as "agreement/".

    Raises:
        DataError: agreement.json cannot be read.
    """
    agreement = Agreement.read(folder / FILE)
    environment = html_environment(Path(__file__).parent)
    environment.filters |= {"figure": format_figure, "difference": format_difference}
    genres = sorted({genre for label in agreement.labels for genre in label.genres})
    return environment.get_template(SECTION).render(agreement=agreement, titles=TITLES, genres=genres, prefix=prefix)


def format_figure(figure: Figure | None, share: bool) -> str:
    """Format a value and its interval, as percentages if it is a share: "61.2% [58.0, 64.1]"."""
    if figure is None:
        return "–"
    scale = 100 if share else 1
    value = f"{scale * figure.value:.1f}%" if share else f"{figure.value:.3g}"
    if figure.low is None or figure.high is None:
        return value
    low, high = (f"{scale * bound:.1f}" if share else f"{bound:.3g}" for bound in (figure.low, figure.high))
    return f"{value} [{low}, {high}]"


def format_difference(figure: Figure) -> str:
    """Format a difference of shares: "+12.0 [4.1, 20.3]", in points."""
    low, high = (f"{100 * bound:+.1f}" for bound in (figure.low or 0, figure.high or 0))
    return f"{100 * figure.value:+.1f} [{low}, {high}]"


def format_table(agreement: Agreement) -> str:
    """Format all labels, genres and words as lines for a terminal."""
    head = ("asked for", "the estimate agrees", "n")
    rows: list[tuple[str, ...]] = [
        (TITLES[label.name], format_figure(label.all, label.share), f"{label.all.n:,}") for label in agreement.labels
    ]
    lines = align_columns([head, *rows])
    if truths := [label for label in agreement.labels if label.truth is not None]:
        lines += ["", *align_columns([("by exact annotations", "estimator right", "played as asked", "disagreements: "
                  "not played / misestimated"), *map(_truth_row, truths)])]  # fmt: skip
    for label in agreement.labels:
        cells = [f"{genre} {format_figure(figure, label.share)}" for genre, figure in label.genres.items()]
        if label.share and len(cells) > 1:
            lines.append(f"{TITLES[label.name]} by genre: {'; '.join(cells)}")
    if agreement.tags:
        rows = [
            (
                f"{row.column}: {row.label}, {row.against}",
                format_figure(row.auc, True),
                f"{row.positive:,} / {row.auc.n:,}",
            )
            for row in agreement.tags
        ]
        lines += ["", *align_columns([("label", "ROC-AUC of its tags", "n"), *rows])]
    for label in agreement.labels:
        if label.share and label.words:
            lines.append(
                f"{TITLES[label.name]}, words with more or less (points; {label.words_tested} tested): "
                f"{_list_differences(label.words)}"
            )
        if clear := [row for row in label.subgenre_differences if row.p_holm is not None and row.p_holm < CLEAR]:
            lines.append(
                f"{TITLES[label.name]}, sub-genres with more or less (points; {len(label.subgenre_differences)} "
                f"tested): {_list_differences(clear)}"
            )
    if agreement.disagreeing:
        rows = [(clip.id, ", ".join(TITLES[name] for name in clip.labels)) for clip in agreement.disagreeing[:LISTED]]
        lines += ["", *align_columns([("clip", "disagrees with"), *rows])]
    return "\n".join(lines)


def _list_differences(rows: Sequence[Word]) -> str:
    """The largest differences with their adjusted p-values, on one line."""
    return ", ".join(
        f"{row.word} {format_difference(row.difference)}" + ("" if row.p_holm is None else f" p = {row.p_holm:.2g}")
        for row in rows[:LISTED]
    )


def _truth_row(label: LabelAgreement) -> tuple[str, ...]:
    assert label.truth is not None
    truth = label.truth
    return (
        TITLES[label.name],
        format_figure(truth.estimator, label.share),
        format_figure(truth.generator, label.share),
        f"{truth.not_played:,} / {truth.misestimated:,}",
    )
