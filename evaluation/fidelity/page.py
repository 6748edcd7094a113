"""Fidelity as a page, as a section of the report, and as a table for a terminal: all from fidelity.json."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from builder.io.atomic import write_text
from builder.names import format_count

from ..rendering.html_page import html_environment
from ..rendering.text_table import align_columns
from ..results.fidelity import FILE, Adherence, Copies, Fidelity, Figure
from .copies import NEAREST
from .duplicate_pairs import pairs_file

PAGE = "fidelity.html"
LISTED = 5  # pairs in the terminal
TEMPLATE, SECTION = "fidelity.html.jinja", "section.html.jinja"


class SummaryRow(NamedTuple):
    """A metric as text."""

    name: str
    value: str
    interval: str
    n: str
    reading: str  # how to read it


def write_page(out: Path) -> Path:
    """Render `out`/fidelity.html from `out`/fidelity.json. The page works offline and has no script.

    Args:
        out: The folder of fidelity.json.

    Returns:
        The page's path.

    Raises:
        DataError: fidelity.json cannot be read.
    """
    write_text(out / PAGE, _render(TEMPLATE, Path(out), ""))
    return out / PAGE


def render_section(folder: Path, prefix: str) -> str:
    """Render fidelity.json as a section of another page, with all text escaped.

    Args:
        folder: The folder of fidelity.json.
        prefix: The path from the page to `folder`, such as "fidelity/".

    Raises:
        DataError: fidelity.json cannot be read.
    """
    return _render(SECTION, folder, prefix)


def _render(template: str, folder: Path, prefix: str) -> str:
    fidelity = Fidelity.read(folder / FILE)
    environment = html_environment(Path(__file__).parent)
    environment.filters |= {"figure": format_figure, "interval": format_interval, "number": format_number}
    return environment.get_template(template).render(
        fidelity=fidelity,
        prefix=prefix,
        rows=summarize(fidelity),
        nearest_file=NEAREST,
        tagged_reference=any(row.reference for row in fidelity.tagging.labels) if fidelity.tagging else False,
        duplicates=[
            ("Within the corpus", fidelity.within, pairs_file("corpus")),
            ("Between corpus and reference", fidelity.against, pairs_file("reference")),
        ],
    )


def format_number(value: float) -> str:
    """Format a number with four significant digits: "443.8", "0.0123", "1.2e-05"."""
    return f"{value:.4g}"


def format_figure(figure: Figure | None, share: bool = False) -> str:
    """Format a value, as a percentage if it is a share; a dash for None."""
    if figure is None:
        return "–"
    return f"{figure.value:.1%}" if share else format_number(figure.value)


def format_interval(figure: Figure | None, share: bool = False) -> str:
    """Format the 95 % interval of a value; "" if there is none."""
    if figure is None or figure.low is None or figure.high is None:
        return ""
    low, high = (f"{value:.1%}" if share else f"{value:.3g}" for value in (figure.low, figure.high))
    return f"[{low}, {high}]"


def summarize(fidelity: Fidelity) -> list[SummaryRow]:
    """List all metrics of the whole sets as text."""
    rows: list[SummaryRow] = []

    def add(name: str, figure: Figure | None, reading: str, share: bool = False) -> None:
        if figure is not None:
            n = f"{figure.n:,}" + (f" / {figure.n_reference:,}" if figure.n_reference is not None else "")
            rows.append(SummaryRow(name, format_figure(figure, share), format_interval(figure, share), n, reading))

    frechet = fidelity.frechet
    distance = frechet.distance
    comparison = ""
    if frechet.reference_halves is not None:
        halves = f"between two halves of the reference ({frechet.reference_halves_n:,} clips each)"
        comparison = f"; {halves} it is {format_number(frechet.reference_halves)}"
    add("Fréchet distance", distance, f"0: equal means and covariances; falls with n{comparison}")
    if line := frechet.corpus_infinite:
        add(
            "Fréchet distance, infinite corpus",
            Figure(value=line.value, low=line.low, high=line.high, n=distance.n, n_reference=distance.n_reference),
            f"extrapolated from subsets, r² {line.r2:.3f}"
            + ("" if line.straight else "; the line does not fit well: a rough estimate"),
        )
    add("Fréchet distance, both infinite", frechet.both_infinite, "extrapolated for both sets")
    add("Kernel distance (Gaussian)", fidelity.kernel.rbf, "0: equal distributions; does not depend on n")
    add("Kernel distance (cubic)", fidelity.kernel.polynomial, "as the kernel inception distance, not scaled")
    if manifold := fidelity.manifold:
        add("Precision", manifold.precision, "clips within the distribution of real music", True)
        add("Recall", manifold.recall, "recordings within the distribution of the corpus", True)
        add("Density", manifold.density, "1: clips are as dense as real music")
        add("Coverage", manifold.coverage, "recordings with a clip in their neighbourhood", True)
    diversity = fidelity.diversity
    add("Vendi score, corpus", Figure(value=diversity.corpus, n=diversity.n), "effective number of different clips")
    add("Vendi score, reference", Figure(value=diversity.reference, n=diversity.n), "the same of recordings")
    if test := fidelity.two_sample:
        reading = f"of a linear classifier of clips and recordings; 50 % is chance (p = {test.p_value:.2g})"
        add("Two-sample accuracy", test.accuracy, reading, True)
    if adherence := fidelity.adherence:
        add("Prompt adherence", adherence.accuracy, _describe_probe(adherence), True)
    if text_audio := fidelity.text_audio:
        shuffled = format_figure(text_audio.shuffled)
        add("Text-audio cosine", text_audio.similarity, f"with prompts of other clips it is {shuffled}")
        add("Own prompt nearer", text_audio.own_wins, "than the prompt of another clip; 50 % is chance", True)
    return rows


def _describe_probe(adherence: Adherence) -> str:
    if adherence.probe == "reference":
        accuracy = format_figure(adherence.probe_accuracy, True)
        return f"genre as predicted by a probe of real music, whose own accuracy is {accuracy}"
    return "genre as predicted by a probe of the corpus itself: whether genres differ, not whether they are right"


def format_table(fidelity: Fidelity) -> str:
    """Format all metrics, near-duplicates and genres as lines for a terminal."""
    head = ("metric", "value", "95 % interval", "n")
    lines = align_columns([head, *(row[:4] for row in summarize(fidelity))])
    for name, duplicates in (("within the corpus", fidelity.within), ("with the reference", fidelity.against)):
        count = f"{format_count(duplicates.pairs, 'pair')}, {duplicates.clips:,} of {duplicates.n:,} clips"
        lines.append(f"near-duplicates {name}: {count if duplicates.pairs else 'none'}")
    lines += _format_copies(fidelity.copies) if fidelity.copies else []
    for row in fidelity.genres:
        columns = (
            ("Fréchet", row.frechet, False), ("kernel", row.kernel, False), ("two-sample", row.two_sample, True),
            ("adherence", row.adherence, True),
        )  # fmt: skip
        cells = [f"{name} {format_figure(figure, share)}" for name, figure, share in columns if figure is not None]
        lines.append(f"{row.genre} (n = {row.n} / {row.n_reference}): {', '.join(cells) or 'too few clips'}")
    if fidelity.tagging and fidelity.tagging.labels:
        lines += [
            "",
            *align_columns(
                [("asked for", "ROC-AUC of its tags", "within genres", "reference", "n"), *_tag_rows(fidelity)]
            ),
        ]
    lines += [f"left out: {note}" for note in fidelity.left_out]
    return "\n".join(lines)


def _format_copies(copies: Copies) -> list[str]:
    """The closest pairs of clips and recordings, and how many are copies."""
    lines = []
    if copies.searched:
        lines.append(
            f"copies among the {copies.searched} clips nearest to a recording: {copies.copies} "
            f"(from {copies.threshold} landmarks in common)"
        )
    if copies.annotated:
        lines.append(
            f"copies by `annotate --with copies`: {copies.annotated.copies:,} of {copies.annotated.n:,} clips"
        )
    rows = [
        (pair.clip, pair.recording, f"{pair.similarity:.4f}", "–" if pair.landmarks is None else f"{pair.landmarks}",
         "copy" if pair.copy_found else "")
        for pair in copies.nearest[:LISTED]
    ]  # fmt: skip
    return ["", *lines, *align_columns([("clip", "nearest recording", "cosine", "landmarks", ""), *rows]), ""]


def _tag_rows(fidelity: Fidelity) -> list[tuple[str, ...]]:
    """Prompt adherence by tags as cells of a table."""
    assert fidelity.tagging is not None
    return [
        (
            f"{row.column}: {row.label}",
            *(" ".join([format_figure(figure, True), format_interval(figure, True)]) for figure in figures),
            f"{row.asked:,} / {row.auc.n:,}",
        )
        for row in fidelity.tagging.labels
        for figures in [(row.auc, row.within_genres, row.reference)]
    ]
