"""A corpus as spectrograms, computed once and kept in memory or in a file, and annotations; augmented when drawn."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from builder.annotations.annotation import Annotation
from builder.annotations.tasks import TASK_FIELDS
from builder.audio import load_audio
from builder.corpus.corpus import Corpus, group_shards
from builder.cpu_kernels import one_torch_thread
from builder.degradations import Damage
from builder.errors import DataError
from builder.executors import count_cores
from builder.io.parquet_guard import check_parquet
from builder.io.storage import open_for_arrow, storage_errors
from builder.settings import FrameSettings, TrainingSettings

from ..optim.checkpoint import digest
from . import FRAME_RATE
from .augmentation import cut_annotation, keep_tasks, shift_annotation, shift_spectrogram, stretch_spectrogram
from .labels import UNLABELLED, classify_chord
from .spectrogram import FRAMES_SAMPLING_RATE, SPECTRUM_ROWS, compute_spectrogram, count_frames
from .targets import FrameClasses, make_targets

ANNOTATIONS = "annotations"
REVISION = "1"  # of spectrograms, targets and augmentation: a checkpoint of another one is not resumed
LEVELS = 255  # a spectrogram is kept as whole numbers of 0.4 dB
SHORTEST = 1.0  # seconds: what is left of a clip after its last whole window, and is shorter, is left out
READ_ROWS = 32  # clips at once
STATISTICS_WINDOWS = 500  # that the mean and the standard deviation of rows are taken from


@dataclass(frozen=True)
class FrameSplit:
    """The windows of one split."""

    ids: tuple[str, ...]  # of the clip that each window is of
    annotations: tuple[Annotation, ...]
    lengths: np.ndarray  # int64 [windows], frames
    spectrograms: np.ndarray  # uint8 [windows, frames, rows]
    damaged: np.ndarray | None = None  # of the same shape: copies with a degradation each

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class FrameData:
    """What a frame model is trained on."""

    path: Path
    train: FrameSplit
    validation: FrameSplit
    classes: FrameClasses
    tasks: tuple[str, ...]
    build_record: dict[str, Any]
    dropped: dict[str, int]  # clips of each split without any of the tasks' annotations
    identity: str  # a hash of what the weights follow from, beside the settings

    def statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute mean and standard deviation of each row over training windows, float32 [rows] each."""
        places = np.unique(np.linspace(0, len(self.train) - 1, min(len(self.train), STATISTICS_WINDOWS)).astype(int))
        total, square, count = np.zeros(SPECTRUM_ROWS), np.zeros(SPECTRUM_ROWS), 0
        for place in places:
            rows = self.train.spectrograms[place, : self.train.lengths[place]].astype(np.float64) / LEVELS
            total, square, count = total + rows.sum(axis=0), square + (rows**2).sum(axis=0), count + len(rows)
        mean = total / count
        std = np.sqrt(np.maximum(square / count - mean**2, 0))
        return torch.from_numpy(mean.astype(np.float32)), torch.from_numpy(std.astype(np.float32))


@dataclass(frozen=True)
class FrameBatch:
    """Windows of one length, those that are shorter followed by zeros."""

    spectrogram: torch.Tensor  # float32 [batch, frames, rows] in [0, 1]
    mask: torch.Tensor  # bool [batch, frames], False after the end of a window
    targets: dict[str, torch.Tensor]  # see `make_targets`

    def to(self, device: torch.device) -> FrameBatch:
        """The batch on another device."""
        targets = {task: target.to(device) for task, target in self.targets.items()}
        return FrameBatch(self.spectrogram.to(device), self.mask.to(device), targets)


