"""A miniature of the whole: three genres that sound different, a corpus of them, a model, and real files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from datasets import Audio, ClassLabel, Features, List, Value

from builder.audio import encode_flac
from builder.corpus.corpus import write_sums
from builder.corpus.shards import write_shard
from builder.embedders.base import load_embedder
from builder.records import RunRecord
from builder.settings import EmbedderSettings
from training.data.features import load_features
from training.models.classifier import SynthmirClassifier, SynthmirConfig

GENRES = ("Electronica", "Hip Hop", "Rock")
INSTRUMENTS = ("synthesizer", "drums", "guitar")
PLAYED = ((0,), (0, 1), (1, 2))  # by genre, positions in INSTRUMENTS
GENRE_TEMPI = (120, 90, 150)  # by genre, bpm
RATE = 32_000
FINGERPRINT = "0123456789abcdef"
NASTY = "A <script>alert('x')</script> & \"rock\" track"


class FixedTagger:
    """Predicts the same tags for all embeddings, in place of musicnn."""

    tag_names = ("low", "<high>", "middle")

    def predict_tags(self, embeddings: np.ndarray) -> np.ndarray:
        return np.tile(np.float32([0.1, 0.9, 0.5]), (len(embeddings), 1))


def sound(genre: int, seed: int, seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    """float32 [samples]: steady tones, clicks or noise."""
    rng = np.random.default_rng(1000 * genre + seed)
    time = np.arange(round(seconds * rate)) / rate
    if genre == 0:
        wave = sum(np.sin(2 * np.pi * rng.uniform(200, 900) * time) for _ in range(3)) / 3
    elif genre == 1:
        wave = np.sin(2 * np.pi * rng.uniform(50, 90) * time) * np.exp(-((time * rng.uniform(3, 5)) % 1) * 8)
    else:
        wave = rng.standard_normal(len(time)) / 4
    return np.float32(0.5 * np.clip(wave + 0.001 * rng.standard_normal(len(time)), -1, 1))


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus folder: 6 clips a genre to train on, 3 to validate on; audio and melstats."""
    root = tmp_path_factory.mktemp("corpus with spaces")
    embedder = load_embedder(EmbedderSettings())
    labels = {
        "genre": ClassLabel(names=list(GENRES)),
        "instruments": List(ClassLabel(names=list(INSTRUMENTS))),
        "tempo_bpm": Value("int32"),
        "prompt_group": Value("string"),
    }
    audio_columns = Features(
        {"id": Value("string"), "audio": Audio(RATE), "prompt": Value("string"), **labels, "seed": Value("int64"),
         "generator": Value("string"), "generator_revision": Value("string"), "duration": Value("float32")}
    )  # fmt: skip
    vector_columns = Features(
        {"id": Value("string"), "embedding": List(Value("float32"), length=embedder.dim), **labels}
    )
    for split, seeds in (("train", range(6)), ("validation", range(6, 9))):
        rows, vectors = [], []
        for genre, name in enumerate(GENRES):
            for seed in seeds:
                clip = sound(genre, seed)
                common = {"id": f"{name}-{seed}", "genre": genre, "prompt_group": f"{name}-{seed}"}
                common |= {"instruments": list(PLAYED[genre]), "tempo_bpm": GENRE_TEMPI[genre] + seed % 2}
                flac = {"bytes": encode_flac(clip, RATE), "path": f"{name}-{seed}.flac"}
                rows.append(
                    common
                    | {"audio": flac, "prompt": NASTY if genre == 2 else f"A {name} track.", "seed": seed}
                    | {"generator": "sines", "generator_revision": "1", "duration": 1.0}
                )
                vectors.append(common | {"embedding": embedder.embed(clip[None])[0]})
        for config, data, features in (("data", rows, audio_columns), ("melstats", vectors, vector_columns)):
            write_shard(root / config / f"{split}-00000-of-00001.parquet", [data], features, {"shard": split})
    (root / "recipe.yaml").write_text("name: miniature\n", encoding="utf-8")
    about = {"name": "sines", "license": "cc0-1.0", "about": "Sines, clicks and noise; no music."}
    RunRecord(
        "build", FINGERPRINT, "2026-01-01T00:00:00+00:00", 1.5, 27, device="a machine",
        details={"identity": {"name": "miniature"}, "generator": about, "clips": 27, "rejected": 0},
    ).write(root / "records/build.json")  # fmt: skip
    write_sums(root, {})
    return root


