"""The model card: README.md of a model folder, rendered from its own files and the scores alone."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path
from typing import Any

from builder.atomic import write_text
from builder.errors import DataError

SCORES_SCHEMA = 2
SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"
METRICS = {  # in the results' columns, as far as the scores hold them
    SINGLE: {"accuracy": "Accuracy", "macro_f1": "Macro F1", "balanced_accuracy": "Balanced accuracy"},
    MULTI: {"map": "mAP", "macro_roc_auc": "ROC-AUC, macro", "macro_f1": "Macro F1"},
    REGRESSION: {"mae": "Mean absolute error", "accuracy_1": "Accuracy 1", "accuracy_2": "Accuracy 2"},
}
INDEXED = {  # ours -> the Hub's metric id
    SINGLE: {"accuracy": "accuracy", "macro_f1": "f1"},
    MULTI: {"map": "map", "macro_roc_auc": "roc_auc", "macro_f1": "f1"},
    REGRESSION: {"mae": "mae", "accuracy_1": "accuracy_1"},
}
AMOUNTS = ("mae",)  # figures that are no shares


def write_card(model_folder: Path, scores: Path | None = None) -> None:
    """Write README.md of a model folder from config.json, training.json and, if given, an evaluation's scores.json.

    What no file says is left out. Raises DataError for a file that is missing or is not what it should be.
    """
    config, record = _read(model_folder / "config.json"), _read(model_folder / "training.json")
    problem = config.get("problem_type") or SINGLE
    benchmarks = _benchmarks(scores, METRICS[problem]) if scores else []
    details = record.get("details", {})
    strategy = details.get("settings", {}).get("strategy", "synthetic")
    context = {
        "config": config,
        "task": config.get("task", "genre"),
        "problem": {SINGLE: "single", MULTI: "multi", REGRESSION: "number"}[problem],
        "labels": list(config.get("id2label", {}).values()),
        "embedder": {**(details.get("embedder") or {}), **(config.get("embedder") or {})},
        "record": record,
        "details": details,
        "corpus": details.get("corpus_name"),
        "generator": details.get("generator") or {},
        "benchmarks": benchmarks,
        "on_real_music": any(benchmark["name"] != "validation" for benchmark in benchmarks),
        "metrics": {key: name for key, name in METRICS[problem].items() if any(key in found for found in benchmarks)},
        "indexed": INDEXED[problem],
        "amounts": AMOUNTS,
        "strategy": strategy,
        "settings": _told(details.get("settings", {})),
        "options": _options(details.get("settings", {})),
        "target": (details.get("strategy") or {}).get("target") or {},
        "synthetic": details.get("synthetic", True),
        "real": strategy != "synthetic" or not details.get("synthetic", True),
    }
    context["known"] = context["embedder"].get("name", "unknown") != "unknown"
    body = _template().render(context).strip()
    write_text(model_folder / "README.md", f"---\n{_metadata(context).to_yaml()}\n---\n\n{body}\n")


def _told(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that had a say in what came out."""
    silent = {"task", "tracker", "batch_size", "neighbors", "imbalance", "embedding_column"}
    silent |= {"target"}  # a path of the machine it was trained on
    if settings.get("strategy") != "finetune":
        silent |= {"finetune_lr"}
    if settings.get("strategy", "synthetic") == "synthetic":
        silent |= {"shots"}
    if settings.get("head") in ("logistic", "knn"):
        silent |= {"hidden", "epochs", "patience", "lr", "accumulate", "seed"}
    if settings.get("head") == "linear":
        silent |= {"hidden"}
    return {
        key: value
        for key, value in settings.items()
        if key not in silent and value is not None and not isinstance(value, dict)
    }


def _options(settings: dict[str, Any]) -> str:
    """What `synthmir train` was told, as it is typed, where it is not what the settings are by themselves."""
    usual = {"embedding_column": "embedding", "head": "mlp", "strategy": "synthetic"}
    keys = ("label_column", "embedding_column", "problem", "head", "strategy", "target", "shots", "seed")
    real = settings.get("strategy", "synthetic") != "synthetic"
    given = {key: settings.get(key) for key in keys if real or key not in ("target", "shots")}
    if given.get("target"):
        given["target"] = "REAL"
    told = [(key, value) for key, value in given.items() if value and value != usual.get(key)]
    return "".join(f" --{key.replace('_', '-')} {shlex.quote(str(value))}" for key, value in told)


