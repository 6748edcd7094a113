"""Label noise as tables for a terminal: all from label_noise.json."""

from __future__ import annotations

from ..rendering.text_table import align_columns
from ..results.label_noise import LabelNoise

LISTED = 20  # clips, and pairs of labels


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