@pytest.fixture(scope="session")
def model(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder: the nearest class mean of standardised embeddings, which is a linear classifier."""
    features = load_features(corpus, "melstats", "genre")
    net = linear("genre", "single_label_classification", GENRES)
    net.standardise(features.train.embeddings)
    scaled = (features.train.embeddings - net.mean) / net.std
    means = torch.stack([scaled[features.train.labels == index].mean(0) for index in range(len(GENRES))])
    with torch.no_grad():
        net.output.weight.copy_(means / 100)
        net.output.bias.copy_(-(means**2).sum(1) / 200)
    curve = [
        {"epoch": e, "train_loss": 1 / e, "validation_loss": 1.1 / e, "accuracy": 1 - 0.5 / e, "macro_f1": 1 - 0.6 / e}
        for e in (1, 2, 3)
    ]
    return save(net, corpus, tmp_path_factory.mktemp("model"), {"curve": curve, "best_epoch": 3})


@pytest.fixture(scope="session")
def tagger(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder that predicts instruments, by least squares on their presence."""
    features = load_features(corpus, "melstats", "instruments")
    net = linear("instruments", "multi_label_classification", features.names, threshold=0.5)
    fit(net, features.train.embeddings, 8 * features.train.labels - 4)
    return save(net, corpus, tmp_path_factory.mktemp("tagger"))


@pytest.fixture(scope="session")
def metronome(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder that predicts the tempo, by least squares."""
    features = load_features(corpus, "melstats", "tempo_bpm")
    net = linear("tempo_bpm", "regression", ("tempo_bpm",))
    net.standardise(features.train.embeddings, features.train.labels)
    fit(net, features.train.embeddings, ((features.train.labels - net.label_mean) / net.label_std)[:, None])
    return save(net, corpus, tmp_path_factory.mktemp("metronome"))


def linear(task: str, problem: str, labels: tuple[str, ...], **more: object) -> SynthmirClassifier:
    """A linear model on melstats, not yet trained."""
    embedder = load_embedder(EmbedderSettings())
    config = SynthmirConfig(
        task=task,
        problem_type=problem,
        hidden=(),
        embedder={"name": "melstats", "weights": None, "revision": embedder.revision, "dim": embedder.dim,
                  "sampling_rate": embedder.sampling_rate, "window_seconds": embedder.window_seconds},
        id2label=dict(enumerate(labels)),
        label2id={name: index for index, name in enumerate(labels)},
        **more,
    )  # fmt: skip
    return SynthmirClassifier(config)


def fit(net: SynthmirClassifier, embeddings: torch.Tensor, targets: torch.Tensor) -> None:
    """Ridge regression of the outputs."""
    if net.config.problem_type != "regression":
        net.standardise(embeddings)
    rows = (embeddings - net.mean) / net.std
    rows = torch.cat([rows, torch.ones(len(rows), 1)], dim=1).double()
    kernel = rows @ rows.T + 10 * torch.eye(len(rows), dtype=torch.float64)
    weights = (rows.T @ torch.linalg.solve(kernel, targets.double())).float()
    with torch.no_grad():
        net.output.weight.copy_(weights[:-1].T)
        net.output.bias.copy_(weights[-1])


def save(net: SynthmirClassifier, corpus: Path, folder: Path, details: dict[str, object] | None = None) -> Path:
    """The model folder, with a training record that leads to the corpus."""
    net.save_pretrained(folder)
    about = {"embedder": net.config.embedder | {"about": load_embedder(EmbedderSettings()).about}}
    RunRecord(
        "train", FINGERPRINT, "2026-01-01T00:00:00+00:00", 2.5, 18, device="a machine",
        details={"corpus": os.path.relpath(corpus, folder), **about, **(details or {})},
    ).write(folder / "training.json")  # fmt: skip
    return folder


@pytest.fixture
def music(tmp_path: Path) -> Path:
    """Two readable recordings a genre, 44.1 kHz stereo, in folders that spell the labels otherwise."""
    root = tmp_path / "real music"
    for genre, name in enumerate(("electronica", "Hip-Hop", "ROCK")):
        (root / name).mkdir(parents=True)
        for seed in (20, 21):
            mono = sound(genre, seed, 2.0, 44_100)
            soundfile.write(root / name / f"{seed}.wav", np.stack([mono, mono], axis=1), 44_100)
    return root
