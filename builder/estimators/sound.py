"""`Sound`: a clip that estimators measure, with the spectra that several of them need, each computed once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from ..audio import load_audio
from ..corpus.schema import SAMPLING_RATE
from ..mel import mel_filters
from ..resampling import resample

FRAME, HOP = 2_048, 320  # samples of a frame, and between frames: 64 ms, 100 frames a second
FRAME_RATE = SAMPLING_RATE / HOP
BANDS, LOW, HIGH = 40, 30.0, 15_000.0  # mel bands of the onset strength, and their edges in Hz
FLOOR = 1e-10  # power of a frame that counts as digital silence


@dataclass(eq=False)
class Sound:
    """A clip as mono audio at 32 kHz, with its row. Spectra are kept until the sound is let go.

    Attributes:
        samples: float32 [samples] in [-1, 1].
        id: Of the clip.
        prompt: What it was made from, None where that is not known.
    """

    samples: np.ndarray
    id: str = ""
    prompt: str | None = None

    @classmethod
    def decode(cls, audio: bytes, identity: str = "", prompt: str | None = None) -> Sound:
        """Decode an audio file's bytes. Raises DataError as `builder.audio.load_audio`."""
        return cls(load_audio(audio, SAMPLING_RATE), identity, prompt)

    def at(self, sampling_rate: int) -> np.ndarray:
        """The samples at another rate in Hz, float32 [samples]."""
        return resample(self.samples, SAMPLING_RATE, sampling_rate)

    @cached_property
    def power(self) -> np.ndarray:
        """Power spectra of frames of 64 ms centred every 10 ms, float32 [frames, 1025].

        A sine of amplitude 1 has a peak of 1. The ends are padded by silence.
        """
        return power_spectra(self.samples, FRAME, HOP)

    @cached_property
    def onset_strength(self) -> np.ndarray:
        """How much the spectrum grows at each frame, float32 [frames], 0 at the first.

        Spectral flux of the logarithmic mel spectrum (Böck and Widmer 2013, "Maximum filter vibrato suppression for
        onset detection", section 2, without the filter): the mean over 40 bands of its increase over 20 ms.
        """
        levels = np.log10(self.power @ _filters() + 1e-6)
        rise = np.zeros(len(levels), np.float32)
        if len(levels) > 2:
            rise[2:] = np.maximum(levels[2:] - levels[:-2], 0).mean(axis=1)
        return rise

    def release(self) -> None:
        """Let the spectra go."""
        for name in ("power", "onset_strength"):
            self.__dict__.pop(name, None)


def power_spectra(samples: np.ndarray, size: int, hop: int) -> np.ndarray:
    """Power spectra of frames that are centred on every `hop`-th sample, with a Hann window.

    Args:
        samples: float32 [samples].
        size: Samples in a frame.
        hop: Samples between frames.

    Returns:
        float32 [frames, size // 2 + 1]. A sine of amplitude 1 has a peak of 1.
    """
    from scipy.fft import rfft

    padded = np.pad(samples, size // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    spectra = rfft(frames * _window(size), axis=1)
    return np.asarray(spectra.real**2 + spectra.imag**2, np.float32)


@lru_cache(maxsize=4)
def _window(size: int) -> np.ndarray:
    """float32 [size]: a Hann window, scaled so that a sine of amplitude 1 has a peak of 1."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    return (2 * window / window.sum()).astype(np.float32)


@lru_cache(maxsize=1)
def _filters() -> np.ndarray:
    return mel_filters(SAMPLING_RATE, FRAME, BANDS, LOW, HIGH, "slaney")
