"""The metrics of every task, each defined once.

Training, evaluation, cards and reports compute their scores here; the `evaluate` modules in `evaluation/metrics` are
self-contained files for the Hub, and a test holds them equal to these definitions.

Each metric is a function of how much every track weighs. A bootstrap resample is a weighting by how often each track
was drawn, and leaving a track out is a weight of zero, so that one definition serves for a score, for its confidence
interval and for a comparison of two models. With weights of one, `compute` gives the plain scores.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

MetricValues = dict[str, np.ndarray]  # float64 [r] or [r, labels] by metric; NaN where a metric is not defined
WeightedMetrics = Callable[[np.ndarray], MetricValues]  # of weights, float64 [r, n]

TEMPO_TASKS = frozenset({"tempo_bpm", "tempo", "bpm"})  # regression tasks that the tempo metrics apply to
TEMPO_TOLERANCE = 0.04  # of the true tempo (Gouyon et al. 2006)
TEMPO_FACTORS = {"right": 1.0, "double": 2.0, "half": 1 / 2, "triple": 3.0, "third": 1 / 3}  # that Accuracy 2 accepts
BLOCK = 250_000  # weights in one block of a ranking: what stays in the processor's cache


def compute(metrics: WeightedMetrics, n: int) -> MetricValues:
    """Compute metrics over `n` tracks of equal weight.

    Returns:
        By metric a float64 [] or, of a metric with a value for each label, [labels].
    """
    return {name: values[0] for name, values in metrics(np.ones((1, n))).items()}


def single_label_metrics(truth: np.ndarray, predicted: np.ndarray, classes: int) -> WeightedMetrics:
    """Return the metrics of a task with one label a track.

    Means are over the classes that some track has (scikit-learn's `labels=numpy.unique(truth)`): a class without a
    track has no recall, and a stray prediction of it already costs another class recall.

    Args:
        truth: int64 [n], indices of the true classes.
        predicted: int64 [n], indices of the predicted classes.
        classes: How many classes there are.

    Returns:
        A function of weights that gives accuracy, macro_f1 and balanced_accuracy (mean recall), in 0 to 1; and
        precision, recall and f1 of each class.
    """
    true, called = _one_hot(truth, classes), _one_hot(predicted, classes)
    correct = true * called

    def metrics(weights: np.ndarray) -> MetricValues:
        hits, support, calls = weights @ correct, weights @ true, weights @ called
        f1, recall = divide(2 * hits, support + calls), divide(hits, support)
        return {
            "accuracy": divide(hits.sum(axis=1), support.sum(axis=1)),
            "macro_f1": _mean_where(f1, support > 0),
            "balanced_accuracy": _mean_where(recall, support > 0),
            "precision": divide(hits, calls),
            "recall": recall,
            "f1": f1,
        }

    return metrics


def multi_label_metrics(
    truth: np.ndarray, probabilities: np.ndarray, predicted: np.ndarray | None = None
) -> WeightedMetrics:
    """Return the metrics of a task with any number of labels a track.

    A label that no track has enters no mean, macro or micro; one that every track has has no ROC-AUC. Average
    precision and ROC-AUC are scikit-learn's `average_precision_score` and `roc_auc_score`.

    Args:
        truth: bool [n, labels].
        probabilities: float64 [n, labels].
        predicted: bool [n, labels], the labels at or above a threshold; None for no threshold.

    Returns:
        A function of weights that gives map (mean average precision), macro_roc_auc and micro_roc_auc, in 0 to 1;
        average_precision and roc_auc of each label. With `predicted` also macro_f1 and micro_f1; precision, recall
        and f1 of each label.
    """
    rankings = [Ranking(column, scores) for column, scores in zip(truth.T, probabilities.T, strict=True)]
    held = truth.any(axis=0)
    tracks = np.repeat(np.arange(len(truth)), held.sum())
    flat = Ranking(truth[:, held].ravel(), probabilities[:, held].ravel(), tracks)
    true = truth.astype(np.float64)

    def metrics(weights: np.ndarray) -> MetricValues:
        pairs = [ranking.compute(weights) for ranking in rankings]
        precision, auc = (np.stack([pair[place] for pair in pairs], axis=1) for place in (0, 1))
        values = {
            "map": _mean_where(precision, ~np.isnan(precision)),
            "macro_roc_auc": _mean_where(auc, ~np.isnan(auc)),
            "micro_roc_auc": flat.compute(weights)[1],
            "average_precision": precision,
            "roc_auc": auc,
        }
        if predicted is not None:
            hits, support = weights @ (true * predicted), weights @ true
            calls = weights @ predicted.astype(np.float64)
            f1 = divide(2 * hits, support + calls)
            values |= {
                "macro_f1": _mean_where(f1, support > 0),
                "micro_f1": divide(2 * hits.sum(axis=1), (support + calls)[:, held].sum(axis=1)),
                "precision": divide(hits, calls),
                "recall": divide(hits, support),
                "f1": f1,
            }
        return values

    return metrics


def tempo_metrics(truth: np.ndarray, estimate: np.ndarray) -> WeightedMetrics:
    """Return the metrics of tempo estimation (Gouyon et al., IEEE TASLP 14(5), 2006).

    Args:
        truth: float64 [n], the true tempi in beats per minute, above 0.
        estimate: float64 [n], the estimated tempi in beats per minute.

    Returns:
        A function of weights that gives accuracy_1, the share within 4 % of the true tempo; accuracy_2, the share
        within 4 % of it or of twice, half, three times or a third of it; mae in beats per minute; and octave_error in
        octaves.
    """
    near = [is_within(truth, estimate, factor) for factor in TEMPO_FACTORS.values()]
    columns = {
        "accuracy_1": near[0],
        "accuracy_2": np.any(near, axis=0),
        "mae": np.abs(estimate - truth),
        "octave_error": octave_errors(truth, estimate),
    }
    values = np.stack([column.astype(np.float64) for column in columns.values()], axis=1)

    def metrics(weights: np.ndarray) -> MetricValues:
        means = divide(weights @ values, weights.sum(axis=1, keepdims=True))
        return dict(zip(columns, means.T, strict=True))

    return metrics


def number_metrics(truth: np.ndarray, estimate: np.ndarray) -> WeightedMetrics:
    """Return the metric of any other regression, for truth and estimate float64 [n]: mae, in the label's unit."""
    errors = np.abs(estimate - truth)

    def metrics(weights: np.ndarray) -> MetricValues:
        return {"mae": divide(weights @ errors, weights.sum(axis=1))}

    return metrics


def is_within(truth: np.ndarray, estimate: np.ndarray, factor: float = 1.0) -> np.ndarray:
    """Return whether each estimate is within 4 % of `factor` times the true value.

    Args:
        truth: float64 [n], the true values.
        estimate: float64 [n].
        factor: 1 for the value itself; 2 or 0.5 for octave errors of a tempo.

    Returns:
        bool [n].
    """
    near: np.ndarray = np.abs(estimate - factor * truth) <= TEMPO_TOLERANCE * factor * np.abs(truth)
    return near


def octave_errors(truth: np.ndarray, estimate: np.ndarray) -> np.ndarray:
    """Return float64 [n]: |log2(estimate / truth)| in octaves. An estimate under 1 bpm counts as 1 bpm."""
    errors: np.ndarray = np.abs(np.log2(np.maximum(estimate, 1.0) / truth))
    return errors


class Ranking:
    """Items in the order of their scores, the highest first. Items of equal score share one step of the order.

    Args:
        truth: bool [items].
        scores: float64 [items].
        tracks: int64 [items], the track whose weight each item has; by default the item's own number.
    """

    def __init__(self, truth: np.ndarray, scores: np.ndarray, tracks: np.ndarray | None = None) -> None:
        order = np.argsort(-scores, kind="stable")
        ranked = scores[order]
        new = np.append(True, ranked[1:] != ranked[:-1])[: len(order)]
        starts = np.append(np.flatnonzero(new), len(order))
        self.tracks = order if tracks is None else tracks[order]
        self.positive = np.flatnonzero(truth[order])
        step = (np.cumsum(new) - 1)[self.positive]
        self.first, self.end = starts[step], starts[step + 1]  # of each positive item's step
        self.latest = np.searchsorted(self.positive, self.end) - 1  # the last positive item of that step

    def compute(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute average precision [r] and the area under the ROC curve [r] for weights [r, tracks]."""
        values = np.full((2, len(weights)), np.nan)
        at_once = max(1, BLOCK // max(1, len(self.tracks)))
        for start in range(0, len(weights) if len(self.positive) else 0, at_once):
            rows = slice(start, start + at_once)
            values[:, rows] = self._compute_block(weights[rows])
        return values[0], values[1]

    def _compute_block(self, weights: np.ndarray) -> np.ndarray:
        drawn = weights.take(self.tracks, axis=1)
        own = drawn[:, self.positive]
        drawn[:, self.positive] = 0.0
        misses = np.zeros((len(drawn), drawn.shape[1] + 1))
        np.cumsum(drawn, axis=1, out=misses[:, 1:])
        hits, above, before = np.cumsum(own, axis=1)[:, self.latest], misses[:, self.end], misses[:, self.first]
        named = hits + above
        precision = np.divide(hits, named, out=np.zeros_like(hits), where=named > 0)
        positives = own.sum(axis=1)
        average = divide((own * precision).sum(axis=1), positives)
        area = 1.0 - divide((own * (before + above)).sum(axis=1) / 2, positives * misses[:, -1])
        return np.clip(np.stack([average, area]), 0.0, 1.0)  # rounding can leave the range


def divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divide element by element; NaN for 0/0."""
    denominator = np.broadcast_to(denominator, numerator.shape)
    return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator > 0)


def _one_hot(values: np.ndarray, classes: int) -> np.ndarray:
    return np.eye(classes)[values] if len(values) else np.zeros((0, classes))


def _mean_where(values: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Average [r, labels] over the labels that are held, [r]; NaN where none is."""
    return divide(np.where(held, values, 0.0).sum(axis=1), held.sum(axis=1).astype(np.float64))
