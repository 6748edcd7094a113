"""The tables of an export, mirdata's index, and its README."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ...errors import DataError
from ...io.atomic import write_bytes, write_text
from ...io.markdown import FRONT, format_front_matter, parse_front_matter, read_card
from ...io.parquet_guard import FIX
from ..corpus import CARD, Corpus
from ..schema import COLUMNS
from .layouts import HOW_ANNOTATED, LAYOUTS

SEPARATOR = ";"  # between the names in a list
MISSING = re.compile(  # what pandas reads as a missing value, as a test checks
    r"#N/A( N/A)?|#NA|-?1\.#(IND|QNAN)|-?(NaN|nan)|<NA>|N/A|n/a|NA|NULL|null|None"
)
PROVENANCE = ("prompt_group", "generator", "generator_revision")  # not labels: "1" may be read as 1
TRUTH = frozenset(("true", "false"))
ABSENT = "none"  # in a column of text that is empty in one split
KEPT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # names that Windows reserves
PLAYED = {  # of the tables alone; the others are described with the columns of a corpus
    "played_tempo_bpm": "tempo as played, quarter notes a minute",
    "played_key": "key as played, tonic:mode",
    "played_time_signature": "time signature as played",
}


@dataclass(frozen=True)
class Clip:
    """One clip of an export: `file` is relative to its folder."""

    id: str
    split: str
    file: str


def write_tables(
    corpus: Corpus,
    layout: str,
    table: pa.Table,
    features: Any,
    clips: Sequence[Clip],
    written: Sequence[Mapping[str, tuple[str, str]]],
    root: Path,
) -> tuple[Path, ...]:
    """Write the tables and README.md of an export.

    Args:
        corpus: The corpus.
        layout: One of LAYOUTS.
        table: The rows of all clips, without audio.
        features: Its columns.
        clips: The clips in the same order, whose files are written.
        written: Their files: path and MD5, by kind.
        root: The folder of the export.

    Returns:
        The tables.
    """
    columns = {name: format_cells(table, features, name) for name in table.column_names if name not in ("id", "split")}
    ids, splits, files = ([getattr(clip, name) for clip in clips] for name in ("id", "split", "file"))
    texts = {"id": ids} | {name: cells for name, cells in columns.items() if not _is_number(features[name])}
    exact = layout == "audiofolder" and any(
        _is_misread(cells, splits) for name, cells in texts.items() if name not in PROVENANCE
    )
    if not exact:
        for cells in columns.values():
            _fill_empty_splits(cells, splits)
    index = root / f"{safe_name(str(corpus.parts()[-1].get('name') or 'corpus'))}_index.json"
    if layout != "audiofolder":
        listed = root / "metadata.csv"
        write_text(listed, _format_csv({"track_id": ids, "split": splits, "file": files} | columns))
        tables: list[Path] = [listed]
        if layout == "mirdata":
            write_text(index, _format_index(corpus, ids, written, listed))
            tables.append(index)
    else:
        tables = []
        for split in dict.fromkeys(splits):
            rows = [row for row, of in enumerate(splits) if of == split]
            all_columns = {"file_name": [file.removeprefix(f"{split}/") for file in files], "id": ids} | columns
            chosen = {name: [cells[row] for row in rows] for name, cells in all_columns.items()}
            kinds = ("csv", "parquet")[:: -1 if exact else 1]
            tables.append(root / split / f"metadata.{kinds[0]}")
            (root / split / f"metadata.{kinds[1]}").unlink(
                missing_ok=True
            )  # of another version: there must be one only
            if exact:
                numbers = {name: table[name].take(rows) for name in columns if _is_number(features[name])}
                write_bytes(tables[-1], _write_parquet(chosen | numbers))
            else:
                write_text(tables[-1], _format_csv(chosen))
    how = LAYOUTS[layout].about.format(index=index.name, table=tables[0].name)
    if annotated := [kind for kind in LAYOUTS[layout].files if any(kind in files for files in written)]:
        how += f" Annotations are exact: {'; '.join(HOW_ANNOTATED[kind] for kind in annotated)}."
    write_text(root / CARD, _format_readme(corpus, how, list(columns), len(clips)))
    return tuple(tables)


def _format_index(
    corpus: Corpus, ids: Sequence[str], written: Sequence[Mapping[str, tuple[str, str]]], listed: Path
) -> str:
    """mirdata's index. Each track has every kind of file; one that it lacks is [null, null]."""
    kinds = list(dict.fromkeys(kind for files in written for kind in files))
    tracks = {
        id: {kind: list(files.get(kind, (None, None))) for kind in kinds}
        for id, files in zip(ids, written, strict=True)
    }
    sums = hashlib.md5(listed.read_bytes(), usedforsecurity=False).hexdigest()
    content = {"version": corpus.fingerprint, "tracks": tracks, "metadata": {"metadata": [listed.name, sums]}}
    return json.dumps(content, indent=1)


