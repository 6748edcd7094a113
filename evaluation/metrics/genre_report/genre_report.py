"""Single-label genre classification: averages, scores of every class, and the confusion matrix."""

import datasets
import evaluate
import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

_DESCRIPTION = """
Accuracy, macro-F1 and balanced accuracy of a single-label classifier, with precision, recall, F1 and support of every
class and the confusion matrix. All scores equal scikit-learn's.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (`list` of `int`): predicted classes; or (`list` of `list` of `float`) the scores of all classes, of
        which the highest counts; of equal ones the first.
    references (`list` of `int`): true classes.
    labels (`list` of `str`, *optional*): names of the classes 0 .. K-1. Without them the classes are the integers
        that occur, named by their digits.
    zero_division (`float`, default 0.0): the value of a precision, recall or F1 that is 0/0: 0, 1 or NaN.

Returns:
    accuracy (`float`): share of items whose class is right, 0 .. 1.
    macro_f1 (`float`): mean F1 of the classes in `references`.
    balanced_accuracy (`float`): mean recall of the classes in `references`.
    labels (`list` of `str`): the names, in the order of the matrix.
    per_class (`list` of `dict`): `label`, `precision`, `recall`, `f1`, `support` of each class.
    confusion_matrix (`list` of `list` of `int`): rows are true classes, columns predicted ones.

Raises:
    ValueError: no items, or a class that is no index into `labels`.

Examples:
    >>> report = evaluate.load("genre_report")
    >>> result = report.compute(predictions=[0, 1, 1, 0], references=[0, 1, 0, 0], labels=["funk", "rock"])
    >>> result["accuracy"], result["confusion_matrix"]
    (0.75, [[2, 1], [0, 1]])
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
class GenreReport(evaluate.Metric):
    """The `evaluate` module; see the card beside it."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=[
                datasets.Features({"predictions": _SCORES, "references": datasets.Value("int64")}),
                datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}),
            ],
            reference_urls=["https://scikit-learn.org/stable/modules/model_evaluation.html#classification-metrics"],
        )

    def _infer_feature_from_batch(self, batch: dict[str, list[object]]) -> datasets.Features:
        """Without items any features do: `_compute` raises the error."""
        return super()._infer_feature_from_batch(batch) if len(batch["references"]) else self.features[0]

    def _compute(
        self,
        predictions: list[int] | list[list[float]],
        references: list[int],
        labels: list[str] | None = None,
        zero_division: float = 0.0,
    ) -> dict[str, object]:
        truth = np.asarray(references)
        if truth.size == 0:
            raise ValueError("genre_report needs at least one prediction and reference")
        if isinstance(predictions[0], list) and len({len(row) for row in predictions}) > 1:
            raise ValueError("predictions have rows of different lengths: each item needs a score for every class")
        predicted = np.asarray(predictions)
        predicted = predicted if predicted.ndim == 1 else predicted.argmax(axis=1)
        seen = np.union1d(truth, predicted)
        if labels is None:
            classes, names = seen, [str(index) for index in seen]
        else:
            classes, names = np.arange(len(labels)), [str(name) for name in labels]
            if unknown := [int(index) for index in seen if not 0 <= index < len(names)]:
                raise ValueError(f"classes {unknown} have no name: labels names the classes 0 .. {len(names) - 1}")
        precision, recall, f1, support = precision_recall_fscore_support(
            truth, predicted, labels=classes, zero_division=zero_division
        )
        held = support > 0
        columns = zip(names, precision, recall, f1, support, strict=True)
        return {
            "accuracy": float(np.mean(truth == predicted)),
            "macro_f1": float(np.mean(f1[held])),
            "balanced_accuracy": float(np.mean(recall[held])),
            "labels": names,
            "per_class": [
                {"label": name, "precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
                for name, p, r, f, s in columns
            ],
            "confusion_matrix": confusion_matrix(truth, predicted, labels=classes).tolist(),
        }
