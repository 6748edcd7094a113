"""What the schema of a Parquet file says of its columns, as `datasets` writes it there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from ..errors import DataError
from .parquet_guard import FIX
from .safe_files import parse_json

if TYPE_CHECKING:
    from datasets import Features


def features_from_schema(schema: pa.Schema, path: Path | str) -> Features:
    """Return the columns as `datasets` describes them.

    Args:
        schema: Of a file, whose metadata may hold the description as JSON.
        path: The file, for the message.

    Raises:
        DataError: If the description is invalid.
    """
    from datasets import Features

    try:
        return Features.from_arrow_schema(schema)
    except Exception as error:  # of any class: the JSON is untrusted
        raise DataError(f"{path}: its columns are not described as `datasets` does: {error!r:.200}", FIX) from error


def read_label_names(metadata: dict[bytes, bytes] | None) -> dict[str, list[str]]:
    """Read the class names of the label columns, also of lists of labels, from the metadata of a schema.

    Returns:
        {column: names}. What is missing or invalid is left out.
    """
    try:
        columns = parse_json((metadata or {})[b"huggingface"])["info"]["features"].items()
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}
    labels = {}
    for column, feature in columns:
        inner = feature.get("feature", feature) if isinstance(feature, dict) else None
        names = inner.get("names") if isinstance(inner, dict) else None
        if isinstance(names, list) and names:
            labels[column] = [str(name) for name in names]
    return labels
