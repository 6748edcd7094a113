"""The model card of a frame model: README.md of its folder, rendered only from its own files."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from builder.io.atomic import write_text
from builder.io.markdown import FILTERS

from ..card.figures import read_json

FIGURES = {  # of the learning curve: the name, and the Hub's metric id
    "beats_f": ("Beats, F-measure of the activation's peaks within 70 ms", "f1"),
    "chords_accuracy": ("Chords, share of frames", "accuracy"),
    "key_accuracy": ("Key, accuracy", "accuracy"),
    "time_signature_accuracy": ("Time signature, accuracy", "accuracy"),
    "melody_accuracy": ("Melody, share of frames within a sixth of a semitone or rightly unvoiced", "accuracy"),
    "notes_f": ("Notes, F1 of onsets and of sounding keys by frames", "f1"),
    "instruments_f": ("Instruments, F1 by frames", "f1"),
}
ANSWERS = {
    "beats": "the times of beats, and the position of each in its bar",
    "chords": "chords: when each begins and ends",
    "key": "the key, one of 24",
    "time_signature": "the time signature",
    "melody": "the fundamental frequency of the melody every 10 ms",
    "notes": "notes: onset, offset and pitch of 88 keys",
    "instruments": "when each instrument sounds",
}


def write_frame_card(folder: Path) -> None:
    """Write README.md of a frame model's folder, which holds config.json and training.json.

    Raises:
        DataError: A file is missing or damaged.
    """
    config, record = read_json(folder / "config.json"), read_json(folder / "training.json")
    details = record["details"]
    figures = [
        {"key": key, "name": name, "metric": metric, "value": details["best"][key]}
        for key, (name, metric) in FIGURES.items()
        if key in details["best"]
    ]
    context = {
        "config": config,
        "record": record,
        "details": details,
        "settings": details["settings"]["frames"],
        "generator": dict.fromkeys(("name", "revision", "license")) | (details.get("generator") or {}),
        "tasks": details["tasks"],
        "answers": ANSWERS,
        "figures": figures,
        "clip_labels": list((config.get("id2label") or {}).values()),
        "clip_task": next((task for task in ("key", "time_signature") if task in details["tasks"]), None),
    }
    body = _template().render(context).strip()
    write_text(folder / "README.md", f"---\n{_metadata(context).to_yaml()}\n---\n\n{body}\n")


def _metadata(context: dict[str, Any]) -> Any:
    """The YAML block that the Hub reads."""
    from huggingface_hub import EvalResult, ModelCardData

    corpus, tasks = context["details"]["corpus_name"], context["tasks"]
    results = [
        EvalResult(
            task_type="audio-classification",
            task_name=figure["key"].rpartition("_")[0].replace("_", " "),
            dataset_type=corpus,
            dataset_name=corpus,
            dataset_split="validation",
            metric_type=figure["metric"],
            metric_name=figure["name"],
            metric_value=round(figure["value"], 4),
        )
        for figure in context["figures"]
    ]
    return ModelCardData(
        model_name=f"{corpus}-{'-'.join(tasks)}",
        license=context["generator"]["license"],
        library_name="transformers",
        pipeline_tag="audio-classification" if context["clip_task"] else None,
        datasets=[corpus],
        metrics=sorted({figure["metric"] for figure in context["figures"]}),
        tags=[
            "audio",
            "music",
            "music-information-retrieval",
            "synthetic",
            "synthmir",
            *(f"music-{t}" for t in tasks),
        ],
        eval_results=results or None,
    )


@cache
def _template() -> Any:
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    environment.filters |= FILTERS
    environment.filters["thousands"] = lambda value: f"{value:,}"
    return environment.from_string(Path(__file__).with_name("frame_card.md").read_text(encoding="utf-8"))
