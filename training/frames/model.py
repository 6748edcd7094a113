"""`FrameModel`: audio in, an `Annotation` out, for recordings of any length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from builder.annotations.annotation import Annotation, TrackActivity
from builder.annotations.tasks import CLIP_TASKS
from builder.audio import resample, stream_audio

from . import FRAME_RATE
from .decoding import decode_activity, decode_beats, decode_chords, decode_melody, decode_notes
from .network import FrameNetwork
from .spectrogram import FRAME_HOP, FRAMES_SAMPLING_RATE, PITCHES, compute_spectrogram, pitch_of_bin
from .stitching import Stitcher, cut_windows
from .targets import UNVOICED

WINDOWS_AT_ONCE = 8
CLASSES = ("chords", "melody", *CLIP_TASKS)  # one of several; the others: any number


@dataclass(frozen=True)
class Activations:
    """The probabilities that a model gives: [frames, outputs] of frame tasks, [classes] of clip tasks."""

    duration: float  # seconds
    tasks: dict[str, np.ndarray]


class FrameModel(FrameNetwork):
    """A network for beats, chords, key, time signature, melody, notes, instruments, or some of these.

    Example:
        >>> model = FrameModel.from_pretrained("model")
        >>> model.annotate(samples, 44_100).beats
        array([0.52, 1.01, 1.5 , ...])
    """

    main_input_name = "input_values"

    def forward(
        self,
        input_values: Tensor | None = None,
        spectrogram: Tensor | None = None,
        mask: Tensor | None = None,
        **_: Any,
    ) -> dict[str, Tensor]:
        """Compute the logits of each task, see `compute_logits`.

        Args:
            input_values: float32 [batch, samples], mono at 16 kHz, of `window_seconds` at most; see `annotate` for
                longer audio.
            spectrogram: In place of audio, what `compute_spectrogram` makes of it.
            mask: bool [batch, frames], False after the end of a clip.
        """
        if spectrogram is None:
            assert input_values is not None, "give input_values or spectrogram"
            spectrogram = compute_spectrogram(input_values)
        return self.compute_logits(spectrogram, mask)

    def annotate(self, audio: np.ndarray, sampling_rate: int, id: str = "") -> Annotation:
        """Predict the annotation of a recording.

        Args:
            audio: float32 [samples], mono in [-1, 1].
            sampling_rate: Hz.
            id: The `id` of the annotation.

        Returns:
            What the model's tasks say; None of all else.
        """
        samples = resample(np.asarray(audio, np.float32), sampling_rate, FRAMES_SAMPLING_RATE)
        return self.decode(self.predict_blocks([samples]), id)

    def annotate_file(self, source: str | Path | bytes, id: str = "") -> Annotation:
        """Predict the annotation of an audio file of any length, without its samples in memory. Raises DataError."""
        return self.decode(self.predict_blocks(stream_audio(source, FRAMES_SAMPLING_RATE)), id)

    @torch.inference_mode()
    def predict_blocks(self, blocks: Iterable[np.ndarray], only: str | None = None) -> Activations:
        """Predict the activations of audio that comes in blocks, float32 [n] at 16 kHz.

        Windows of the length that the model was trained on overlap by half; where they do, their probabilities are
        averaged, with less weight towards the ends of a window. Clip tasks are the mean over windows. With `only` that
        task alone is kept.
        """
        self.eval()
        window = round(self.config.window_seconds * FRAME_RATE / 2) * 2 * FRAME_HOP
        tasks = [task for task in self.config.tasks if only in (None, task)]
        stitchers = {task: Stitcher() for task in tasks if task not in CLIP_TASKS}
        sums: dict[str, np.ndarray] = {}
        samples, windows = 0, cut_windows(blocks, window)
        while batch := list(islice(windows, WINDOWS_AT_ONCE)):
            for group in _group_by_length(batch):
                audio = torch.from_numpy(np.stack([part for _, part in group])).to(self.device)
                predicted = self.compute_logits(compute_spectrogram(audio))
                for task, logits in ((task, predicted[task]) for task in tasks):
                    found = logits.softmax(dim=-1) if task in CLASSES else logits.sigmoid()
                    values = found.float().cpu().numpy()
                    if task in CLIP_TASKS:
                        sums[task] = sums.get(task, 0.0) + values.sum(axis=0)
                        continue
                    for (start, _), rows in zip(group, values, strict=True):
                        stitchers[task].add(start, rows)
            samples = max(samples, batch[-1][0] * FRAME_HOP + len(batch[-1][1]))
        each = {task: stitcher.finish() for task, stitcher in stitchers.items()}
        each |= {task: total / total.sum() for task, total in sums.items()}
        return Activations(samples / FRAMES_SAMPLING_RATE, {task: each[task] for task in tasks})

    def decode(self, activations: Activations, id: str = "") -> Annotation:
        """Turn activations into an annotation."""
        found: dict[str, Any] = {}
        classes = self.config.classes
        for task, values in activations.tasks.items():
            each = values.astype(np.float32)
            if task == "beats":
                found["beats"], found["positions"] = decode_beats(each[:, 0], each[:, 1], FRAME_RATE)
                found["tempo_bpm"] = _median_tempo(found["beats"])
            elif task == "chords":
                found["chords"] = decode_chords(np.log(np.maximum(each, 1e-6)), classes.chords, FRAME_RATE)
            elif task in CLIP_TASKS:
                found[task] = self.config.clip_labels(task)[int(each.argmax())]
            elif task == "melody":
                hertz = 440 * 2 ** ((pitch_of_bin(np.arange(UNVOICED)) - 69) / 12)
                found["melody"] = decode_melody(each[:, :UNVOICED], 1 - each[:, UNVOICED], hertz, FRAME_RATE)
            elif task == "notes":
                found["notes"] = decode_notes(each[:, :PITCHES], each[:, PITCHES:], FRAME_RATE)
            else:
                found["tracks"] = self._decode_tracks(each)
        return Annotation(id, activations.duration, **found)

    def _decode_tracks(self, activity: np.ndarray) -> tuple[TrackActivity, ...]:
        tracks = []
        for place, name in enumerate(self.config.instruments):
            program, is_drum, stem = self.config.instrument_tracks[place]
            starts, ends = decode_activity(activity[:, place], FRAME_RATE)
            if len(starts):
                tracks.append(TrackActivity(name, program, is_drum, stem, starts, ends))
        return tuple(tracks)


def _group_by_length(windows: list[tuple[int, np.ndarray]]) -> Iterator[list[tuple[int, np.ndarray]]]:
    """Consecutive windows of one length: only the last may be of another."""
    group: list[tuple[int, np.ndarray]] = []
    for window in windows:
        if group and len(group[0][1]) != len(window[1]):
            yield group
            group = []
        group.append(window)
    yield group


def _median_tempo(beats: np.ndarray) -> float | None:
    return float(60 / np.median(np.diff(beats))) if len(beats) > 1 else None
