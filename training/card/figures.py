"""The figures of a model card: what an evaluation left in its folder, read with care and held against the model."""

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
AMOUNTS = ("mae",)  # figures that are no shares
TABLE_CLASSES = 12  # a wider confusion matrix is told by its largest cells
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


def judged(path: Path, problem: str) -> dict[str, Any]:
    """What a scores.json tells: `benchmarks`, and how windows became answers (`aggregate`, `window`, `hop`)."""
    scores = read_json(path)
    if scores.get("schema") != SCORES_SCHEMA or not isinstance(scores.get("benchmarks"), list):
        raise DataError(
            f"{path}: not scores of schema {SCORES_SCHEMA} (found {scores.get('schema')!r})",
            "write them anew: synthmir evaluate MODEL --on validation",
        )
    try:
        details = scores.get("record", {}).get("details", {})
        how = scores.get("model", {}).get("aggregate")
        return {
            "benchmarks": [_benchmark(benchmark, METRICS[problem]) for benchmark in scores["benchmarks"]],
            "aggregate": AGGREGATES.get(how, how),
            "window": details.get("window_seconds"),
            "hop": details.get("hop_seconds"),
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not scores: {error!r}", "write them anew: synthmir evaluate") from error


def _benchmark(scores: dict[str, Any], metrics: dict[str, str]) -> dict[str, Any]:
    """A benchmark's scores, with a `kind` and a `title` that carries no path of this machine."""
    kind, _, rest = str(scores["name"]).partition(":")
    int(scores["n"])
    found = dict.fromkeys(OPTIONAL) | {key: value for key, value in scores.items() if key not in metrics}
    found |= {metric: scores[metric] for metric in metrics if known(scores.get(metric))}
    if rest:  # a protocol may tell the folder
        found["notes"] = [note for note in found["notes"] or () if rest not in str(note)]
    matrix = scores.get("confusion_matrix")
    if matrix and any(len(row) != len(scores["labels"]) for row in (matrix, *matrix)):
        raise ValueError(f"confusion matrix and labels of {kind} do not fit together")
    calibration = (scores.get("calibration") or {}).get("ece")
    return {
        **found,
        "kind": kind,
        "title": Path(rest).name or kind,
        "confusion": matrix if matrix and len(matrix) <= TABLE_CLASSES else None,
        "pairs": _pairs(matrix, scores["labels"]) if matrix and len(matrix) > TABLE_CLASSES else [],
        "per_class": [_of_class(row) for row in scores.get("per_class") or ()],
        "ece": calibration if known(calibration) else None,
    }


def _of_class(row: dict[str, Any]) -> dict[str, Any]:
    """Precision, recall and F1 as figures with their intervals, where there are."""
    bounds = row.get("intervals") or {}
    figures = {name: {"value": row[name], **(bounds.get(name) or {})} for name in ("precision", "recall", "f1")}
    return {"label": row["label"], "support": row["support"], **figures}


def _pairs(matrix: list[list[int]], labels: list[str]) -> list[tuple[str, str, int]]:
    """The classes most often taken for others: true, predicted, how often."""
    cells = [
        (count, -row, -column)
        for row, counts in enumerate(matrix)
        for column, count in enumerate(counts)
        if row != column and count
    ]
    return [(labels[-row], labels[-column], count) for count, row, column in sorted(cells, reverse=True)[:PAIRS]]


def damaged(path: Path, scores: Path, record: dict[str, Any], problem: str) -> dict[str, Any] | None:
    """The table of a robustness.json: its first figure clean and at each level. None if it is of another model."""
    if not path.exists():
        return None
    found = read_json(path)
    try:
        if found["schema"] != ROBUSTNESS_SCHEMA:
            raise ValueError(f"schema {found['schema']!r}")
        mine = (found["model"], found["record"]["fingerprint"]) == (
            read_json(scores).get("model", {}).get("path"), record.get("fingerprint"),
        )  # fmt: skip
        if not mine or found["problem"] != problem or found["record"]["started"] < record.get("started", ""):
            return None
        key = next((key for key in METRICS[problem] if known(found["clean"].get(key))), None)
        if key is None:
            return None
        levels = [
            {
                "name": f"{level['kind']} {level['level']:g} {level['unit']}".strip(),
                "about": level["about"],
                "figure": level["figures"].get(key),
                "drop": next((drop["difference"] for drop in level["drops"] if drop["metric"] == key), None),
            }
            for level in found["levels"]
        ]
        title = Path(str(found["benchmark"]).partition(":")[2]).name or str(found["benchmark"]).partition(":")[0]
        return {
            "title": title, "metric": METRICS[problem][key], "amount": key in AMOUNTS, "n": found["n"],
            "clean": found["clean"][key], "levels": levels,
        }  # fmt: skip
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: not figures of robustness: {error!r}", "write it anew: synthmir robustness"
        ) from error


def held_against(path: Path, record: dict[str, Any]) -> Measurement | None:
    """The fidelity of the corpus that the model learnt from; None if it is another corpus's."""
    if not path.exists():
        return None
    found = read_measurement(path)
    return found if found.corpus.fingerprint == record.get("fingerprint") else None


def known(figure: Any) -> bool:
    """Whether a figure has a value."""
    value = figure.get("value") if isinstance(figure, dict) else None
    return isinstance(value, int | float) and math.isfinite(value)


def share(figure: dict[str, float] | None) -> str:
    """ "84.6 % [82.0, 87.1]", without the interval where there is none, "" where there is no figure."""
    return _told(figure, 100, 1, " %")


def amount(figure: dict[str, float] | None) -> str:
    """As `share`, of what is none: "3.25 [2.94, 3.61]"."""
    return _told(figure, 1, 2, "")


def _told(figure: dict[str, float] | None, factor: int, digits: int, unit: str) -> str:
    if not figure:
        return ""
    low, high = figure.get("low"), figure.get("high")
    interval = "" if low is None or high is None else f" [{factor * low:.{digits}f}, {factor * high:.{digits}f}]"
    return f"{factor * figure['value']:.{digits}f}{unit}{interval}"
