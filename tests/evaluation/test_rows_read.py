"""How many rows of embeddings and labels an evaluation and a report read: the validation split, and nothing else."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from builder.settings import EvaluationSettings
from evaluation.evaluate import evaluate_model
from evaluation.reporting.report import write_report

VALIDATION = 9  # rows of the corpus's validation split; its train split has 18


@pytest.fixture
def rows_read(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Rows read from Parquet files, by column."""
    rows: Counter[str] = Counter()
    read_table = pq.read_table

    def count(*args: Any, **options: Any) -> Any:
        table = read_table(*args, **options)
        rows.update(dict.fromkeys(table.column_names, len(table)))
        return table

    monkeypatch.setattr(pq, "read_table", count)
    return rows


@pytest.mark.parametrize("kind", ["model", "tagger"])
def test_rows_of_an_evaluation_and_a_report(
    kind: str, request: pytest.FixtureRequest, corpus: Path, tmp_path: Path, rows_read: Counter[str]
) -> None:
    model = request.getfixturevalue(kind)
    rows_read.clear()
    evaluate_model(model, ["validation"], tmp_path, corpus, EvaluationSettings(bootstrap=100))
    assert rows_read["embedding"] == VALIDATION
    assert rows_read["genre" if kind == "model" else "instruments"] == VALIDATION
    assert rows_read["prompt_group"] == 0
    rows_read.clear()
    write_report(tmp_path, model, corpus)
    assert rows_read["embedding"] == (VALIDATION if kind == "model" else 0)  # a map is drawn of single labels
