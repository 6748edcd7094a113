"""The model card: README.md of a model folder, rendered from its own files and the scores alone."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from builder.atomic import write_text
from builder.errors import DataError

SCORES_SCHEMA = 1
METRICS = {"accuracy": "Accuracy", "macro_f1": "Macro F1", "balanced_accuracy": "Balanced accuracy"}
INDEXED = {"accuracy": "accuracy", "macro_f1": "f1"}  # ours -> the Hub's metric id


def write_card(model_folder: Path, scores: Path | None = None) -> None:
    """Write README.md of a model folder from config.json, training.json and, if given, an evaluation's scores.json.

    What no file says is left out. Raises DataError for a file that is missing or is not what it should be.
    """
    config, record = _read(model_folder / "config.json"), _read(model_folder / "training.json")
    benchmarks = _benchmarks(scores) if scores else []
    details = record.get("details", {})
    context = {
        "config": config,
        "task": config.get("task", "genre"),
        "labels": list(config.get("id2label", {}).values()),
        "embedder": {**(details.get("embedder") or {}), **(config.get("embedder") or {})},
        "record": record,
        "details": details,
        "corpus": details.get("corpus_name"),
        "generator": details.get("generator") or {},
        "benchmarks": benchmarks,
        "on_real_music": any(benchmark["name"] != "validation" for benchmark in benchmarks),
        "metrics": METRICS,
    }
    body = _template().render(context).strip()
    write_text(model_folder / "README.md", f"---\n{_metadata(context).to_yaml()}\n---\n\n{body}\n")


def _metadata(context: dict[str, Any]) -> Any:
    """The YAML block that the Hub reads."""
    from huggingface_hub import ModelCardData

    corpus, generator = context["corpus"], context["generator"]
    parts = (corpus, context["task"], context["embedder"].get("name"))
    return ModelCardData(
        model_name="-".join(part for part in parts if part),
        license=generator.get("license"),
        library_name="transformers",
        pipeline_tag="audio-classification",
        datasets=[corpus] if corpus else None,
        metrics=list(INDEXED.values()),
        tags=["audio", "music", "music-information-retrieval", "synthetic", "synthmir", f"music-{context['task']}"],
        eval_results=_results(context) or None,
    )


def _results(context: dict[str, Any]) -> list[Any]:
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type="audio-classification",
            task_name=f"Music {context['task']} classification",
            dataset_type=(context["corpus"] or "corpus") if benchmark["name"] == "validation"
            else benchmark["kind"],
            dataset_name=benchmark["title"],
            dataset_split="validation" if benchmark["name"] == "validation" else None,
            metric_type=kind,
            metric_name=METRICS[metric],
            metric_value=round(benchmark[metric]["value"], 4),
        )
        for benchmark in context["benchmarks"]
        for metric, kind in INDEXED.items()
        if benchmark.get(metric)
    ]  # fmt: skip


def _benchmarks(path: Path) -> list[dict[str, Any]]:
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
        figures = {metric: benchmark[metric] for metric in METRICS if _known(benchmark.get(metric))}
        others = {key: value for key, value in benchmark.items() if key not in METRICS}
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
    return environment.from_string(Path(__file__).with_name("model_card.md").read_text(encoding="utf-8"))


def _figure(figure: dict[str, float] | None) -> str:
    """ "84.6 % [82.0, 87.1]", without the interval where there is none, "" where there is no figure."""
    if not figure:
        return ""
    low, high = figure.get("low"), figure.get("high")
    interval = "" if low is None or high is None else f" [{100 * low:.1f}, {100 * high:.1f}]"
    return f"{100 * figure['value']:.1f} %{interval}"
