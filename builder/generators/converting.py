"""The clips of a generator at another sampling rate, or with another number of channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..clip import Clip
from ..names import format_rate
from ..resampling import resample
from .stem_sums import move_excess, round_together


class ConvertingGenerator:
    """A generator whose clips and stems are converted. What it says of them, as annotations, it says as before.

    Clips are resampled once, by `builder.resampling`, which moves nothing in time. Where that lifts peaks above full
    scale, the clip and its stems are scaled by the same factor, so that its highest sample is at full scale. Stems add
    up to the clip in 16 bits.

    Args:
        generator: Makes the clips: see `builder.generators.base.GeneratorBackend`.
        sampling_rate: Of the converted clips, in Hz.
        made_channels: The channels that the generator makes.
        channels: 1: the mean of the channels. 2: both, or the one twice.
    """

    def __init__(self, generator: Any, sampling_rate: int, made_channels: int, channels: int) -> None:
        self._generator, self.sampling_rate, self._channels = generator, sampling_rate, channels
        rate = generator.sampling_rate
        self.made_at = getattr(generator, "made_at", {}) | describe_origin(rate, sampling_rate)
        sentences = [generator.about]
        if rate != sampling_rate:
            sentences.append(describe_resampling(rate, sampling_rate))
        if channels < made_channels:
            sentences.append("Made in stereo, averaged to mono.")
        elif channels > made_channels:
            sentences.append("Made in mono: both channels are equal.")
            self.made_at |= {"made_channels": made_channels}
        self.about = " ".join(sentences)

    def __getattr__(self, name: str) -> Any:
        """All else is that of the generator."""
        if name.startswith("_"):  # while it is copied or unpickled there is no generator yet
            raise AttributeError(name)
        return getattr(self._generator, name)

    @property
    def seconds(self) -> float:
        """Of a clip."""
        return float(self._generator.seconds)

    @seconds.setter
    def seconds(self, value: float) -> None:
        self._generator.seconds = value

    def generate(self, rows: Sequence[Clip]) -> list[np.ndarray]:
        """Make a clip for each row; see `GeneratorBackend.generate`. A clip that is not finite is all NaN."""
        return [self._convert_clip(samples)[0] for samples in self._generator.generate(rows)]

    def generate_stems(self, rows: Sequence[Clip]) -> list[tuple[np.ndarray, dict[str, np.ndarray]]]:
        """Make a clip for each row, and its stems; see `StemGenerator.generate_stems`."""
        made = []
        for samples, stems in self._generator.generate_stems(rows):
            clip, peak = self._convert_clip(samples)
            parts = [self._convert(stem) / peak for stem in stems.values()]
            if parts and np.isfinite(clip).all():
                move_excess(parts)
                parts = round_together(clip, parts)
            made.append((clip, dict(zip(stems, parts, strict=True))))
        return made

    def _convert_clip(self, samples: np.ndarray) -> tuple[np.ndarray, np.float32]:
        """The converted clip, and what it was divided by."""
        clip = self._convert(samples)
        if not np.isfinite(clip).all():
            return np.full_like(clip, np.nan), np.float32(1)
        peak = np.maximum(np.float32(1), np.abs(clip).max(initial=0))
        return clip / peak, peak

    def _convert(self, samples: np.ndarray) -> np.ndarray:
        """Convert float32 [samples] or [samples, 2] to the wanted rate and channels.

        The length is exact, unless that of `samples` is not what was asked for, which the quality gate finds.
        """
        rate = self._generator.sampling_rate
        sound = samples[:, None] if samples.ndim == 1 else samples
        if sound.shape[1] > self._channels:
            sound = sound.mean(axis=1, keepdims=True)
        seconds = self.seconds if len(sound) == round(self.seconds * rate) else len(sound) / rate
        length = round(seconds * self.sampling_rate)
        converted = np.zeros((length, sound.shape[1]), np.float32)
        for column, channel in zip(converted.T, sound.T, strict=True):
            resampled = self._resample(channel)[:length]
            column[: len(resampled)] = resampled
        if self._channels == 1:
            return converted[:, 0]
        return converted if converted.shape[1] == 2 else np.repeat(converted, 2, axis=1)

    def _resample(self, samples: np.ndarray) -> np.ndarray:
        """Resample one channel, by one thread: its sums are then added in one order, and equal bit for bit."""
        if self._generator.sampling_rate == self.sampling_rate:
            return samples
        from ..cpu_kernels import one_torch_thread

        with one_torch_thread():
            return resample(samples, self._generator.sampling_rate, self.sampling_rate)


def describe_resampling(made_at: int, sampling_rate: int) -> str:
    """Say that clips were resampled: "Made at 32 kHz, resampled to 44.1 kHz."."""
    return f"Made at {format_rate(made_at)}, resampled to {format_rate(sampling_rate)}."


def describe_origin(made_at: int, sampling_rate: int) -> dict[str, int]:
    """The rate in Hz that clips were made at, where it limits their bandwidth: for the record of a corpus."""
    return {"made_sampling_rate": made_at} if made_at < sampling_rate else {}
