from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from huggingface_hub import ModelCard, ModelCardData
from huggingface_hub.repocard import metadata_load

from builder.errors import DataError
from builder.records import RunRecord
from builder.settings import EmbedderSettings, TrainingSettings
from training.card.card import write_card
from training.trainer import train

from ... import markdown as page
from ..conftest import DIM, FINGERPRINT, GENRES, Columns, write
from ..model_folders import LABELS, make_model_folder, make_sound

SCORES: dict[str, Any] = {
    "schema": 2,
    "model": {},
    "benchmarks": [
        {
            "name": "validation",
            "n": 1234,
            "skipped": 0,
            "accuracy": {"value": 0.8461, "low": 0.8102, "high": 0.8749},
            "macro_f1": {"value": 0.8333, "low": 0.8001, "high": 0.8666},
            "balanced_accuracy": {"value": 0.8399, "low": 0.8011, "high": 0.8722},
            "labels": list(GENRES),
            "per_class": [
                {"label": "Electronica", "precision": 0.9125, "recall": 0.7333, "f1": 0.8132, "support": 411},
                {"label": "Funk", "precision": 0.7, "recall": 0.8, "f1": 0.7467, "support": 412},
                {"label": "Orchestral", "precision": 0.95, "recall": 0.99, "f1": 0.9696, "support": 411},
            ],
            "confusion_matrix": [[1, 2, 3], [4, 5, 6], [7, 8, 9]],
            "worst_pair": {"truth": "Electronica", "predicted": "Funk", "count": 87, "share": 0.2117},
        },
        {
            "name": "folder:/home/me/my | music",
            "n": 100,
            "skipped": 3,
            "accuracy": {"value": 0.92, "low": 0.86, "high": 0.97},
            "macro_f1": None,
            "worst_pair": None,
        },
    ],
    "record": {},
}


@pytest.fixture
def folder(model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "model"))


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    path = tmp_path / "scores.json"
    path.write_text(json.dumps(SCORES))
    return path


def read(folder: Path) -> str:
    return (folder / "README.md").read_text(encoding="utf-8")


def rows(text: str, heading: str) -> dict[str, list[str]]:
    """The table under a heading: first cell -> the others."""
    part = text.split(heading, 1)[1].lstrip().split("\n|", 1)[1]
    table = ("|" + part).split("\n\n", 1)[0].splitlines()
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table]
    return {first: rest for first, *rest in cells}


def test_metadata_is_what_the_hub_reads(folder: Path, scores: Path) -> None:
    write_card(folder, scores)
    data = ModelCard.load(folder / "README.md").data
    assert (data.pipeline_tag, data.library_name, data.license) == (
        "audio-classification",
        "transformers",
        "cc-by-4.0",
    )
    assert data.datasets == ["miniature"] and data.metrics == ["accuracy", "f1"]
    assert {"music", "synthetic", "music-genre"} <= set(data.tags)
    assert data.model_name == "miniature-genre-melstats"
    results = {(r.dataset_name, r.dataset_type, r.metric_type): r.metric_value for r in data.eval_results}
    assert results == {
        ("validation", "miniature", "accuracy"): 0.8461,
        ("validation", "miniature", "f1"): 0.8333,
        ("my | music", "folder", "accuracy"): 0.92,
    }
    assert ModelCardData(**metadata_load(folder / "README.md")).to_yaml() == data.to_yaml()


def test_results_match_the_scores(folder: Path, scores: Path) -> None:
    write_card(folder, scores)
    text = read(folder)
    table = rows(text, "## Results")
    assert table["validation"] == ["1,234", "84.6 % [81.0, 87.5]", "83.3 % [80.0, 86.7]", "84.0 % [80.1, 87.2]"]
    assert table["my \\| music"] == ["100 (3 skipped)", "92.0 % [86.0, 97.0]", "", ""]
    by_genre = rows(text, "### validation, by genre")
    assert by_genre["Electronica"] == ["91.2 %", "73.3 %", "81.3 %", "411"]
    assert [name for name in by_genre if name in GENRES] == list(GENRES)
    assert "Most frequent confusion: Electronica predicted as Funk, 87 times (21.2 % of its clips)." in text
    assert "/home/me" not in text


def test_training_table_matches_the_record(folder: Path) -> None:
    write_card(folder)
    record = RunRecord.read(folder / "training.json")
    table = rows(read(folder), "## How it was trained")
    assert table["corpus"] == ["miniature"] and table["recipe fingerprint"] == [f"`{FINGERPRINT}`"]
    assert table["clips"] == ["240 to train, 60 to validate"]
    assert table["layers"] == ["standardisation, dense 8 ReLU, dense 3, softmax"]
    assert "lr 0.001" in table["settings"][0] and "patience 5" in table["settings"][0]
    curve = record.details["curve"]
    assert table["epochs"][0].startswith(f"{len(curve)}")
    assert table["epochs"][0].endswith(f"of epoch {record.details['best_epoch']}")
    assert table["time"] == [f"{record.wall_seconds} s"] and record.device in table["device"][0]
    assert table["generator of the audio"] == ["arranger, revision 7"]
    assert table["embedder"] == ["melstats, revision 1, windows of 10.0 s at 32,000 Hz"]
    assert f"torch {record.versions['torch']}" in read(folder)