def load_frame_data(path: Path, settings: TrainingSettings, cache: Path) -> FrameData:
    """Read the audio and the annotations of a corpus, and compute the spectrograms.

    Args:
        path: A corpus with the config `annotations`.
        settings: The training settings; `frame_tasks` are the tasks.
        cache: A folder for the spectrograms, if they are larger than `frames.memory`. The caller deletes it.

    Raises:
        DataError: The corpus has no annotations, or none of a task.
    """
    corpus, tasks, options = Corpus.open(path), settings.frame_tasks, settings.frames
    if not corpus.shards(ANNOTATIONS):
        raise DataError(
            f"{path}: has no config {ANNOTATIONS!r}, from which {', '.join(tasks)} would be learnt",
            "set `annotations: true` in its recipe, and build it again: its audio stays as it is",
        )
    annotated: dict[str, dict[str, Annotation]] = {}
    dropped: dict[str, int] = {}
    for split in ("train", "validation"):
        found = dict(_read_annotations(corpus, split, tasks))
        annotated[split] = {id: one for id, one in found.items() if any(_has_task(one, task) for task in tasks)}
        dropped[split] = len(found) - len(annotated[split])
        if split == "train" and settings.clips is not None and settings.clips < len(annotated[split]):
            drawn = np.random.default_rng(settings.seed).permutation(len(annotated[split]))[: settings.clips]
            ids = list(annotated[split])
            annotated[split] = {ids[place]: annotated[split][ids[place]] for place in sorted(drawn)}
        for task in tasks:
            if not any(_has_task(one, task) for one in annotated[split].values()):
                raise DataError(
                    f"{path}: no clip of its {split} split is annotated with {task}", "leave this task out, or build "
                    "a larger corpus",
                )  # fmt: skip
    classes = find_classes(annotated["train"].values(), options)
    for task, names in (("time_signature", classes.time_signatures), ("instruments", classes.instruments)):
        if task in tasks and len(names) < (2 if task == "time_signature" else 1):
            raise DataError(f"{path}: all clips have the same {task}: there is nothing to learn", f"leave {task} out")
    splits = {}
    for split, clips in annotated.items():
        damages = tuple(map(Damage.parse, options.damages)) if split == "train" else ()
        splits[split] = _compute_split(corpus, split, clips, options, damages, settings.seed, cache)
    sums = {name: hash for name, hash in corpus.sums().items() if name.split("/")[0] in ("data", ANNOTATIONS)}
    identity = digest(REVISION, sums, [list(clips) for clips in annotated.values()])
    return FrameData(
        Path(path), splits["train"], splits["validation"], classes, tasks, corpus.record(), dropped, identity
    )


def find_classes(annotations: Collection[Annotation], settings: FrameSettings) -> FrameClasses:
    """Find the classes of the tasks: the time signatures and instruments of the training clips, in order of names."""
    signatures = sorted({one.time_signature for one in annotations if one.time_signature is not None})
    instruments = sorted({track.instrument for one in annotations for track in one.tracks})
    return FrameClasses(settings.chords, tuple(signatures), tuple(instruments))


def make_batch(
    split: FrameSplit, places: Sequence[int], classes: FrameClasses, tasks: Sequence[str], draws: Sequence[Draw | None]
) -> FrameBatch:
    """Make a batch of windows, each changed as drawn.

    Args:
        split: The windows.
        places: Which of them.
        classes: The classes of the tasks.
        tasks: The tasks to make targets of.
        draws: What to change of each; None: nothing.
    """
    frames = split.spectrograms.shape[1]
    spectrogram = np.zeros((len(places), frames, SPECTRUM_ROWS), np.float32)
    mask = np.zeros((len(places), frames), bool)
    targets = []
    for row, (place, draw) in enumerate(zip(places, draws, strict=True)):
        length, annotation = int(split.lengths[place]), split.annotations[place]
        if draw is None:
            part = split.spectrograms[place, :length]
        else:
            stored = split.damaged if draw.damaged and split.damaged is not None else split.spectrograms
            start = int(draw.start * max(0.0, length - frames / draw.stretch))
            shifted = shift_spectrogram(stored[place, start:length], draw.semitones)
            part = stretch_spectrogram(shifted, draw.stretch, frames)
            annotation = cut_annotation(annotation, start / FRAME_RATE, len(part) / FRAME_RATE, draw.stretch)
            annotation = shift_annotation(annotation, draw.semitones)
        spectrogram[row, : len(part)] = part
        mask[row, : len(part)] = True
        targets.append(make_targets(annotation, tasks, classes, frames))
    stacked = {task: torch.from_numpy(np.stack([one[task] for one in targets])) for task in tasks}
    return FrameBatch(torch.from_numpy(spectrogram).div_(LEVELS), torch.from_numpy(mask), stacked)


