"""Training a classifier of embeddings: synthmir's loop beside scikit-learn's, and a whole run from corpus to model.

uv run perf/training.py [--quick] [--device cpu|cuda] [--json FILE]
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import table

sys.path.insert(0, str(Path(__file__).parents[1]))  # this file's own name would hide the package `training`

LABELS, DIM = 5, 768
PAPER = 57_562  # clips of Kroher, Cuesta, Pikrakis 2023
PATIENCE, BATCH = 5, 512  # the defaults of training


def points(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings float32 [n, 768] around a centre a label, as hard to separate as the paper's, and their labels."""
    rng = np.random.default_rng(seed)
    centres = 0.08 * np.random.default_rng(2023).standard_normal((LABELS, DIM))
    labels = rng.integers(0, LABELS, n)
    return (centres[labels] + rng.standard_normal((n, DIM))).astype(np.float32), labels


def split(n: int, seed: int) -> Any:
    """The same as a split of features."""
    import torch

    from training.data.features import Split

    vectors, labels = points(n, seed)
    return Split(tuple(map(str, range(n))), torch.from_numpy(vectors), torch.from_numpy(labels))


def write_corpus(root: Path, n: int) -> Path:
    """A corpus folder of `n` embeddings in shards of 1,024, as `synthmir embed` writes them."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import ClassLabel, Features, List, Value

    features = Features(
        {
            "id": Value("string"),
            "embedding": List(Value("float32"), length=DIM),
            "genre": ClassLabel(names=[f"genre {i}" for i in range(LABELS)]),
            "prompt_group": Value("string"),
        }
    )
    (root / "melstats").mkdir(parents=True)
    for seed, (name, rows) in enumerate((("train", n - n // 10), ("validation", n // 10))):
        vectors, labels = points(rows, seed)
        ids = [f"{name}-{i}" for i in range(rows)]
        embedding = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIM)
        columns = pa.table([pa.array(ids), embedding, pa.array(labels), pa.array(ids)], schema=features.arrow_schema)
        total = -(-rows // 1024)
        for index in range(total):
            path = root / "melstats" / f"{name}-{index:05d}-of-{total:05d}.parquet"
            pq.write_table(columns.slice(1024 * index, 1024), path, row_group_size=64)
    return root


Curve = list[tuple[float, float]]  # after each epoch: seconds since the start, and the loss on validation


def train_synthmir(train: Any, validation: Any) -> Curve:
    """`fit` with its defaults, to early stop, from the tensors on: standardisation is part of it."""
    from builder.settings import TrainingSettings
    from training.data.features import Features
    from training.models.classifier import SynthmirConfig
    from training.optim.loop import fit, start_accelerator

    names = tuple(f"genre {i}" for i in range(LABELS))
    features = Features("genre", "melstats", names, train, validation, {})
    config = SynthmirConfig(embedder={"dim": DIM}, id2label=dict(enumerate(names)))
    accelerator, curve = start_accelerator(), []
    clock = time.perf_counter()
    fit(
        config, features, TrainingSettings(class_weights=False), accelerator,
        lambda point: curve.append((time.perf_counter() - clock, point["validation_loss"])),
    )  # fmt: skip
    return curve


def train_sklearn(train: Any, validation: Any, batch_size: int) -> Curve:
    """scikit-learn's MLPClassifier of the same layers and rate, with Adam, the same early stopping, on one thread."""
    from sklearn.metrics import log_loss
    from sklearn.neural_network import MLPClassifier
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    curve: Curve = []
    with threadpool_limits(1):
        clock = time.perf_counter()
        scaler = StandardScaler().fit(train.embeddings.numpy())
        classifier = MLPClassifier((128,), batch_size=batch_size, random_state=0)
        vectors, labels = scaler.transform(train.embeddings.numpy()), train.labels.numpy()
        validation_vectors, truth = scaler.transform(validation.embeddings.numpy()), validation.labels.numpy()
        while len(curve) - best(curve) <= PATIENCE:
            classifier.partial_fit(vectors, labels, classes=np.arange(LABELS))
            loss = float(log_loss(truth, classifier.predict_proba(validation_vectors)))
            curve.append((time.perf_counter() - clock, loss))
    return curve


