"""A corpus of embeddings without audio: points around one centre a label, written as a corpus writes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from datasets import ClassLabel, Dataset, Features, List, Value

from builder.records import RunRecord
from builder.settings import EmbedderSettings, TrainingSettings

DIM = 12
GENRES = ("Electronica", "Funk", "Orchestral")
INSTRUMENTS = ("bass", "drums", "flute", "theremin")  # no row has the last
FINGERPRINT = "0123456789abcdef"
GENERATOR = {"name": "arranger", "revision": "7", "license": "cc-by-4.0", "about": "It composes by rule."}
EMBEDDER = {"name": "melstats", "revision": "1", "dim": DIM, "sampling_rate": 32_000, "window_seconds": 10.0}
Columns = dict[str, list[Any]]


def columns(split: str, n: int, seed: int, distance: float = 2.0) -> Columns:
    """`n` rows: genre g around a centre of its own, `distance` from the origin in each dimension's unit."""
    rng = np.random.default_rng(seed)
    genre = rng.permutation(np.arange(n) % len(GENRES))
    centres = distance * np.random.default_rng(99).standard_normal((len(GENRES), DIM))
    vectors = 5.0 + 3.0 * (centres[genre] + rng.standard_normal((n, DIM)))
    return {
        "id": [f"{split}-{i}" for i in range(n)],
        "embedding": list(vectors.astype(np.float32)),
        "genre": genre.tolist(),
        "mood": [None if i % 4 == 0 else i % 2 for i in range(n)],
        "vocals": [0] * n,
        "prompt_group": [f"{split}-{i}" for i in range(n)],
        "subgenre": [None if i % 10 == 0 else f"{GENRES[g]} {'b' if v[0] > 5 else 'a'}"
                     for i, (g, v) in enumerate(zip(genre, vectors, strict=True))],
        "instruments": [[j for j in range(3) if v[j] > 5.0] for v in vectors],
        "tempo_bpm": [None if i % 6 == 0 else round(120 + 8 * v[1]) for i, v in enumerate(vectors)],
    }  # fmt: skip


def write(root: Path, data: dict[str, Columns], shards: int = 2, genres: tuple[str, ...] = GENRES) -> Path:
    """The corpus folder: shards of embeddings, a card that declares them, and the records."""
    kinds = {
        "id": Value("string"),
        "embedding": List(Value("float32")),
        "genre": ClassLabel(names=list(genres)),
        "mood": ClassLabel(names=["calm", "tense"]),
        "vocals": ClassLabel(names=["instrumental", "with-vocals", "unspecified"]),
        "prompt_group": Value("string"),
        "subgenre": Value("string"),
        "instruments": List(ClassLabel(names=list(INSTRUMENTS))),
        "tempo_bpm": Value("int32"),
    }
    (root / "melstats").mkdir(parents=True)
    for split, table in data.items():
        dataset = Dataset.from_dict(table, features=Features({name: kinds[name] for name in table}))
        for index in range(shards):
            part = dataset.shard(shards, index, contiguous=True)
            part.to_parquet(root / "melstats" / f"{split}-{index:05d}-of-{shards:05d}.parquet")
    files = [{"split": split, "path": f"melstats/{split}-*"} for split in data]
    card = yaml.safe_dump({"configs": [{"config_name": "melstats", "data_files": files}]})
    (root / "README.md").write_text(f"---\n{card}---\n")
    made = {"identity": {"name": "miniature"}, "generator": GENERATOR}
    RunRecord("build", FINGERPRINT, details=made).write(root / "records/build.json")
    RunRecord("embed", FINGERPRINT, details={"embedder": EMBEDDER}).write(root / "records/embed-melstats.json")
    return root


@pytest.fixture
def tables() -> dict[str, Columns]:
    """The columns of both splits, which a test may change before it writes them."""
    return {"train": columns("train", 240, 0), "validation": columns("validation", 60, 1)}


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Writes tables as a corpus folder."""

    def corpus(data: dict[str, Columns], **options: Any) -> Path:
        return write(tmp_path / "corpus", data, **options)

    return corpus


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A valid corpus folder, shared: tests only read it."""
    data = {"train": columns("train", 240, 0), "validation": columns("validation", 60, 1)}
    return write(tmp_path_factory.mktemp("shared") / "corpus", data)


@pytest.fixture(scope="session")
def model(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained model folder, shared: tests only read it."""
    from training.trainer import train

    folder = tmp_path_factory.mktemp("shared") / "model"
    train(corpus, folder, TrainingSettings(hidden=(8,), epochs=20), EmbedderSettings())
    return folder
