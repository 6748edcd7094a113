"""A source and a target with a planted shift: classes are Gaussians, and the target is rotated, scaled and moved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import ClassLabel, Dataset, Features, List, Value
from scipy.linalg import expm

from training.data.features import Features as Rows
from training.data.features import Split
from training.models.classifier import SynthmirConfig

NAMES = ("Blues", "Hip-Hop", "Jazz", "Pop", "Rock")
DIM = 16
Points = tuple[np.ndarray, np.ndarray]


def draw(seed: int, sizes: dict[str, int], shift: float = 0.8) -> dict[str, Points]:
    """float32 [n, DIM] and int64 [n] of each part; parts called `real...` are shifted.

    The shift turns by up to 0.6 rad in every plane, scales each dimension by 0.6 to 1.6, and moves `shift` of the way
    that leads from class 0 to 1 and from class 2 to 3, so that what was learnt without it errs.
    """
    rng = np.random.default_rng(seed)
    centres = 1.3 * rng.standard_normal((len(NAMES), DIM))
    skew = rng.standard_normal((DIM, DIM))
    skew -= skew.T
    turn = expm(0.6 * skew / np.linalg.norm(skew, 2))
    scale = rng.uniform(0.6, 1.6, DIM)
    move = shift * (centres[1] - centres[0] + centres[3] - centres[2])
    parts = {}
    for name, n in sizes.items():
        labels = rng.permutation(np.arange(n) % len(NAMES))
        points = centres[labels] + rng.standard_normal((n, DIM))
        if name.startswith("real"):
            points = (points @ turn.T) * scale + move
        parts[name] = points.astype(np.float32), labels
    return parts


def split(points: Points, prefix: str = "row") -> Split:
    ids = tuple(f"{prefix}-{i}" for i in range(len(points[0])))
    return Split(ids, torch.from_numpy(points[0]), torch.from_numpy(points[1]))


def source(train: Points, validation: Points) -> Rows:
    return Rows("genre", "melstats", NAMES, split(train, "train"), split(validation, "validation"), {})


def config(hidden: tuple[int, ...] = (64,), names: tuple[str, ...] = NAMES, **options: Any) -> SynthmirConfig:
    label2id = {name: index for index, name in enumerate(names)}
    return SynthmirConfig(
        hidden=hidden, embedder={"dim": DIM}, id2label=dict(enumerate(names)), label2id=label2id, **options
    )


def write(folder: Path, parts: dict[str, Points], **extra: dict[str, list[Any]]) -> Path:
    """A data set of embeddings as `synthmir embed --out` writes one; `extra` columns by name, then by part."""
    folder.mkdir(parents=True)
    for name, (points, labels) in parts.items():
        columns: dict[str, list[Any]] = {
            "id": [f"{name}/{i}" for i in range(len(points))], "embedding": list(points), "genre": labels.tolist(),
        }  # fmt: skip
        features = Features(
            {"id": Value("string"), "embedding": List(Value("float32")), "genre": ClassLabel(names=list(NAMES))}
        )
        for column, values in extra.items():
            columns[column] = values[name]
            features[column] = Value("string")
        Dataset.from_dict(columns, features=features).to_parquet(folder / f"{name}-00000-of-00001.parquet")
    return folder
