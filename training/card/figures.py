"""The results in a model card: an evaluation's files, checked, and matched with the model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from builder.corpus.card.measurement import Measurement, read_measurement
from builder.errors import DataError
from builder.io.safe_files import read_record

SCORES_SCHEMA, ROBUSTNESS_SCHEMA = 2, 1
ROBUSTNESS, FIDELITY = "robustness.json", "fidelity/fidelity.json"  # beside the scores
SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"
METRICS = {  # in the results' columns, as far as the scores hold them
    SINGLE: {"accuracy": "Accuracy", "macro_f1": "Macro F1", "balanced_accuracy": "Balanced accuracy"},
    MULTI: {"map": "mAP", "macro_roc_auc": "ROC-AUC, macro", "macro_f1": "Macro F1"},
    REGRESSION: {"mae": "Mean absolute error", "accuracy_1": "Accuracy 1", "accuracy_2": "Accuracy 2"},
}
AMOUNTS = ("mae",)  # metrics that are amounts, not shares
TABLE_CLASSES = 12  # of a larger confusion matrix only the largest cells are listed
PAIRS = 10
OPTIONAL = ("protocol", "licence", "notes", "left_out", "skipped", "sampling", "per_class", "per_tag", "worst_pair")
AGGREGATES = {
    "mean": "the mean of their windows' probabilities",
    "logits": "the mean of their windows' logits",
    "max": "the highest of their windows' probabilities",
    "median": "the median of their windows' answers",
    "vote": "the share of their windows' votes",
}


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises DataError."""
    return read_record(path, "train or evaluate again", origin="synthmir train and synthmir evaluate write it")


