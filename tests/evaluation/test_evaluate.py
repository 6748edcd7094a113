"""Evaluation from end to end: scores.json, predictions, intervals, and invalid input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from builder.corpus.corpus import embed_record
from builder.errors import DataError, RecipeError
from builder.executors import ProcessExecutor
from builder.records import RunRecord
from builder.settings import EvaluationSettings
from evaluation.classify import Classification, check_readable, classify, print_predictions
from evaluation.evaluate import evaluate_model
from evaluation.reporting.report import _class_pictures as draw_class_pictures
from evaluation.reporting.tables import format_scores
from evaluation.results.scores import Scores, SingleLabelScores
from evaluation.statistics.summary import find_worst_pair

from .conftest import FINGERPRINT, GENRES, RATE, sound


@pytest.fixture
def both(model: Path, music: Path, tmp_path: Path) -> tuple[dict, Path]:
    """Scores on validation and on a folder that holds two broken files."""
    (music / "ROCK/text <b>.wav").write_text("no audio")
    (music / "Hip-Hop/nothing.mp3").write_bytes(b"\0" * 99)
    (music / "polka").mkdir()
    (music / "polka/a.wav").write_text("no audio, and left out")
    out, settings = tmp_path / "out", EvaluationSettings(bootstrap=200, seed=3)
    return evaluate_model(model, ["validation", f"folder:{music}"], out, settings=settings), out


def test_scores(both: tuple[dict, Path], model: Path, music: Path) -> None:
    scores, out = both
    assert json.loads((out / "scores.json").read_text(encoding="utf-8")) == scores
    assert Scores.read(out / "scores.json").model_dump(mode="json", by_alias=True) == scores
    assert scores["schema"] == 2
    assert scores["model"]["fingerprint"] == FINGERPRINT and scores["model"]["task"] == "genre"
    assert scores["model"]["labels"] == list(GENRES) and scores["model"]["path"] == str(model)
    validation, folder = scores["benchmarks"]
    assert (validation["name"], validation["n"], validation["skipped"]) == ("validation", 9, 0)
    assert (folder["name"], folder["n"], folder["skipped"]) == (f"folder:{music}", 6, 2)
    assert [skip["id"] for skip in folder["skips"]] == ["Hip-Hop/nothing.mp3", "ROCK/text <b>.wav"]
    assert all(skip["reason"] for skip in folder["skips"])
    assert folder["left_out"] == {"polka": 1} and any("polka" in note for note in folder["notes"])
    assert validation["accuracy"]["value"] == folder["accuracy"]["value"] == 1.0
    assert validation["worst_pair"] is None
    assert scores["record"]["command"] == "evaluate" and scores["record"]["rows"] == 9 + 6 + 2
    assert scores["record"]["details"]["skipped"] == 2 and scores["record"]["wall_seconds"] > 0


def test_linear_probes_beside_the_model(
    model: Path, music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evaluation.statistics.probe_scores.DRAWS", 2)
    settings = EvaluationSettings(bootstrap=100, probe=("all", 2))
    scores = evaluate_model(model, [f"folder:{music}", "validation"], tmp_path, settings=settings)
    folder, validation = Scores.read(tmp_path / "scores.json").benchmarks
    assert folder.probes is not None and validation.probes is None and folder.probes.draws == 2
    assert [point.shots for point in folder.probes.points] == [2, "all"] and folder.probes.worth is not None
    assert {one["against"] for one in scores["comparisons"]} == {
        "linear probe, 2 real tracks of each label", "linear probe, all real tracks",
    }  # fmt: skip
    text = format_scores(scores)
    assert "real tracks of each label: a linear probe on them has the same balanced accuracy" in text
    value = folder.probes.points[0].scores["balanced_accuracy"].mean.value
    assert f"  linear probe, 2 real tracks of each label: balanced accuracy {value:.1%} [" in text
    assert isinstance(folder, SingleLabelScores)
    pictures = {name: picture for name, picture, *_ in draw_class_pictures(folder, tmp_path)}
    assert "real tracks of each label" in pictures["probes"].decode()


@pytest.mark.parametrize("probe", [0, "8,some", ["all", -1]])
def test_probes_that_are_no_numbers(model: Path, tmp_path: Path, probe: object) -> None:
    from synthmir import evaluate

    with pytest.raises(RecipeError, match=r"--probe: .* is not a number of tracks\n  fix: write 8, or 1,2,4,8,16,all"):
        evaluate(model, "validation", out=tmp_path, probe=probe)  # type: ignore[arg-type]


def test_perfect_scores_have_exact_intervals(both: tuple[dict, Path], tmp_path: Path) -> None:
    """Nine of nine correct is not "[100 %, 100 %]"; the file names the metrics whose intervals are exact."""
    scores = both[0]
    validation = scores["benchmarks"][0]
    assert validation["accuracy"]["low"] == pytest.approx(0.025 ** (1 / 9)) and validation["accuracy"]["high"] == 1.0
    exact = validation["sampling"]["exact"]
    assert exact["accuracy"] == exact["macro_f1"] == exact["balanced_accuracy"] == []
    assert exact["recall"] == exact["precision"] == exact["f1"] == list(GENRES)
    for row in validation["per_class"]:
        assert all(bounds["low"] == pytest.approx(0.025 ** (1 / 3)) for bounds in row["intervals"].values())
    remark = "Clopper-Pearson intervals, as no resample changes them: accuracy, macro-f1, balanced accuracy"
    assert remark in format_scores(scores)

    for entry in scores["benchmarks"]:  # as version 0.1 wrote them
        del entry["sampling"]["exact"]
    (tmp_path / "scores.json").write_text(json.dumps(scores))
    assert Scores.read(tmp_path / "scores.json").benchmarks[0].sampling.exact == {}
    assert "Clopper" not in format_scores(scores)


def test_predictions_add_up_to_the_confusion_matrix(both: tuple[dict, Path]) -> None:
    scores, out = both
    for entry in scores["benchmarks"]:
        lines = (out / entry["predictions"]).read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        assert len(rows) == entry["n"]
        confusion = np.zeros((3, 3), int)
        for row in rows:
            assert max(row["probabilities"], key=row["probabilities"].get) == row["predicted"]
            assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-5)
            confusion[GENRES.index(row["label"]), GENRES.index(row["predicted"])] += 1
        assert confusion.tolist() == entry["confusion_matrix"]


def test_classify_gives_the_same_probabilities(both: tuple[dict, Path], model: Path, music: Path) -> None:
    scores, out = both
    rows = [json.loads(line) for line in (out / scores["benchmarks"][1]["predictions"]).read_text().splitlines()]
    [prediction] = classify(model, [music / rows[0]["id"]], top_k=3)
    assert dict(prediction.labels) == pytest.approx(rows[0]["probabilities"], abs=1e-6)
    assert [share for _, share in prediction.labels] == sorted((share for _, share in prediction.labels), reverse=True)


def test_scores_do_not_depend_on_the_number_of_threads(model: Path, music: Path, tmp_path: Path) -> None:
    first = evaluate_model(model, [f"folder:{music}"], tmp_path / "1", workers=1)
    again = evaluate_model(model, [f"folder:{music}"], tmp_path / "2", workers=2)
    assert first["benchmarks"] == again["benchmarks"]


def test_several_processes_give_the_same_scores(
    both: tuple[dict, Path], model: Path, music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evaluation.inference.distributed.BATCH_TRACKS", 3)
    settings, executor = EvaluationSettings(bootstrap=200, seed=3), ProcessExecutor(2)
    scores = evaluate_model(model, [f"folder:{music}"], tmp_path / "two", settings=settings, executor=executor)
    assert scores["benchmarks"] == both[0]["benchmarks"][1:]
    assert (tmp_path / "two" / scores["benchmarks"][0]["predictions"]).read_bytes() == (
        both[1] / both[0]["benchmarks"][1]["predictions"]
    ).read_bytes()


class FailingExecutor:
    """An executor whose workers find no file."""

    count = 2

    def run(self, setup, tasks, tick):
        return ((task.number, ["there is no such file"] * len(task.tracks)) for task in tasks)


def test_recordings_that_only_a_worker_cannot_read(model: Path, music: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"can be read here, and not by a worker: there is no such file"):
        evaluate_model(model, [f"folder:{music}"], tmp_path, executor=FailingExecutor())


def test_misfiled_tracks_are_the_worst_pair(model: Path, music: Path, tmp_path: Path) -> None:
    for seed in range(3):
        soundfile.write(music / f"Hip-Hop/misfiled {seed}.flac", sound(2, 50 + seed, 2.0), RATE)
    [entry] = evaluate_model(model, [f"folder:{music}"], tmp_path / "out")["benchmarks"]
    assert entry["worst_pair"] == {"truth": "Hip Hop", "predicted": "Rock", "count": 3, "share": 0.6}
    assert entry["accuracy"]["value"] == pytest.approx(6 / 9)
    assert entry["accuracy"]["low"] < 6 / 9 < entry["accuracy"]["high"]


def test_the_worst_pair_has_the_largest_share() -> None:
    pair = find_worst_pair(np.array([[90, 10, 0], [1, 1, 0], [0, 0, 0]]), GENRES)
    assert pair is not None
    assert (pair.truth, pair.predicted, pair.count, pair.share) == ("Hip Hop", "Electronica", 1, 0.5)
    assert find_worst_pair(np.diag([1, 0, 2]), GENRES) is None


def test_benchmarks_with_similar_names_get_files_of_their_own(model: Path, music: Path, tmp_path: Path) -> None:
    shutil.copytree(music, tmp_path / "real-music")
    scores = evaluate_model(model, [f"folder:{music}", f"folder:{tmp_path}/real-music", f"folder:{music}"], tmp_path)
    files = [entry["predictions"] for entry in scores["benchmarks"]]
    assert len(files) == len(set(files)) == 2  # the benchmark that is named twice is evaluated once
    assert all((tmp_path / file).exists() for file in files)


def test_progress_counts_every_track(model: Path, music: Path, tmp_path: Path) -> None:
    (music / "ROCK/bad.wav").write_bytes(b"x")
    counted: list[int] = []
    evaluate_model(model, ["validation", f"folder:{music}"], tmp_path / "out", tick=counted.append)
    assert sum(counted) == 9 + 7


def test_no_readable_track_is_an_error(model: Path, tmp_path: Path) -> None:
    (tmp_path / "rock").mkdir()
    (tmp_path / "rock/a.wav").write_text("text")
    with pytest.raises(DataError, match=r"1 of 1 tracks cannot be read; the first, rock/a.wav") as raised:
        evaluate_model(model, [f"folder:{tmp_path}"], tmp_path / "out")
    assert raised.value.exit_code == 3
    assert not (tmp_path / "out/scores.json").exists()


def test_a_wrong_name_is_reported_before_anything_is_predicted(model: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="gtzzan"):
        evaluate_model(model, ["validation", "gtzzan"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def copy(folder: Path, to: Path, **changes: object) -> Path:
    """A model folder whose training record differs."""
    shutil.copytree(folder, to)
    record = RunRecord.read(to / "training.json")
    record.details["corpus"] = str((folder / record.details["corpus"]).resolve())
    for key, value in changes.items():
        setattr(record, key, value)
    record.write(to / "training.json")
    return to


def test_a_model_of_another_corpus_is_refused(model: Path, corpus: Path, tmp_path: Path) -> None:
    other = copy(model, tmp_path / "other", fingerprint="f" * 16)
    with pytest.raises(DataError, match=FINGERPRINT):
        evaluate_model(other, ["validation"], tmp_path / "out")
    with pytest.raises(DataError, match="f" * 16):
        evaluate_model(other, ["validation"], tmp_path / "out", corpus=corpus)


def test_a_corpus_that_is_not_there(model: Path, corpus: Path, tmp_path: Path) -> None:
    gone = copy(model, tmp_path / "gone", details={"corpus": "/nowhere/corpus"})
    with pytest.raises(DataError, match="/nowhere/corpus") as raised:
        evaluate_model(gone, ["validation"], tmp_path / "out")
    assert "--corpus" in str(raised.value)
    assert evaluate_model(gone, ["validation"], tmp_path / "out", corpus=corpus)["benchmarks"][0]["n"] == 9
    unknown = copy(model, tmp_path / "unknown", details={})
    with pytest.raises(DataError, match="names no corpus"):
        evaluate_model(unknown, ["validation"], tmp_path / "out")


@pytest.mark.parametrize("content", [None, "not json", "[]", '{"unknown": 1}'])
def test_a_model_without_its_record(model: Path, tmp_path: Path, content: str | None) -> None:
    folder = copy(model, tmp_path / "model")
    (folder / "training.json").unlink()
    if content is not None:
        (folder / "training.json").write_text(content)
    with pytest.raises(DataError, match=r"training\.json"):
        evaluate_model(folder, ["validation"], tmp_path / "out")


def test_classify_reports_files_that_cannot_be_read(model: Path, music: Path, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("text")
    predictions = classify(model, [music / "ROCK/20.wav", tmp_path / "text.wav", tmp_path / "none.mp3"], top_k=2)
    assert [one.labels[0][0] if one.labels else None for one in predictions] == ["Rock", None, None]
    assert len(predictions[0].labels) == 2 and predictions[0].error is None
    assert "cannot be read" in str(predictions[1].error)
    assert predictions[2].error == "cannot be read: No such file or directory"
    with pytest.raises(DataError, match=r"1 of 1 file cannot be read"):
        classify(model, [tmp_path / "text.wav"])
    assert classify(model, []) == []


def test_predictions_are_printed_a_line_each(model: Path, music: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (music / "ROCK/bad.wav").write_text("text")
    predictions = classify(model, sorted((music / "ROCK").iterdir()))
    print_predictions(predictions)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and "Rock" in lines[0] and "%" in lines[0]
    check_readable(predictions[:2])
    with pytest.raises(DataError, match=r"1 of 3 files cannot be read\n.*bad\.wav: cannot be read as audio"):
        check_readable(predictions)
    with pytest.raises(DataError) as caught:
        check_readable([Classification(str(music / "ROCK"), (), error="cannot be read: Is a directory")])
    assert caught.value.fix == f"name the files of a folder: {music / 'ROCK'}/*"
    print_predictions(predictions, jsonl=True)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["error"] is None for row in rows] == [True, True, False]
    assert next(iter(rows[0]["labels"])) == "Rock" and rows[0]["file"] == str(music / "ROCK/20.wav")


def test_the_table_shows_scores_with_intervals(model: Path, music: Path, tmp_path: Path) -> None:
    soundfile.write(music / "Hip-Hop/misfiled.flac", sound(2, 50, 2.0), RATE)
    scores = evaluate_model(model, ["validation", f"folder:{music}"], tmp_path / "out")
    table = format_scores(scores).splitlines()
    assert table[1].split()[:3] == ["validation", "9", "0"] and "100.0% [66.4%, 100.0%]" in table[1]
    assert "85.7% [" in table[2] and table[2].startswith(f"folder:{music}")
    exact = "  Clopper-Pearson intervals, as no resample changes them: accuracy, macro-f1, balanced accuracy"
    assert table[3:7] == ["", "validation", exact, ""] and table[7] == f"folder:{music}"
    assert table[8] == "  most common confusion: Hip Hop predicted as Rock, 1 track, 33% of them"


def test_the_table_lists_left_out_and_skipped_tracks(model: Path, music: Path, tmp_path: Path) -> None:
    (music / "zouk").mkdir()
    for copy in ("zouk/20.wav", "Hip-Hop/a.wav"):
        shutil.copy(music / "ROCK/20.wav", music / copy)
    for number in range(7):
        (music / f"ROCK/{number}.wav").write_bytes(b"")
    table = format_scores(evaluate_model(model, [f"folder:{music}"], tmp_path / "out")).splitlines()
    assert "  left out 1 track, because the model has no such label: zouk (1)" in table
    assert "  did not leave out 1 duplicate file: ROCK/20.wav = Hip-Hop/a.wav" in table
    assert (
        "  skipped ROCK/4.wav: is empty: 0 bytes" in table and "  skipped ROCK/5.wav: is empty: 0 bytes" not in table
    )
    assert table[-1] == "  skipped 2 more; all are in scores.json"


def test_embeddings_of_another_revision_are_refused(model: Path, corpus: Path, tmp_path: Path) -> None:
    shutil.copytree(corpus, tmp_path / "corpus")
    record = RunRecord("embed", None, "", 1.0, 27, details={"embedder": {"name": "melstats", "revision": "7"}})
    record.write(tmp_path / "corpus" / embed_record("melstats"))
    with pytest.raises(DataError, match="of melstats of revision 7, the model was trained on revision"):
        evaluate_model(model, ["validation"], tmp_path / "out", tmp_path / "corpus")


def test_the_schema_in_the_repository_is_current() -> None:
    import evaluation.results.scores

    file = Path(evaluation.results.scores.__file__).with_name("scores.schema.json")
    assert file.read_text(encoding="utf-8") == Scores.json_schema(), "write it again from Scores.json_schema()"


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda s: s.update(schema=1), "schema"),
        (lambda s: s.update(extra=1), "extra"),
        (lambda s: s["benchmarks"][0]["accuracy"].update(value=1.5), "accuracy.value"),
        (lambda s: s["benchmarks"][0].update(n=0), "n"),
        (lambda s: s["benchmarks"][0].pop("skips"), "skips"),
    ],
)
def test_invalid_scores_are_refused(both: tuple[dict, Path], tmp_path: Path, edit: object, says: str) -> None:
    scores, _ = both
    edit(scores)  # type: ignore[operator]
    (tmp_path / "scores.json").write_text(json.dumps(scores))
    with pytest.raises(DataError, match=says):
        Scores.read(tmp_path / "scores.json")
    with pytest.raises(DataError, match="cannot read"):
        Scores.read(tmp_path / "none.json")


def test_training_tracks_are_left_out(model: Path, music: Path, tmp_path: Path) -> None:
    """The record of a training on this folder names the test tracks."""
    trained = shutil.copytree(model, tmp_path / "trained")
    record = RunRecord.read(trained / "training.json")
    record.details["strategy"] = {"target": {"test_ids": ["ROCK/20.wav", "Hip-Hop/21.wav", "electronica/20.wav"]}}
    record.details["corpus"] = str((model / record.details["corpus"]).resolve())
    record.write(trained / "training.json")
    settings = EvaluationSettings(bootstrap=100)
    for first, others in ((trained, []), (model, [trained])):
        (entry,) = evaluate_model(first, [f"folder:{music}"], tmp_path / "out", settings=settings, against=others)[
            "benchmarks"
        ]
        assert entry["n"] == 3
        assert any("left out 3 tracks that trained was trained or selected on" in note for note in entry["notes"])
    other = record.details["strategy"]["target"]
    other["test_ids"] = ["somewhere/else.wav"]
    record.write(trained / "training.json")
    (entry,) = evaluate_model(trained, [f"folder:{music}"], tmp_path / "out", settings=settings)["benchmarks"]
    assert entry["n"] == 6
