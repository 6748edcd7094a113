"""Clips with planted annotations: clicks on the beats, sines of the chords and notes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, Features, Value

from builder.annotations.annotation import Annotation, Notes, Segments, TrackActivity, annotation_features
from builder.audio import encode_flac
from builder.corpus.corpus import write_sums
from builder.corpus.shards import hash_file
from builder.settings import TrainingSettings
from training.frames.data import FrameData, FrameSplit, quantize
from training.frames.labels import TONICS
from training.frames.spectrogram import FRAMES_SAMPLING_RATE as RATE
from training.frames.targets import FrameClasses

SECONDS = 4.0
FRAMES: dict[str, Any] = {"seconds": 4.0, "width": 16, "batch_size": 4, "damages": []}


def choose(task: str, **frames: Any) -> TrainingSettings:
    """The settings of a small model of some tasks."""
    return TrainingSettings(task=task, head="frames", frames={**FRAMES, **frames})  # type: ignore[arg-type]


def make_clip(seed: int, seconds: float = SECONDS) -> tuple[np.ndarray, Annotation]:
    """Noise bursts on the beats, each bar a major triad; float32 [samples] at 16 kHz and its annotation."""
    draw = np.random.default_rng(seed)
    period, first = draw.uniform(0.3, 0.6), draw.uniform(0.05, 0.25)
    beats = np.arange(first, seconds - 0.05, period)
    samples = 0.003 * draw.standard_normal(round(seconds * RATE)).astype(np.float32)
    burst = 0.3 * np.exp(-np.arange(800) / 100) * draw.standard_normal(800)
    for beat in beats:
        place = round(beat * RATE)
        samples[place : place + 800] += burst[: len(samples) - place].astype(np.float32)
    tonic = int(draw.integers(12))
    time = np.arange(len(samples)) / RATE
    for step in (0, 4, 7):
        samples += (0.03 * np.sin(2 * np.pi * 261.63 * 2 ** ((tonic + step) / 12) * time)).astype(np.float32)
    whole = (np.zeros(1), np.full(1, seconds))
    pitches = np.array([60 + tonic + step for step in (0, 4, 7)], np.int16)
    three = np.ones(3, np.int16)
    notes = Notes(np.zeros(3), np.full(3, seconds), pitches, 100 * three, 0 * three, three < 0, 0 * three)
    return samples, Annotation(
        str(seed), seconds, beats=beats, positions=(np.arange(len(beats)) % 4 + 1).astype(np.int8),
        time_signature="4/4" if seed % 2 else "3/4", chords=Segments(*whole, (f"{TONICS[tonic]}:maj",)),
        key=f"{TONICS[tonic]}:major", melody=np.full(round(100 * seconds), 440 * 2 ** ((tonic - 9) / 12), np.float32),
        notes=notes, tracks=(TrackActivity("organ", 16, False, "harmony", *whole),),
    )  # fmt: skip


def make_split(seeds: range) -> FrameSplit:
    """Clips as the windows of a split."""
    clips = [make_clip(seed) for seed in seeds]
    frames = round(SECONDS * 50)
    return FrameSplit(
        tuple(annotation.id for _, annotation in clips),
        tuple(annotation for _, annotation in clips),
        np.full(len(clips), frames, np.int64),
        np.stack([quantize(samples, frames) for samples, _ in clips]),
    )


def make_data(tasks: tuple[str, ...], train: int = 24, validation: int = 8) -> FrameData:
    """Train and validation."""
    classes = FrameClasses("majmin", ("3/4", "4/4"), ("organ",))
    splits = make_split(range(train)), make_split(range(1000, 1000 + validation))
    return FrameData(Path("planted"), *splits, classes, tasks, {}, {"train": 0, "validation": 0}, "planted")


def write_corpus(root: Path, train: int = 6, validation: int = 3) -> Path:
    """A corpus folder with audio and annotations, as the builder writes one."""
    for split, seeds in (("train", range(train)), ("validation", range(1000, 1000 + validation))):
        clips = [make_clip(seed) for seed in seeds]
        audio = Features({"id": Value("string"), "audio": {"bytes": Value("binary"), "path": Value("string")}})
        rows = [
            {"id": one.id, "audio": {"bytes": encode_flac(samples, RATE), "path": f"{one.id}.flac"}}
            for samples, one in clips
        ]
        tables = {"data": Dataset.from_list(rows, audio)}
        tables["annotations"] = Dataset.from_list([one.to_row() for _, one in clips], annotation_features())
        for config, table in tables.items():
            (root / config).mkdir(parents=True, exist_ok=True)
            table.to_parquet(root / config / f"{split}-00000-of-00001.parquet")
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.parquet"))
    write_sums(root, {name: hash_file(root / name) for name in files})
    return root