def read_scores(path: Path, problem: str) -> dict[str, Any]:
    """Read a scores.json: its `benchmarks`, and how windows became predictions.

    That is `aggregate`, `calibration`, `window` and `hop`.

    Raises:
        DataError: It is missing or damaged, or of another schema.
    """
    scores = read_json(path)
    if scores.get("schema") != SCORES_SCHEMA or not isinstance(scores.get("benchmarks"), list):
        raise DataError(
            f"{path}: not scores of schema {SCORES_SCHEMA} (found {scores.get('schema')!r})",
            "write them again: synthmir evaluate MODEL --on validation",
        )
    try:
        details = scores.get("record", {}).get("details", {})
        aggregate = scores.get("model", {}).get("aggregate")
        return {
            "benchmarks": [_benchmark(benchmark, METRICS[problem]) for benchmark in scores["benchmarks"]],
            "aggregate": AGGREGATES.get(aggregate, aggregate),
            "calibration": scores.get("model", {}).get("calibration"),
            "window": details.get("window_seconds"),
            "hop": details.get("hop_seconds"),
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not scores: {error!r}", "write them again: synthmir evaluate") from error


def _benchmark(scores: dict[str, Any], metrics: dict[str, str]) -> dict[str, Any]:
    """A benchmark's scores, with its `kind` and a `title` without the path on this machine."""
    kind, _, rest = str(scores["name"]).partition(":")
    int(scores["n"])
    entry = dict.fromkeys(OPTIONAL) | {key: value for key, value in scores.items() if key not in metrics}
    entry |= {metric: scores[metric] for metric in metrics if has_value(scores.get(metric))}
    if rest:  # a note may hold the path
        entry["notes"] = [note for note in entry["notes"] or () if rest not in str(note)]
    matrix = scores.get("confusion_matrix")
    if matrix and any(len(row) != len(scores["labels"]) for row in (matrix, *matrix)):
        raise ValueError(f"confusion matrix and labels of {kind} do not fit together")
    calibration = (scores.get("calibration") or {}).get("ece")
    return {
        **entry,
        "kind": kind,
        "title": Path(rest).name or kind,
        "confusion": matrix if matrix and len(matrix) <= TABLE_CLASSES else None,
        "pairs": _pairs(matrix, scores["labels"]) if matrix and len(matrix) > TABLE_CLASSES else [],
        "per_class": [_read_class(row) for row in scores.get("per_class") or ()],
        "ece": calibration if has_value(calibration) else None,
    }


def _read_class(row: dict[str, Any]) -> dict[str, Any]:
    """Precision, recall and F1 of a class, with their intervals if there are any."""
    bounds = row.get("intervals") or {}
    figures = {name: {"value": row[name], **(bounds.get(name) or {})} for name in ("precision", "recall", "f1")}
    return {"label": row["label"], "support": row["support"], **figures}


def _pairs(matrix: list[list[int]], labels: list[str]) -> list[tuple[str, str, int]]:
    """The pairs of classes that are confused most: true, predicted, count."""
    cells = [
        (count, -row, -column)
        for row, counts in enumerate(matrix)
        for column, count in enumerate(counts)
        if row != column and count
    ]
    return [(labels[-row], labels[-column], count) for count, row, column in sorted(cells, reverse=True)[:PAIRS]]


def read_robustness(path: Path, scores: Path, record: dict[str, Any], problem: str) -> dict[str, Any] | None:
    """Read the first metric of a robustness.json, on clean tracks and at each level of damage.

    Args:
        path: The file robustness.json.
        scores: The file scores.json of the evaluated model, which names the model's path.
        record: The model's training record.
        problem: The model's problem type.

    Returns:
        The title of the benchmark, the metric, the number of tracks, the clean score, and a list of levels. None if
        there is no file, if it is of another model or older than the model's training, or if no metric has a value.

    Raises:
        DataError: The file does not hold results of robustness.
    """
    if not path.exists():
        return None
    results = read_json(path)
    try:
        if results["schema"] != ROBUSTNESS_SCHEMA:
            raise ValueError(f"schema {results['schema']!r}")
        same_model = (results["model"], results["record"]["fingerprint"]) == (
            read_json(scores).get("model", {}).get("path"), record.get("fingerprint"),
        )  # fmt: skip
        if not same_model or results["problem"] != problem or results["record"]["started"] < record.get("started", ""):
            return None
        key = next((key for key in METRICS[problem] if has_value(results["clean"].get(key))), None)
        if key is None:
            return None
        levels = [
            {
                "name": f"{level['kind']} {level['level']:g} {level['unit']}".strip(),
                "about": level["about"],
                "figure": level["figures"].get(key),
                "drop": next((drop["difference"] for drop in level["drops"] if drop["metric"] == key), None),
            }
            for level in results["levels"]
        ]
        title = Path(str(results["benchmark"]).partition(":")[2]).name or str(results["benchmark"]).partition(":")[0]
        return {
            "title": title, "metric": METRICS[problem][key], "amount": key in AMOUNTS, "n": results["n"],
            "clean": results["clean"][key], "levels": levels,
        }  # fmt: skip
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: not results of robustness: {error!r}", "write it again: synthmir robustness"
        ) from error


def read_fidelity(path: Path, record: dict[str, Any]) -> Measurement | None:
    """Read the fidelity of the model's training corpus; None if it is of another corpus."""
    if not path.exists():
        return None
    found = read_measurement(path)
    return found if found.corpus.fingerprint == record.get("fingerprint") else None


def has_value(figure: Any) -> bool:
    """Whether a metric has a finite value."""
    value = figure.get("value") if isinstance(figure, dict) else None
    return isinstance(value, int | float) and math.isfinite(value)


def format_share(figure: dict[str, float] | None) -> str:
    """Format a share as "84.6 % [82.0, 87.1]"; without the interval if there is none, "" without a value."""
    return _format(figure, 100, 1, " %")


def format_amount(figure: dict[str, float] | None) -> str:
    """Format an amount as "3.25 [2.94, 3.61]", see `format_share`."""
    return _format(figure, 1, 2, "")


def _format(figure: dict[str, float] | None, factor: int, digits: int, unit: str) -> str:
    if not figure:
        return ""
    low, high = figure.get("low"), figure.get("high")
    interval = "" if low is None or high is None else f" [{factor * low:.{digits}f}, {factor * high:.{digits}f}]"
    return f"{factor * figure['value']:.{digits}f}{unit}{interval}"
