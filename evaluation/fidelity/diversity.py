"""How many truly different clips a set holds: the Vendi score (Friedman and Dieng 2023)."""

from __future__ import annotations

import numpy as np


def vendi_score(vectors: np.ndarray) -> float:
    """Unit vectors [n, dim] -> 1 (all the same) to n (all at right angles): exp of the entropy of the eigenvalues.

    Of K / n, where K is the matrix of cosines. Those are the eigenvalues of the smaller of the two Gram matrices.
    """
    rows = vectors.astype(np.float64)
    gram = rows.T @ rows if len(rows) > rows.shape[1] else rows @ rows.T
    shares = np.maximum(np.linalg.eigvalsh(gram), 0)
    if not shares.any():
        return 1.0  # rows without direction do not differ
    shares = shares[shares > 0] / shares.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))
