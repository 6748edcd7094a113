"""A clip's sound as a picture: its log-mel spectrogram, small, and dark by itself."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ..plots import HIGHEST, LOWEST, MELS

if TYPE_CHECKING:
    from torchaudio.transforms import MelSpectrogram

WIDTH = 480  # pixels at most
DEEPEST = -70.0  # dB under the loudest point: black


@lru_cache(maxsize=4)
def _mel(sampling_rate: int, hop: int) -> MelSpectrogram:
    from torchaudio.transforms import MelSpectrogram

    frame = 2 ** round(np.log2(0.064 * sampling_rate))
    top = min(HIGHEST, sampling_rate / 2)
    return MelSpectrogram(sampling_rate, frame, hop_length=hop, f_min=LOWEST, f_max=top, n_mels=MELS)


def thumbnail(samples: np.ndarray, sampling_rate: int) -> bytes:
    """float32 [samples] -> PNG, 96 mel bands from 40 Hz to 14 kHz (bottom to top) by `WIDTH` moments at most.

    No axes: where it is shown they stand beside it, in the reader's own letters and colours.
    """
    import torch
    from PIL import Image

    mel = _mel(sampling_rate, max(256, -(-len(samples) // (WIDTH - 1))))
    sound = np.ascontiguousarray(samples, dtype=np.float32)
    sound = np.pad(sound, (0, max(0, mel.n_fft - len(sound))))
    with torch.inference_mode():
        power = mel(torch.from_numpy(sound)).numpy()
    decibels = 10 * np.log10(np.maximum(power / max(float(power.max()), 1e-12), 1e-8))
    shade = np.clip(255 * (1 - decibels / DEEPEST), 0, 255).astype(np.uint8)
    picture = Image.fromarray(np.flipud(shade), "L").convert("P")
    picture.putpalette(_palette())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


@lru_cache(maxsize=1)
def _palette() -> list[int]:
    """256 colours, red, green, blue after each other: equal steps look equal, and in grey too."""
    import matplotlib

    colours = matplotlib.colormaps["magma"](np.arange(256), bytes=True)
    return [int(part) for part in colours[:, :3].ravel()]
