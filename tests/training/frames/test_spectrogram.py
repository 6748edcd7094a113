"""The spectrogram of sines and clicks, and of other levels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.frames.spectrogram import FRAMES_SAMPLING_RATE as RATE
from training.frames.spectrogram import PITCH_BINS, SPECTRUM_ROWS, compute_spectrogram, pitch_of_bin


@pytest.mark.parametrize("pitch", [28, 45, 59, 60, 69, 83, 84, 96, 107])
def test_a_sine_is_highest_in_the_bin_of_its_pitch(pitch: int) -> None:
    time = torch.arange(2 * RATE) / RATE
    found = compute_spectrogram(0.1 * torch.sin(2 * torch.pi * 440 * 2 ** ((pitch - 69) / 12) * time)[None])
    assert found.shape == (1, 100, SPECTRUM_ROWS)
    assert pitch_of_bin(int(found[0, 50, :PITCH_BINS].argmax())) == pitch


def test_a_click_is_in_the_frame_of_its_time() -> None:
    audio = torch.zeros(1, RATE)
    audio[0, round(0.5 * RATE)] = 1.0
    onset = compute_spectrogram(audio)[0, :, PITCH_BINS:].mean(dim=1)
    assert int(onset.argmax()) == 25 and onset[20] == onset[30] == 0


def test_the_level_makes_no_difference_and_silence_is_the_quietest() -> None:
    audio = torch.from_numpy(np.random.default_rng(0).standard_normal((1, RATE)).astype(np.float32))
    torch.testing.assert_close(compute_spectrogram(audio * 1e-3), compute_spectrogram(audio), atol=1e-4, rtol=0)
    assert not compute_spectrogram(torch.zeros(1, RATE)).any()
    assert compute_spectrogram(torch.zeros(1, 1)).shape == (1, 1, SPECTRUM_ROWS)
