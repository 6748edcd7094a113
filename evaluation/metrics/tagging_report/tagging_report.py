"""Multi-label tagging: scores of rankings and of decisions, averaged and by tag."""

from typing import Any

import datasets
import evaluate
import numpy as np
from sklearn.metrics import average_precision_score, precision_recall_fscore_support, roc_auc_score

_DESCRIPTION = """
Mean average precision, ROC-AUC and, with a threshold, F1 of a classifier that gives each item a score for every tag;
macro and micro averages, and the scores of every tag. All scores equal scikit-learn's.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (`list` of `list` of `float`): for each item a score for every tag, the higher the likelier.
    references (`list` of `list` of `int`): for each item 1 or 0 for every tag; or the one class of each item (`int`).
    labels (`list` of `str`, *optional*): names of the tags. Without them they are called by their numbers.
    threshold (`float`, *optional*): the score from which a tag is predicted. Choose it on other data.

Returns:
    map (`float`): mean over tags of the average precision, 0 .. 1.
    macro_roc_auc, micro_roc_auc (`float`): mean over tags, and over all pairs of item and tag, 0 .. 1.
    macro_f1, micro_f1 (`float` or `None`): at the threshold; `None` without one.
    threshold (`float` or `None`): as given.
    tags (`int`): how many tags are scored: those that some item has.
    untested (`list` of `str`): the tags that no item has, which are left out.
    per_tag (`list` of `dict`): `label`, `support`, `average_precision`, `roc_auc` (`None` if every item has the
        tag) and with a threshold `precision`, `recall`, `f1` of each scored tag.

Raises:
    ValueError: no items, rows of different lengths, references that are neither 0/1 nor classes, no item with a tag.

Examples:
    >>> report = evaluate.load("tagging_report")
    >>> scores = [[0.9, 0.2], [0.6, 0.7], [0.1, 0.4]]
    >>> result = report.compute(predictions=scores, references=[[1, 0], [0, 1], [0, 1]], threshold=0.5)
    >>> result["map"], result["macro_f1"]
    (1.0, 0.6666666666666666)
"""

_CITATION = """
@article{scikit-learn,
  title   = {Scikit-learn: Machine Learning in {P}ython},
  author  = {Pedregosa, F. and Varoquaux, G. and Gramfort, A. and Michel, V. and Thirion, B. and Grisel, O. and
             Blondel, M. and Prettenhofer, P. and Weiss, R. and Dubourg, V. and Vanderplas, J. and Passos, A. and
             Cournapeau, D. and Brucher, M. and Perrot, M. and Duchesnay, E.},
  journal = {Journal of Machine Learning Research},
  volume  = {12},
  pages   = {2825--2830},
  year    = {2011}
}
"""

_SCORES = datasets.Sequence(datasets.Value("float64"))


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class TaggingReport(evaluate.Metric):
    """The `evaluate` module; see the card beside it."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=[
                datasets.Features({"predictions": _SCORES, "references": datasets.Sequence(datasets.Value("int64"))}),
                datasets.Features({"predictions": _SCORES, "references": datasets.Value("int64")}),
            ],
            reference_urls=["https://scikit-learn.org/stable/modules/model_evaluation.html#classification-metrics"],
        )

    def _infer_feature_from_batch(self, batch: dict[str, list[object]]) -> datasets.Features:
        """Without items any features do: `_compute` raises the error."""
        return super()._infer_feature_from_batch(batch) if len(batch["references"]) else self.features[0]

    def _compute(
        self,
        predictions: list[list[float]],
        references: list[list[int]] | list[int],
        labels: list[str] | None = None,
        threshold: float | None = None,
    ) -> dict[str, object]:
        scores, truth = _scores(predictions), _truth(references, len(predictions[0]) if predictions else 0)
        if scores.shape != truth.shape:
            raise ValueError(f"predictions are {scores.shape}, references {truth.shape}: the shapes differ")
        names = [str(index) for index in range(scores.shape[1])] if labels is None else [str(name) for name in labels]
        if len(names) != scores.shape[1]:
            raise ValueError(f"labels names {len(names)} tags, the scores are of {scores.shape[1]}")
        held = np.flatnonzero(truth.any(axis=0))
        if not len(held):
            raise ValueError("no item has any tag: there is nothing to score")
        predicted = None if threshold is None else scores[:, held] >= threshold
        rows = [_tag(names[tag], truth[:, tag], scores[:, tag], threshold) for tag in held]
        areas = [row["roc_auc"] for row in rows if row["roc_auc"] is not None]
        flat = truth[:, held].ravel()
        return {
            "map": float(np.mean([row["average_precision"] for row in rows])),
            "macro_roc_auc": float(np.mean(areas)) if areas else None,
            "micro_roc_auc": None if flat.all() else float(roc_auc_score(flat, scores[:, held].ravel())),
            "macro_f1": None if predicted is None else float(np.mean([row["f1"] for row in rows])),
            "micro_f1": None if predicted is None else _decision_scores(flat, predicted.ravel())["f1"],
            "threshold": threshold,
            "tags": len(rows),
            "untested": [name for tag, name in enumerate(names) if tag not in held],
            "per_tag": rows,
        }


def _scores(predictions: list[list[float]]) -> np.ndarray:
    if not predictions:
        raise ValueError("tagging_report needs at least one prediction and reference")
    if len({len(row) for row in predictions}) > 1:
        raise ValueError("predictions have rows of different lengths: each item needs a score for every tag")
    scores = np.asarray(predictions, np.float64)
    if not np.isfinite(scores).all():
        raise ValueError("predictions hold scores that are not finite")
    return scores


def _truth(references: list[list[int]] | list[int], tags: int) -> np.ndarray:
    if isinstance(references[0], int | np.integer):
        classes = np.asarray(references)
        if unknown := sorted({int(index) for index in classes if not 0 <= index < tags}):
            raise ValueError(f"classes {unknown} have no score: predictions are of the classes 0 .. {tags - 1}")
        return np.arange(tags) == classes[:, None]
    if len({len(row) for row in references}) > 1:
        raise ValueError("references have rows of different lengths: each item needs 1 or 0 for every tag")
    truth = np.asarray(references)
    if not np.isin(truth, (0, 1)).all():
        raise ValueError("references hold other numbers than 0 and 1")
    return truth.astype(bool)


def _tag(name: str, truth: np.ndarray, scores: np.ndarray, threshold: float | None) -> dict[str, Any]:
    return {
        "label": name,
        "support": int(truth.sum()),
        "average_precision": float(average_precision_score(truth, scores)),
        "roc_auc": None if truth.all() else float(roc_auc_score(truth, scores)),
        **({} if threshold is None else _decision_scores(truth, scores >= threshold)),
    }


def _decision_scores(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    values = precision_recall_fscore_support(truth, predicted, average="binary", zero_division=0.0)
    return {key: float(value) for key, value in zip(("precision", "recall", "f1"), values[:3], strict=True)}
