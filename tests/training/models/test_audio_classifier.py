"""transformers' Auto classes and pipeline on synthmir's classifiers, with every kind of audio input."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AudioClassificationPipeline,
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
    pipeline,
)

from builder import audio
from builder.audio import resample
from builder.errors import BackendError, DataError
from builder.settings import EmbedderSettings
from evaluation.classify import classify
from training.models import audio_embedding
from training.models.audio_classifier import mean_logits
from training.models.classifier import MULTI, REGRESSION, SINGLE, load_model

from ...builder.embedders.embedder_checkpoints import TINY, tiny_passt, transformers_model
from ..model_folders import LABELS, make_model_folder, make_sound

TASK = "audio-classification"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model_folder(tmp_path_factory.mktemp("shared") / "model")


@pytest.fixture(scope="module")
def classifier(folder: Path) -> Any:
    return pipeline(TASK, model=str(folder), top_k=None)


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of several rates, channels, lengths and formats."""
    root = tmp_path_factory.mktemp("music")
    stereo = np.stack([make_sound(13.0, 44_100, 1), make_sound(13.0, 44_100, 2)], axis=1)
    soundfile.write(root / "long stereo.wav", stereo, 44_100)
    soundfile.write(root / "short.flac", make_sound(0.4, 22_050, 3), 22_050)
    soundfile.write(root / "odd.ogg", make_sound(3.0, 48_000, 4), 48_000)
    soundfile.write(root / "song.mp3", make_sound(2.0, 32_000, 5), 32_000)
    return root


def scores(answer: list[dict[str, Any]]) -> dict[str, float]:
    return {one["label"]: one["score"] for one in answer}


def close(one: dict[str, float], other: dict[str, float], tolerance: float = 1e-5) -> bool:
    return one.keys() == other.keys() and all(abs(one[label] - other[label]) <= tolerance for label in one)


def test_pipeline_gives_the_scores_of_classify(folder: Path, classifier: Any, music: Path) -> None:
    files = sorted(music.iterdir())
    assert [file.suffix for file in files] == [".wav", ".ogg", ".flac", ".mp3"]
    predictions = classify(folder, files, top_k=3)
    for answers in (
        classifier([str(file) for file in files]),
        classifier([str(file) for file in files], batch_size=3),
    ):
        for answer, expected in zip(answers, predictions, strict=True):
            assert close(scores(answer), dict(expected.labels))
    spread = [max(scores(answer).values()) for answer in classifier([str(file) for file in files])]
    assert max(spread) - min(spread) > 1e-3  # the files get different scores


def test_scores_do_not_depend_on_the_batch(classifier: Any, music: Path) -> None:
    files = [str(file) for file in sorted(music.iterdir())]
    assert classifier(files, batch_size=4) == [classifier(file) for file in files]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def server(music: Path) -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(music))) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def test_every_kind_of_audio_input_gives_the_same_scores(classifier: Any, music: Path, server: str) -> None:
    file = music / "long stereo.wav"
    samples, rate = soundfile.read(file, dtype="float32")
    integers, _ = soundfile.read(file, dtype="int16")
    decoder = SimpleNamespace(
        get_all_samples=lambda: SimpleNamespace(data=torch.from_numpy(samples.T), sample_rate=rate)
    )
    expected = scores(classifier(str(file)))
    for same in (
        file.read_bytes(), f"{server}/long%20stereo.wav", {"bytes": file.read_bytes(), "path": None},
        {"path": str(file)}, {"array": samples, "sampling_rate": rate}, {"raw": samples.T, "sampling_rate": rate},
        {"array": integers, "sampling_rate": rate}, {"array": torch.from_numpy(samples), "sampling_rate": rate},
        {"array": samples.mean(axis=1, dtype=np.float64), "sampling_rate": rate, "path": "x.wav"}, decoder,
        resample(samples.mean(axis=1), rate, 32_000),
    ):  # fmt: skip
        assert close(scores(classifier(same)), expected, 1e-6)


def test_top_k_and_lists(folder: Path, music: Path) -> None:
    classifier = pipeline(TASK, model=folder)
    answers = classifier([str(music / "odd.ogg"), str(music / "short.flac")], top_k=2)
    assert [len(answer) for answer in answers] == [2, 2]
    assert answers[0][0]["score"] >= answers[0][1]["score"]
    assert set(scores(classifier(str(music / "odd.ogg")))) == set(LABELS)


