"""Near-duplicates to read and to hear: `duplicates.jsonl`, and the nearest pairs as players."""

from __future__ import annotations

import json
from pathlib import Path

from builder.audio import encode_flac, load_audio
from builder.errors import DataError
from builder.io.atomic import write_bytes, write_text

from .duplicates import Duplicates
from .figures import Pair
from .sets import Embedded

LISTED, PLAYED = 100, 8  # pairs in fidelity.json, and those of them that can be heard
RATE, SECONDS = 32_000, 10
ASSETS = "assets"


def pairs_file(kind: str) -> str:
    """Where all pairs stand, one JSON object a line; `kind` is what they were sought in: "corpus" or "reference"."""
    return f"duplicates-{kind}.jsonl"


def write_pairs(out: Path, kind: str, found: Duplicates, left: Embedded, right: Embedded) -> None:
    """Write every pair, nearest first: ids and cosine."""
    lines = (
        json.dumps(
            {"left": left.ids[a], "right": right.ids[b], "similarity": round(float(cosine), 7)}, ensure_ascii=False
        )
        for (a, b), cosine in zip(found.pairs.tolist(), found.cosines, strict=True)
    )
    write_text(out / pairs_file(kind), "".join(f"{line}\n" for line in lines))


def players(out: Path, found: Duplicates, left: Embedded, right: Embedded) -> list[Pair]:
    """The nearest pairs; of the first eight that can be read, ten seconds of both as FLAC under `out`/assets."""
    shown = found.pairs[:LISTED].tolist()
    heard = found.pairs[:PLAYED].tolist()
    sounds = [
        side.sound(list({side.ids[pair[place]] for pair in heard})) if heard else {}
        for place, side in enumerate((left, right))
    ]
    listed = []
    for number, ((a, b), cosine) in enumerate(zip(shown, found.cosines, strict=False)):
        audio = None
        if number < PLAYED:
            kind = "copy" if found.within else "real"
            files = [
                _excerpt(out, f"{kind}-{number + 1:02d}-{side}.flac", sounds[place].get(own.ids[clip]))
                for place, (side, own, clip) in enumerate((("a", left, a), ("b", right, b)))
            ]
            audio = (files[0], files[1]) if files[0] and files[1] else None
        listed.append(
            Pair(
                left=left.ids[a],
                right=right.ids[b],
                similarity=float(cosine),
                left_genre=left.labels[a],
                right_genre=right.labels[b],
                audio=audio,
            )
        )
    return listed


def _excerpt(out: Path, name: str, source: Path | bytes | None) -> str | None:
    """The first ten seconds as a file of our own name; None where the clip is not at hand or cannot be read."""
    if source is None:
        return None
    try:
        samples = load_audio(source, RATE)[: RATE * SECONDS]
    except DataError:
        return None
    write_bytes(out / ASSETS / name, encode_flac(samples, RATE))
    return f"{ASSETS}/{name}"