def test_card_without_scores_has_no_metrics(folder: Path) -> None:
    write_card(folder)
    text = read(folder)
    assert "## Results" not in text and "%" not in text
    assert "There are no results on real recordings" in text
    assert ModelCard.load(folder / "README.md").data.eval_results is None


def test_validation_results_do_not_count_as_real_music(folder: Path, scores: Path) -> None:
    scores.write_text(json.dumps({**SCORES, "benchmarks": SCORES["benchmarks"][:1]}))
    write_card(folder, scores)
    assert "There are no results on real recordings" in read(folder)


def test_limitations_describe_the_data(folder: Path, scores: Path) -> None:
    write_card(folder, scores)
    limits = read(folder).split("## Limitations")[1]
    assert "synthetic music only" in limits and "rule-based program that writes MIDI" in limits
    assert "2311.09094" in limits and "2407.02156" in limits


def test_another_generator_has_its_own_description(tables: dict[str, Columns], tmp_path: Path) -> None:
    corpus = write(tmp_path / "corpus", tables)
    about = {"name": "musicgen", "revision": "abc", "license": "cc-by-nc-4.0", "about": "MusicGen, small."}
    record = RunRecord("build", FINGERPRINT, details={"generator": about})
    record.write(corpus / "records/build.json")
    train(corpus, tmp_path / "model", TrainingSettings(hidden=(4,), epochs=1), EmbedderSettings())
    text = read(tmp_path / "model")
    assert "MusicGen, small." in text and "MIDI" not in text
    assert metadata_load(tmp_path / "model/README.md")["license"] == "cc-by-nc-4.0"


def test_unknown_facts_are_left_out(tables: dict[str, Columns], tmp_path: Path) -> None:
    corpus = write(tmp_path / "corpus", tables)
    shutil.rmtree(corpus / "records")
    train(corpus, tmp_path / "model", TrainingSettings(hidden=(), epochs=1), EmbedderSettings())
    text, data = read(tmp_path / "model"), metadata_load(tmp_path / "model/README.md")
    assert "license" not in data and data["datasets"] == ["corpus"]
    assert "None" not in text and "fingerprint" not in text and "generator of the audio" not in text
    assert rows(text, "## How it was trained")["layers"] == ["standardisation, dense 3, softmax"]


def test_clips_left_out_are_counted(corpus: Path, tmp_path: Path) -> None:
    train(corpus, tmp_path / "model", TrainingSettings(task="mood", hidden=(4,), epochs=1), EmbedderSettings())
    table = rows(read(tmp_path / "model"), "## How it was trained")
    assert table["left out"] == ["60 and 15 clips whose prompt names no mood"]
    assert metadata_load(tmp_path / "model/README.md")["tags"][-1] == "music-mood"


def test_the_python_of_the_card_works(folder: Path) -> None:
    write_card(folder)
    _, code = re.findall(r"```python\n(.*?)```", read(folder), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code.replace('"MODEL"', repr(str(folder))), names)
    assert names["model"](torch.zeros(2, DIM)).logits.shape == (2, len(GENRES))


def test_the_pipeline_of_the_card_works(folder: Path, tmp_path: Path) -> None:
    model, song = make_model_folder(tmp_path / "with-embedder"), tmp_path / "song.flac"
    soundfile.write(song, make_sound(1.0), 32_000)
    shutil.copy(folder / "training.json", model)
    write_card(model)
    code, _ = re.findall(r"```python\n(.*?)```", read(model), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code.replace('"MODEL"', repr(str(model))).replace('"song.mp3"', repr(str(song))), names)
    assert sorted(one["label"] for one in names["classify"](str(song))) == sorted(LABELS)


def test_no_blank_lines_in_tables_or_leftover_template(folder: Path, scores: Path) -> None:
    write_card(folder, scores)
    text = read(folder)
    assert "{{" not in text and "{%" not in text and "\n\n\n" not in text
    widths = [
        [line.replace("\\|", "").count("|") for line in block.splitlines()]
        for block in text.split("\n\n")
        if block.startswith("|")
    ]
    assert len(widths) == 4 and all(len(set(block)) == 1 for block in widths)
    assert not page.ragged(text) and not page.broken_links(text, folder)