def test_pipeline_needs_no_ffmpeg_and_prints_nothing(
    folder: Path, music: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    assert shutil.which("ffmpeg") is None
    pipeline(TASK, model=str(folder))(str(music / "song.mp3"))
    assert capfd.readouterr() == ("", "")


def test_auto_classes_without_the_pipeline(folder: Path, classifier: Any) -> None:
    clips = [make_sound(12.0, seed=1), make_sound(0.3, seed=2), make_sound(4.0, seed=3)]
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    model = AutoModelForAudioClassification.from_pretrained(folder)
    inputs = extractor(clips, sampling_rate=32_000, return_tensors="pt")
    assert inputs["input_values"].shape == (3, 12 * 32_000)
    assert inputs["attention_mask"].sum(dim=1).tolist() == [len(clip) for clip in clips]
    labels = torch.tensor([0, 2, 1])
    out = model(**inputs, labels=labels)
    for clip, probabilities in zip(clips, out.logits.softmax(dim=1), strict=True):
        assert close(scores(classifier(clip)), dict(zip(LABELS, probabilities.tolist(), strict=True)), 1e-6)
    torch.testing.assert_close(out.loss, -out.logits.log_softmax(dim=1)[torch.arange(3), labels].mean())
    assert [part.shape for part in model(**inputs, labels=labels, return_dict=False)] == [(), (3, 3)]
    out.loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_saved_auto_model_has_the_weights_of_the_classifier(folder: Path, tmp_path: Path) -> None:
    model = AutoModelForAudioClassification.from_pretrained(folder)
    model.save_pretrained(tmp_path)
    for key, value in load_model(tmp_path).state_dict().items():
        assert torch.equal(value, load_model(folder).state_dict()[key])


@pytest.mark.parametrize("problem", [MULTI, REGRESSION])
def test_other_problem_types_give_the_scores_of_classify(problem: str, tmp_path: Path, music: Path) -> None:
    folder = make_model_folder(tmp_path / "model", problem=problem)
    classifier, file = pipeline(TASK, model=str(folder)), music / "long stereo.wav"
    [prediction] = classify(folder, [file])
    predicted = scores(classifier(str(file)))
    if problem == REGRESSION:
        assert (
            prediction.value is not None
            and abs(predicted["tempo_bpm"] / prediction.value - 1) < 1e-5
            and 20 < prediction.value < 300
        )
    else:
        assert close(predicted, dict(prediction.labels)) and abs(sum(predicted.values()) - 1) > 1e-3


def test_nearest_neighbours_classifier(tmp_path: Path, music: Path) -> None:
    folder = make_model_folder(tmp_path / "model", neighbors=3)
    [prediction] = classify(folder, [music / "odd.ogg"])
    assert close(scores(pipeline(TASK, model=str(folder))(str(music / "odd.ogg"))), dict(prediction.labels))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_long_file_is_embedded_while_it_is_read(
    folder: Path, music: Path, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch with short files and an array gives the same scores; a NaN at the end of the file raises an error."""
    monkeypatch.setattr(audio, "BLOCK_SECONDS", 4)
    classifier = pipeline(TASK, model=str(folder), top_k=None)
    long, short = str(music / "long stereo.wav"), str(music / "short.flac")
    inputs = [short, long, Path(long).read_bytes(), make_sound(1.0, 32_000)]
    before = classifier(inputs, batch_size=batch_size)
    monkeypatch.setattr(audio_embedding, "WHOLE", 5)
    assert classifier.preprocess(long)["input_values"].shape == (1, 1)
    assert classifier(inputs, batch_size=batch_size) == before
    bad = make_sound(13.0, 32_000)
    bad[-1] = np.nan
    soundfile.write(music / "bad end.wav", bad, 32_000, subtype="FLOAT")
    with pytest.raises(DataError, match="not finite"):
        classifier(str(music / "bad end.wav"))


@given(st.integers(1, 5), st.integers(2, 4), st.integers(0, 9))
@settings(max_examples=20, deadline=None)
def test_mean_logits_give_the_mean_probability(windows: int, labels: int, seed: int) -> None:
    logits = 8 * torch.randn(windows, labels, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    torch.testing.assert_close(mean_logits(logits, SINGLE).exp(), logits.softmax(dim=1).mean(dim=0))
    torch.testing.assert_close(mean_logits(logits, MULTI).sigmoid(), logits.sigmoid().mean(dim=0))
    torch.testing.assert_close(mean_logits(logits, REGRESSION), logits.mean(dim=0))


def test_mean_logits_of_extreme_windows_are_finite() -> None:
    for problem in (SINGLE, MULTI):
        assert torch.isfinite(mean_logits(torch.tensor([[900.0, -900.0], [900.0, -900.0]]), problem)).all()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"no audio", "cannot be read as audio"),
        ("/nowhere/song.wav", "cannot be read: No such file"),
        ({"array": np.zeros(9, np.float32)}, "neither samples with their rate nor a file"),
        ({"array": np.zeros(9, np.float32), "sampling_rate": 0}, "sampling_rate: expected a whole number of Hz"),
        ({"array": np.zeros(9, np.float32), "sampling_rate": "fast"}, "sampling_rate: expected a whole number of Hz"),
        ({"array": np.zeros(9, np.float32), "sampling_rate": np.nan}, "sampling_rate: expected a whole number of Hz"),
        ({"array": [0.1, 0.2], "sampling_rate": 32_000}, "array of floats or signed integers, found list"),
        (np.zeros(0, np.float32), r"found \[0\]"),
        (np.zeros((2, 3, 4), np.float32), r"found \[2, 3, 4\]"),
        (np.zeros((500, 600), np.float32), r"found \[500, 600\]"),
        (np.zeros(9, bool), "found bool"),
        (np.array([0, np.nan], np.float32), "NaN"),
    ],
    ids=range(12),
)
def test_inputs_that_are_not_audio_are_refused(classifier: Any, bad: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        classifier(bad)


def test_missing_url_is_reported(classifier: Any, server: str) -> None:
    with pytest.raises(DataError, match=r"none.wav: cannot be fetched: .*404"):
        classifier(f"{server}/none.wav")


def test_pipelines_of_other_models_are_unchanged() -> None:
    narrow = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    convolutions = {"conv_dim": (8, 8), "conv_stride": (5, 4), "conv_kernel": (10, 3), "num_conv_pos_embeddings": 8}
    torch.manual_seed(0)
    config = Wav2Vec2Config(**narrow, **convolutions, num_conv_pos_embedding_groups=2, num_labels=3)
    parts = {
        "model": Wav2Vec2ForSequenceClassification(config).eval(),
        "feature_extractor": Wav2Vec2FeatureExtractor(),
    }
    clip = make_sound(0.5, 16_000)
    answer = pipeline(TASK, **parts, device="cpu")(clip)
    assert answer == AudioClassificationPipeline(**parts, device="cpu", task=TASK)(clip)
    with pytest.raises(ValueError, match="single channel"):
        pipeline(TASK, **parts)(np.stack([clip, clip]))


def edit(folder: Path, **changes: Any) -> Path:
    config = json.loads((folder / "config.json").read_text())
    config["embedder"] |= changes
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_loading_reports_another_revision_of_the_embedder(folder: Path, tmp_path: Path) -> None:
    other = edit(Path(shutil.copytree(folder, tmp_path / "model")), revision="0")
    with pytest.raises(DataError, match=r"trained on melstats with revision 0; here it has 2"):
        AutoModelForAudioClassification.from_pretrained(other)


@pytest.fixture(scope="module")
def passt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model on PaSST embeddings, and the file of PaSST's weights."""
    root = tmp_path_factory.mktemp("passt")
    weights = tiny_passt(root)
    return make_model_folder(root / "model", EmbedderSettings(name="passt", arch=TINY, weights=str(weights))), weights


def test_passt_with_moved_weights(passt: tuple[Path, Path], tmp_path: Path, music: Path) -> None:
    folder, weights = passt
    file = str(music / "long stereo.wav")
    [prediction] = classify(folder, [file])
    assert close(scores(pipeline(TASK, model=str(folder))(file)), dict(prediction.labels))
    moved = Path(shutil.copytree(folder, tmp_path / "model"))
    edit(moved, settings={"name": "passt", "arch": TINY, "weights": "/nowhere/passt.pt"})
    with pytest.raises(BackendError, match=r"(?s)no file and no folder /nowhere/passt.pt.*embedder_weights=FILE"):
        pipeline(TASK, model=str(moved))
    classifier = pipeline(TASK, model=str(moved), model_kwargs={"embedder_weights": str(weights)})
    assert close(scores(classifier(file)), dict(prediction.labels))


def test_a_transformers_embedder_at_its_own_rate(tmp_path: Path, music: Path) -> None:
    checkpoint = transformers_model("wav2vec2", tmp_path / "wav2vec2")
    folder = make_model_folder(tmp_path / "model", EmbedderSettings(name=f"hf:{checkpoint}", layer=1))
    assert AutoFeatureExtractor.from_pretrained(folder).sampling_rate == 16_000
    files = [music / "long stereo.wav", music / "short.flac"]
    answers = pipeline(TASK, model=str(folder))([str(file) for file in files], batch_size=2)
    for answer, prediction in zip(answers, classify(folder, files), strict=True):
        assert close(scores(answer), dict(prediction.labels))
