"""What pictures of corpora and of scores have in common: colours, the map of embeddings, the scale of sound."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# After Okabe and Ito 2008: colours that colour-blind readers tell apart. Shapes tell apart what colours cannot.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#7A5195", "#8C8C00", "#444444")
SHAPES = ("o", "s", "^", "D", "v", "P", "X")
LOWEST, HIGHEST, BANDS = 40.0, 14_000.0, 96  # Hz, Hz, mel bands of a spectrogram


def project(embeddings: np.ndarray, seed: int = 0, threads: int | None = None) -> np.ndarray:
    """float32 [n >= 3, dim] -> float32 [n, 2]: standardised, 50 principal components, t-SNE from the first two.

    t-SNE: van der Maaten and Hinton 2008. In one thread sums run in one order: the same points on any machine's cores.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    with threadpool_limits(threads):
        scaled = StandardScaler().fit_transform(embeddings.astype(np.float64))
        reduced = PCA(min(50, *scaled.shape), svd_solver="full").fit_transform(scaled)
        perplexity = min(30.0, max(1.0, (len(reduced) - 1) / 5))  # a fifth: small sets keep their small groups
        points: np.ndarray = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(reduced)
    return points


def decibels(power: np.ndarray) -> np.ndarray:
    """Power [...] -> dB under its loudest point, -80 at least; silence is silent."""
    found: np.ndarray = 10 * np.log10(np.maximum(power / max(float(power.max()), 1e-12), 1e-8))
    return found


def mel_ticks(hertz: Sequence[int], sampling_rate: float) -> tuple[list[float], list[str]]:
    """Those of `hertz` that a spectrogram reaches: where they stand on its axis from 0 to 1, and their names."""
    top = min(HIGHEST, sampling_rate / 2)
    low, high = _mel(LOWEST), _mel(top)
    ticks = [one for one in hertz if one < top]
    names = [f"{one} Hz" if one < 1_000 else f"{one // 1_000} kHz" for one in ticks]
    return [(_mel(one) - low) / (high - low) for one in ticks], names


def _mel(hertz: float) -> float:
    """The HTK mel scale, which torchaudio's filters use too."""
    return float(2595 * np.log10(1 + hertz / 700))