def test_a_card_is_written_atomically(folder: Path, scores: Path) -> None:
    before = read(folder)
    scores.write_text("{")
    with pytest.raises(DataError, match=r"scores.json: cannot be read as JSON"):
        write_card(folder, scores)
    assert read(folder) == before


@pytest.mark.parametrize("content", [{"schema": 1, "benchmarks": []}, {}, {"schema": 2}])
def test_scores_of_another_schema(folder: Path, scores: Path, content: dict[str, Any]) -> None:
    scores.write_text(json.dumps(content))
    with pytest.raises(DataError, match="not scores of schema 2"):
        write_card(folder, scores)


def test_scores_that_are_no_object(folder: Path, scores: Path) -> None:
    scores.write_text("[]")
    with pytest.raises(DataError, match="expected a JSON object, found list"):
        write_card(folder, scores)


@pytest.mark.parametrize("name", ["config.json", "training.json"])
def test_a_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(DataError, match=f"{name}: there is no such file"):
        write_card(folder)


FIGURE = {"value": 0.71, "low": 0.61, "high": 0.79}
RICH: dict[str, Any] = {
    **SCORES["benchmarks"][0],
    "name": "gtzan@fault-filtered:/home/me/gtzan",
    "source": "/home/me/gtzan",
    "licence": "unknown",
    "protocol": "The 930 files that Sturm keeps.",
    "notes": ["/home/me/gtzan holds 1000 files", "jazz.00054 is torn"],
    "left_out": {"blues": 17, "country | western": 23},
    "sampling": {"method": "bca", "over": "artists", "units": 57, "resamples": 2000, "seed": 4},
    "calibration": {"ece": {"value": 0.083, "low": 0.05, "high": 0.11}},
    "per_class": [
        {"label": "Funk", "precision": 0.7, "recall": 0.8, "f1": 0.7467, "support": 412}
        | {"intervals": {"precision": {"low": 0.6, "high": 0.85}, "recall": None, "f1": {"low": 0.69, "high": 0.81}}}
    ],
}
HOW = {
    "model": {"path": "model", "aggregate": "logits"},
    "record": {"details": {"window_seconds": 10.0, "hop_seconds": 5.0}},
}


def rich(scores: Path, **changes: Any) -> None:
    scores.write_text(json.dumps({**SCORES, **HOW, "benchmarks": [{**RICH, **changes}]}))


def test_the_protocol_is_in_the_card(folder: Path, scores: Path) -> None:
    rich(scores)
    write_card(folder, scores)
    text = page.plain(read(folder).split("## How it was evaluated")[1].split("## Results")[0])
    assert "gtzan, 1,234 recordings. The 930 files that Sturm keeps. Licence: unknown." in text
    assert (
        "Left out, as their label is not one of the model's: blues (17), country | western (23). jazz.00054 is torn."
        in text
    )
    assert (
        "windows of 10 s, one every 5 s; the prediction for a recording is the mean of their windows' logits" in text
    )
    assert "95 % intervals, BCa bootstrap over 57 artists, 2,000 resamples, seed 4" in text
    rich(scores, sampling=RICH["sampling"] | {"alone": 7})
    write_card(folder, scores)
    assert "bootstrap over 50 artists and 7 tracks of unknown artist, 2,000 resamples" in page.plain(read(folder))
    assert "One training, with seed 0" in text and "no description is in both splits" in text
    assert "/home/me" not in read(folder)


def test_the_method_of_exact_intervals_is_named(folder: Path, scores: Path) -> None:
    rich(scores, sampling=RICH["sampling"] | {"exact": {"recall": ["Funk"]}})
    write_card(folder, scores)
    assert "2,000 resamples, seed 4; Clopper-Pearson where no resample changes a figure." in read(folder)
    rich(scores)
    write_card(folder, scores)
    assert "Clopper" not in read(folder)


def test_classes_confusions_and_calibration_match_the_scores(folder: Path, scores: Path) -> None:
    rich(scores)
    write_card(folder, scores)
    text = read(folder)
    assert rows(text, "### gtzan, by genre")["Funk"] == ["70.0 % [60.0, 85.0]", "80.0 %", "74.7 % [69.0, 81.0]", "412"]
    (matrix,) = (table for table in page.tables(text) if table[0][0] == "true, predicted as")
    assert matrix[0][1:] == list(GENRES)
    assert [[int(cell) for cell in row[1:]] for row in matrix[1:]] == RICH["confusion_matrix"]
    assert "the expected calibration error is 8.3 % [5.0, 11.0]" in text


