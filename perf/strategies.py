"""The strategies of training on real recordings: several divisions by artist, several seeds, intervals over artists.

    python perf/strategies.py CORPUS EMBEDDED [EMBEDDED ...] [--divisions 6] [--seeds 2] [--shots N] [--out DIR]

CORPUS is a corpus that is embedded with each embedder; EMBEDDED is what `synthmir embed RECORDINGS --embedder NAME
--out EMBEDDED` wrote of recordings with the columns `label` and `artist`. Each division is 60 % to train, 20 % to
validate and 20 % to test, by artist. A track is scored by its stored embedding. Writes strategies.json and .md.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from builder.embedders.embedded_dataset import open_dataset
from builder.io.atomic import write_text
from builder.io.safe_files import read_json
from builder.names import format_count, normalize_label
from builder.records import package_versions
from builder.settings import TrainingSettings
from training.data.features import Features, Split, load_features
from training.data.target import Target
from training.models.classifier import SINGLE, SynthmirConfig
from training.optim.loop import start_accelerator
from training.strategies import run_strategy

STRATEGIES = ("synthetic", "adapt (statistics)", "adapt", "transfer", "joint", "finetune", "real")
PAPER = ("finetune, start and rate of 2024",)
SHARES = (0.6, 0.8)  # where train and validation end
RESAMPLES = 1000


def read_target(path: str, source: Features) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Embeddings [n, dim], labels [n] as the source's, and artists [n] of the recordings; a row of none is its own."""
    dataset = open_dataset(Path(path), source.embedder)
    rows = dataset.rows()
    names = [normalize_label(name) for name in source.names]
    labels = [names.index(normalize_label(str(name))) for name in dataset.labels("label", rows).by_name()]
    artists = dataset.read(["artist"], rows)["artist"].to_pylist()
    ids = dataset.ids(rows)
    artists = [artist or identity for artist, identity in zip(artists, ids, strict=True)]
    return torch.from_numpy(dataset.embeddings(rows)), torch.tensor(labels), np.array(artists)


def divide(artists: np.ndarray, seed: int) -> np.ndarray:
    """The part of each row, 0 train, 1 validation, 2 test: whole artists in a drawn order."""
    rng, done = np.random.default_rng(seed), 0
    parts = np.zeros(len(artists), int)
    for artist in rng.permutation(np.unique(artists)):
        mine = artists == artist
        parts[mine] = np.searchsorted(SHARES, (done + mine.sum() / 2) / len(artists))
        done += mine.sum()
    return parts


def settings_of(name: str, seed: int, shots: int | None) -> TrainingSettings:
    """The settings of a row of the table."""
    options: dict[str, Any] = {"strategy": name.split()[0].strip(","), "seed": seed, "target": "real", "shots": shots}
    if name == "synthetic":
        options |= {"target": None, "shots": None}
    elif name == "adapt (statistics)":
        options["adaptation"] = {"loss": "statistics"}
    elif name in PAPER:
        options |= {"warm_start": 1.0, "finetune_lr": 1e-4}
    if options["strategy"] == "adapt":
        options["shots"] = None  # without labels
    return TrainingSettings(**options)


def predict(corpus: Path, path: str, divisions: int, seeds: int, shots: int | None) -> dict[str, Any]:
    """Train by each strategy; labels, artists, and the predictions [runs, n] of each, -1 outside of the test part."""
    embedder = read_json(Path(path) / "records/embed.json")["details"]["embedder"]
    source = load_features(corpus, embedder["name"], "genre")
    x, y, artists = read_target(path, source)
    accelerator = start_accelerator()
    predictions: dict[str, list[np.ndarray]] = {}
    for division in range(divisions):
        parts = divide(artists, division)
        train, validation = (
            Split(tuple(map(str, np.flatnonzero(parts == part))), x[parts == part], y[parts == part])
            for part in (0, 1)
        )
        record = {"source": "real", "labelled": {"train": {}, "validation": {}}, "unlabelled": 0}
        target = Target(train, x[:0], validation, record)
        for name in (*STRATEGIES, *PAPER):
            for seed in range(seeds):
                config = SynthmirConfig(
                    embedder={"dim": source.dim}, problem_type=SINGLE, id2label=dict(enumerate(source.names)),
                    label2id={label: number for number, label in enumerate(source.names)},
                )  # fmt: skip
                settings = settings_of(name, seed, shots)
                model = run_strategy(settings, source, target, config, accelerator).fit.model
                own = [source.names.index(label) for label in model.config.labels]
                with torch.inference_mode():
                    guess = np.array(own)[model(x).logits.argmax(dim=1).numpy()]
                predictions.setdefault(name, []).append(np.where(parts == 2, guess, -1))
        print(f"{embedder['name']}: division {division + 1} of {divisions}", file=sys.stderr, flush=True)
    return {
        "embedder": embedder["name"],
        "labels": y.numpy(),
        "artists": artists,
        "predictions": {name: np.stack(runs) for name, runs in predictions.items()},
    }


