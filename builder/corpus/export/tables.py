"""The tables of an export: cells that read alike everywhere, mirdata's index, and words on what it all is."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Sequence
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

SEPARATOR = ";"  # between the names of a list
MISSING = re.compile(  # what pandas takes for a missing value; a test asks it
    r"#N/A( N/A)?|#NA|-?1\.#(IND|QNAN)|-?(NaN|nan)|<NA>|N/A|n/a|NA|NULL|null|None"
)
PROVENANCE = ("prompt_group", "generator", "generator_revision")  # texts that are no labels: "1" may be read as 1
TRUTH = frozenset(("true", "false"))
ABSENT = "none"  # for a column that has words in one split and none at all in another
KEPT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # names that Windows keeps for itself
HOW = {
    "mirdata": "`{index}` is an index as mirdata's loaders have it: tracks, files, MD5. `metadata.csv` has the "
    "labels, by `track_id`.",
    "audiofolder": 'Each split has its `{table}`: `load_dataset("audiofolder", data_dir=...)` of `datasets` opens it.',
}


@dataclass(frozen=True)
class Clip:
    """One clip of an export: `file` is relative to its folder."""

    id: str
    split: str
    file: str


def write_tables(
    corpus: Corpus, layout: str, table: pa.Table, features: Any, clips: Sequence[Clip], md5: Sequence[str], root: Path
) -> tuple[Path, ...]:
    """Write tables and README.md of an export whose `clips` are there; `table` has their rows, without audio."""
    columns = {name: format_cells(table, features, name) for name in table.column_names if name not in ("id", "split")}
    ids, splits, files = ([getattr(clip, name) for clip in clips] for name in ("id", "split", "file"))
    texts = {"id": ids} | {name: cells for name, cells in columns.items() if not _is_number(features[name])}
    exact = layout == "audiofolder" and any(
        _is_misread(cells, splits) for name, cells in texts.items() if name not in PROVENANCE
    )
    if not exact:
        for cells in columns.values():
            _even(cells, splits)
    index = root / f"{safe_name(str(corpus.parts()[-1].get('name') or 'corpus'))}_index.json"
    if layout == "mirdata":
        listed = root / "metadata.csv"
        write_text(listed, _csv({"track_id": ids, "split": splits, "file": files} | columns))
        tracks = {id: {"audio": [file, sum]} for id, file, sum in zip(ids, files, md5, strict=True)}
        sums = hashlib.md5(listed.read_bytes(), usedforsecurity=False).hexdigest()
        content = {"version": corpus.fingerprint, "tracks": tracks, "metadata": {"metadata": [listed.name, sums]}}
        write_text(index, json.dumps(content, indent=1))
        tables = [listed, index]
    else:
        tables = []
        for split in dict.fromkeys(splits):
            rows = [row for row, of in enumerate(splits) if of == split]
            all_columns = {"file_name": [file.removeprefix(f"{split}/") for file in files], "id": ids} | columns
            chosen = {name: [cells[row] for row in rows] for name, cells in all_columns.items()}
            kinds = ("csv", "parquet")[:: -1 if exact else 1]
            tables.append(root / split / f"metadata.{kinds[0]}")
            (root / split / f"metadata.{kinds[1]}").unlink(missing_ok=True)  # another version's: two are one too many
            if exact:
                numbers = {name: table[name].take(rows) for name in columns if _is_number(features[name])}
                write_bytes(tables[-1], _parquet(chosen | numbers))
            else:
                write_text(tables[-1], _csv(chosen))
    write_text(
        root / CARD,
        _readme(corpus, HOW[layout].format(index=index.name, table=tables[0].name), list(columns), len(clips)),
    )
    return tuple(tables)


def safe_name(text: str) -> str:
    """A file name for any text, one for each: letters, digits, ., - and _ stay; what has others gets a hash, too."""
    if KEPT.fullmatch(text) and not DEVICES.fullmatch(text) and not text.endswith("."):
        return text
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", text)[:100].strip("_") or "clip"
    return f"{plain}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


def format_cells(table: pa.Table, features: Any, column: str) -> list[str]:
    """A column as the cells of a table: names for classes, names with ; between for lists, nothing for null."""
    from datasets import ClassLabel

    kind = features[column]
    inner = getattr(kind, "feature", None)
    named = kind if isinstance(kind, ClassLabel) else inner if isinstance(inner, ClassLabel) else None

    def word(value: Any) -> str:
        if value is None or (named is not None and value == -1):
            return ""
        if isinstance(value, list):
            parts = [word(one) for one in value]
            if unclear := next((part for part in parts if SEPARATOR in part), None):
                raise DataError(
                    f"{column}: the name {unclear!r} has a {SEPARATOR!r} in it, which stands between names in a table",
                    "rename it in the taxonomy, and build again",
                )
            return SEPARATOR.join(parts)
        if named is not None:
            if not isinstance(value, int) or not 0 <= value < len(named.names):
                raise DataError(f"{column}: a label is {value!r:.60}, and there are {len(named.names)} names", FIX)
            return str(named.names[value])
        return str(np.float32(value)) if isinstance(value, float) else str(value)

    cells = [word(value) for value in table[column].to_pylist()]
    if pa.types.is_integer(table[column].type) and named is None and "" in cells:
        cells = [f"{cell}.0" if cell else "" for cell in cells]  # with gaps they are read as floats: so everywhere
    return cells


def _even(cells: list[str], splits: Sequence[str]) -> None:
    """Let a column be read alike in every split: one without a word would be read as numbers."""
    filled = {split for split, cell in zip(splits, cells, strict=True) if cell}
    if filled and filled != set(splits) and not all(_number(cell) for cell in cells if cell):
        cells[:] = [cell or ABSENT for cell in cells]


def _number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _is_number(kind: Any) -> bool:
    return str(getattr(kind, "dtype", "")).startswith(("int", "uint", "float")) and not hasattr(kind, "names")


def _is_misread(cells: Sequence[str], splits: Sequence[str]) -> bool:
    """Whether readers of CSV, as pandas and `datasets`, take texts for missing values, numbers or truth values."""
    for split in set(splits):
        texts = {cell for cell, of in zip(cells, splits, strict=True) if of == split and cell}
        if any(map(MISSING.fullmatch, texts)) or (
            texts and (all(map(_number, texts)) or {text.lower() for text in texts} <= TRUTH)
        ):
            return True
    return False


def _parquet(columns: dict[str, Any]) -> bytes:
    """Texts as they are, null where a cell is empty; numbers in their own types."""
    arrays = {
        name: pa.array([cell or None for cell in cells], pa.string()) if isinstance(cells, list) else cells
        for name, cells in columns.items()
    }
    buffer = io.BytesIO()
    pq.write_table(pa.table(arrays), buffer)
    return buffer.getvalue()


def _csv(columns: dict[str, list[str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()


def _readme(corpus: Corpus, how: str, columns: Sequence[str], clips: int) -> str:
    """What the export is, under which licence, and what its columns hold: from the corpus's card and record."""
    card = read_card(corpus.root / CARD)
    license = (parse_front_matter(card) if FRONT.match(card) else {}).get("license") or "unknown"
    about = corpus.record().get("details", {}).get("generator", {}).get("about", "")
    rows = [f"| `{name}` | {COLUMNS.get(name, '').format(channels='audio')} |" for name in columns]
    return "\n".join(
        [
            f"{format_front_matter({'license': license if isinstance(license, str | list) else str(license)})}\n"
            f"# {clips:,} clips of generated music\n",
            f"{about}\n\nExported from the corpus {corpus.fingerprint}. {how} An empty cell is a label that the",
            f"prompt leaves open; names in a list have `{SEPARATOR}` between them.\n",
            "| column | what it holds |\n|---|---|",
            *rows,
            "",
        ]
    )
