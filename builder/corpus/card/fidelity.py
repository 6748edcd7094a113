"""`fidelity.json` of a corpus: its measurements, and the state of the corpus that each was made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from ...errors import DataError
from ...io.atomic import write_text
from ...io.storage import delete_file, open_for_arrow
from ..shards import read_footer
from .measurement import Measurement, Measurements, read_fidelity_json, validate

FIDELITY = "fidelity.json"


def read_fidelity(root: Path) -> list[Measurement]:
    """Read the measurements of a corpus that are of its present audio and embeddings.

    Args:
        root: The corpus folder.

    Returns:
        The measurements, real music before the corpus's own validation split.

    Raises:
        DataError: The file is damaged.
    """
    path = root / FIDELITY
    if not path.exists():
        return []
    try:
        content = validate(Measurements, read_fidelity_json(path), path)
    except DataError as error:
        raise DataError(error.message, f"delete {path}, then measure again: synthmir fidelity") from None
    measurements = sorted(content.measurements, key=lambda measurement: measurement.key)
    embedders = {measurement.embedder.name for measurement in measurements}
    states = {name: digest_shards(root, "data", name) for name in embedders}
    return [measurement for measurement in measurements if measurement.of == states[measurement.embedder.name]]


def drop_stale_measurements(root: Path) -> list[Measurement]:
    """Remove measurements of an earlier state of the corpus from its file; returns those that remain."""
    measurements, path = read_fidelity(root), root / FIDELITY
    if not measurements:
        delete_file(path)
    elif (content := format_fidelity(measurements)) != path.read_text(encoding="utf-8"):
        write_text(path, content)
    return measurements


def format_fidelity(measurements: Iterable[Measurement]) -> str:
    """The content of `fidelity.json` with these measurements."""
    ordered = sorted(measurements, key=lambda measurement: measurement.key)
    document = {"schema": 1, "measurements": [measurement.model_dump(mode="json") for measurement in ordered]}
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def digest_shards(root: Path, *configs: str) -> str:
    """Digest the footers of a corpus's shards, so that what was computed from them can be recognised as stale.

    Args:
        root: The corpus folder.
        configs: Folders of shards: "data", or an embedder's.

    Returns:
        16 hexadecimal digits, "" if one of the folders has no shard.
    """
    parts: list[Any] = []
    for config in configs:
        paths = sorted((root / config).glob("*.parquet"))
        if not paths:
            return ""
        for path in paths:
            footer, rows = read_footer(path), pq.read_metadata(open_for_arrow(path)).num_rows
            origin = [footer.get(key) for key in ("fingerprint", "source_sha256", "revision")]
            parts.append([config, path.name, rows, *origin])
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
