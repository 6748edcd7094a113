"""The configs `annotations` and `stems`, written beside the shards of a corpus."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import soundfile

from builder.annotations.annotation import STEMS, Annotation, annotation_features
from builder.corpus.schema import stem_features
from builder.corpus.shards import write_shard

from .annotations.test_annotation import make_annotation


def annotate(id: str, number: int) -> Annotation:
    """Each clip its own; the first has no sections, the second nothing but beats."""
    whole = replace(make_annotation(), id=id, duration=1.0, tempo_bpm=100.0 + number, midi=None)
    assert whole.melody is not None
    if number == 1:
        return Annotation(id, 1.0, beats=whole.beats, positions=whole.positions)
    return replace(whole, melody=whole.melody[:100], sections=None if number == 0 else whole.sections)


def split_stems(audio: bytes, number: int) -> dict[str, np.ndarray]:
    """Stems that add up to a clip. The second clip has drums alone."""
    samples, _ = soundfile.read(io.BytesIO(audio), dtype="int16")
    if number == 1:
        return {"drums": samples}
    noise = np.random.default_rng(number).integers(-2000, 2000, (4, len(samples))).astype(np.int16)
    parts = dict(zip(("drums", "bass", "harmony", "vocals"), noise, strict=True))
    return parts | {"melody": samples - noise.sum(0).astype(np.int16)}


def to_flac(samples: np.ndarray, rate: int = 32_000) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def add_configs(corpus: Path) -> None:
    """Write `annotations` and `stems` beside the shards of `data`."""
    lines, number = [], 0
    for shard in sorted((corpus / "data").glob("*.parquet")):
        annotations, stems = [], []
        for row in pq.read_table(shard, columns=["id", "audio"]).to_pylist():
            annotations.append(annotate(row["id"], number).to_row())
            rate = soundfile.info(io.BytesIO(row["audio"]["bytes"])).samplerate
            stems += [
                {
                    "id": row["id"],
                    "stem": STEMS.index(stem),
                    "audio": {"bytes": to_flac(samples, rate), "path": "a.flac"},
                }
                for stem, samples in split_stems(row["audio"]["bytes"], number).items()
            ]
            number += 1
        for config, rows, features in (
            ("annotations", annotations, annotation_features()),
            ("stems", stems, stem_features()),
        ):
            path = corpus / config / shard.name
            path.parent.mkdir(exist_ok=True)
            write_shard(path, [rows], features, {})
            lines.append(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {config}/{shard.name}\n")
    with (corpus / "SHA256SUMS").open("a") as sums:
        sums.writelines(lines)
