"""`synthmir evaluate` of a frame model: its tasks on annotated tracks, from Python and from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

import synthmir
from builder.errors import DataError, RecipeError
from evaluation.results.annotation_scores import AnnotationScores
from synthmir.cli import app
from tests.training.frames.planted import choose, write_corpus
from training.trainer import train


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was trained for one epoch on the corpus beside it."""
    root = tmp_path_factory.mktemp("evaluated")
    train(write_corpus(root / "corpus"), root / "model", choose("beats,chords,key", epochs=1))
    return root / "model"


def test_the_validation_split_of_its_corpus(model: Path, tmp_path: Path) -> None:
    scores = synthmir.evaluate(model, "validation", out=tmp_path, bootstrap=100, progress=False)
    assert isinstance(scores, AnnotationScores) and scores == AnnotationScores.read(
        tmp_path / "annotation_scores.json"
    )
    (source,) = scores.sources
    assert source.n == 3 and source.seconds == pytest.approx(12.0) and "validation" in source.protocol
    assert [task.task for task in source.tasks] == ["beats", "chords", "key"]  # the clips have no tempo
    assert {task.systems[0].name for task in source.tasks} == {"model"} and scores.record["command"] == "evaluate"
    assert "WCSR majmin" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_command_prints_the_table_and_writes_beside_the_model(model: Path) -> None:
    corpus = model.parent / "corpus"
    arguments = ["evaluate", str(model), "--on", f"corpus:{corpus}?split=train", "--bootstrap", "100"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "6 tracks" in result.output and "F-measure" in result.output and "chords" in result.output
    assert (model.parent / "report" / "report.html").is_file()


def test_options_of_classifiers_are_refused(model: Path) -> None:
    for option in ({"probe": 8}, {"against": ["other"]}, {"aggregate": "vote"}, {"calibrate": "benchmark"}):
        with pytest.raises(RecipeError, match=f"--{next(iter(option))}"):
            synthmir.evaluate(model, "validation", **option)
    with pytest.raises(RecipeError, match="librosa"):
        synthmir.evaluate(model, "validation", peers="librossa")
    with pytest.raises(RecipeError, match="gtzan:x: has no annotated tracks"):
        synthmir.evaluate(model, "gtzan:x")


def test_a_source_without_its_tasks(model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError):
        synthmir.evaluate(model, f"folder:{tmp_path / 'empty'}", progress=False)
