"""The input of the frame models: a spectrogram of three bins a semitone, and mel bands of short windows."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from builder.mel import mel_filters

from . import FRAME_RATE

FRAMES_SAMPLING_RATE = 16_000  # Hz
FRAME_HOP = FRAMES_SAMPLING_RATE // FRAME_RATE
LOWEST_PITCH, PITCHES = 21, 88  # MIDI note numbers: the keys of a piano
BINS_PER_SEMITONE = 3
PITCH_BINS = PITCHES * BINS_PER_SEMITONE
# Samples of a window, and the bins that it is for: low pitches need long windows, high ones have no need of them.
PITCH_WINDOWS = ((8192, 0, 117), (4096, 117, 189), (2048, 189, PITCH_BINS))
ONSET_WINDOW, ONSET_BANDS, ONSET_EDGES = 1024, 64, (30.0, 8_000.0)
SPECTRUM_ROWS = PITCH_BINS + ONSET_BANDS
QUIETEST, LOUDEST = -70.0, 30.0  # dB relative to the mean over the clip


def pitch_of_bin(place: np.ndarray | int) -> np.ndarray:
    """Return the pitch at the centre of a bin, as a MIDI note number with a fraction.

    The middle one of a semitone's three bins is at the pitch itself.
    """
    return LOWEST_PITCH + (np.asarray(place, np.float64) - 1) / BINS_PER_SEMITONE


def count_frames(samples: int) -> int:
    """Count the frames of a clip of so many samples at `FRAMES_SAMPLING_RATE`: at least one."""
    return max(1, samples // FRAME_HOP)


def compute_spectrogram(audio: Tensor) -> Tensor:
    """Compute the spectrogram of clips.

    The level of a clip makes no difference: each of the two parts is relative to its own mean power over the clip.

    Args:
        audio: float32 [batch, samples], mono at 16 kHz.

    Returns:
        float32 [batch, frames, 328] in [0, 1], from -70 to +30 dB. The first 264 rows are a third of a semitone each,
        from A0 on, with windows of 0.5 s below C4, of 0.26 s below C6 and of 0.13 s above. The others are mel
        bands of windows of 64 ms.
    """
    pitch = [_band_power(audio, size, _pitch_bank(size, first, last)) for size, first, last in PITCH_WINDOWS]
    onset = _band_power(audio, ONSET_WINDOW, _onset_bank())
    return torch.cat([_scale_decibels(torch.cat(pitch, dim=2)), _scale_decibels(onset)], dim=2)


def _band_power(audio: Tensor, size: int, bank: np.ndarray) -> Tensor:
    """[batch, samples] -> the power in each band of `bank` [size // 2 + 1, bands], [batch, frames, bands]."""
    frames = count_frames(audio.shape[1])
    window = torch.hann_window(size, dtype=audio.dtype, device=audio.device)
    # A sine in the middle of a bin has the same power whatever the window.
    padded = functional.pad(audio, (size // 2, size // 2 + FRAME_HOP))
    cut = padded.unfold(1, size, FRAME_HOP)[:, :frames] * (window * (2 / size))
    used = np.flatnonzero(bank.any(axis=1))
    first, last = int(used[0]), int(used[-1]) + 1
    spectrum = torch.view_as_real(torch.fft.rfft(cut))[:, :, first:last]
    power = spectrum.square().sum(dim=3)
    return power @ torch.from_numpy(bank[first:last]).to(audio.device)


def _scale_decibels(power: Tensor) -> Tensor:
    mean = power.mean(dim=(1, 2), keepdim=True).clamp(min=1e-20)
    decibels = 10 * (power / mean).clamp(min=10 ** (QUIETEST / 10), max=10 ** (LOUDEST / 10)).log10()
    return (decibels - QUIETEST) / (LOUDEST - QUIETEST)


@lru_cache(maxsize=8)
def _pitch_bank(size: int, first: int, last: int) -> np.ndarray:
    """Triangles around the bins `first` to `last`, as wide as a bin or as the spacing of the transform."""
    spacing = FRAMES_SAMPLING_RATE / size
    centres = 440 * 2 ** ((pitch_of_bin(np.arange(first, last)) - 69) / 12)
    widths = np.maximum(centres * (2 ** (1 / (12 * BINS_PER_SEMITONE)) - 1), spacing)
    distance = np.abs(np.arange(size // 2 + 1)[:, None] * spacing - centres)
    return np.maximum(0, 1 - distance / widths).astype(np.float32)


@lru_cache(maxsize=1)
def _onset_bank() -> np.ndarray:
    return mel_filters(FRAMES_SAMPLING_RATE, ONSET_WINDOW, ONSET_BANDS, *ONSET_EDGES)