def score(predictions: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Accuracy and balanced accuracy, each the mean over the runs; rows count by their weights."""
    accuracies, balanced = [], []
    for run in predictions:
        tested = (run >= 0) & (weights > 0)
        right, weight, truth = (run == labels)[tested], weights[tested], labels[tested]
        if not len(right):
            continue
        accuracies.append(np.average(right, weights=weight))
        recalls = [np.average(right[truth == c], weights=weight[truth == c]) for c in np.unique(truth)]
        balanced.append(np.mean(recalls))
    return float(np.mean(accuracies)), float(np.mean(balanced))


def tabulate(measured: dict[str, Any]) -> list[dict[str, Any]]:
    """Scores of each strategy, and differences to the better of `real` and `synthetic`, with their intervals."""
    labels, artists = measured["labels"], measured["artists"]
    names, numbers = np.unique(artists, return_inverse=True)
    rng = np.random.default_rng(0)
    draws = [np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names)) for _ in range(RESAMPLES)]
    everything = np.ones(len(labels))
    values = {name: np.array(score(runs, labels, everything)) for name, runs in measured["predictions"].items()}
    resampled = {
        name: np.array([score(runs, labels, draw[numbers]) for draw in draws])
        for name, runs in measured["predictions"].items()
    }
    rows = []
    for name, value in values.items():
        runs = len(measured["predictions"][name])
        row: dict[str, Any] = {"embedder": measured["embedder"], "strategy": name, "runs": runs}
        for place, metric in enumerate(("accuracy", "balanced_accuracy")):
            better = max(("real", "synthetic"), key=lambda one: values[one][place])
            difference = resampled[name][:, place] - resampled[better][:, place]
            row[metric] = interval(value[place], resampled[name][:, place])
            gain = value[place] - values[better][place]
            row[f"{metric}_minus_better"] = interval(gain, difference) | {"than": better}
        rows.append(row)
    return rows


def interval(value: float, draws: np.ndarray) -> dict[str, Any]:
    """A value with its 95 % interval."""
    low, high = np.percentile(draws, [2.5, 97.5])
    return {"value": round(float(value), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def render(document: dict[str, Any]) -> str:
    """The table as Markdown."""
    trainings = format_count(document["seeds"], "training")
    lines = [
        "# Strategies on real recordings",
        "",
        f"{document['n']} recordings of {document['artists']} artists; {document['divisions']} divisions by artist, "
        f"{trainings} of each; labels of the target: {document['shots'] or 'all of'} "
        f"{'a class of ' if document['shots'] else ''}its train part. In brackets: 95 % intervals over artists.",
        "",
        "| embedder | strategy | accuracy | balanced accuracy | accuracy minus that of the better part | balanced |",
        "|---|---|---|---|---|---|",
    ]
    for row in document["rows"]:
        cells = [row["embedder"], row["strategy"]]
        for key in ("accuracy", "balanced_accuracy"):
            cells.append("{value:.3f} [{low:.3f}, {high:.3f}]".format(**row[key]))
        for key in ("accuracy_minus_better", "balanced_accuracy_minus_better"):
            cells.append("{value:+.3f} [{low:+.3f}, {high:+.3f}] ({than})".format(**row[key]))
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", f"`{document['command']}`, {document['date']}, {document['machine']}.", ""]
    return "\n".join(lines)


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("embedded", nargs="+")
    parser.add_argument("--divisions", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--shots", type=int)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--name", default="strategies")
    options = parser.parse_args()
    how = options.divisions, options.seeds, options.shots
    measured = [predict(options.corpus, one, *how) for one in options.embedded]
    shots = "" if options.shots is None else f" --shots {options.shots}"
    document = {
        "script": "perf/strategies.py",
        "command": "python perf/strategies.py CORPUS EMBEDDED... "
        f"--divisions {options.divisions} --seeds {options.seeds}{shots}",
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "versions": package_versions(),
        "n": len(measured[0]["labels"]),
        "artists": len(np.unique(measured[0]["artists"])),
        "divisions": options.divisions,
        "seeds": options.seeds,
        "shots": options.shots,
        "rows": [row for one in measured for row in tabulate(one)],
    }
    options.out.mkdir(parents=True, exist_ok=True)
    write_text(options.out / f"{options.name}.json", json.dumps(document, indent=2, sort_keys=True) + "\n")
    write_text(options.out / f"{options.name}.md", render(document))
    print(render(document))


if __name__ == "__main__":
    main()
