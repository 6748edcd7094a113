"""What plots of corpora and of scores share: colours, the map of embeddings, spectrograms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .mel import hz_to_mel, mel_filters

# After Okabe and Ito 2008: colours that colour-blind readers can distinguish. Shapes distinguish the rest.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#7A5195", "#8C8C00", "#444444")
SHAPES = ("o", "s", "^", "D", "v", "P", "X")
LOWEST, HIGHEST, BANDS = 40.0, 14_000.0, 96  # Hz, Hz, mel bands of a spectrogram


def project_embeddings(embeddings: np.ndarray, seed: int = 0, threads: int | None = None) -> np.ndarray:
    """Project embeddings to two dimensions with t-SNE (van der Maaten and Hinton 2008).

    They are standardised, reduced to 50 principal components, and start at the first two.

    Args:
        embeddings: float32 [n, dim], n >= 3.
        seed: Of t-SNE.
        threads: With one, sums are added in one order, so that the points do not depend on the number of cores.

    Returns:
        float32 [n, 2].
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    with threadpool_limits(threads):
        scaled = StandardScaler().fit_transform(embeddings.astype(np.float64))
        reduced = PCA(min(50, *scaled.shape), svd_solver="full").fit_transform(scaled)
        perplexity = min(
            30.0, max(1.0, (len(reduced) - 1) / 5)
        )  # at most a fifth of the points, so that small sets keep their groups
        points: np.ndarray = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(reduced)
    return points


def power_to_decibels(power: np.ndarray) -> np.ndarray:
    """Convert power [...] to dB relative to its maximum, -80 at least."""
    decibels: np.ndarray = 10 * np.log10(np.maximum(power / max(float(power.max()), 1e-12), 1e-8))
    return decibels


def log_mel(samples: np.ndarray, sampling_rate: int, hop: int) -> np.ndarray:
    """Compute a log-mel spectrogram of `BANDS` bands from `LOWEST` to `HIGHEST` Hz, in frames of about 64 ms.

    Args:
        samples: float [samples] in [-1, 1]; fewer than a frame are padded with zeros.
        sampling_rate: Hz.
        hop: Samples between the centres of two frames.

    Returns:
        float32 [BANDS, 1 + samples // hop] in dB under the loudest point, -80 at least.
    """
    frame = int(2 ** round(np.log2(0.064 * sampling_rate)))
    padded = np.pad(np.asarray(samples, np.float32), (0, max(0, frame - len(samples))))
    padded = np.pad(padded, frame // 2, mode="reflect")  # a frame is centred on each `hop`-th sample
    frames = np.lib.stride_tricks.sliding_window_view(padded, frame)[::hop] * np.hanning(frame + 1)[:-1]
    power = np.abs(np.fft.rfft(frames.astype(np.float32))) ** 2
    filters = mel_filters(sampling_rate, frame, BANDS, LOWEST, min(HIGHEST, sampling_rate / 2))
    return power_to_decibels(np.ascontiguousarray((power @ filters).T, np.float32))


def mel_ticks(hertz: Sequence[int], sampling_rate: float) -> tuple[list[float], list[str]]:
    """Return the positions, from 0 to 1, and the names of the frequencies that are within a spectrogram's range."""
    top = min(HIGHEST, sampling_rate / 2)
    low, high = hz_to_mel(LOWEST), hz_to_mel(top)
    ticks = [tick for tick in hertz if tick < top]
    names = [f"{tick} Hz" if tick < 1_000 else f"{tick // 1_000} kHz" for tick in ticks]
    return [float((hz_to_mel(tick) - low) / (high - low)) for tick in ticks], names
