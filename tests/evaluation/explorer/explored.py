"""A run for the explorer: two genres, labels of every kind, prompts with HTML in them, and a classifier."""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from datasets import Audio, ClassLabel, Features, List, Value

from builder.audio import encode_flac
from builder.corpus.corpus import write_sums
from builder.corpus.shards import write_shard
from builder.embedders.base import load_embedder
from builder.settings import EmbedderSettings

from ..conftest import RATE, linear, save, sound

GENRES = ("electronica", "rock")
MOODS, INSTRUMENTS = ("dark", "hopeful"), ("drums", "piano", "violin")
HOSTILE = (
    """<img src=x onerror="document.title='owned'"> ../../etc/passwd {{7*7}} ${7*7} `x` \\ & "quoted" </script>"""
)
ESCAPED = html.escape(HOSTILE.split(" ../")[0])
PER_GENRE = 14
SHARDS = ("data/train-00000-of-00001.parquet", "data/validation-00000-of-00001.parquet")
RECIPE = "name: explored\nprompts: {per_genre: 14}\ngenerator: {seconds: 2.0}\n"


def make_run(folder: Path, seconds: float = 2.0, shift: int = 0) -> Path:
    """Write corpus/ with 28 clips, the last of each genre in the validation split, and model/."""
    embedder = load_embedder(EmbedderSettings())
    labels = {
        "genre": ClassLabel(names=list(GENRES)), "subgenre": Value("string"), "mood": ClassLabel(names=list(MOODS)),
        "instruments": List(ClassLabel(names=list(INSTRUMENTS))), "tempo_bpm": Value("int32"), "key": Value("string"),
        "vocals": ClassLabel(names=["instrumental", "with-vocals", "unspecified"]), "prompt_group": Value("string"),
    }  # fmt: skip
    features = {
        "id": Value("string"), "audio": Audio(RATE), "prompt": Value("string"), **labels, "seed": Value("int64"),
        "generator": Value("string"), "generator_revision": Value("string"), "duration": Value("float32"),
        "loudness": Value("float32"), "peak": Value("float32"), "attempts": Value("int8"),
    }  # fmt: skip
    vectors = {"id": Value("string"), "embedding": List(Value("float32"), length=embedder.dim), **labels}
    root = folder / "corpus"
    parts: dict[str, tuple[list[Any], list[Any]]] = {"train": ([], []), "validation": ([], [])}
    for number in range(PER_GENRE):
        for genre, name in enumerate(GENRES):
            # The first two clips of rock are the same recording, a near-duplicate.
            clip = sound(2 * genre, shift + (0 if genre == 1 and number < 2 else number), seconds)
            common = {
                "id": f"{name}-{number:03d}", "genre": genre, "subgenre": ("techno", "punk")[genre],
                "mood": number % 2, "instruments": [0, 1 + genre] if number % 3 else [0], "key": None,
                "tempo_bpm": None if number == 3 else 90 + number, "vocals": number % 3, "prompt_group": f"{number}",
            }  # fmt: skip
            prompt = HOSTILE if number == 1 else f"A {name} track, number {number}."
            rows, embedded = parts["validation" if number == PER_GENRE - 1 else "train"]
            rows.append(
                common
                | {"audio": {"bytes": encode_flac(clip, RATE), "path": "../../etc/passwd.flac"}, "prompt": prompt}
                | {"seed": number, "generator": "sines", "generator_revision": "1", "duration": seconds}
                | {"loudness": -20.0 - number, "peak": -3.0, "attempts": 1 + number % 2}
            )
            embedded.append(common | {"embedding": embedder.embed(clip[None])[0]})
    for split, (rows, embedded) in parts.items():
        file = f"{split}-00000-of-00001.parquet"
        write_shard(root / "data" / file, [rows], Features(features), {"shard": split})
        write_shard(root / "melstats" / file, [embedded], Features(vectors), {"shard": split})
    (root / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    write_sums(root, {})
    net = linear("genre", "single_label_classification", GENRES)
    wave = torch.from_numpy(np.random.default_rng(0).standard_normal((2, embedder.dim)).astype(np.float32))
    with torch.no_grad():
        net.output.weight.copy_(wave / 20)
    save(net, root, folder / "model")
    return folder


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Change a shard's table and keep its schema's metadata."""
    table = pq.read_table(path)
    new = change(table)
    pq.write_table(new.replace_schema_metadata(table.schema.metadata), path)