@dataclass(frozen=True, slots=True)
class Draw:
    """How a window is changed: semitones up, by how much slower, the start as a share, and whether it is damaged."""

    semitones: int
    stretch: float
    start: float
    damaged: bool

    @classmethod
    def of(cls, settings: FrameSettings, seed: int, epoch: int, place: int) -> Draw:
        """Draw for a window in an epoch. It depends on nothing else."""
        draw = np.random.default_rng((seed, epoch, place))
        reach = float(np.log(1 + settings.time_stretch))
        return cls(
            int(draw.integers(-settings.pitch_shift, settings.pitch_shift + 1)),
            float(np.exp(draw.uniform(-reach, reach))),
            float(draw.random()),
            bool(draw.random() < 0.5),
        )


def split_duration(samples: int, window: int) -> list[tuple[int, int]]:
    """Split a clip into windows: the start and the end of each in samples. A short rest is left out."""
    starts = range(0, max(samples, 1), window)
    parts = [(start, min(start + window, samples)) for start in starts]
    whole = [part for part in parts if part[1] - part[0] >= SHORTEST * FRAMES_SAMPLING_RATE]
    return whole or parts[:1]


def _compute_split(
    corpus: Corpus, split: str, annotated: dict[str, Annotation], settings: FrameSettings,
    damages: tuple[Damage, ...], seed: int, cache: Path,
) -> FrameSplit:  # fmt: skip
    """Compute the spectrograms of a split, a few clips at a time, and of the damaged copies."""
    window = round(settings.seconds * FRAMES_SAMPLING_RATE)
    longest = max((one.duration for one in annotated.values()), default=0.0)
    frames = min(count_frames(window), int(np.ceil(longest * FRAME_RATE)) + 1)
    expected = sum(len(split_duration(_samples_of(one), window)) for one in annotated.values())
    shape = (expected, frames, SPECTRUM_ROWS)
    size = int(np.prod(shape)) * (2 if damages else 1) / 1e9
    folder = cache if size > settings.memory else None
    stored = _reserve(shape, folder, f"{split}.npy")
    copies = _reserve(shape, folder, f"{split}-damaged.npy") if damages else None
    ids: list[str] = []
    annotations: list[Annotation] = []
    lengths: list[int] = []

    def compute(clip: tuple[int, str, bytes]) -> list[tuple[np.ndarray, np.ndarray | None]]:
        number, id, data = clip
        try:
            audio = load_audio(data, FRAMES_SAMPLING_RATE)
        except DataError as error:
            raise DataError(f"clip {id}: {error.message}", "see what is damaged: synthmir verify CORPUS") from error
        versions = [audio]
        if damages:
            drawn = np.random.default_rng((seed, number))
            damage = damages[drawn.integers(len(damages))]
            versions.append(damage(audio[:, None], FRAMES_SAMPLING_RATE, int(drawn.integers(2**31))).mean(axis=1))
        parts = split_duration(_samples_of(annotated[id]), window)
        each = [[quantize(version[start:end], frames) for start, end in parts] for version in versions]
        return list(zip(each[0], each[1] if damages else [None] * len(parts), strict=True))

    with ThreadPoolExecutor(count_cores()) as pool, one_torch_thread():
        for clips in _read_clips(corpus, split, annotated):
            for (_, id, _), parts in zip(clips, pool.map(compute, clips), strict=True):
                windows = split_duration(_samples_of(annotated[id]), window)
                for (start, end), (clean, damaged) in zip(windows, parts, strict=True):
                    place = len(ids)
                    stored[place, : len(clean)] = clean
                    if copies is not None and damaged is not None:
                        copies[place, : len(damaged)] = damaged
                    ids.append(id)
                    seconds = (end - start) / FRAMES_SAMPLING_RATE
                    annotations.append(cut_annotation(annotated[id], start / FRAMES_SAMPLING_RATE, seconds))
                    lengths.append(len(clean))
    if len(ids) != expected:
        raise DataError(
            f"{corpus.root}: {len(annotated):,} clips of {split} are annotated, and the audio of some is missing",
            f"see what is damaged: synthmir verify {corpus.root}",
        )
    return FrameSplit(tuple(ids), tuple(annotations), np.array(lengths, np.int64), stored, copies)


