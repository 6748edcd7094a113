"""The frame models' network: a temporal convolutional trunk on a spectrogram, and a head for each task."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedConfig, PreTrainedModel

from builder.annotations.tasks import CLIP_TASKS

from . import FRAME_RATE
from .labels import KEY_LABELS
from .spectrogram import BINS_PER_SEMITONE, FRAMES_SAMPLING_RATE, PITCH_BINS, PITCHES, SPECTRUM_ROWS
from .targets import FrameClasses

DILATIONS = (1, 2, 4, 8, 16, 32, 64, 128, 256)  # in frames: together 10 s to each side
FIRST_WIDTH, HEAD_WIDTH = 128, 64
PARTIALS = (-12, 0, 12, 19, 24)  # semitones from a pitch: an octave below, itself, its second to fourth partials
PITCH_CHANNELS, CONTEXT_CHANNELS, NOTE_CHANNELS = 6, 4, 16


class FrameConfig(PreTrainedConfig):
    """What a frame model answers, and what its input must be.

    `tasks` are its tasks; `vocabulary` that of its chords; `time_signatures` and `instruments` the classes of these
    tasks; `instrument_tracks` the General-MIDI program, whether it is drums, and the stem of each instrument; `width`
    the channels of the trunk; `dropout` the share of channels that are left out while it learns; `window_seconds` the
    length that it was trained on; `corpus` the fingerprint of the recipe of its training data.
    `id2label` are the labels of its first clip task (key or time signature), if it has one.
    """

    model_type = "synthmir_frames"

    tasks: list[str] | tuple[str, ...] = ("beats",)
    vocabulary: str = "majmin"
    time_signatures: list[str] | tuple[str, ...] = ()
    instruments: list[str] | tuple[str, ...] = ()
    instrument_tracks: list[list[Any]] | tuple[Any, ...] = ()
    width: int = 64
    dropout: float = 0.1
    window_seconds: float = 10.0
    sampling_rate: int = FRAMES_SAMPLING_RATE
    frame_rate: int = FRAME_RATE
    corpus: str | None = None

    @property
    def classes(self) -> FrameClasses:
        """The classes of its tasks."""
        vocabulary: Any = self.vocabulary
        return FrameClasses(vocabulary, tuple(self.time_signatures), tuple(self.instruments))

    @property
    def clip_task(self) -> str | None:
        """The task that `audio-classification` answers, if there is one."""
        return next((task for task in CLIP_TASKS if task in self.tasks), None)

    def clip_labels(self, task: str) -> tuple[str, ...]:
        """The labels of a clip task."""
        return KEY_LABELS if task == "key" else tuple(self.time_signatures)


class FrameNetwork(PreTrainedModel):
    """Spectrograms in, logits of each task out. The trunk is a temporal convolutional network (Davies and Boeck 2019,
    "Temporal convolutional networks for musical audio beat tracking"), whose dilated layers see the whole clip.
    """

    config_class = FrameConfig
    base_model_prefix = ""
    mean: Tensor  # float32 [rows], of the training set
    std: Tensor  # float32 [rows]

    def __init__(self, config: FrameConfig) -> None:
        super().__init__(config)
        width, classes = config.width, config.classes
        self.register_buffer("mean", torch.zeros(SPECTRUM_ROWS))
        self.register_buffer("std", torch.ones(SPECTRUM_ROWS))
        self.first = nn.Conv1d(SPECTRUM_ROWS, FIRST_WIDTH, 3, padding=1)
        self.second = nn.Conv1d(FIRST_WIDTH, width, 3, padding=1)
        self.blocks = nn.ModuleList(DilatedBlock(width, dilation, config.dropout) for dilation in DILATIONS)
        self.norm = ChannelNorm(width)
        pitched = [task for task in ("melody", "notes") if task in config.tasks]
        self.pitch = PitchFeatures(width) if pitched else None
        heads: dict[str, nn.Module] = {}
        for task in config.tasks:
            if task in CLIP_TASKS:
                heads[task] = ClipHead(width, classes.outputs(task))
            elif task in pitched:
                heads[task] = MelodyHead(width) if task == "melody" else NotesHead()
            else:
                heads[task] = FrameHead(width, classes.outputs(task))
        self.heads = nn.ModuleDict(heads)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Layers keep the initialisation that torch gave them."""

    def standardise_by(self, mean: Tensor, std: Tensor) -> None:
        """Take the mean and the standard deviation of each row of the spectrogram, float32 [rows] each."""
        self.mean.copy_(mean)
        self.std.copy_(std.clamp(min=1e-3))

    def compute_logits(self, spectrogram: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        """Compute the logits of each task.

        Args:
            spectrogram: float32 [batch, frames, 328], see `compute_spectrogram`.
            mask: bool [batch, frames], False after the end of a clip that is shorter than others. None: all are there.

        Returns:
            float32 [batch, frames, outputs] of frame tasks, [batch, classes] of clip tasks. `beats`: beat, downbeat.
            `notes`: the onsets of 88 keys, then whether each sounds. `melody`: 264 bins, then unvoiced.
        """
        x = ((spectrogram - self.mean) / self.std).transpose(1, 2)
        there = None if mask is None else mask[:, None].to(x.dtype)
        if there is not None:
            x = x * there
        rows = x
        x = functional.gelu(self.first(x))
        x = functional.gelu(self.second(x if there is None else x * there))
        for block in self.blocks:
            x = block(x if there is None else x * there)
        x = self.norm(x)
        pitched = None if self.pitch is None else self.pitch(rows[:, :PITCH_BINS], x)
        found = {}
        for task, head in self.heads.items():
            if task in CLIP_TASKS:
                found[task] = head(x, there)
            elif task == "melody":
                found[task] = head(pitched, x)
            elif task == "notes":
                found[task] = head(pitched)
            else:
                found[task] = head(x)
        return found


class ChannelNorm(nn.Module):
    """Divide each frame by the root mean square of its channels (Zhang and Sennrich 2019), times a learnt scale."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, width, frames] -> the same shape."""
        return x * (x.square().mean(dim=1, keepdim=True) + 1e-6).rsqrt() * self.scale[:, None]


class DilatedBlock(nn.Module):
    """A dilated convolution over time, added to its input."""

    def __init__(self, width: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.norm = ChannelNorm(width)
        self.over_time = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.dropout = nn.Dropout1d(dropout)
        self.mix = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, width, frames] -> the same shape."""
        added: Tensor = self.mix(self.dropout(functional.gelu(self.over_time(self.norm(x)))))
        return x + added


class FrameHead(nn.Module):
    """[batch, width, frames] -> logits [batch, frames, outputs]."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.hidden = nn.Conv1d(width, HEAD_WIDTH, 1)
        self.output = nn.Conv1d(HEAD_WIDTH, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        found: Tensor = self.output(functional.gelu(self.hidden(x)))
        return found.transpose(1, 2)


class ClipHead(nn.Module):
    """[batch, width, frames] -> logits [batch, classes], from the mean over the frames that are there."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.hidden = nn.Conv1d(width, 2 * HEAD_WIDTH, 1)
        self.output = nn.Linear(2 * HEAD_WIDTH, classes)

    def forward(self, x: Tensor, there: Tensor | None) -> Tensor:
        """See the class."""
        x = functional.gelu(self.hidden(x))
        mean = x.mean(dim=2) if there is None else (x * there).sum(dim=2) / there.sum(dim=2).clamp(min=1)
        found: Tensor = self.output(mean)
        return found


class PitchFeatures(nn.Module):
    """Features of 88 keys from the bins of each and of its partials (Bittner et al. 2022), and from the trunk."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bins = nn.Conv2d(1, PITCH_CHANNELS, (3, 7), stride=(1, BINS_PER_SEMITONE), padding=(1, 2))
        self.context = nn.Conv1d(width, CONTEXT_CHANNELS * PITCHES, 1)
        self.mix = nn.Conv2d(PITCH_CHANNELS * len(PARTIALS) + CONTEXT_CHANNELS, NOTE_CHANNELS, 1)

    def forward(self, rows: Tensor, x: Tensor) -> Tensor:
        """[batch, 264, frames] and [batch, width, frames] -> [batch, channels, frames, 88]."""
        found = functional.gelu(self.bins(rows.transpose(1, 2)[:, None]))
        padded = functional.pad(found, (-min(PARTIALS), max(PARTIALS)))
        at = [padded[..., partial - min(PARTIALS) :][..., :PITCHES] for partial in PARTIALS]
        context = self.context(x).unflatten(1, (CONTEXT_CHANNELS, PITCHES)).transpose(2, 3)
        mixed: Tensor = functional.gelu(self.mix(torch.cat([*at, context], dim=1)))
        return mixed


class NotesHead(nn.Module):
    """[batch, channels, frames, 88] -> logits [batch, frames, 2 * 88]."""

    def __init__(self) -> None:
        super().__init__()
        self.output = nn.Conv2d(NOTE_CHANNELS, 2, (5, 3), padding=(2, 1))

    def forward(self, pitched: Tensor) -> Tensor:
        """See the class."""
        found: Tensor = self.output(pitched)
        return found.transpose(1, 2).flatten(2)


class MelodyHead(nn.Module):
    """Features of the keys, and the trunk -> logits [batch, frames, 265]: bins, then unvoiced."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.output = nn.Conv2d(NOTE_CHANNELS, BINS_PER_SEMITONE, (5, 3), padding=(2, 1))
        self.unvoiced = nn.Conv1d(width, 1, 1)

    def forward(self, pitched: Tensor, x: Tensor) -> Tensor:
        """See the class."""
        bins = self.output(pitched).permute(0, 2, 3, 1).flatten(2)
        return torch.cat([bins, self.unvoiced(x).transpose(1, 2)], dim=2)
