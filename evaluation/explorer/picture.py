"""A clip's sound as a picture: its log-mel spectrogram, small, and dark by itself."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np

from builder.plotting import log_mel

WIDTH = 480  # pixels at most
DEEPEST = -70.0  # dB under the loudest point: black


def thumbnail(samples: np.ndarray, sampling_rate: int) -> bytes:
    """float32 [samples] -> PNG, 96 mel bands from 40 Hz to 14 kHz (bottom to top) by `WIDTH` moments at most.

    No axes: where it is shown they stand beside it, in the reader's own letters and colours.
    """
    from PIL import Image

    mel = log_mel(samples, sampling_rate, max(256, -(-len(samples) // (WIDTH - 1))))
    shade = np.clip(255 * (1 - mel / DEEPEST), 0, 255).astype(np.uint8)
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
