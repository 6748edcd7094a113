"""Stable Audio, ACE-Step and AudioLDM 2: clips from the audio pipelines of diffusers."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import diffusers
import numpy as np
import torch
from torch import Tensor

from ...clip import Clip
from ...errors import DataError, RecipeError
from ...io.hf_progress import quiet_transformers
from ...records import strip_paths
from ...resampling import resample
from ..converting import describe_origin, describe_resampling
from ..memory import find_batch_size, halve_batch_size, pick_device, pick_dtype
from .lyrics import write_lyrics
from .model_folder import ModelFolder, quiet_diffusers

if TYPE_CHECKING:
    from ...settings import GeneratorSettings
    from ...taxonomy import Taxonomy

log = logging.getLogger(__name__)

MAX_BATCH = 64  # clips at once on a GPU
BATCHES = 4  # batches in one call, among which rows of equal conditions are grouped
NOT_USED = ("temperature", "top_k", "top_p", "soundfont")
INSTRUMENTAL = "[Instrumental]"  # ACE-Step's lyrics of music without vocals


class Diffusers:
    """The generator `diffusers`: text-to-audio models in the format of diffusers.

    The class of the pipeline is the one that the model names. Its starting noise and all later noise are drawn on the
    CPU from the seed of the clip, so that they do not depend on the device. Clips are averaged to mono, unless the
    recipe keeps both channels, and resampled once, to `sampling_rate`.

    Reproducibility: CPUs make one clip at a time, so that a clip is the same bit for bit in any batch, order and
    process on the same kind of machine. On GPUs that holds within the same batch; in another batch sums are rounded
    differently, and prompts are padded to another length.
    """

    name = "diffusers"
    samples = False
    single_core = False
    options = ("steps", "negative_prompt", "offload")
    resamples = True

    def __init__(self, settings: GeneratorSettings, taxonomy: Taxonomy) -> None:
        self._settings = settings
        self.device = pick_device(settings.device)
        _refuse_unused(settings, self.device)
        assert settings.model is not None  # _refuse_unused says so
        self._model = model = ModelFolder.find(settings.model, settings.revision)
        _refuse_impossible(settings, model)
        on_cpu = self.device.type == "cpu"
        self.dtype = torch.float32 if on_cpu and settings.dtype == "auto" else pick_dtype(settings.dtype, self.device)
        self.steps = settings.steps or model.limits.steps
        self.guidance = model.limits.guidance if settings.guidance is None else settings.guidance
        self.seconds, self.license = settings.seconds, model.license
        self.sampling_rate = 32_000  # Hz, unless the recipe asks for another
        self._pipeline = model.load(self.dtype)
        self.revision = model.revision
        if settings.offload:
            self._pipeline.enable_model_cpu_offload(device=self.device)
        else:
            self._pipeline.to(self.device)
        self.batch_size: int | None = 1 if on_cpu else settings.batch_size  # None: measured with the first clip

    @property
    def about(self) -> str:
        """The model, its settings, and the rate that it plays at, for cards."""
        model, dtype = self._model, str(self.dtype).removeprefix("torch.")
        text = (
            f"{model.kind.title} ({strip_paths(model.name, Path.cwd())}, {dtype}) in {model.class_name} of diffusers "
            f"{diffusers.__version__}, conditioned on the prompt: {self.steps} steps, guidance {self.guidance:g}."
        )
        if model.limits.sampling_rate == self.sampling_rate:
            return text
        return f"{text} {describe_resampling(model.limits.sampling_rate, self.sampling_rate)}"

    @property
    def made_at(self) -> dict[str, int]:
        """The rate that it plays at, where that limits the bandwidth of its clips."""
        return describe_origin(self._model.limits.sampling_rate, self.sampling_rate)

    @property
    def rows_at_once(self) -> int:
        """The rows for one call of `generate`."""
        if self.device.type == "cpu":
            return self._settings.batch_size or 1
        return BATCHES * (self.batch_size or MAX_BATCH)

    def generate(self, rows: Sequence[Clip]) -> list[np.ndarray]:
        """Make a clip for each row.

        Returns:
            In order, float32 [samples] in [-1, 1], in stereo [samples, 2], `seconds` long. Clips with higher
            peaks are scaled down. A clip that is not finite is all NaN.

        Raises:
            DataError: A prompt is empty.
            BackendError: One clip alone does not fit into memory.
        """
        if empty := [row.id for row in rows if not row.prompt.text.strip()]:
            raise DataError(
                f"clip {empty[0]}: the prompt is empty ({len(empty)} such)", "correct the source of the prompts"
            )
        self._warn_of_long_prompts(rows)
        conditions = [self._describe_conditions(row) for row in rows]
        made: dict[int, np.ndarray] = {}
        waiting = sorted(range(len(rows)), key=lambda index: (repr(conditions[index]), index))
        while waiting:
            alike = [index for index in waiting if conditions[index] == conditions[waiting[0]]]
            batch = alike[: self.batch_size or 1]
            try:
                sound = self._measure([rows[index] for index in batch], conditions[batch[0]])
            except (RuntimeError, MemoryError) as error:
                self.batch_size = halve_batch_size(len(batch), error, self.seconds, self.device)
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()
                continue
            made.update(zip(batch, sound, strict=True))
            waiting = [index for index in waiting if index not in made]
        return [made[index] for index in range(len(rows))]

    def _measure(self, rows: Sequence[Clip], conditions: dict[str, Any]) -> list[np.ndarray]:
        """Make a batch. The first clip on a GPU shows how much memory a clip takes, which sets the batch size."""
        if self.batch_size is not None or self.device.type != "cuda":
            self.batch_size = self.batch_size or 1
            return self._make_batch(rows, conditions)
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        sound = self._make_batch(rows, conditions)
        used = torch.cuda.max_memory_allocated(self.device) - before
        torch.cuda.empty_cache()
        self.batch_size = find_batch_size(used, MAX_BATCH, self.device)
        return sound

    def _make_batch(self, rows: Sequence[Clip], conditions: dict[str, Any]) -> list[np.ndarray]:
        """Call the pipeline once, with a source of random numbers for each clip."""
        arguments: dict[str, Any] = {
            "prompt": [row.prompt.text for row in rows],
            self._model.kind.length: self.seconds,
            "num_inference_steps": self.steps,
            "guidance_scale": self.guidance,
            "generator": [torch.Generator("cpu").manual_seed(row.seed) for row in rows],
            "output_type": "pt",
            **conditions,
        }
        if self._settings.negative_prompt is not None:
            arguments["negative_prompt"] = [self._settings.negative_prompt] * len(rows)
        if self._model.kind.songs:
            arguments["lyrics"] = [self._write_lyrics(row) for row in rows]
        with quiet_diffusers(), quiet_transformers(logging.ERROR), self._new_scheduler([row.seed for row in rows]):
            sound: Tensor = self._pipeline(**arguments).audios
        sound = torch.as_tensor(sound).float().cpu()
        return [self._finish(clip) for clip in (sound if sound.dim() == 3 else sound[:, None])]

    @contextmanager
    def _new_scheduler(self, seeds: list[int]) -> Iterator[None]:
        """Use a new scheduler for each call, so that no state of a call is in the next one.

        DPMSolverSDEScheduler takes no generators: its Brownian tree has its own seeds.
        """
        kept = self._pipeline.scheduler
        scheduler = type(kept).from_config(kept.config)
        if hasattr(scheduler, "noise_sampler_seed"):
            scheduler.noise_sampler_seed = seeds
        self._pipeline.scheduler = scheduler
        try:
            yield
        finally:
            self._pipeline.scheduler = kept

    def _finish(self, sound: Tensor) -> np.ndarray:
        """Turn float32 [channels, samples] into a clip: channels, rate, exact length and peak."""
        channels = sound.numpy() if self._settings.stereo else sound.mean(0, keepdim=True).numpy()
        length = round(self.seconds * self.sampling_rate)
        clip = np.zeros((length, len(channels)), np.float32)
        for column, samples in zip(clip.T, channels, strict=True):
            converted = resample(samples, self._model.limits.sampling_rate, self.sampling_rate)[:length]
            column[: len(converted)] = converted
        if not np.isfinite(clip).all():
            clip[:] = np.nan
        clip /= max(1.0, float(np.abs(clip).max()))
        return clip if self._settings.stereo else clip[:, 0]

    def _describe_conditions(self, row: Clip) -> dict[str, Any]:
        """What a call of the pipeline takes once for all its rows: rows of equal conditions can share a batch."""
        if not self._model.kind.songs:
            return {}
        return {"bpm": row.prompt.tempo_bpm, "keyscale": row.prompt.key}

    def _write_lyrics(self, row: Clip) -> str:
        """The lyrics of a row that asks for vocals; the mark of instrumental music; else "", for neither."""
        if row.prompt.vocals == "with-vocals":
            return write_lyrics(row.prompt, row.seed, self.seconds)
        return INSTRUMENTAL if row.prompt.vocals == "instrumental" else ""

    def _warn_of_long_prompts(self, rows: Sequence[Clip]) -> None:
        """Log each prompt of which the text encoder reads the beginning only, once."""
        kind = self._model.kind
        for row in rows:
            text = row.prompt.text
            if kind.songs:  # the prompt is within a form, which is cut as a whole
                text, _ = self._pipeline._format_prompt(
                    text, audio_duration=self.seconds, **self._describe_conditions(row)
                )
            for part in kind.tokenizers:
                tokenizer = getattr(self._pipeline, part)
                limit = min(tokenizer.model_max_length, kind.max_tokens or tokenizer.model_max_length)
                count = len(tokenizer(text, verbose=False).input_ids)
                if count > limit:
                    log.warning("clip %s: the prompt has %d tokens and is truncated to %d", row.id, count, limit)
                    break


def _refuse_unused(settings: GeneratorSettings, device: torch.device) -> None:
    """Raise RecipeError for settings that the generator has no use for, and for a model that is not named."""
    if settings.model is None:
        raise RecipeError(
            "generator.model: the generator diffusers needs a model",
            "model: stabilityai/stable-audio-open-1.0, or another Hub id or folder",
        )
    fields = type(settings).model_fields
    faults = [
        f"generator.{key}: {getattr(settings, key)!r} means nothing to the generator diffusers"
        for key in NOT_USED
        if getattr(settings, key) != fields[key].default
    ]
    if settings.offload and device.type == "cpu":
        faults.append("generator.offload: means nothing on the CPU")
    if faults:
        raise RecipeError("\n".join(faults), "remove these keys, or name the generator that they are for")


def _refuse_impossible(settings: GeneratorSettings, model: ModelFolder) -> None:
    """Raise RecipeError for what the model cannot do, before its weights are loaded."""
    limits, name = model.limits, model.name
    if settings.seconds > limits.seconds:
        raise RecipeError(
            f"generator.seconds: {settings.seconds:g}, but {name} plays {limits.seconds:g} at most",
            f"seconds: {limits.seconds:g}, or less",
        )
    if settings.stereo and limits.channels != 2:
        raise RecipeError(f"generator.stereo: {name} plays mono", "leave stereo out")
    guidance = limits.guidance if settings.guidance is None else settings.guidance
    if not limits.guided and guidance > 1:
        raise RecipeError(f"generator.guidance: {name} is distilled and ignores it", "leave guidance out")
    if settings.negative_prompt is not None:
        if model.kind.songs:
            raise RecipeError(f"generator.negative_prompt: {model.kind.title} takes none", "remove it")
        if guidance <= 1:
            raise RecipeError(
                f"generator.negative_prompt: has no effect at a guidance of {guidance:g}", "guidance: 3, or remove it"
            )
