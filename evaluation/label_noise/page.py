"""Label noise as a page, as a section of the report and as tables for a terminal: all from label_noise.json."""

from __future__ import annotations

from pathlib import Path

from builder.io.atomic import write_text

from ..rendering.html_page import html_environment
from ..rendering.text_table import align_columns
from ..results.label_noise import FILE, LabelNoise

PAGE = "label_noise.html"
TEMPLATE, SECTION = "label_noise.html.jinja", "section.html.jinja"
LISTED = 20  # clips, and pairs of labels


def write_page(out: Path) -> Path:
    """Render `out`/label_noise.html from `out`/label_noise.json, with players of the most doubtful clips.

    Raises:
        DataError: label_noise.json cannot be read.
    """
    write_text(out / PAGE, _render(TEMPLATE, out, ""))
    return out / PAGE


def render_section(folder: Path, prefix: str) -> str:
    """Render label_noise.json as a section of another page, with all text escaped.

    Args:
        folder: The folder of label_noise.json.
        prefix: The path from the page to `folder`, such as "label_noise/".

    Raises:
        DataError: label_noise.json cannot be read.
    """
    return _render(SECTION, folder, prefix)


def _render(template: str, folder: Path, prefix: str) -> str:
    noise = LabelNoise.read(folder / FILE)
    return html_environment(Path(__file__).parent).get_template(template).render(noise=noise, prefix=prefix, file=FILE)


def format_table(noise: LabelNoise) -> str:
    """Format the noise, the pairs of labels that are confused, and the most doubtful clips."""
    lines = [
        f"{noise.column} of {noise.n:,} clips on {noise.embedder}: {100 * noise.noise:.1f}% are estimated to be "
        f"wrong, {len(noise.doubtful):,} are doubtful (out-of-fold accuracy {100 * noise.accuracy:.1f}%)"
    ]
    if noise.unlabelled:
        lines.append(f"{noise.unlabelled:,} clips have no {noise.column}, and are left out")
    if noise.pairs:
        rows = [
            (pair.label, pair.actual, f"{100 * pair.share:.1f}%", f"{pair.doubtful:,}")
            for pair in noise.pairs[:LISTED]
        ]
        lines += ["", *align_columns([(noise.column, "sounds like", "share", "doubtful clips"), *rows])]
    if noise.doubtful:
        clips = [
            (clip.id, f"{clip.label} {clip.probability:.2f}", f"{clip.predicted} {clip.predicted_probability:.2f}")
            for clip in noise.doubtful[:LISTED]
        ]
        lines += ["", *align_columns([("clip", "label", "sounds like"), *clips])]
        if (more := len(noise.doubtful) - LISTED) > 0:
            lines.append(f"and {more:,} more")
    return "\n".join(lines)