def best(curve: Curve) -> int:
    """The epoch, from 1, with the lowest loss; 1 where there is none yet."""
    return min(range(len(curve)), key=lambda i: curve[i][1], default=0) + 1


def compared(train: Any, validation: Any, batch_size: int, rounds: int) -> list[dict[str, Any]]:
    """Three lines: the time to a loss as good as the peer's best, rows a second, and the best losses."""
    pairs = [
        (train_synthmir(train, validation), train_sklearn(train, validation, batch_size)) for _ in range(rounds + 1)
    ]
    synthmir, sklearn = zip(*pairs[1:], strict=True)  # the first warms both up
    goals = [min(loss for _, loss in curve) for curve in sklearn]
    times = [
        next((s for s, loss in curve if loss <= goal), math.inf) for curve, goal in zip(synthmir, goals, strict=True)
    ]
    peer = f"scikit-learn MLPClassifier, batch {batch_size}"
    note = "one thread and scaling on both sides, validated each epoch"
    return [
        table.paired(
            f"train 768-128-5 on {len(train)} embeddings to the peer's best validation loss",
            "1/s",
            [1 / seconds for seconds in times],
            [1 / curve[best(curve) - 1][0] for curve in sklearn],
            peer_name=peer,
            note=f"{note}; the peer is there after epoch {best(sklearn[0])}",
        ),
        table.paired(
            f"the same, an epoch's rows (ours: batch {BATCH})",
            "rows/s",
            [len(curve) * len(train) / curve[-1][0] for curve in synthmir],
            [len(curve) * len(train) / curve[-1][0] for curve in sklearn],
            peer_name=peer,
            note=note,
        ),
        table.paired(
            "best validation loss (lower is better)",
            "nats",
            [min(loss for _, loss in curve) for curve in synthmir],
            goals,
            peer_name=peer,
            note="each stopped after 5 epochs without a better one",
        ),
    ]


TRAIN = """
import sys
from pathlib import Path
from builder.settings import EmbedderSettings, TrainingSettings
from training.trainer import train
train(Path(sys.argv[1]), Path(sys.argv[2]), TrainingSettings(), EmbedderSettings())
"""


def whole(n: int) -> Any:
    """The run record of a training from a corpus folder to a model folder, stopped early, in a process of its own."""
    from builder.records import RunRecord

    with tempfile.TemporaryDirectory() as place:
        corpus, model = write_corpus(Path(place) / "corpus", n), Path(place) / "model"
        command = [sys.executable, "-c", TRAIN, str(corpus), str(model)]
        subprocess.run(command, check=True, cwd=Path(__file__).parents[1])
        return RunRecord.read(model / "training.json")


def main() -> None:
    options = table.arguments(__doc__)
    if options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    n, rounds = (8_000, 3) if options.quick else (PAPER, 5)
    record = whole(n)
    train, validation = split(n - n // 10, 0), split(n // 10, 1)
    rows = [line for batch in (200, BATCH) for line in compared(train, validation, batch, rounds)]  # 200: its default
    note = f"{len(record.details['curve'])} epochs, Parquet to model folder; a process of its own, imports not timed"
    alone: dict[str, Any] = {"peer": None, "peer_name": "", "n": 1, "note": note}
    rows.append(table.row(f"synthmir train, {n} embeddings, to early stop", "s", record.wall_seconds, **alone))
    rows.append(table.row(f"its peak memory, {n} embeddings", "MB", record.peak_memory_bytes / 1e6, **alone))
    table.finish("training", rows, options)


if __name__ == "__main__":
    main()
