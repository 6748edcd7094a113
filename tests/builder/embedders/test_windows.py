"""Audio of any length: read by blocks, cut in windows, averaged."""

from __future__ import annotations

import io
import itertools
import tracemalloc

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from builder import audio as audio_module
from builder.audio import decode_audio, load_audio, resample, split_into_windows, stream_audio, to_mono
from builder.embedders.windows import cut_windows, embed_clips, embed_streams, read_ahead
from builder.errors import DataError
from builder.settings import EmbedderSettings

from ..fakes import Levels


def noise(samples: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    return (0.2 * np.random.default_rng(seed).standard_normal((samples, channels))).astype(np.float32)


def wav(samples: np.ndarray, rate: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


@pytest.mark.parametrize(("origin", "target"), [(44_100, 32_000), (8_000, 32_000), (48_000, 16_000), (11_127, 32_000)])
@pytest.mark.parametrize("seconds", [0.01, 1.9, 5.37])
def test_resampled_blocks_join_without_seams(monkeypatch, origin, target, seconds):
    monkeypatch.setattr(audio_module, "BLOCK_SECONDS", 1)
    audio = wav(noise(int(seconds * origin), 2), origin)
    blocks = list(stream_audio(audio, target))
    samples, rate = decode_audio(audio)
    np.testing.assert_allclose(np.concatenate(blocks), resample(to_mono(samples), rate, target), atol=1e-6)
    np.testing.assert_array_equal(np.concatenate(blocks), load_audio(audio, target))
    assert len(blocks) > 1 or seconds < 5 or origin == 11_127
    np.testing.assert_array_equal(np.concatenate(list(read_ahead(audio, target))), np.concatenate(blocks))


@settings(deadline=None)
@given(length=st.integers(1, 500), window=st.integers(1, 100), sizes=st.lists(st.integers(1, 90), min_size=1))
def test_end_to_end_windows_do_not_depend_on_the_blocks(length, window, sizes):
    samples = np.arange(length, dtype=np.float32)
    cut = list(cut_windows(blocks_of(samples, sizes), window))
    np.testing.assert_array_equal(np.stack(cut), split_into_windows(samples, window))


@settings(deadline=None)
@given(
    length=st.integers(1, 500),
    half=st.integers(1, 40),
    hop=st.integers(1, 60),
    sizes=st.lists(st.integers(1, 90), min_size=1),
)
def test_centred_windows_equal_those_of_the_mirrored_clip(length, half, hop, sizes):
    window, hop = 2 * half, min(hop, 2 * half)
    samples = np.arange(length, dtype=np.float32)
    cut = list(cut_windows(blocks_of(samples, sizes), window, hop))
    if length <= window:
        expected = samples[None]
    else:
        mirrored = torch.nn.functional.pad(torch.from_numpy(samples)[None], (half, half), mode="reflect")[0]
        expected = mirrored.unfold(0, window, hop).numpy()
    np.testing.assert_array_equal(np.stack(cut), expected)


def blocks_of(samples, sizes):
    start = 0
    for size in itertools.cycle(sizes):
        if start >= len(samples):
            return
        yield samples[start : start + size]
        start += size


class Centred(Levels):
    hop_seconds = 0.25


def test_hop_of_the_embedder_is_used_and_short_audio_is_not_padded():
    embedder = Centred(EmbedderSettings(name="levels"))
    long, short = noise(40_000)[:, 0], noise(5_000, seed=1)[:, 0]
    vectors = embed_clips(embedder, [long, short], batch_size=3)
    np.testing.assert_allclose(
        vectors[0], np.mean([embedder.embed(w[None])[0] for w in cut_windows([long], 16_000, 4_000)], 0), rtol=1e-5
    )
    np.testing.assert_allclose(vectors[1], embedder.embed(short[None])[0], rtol=1e-6)


def test_truncated_clip_is_reported_and_the_others_are_embedded():
    embedder = Levels(EmbedderSettings(name="levels"))
    good = noise(40_000)[:, 0]

    def torn():
        yield good
        raise DataError("breaks off")

    vectors, faults = embed_streams(embedder, [lambda: [good], torn, lambda: [good]], batch_size=2)
    assert {i: fault.message for i, fault in faults.items()} == {1: "breaks off"}
    assert np.isnan(vectors[1]).all()
    np.testing.assert_array_equal(vectors[0], embed_clips(embedder, [good])[0])
    np.testing.assert_array_equal(vectors[0], vectors[2])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as audio"),
        (b"RIFF and no more", "cannot be read as audio"),
        (wav(np.zeros((0, 1), np.float32), 8_000), "holds no samples"),
        (wav(np.where(np.arange(9_000) == 8_500, np.nan, 0)[:, None].astype(np.float32), 8_000), "NaN or infinite"),
    ],
)  # fmt: skip
def test_unreadable_audio_is_an_error(monkeypatch, tmp_path, content, message):
    monkeypatch.setattr(audio_module, "BLOCK_SECONDS", 1)
    (tmp_path / "a.wav").write_bytes(content)
    for source in (content, tmp_path / "a.wav"):
        with pytest.raises(DataError, match=message):
            list(stream_audio(source, 32_000))


def test_missing_files_and_empty_rows_are_errors(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        list(stream_audio(tmp_path / "none.wav", 32_000))
    with pytest.raises(DataError, match="no audio in this row"):
        read_ahead(None, 32_000)


def test_five_hours_take_the_memory_of_five_minutes(tmp_path):
    path = tmp_path / "long.wav"
    with soundfile.SoundFile(path, "w", 4_000, 1, "PCM_U8") as file:
        for _ in range(5 * 60):
            file.write(np.zeros(60 * 4_000, np.float32))
    seen = []

    class Counting(Levels):
        sampling_rate, window_seconds = 4_000, 10.0

        def embed(self, audio):
            seen.append(len(audio))
            return super().embed(audio)

    tracemalloc.start()
    vectors, faults = embed_streams(Counting(EmbedderSettings(name="levels")), [lambda: read_ahead(path, 4_000)])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(seen) == 5 * 360 and not faults
    assert peak < 60e6  # bytes; the whole is 288e6
    assert vectors[0, 3] == pytest.approx(4_000 * 10 / 16_000)