def quantize(audio: np.ndarray, frames: int) -> np.ndarray:
    """Compute a spectrogram as it is kept: uint8 [n, rows] with n at most `frames`, from float32 [samples]."""
    if len(audio) == 0:
        audio = np.zeros(1, np.float32)
    with torch.inference_mode():
        found = compute_spectrogram(torch.from_numpy(np.ascontiguousarray(audio, np.float32))[None])[0, :frames]
        return (found * LEVELS).round().to(torch.uint8).numpy()


def _samples_of(annotation: Annotation) -> int:
    return round(annotation.duration * FRAMES_SAMPLING_RATE)


def _reserve(shape: tuple[int, ...], folder: Path | None, name: str) -> np.ndarray:
    """Zeros in memory, or in a file of `folder`."""
    if folder is None:
        return np.zeros(shape, np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    return np.lib.format.open_memmap(folder / name, "w+", np.uint8, shape)


def _has_task(annotation: Annotation, task: str) -> bool:
    """Whether an annotation says something of a task. Chords that no class stands for are none."""
    if task == "chords":
        chords = annotation.chords
        return chords is not None and any(classify_chord(label, "majmin") != UNLABELLED for label in chords.label)
    if task == "instruments":
        return bool(annotation.tracks)
    return getattr(annotation, TASK_FIELDS[task][0]) is not None


def _read_annotations(corpus: Corpus, split: str, tasks: Collection[str]) -> Iterator[tuple[str, Annotation]]:
    for name in _list_shards(corpus, ANNOTATIONS, split):
        check_parquet(corpus.root / name)
        with storage_errors(corpus.root):
            table = pq.read_table(open_for_arrow(corpus.root / name))
        for batch in table.to_batches(max_chunksize=256):
            for row in batch.to_pylist():
                annotation = Annotation.from_row(row)
                yield annotation.id, keep_tasks(annotation, tasks)


def _read_clips(corpus: Corpus, split: str, wanted: Collection[str]) -> Iterator[list[tuple[int, str, bytes]]]:
    """The number, the id and the audio of the clips that are wanted, a few at a time."""
    number = 0
    for name in _list_shards(corpus, "data", split):
        check_parquet(corpus.root / name)
        with storage_errors(corpus.root):
            file = pq.ParquetFile(open_for_arrow(corpus.root / name))
            for batch in file.iter_batches(READ_ROWS, columns=["id", "audio"]):
                clips = []
                for row in batch.to_pylist():
                    if row["id"] in wanted:
                        clips.append((number, row["id"], row["audio"]["bytes"] or b""))
                    number += 1
                yield clips


def _list_shards(corpus: Corpus, config: str, split: str) -> list[str]:
    fix = f"copy the corpus again, or see what is missing: synthmir verify {corpus.root}"
    return group_shards(corpus.shards(config), str(corpus.root / config), fix).get(split, [])
