"""Audio of any kind -> probabilities that depend on the audio alone."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from builder import audio
from builder.audio import load_audio, resample
from builder.embedders.base import EmbedderBackend
from builder.errors import DataError
from evaluation.benchmarks.track import Track
from evaluation.inference.predict import load_model_embedder, predict_audio, predict_probabilities, predict_tracks
from training.models import audio_embedding as audio_embedding
from training.models.classifier import SynthmirClassifier, SynthmirConfig, load_model

from ..conftest import RATE, sound


@pytest.fixture
def net(model: Path) -> SynthmirClassifier:
    return load_model(model)


@pytest.fixture
def embedder(net: SynthmirClassifier) -> EmbedderBackend:
    return load_model_embedder(net)


class Levels:
    """An embedder that one can compute by hand: the mean of a window of one second at 10 Hz."""

    name, revision, dim, sampling_rate, window_seconds, about = "levels", "1", 1, 10, 1.0, ""

    def embed(self, audio: np.ndarray) -> np.ndarray:
        assert 1 <= audio.shape[1] <= 10 and audio.dtype == np.float32
        return audio.mean(axis=1, keepdims=True)


class Logistic(torch.nn.Module):
    """Two classes; the probability of the second is the logistic of 4 x - 2."""

    device = torch.device("cpu")
    config = SynthmirConfig(id2label={0: "low", 1: "high"})

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        self.logits = torch.cat([torch.zeros_like(embeddings), 4 * embeddings - 2], dim=1)
        return self


def test_probability_is_the_mean_over_half_overlapping_windows() -> None:
    samples = np.linspace(0, 1, 23, dtype=np.float32)
    starts = [0, 5, 10, 13]  # half a window apart, the last one ends with the audio
    each = [1 / (1 + np.exp(2 - 4 * samples[start : start + 10].mean())) for start in starts]
    got = predict_audio(Logistic(), Levels(), samples, batch_size=3)
    np.testing.assert_allclose(got, [1 - np.mean(each), np.mean(each)], rtol=1e-6)


@pytest.mark.parametrize("samples", [1, 7, 10, 11, 15, 20, 21, 400])
def test_any_length(samples: int) -> None:
    got = predict_audio(Logistic(), Levels(), np.full(samples, 0.5, np.float32))
    assert got.sum() == pytest.approx(1)
    assert got[1] == pytest.approx(0.5)  # the logistic of 4 * 0.5 - 2: no window saw anything but the audio


@pytest.mark.parametrize("batch_size", [1, 2, 5, 64])
def test_neither_batch_nor_order_nor_workers_change_a_bit(
    net: SynthmirClassifier, embedder: EmbedderBackend, music: Path, batch_size: int
) -> None:
    soundfile.write(music / "ROCK/long.flac", sound(2, 30, 31.0), RATE)
    (music / "ROCK/broken.wav").write_bytes(b"not audio")
    tracks = [Track(path.name, path, 0) for path in sorted(music.rglob("*.*"))]
    alone = {}
    for track in tracks:
        [(_, alone[track.path])] = predict_tracks(net, embedder, [track], workers=1)
    shuffled = [tracks[index] for index in np.random.default_rng(batch_size).permutation(len(tracks))]
    got = list(predict_tracks(net, embedder, shuffled, batch_size=batch_size, workers=3))
    assert [track for track, _ in got] == shuffled
    for track, result in got:
        if isinstance(result, str):
            assert result == alone[track.path] and "cannot be read" in result and str(track.path) not in result
        else:
            assert (result == alone[track.path]).all()


FORMATS = [
    ("a.wav", "PCM_U8", RATE, 1),
    ("a.wav", "PCM_16", 44_100, 2),
    ("a.wav", "PCM_24", 48_000, 2),
    ("a.wav", "FLOAT", 22_050, 1),
    ("a.wav", "PCM_24", 96_000, 6),
    ("a.flac", "PCM_24", 96_000, 2),
    ("a.FLAC", "PCM_16", RATE, 1),
    ("a.mp3", "MPEG_LAYER_III", 44_100, 2),
    ("a.ogg", "VORBIS", 48_000, 2),
    ("a.au", "PCM_16", 22_050, 1),
    ("a.aiff", "PCM_16", 11_025, 1),
    ("a.wav", "PCM_16", 22_254, 1),
    ("a.wav", "PCM_16", 11_127, 1),
    ("späte  Nächte 日本 'n' \"roll\".wav", "PCM_16", 8_000, 1),
]


@pytest.mark.parametrize(("name", "subtype", "rate", "channels"), FORMATS)
def test_formats(
    net: SynthmirClassifier,
    embedder: EmbedderBackend,
    tmp_path: Path,
    name: str,
    subtype: str,
    rate: int,
    channels: int,
) -> None:
    """The same noise in another coat is the same genre, as sure as the clean samples."""
    clean = sound(2, 40, 3.0)
    coat = resample(clean, RATE, rate)
    soundfile.write(tmp_path / name, np.stack([coat] * channels, axis=1), rate, subtype=subtype)
    [(_, got)] = predict_tracks(net, embedder, [Track(name, tmp_path / name, 2)])
    assert not isinstance(got, str), got
    assert got.sum() == pytest.approx(1)
    if rate >= 22_050:  # under that the noise has lost half its band
        assert got.argmax() == predict_audio(net, embedder, clean).argmax() == 2


def broken(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Files that bear an audio suffix and hold none."""
    yield "empty.wav", b""
    yield "text.wav", b"this is text, not audio\n" * 40
    yield "broken.mp3", b"\xff\xfb\x90\x00" + bytes(range(256)) * 2
    yield "noise.ogg", np.random.default_rng(0).bytes(4096)
    soundfile.write(folder / "whole.flac", sound(0, 0), RATE)
    yield "cut.flac", (folder / "whole.flac").read_bytes()[:30]
    soundfile.write(folder / "none.wav", np.zeros(0, np.float32), RATE)
    yield "zero-length.wav", (folder / "none.wav").read_bytes()
    soundfile.write(folder / "nan.wav", np.full(100, np.nan, np.float32), RATE, subtype="FLOAT")
    yield "not a number.wav", (folder / "nan.wav").read_bytes()
    for kind in ("wav", "mp3", "ogg"):
        soundfile.write(folder / f"complete.{kind}", sound(0, 0), RATE)
        data = (folder / f"complete.{kind}").read_bytes()
        yield f"half.{kind}", data[: len(data) // 2]


def test_what_cannot_be_read_says_why(net: SynthmirClassifier, embedder: EmbedderBackend, tmp_path: Path) -> None:
    tracks = [Track("missing.wav", tmp_path / "missing.wav", 0), Track("folder.wav", tmp_path, 0)]
    for name, content in broken(tmp_path):
        (tmp_path / name).write_bytes(content)
        tracks.append(Track(name, tmp_path / name, 0))
    reasons = {track.id: result for track, result in predict_tracks(net, embedder, tracks)}
    for name, reason in reasons.items():
        assert isinstance(reason, str) and len(reason) > 10 and str(tmp_path) not in reason, name
    assert "No such file" in reasons["missing.wav"] and "Is a directory" in reasons["folder.wav"]
    assert "holds no samples" in reasons["zero-length.wav"]
    assert all(reasons[f"half.{kind}"].startswith("is truncated or damaged: ") for kind in ("wav", "mp3", "ogg"))
    assert "NaN" in reasons["not a number.wav"] and "cannot be read as audio" in reasons["text.wav"]


def test_decoding_stays_ahead_by_a_few_tracks_only(
    net: SynthmirClassifier, embedder: EmbedderBackend, music: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = music / "ROCK/20.wav"
    asked = []

    def tracks() -> Iterator[Track]:
        for index in range(40):
            asked.append(index)
            yield Track(str(index), path, 0)

    most = 0
    for done, _ in enumerate(predict_tracks(net, embedder, tracks(), batch_size=4, workers=2)):
        most = max(most, len(asked) - done)
    assert len(asked) == 40 and most <= 4 + 2 + 1


def test_probabilities_sum_to_one(net: SynthmirClassifier) -> None:
    vectors = np.random.default_rng(0).normal(0, 1e4, (9, 768)).astype(np.float32)
    got = predict_probabilities(net, vectors)
    assert got.shape == (9, 3) and (got >= 0).all()
    np.testing.assert_allclose(got.sum(axis=1), 1)


def test_another_revision_of_the_embedder_is_refused(net: SynthmirClassifier) -> None:
    net.config.embedder = net.config.embedder | {"revision": "0"}
    with pytest.raises(DataError, match="revision 0"):
        load_model_embedder(net)


@given(st.lists(st.integers(0, 60), min_size=1, max_size=8), st.integers(1, 30))
@settings(max_examples=200, deadline=None)
def test_windows_of_blocks_are_those_of_the_whole(lengths: list[int], window: int) -> None:
    embedder = Levels()
    embedder.window_seconds = window / embedder.sampling_rate
    samples = np.arange(sum(lengths), dtype=np.float32)
    got = list(audio_embedding.cut_stream(np.split(samples, np.cumsum(lengths)[:-1]), embedder))
    want = audio_embedding.cut_recording(samples, embedder)
    assert len(got) == len(want) and all((one == other).all() for one, other in zip(got, want, strict=True))


class Heavy:
    """An embedder that is run by the thread that calls, on whole groups."""

    def __init__(self, inner: EmbedderBackend) -> None:
        self.inner, self.light = inner, False

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)


@pytest.mark.parametrize("light", [True, False], ids=["light", "heavy"])
def test_a_long_track_is_embedded_while_it_is_read(
    net: SynthmirClassifier, embedder: EmbedderBackend, music: Path, light: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The prediction is the same bit for bit, among short tracks too; a fault in the middle is reported."""
    monkeypatch.setattr(audio, "BLOCK_SECONDS", 7)
    soundfile.write(music / "long.wav", np.stack([sound(2, 30, 64.3), sound(1, 31, 64.3)], axis=1), RATE)
    bad = sound(2, 30, 64.3)
    bad[50 * RATE] = np.nan
    soundfile.write(music / "bad.wav", bad, RATE, subtype="FLOAT")
    short = music / "ROCK/20.wav"
    tracks = [Track(str(n), path, 0) for n, path in enumerate([short, music / "long.wav", music / "bad.wav", short])]
    chosen = embedder if light else Heavy(embedder)
    assert getattr(embedder, "light", False)
    held = list(predict_tracks(net, chosen, tracks, workers=2))
    monkeypatch.setattr(audio_embedding, "WHOLE", 20)
    assert not isinstance(audio_embedding.read_recording(music / "long.wav", RATE), np.ndarray)
    got = list(predict_tracks(net, chosen, tracks, workers=2))
    assert [track.id for track, _ in got] == ["0", "1", "2", "3"]
    for (_, one), (_, other) in zip(got, held, strict=True):
        assert one == other if isinstance(one, str) else (one == other).all()
    assert got[2][1] == "has samples that are not finite (NaN or infinite)"
    alone = predict_audio(net, embedder, load_audio(music / "long.wav", embedder.sampling_rate))
    assert (got[1][1] == alone).all()


def test_hours_are_predicted_in_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two and a half hours, which would be 288 MB at this rate if held as a whole."""

    class Loud(Levels):
        sampling_rate, window_seconds = 8_000, 10.0

        def embed(self, audio: np.ndarray) -> np.ndarray:
            return np.abs(audio).mean(axis=1, keepdims=True)

    path = tmp_path / "mix.flac"
    with soundfile.SoundFile(path, "w", 8_000, 1, "PCM_16") as file:
        for minute in range(150):
            file.write(np.full(60 * 8_000, 16_384 * (minute % 2), np.int16))
    monkeypatch.setattr(audio, "MAX_HELD", 1 << 24)
    tracemalloc.start()
    try:
        [(_, got)] = predict_tracks(Logistic(), Loud(), [Track("mix", path, 0)])
        assert tracemalloc.get_traced_memory()[1] < 60e6
    finally:
        tracemalloc.stop()
    quiet, loud = 1 / (1 + np.exp(2)), 0.5  # of the levels 0 and 0.5; between them a window hchosen half of each
    between = 1 / (1 + np.exp(2 - 4 * 0.25))
    want = ((1_799 - 149) / 2 * (quiet + loud) + 149 * between) / 1_799
    assert got[1] == pytest.approx(want, rel=1e-3)
