"""One training for each of several seeds: a model folder each, and the mean and spread of what they reach."""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from builder.errors import DataError, RecipeError
from builder.io.atomic import write_text
from builder.io.storage import to_path
from builder.records import RunRecord
from builder.settings import EmbedderSettings, SplitSettings, TrainingSettings

from .models.classifier import WEIGHTS, is_model_folder
from .optim.loop import start_accelerator
from .trainer import RECORD, Data, load_data, train_on

SEEDS = "seeds.json"
SCHEMA = 1
APART = ("epoch", "train_loss", "C", "neighbors")  # of the best point, what is no figure of merit


def parse_seeds(text: str) -> list[int]:
    """ "0..9", "0,3,7" or both -> the seeds, each once. Raises RecipeError."""
    seeds: list[int] = []
    for part in text.replace(" ", "").split(","):
        match = re.fullmatch(r"(\d{1,18})(?:\.\.(\d{1,18}))?", part)
        if match is None:
            raise RecipeError(f"--seeds: {part!r} is no seed and no range", "write 0..9 or 0,3,7")
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last < first + 10_000:
            raise RecipeError(f"--seeds: {part!r} is no range of up to 10,000 seeds", "write 0..9 or 0,3,7")
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
    """Train once a seed into `out`/seed-N, and write `out`/seeds.json; what it holds is returned by the main process.

    A seed whose model is there already, of the same data and settings, is not trained again. Raises what `train` does.
    """
    out = Path(out)
    if out.is_file() or is_model_folder(out):
        raise DataError(f"{out}: holds a model; several need a folder of their own", "choose another --out")
    accelerator = start_accelerator(settings, out / "seed")
    data = load_data(to_path(corpus), settings, embedder, split)
    records = {}
    for seed in seeds:
        chosen = settings.model_copy(update={"seed": seed})
        folder = out / f"seed-{seed}"
        record = _finished(folder, data, chosen)
        accelerator.wait_for_everyone()  # all have looked before anyone writes
        if record is None:
            record = train_on(lambda: data, folder, chosen, accelerator)
        if record is not None:
            records[seed] = record
            if on_seed and accelerator.is_main_process:
                on_seed(seed, record)
    if not accelerator.is_main_process:
        return None
    found = _summary(data, settings, records)
    write_text(out / SEEDS, json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    return found


def _finished(folder: Path, data: Data, settings: TrainingSettings) -> RunRecord | None:
    """The record of a model that needs no second training."""
    if not (is_model_folder(folder) and (folder / WEIGHTS).is_file()):
        return None
    try:
        record = RunRecord.read(folder / RECORD)
        then = TrainingSettings.model_validate_json(json.dumps(record.details["settings"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    same = then.model_copy(update={"tracker": settings.tracker}) == settings
    return record if same and record.details.get("identity") == data.identity else None


def _summary(data: Data, settings: TrainingSettings, records: dict[int, RunRecord]) -> dict[str, Any]:
    runs = []
    for seed, record in records.items():
        best = {key: value for key, value in record.details["best"].items() if key not in APART}
        runs.append({"seed": seed, "model": f"seed-{seed}", "best_epoch": record.details["best_epoch"], **best})
    figures = [key for key in runs[0] if key not in ("seed", "model", "best_epoch")]
    columns = {key: [run[key] for run in runs] for key in figures}
    spread = {
        key: {"mean": statistics.fmean(values), "std": statistics.stdev(values) if len(values) > 1 else math.nan}
        for key, values in columns.items()
    }
    spread = {key: {k: v if math.isfinite(v) else None for k, v in each.items()} for key, each in spread.items()}
    told = settings.model_dump(mode="json", exclude={"seed"})
    about = {"task": data.features.task, "rows": len(data.features.validation), "split": "validation"}
    return {"schema": SCHEMA, **about, "settings": told, "seeds": list(records), "summary": spread, "runs": runs}


def format_seed_table(found: dict[str, Any]) -> str:
    """What seeds.json holds, as lines for a terminal: a line a seed, then mean and sample standard deviation."""
    figures = list(found["summary"])
    rows = [("seed", *figures)]
    rows += [(str(run["seed"]), *(_shown(run[key]) for key in figures)) for run in found["runs"]]
    rows += [(kind, *(_shown(found["summary"][key][kind]) for key in figures)) for kind in ("mean", "std")]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
