"""The model card: README.md of a model folder, rendered only from its own files and the scores."""

from __future__ import annotations

import shlex
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, UndefinedError

from builder.errors import DataError
from builder.io.atomic import write_text
from builder.io.markdown import FILTERS

from .figures import (
    AMOUNTS,
    FIDELITY,
    METRICS,
    MULTI,
    REGRESSION,
    ROBUSTNESS,
    SINGLE,
    format_amount,
    format_share,
    read_fidelity,
    read_json,
    read_robustness,
    read_scores,
)

HUB_METRICS = {  # synthmir's metric -> the Hub's metric id
    SINGLE: {"accuracy": "accuracy", "macro_f1": "f1"},
    MULTI: {"map": "map", "macro_roc_auc": "roc_auc", "macro_f1": "f1"},
    REGRESSION: {"mae": "mae", "accuracy_1": "accuracy_1"},
}
# Keys that a record, an embedder or a config may lack. The template uses only these and those that are always there.
DETAILS = (
    *("rows", "augmentation", "dropped", "left_out", "division", "search", "best", "optimizer", "curve", "best_epoch"),
    *("stopped_early", "strategy", "device_type", "processes", "mixed_precision", "settings", "generator"),
)
EMBEDDER = ("name", "dim", "revision", "sampling_rate", "window_seconds", "about")
RECORD = ("fingerprint", "device", "wall_seconds", "peak_memory_bytes", "versions")
CONFIG = ("task", "threshold", "examples", "neighbors", "hidden", "calibration")


def write_card(model_folder: Path, scores: Path | None = None) -> None:
    """Write README.md of a model folder.

    What no file says is left out.

    Args:
        model_folder: It holds config.json and training.json.
        scores: An evaluation's scores.json. `robustness.json` and `fidelity/fidelity.json` beside it are included if
            they are of this model and its corpus.

    Raises:
        DataError: A file is missing or damaged.
    """
    config, record = read_json(model_folder / "config.json"), read_json(model_folder / "training.json")
    problem = config.get("problem_type") or SINGLE
    evaluation = (
        read_scores(scores, problem)
        if scores
        else {"benchmarks": [], "aggregate": None, "calibration": None, "window": None, "hop": None}
    )
    benchmarks = evaluation["benchmarks"]
    details = dict.fromkeys(DETAILS) | record.get("details", {})
    settings = details["settings"] or {}
    strategy = settings.get("strategy", "synthetic")
    adapted = dict.fromkeys(("target", "stages", "adaptation")) | (details["strategy"] or {})
    embedder = dict.fromkeys(EMBEDDER) | (details.get("embedder") or {}) | (config.get("embedder") or {})
    context = {
        **evaluation,
        "config": dict.fromkeys(CONFIG) | config,
        "task": config.get("task", "genre"),
        "problem": {SINGLE: "single", MULTI: "multi", REGRESSION: "number"}[problem],
        "labels": list(config.get("id2label", {}).values()),
        "embedder": embedder,
        "known": (embedder["name"] or "unknown") != "unknown",
        "record": dict.fromkeys(RECORD) | record,
        "details": details | {"strategy": adapted},
        "corpus": details.get("corpus_name"),
        "generator": dict.fromkeys(("name", "revision", "license", "about")) | (details["generator"] or {}),
        "on_real_music": any(benchmark["name"] != "validation" for benchmark in benchmarks),
        "metrics": {key: name for key, name in METRICS[problem].items() if any(key in entry for entry in benchmarks)},
        "indexed": HUB_METRICS[problem],
        "amounts": AMOUNTS,
        "strategy": strategy,
        "samplings": _samplings(benchmarks),
        "seed": settings.get("seed") if "seed" in _shown_settings(settings) else None,
        "settings": _shown_settings(settings),
        "options": _options(settings),
        "target": dict.fromkeys(("source", "rows")) | (adapted["target"] or {}),
        "synthetic": details.get("synthetic", True),
        "real": strategy != "synthetic" or not details.get("synthetic", True),
        "robustness": read_robustness(scores.parent / ROBUSTNESS, scores, record, problem) if scores else None,
        "fidelity": read_fidelity(scores.parent / FIDELITY, record) if scores else None,
    }
    try:
        body = _template().render(context).strip()
    except (UndefinedError, TypeError, ValueError) as error:
        if scores is None:
            raise
        raise DataError(f"{scores}: not complete scores: {error}", "write them again: synthmir evaluate") from error
    write_text(model_folder / "README.md", f"---\n{_metadata(context).to_yaml()}\n---\n\n{body}\n")


def _samplings(benchmarks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The ways in which intervals were computed, each once."""
    samplings: dict[tuple[Any, ...], dict[str, Any]] = {}
    for benchmark in benchmarks:
        if sampling := benchmark["sampling"]:
            sampling = {"alone": 0, **sampling, "exact": bool(sampling.get("exact"))}
            samplings.setdefault(tuple(sampling.items()), {**sampling, "title": benchmark["title"]})
    return list(samplings.values())


def _shown_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that had an effect on the model."""
    hidden = {"task", "tracker", "batch_size", "neighbors", "imbalance", "embedding_column"}
    hidden |= {"target"}  # a path of the machine it was trained on
    hidden |= {"weight_decay"}  # of the optimizer, which has a line of its own
    hidden |= {key for key in ("label_smoothing", "mixup") if not settings.get(key)}
    if settings.get("strategy") != "finetune":
        hidden |= {"finetune_lr", "warm_start"}
    if settings.get("strategy", "synthetic") == "synthetic":
        hidden |= {"shots"}
    if settings.get("head") in ("logistic", "knn"):
        hidden |= {"hidden", "epochs", "patience", "lr", "accumulate", "seed", "label_smoothing", "mixup"}
    if settings.get("head") == "linear":
        hidden |= {"hidden"}
    return {
        key: value
        for key, value in settings.items()
        if key not in hidden and value is not None and not isinstance(value, dict)
    }


def _options(settings: dict[str, Any]) -> str:
    """The options of `synthmir train`, as typed, that differ from the defaults."""
    defaults = {"embedding_column": "embedding", "head": "mlp", "strategy": "synthetic"}
    keys = ("label_column", "embedding_column", "problem", "head", "strategy", "target", "shots", "seed")
    real = settings.get("strategy", "synthetic") != "synthetic"
    given = {key: settings.get(key) for key in keys if real or key not in ("target", "shots")}
    if given.get("target"):
        given["target"] = "REAL"
    options = [(key, value) for key, value in given.items() if value and value != defaults.get(key)]
    return "".join(f" --{key.replace('_', '-')} {shlex.quote(str(value))}" for key, value in options)


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


@cache
def _template() -> Any:
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    environment.filters |= FILTERS
    environment.filters["thousands"] = lambda value: f"{value:,}"
    environment.filters["percent"] = lambda value: f"{100 * value:.1f} %"
    environment.filters["number"] = lambda value: f"{value:.4g}"
    environment.filters["figure"] = format_share
    environment.filters["amount"] = format_amount
    return environment.from_string(Path(__file__).with_name("model_card.md").read_text(encoding="utf-8"))
