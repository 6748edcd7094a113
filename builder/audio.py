"""Audio in and out: FLAC bytes, files of any kind to mono float32, resampling, windows, levels."""

from __future__ import annotations

import io
from functools import lru_cache
from math import gcd
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import DataError

if TYPE_CHECKING:
    from torchaudio.transforms import Resample

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".mp3", ".ogg", ".opus", ".au", ".aif", ".aiff"})
MIN_LOUDNESS = -70.0  # LUFS: the absolute gate of ITU-R BS.1770, reported for silence and for under 0.4 s
MAX_RATIO = 2_000  # of reduced rates: above it torchaudio's table of filters fills gigabytes (11,127 Hz to 32,000: 12)


def encode_flac(samples: np.ndarray, sampling_rate: int) -> bytes:
    """float32 [samples] or [samples, channels] in [-1, 1] -> FLAC bytes, 16 bits."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, samples, sampling_rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def decode(source: str | Path | bytes) -> tuple[np.ndarray, int]:
    """A file or its bytes -> float32 [samples, channels] in [-1, 1], and the sampling rate in Hz.

    Reads what libsndfile reads: WAV, FLAC, MP3, OGG, AU, AIFF of any bit depth. Raises DataError for what it cannot,
    and for audio of zero length or with samples that are no numbers.
    """
    import soundfile

    name = "audio bytes" if isinstance(source, bytes) else str(source)
    try:
        if isinstance(source, bytes):
            samples, rate = soundfile.read(io.BytesIO(source), dtype="float32", always_2d=True)
        else:
            # By descriptor: libsndfile takes no name that is not UTF-8, and tells a missing file as a "System error".
            with Path(source).open("rb") as file:
                samples, rate = soundfile.read(file.fileno(), dtype="float32", always_2d=True, closefd=False)
    except OSError as error:
        raise DataError(f"{name}: cannot be read: {error.strerror or error}") from error
    except (soundfile.SoundFileError, ValueError) as error:
        reason = getattr(error, "error_string", str(error))
        raise DataError(f"{name}: cannot be read as audio: {reason}") from error
    if len(samples) == 0:
        raise DataError(f"{name}: holds no samples")
    if not np.isfinite(samples).all():
        raise DataError(f"{name}: holds samples that are no numbers (NaN or infinite)")
    return samples, rate


def load_audio(source: str | Path | bytes, sampling_rate: int) -> np.ndarray:
    """A file or its bytes -> float32 [samples] at `sampling_rate`, channels averaged to mono. Raises DataError."""
    samples, rate = decode(source)
    return resample(mono(samples), rate, sampling_rate)


def mono(samples: np.ndarray) -> np.ndarray:
    """float32 [samples, channels] -> float32 [samples], the channels' mean.

    As a product: numpy's own mean over so short an axis takes longer than it takes to decode an MP3.
    """
    channels = samples.shape[1]
    return samples[:, 0] if channels == 1 else samples @ np.full(channels, 1 / channels, np.float32)


@lru_cache(maxsize=16)
def _resampler(origin: int, target: int) -> Resample:
    from torchaudio.transforms import Resample

    return Resample(origin, target)


def resample(samples: np.ndarray, origin: int, target: int) -> np.ndarray:
    """float32 [samples] at `origin` Hz -> float32 [samples] at `target` Hz (windowed sinc)."""
    if origin == target:
        return samples
    divisor = gcd(origin, target)
    if max(origin, target) // divisor > MAX_RATIO:
        from scipy.signal import resample_poly

        return np.asarray(resample_poly(samples, target // divisor, origin // divisor), dtype=np.float32)
    import torch

    with torch.inference_mode():
        out: np.ndarray = _resampler(origin, target)(torch.from_numpy(np.ascontiguousarray(samples))).numpy()
    return out


def windows(samples: np.ndarray, window: int, hop: int | None = None) -> np.ndarray:
    """float32 [samples] -> float32 [n, window], `hop` samples apart (default: end to end).

    The last window ends with the audio, so that nothing is left out. Audio shorter than a window is one shorter
    window, [1, samples]: whether to pad it is the embedder's business.
    """
    if len(samples) <= window:
        return samples[None]
    starts = list(range(0, len(samples) - window + 1, hop or window))
    if starts[-1] + window < len(samples):
        starts.append(len(samples) - window)
    return np.stack([samples[start : start + window] for start in starts])


@lru_cache(maxsize=8)
def _meter(sampling_rate: int) -> Any:
    import pyloudnorm

    return pyloudnorm.Meter(sampling_rate)


def loudness(samples: np.ndarray, sampling_rate: int) -> float:
    """Integrated loudness in LUFS (ITU-R BS.1770-4) of [samples] or [samples, 2], never under -70."""
    if len(samples) < 0.4 * sampling_rate:
        return MIN_LOUDNESS
    with np.errstate(divide="ignore"):
        return max(MIN_LOUDNESS, float(_meter(sampling_rate).integrated_loudness(samples)))


def peak_dbfs(samples: np.ndarray) -> float:
    """Highest sample in dB relative to full scale, never under -120."""
    return 20.0 * float(np.log10(max(1e-6, float(np.abs(samples).max(initial=0.0)))))
