"""Windows and their stitching."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from training.frames.spectrogram import FRAME_HOP
from training.frames.stitching import Stitcher, cut_windows

WINDOW = 20 * FRAME_HOP


@pytest.mark.parametrize(
    "samples", [0, 100, WINDOW - 1, WINDOW, WINDOW + 5, WINDOW + 2 * FRAME_HOP, 95 * FRAME_HOP + 7]
)
@pytest.mark.parametrize("size", [FRAME_HOP - 7, 3 * WINDOW])
def test_windows_cover_the_audio_whatever_blocks_it_comes_in(samples: int, size: int) -> None:
    audio = np.arange(samples, dtype=np.float32)
    blocks = [audio[first : first + size] for first in range(0, samples, size)]
    windows = list(cut_windows(blocks, WINDOW))
    for frame, part in windows:
        np.testing.assert_array_equal(part, audio[frame * FRAME_HOP :][: len(part)])
        assert len(part) == samples if samples < WINDOW else WINDOW <= len(part) < WINDOW + FRAME_HOP
    frame, part = windows[-1]
    assert 0 <= samples - (frame * FRAME_HOP + len(part)) < FRAME_HOP
    starts = [frame for frame, _ in windows]
    assert all(0 < later - earlier <= 10 for earlier, later in pairwise(starts))


def test_stitched_windows_are_their_weighted_mean() -> None:
    values = np.random.default_rng(0).random((45, 3)).astype(np.float32)
    stitcher = Stitcher()
    for start in (0, 10, 20, 25):
        stitcher.add(start, values[start : start + 20])
    np.testing.assert_allclose(stitcher.finish(), values, atol=1e-3)

    stitcher = Stitcher()
    stitcher.add(0, np.zeros((4, 1), np.float32))
    stitcher.add(2, np.ones((4, 1), np.float32))
    np.testing.assert_allclose(stitcher.finish()[:, 0], [0, 0, 1 / 3, 2 / 3, 1, 1], atol=1e-3)
