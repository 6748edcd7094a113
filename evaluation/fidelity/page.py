"""fidelity.html, the part of it that other pages take over, and the table for a terminal: all from fidelity.json."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from builder.io.atomic import write_text

from ..rendering.html_page import html_environment
from ..rendering.text_table import align_columns
from .excerpts import pairs_file
from .figures import FILE, Adherence, Fidelity, Figure

PAGE = "fidelity.html"
TEMPLATE, SECTION = "fidelity.html.jinja", "section.html.jinja"


def section(folder: Path | str, prefix: str = "") -> dict[str, Any]:
    """What `section.html.jinja` needs, from the fidelity.json in `folder`; `prefix` leads from the page to there.

    The template expects the filters of `filters()` and, around it, the style of the other pages.
    """
    fidelity = Fidelity.read(Path(folder) / FILE)
    return {
        "fidelity": fidelity,
        "prefix": prefix,
        "rows": summary(fidelity),
        "copies": [
            ("In the corpus itself", "corpus", fidelity.within, pairs_file("corpus")),
            ("Against the reference", "reference", fidelity.against, pairs_file("reference")),
        ],
    }


def write_page(out: Path) -> Path:
    """Render `out`/fidelity.html from `out`/fidelity.json. It opens from disk, asks no network and runs no script."""
    write_text(out / PAGE, _render(TEMPLATE, section(out)))
    return out / PAGE


def render_section(folder: Path, prefix: str) -> str:
    """The part that other pages take over, as HTML with every text escaped; `prefix` leads from the page to there."""
    return _render(SECTION, section(folder, prefix))


def _render(template: str, context: dict[str, Any]) -> str:
    environment = html_environment(Path(__file__).parent)
    environment.filters |= filters()
    return environment.get_template(template).render(**context)


def filters() -> dict[str, Callable[..., str]]:
    """The template's filters."""
    return {"figure": told, "bounds": bounds, "number": number}


def number(value: float) -> str:
    """Four figures, small ones as powers of ten: "443.8", "0.0123", "1.2e-05"."""
    return f"{value:.4g}"


def told(figure: Figure | None, share: bool = False) -> str:
    """A figure in words, a dash for none."""
    if figure is None:
        return "–"
    return f"{figure.value:.1%}" if share else number(figure.value)


def bounds(figure: Figure | None, share: bool = False) -> str:
    """Its interval, nothing where there is none."""
    if figure is None or figure.low is None or figure.high is None:
        return ""
    low, high = (f"{value:.1%}" if share else f"{value:.3g}" for value in (figure.low, figure.high))
    return f"[{low}, {high}]"


def summary(fidelity: Fidelity) -> list[tuple[str, str, str, str, str]]:
    """Name, value, interval, n, and how to read it."""

    def row(name: str, figure: Figure | None, reading: str, share: bool = False) -> None:
        if figure is not None:
            n = f"{figure.n:,}" + (f" / {figure.n_reference:,}" if figure.n_reference is not None else "")
            rows.append((name, told(figure, share), bounds(figure, share), n, reading))

    rows: list[tuple[str, str, str, str, str]] = []
    frechet = fidelity.frechet
    whole = frechet.distance
    yardstick = ""
    if frechet.reference_halves is not None:
        halves = f"two halves of the reference ({frechet.reference_halves_n:,} clips each)"
        yardstick = f"; {halves} are {number(frechet.reference_halves)} apart"
    row("Fréchet distance", whole, f"0 is the same; falls with n{yardstick}")
    if limit := frechet.corpus_infinite:
        guide = "" if limit.straight else "; the line does not fit well here: a rough guide"
        row(
            "Fréchet distance, endless corpus",
            Figure(value=limit.value, low=limit.low, high=limit.high, n=whole.n, n_reference=whole.n_reference),
            f"line through subsets, r² {limit.r2:.3f}{guide}",
        )
    if frechet.both_infinite is not None:
        row(
            "Fréchet distance, both endless", frechet.both_infinite, "what would be left if neither side were a sample"
        )
    row("Kernel distance (Gaussian)", fidelity.kernel.rbf, "0 is the same; does not depend on n")
    row("Kernel distance (cubic)", fidelity.kernel.polynomial, "as in the kernel inception distance, not scaled")
    if manifold := fidelity.manifold:
        row("Precision", manifold.precision, "clips that lie where real music lies", True)
        row("Recall", manifold.recall, "recordings that lie where clips lie", True)
        row("Density", manifold.density, "1 where clips are as dense as real music")
        row("Coverage", manifold.coverage, "recordings with a clip in their neighbourhood", True)
    diverse = fidelity.diversity
    row("Vendi score, corpus", Figure(value=diverse.corpus, n=diverse.n), "effective number of different clips")
    row("Vendi score, reference", Figure(value=diverse.reference, n=diverse.n), "the same, of recordings")
    if test := fidelity.two_sample:
        told_apart = f"told from recordings by a linear classifier; 50 % is not at all (p = {test.p_value:.2g})"
        row("Told apart", test.accuracy, told_apart, True)
    if probe := fidelity.adherence:
        row("Prompt adherence", probe.accuracy, _probe(probe), True)
    if text := fidelity.text_audio:
        row("Text-audio cosine", text.similarity, f"with prompts of others {told(text.shuffled)}")
        row("Own prompt nearer", text.own_wins, "than another clip's; 50 % is chance", True)
    return rows


def _probe(probe: Adherence) -> str:
    if probe.probe == "reference":
        return f"heard as asked by a probe of real music, itself right on {told(probe.probe_accuracy, True)} of it"
    return "told apart by a probe of the corpus itself: that genres differ, not that they are right"


def table(fidelity: Fidelity) -> str:
    """The figures as lines for a terminal."""
    rows = [("what", "value", "95 % interval", "n"), *(row[:4] for row in summary(fidelity))]
    lines = align_columns(rows)
    for name, found in (("the corpus", fidelity.within), ("the reference", fidelity.against)):
        told_pairs = f"{found.pairs:,} pair(s), {found.clips:,} of {found.n:,} clips" if found.pairs else "none"
        lines.append(f"near-duplicates with {name}: {told_pairs}")
    for row in fidelity.genres:
        cells = [
            f"{name} {told(figure, share)}"
            for name, figure, share in (
                ("Fréchet", row.frechet, False), ("kernel", row.kernel, False), ("told apart", row.two_sample, True),
                ("as asked", row.adherence, True),
            ) if figure is not None
        ]  # fmt: skip
        lines.append(f"{row.genre} (n = {row.n} / {row.n_reference}): {', '.join(cells) or 'no figure'}")
    lines += [f"left out: {note}" for note in fidelity.left_out]
    return "\n".join(lines)
