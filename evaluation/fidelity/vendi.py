"""The Vendi score: the effective number of different clips in a set."""

from __future__ import annotations

import numpy as np


def vendi_score(vectors: np.ndarray) -> float:
    """Compute the Vendi score with cosine similarity.

    It is the exponential of the entropy of the eigenvalues of K / n, where K is the matrix of cosines (Friedman and
    Dieng 2023, "The Vendi score", definition 3.1). The smaller of the two Gram matrices has the same eigenvalues.

    Args:
        vectors: Unit vectors [n, dim].

    Returns:
        From 1 (all clips equal) to n (all orthogonal).
    """
    rows = vectors.astype(np.float64)
    gram = rows.T @ rows if len(rows) > rows.shape[1] else rows @ rows.T
    eigenvalues = np.maximum(np.linalg.eigvalsh(gram), 0)
    if not eigenvalues.any():
        return 1.0  # rows of zeros do not differ
    shares = eigenvalues[eigenvalues > 0] / eigenvalues.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))
