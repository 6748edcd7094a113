"""Taggers and regressions from end to end: evaluation, comparison, report, classification."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import evaluate
import numpy as np
import pytest
import soundfile
from sklearn import metrics as sk

from builder.audio import encode_flac
from builder.embedders.melstats import MelStats
from builder.errors import DataError, RecipeError
from builder.settings import EvaluationSettings
from evaluation.benchmarks.base import Benchmark
from evaluation.benchmarks.track import Track
from evaluation.classify import classify, print_predictions
from evaluation.evaluate import evaluate_model
from evaluation.inference.evaluated_model import EvaluatedModel, predict_with_models
from evaluation.inference.predict import aggregate_windows
from evaluation.metrics import FOLDER
from evaluation.reporting.report import write_report
from evaluation.reporting.tables import format_scores
from evaluation.results.predictions import Predictions
from evaluation.statistics.summary import score_predictions
from training.data.features import load_features
from training.models.classifier import load_model

from .conftest import GENRE_TEMPI, GENRES, INSTRUMENTS, PLAYED, RATE, fit, linear, save, sound

FEW = EvaluationSettings(bootstrap=100)


class Recordings:
    """A benchmark in memory: tracks with their encoded audio, two for each artist; one of them is damaged."""

    name, notes = "tracks", ["made by the test"]

    def __init__(self, labels: tuple[Any, ...], covered: tuple[int, ...] = ()) -> None:
        self.covered = covered
        self.tracks = [
            Track(f"{genre}-{seed}", None, label, "test", f"artist {seed // 2}", encode_flac(sound(genre, seed), RATE))
            for genre, label in enumerate(labels)
            for seed in range(40, 44)
        ]
        self.tracks.insert(5, Track("damaged", None, labels[0], data=b"ID3\x03torn mp3" * 20))


Benchmark.register(Recordings)


def predict(folder: Path, recordings: Recordings) -> Predictions:
    model = EvaluatedModel.load(folder, FEW)
    threshold = model.model.config.threshold
    return predict_with_models([model], recordings, 2, lambda _: None, [threshold])[0]  # type: ignore[arg-type]


def read_rows(out: Path, entry: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / entry["predictions"]).read_text(encoding="utf-8").splitlines()]


def test_scores_of_instruments_equal_sklearns(tagger: Path, tmp_path: Path) -> None:
    scores = evaluate_model(tagger, ["validation"], tmp_path, settings=FEW)
    [entry] = scores["benchmarks"]
    assert scores["model"]["problem"] == entry["problem"] == "multi_label_classification"
    assert entry["labels"] == list(INSTRUMENTS) and entry["threshold"] == 0.5
    rows = read_rows(tmp_path, entry)
    assert rows[0]["id"] == "Electronica-6" and rows[0]["labels"] == ["synthesizer"]
    truth = np.array([[name in row["labels"] for name in INSTRUMENTS] for row in rows])
    outputs = np.array([[row["probabilities"][name] for name in INSTRUMENTS] for row in rows])
    assert [row["predicted"] for row in rows] == [
        [name for name, value in row["probabilities"].items() if value >= 0.5] for row in rows
    ]
    assert entry["map"]["value"] == pytest.approx(sk.average_precision_score(truth, outputs), abs=1e-9)
    assert entry["macro_roc_auc"]["value"] == pytest.approx(sk.roc_auc_score(truth, outputs), abs=1e-9)
    assert entry["macro_f1"]["value"] == pytest.approx(sk.f1_score(truth, outputs >= 0.5, average="macro"), abs=1e-9)
    assert [tag["support"] for tag in entry["per_tag"]] == truth.sum(axis=0).tolist()
    assert entry["map"]["n"] == 9 and 0 <= entry["calibration"]["ece"]["value"] <= 1


def test_scores_equal_the_evaluate_module(tagger: Path) -> None:
    predictions = predict(tagger, Recordings(PLAYED))
    scores = score_predictions(predictions, FEW, "instruments", name="x", predictions="x")
    module = evaluate.load(str(FOLDER / "tagging_report"))
    want = module.compute(
        predictions=predictions.outputs,
        references=predictions.truth.astype(int),
        labels=list(predictions.labels),
        threshold=0.5,
    )
    for key in ("map", "macro_roc_auc", "micro_roc_auc", "macro_f1", "micro_f1"):
        assert getattr(scores, key).value == pytest.approx(want[key], abs=1e-9)
    for tag, row in zip(scores.per_tag, want["per_tag"], strict=True):
        assert (tag.label, tag.support) == (row["label"], row["support"])
        assert tag.average_precision.value == pytest.approx(row["average_precision"], abs=1e-9)


def test_a_damaged_track_is_skipped_and_counted(tagger: Path) -> None:
    predictions = predict(tagger, Recordings(PLAYED))
    assert len(predictions) == 12 and [skip.id for skip in predictions.skips] == ["damaged"]
    assert "cannot be read as audio" in predictions.skips[0].reason
    scores = score_predictions(predictions, FEW, "instruments", name="x", predictions="x")
    assert (scores.n, scores.skipped) == (12, 1)
    assert (scores.sampling.over, scores.sampling.units) == ("artists", 2)
    assert scores.sampling.describe() == "2 artists"
    some = replace(predictions, artists=["a", "a", *predictions.artists[2:11], None])
    sampling = score_predictions(some, FEW, "instruments", name="x", predictions="x").sampling
    assert sampling.describe() == "3 artists and 1 track of unknown artist"


def test_labels_that_a_benchmark_does_not_cover_are_left_out(tagger: Path) -> None:
    predictions = predict(tagger, Recordings(((1,), (1, 2), (2,)), covered=(1, 2)))
    assert predictions.labels == ["drums", "guitar"] and predictions.outputs.shape == (12, 2)
    assert predictions.truth.sum(axis=0).tolist() == [8, 8]


def test_labels_without_a_track_are_left_out_of_means(tagger: Path) -> None:
    scores = score_predictions(
        predict(tagger, Recordings(((0,), (0,), ()))), FEW, "instruments", name="x", predictions="x"
    )
    assert scores.per_tag[1].average_precision is None and scores.per_tag[2].f1 is None
    assert scores.map.value == scores.per_tag[0].average_precision.value
    assert scores.notes[-1] == "all means leave out 2 labels that no track has: drums, guitar"
    with pytest.raises(DataError, match="no track has any of the model"):
        score_predictions(predict(tagger, Recordings(((), (), ()))), FEW, "instruments", name="x", predictions="x")


def test_a_missing_threshold_is_chosen_on_the_validation_split(tagger: Path, corpus: Path, tmp_path: Path) -> None:
    net = load_model(tagger)
    net.config.threshold = None
    folder = save(net, corpus, tmp_path / "none")
    chosen = evaluate_model(folder, ["validation"], tmp_path / "out", settings=FEW)["benchmarks"][0]
    assert 0 < chosen["threshold"] < 1 and chosen["macro_f1"]["value"] == 1.0
    (folder / "training.json").write_text(json.dumps({"command": "train", "details": {}}))
    music = tmp_path / "music/drums"
    music.mkdir(parents=True)
    for seed in (1, 2):
        soundfile.write(music / f"{seed}.wav", sound(1, seed), RATE)
    lost = evaluate_model(folder, [f"folder:{tmp_path}/music"], tmp_path / "lost", settings=FEW)["benchmarks"][0]
    assert lost["threshold"] is None and lost["macro_f1"] is None
    assert any(note.startswith("no F1: the model has no threshold") for note in lost["notes"])


def test_scores_of_tempi_by_hand(metronome: Path, tmp_path: Path) -> None:
    [entry] = evaluate_model(metronome, ["validation"], tmp_path, settings=FEW)["benchmarks"]
    rows = read_rows(tmp_path, entry)
    truth, estimate = (np.array([row[key] for row in rows]) for key in ("label", "predicted"))
    assert truth[0] == GENRE_TEMPI[0] and len(rows) == 9
    assert (entry["problem"], entry["unit"]) == ("regression", "bpm")
    assert entry["accuracy_1"]["value"] == pytest.approx(np.mean(np.abs(estimate - truth) <= 0.04 * truth))
    assert entry["mae"]["value"] == pytest.approx(np.mean(np.abs(estimate - truth)), abs=1e-3)
    assert entry["mae"]["value"] < 20 and entry["accuracy_2"]["value"] >= entry["accuracy_1"]["value"]
    assert sum(entry["octaves"].values()) == 9


def test_a_number_that_is_no_tempo_has_no_octaves(corpus: Path, tmp_path: Path) -> None:
    scores = score_predictions(
        predict(save_valence(corpus, tmp_path), Recordings((0.1, 0.0, -0.4))),
        FEW,
        "valence",
        name="x",
        predictions="x",
    )
    assert (scores.unit, scores.accuracy_1, scores.octaves) == ("", None, None) and scores.mae.value > 0


def save_valence(corpus: Path, folder: Path) -> Path:
    net = linear("valence", "regression", ("valence",))
    features = load_features(corpus, "melstats", "tempo_bpm")
    net.standardise(features.train.embeddings, features.train.labels / 100)
    fit(net, features.train.embeddings, features.train.labels[:, None] / 100)
    return save(net, corpus, folder / "valence")


@pytest.mark.parametrize("kind", ["tagger", "metronome"])
def test_a_report_of_every_kind(kind: str, corpus: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(kind)
    scores = evaluate_model(folder, ["validation"], tmp_path, corpus, FEW)
    page = write_report(tmp_path, folder, corpus).read_text(encoding="utf-8")
    names = {"tagger": ("mAP", "guitar", "threshold"), "metronome": ("Accuracy 2", "at half the tempo", "BPM")}[kind]
    assert all(name in page for name in names) and "StrictUndefined" not in page
    assert "predicted: " in page and page.count("<audio") == 6
    table = format_scores(scores).splitlines()
    assert table[0].split()[:3] == ["on", "n", "skipped"] and table[1].startswith("validation")


def test_two_models_on_the_same_tracks(model: Path, corpus: Path, music: Path, tmp_path: Path) -> None:
    worse = load_model(model)
    worse.output.bias.data[2] += 100  # predicts rock for every track
    other = save(worse, corpus, tmp_path / "worse")
    scores = evaluate_model(
        model, ["validation", f"folder:{music}"], tmp_path / "out", settings=FEW, against=[other, model]
    )
    comparisons = {(row["benchmark"], row["against"], row["metric"]): row for row in scores["comparisons"]}
    assert len(comparisons) == 2 * 2 * 3
    row = comparisons["validation", str(other), "accuracy"]
    assert (row["value"], row["other"]) == (1.0, pytest.approx(1 / 3))
    assert row["difference"]["value"] == pytest.approx(2 / 3) and row["difference"]["low"] > 0.2
    assert row["p"] < 0.05 and row["p_holm"] == pytest.approx(min(1.0, 4 * row["p"]), rel=0.5)
    same = comparisons[f"folder:{music}", str(model), "macro_f1"]
    assert same["difference"]["value"] == 0 and same["p"] == same["p_holm"] == 1.0
    table = format_scores(scores)
    assert "p (Holm)" in table and "+66.7 pp [" in table
    page = write_report(tmp_path / "out", model, corpus).read_text(encoding="utf-8")
    assert "Against other models" in page and "+66.7 pp" in page and f"--against {other}" in page


def test_models_of_other_tasks_are_not_compared(model: Path, tagger: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be compared"):
        evaluate_model(model, ["validation"], tmp_path / "out", against=[tagger])
    assert not (tmp_path / "out").exists()


def test_labels_in_another_order_are_the_same_labels(model: Path, corpus: Path, music: Path, tmp_path: Path) -> None:
    reordered = linear("genre", "single_label_classification", GENRES[::-1])
    net = load_model(model)
    reordered.load_state_dict(net.state_dict())
    reordered.output.weight.data = net.output.weight.data.flip(0).clone()
    reordered.output.bias.data = net.output.bias.data.flip(0).clone()
    other = save(reordered, corpus, tmp_path / "reordered")
    for row in evaluate_model(model, ["validation", f"folder:{music}"], tmp_path, against=[other])["comparisons"]:
        assert row["difference"]["value"] == 0 and row["value"] == 1.0


def test_a_track_is_embedded_once_for_all_models_of_one_embedder(
    model: Path, music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = []
    embed = MelStats.embed
    monkeypatch.setattr(MelStats, "embed", lambda self, audio: batches.append(len(audio)) or embed(self, audio))
    alone = evaluate_model(model, [f"folder:{music}"], tmp_path / "alone", settings=FEW)
    once = sum(batches)
    assert once == 6  # tracks of one window each
    again = evaluate_model(model, [f"folder:{music}"], tmp_path / "again", settings=FEW, against=[model, model])
    assert sum(batches) == 2 * once
    for key in ("accuracy", "macro_f1", "n", "skipped", "calibration"):
        assert again["benchmarks"][0][key] == alone["benchmarks"][0][key]
    names = [next((tmp_path / place).glob("predictions-*")) for place in ("alone", "again")]
    assert names[0].read_bytes() == names[1].read_bytes()


def test_tags_in_another_order_are_the_same_tags(tagger: Path, corpus: Path, music: Path, tmp_path: Path) -> None:
    net = load_model(tagger)
    reordered = linear("instruments", "multi_label_classification", INSTRUMENTS[::-1], threshold=0.5)
    reordered.load_state_dict(net.state_dict())
    reordered.output.weight.data = net.output.weight.data.flip(0).clone()
    reordered.output.bias.data = net.output.bias.data.flip(0).clone()
    other = save(reordered, corpus, tmp_path / "reordered")
    (tmp_path / "map.yaml").write_text("map: {ROCK: guitar, Hip-Hop: drums}\n")
    spec = f"folder:{music}?mapping={tmp_path / 'map.yaml'}"
    comparisons = evaluate_model(tagger, [spec], tmp_path / "out", settings=FEW, against=[other])["comparisons"]
    assert comparisons and all(row["difference"]["value"] == 0 for row in comparisons)


WINDOWS = np.log(np.array([[0.6, 0.3, 0.1], [0.6, 0.3, 0.1], [0.1, 0.2, 0.7]]))


@pytest.mark.parametrize(
    ("how", "want"),
    [
        ("mean", [1.3 / 3, 0.8 / 3, 0.9 / 3]),
        ("vote", [2 / 3, 0, 1 / 3]),
        ("max", [0.6 / 1.6, 0.3 / 1.6, 0.7 / 1.6]),
        ("median", [0.6, 0.3, 0.1]),
        ("logits", np.exp(WINDOWS.mean(axis=0)) / np.exp(WINDOWS.mean(axis=0)).sum()),
    ],
)
def test_aggregate_windows(how: Any, want: list[float]) -> None:
    np.testing.assert_allclose(aggregate_windows(WINDOWS, "single_label_classification", how), want, atol=1e-12)


def test_aggregate_windows_of_tags_and_numbers() -> None:
    logits = np.array([[0.0, 2.0], [np.log(3), -2.0]])  # 0.5 and 0.75 of the first
    assert aggregate_windows(logits, "multi_label_classification", "mean")[0] == pytest.approx(0.625)
    assert aggregate_windows(logits, "multi_label_classification", "max")[0] == pytest.approx(0.75)
    assert aggregate_windows(logits, "multi_label_classification", "logits")[1] == pytest.approx(0.5)
    tempi = np.array([[120.0], [121.0], [60.0]])
    assert aggregate_windows(tempi, "regression", "mean") == pytest.approx([301 / 3])
    assert aggregate_windows(tempi, "regression", "median") == pytest.approx([120.0])


@pytest.mark.parametrize(("kind", "how"), [("tagger", "vote"), ("metronome", "max")])
def test_undefined_aggregates_are_refused(kind: str, how: str, request: pytest.FixtureRequest) -> None:
    with pytest.raises(RecipeError, match=f"aggregate: '{how}' is not defined"):
        EvaluatedModel.load(request.getfixturevalue(kind), EvaluationSettings(aggregate=how))  # type: ignore[arg-type]


def test_the_aggregate_is_recorded_and_reported(model: Path, music: Path, tmp_path: Path) -> None:
    scores = evaluate_model(model, [f"folder:{music}"], tmp_path, settings=EvaluationSettings(aggregate="vote"))
    assert scores["model"]["aggregate"] == "vote"
    assert "vote" in write_report(tmp_path, model).read_text(encoding="utf-8")


def test_classify_tags_and_tempi(tagger: Path, metronome: Path, music: Path, capsys: Any) -> None:
    [tags] = classify(tagger, [music / "ROCK/20.wav"])
    assert {name for name, share in tags.labels if share > 0.5} == {"drums", "guitar"}
    [tempo] = classify(metronome, [music / "ROCK/20.wav"])
    assert tempo.value == pytest.approx(150, abs=25) and tempo.unit == "bpm" and not tempo.labels
    print_predictions([tempo])
    assert capsys.readouterr().out.endswith(f"  {tempo.value:.1f} BPM\n")
    print_predictions([tempo], jsonl=True)
    assert json.loads(capsys.readouterr().out)["value"] == tempo.value


def test_a_damaged_mp3_among_many(model: Path, music: Path, tmp_path: Path) -> None:
    for seed in range(12):
        soundfile.write(music / f"ROCK/song {seed:02}.mp3", sound(2, 60 + seed, 1.0), RATE, format="MP3")
    size = len((music / "ROCK/song 06.mp3").read_bytes())
    (music / "ROCK/song 06.mp3").write_bytes(bytes(size))
    [entry] = evaluate_model(model, [f"folder:{music}"], tmp_path / "out", settings=FEW)["benchmarks"]
    assert (entry["n"], entry["skipped"]) == (17, 1)
    assert entry["skips"][0]["id"] == "ROCK/song 06.mp3" and entry["skips"][0]["reason"]
    assert "ROCK/song 06.mp3" in write_report(tmp_path / "out", model).read_text(encoding="utf-8")


def test_a_model_of_another_data_set_is_evaluated_as_it_was_trained(model: Path, corpus: Path, tmp_path: Path) -> None:
    """The training record says how embeddings that are no corpus are read."""
    import pyarrow.parquet as pq

    (tmp_path / "data").mkdir()
    for split in ("train", "validation"):
        table = pq.read_table(corpus / f"melstats/{split}-00000-of-00001.parquet")
        names = ["style" if name == "genre" else name for name in table.column_names]
        metadata = {b"huggingface": table.schema.metadata[b"huggingface"].replace(b'"genre"', b'"style"')}
        table = table.rename_columns(names).replace_schema_metadata(metadata)
        pq.write_table(table, tmp_path / f"data/{split}-00000-of-00001.parquet")
    details = {"corpus": str(tmp_path / "data"), "data": {"label_column": "style"}}
    shutil.copytree(model, tmp_path / "model")
    save(load_model(model), corpus, tmp_path / "model", details)
    [entry] = evaluate_model(tmp_path / "model", ["validation"], tmp_path / "out", settings=FEW)["benchmarks"]
    assert (entry["n"], entry["accuracy"]["value"]) == (9, 1.0)