def safe_name(text: str) -> str:
    """Make a file name of any text, a different one for each.

    Letters, digits, ., - and _ are kept. A text with other characters also gets a hash.
    """
    if KEPT.fullmatch(text) and not DEVICES.fullmatch(text) and not text.endswith("."):
        return text
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", text)[:100].strip("_") or "clip"
    return f"{plain}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


def format_cells(table: pa.Table, features: Any, column: str) -> list[str]:
    """Format a column as the cells of a table.

    Args:
        table: The rows.
        features: Their `datasets.Features`.
        column: Name of the column.

    Returns:
        One cell a row: classes by name, lists separated by `;`, null as an empty cell. Integers are written as floats
        (`120.0`) if one of them is null.

    Raises:
        DataError: A name in a list contains `;`, or a label is not the number of a class.
    """
    from datasets import ClassLabel

    kind = features[column]
    inner = getattr(kind, "feature", None)
    named = kind if isinstance(kind, ClassLabel) else inner if isinstance(inner, ClassLabel) else None

    def format_cell(value: Any) -> str:
        if value is None or (named is not None and value == -1):
            return ""
        if isinstance(value, list):
            parts = [format_cell(item) for item in value]
            if unclear := next((part for part in parts if SEPARATOR in part), None):
                raise DataError(
                    f"{column}: the name {unclear!r} contains {SEPARATOR!r}, which separates names in a table",
                    "rename it in the taxonomy, and build again",
                )
            return SEPARATOR.join(parts)
        if named is not None:
            if not isinstance(value, int) or not 0 <= value < len(named.names):
                raise DataError(f"{column}: a label is {value!r:.60}, and there are {len(named.names)} names", FIX)
            return str(named.names[value])
        return str(np.float32(value)) if isinstance(value, float) else str(value)

    cells = [format_cell(value) for value in table[column].to_pylist()]
    if pa.types.is_integer(table[column].type) and named is None and "" in cells:
        cells = [
            f"{cell}.0" if cell else "" for cell in cells
        ]  # readers take them for floats where one is missing, so write all as floats
    return cells


def _fill_empty_splits(cells: list[str], splits: Sequence[str]) -> None:
    """Fill a column of text that is empty in one split, which would be read as numbers there."""
    filled = {split for split, cell in zip(splits, cells, strict=True) if cell}
    if filled and filled != set(splits) and not all(_is_numeric(cell) for cell in cells if cell):
        cells[:] = [cell or ABSENT for cell in cells]


def _is_numeric(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _is_number(kind: Any) -> bool:
    return str(getattr(kind, "dtype", "")).startswith(("int", "uint", "float")) and not hasattr(kind, "names")


def _is_misread(cells: Sequence[str], splits: Sequence[str]) -> bool:
    """Whether readers of CSV (pandas, `datasets`) take texts for missing values, numbers or truth values."""
    for split in set(splits):
        texts = {cell for cell, of in zip(cells, splits, strict=True) if of == split and cell}
        if any(map(MISSING.fullmatch, texts)) or (
            texts and (all(map(_is_numeric, texts)) or {text.lower() for text in texts} <= TRUTH)
        ):
            return True
    return False


def _write_parquet(columns: dict[str, Any]) -> bytes:
    """Texts, with null for empty cells, and numbers in their own types."""
    arrays = {
        name: pa.array([cell or None for cell in cells], pa.string()) if isinstance(cells, list) else cells
        for name, cells in columns.items()
    }
    buffer = io.BytesIO()
    pq.write_table(pa.table(arrays), buffer)
    return buffer.getvalue()


def _format_csv(columns: dict[str, list[str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()


def _format_readme(corpus: Corpus, how: str, columns: Sequence[str], clips: int) -> str:
    """README of the export: content, licence and columns, from the card and the record of the corpus."""
    card = read_card(corpus.root / CARD)
    license = (parse_front_matter(card) if FRONT.match(card) else {}).get("license") or "unknown"
    about = corpus.record().get("details", {}).get("generator", {}).get("about", "")
    rows = [f"| `{name}` | {(COLUMNS | PLAYED).get(name, '')} |" for name in columns]
    return "\n".join(
        [
            f"{format_front_matter({'license': license if isinstance(license, str | list) else str(license)})}\n"
            f"# {clips:,} clips of generated music\n",
            f"{about}\n\nExported from the corpus {corpus.fingerprint}. {how} An empty cell is a label that",
            f"the prompt does not give; names in a list are separated by `{SEPARATOR}`.\n",
            "| column | description |\n|---|---|",
            *rows,
            "",
        ]
    )