def test_many_classes_get_a_list_of_the_most_frequent_confusions(folder: Path, scores: Path) -> None:
    labels = [f"genre {n}" for n in range(13)]
    matrix = [[50 if row == column else (row * column) % 11 for column in range(13)] for row in range(13)]
    rich(scores, labels=labels, confusion_matrix=matrix)
    write_card(folder, scores)
    (table,) = (table for table in page.tables(read(folder)) if table[0] == ["true", "predicted as", "times"])
    counts = [int(row[2]) for row in table[1:]]
    off = sorted((matrix[r][c] for r in range(13) for c in range(13) if r != c), reverse=True)
    assert counts == off[:10] and all(matrix[labels.index(r)][labels.index(c)] == int(n) for r, c, n in table[1:])


def damages(scores: Path, folder: Path, **changes: Any) -> None:
    difference = {"value": -0.2, "low": -0.32, "high": -0.08}
    level = {"kind": "noise", "level": 20.0, "unit": "dB", "about": "pink noise", "figures": {"accuracy": FIGURE}}
    level |= {"drops": [{"metric": "accuracy", "difference": difference}]}
    content = {
        "schema": 1, "model": "model", "problem": "single_label_classification", "benchmark": "folder:/home/me/songs",
        "n": 321, "clean": {"accuracy": {"value": 0.91, "low": 0.85, "high": 0.95}}, "levels": [level],
        "record": {"fingerprint": FINGERPRINT, "started": "2999-01-01T00:00:00+00:00"},
    }  # fmt: skip
    (scores.parent / "robustness.json").write_text(json.dumps(content | changes))


def test_robustness_is_in_the_card_if_there_is_a_file(folder: Path, scores: Path) -> None:
    rich(scores)
    damages(scores, folder)
    write_card(folder, scores)
    text = read(folder)
    table = rows(text, "### Robustness to damaged audio")
    assert "Accuracy on the same 321 recordings of songs, damaged." in text and "/home/me" not in text
    assert table["none"][0] == "91.0 % [85.0, 95.0]"
    assert table["noise 20 dB"] == ["71.0 % [61.0, 79.0]", "-20.0 % [-32.0, -8.0]", "pink noise"]


@pytest.mark.parametrize(
    "change",
    [
        {"model": "another"},
        {"record": {"fingerprint": "feed", "started": "2999-01-01T00:00:00+00:00"}},
        {"record": {"fingerprint": FINGERPRINT, "started": "1999-01-01T00:00:00+00:00"}},
        {"problem": "regression"},
    ],
    ids=["model", "corpus", "before-training", "problem"],
)
def test_robustness_of_another_model_is_left_out(folder: Path, scores: Path, change: dict[str, Any]) -> None:
    rich(scores)
    damages(scores, folder, **change)
    write_card(folder, scores)
    assert "Robustness to damaged audio" not in read(folder)


def test_a_robustness_file_of_another_schema_is_refused(folder: Path, scores: Path) -> None:
    damages(scores, folder, schema=7)
    with pytest.raises(DataError, match="not results of robustness"):
        write_card(folder, scores)


@pytest.mark.parametrize(
    "benchmark",
    [
        {},
        {"name": "validation"},
        {**RICH, "confusion_matrix": [[1, 2], [3]]},
        {**RICH, "per_class": [{"label": "x"}]},
        {**RICH, "worst_pair": {"truth": "x"}},
        7,
    ],
    ids=["empty", "bare", "ragged", "class", "pair", "number"],
)
def test_incomplete_scores_are_refused(folder: Path, scores: Path, benchmark: Any) -> None:
    before = read(folder)
    scores.write_text(json.dumps({**SCORES, "benchmarks": [benchmark]}))
    with pytest.raises(DataError, match=r"not (complete )?scores"):
        write_card(folder, scores)
    assert read(folder) == before


def test_names_are_escaped(folder: Path, scores: Path) -> None:
    evil = "a|b <script>x</script> `c` *d*\n# Head"
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {"0": evil, "1": "Funk", "2": "Rock"}
    (folder / "config.json").write_text(json.dumps(config))
    record = json.loads((folder / "training.json").read_text())
    record["details"]["corpus_name"] = evil
    record["details"]["generator"] = {"name": evil, "revision": evil, "license": "mit", "about": evil}
    (folder / "training.json").write_text(json.dumps(record))
    per_class = [{"label": evil, "precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1}]
    pair = {"truth": evil, "predicted": evil, "count": 1, "share": 0.1}
    rich(scores, labels=[evil, "Funk", "Rock"], per_class=per_class, worst_pair=pair, protocol=evil, notes=[evil])
    write_card(folder, scores)
    text = read(folder)
    assert not page.ragged(text) and "<script>" not in page.html(text) and "<h1>Head" not in page.html(text)
    assert "a|b <script>x</script> `c` *d* # Head" in [row[0] for table in page.tables(text) for row in table]
    assert ModelCard.load(folder / "README.md").data.datasets == [evil]
