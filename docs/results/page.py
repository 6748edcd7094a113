"""The page of results, from the files of figures that `make.py` wrote. Each number in it is in one of these files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

METRIC, OTHER = "balanced_accuracy", "accuracy"
LARGEST = 10_000  # clips of the whole learning curve
SECTIONS = {  # the start of a file's name -> its heading and text
    "embedders": (
        "Synthetic clips alone",
        "Models that have seen no real recording. *Calibrated*: the model standardises by the statistics of the real "
        "recordings, without their labels.",
    ),
    "strategies": (
        "With real tracks: six strategies",
        "Trained on the clips and on a part of the real tracks, scored on a part of other artists that no training "
        "sees. The difference is to the next strategy in the table.",
    ),
    "strategy": ("Prompts", "Models of synthetic clips alone; the first line is the baseline."),
    "vocals": ("Vocals", "Models of synthetic clips alone; the first line is the baseline."),
    "instrumentation": (
        "Instruments in prompts",
        "Models of synthetic clips alone; the first line is the baseline.",
    ),
    "sizes": ("How many clips?", "Models of synthetic clips alone, trained on more and more clips of one corpus."),
}


def render_page(folder: Path) -> str:
    """Return the page as Markdown.

    Args:
        folder: The folder of the figures and the pictures.
    """
    parts = [
        "# Results on real recordings\n",
        "Balanced accuracy is the mean of the genres' recalls, so that each genre counts the same however many tracks "
        "it has. In brackets: 95 % bootstrap intervals over artists, of the mean over trainings with different seeds; "
        "*sd* is the standard deviation over these trainings. p-values are of permutation tests on the same tracks, "
        "adjusted by Holm. Every number is from a JSON file beside this page; `python docs/results/make.py REAL` "
        "writes these files, the pictures and the page. REAL is a folder of recordings with a table of artists.\n",
    ]
    for start, (title, text) in SECTIONS.items():
        files = sorted(folder.glob(f"{start}.json")) + sorted(folder.glob(f"{start}-*.json"))
        figures = {file: json.loads(file.read_text(encoding="utf-8")) for file in files}
        figures = {file: one for file, one in figures.items() if "schema" in one}  # others are of scripts in perf/
        if figures:
            parts += [f"## {title}\n", f"{text}\n"]
        for file, one in figures.items():
            parts += _render_file(file, one)
    return "\n".join(parts)


def _render_file(file: Path, figures: dict[str, Any]) -> Iterator[str]:
    """The table, the pictures and the circumstances of one file."""
    _, dash, embedder = file.stem.partition("-")
    if dash:
        yield f"### {embedder}\n"
    yield _format_table(figures)
    yield f"![{file.stem}]({file.stem}.svg)\n"
    for name, probes in figures.get("probes", {}).items():
        yield f"### Linear probes on real tracks, {name}\n"
        yield (
            f"Logistic regressions on the same embeddings, trained on real tracks: {probes['draws']} draws, each in "
            f"{probes['folds']} parts by artist. *All* is the ceiling of training on these recordings, "
            "cross-validated by artist. In the picture the best model of synthetic clips is beside them.\n"
        )
        yield _format_probes(probes["points"])
        worth = [
            f"{_name_row(row)} {row['worth']}"
            for row in figures["rows"]
            if "worth" in row and row["values"]["embedder.name"] == name
        ]
        if worth:
            yield f"By balanced accuracy, the clips are worth so many real tracks of each genre: {'; '.join(worth)}.\n"
        yield f"![Linear probes, {name}](probes-{name}.svg)\n"
    if "sizes" in file.stem and (most := max(row["clips"] for row in figures["rows"])) < LARGEST:
        yield f"The curve ends at {most:,} clips; {LARGEST:,} were not run.\n"
    yield (
        f"{figures['n']} tracks, intervals over {figures['intervals']}, {figures['seeds']} trainings each. "
        f"{datetime.fromisoformat(figures['started']):%Y-%m-%d}, {figures['device']}, "
        f"{_format_time(figures['wall_seconds'])}. [Figures]({file.name}).\n"
    )
    yield f"```\n{figures['command']}\n```\n"


def _format_table(figures: dict[str, Any]) -> str:
    """A line for each model."""
    lines = [
        "| model | trained on | balanced accuracy | sd | accuracy | difference | p |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in figures["rows"]:
        score, step = row["scores"][METRIC], row["difference"]
        difference = "" if step is None else f"{100 * step['value']:+.1f} pp"
        p = "" if step is None else f"{step['p_holm']:.3f}"
        rows = row["clips"] if "clips" in row else row["rows"].get("train", 0)
        lines.append(
            f"| {_name_row(row)} | {rows:,} | {format_score(score)} | {_format_spread(score)} "
            f"| {format_score(row['scores'][OTHER])} | {difference} | {p} |"
        )
    return "\n".join([*lines, ""])


def _name_row(row: dict[str, Any]) -> str:
    """A model's name: of varied embedders and calibration as text."""
    values = row.get("values", {})
    if "embedder.name" not in values:
        return str(row["name"])
    calibrated = ", calibrated" if values.get("evaluation.calibrate") else ""
    return f"{values['embedder.name']}{calibrated}"


def _format_probes(points: list[dict[str, Any]]) -> str:
    """A line for each number of real tracks."""
    lines = ["| real tracks of each genre | in all | balanced accuracy | sd | accuracy |", "|---|---:|---:|---:|---:|"]
    for point in points:
        fewer = ", ".join(f"{name} {count:.1f}" for name, count in point["fewer"].items())
        score = point["scores"][METRIC]
        lines.append(
            f"| {point['shots']}{f' ({fewer})' if fewer else ''} | {point['rows']:.0f} | {format_score(score)} "
            f"| {_format_spread(score)} | {format_score(point['scores'][OTHER])} |"
        )
    return "\n".join([*lines, ""])


def format_score(score: dict[str, Any]) -> str:
    """Format a score over trainings: "61.2 % [55.0, 67.3]"."""
    mean = score["mean"]
    interval = "" if mean["low"] is None else f" [{100 * mean['low']:.1f}, {100 * mean['high']:.1f}]"
    return f"{100 * mean['value']:.1f} %{interval}"


def _format_spread(score: dict[str, Any]) -> str:
    seeds = score["seeds"]
    if len(seeds) < 2:
        return "-"
    mean = sum(seeds) / len(seeds)
    return f"{100 * (sum((one - mean) ** 2 for one in seeds) / (len(seeds) - 1)) ** 0.5:.1f}"


def _format_time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
