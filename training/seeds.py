"""Train once for each of several seeds: a model folder each, and the mean and spread of their metrics."""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from builder.errors import DataError, RecipeError
from builder.io.atomic import write_text
from builder.io.storage import to_path
from builder.records import RunRecord
from builder.settings import EmbedderSettings, SplitSettings, TrainingSettings

from .frames.data import FrameData
from .frames.training import frame_data, train_frames_on
from .models.classifier import WEIGHTS, is_model_folder
from .optim.loop import start_accelerator
from .strategies import REVISION
from .trainer import RECORD, TrainingData, load_training_data, train_on

SEEDS = "seeds.json"
SCHEMA = 1
NOT_METRICS = ("epoch", "train_loss", "C", "neighbors")  # entries of a point of the learning curve


def parse_seeds(text: str) -> list[int]:
    """Parse "0..9", "0,3,7" or both into seeds, each once. Raises RecipeError."""
    seeds: list[int] = []
    for part in text.replace(" ", "").split(","):
        match = re.fullmatch(r"(\d{1,18})(?:\.\.(\d{1,18}))?", part)
        if match is None:
            raise RecipeError(f"--seeds: {part!r} is not a seed or a range", "write 0..9 or 0,3,7")
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last < first + 10_000:
            raise RecipeError(f"--seeds: {part!r} is not a range of up to 10,000 seeds", "write 0..9 or 0,3,7")
        seeds += range(first, last + 1)
    return list(dict.fromkeys(seeds))


def train_seeds(
    corpus: Path,
    out: Path,
    settings: TrainingSettings,
    seeds: Sequence[int],
    embedder: EmbedderSettings | None = None,
    on_seed: Callable[[int, RunRecord], None] | None = None,
    *,
    split: SplitSettings | None = None,
) -> dict[str, Any] | None:
    """Train once for each seed into `out`/seed-N, and write `out`/seeds.json.

    A seed whose model exists already, with the same data and settings, is not trained again.

    Args:
        corpus: See `training.trainer.train`, and so for the settings, the embedder and the split.
        out: The folder of the model folders.
        settings: The training settings; their seed is replaced.
        seeds: The seeds.
        embedder: What made the embeddings.
        on_seed: Called with each seed and its training record, in the main process.
        split: How a data set without a validation split is divided.

    Returns:
        The content of seeds.json in the main process, None in the others.

    Raises:
        DataError: `out` holds a model, or see `train`.
        RecipeError: See `train`.
        BackendError: See `train`.
    """
    out = Path(out)
    if out.is_file() or is_model_folder(out):
        raise DataError(f"{out}: is a model; several models need a folder of their own", "choose another --out")
    accelerator = start_accelerator(settings, out / "seed")
    with ExitStack() as stack:
        data: TrainingData | FrameData
        train_one: Callable[[Path, TrainingSettings], RunRecord | None]
        if settings.frame_tasks:
            frames = data = stack.enter_context(frame_data(to_path(corpus), out / "seed", settings, accelerator))()
            train_one = lambda folder, chosen: train_frames_on(lambda: frames, folder, chosen, accelerator)  # noqa: E731
        else:
            rows = data = load_training_data(to_path(corpus), settings, embedder, split)
            train_one = lambda folder, chosen: train_on(lambda: rows, folder, chosen, accelerator)  # noqa: E731
        records = {}
        for seed in seeds:
            chosen = settings.model_copy(update={"seed": seed})
            folder = out / f"seed-{seed}"
            record = _read_finished(folder, data, chosen)
            accelerator.wait_for_everyone()  # all processes look before one writes
            if record is None:
                record = train_one(folder, chosen)
            if record is not None:
                records[seed] = record
                if on_seed and accelerator.is_main_process:
                    on_seed(seed, record)
    if not accelerator.is_main_process:
        return None
    summary = _summarize(data, settings, records)
    write_text(out / SEEDS, json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    return summary


def _read_finished(folder: Path, data: TrainingData | FrameData, settings: TrainingSettings) -> RunRecord | None:
    """The record of a model that is already trained on this data with these settings, None otherwise."""
    if not (is_model_folder(folder) and (folder / WEIGHTS).is_file()):
        return None
    try:
        record = RunRecord.read(folder / RECORD)
        then = TrainingSettings.model_validate_json(json.dumps(record.details["settings"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    same = then.model_copy(update={"tracker": settings.tracker}) == settings
    if settings.strategy not in ("synthetic", "real"):  # these are as they were
        same = same and (record.details.get("strategy") or {}).get("revision") == REVISION
    return record if same and record.details.get("identity") == data.identity else None


def _summarize(
    data: TrainingData | FrameData, settings: TrainingSettings, records: dict[int, RunRecord]
) -> dict[str, Any]:
    runs = []
    for seed, record in records.items():
        best = {key: value for key, value in record.details["best"].items() if key not in NOT_METRICS}
        runs.append({"seed": seed, "model": f"seed-{seed}", "best_epoch": record.details["best_epoch"], **best})
    figures = [key for key in runs[0] if key not in ("seed", "model", "best_epoch")]
    columns = {key: [run[key] for run in runs] for key in figures}
    spread = {
        key: {"mean": statistics.fmean(values), "std": statistics.stdev(values) if len(values) > 1 else math.nan}
        for key, values in columns.items()
    }
    spread = {key: {k: v if math.isfinite(v) else None for k, v in each.items()} for key, each in spread.items()}
    described = settings.model_dump(mode="json", exclude={"seed"})
    task, validation = (
        (",".join(data.tasks), data.validation)
        if isinstance(data, FrameData)
        else (data.features.task, data.features.validation)
    )
    about = {"task": task, "rows": len(validation), "split": "validation"}
    return {"schema": SCHEMA, **about, "settings": described, "seeds": list(records), "summary": spread, "runs": runs}


def format_seed_table(summary: dict[str, Any]) -> str:
    """Format the content of seeds.json for a terminal: a line for each seed, then mean and standard deviation."""
    figures = list(summary["summary"])
    rows = [("seed", *figures)]
    rows += [(str(run["seed"]), *(_format_value(run[key]) for key in figures)) for run in summary["runs"]]
    rows += [(kind, *(_format_value(summary["summary"][key][kind]) for key in figures)) for kind in ("mean", "std")]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _format_value(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
