"""Frame models learn what is planted, and their folders open again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mir_eval
import numpy as np
import pytest
import torch
from transformers import AutoModel, pipeline
from transformers.pipelines import PIPELINE_REGISTRY

from builder.audio import encode_flac
from builder.errors import DataError
from builder.hub.publishable import format_loading_code
from builder.settings import TrainingSettings
from training.frames.data import load_frame_data
from training.frames.loading import load_frame_model
from training.frames.model import FrameModel
from training.frames.spectrogram import FRAMES_SAMPLING_RATE as RATE
from training.frames.training import configure, fit_frames
from training.models.classifier import is_frame_folder, is_model_folder, load_model
from training.optim.loop import start_accelerator
from training.trainer import train

from .planted import choose, make_clip, make_data


def test_beats_of_clicks_are_learnt_and_found_in_a_longer_recording() -> None:
    settings = choose("beats", epochs=4)
    data = make_data(("beats",), train=32)
    model, learned = fit_frames(configure(data, settings), data, settings, start_accelerator(settings))
    assert learned.best["beats_f"] > 0.95
    samples, expected = make_clip(77, 13.0)
    found = model.annotate(samples, RATE, "77")
    assert found.id == "77" and found.duration == pytest.approx(13.0, abs=0.02)
    assert mir_eval.beat.f_measure(expected.beats, found.beats) > 0.9
    assert found.tempo_bpm == pytest.approx(60 / np.diff(expected.beats)[0], rel=0.05)


def test_a_model_folder_is_complete_and_opens_again(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "model.safetensors", "training.json", "README.md", "modeling_synthmir.py"} <= names
    assert not list(folder.parent.glob(".model*"))
    assert is_model_folder(folder) and is_frame_folder(folder)
    record = json.loads((folder / "training.json").read_text())["details"]
    assert record["clips"] == {"train": 6, "validation": 3} and len(record["curve"]) == 2
    assert set(record["best"]) >= {"beats_f", "chords_accuracy", "key_accuracy", "notes_loss"}
    model = load_frame_model(folder)
    assert isinstance(AutoModel.from_pretrained(folder), FrameModel)
    samples, _ = make_clip(3)
    annotation = model.annotate(samples, RATE)
    assert annotation.key in model.config.clip_labels("key") and annotation.time_signature in ("3/4", "4/4")
    assert annotation.chords is not None and annotation.chords.end[-1] == pytest.approx(4.0)
    assert annotation.melody is not None and len(annotation.melody) == 400 and annotation.notes is not None


def test_a_pipeline_answers_the_key_that_annotate_gives(folder: Path) -> None:
    samples, _ = make_clip(3, 9.0)
    classify = pipeline("audio-classification", model=str(folder), top_k=24)
    answers = classify(encode_flac(samples, RATE))
    assert len(answers) == 24 and sum(answer["score"] for answer in answers) == pytest.approx(1.0, abs=1e-3)
    assert answers[0]["label"] == load_frame_model(folder).annotate(samples, RATE).key


def test_the_remote_code_of_a_folder_gives_the_same_annotation(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.dynamic_module_utils import get_class_from_dynamic_module

    task = PIPELINE_REGISTRY.supported_tasks["audio-classification"]
    monkeypatch.setitem(task, "impl", task["impl"])  # restored: the code puts its own pipeline there
    samples, _ = make_clip(3)
    kind = get_class_from_dynamic_module("modeling_synthmir.FrameModel", folder)
    assert kind.__module__ != FrameModel.__module__
    ours, theirs = load_frame_model(folder), kind.from_pretrained(folder)
    found = theirs.annotate(samples, RATE)
    expected = ours.annotate(samples, RATE)
    np.testing.assert_array_equal(found.beats, expected.beats)
    assert (found.key, found.chords.label) == (expected.key, expected.chords.label)


def test_a_killed_training_resumes_with_the_same_weights(corpus: Path, tmp_path: Path, monkeypatch: Any) -> None:
    settings = choose("beats,key", epochs=3, damages=["noise:20"])
    monkeypatch.setattr("training.optim.checkpoint.SECONDS", 0.0)

    class KilledError(Exception):
        pass

    def stop(point: dict[str, Any]) -> None:
        if point["epoch"] == 2:
            raise KilledError

    train(corpus, tmp_path / "whole", settings)
    with pytest.raises(KilledError):
        train(corpus, tmp_path / "killed", settings, on_epoch=stop)
    assert (tmp_path / ".killed.checkpoint").exists()
    epochs: list[int] = []
    train(corpus, tmp_path / "killed", settings, on_epoch=lambda point: epochs.append(point["epoch"]))
    assert epochs == [1, 2, 3]
    whole, resumed = (load_frame_model(tmp_path / name).state_dict() for name in ("whole", "killed"))
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


def test_spectrograms_in_a_file_are_those_in_memory(corpus: Path, tmp_path: Path) -> None:
    kept, filed = (
        load_frame_data(corpus, choose("chords", memory=memory, damages=["noise:20"]), tmp_path / "cache")
        for memory in (1.0, 0.0)
    )
    assert not isinstance(kept.train.spectrograms, np.memmap) and isinstance(filed.train.spectrograms, np.memmap)
    np.testing.assert_array_equal(kept.train.spectrograms, filed.train.spectrograms)
    assert kept.train.damaged is not None and filed.train.damaged is not None
    np.testing.assert_array_equal(kept.train.damaged, filed.train.damaged)
    assert (kept.train.damaged != kept.train.spectrograms).any() and kept.identity == filed.identity


def test_longer_clips_are_cut_into_windows_with_their_annotations(corpus: Path, tmp_path: Path) -> None:
    data = load_frame_data(corpus, choose("beats", seconds=1.5), tmp_path)
    assert len(data.train) == 3 * 6 and data.train.lengths.tolist() == [75, 75, 50] * 6
    _, whole = make_clip(0)
    assert whole.beats is not None
    parts = [data.train.annotations[place].beats + 1.5 * place for place in range(3)]
    np.testing.assert_allclose(np.concatenate(parts), whole.beats)


def test_a_corpus_without_annotations_says_how_to_get_them(corpus: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(corpus, tmp_path / "corpus")
    shutil.rmtree(tmp_path / "corpus" / "annotations")
    with pytest.raises(DataError, match="has no config 'annotations'") as error:
        train(tmp_path / "corpus", tmp_path / "model", choose("beats"))
    assert "annotations: true" in str(error.value.fix)
    assert not list(tmp_path.glob("*model*"))


def test_models_of_the_other_kind_are_refused_by_name(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="synthmir_frames"):
        load_model(folder)
    config = json.loads((folder / "config.json").read_text())
    for change in ({"tasks": ["beats", "taste"]}, {"width": 1 << 30}, {"instrument_tracks": []}, {"tasks": []}):
        (tmp_path / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(DataError, match="describes no model"):
            load_frame_model(tmp_path)


def test_the_code_that_loads_a_published_model_is_what_it_can_do(folder: Path, tmp_path: Path) -> None:
    assert "pipeline" in format_loading_code("model", folder, "me/beats")[0]
    config = json.loads((folder / "config.json").read_text())
    del config["auto_map"]["AutoModelForAudioClassification"]  # as of a model of beats alone
    (tmp_path / "config.json").write_text(json.dumps(config))
    lines = format_loading_code("model", tmp_path, "me/beats", "v1")
    assert lines[1] == 'model = AutoModel.from_pretrained("me/beats", revision="v1", trust_remote_code=True)'


@pytest.mark.parametrize(("name", "value"), [("epochs", 3), ("lr", 0.1), ("batch_size", 4)])
def test_what_is_of_classifiers_of_embeddings_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"of beats it is frames\.{name}"):
        TrainingSettings(task="beats", **{name: value})
    assert getattr(TrainingSettings(task="genre", **{name: value}), name) == value
