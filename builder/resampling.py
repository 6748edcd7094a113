"""Sampling-rate conversion by a windowed sinc (Smith 1984, A flexible sampling-rate conversion method)."""

from __future__ import annotations

from functools import lru_cache
from math import ceil, gcd
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

ZERO_CROSSINGS = 6  # of the sinc to each side
ROLLOFF = 0.99  # cut-off, as a share of the lower Nyquist frequency
MAX_RATIO = 2_000  # of reduced rates: above it the table of filters takes gigabytes (11,127 Hz to 32,000: 12)


def resample(samples: np.ndarray, origin: int, target: int) -> np.ndarray:
    """Convert audio to another sampling rate.

    Args:
        samples: float32 [samples].
        origin: Its rate in Hz.
        target: The wanted rate in Hz.

    Returns:
        float32 [ceil(samples * target / origin)].
    """
    if origin == target:
        return samples
    divisor = gcd(origin, target)
    step, new = origin // divisor, target // divisor
    if max(step, new) > MAX_RATIO:
        from scipy.signal import resample_poly

        return np.asarray(resample_poly(samples, new, step), dtype=np.float32)
    import torch
    from torch.nn.functional import conv1d, pad

    filters = _filters(step, new)
    reach = (filters.shape[2] - step) // 2
    with torch.inference_mode():
        padded = pad(torch.from_numpy(np.ascontiguousarray(samples)), (reach, reach + step))
        out: np.ndarray = conv1d(padded[None, None], filters, stride=step)[0].T.flatten().numpy()
    return out[: ceil(len(samples) * new / step)]


@lru_cache(maxsize=16)
def _filters(step: int, new: int) -> Tensor:
    """float32 [new, 1, taps]: for each of the `new` samples that replace `step`, its weights of the samples around.

    The sinc is cut off below the lower Nyquist frequency, and its ends are faded by a squared cosine (Hann).
    """
    import torch

    cutoff = ROLLOFF * min(1.0, new / step)  # as a share of the Nyquist frequency of the audio
    reach = ceil(ZERO_CROSSINGS / cutoff)
    distance = np.arange(-reach, reach + step) - np.arange(new)[:, None] * (step / new)
    crossings = np.clip(cutoff * distance, -ZERO_CROSSINGS, ZERO_CROSSINGS)
    weights = cutoff * np.sinc(crossings) * np.cos(crossings * np.pi / (2 * ZERO_CROSSINGS)) ** 2
    return torch.from_numpy(weights[:, None].astype(np.float32))