def _metadata(context: dict[str, Any]) -> Any:
    """The YAML block that the Hub reads."""
    from huggingface_hub import ModelCardData

    corpus, generator = context["corpus"], context["generator"]
    parts = (corpus, context["task"], context["embedder"]["name"] if context["known"] else None)
    return ModelCardData(
        model_name="-".join(part for part in parts if part),
        license=generator.get("license"),
        library_name="transformers",
        pipeline_tag="audio-classification",
        datasets=[corpus] if corpus else None,
        metrics=list(context["indexed"].values()),
        tags=[
            *("audio", "music", "music-information-retrieval"),
            *(["synthetic"] if context["synthetic"] else []),
            *("synthmir", f"music-{context['task']}"),
        ],
        eval_results=_results(context) or None,
    )


def _results(context: dict[str, Any]) -> list[Any]:
    from huggingface_hub import EvalResult

    kind_of_task = "regression" if context["problem"] == "number" else "classification"
    return [
        EvalResult(
            task_type="audio-classification",
            task_name=f"Music {context['task']} {kind_of_task}",
            dataset_type=(context["corpus"] or "corpus") if benchmark["name"] == "validation"
            else benchmark["kind"],
            dataset_name=benchmark["title"],
            dataset_split="validation" if benchmark["name"] == "validation" else None,
            metric_type=kind,
            metric_name=context["metrics"][metric],
            metric_value=round(benchmark[metric]["value"], 4),
        )
        for benchmark in context["benchmarks"]
        for metric, kind in context["indexed"].items()
        if benchmark.get(metric)
    ]  # fmt: skip


def _benchmarks(path: Path, metrics: dict[str, str]) -> list[dict[str, Any]]:
    """The benchmarks of a scores.json, each with a `kind` and a `title` that carries no path of this machine."""
    scores = _read(path)
    if scores.get("schema") != SCORES_SCHEMA or not isinstance(scores.get("benchmarks"), list):
        raise DataError(
            f"{path}: not scores of schema {SCORES_SCHEMA} (found {scores.get('schema')!r})",
            "write them anew: synthmir evaluate MODEL --on validation",
        )
    found = []
    for benchmark in scores["benchmarks"]:
        kind, _, rest = str(benchmark["name"]).partition(":")
        title = Path(rest).name or kind
        figures = {metric: benchmark[metric] for metric in metrics if _known(benchmark.get(metric))}
        others = {key: value for key, value in benchmark.items() if key not in metrics}
        found.append({**others, **figures, "kind": kind, "title": title})
    return found


def _known(figure: Any) -> bool:
    value = figure.get("value") if isinstance(figure, dict) else None
    return isinstance(value, int | float) and math.isfinite(value)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file", "synthmir train and synthmir evaluate write it") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON: {error}", "train or evaluate again") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a JSON object, found {type(content).__name__}", "train or evaluate again")
    return content


def _template() -> Any:
    from jinja2 import Environment

    environment = Environment(trim_blocks=True, lstrip_blocks=True, autoescape=False)  # Markdown
    environment.filters["thousands"] = lambda value: f"{value:,}"
    environment.filters["percent"] = lambda value: f"{100 * value:.1f} %"
    environment.filters["cell"] = lambda value: str(value).replace("|", "\\|").replace("\n", " ")
    environment.filters["figure"] = _figure
    environment.filters["amount"] = _amount
    return environment.from_string(Path(__file__).with_name("model_card.md").read_text(encoding="utf-8"))


def _amount(figure: dict[str, float] | None) -> str:
    """As `_figure`, of what is no share: "3.2 [2.9, 3.6]"."""
    if not figure:
        return ""
    low, high = figure.get("low"), figure.get("high")
    interval = "" if low is None or high is None else f" [{low:.2f}, {high:.2f}]"
    return f"{figure['value']:.2f}{interval}"


def _figure(figure: dict[str, float] | None) -> str:
    """ "84.6 % [82.0, 87.1]", without the interval where there is none, "" where there is no figure."""
    if not figure:
        return ""
    low, high = figure.get("low"), figure.get("high")
    interval = "" if low is None or high is None else f" [{100 * low:.1f}, {100 * high:.1f}]"
    return f"{100 * figure['value']:.1f} %{interval}"
