"""The clips whose estimates disagree with most of what was asked for, with excerpts to play."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from builder.configs import AUDIO
from builder.corpus.corpus import Corpus
from builder.embedders.embedded_dataset import open_dataset
from builder.estimators.agreement import SHARES

from ..rendering.clip_excerpts import write_excerpt
from ..results import agreement as results
from .rows import ClipTable

PLAYED = 12
COUNTED = [name for name in SHARES if name != "tempo_octave"]  # which disagrees only where the tempo does


def list_disagreeing(corpus: Corpus, clips: ClipTable, out: Path) -> list[results.DisagreeingClip]:
    """List the clips with most labels that disagree, of equal ones those with fewer that agree first.

    Args:
        corpus: The corpus.
        clips: Its clips.
        out: The folder of agreement.json, which gets the excerpts.
    """
    values = np.array([clips.agrees[name] for name in COUNTED], np.float64)
    wrong, compared = (values == 0).sum(axis=0), (~np.isnan(values)).sum(axis=0)
    order = np.lexsort((compared, -wrong))
    chosen = [row for row in order[:PLAYED].tolist() if wrong[row]]
    audio = open_dataset(corpus.root, AUDIO).audio([clips.ids[row] for row in chosen]) if chosen else {}
    return [
        results.DisagreeingClip(
            id=clips.ids[row],
            genre=clips.genres[row],
            prompt=clips.prompts[row],
            labels=[name for name, value in zip(COUNTED, values[:, row], strict=True) if value == 0],
            compared=int(compared[row]),
            audio=write_excerpt(out, f"disagreeing-{place:02d}.flac", audio.get(clips.ids[row])),
        )
        for place, row in enumerate(chosen, 1)
    ]
