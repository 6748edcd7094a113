"""Tempo estimation: Accuracy 1 and 2, absolute error, and octave error."""

import datasets
import evaluate
import numpy as np

_DESCRIPTION = """
Accuracy 1 and Accuracy 2 of tempo estimates (Gouyon et al. 2006), with the mean absolute error in beats per minute and
the mean octave error.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (`list` of `float`): estimated tempi in beats per minute.
    references (`list` of `float`): true tempi in beats per minute, above 0.
    tolerance (`float`, default 0.04): how far an estimate may be off, as a share of the true tempo.

Returns:
    accuracy_1 (`float`): share of items within the tolerance of the true tempo, 0 .. 1.
    accuracy_2 (`float`): share within the tolerance of it, of twice, half, three times or a third of it, 0 .. 1.
    mae (`float`): mean absolute error in beats per minute.
    octave_error (`float`): mean of |log2(estimate / truth)|, in octaves; an estimate under 1 counts as 1.
    octaves (`dict`): how many items got the tempo (`right`), `double`, `half`, `triple`, `third` of it, or `other`.
    n (`int`): how many items.

Raises:
    ValueError: no items, a true tempo that is not above 0, an estimate that is not finite.

Examples:
    >>> report = evaluate.load("tempo_report")
    >>> result = report.compute(predictions=[120.0, 61.0, 100.0, 180.0], references=[121.0, 120.0, 130.0, 60.0])
    >>> result["accuracy_1"], result["accuracy_2"]
    (0.25, 0.75)
"""

_CITATION = """
@article{gouyon2006tempo,
  title   = {An Experimental Comparison of Audio Tempo Induction Algorithms},
  author  = {Gouyon, F. and Klapuri, A. and Dixon, S. and Alonso, M. and Tzanetakis, G. and Uhle, C. and Cano, P.},
  journal = {IEEE Transactions on Audio, Speech, and Language Processing},
  volume  = {14},
  number  = {5},
  pages   = {1832--1844},
  year    = {2006}
}
"""

_FACTORS = {"right": 1.0, "double": 2.0, "half": 1 / 2, "triple": 3.0, "third": 1 / 3}


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class TempoReport(evaluate.Metric):
    """The `evaluate` module; see the card beside it."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features(
                {"predictions": datasets.Value("float64"), "references": datasets.Value("float64")}
            ),
            reference_urls=["https://doi.org/10.1109/TSA.2005.858509"],
        )

    def _compute(
        self, predictions: list[float], references: list[float], tolerance: float = 0.04
    ) -> dict[str, object]:
        estimate, truth = np.asarray(predictions, np.float64), np.asarray(references, np.float64)
        if truth.size == 0:
            raise ValueError("tempo_report needs at least one prediction and reference")
        if not np.isfinite(estimate).all():
            raise ValueError("predictions hold tempi that are not finite")
        if not (np.isfinite(truth).all() and (truth > 0).all()):
            raise ValueError("references hold tempi that are not above 0")
        if not 0 <= tolerance < 1:
            raise ValueError(f"tolerance is {tolerance}: give a share of the true tempo, such as 0.04")
        left, counts = np.ones(len(truth), bool), {}
        for name, factor in _FACTORS.items():
            near = left & (np.abs(estimate - factor * truth) <= tolerance * factor * truth)
            counts[name] = int(near.sum())
            left &= ~near
        return {
            "accuracy_1": counts["right"] / len(truth),
            "accuracy_2": sum(counts.values()) / len(truth),
            "mae": float(np.mean(np.abs(estimate - truth))),
            "octave_error": float(np.mean(np.abs(np.log2(np.maximum(estimate, 1.0) / truth)))),
            "octaves": {**counts, "other": int(left.sum())},
            "n": len(truth),
        }
