"""Two corpora compared."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from evaluation.explorer.clip_table import Clips
from evaluation.explorer.comparison import compare_corpora


def test_a_corpus_compared_with_itself(corpus: Path):
    comparison = compare_corpora(Clips.open(corpus), Clips.open(corpus))
    assert (comparison.labels["this"] == comparison.labels["other"]).all()
    assert comparison.labels.set_index(["column", "label"])["this"]["genre", "Rock"] == pytest.approx(1 / 3)
    assert comparison.labels.set_index(["column", "label"])["this"]["instruments", "drums"] == pytest.approx(2 / 3)
    tempo = comparison.levels.set_index("column").loc["tempo_bpm"]
    assert tempo["this median"] == tempo["other median"] == 120
    values = dict(zip(comparison.distances["metric"], comparison.distances["value"], strict=True))
    assert values["Fréchet distance"] == pytest.approx(0, abs=1e-3)
    assert values["Precision"] == values["Recall"] == 1
    assert comparison.map_points is not None and comparison.map_points.shape == (54, 2)
    assert comparison.side.tolist() == [0] * 27 + [1] * 27 and comparison.positions.tolist() == [
        *range(27),
        *range(27),
    ]


def test_embeddings_of_two_embedders_are_not_compared(corpus: Path, corpus_copy: Path, tmp_path: Path):
    other = Path(shutil.copytree(corpus, tmp_path / "other"))
    (corpus_copy / "melstats").rename(corpus_copy / "passt")
    comparison = compare_corpora(Clips.open(corpus), Clips.open(corpus_copy))
    assert "melstats and of passt cannot be compared" in comparison.reason
    assert comparison.map_points is None and comparison.distances.empty and len(comparison.labels) > 0
    (corpus_copy / "passt").rename(corpus_copy / "melstats")
    for folder, revision in ((corpus_copy, "1"), (other, "2")):
        record = {"details": {"embedder": {"name": "melstats", "revision": revision}}}
        (folder / "records/embed-melstats.json").write_text(json.dumps(record))
    assert "two revisions of melstats (1, 2)" in compare_corpora(Clips.open(corpus_copy), Clips.open(other)).reason
    assert compare_corpora(Clips.open(corpus), Clips.open(corpus_copy)).reason == ""  # one record has no revision
