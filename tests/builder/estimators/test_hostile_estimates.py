"""Estimates that were changed by hand or damaged: `verify` finds them, and readers fail with a clear error."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from datasets import Features, Value

from builder.corpus.building.build import build
from builder.corpus.corpus import Corpus, write_sums
from builder.corpus.shards import read_footer, write_shard
from builder.corpus.verify import verify
from builder.errors import DataError
from builder.estimators.agreement import iterate_compared_rows
from builder.estimators.annotate_corpus import annotate_corpus

from .. import fakes

fakes.register()
SHARD = "estimates/train-00001-of-00003.parquet"
IDS = "its ids are not those of data/train"
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def annotated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    build(fakes.small_recipe(folder, per_genre=5), folder / "corpus", clips_per_shard=8, workers=1)
    annotate_corpus(folder / "corpus", ["tempo", "key"])
    assert verify(folder / "corpus").faults == []
    return folder / "corpus"


@pytest.fixture
def corpus(annotated: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(annotated, tmp_path / "corpus"))


def rewrite(
    root: Path,
    change: Callable[[Rows], Rows],
    types: dict[str, Any] | None = None,
    footer: dict[str, Any] | None = None,
) -> None:
    """Write a shard of estimates again with changed rows, and list its new hash."""
    shard = root / SHARD
    features = Features.from_arrow_schema(pq.read_schema(shard))
    rows = change(pq.read_table(shard).to_pylist())
    write_shard(shard, [rows], Features(features | (types or {})), read_footer(shard) | (footer or {}))
    write_sums(root, {})


def set_value(column: str, value: Any) -> Callable[[Rows], Rows]:
    return lambda rows: [row | {column: value} for row in rows]


@pytest.mark.parametrize(
    ("change", "types", "fault", "read"),
    [
        pytest.param(
            set_value("tempo", "fast"), {"tempo": Value("string")}, "tempo has another type than in estimates/train",
            "not a shard of estimates: TypeError", id="wrong type",
        ),
        pytest.param(
            set_value("tempo", float("nan")), {}, "tempo: has values that are NaN or infinite", None, id="NaN"
        ),
        pytest.param(
            set_value("tempo_alternatives", [{"bpm": float("inf"), "confidence": 0.5}]), {},
            "tempo_alternatives: has values that are NaN or infinite", None, id="infinite in a list",
        ),
        pytest.param(set_value("key", "H minor"), {}, None, "not a shard of estimates: ", id="no key"),
        pytest.param(lambda rows: rows[:-1], {}, IDS, "its ids are not", id="missing"),
        pytest.param(
            lambda rows: [*rows[:-1], rows[0]], {}, IDS, "its ids are not", id="twice"
        ),
        pytest.param(
            lambda rows: [*rows, rows[0]], {}, IDS, "its ids are not", id="one more"
        ),
        pytest.param(
            set_value("colour", "red"), {"colour": Value("string")}, "its columns are not those", None, id="a column"
        ),
    ],
)  # fmt: skip
def test_changed_rows_are_found(
    corpus: Path, change: Callable[[Rows], Rows], types: dict[str, Any], fault: str | None, read: str | None
) -> None:
    rewrite(corpus, change, types)
    if fault is not None:
        found = [line for line in verify(corpus).faults if line.startswith(SHARD)]
        assert any(fault in line for line in found), found
    if read is not None:
        with pytest.raises(DataError, match=read) as caught:
            list(iterate_compared_rows(corpus))
        assert "train-00001-of-00003.parquet" in caught.value.message and caught.value.fix
    else:
        assert len(list(iterate_compared_rows(corpus))) == 25


def test_shard_of_another_revision_is_found_and_made_again(corpus: Path) -> None:
    rewrite(corpus, lambda rows: rows, footer={"estimators": {"tempo": "0", "key": "1"}})
    (fault,) = verify(corpus).faults
    assert fault.startswith(f"{SHARD}: is of other estimators") and f"synthmir annotate {corpus}" in fault
    before = pq.read_table(corpus / SHARD)
    annotate_corpus(corpus)
    assert verify(corpus).faults == [] and pq.read_table(corpus / SHARD).equals(before)


@pytest.mark.parametrize("damage", ["cut", "text"])
def test_damaged_shard_is_found_and_made_again(corpus: Path, damage: str) -> None:
    data = (corpus / SHARD).read_bytes()
    changed = {"cut": data[: len(data) // 2], "text": b"no Parquet"}[damage]
    (corpus / SHARD).write_bytes(changed)
    assert any(SHARD in fault for fault in verify(corpus).faults)
    write_sums(corpus, {})  # whoever damaged it listed its hash, too
    assert any(fault.startswith(f"{SHARD}: cannot be read") for fault in verify(corpus).faults)
    with pytest.raises(DataError, match="train-00001-of-00003"):
        list(iterate_compared_rows(corpus))
    annotate_corpus(corpus)
    assert verify(corpus).faults == [] and len(list(iterate_compared_rows(corpus))) == 25


def test_missing_shard_is_counted(corpus: Path) -> None:
    (corpus / SHARD).unlink()
    write_sums(corpus, {})
    assert any("lacks the clips of 1 shard(s)" in fault for fault in verify(corpus).faults)
    with pytest.raises(DataError, match="1 shard\\(s\\) of its clips have no estimates yet"):
        list(iterate_compared_rows(corpus))
    assert Corpus.open(corpus).shards("estimates") != []
