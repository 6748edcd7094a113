"""The contract of embedders, tested for all that are registered."""

from __future__ import annotations

import re

import numpy as np
import pytest

from builder.embedders.base import EmbedderBackend, config_name, load_embedder
from builder.errors import BackendError
from builder.registry import EMBEDDERS
from builder.settings import EmbedderSettings

from .embedder_checkpoints import TINY, tiny_passt, transformers_model
from .tf_writer import random_musicnn, save


@pytest.fixture(scope="module", params=sorted(EMBEDDERS))
def settings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> EmbedderSettings:
    """Settings that load it, with small random weights where it needs some."""
    folder = tmp_path_factory.mktemp("weights")
    if request.param == "passt":
        return EmbedderSettings(name="passt", weights=str(tiny_passt(folder)), arch=TINY)
    if request.param == "musicnn":
        return EmbedderSettings(name="musicnn", weights=str(save(folder / "a", random_musicnn("MSD_musicnn"))))
    if request.param == "hf":
        return EmbedderSettings(name=f"hf:{transformers_model('ast', folder)}")
    return EmbedderSettings(name=request.param)


@pytest.fixture(scope="module")
def embedder(settings: EmbedderSettings) -> EmbedderBackend:
    return load_embedder(settings)


def windows(embedder: EmbedderBackend, n: int, seed: int = 0) -> np.ndarray:
    """float32 [n, samples]: noise, each with another swell."""
    samples = round(embedder.window_seconds * embedder.sampling_rate)
    rng = np.random.default_rng(seed)
    swell = np.linspace(rng.uniform(0, 1, n), rng.uniform(0, 1, n), samples, axis=1)
    audio: np.ndarray = (0.3 * swell * rng.standard_normal((n, samples))).astype(np.float32)
    return audio


def test_attributes(embedder: EmbedderBackend, settings: EmbedderSettings) -> None:
    assert EMBEDDERS.load(settings.name.partition(":")[0]) is type(embedder)
    assert embedder.name == config_name(settings) and re.fullmatch(r"[a-z0-9][a-z0-9._-]*", embedder.name)
    assert embedder.revision and isinstance(embedder.revision, str)
    assert embedder.dim > 0 and embedder.sampling_rate > 0 and embedder.window_seconds > 0
    assert embedder.about.endswith(".") and len(embedder.about) < 400


@pytest.mark.parametrize("n", [1, 3])
def test_shape_and_type(embedder: EmbedderBackend, n: int) -> None:
    vectors = embedder.embed(windows(embedder, n))
    assert vectors.shape == (n, embedder.dim) and vectors.dtype == np.float32 and np.isfinite(vectors).all()


def test_result_is_repeatable(embedder: EmbedderBackend, settings: EmbedderSettings) -> None:
    audio = windows(embedder, 2)
    before = audio.copy()
    first = embedder.embed(audio)
    again = load_embedder(settings.model_copy(update={"batch_size": 3})).embed(audio)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(audio, before)  # the input is left as it was


def test_embedding_does_not_depend_on_the_batch(embedder: EmbedderBackend) -> None:
    audio = windows(embedder, 8)
    whole = embedder.embed(audio)
    for row in (0, 3, 7):
        np.testing.assert_allclose(embedder.embed(audio[row : row + 1])[0], whole[row], rtol=1e-6, atol=1e-6)


def test_different_audio_has_different_embeddings(embedder: EmbedderBackend) -> None:
    one, two = embedder.embed(windows(embedder, 2))
    assert np.abs(one - two).max() > 1e-3


def test_silence_and_full_scale_are_finite(embedder: EmbedderBackend) -> None:
    audio = np.zeros_like(windows(embedder, 3))
    audio[1] = np.where(np.arange(audio.shape[1]) % 100 < 50, 1.0, -1.0)
    audio[2, : audio.shape[1] // 10] = 0.5  # then padding
    assert np.isfinite(embedder.embed(audio)).all()


def test_audio_shorter_than_a_window(embedder: EmbedderBackend) -> None:
    audio = windows(embedder, 2)[:, : embedder.sampling_rate // 2]
    vectors = embedder.embed(np.ascontiguousarray(audio))
    assert vectors.shape == (2, embedder.dim) and np.isfinite(vectors).all()


def test_input_need_not_be_contiguous(embedder: EmbedderBackend) -> None:
    audio = windows(embedder, 4)
    np.testing.assert_allclose(embedder.embed(audio[::2]), embedder.embed(audio[::2].copy()), rtol=1e-5, atol=1e-6)


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(BackendError, match="no embedder called 'vggish'") as caught:
        load_embedder(EmbedderSettings(name="vggish"))
    assert "melstats" in (caught.value.fix or "")
