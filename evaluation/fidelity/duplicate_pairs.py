"""Near-duplicates as files: all pairs as JSON Lines, and excerpts of the nearest pairs as FLAC."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from builder.io.atomic import write_text

from ..rendering.clip_excerpts import write_excerpt
from ..results import fidelity as results
from ..results.fidelity import Pair
from .duplicates import Duplicates
from .embedded_sets import EmbeddedSet

LISTED, PLAYED = 100, 8  # pairs in fidelity.json, and those of them with excerpts


def pairs_file(kind: str) -> str:
    """Return the name of the file with all pairs. `kind`: "corpus" within it, "reference" with the reference."""
    return f"duplicates-{kind}.jsonl"


def write_pairs(out: Path, kind: str, duplicates: Duplicates, left: EmbeddedSet, right: EmbeddedSet) -> None:
    """Write all pairs, nearest first: a JSON object with both ids and the cosine in each line.

    Args:
        out: The folder of results.
        kind: "corpus" for pairs within the corpus, "reference" for pairs with the reference.
        duplicates: The pairs.
        left: The set of each pair's first clip.
        right: The set of each pair's second clip; the same as `left` within a set.
    """
    lines = (
        json.dumps(
            {"left": left.ids[a], "right": right.ids[b], "similarity": round(float(cosine), 7)}, ensure_ascii=False
        )
        for (a, b), cosine in zip(duplicates.pairs.tolist(), duplicates.cosines, strict=True)
    )
    write_text(out / pairs_file(kind), "".join(f"{line}\n" for line in lines))


def summarize_duplicates(
    out: Path, duplicates: Duplicates, left: EmbeddedSet, right: EmbeddedSet, similarity: float | None
) -> results.Duplicates:
    """Count duplicates and list the nearest pairs.

    Args:
        out: The folder of fidelity.json.
        duplicates: The pairs.
        left: The set of the first clips.
        right: The set of the second clips.
        similarity: The cosine that the user gave in place of the threshold by chance.
    """
    groups = duplicates.groups() if duplicates.within else []
    if similarity is not None:
        rule = f"cosine of {similarity} or more"
    elif duplicates.ratio is not None:
        rule = (
            f"closer than {duplicates.ratio:.3g} of the local scale; by chance one pair is expected in a hundred "
            "such corpora"
        )
    else:
        rule = "equal embeddings"
    return results.Duplicates(
        pairs=len(duplicates.pairs),
        clips=len(duplicates.indices),
        spare=sum(len(group) - 1 for group in groups) if duplicates.within else None,
        largest_group=max((len(group) for group in groups), default=1) if duplicates.within else None,
        n=len(left),
        n_reference=None if duplicates.within else len(right),
        rule=rule,
        dimension=duplicates.dimension,
        ratio=duplicates.ratio,
        nearest_median=float(np.median(duplicates.nearest)),
        nearest_99=float(np.percentile(duplicates.nearest, 99)),
        listed=list_pairs(out, duplicates, left, right),
    )


def list_pairs(out: Path, duplicates: Duplicates, left: EmbeddedSet, right: EmbeddedSet) -> list[Pair]:
    """List the nearest pairs, and write excerpts of the first of them.

    Args:
        out: The folder of fidelity.json. Excerpts of ten seconds go to `assets/`.
        duplicates: The pairs.
        left: The set of the first clips.
        right: The set of the second clips.

    Returns:
        At most `LISTED` pairs. The first `PLAYED` have `audio` if both clips can be read.
    """
    pairs = duplicates.pairs[:LISTED].tolist()
    played = pairs[:PLAYED]
    left_audio = left.read_audio(list({left.ids[a] for a, _ in played})) if played else {}
    right_audio = right.read_audio(list({right.ids[b] for _, b in played})) if played else {}
    prefix = "copy" if duplicates.within else "real"
    listed = []
    for number, ((a, b), cosine) in enumerate(zip(pairs, duplicates.cosines, strict=False)):
        audio = None
        if number < PLAYED:
            first = write_excerpt(out, f"{prefix}-{number + 1:02d}-a.flac", left_audio.get(left.ids[a]))
            second = write_excerpt(out, f"{prefix}-{number + 1:02d}-b.flac", right_audio.get(right.ids[b]))
            audio = (first, second) if first and second else None
        listed.append(
            Pair(
                left=left.ids[a],
                right=right.ids[b],
                similarity=float(cosine),
                left_genre=left.genres[a],
                right_genre=right.genres[b],
                audio=audio,
            )
        )
    return listed
