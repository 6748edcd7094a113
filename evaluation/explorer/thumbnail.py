"""A small log-mel spectrogram of a clip."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np

from builder.plotting import log_mel

WIDTH = 480  # pixels at most
FLOOR = -70.0  # dB below the maximum that is drawn black


def render_thumbnail(samples: np.ndarray, sampling_rate: int) -> bytes:
    """Draw a log-mel spectrogram without axes.

    Args:
        samples: float32 [samples] in [-1, 1].
        sampling_rate: Hz.

    Returns:
        A PNG of 96 mel bands from 40 Hz (bottom) to 14 kHz (top) by at most `WIDTH` frames.
    """
    from PIL import Image

    mel = log_mel(samples, sampling_rate, max(256, -(-len(samples) // (WIDTH - 1))))
    shade = np.clip(255 * (1 - mel / FLOOR), 0, 255).astype(np.uint8)
    image = Image.fromarray(np.flipud(shade), "L").convert("P")
    image.putpalette(_palette())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


@lru_cache(maxsize=1)
def _palette() -> list[int]:
    """Matplotlib's perceptually uniform colour map "magma" as 256 RGB triples in one list."""
    import matplotlib

    colours = matplotlib.colormaps["magma"](np.arange(256), bytes=True)
    return [int(part) for part in colours[:, :3].ravel()]
