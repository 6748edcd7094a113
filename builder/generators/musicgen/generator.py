"""MusicGen (Copet et al. 2023, arXiv 2306.05284): checkpoints of transformers, decoded by synthmir's engine."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import MusicgenMelodyForConditionalGeneration

from ...clip import Clip
from ...cpu_kernels import tune_allocator
from ...errors import DataError, RecipeError
from ...records import strip_paths
from ...settings import GUIDANCE
from ..memory import find_batch_size, halve_batch_size, pick_device, pick_dtype
from .checkpoint import Checkpoint
from .codec import Codec
from .engine import Engine, encode_text
from .melody import MelodyEngine
from .sampling import Sampling, draw_uniforms

if TYPE_CHECKING:
    from ...settings import GeneratorSettings
    from ...taxonomy import Taxonomy

log = logging.getLogger(__name__)

MODEL = "facebook/musicgen-small"
MAX_SECONDS = 30.0  # the length that MusicGen was trained on
MAX_TOKENS = 512  # the length that T5 was trained on
MAX_BATCH = {"cpu": 32, "cuda": 256}  # clips; larger batches are not faster
BATCHES = 4  # batches in one call, among which prompts of similar length are grouped


class MusicGen:
    """The generator `musicgen`: MusicGen checkpoints in the format of transformers.

    Stereo models are averaged to mono, unless the recipe keeps their channels. Melody models get the prompt only, no
    melody. The random numbers of a clip depend on its seed only.

    Reproducibility: on CPUs with packed products (see kernels/linear.py) a clip is the same bit for bit in any batch,
    order, shard and process on the same kind of machine. On GPUs, and with torch's own products, that holds within the
    same batch. In another batch sums are rounded differently, and where a random number is that close to the boundary
    of two tokens, the clip continues differently from there.
    """

    name = "musicgen"
    samples = True
    single_core = False
    _load = staticmethod(Checkpoint.load)  # overridden for weights in another format

    def __init__(self, settings: GeneratorSettings, taxonomy: Taxonomy) -> None:
        if settings.seconds > MAX_SECONDS:
            raise RecipeError(f"generator.seconds: {settings.seconds:g}, but MusicGen plays {MAX_SECONDS:g} at most")
        self._settings, self._model = settings, settings.model or MODEL
        self.device = pick_device(settings.device)
        self.dtype = pick_dtype(settings.dtype, self.device)
        self.sampling = Sampling(settings.guidance or GUIDANCE, settings.temperature, settings.top_k, settings.top_p)
        self.retried = 0  # clips that were NaN in half precision and were made again in float32
        if self.device.type == "cpu":
            tune_allocator()
        checkpoint = self._load(self._model, settings.revision, self.dtype, self.device)
        self.revision, self.license = checkpoint.revision, checkpoint.license
        if settings.stereo and checkpoint.channels != 2:
            raise RecipeError(
                f"generator.stereo: {self._model} plays mono",
                "leave stereo out, or name a stereo model: facebook/musicgen-stereo-small, -medium, -large, -melody",
            )
        self._tokenizer = checkpoint.tokenizer
        limit = MAX_BATCH.get(self.device.type, 1)
        self._loaded = LoadedModel(checkpoint, self.dtype, self.sampling, settings.stereo)
        self._exact: LoadedModel | None = None
        self.sampling_rate = self._loaded.codec.sampling_rate
        self.seconds = settings.seconds
        clip = self._loaded.engine.bytes_per_clip(self._frames, self.sampling)
        self.batch_size = settings.batch_size or find_batch_size(clip, limit, self.device)
        model = strip_paths(self._model, Path.cwd())  # `about` is in every shard, and shards are published
        self.about = (
            f"MusicGen ({model}, {str(self.dtype).removeprefix('torch.')}), Copet et al. 2023: a language model "
            "over EnCodec's codes, conditioned on the prompt only."
        )

    @property
    def _samples(self) -> int:
        return round(self.seconds * self.sampling_rate)

    @property
    def _frames(self) -> int:
        return ceil(self._samples * self._loaded.codec.frame_rate / self.sampling_rate)

    @property
    def rows_at_once(self) -> int:
        """The rows for one call of `generate`: several batches, so that prompts of similar length share a batch."""
        return BATCHES * self.batch_size

    def generate(self, rows: Sequence[Clip]) -> list[np.ndarray]:
        """Make a clip for each row.

        Returns:
            In order, float32 [samples] in [-1, 1], in stereo [samples, 2], `seconds` long. Clips with higher peaks are
            scaled down. A clip whose logits are not finite in float32 either is all NaN.

        Raises:
            DataError: A prompt is empty.
            BackendError: One clip alone does not fit into memory.
        """
        texts = self._tokens(rows)
        made: dict[int, np.ndarray] = {}
        waiting = sorted(range(len(rows)), key=lambda index: (-len(texts[index]), index))
        while waiting:
            batch = waiting[: self.batch_size]
            try:
                sound = self._generate_batch([texts[index] for index in batch], [rows[index].seed for index in batch])
            except (RuntimeError, MemoryError) as error:
                self.batch_size = halve_batch_size(len(batch), error, self.seconds, self.device)
                self._loaded.engine.release()
                continue
            made.update(zip(batch, sound, strict=True))
            waiting = waiting[len(batch) :]
        return [made[index] for index in range(len(rows))]

    def _tokens(self, rows: Sequence[Clip]) -> list[list[int]]:
        """The token ids of each prompt, truncated to what the text encoder takes."""
        if not rows:
            return []
        if empty := [row.id for row in rows if not row.prompt.text.strip()]:
            raise DataError(
                f"clip {empty[0]}: the prompt is empty ({len(empty)} such)", "correct the source of the prompts"
            )
        limit = min(self._tokenizer.model_max_length, MAX_TOKENS)
        texts: list[list[int]] = self._tokenizer([row.prompt.text for row in rows], verbose=False).input_ids
        for row, text in zip(rows, texts, strict=True):
            if len(text) > limit:
                log.warning("clip %s: the prompt has %d tokens and is truncated to %d", row.id, len(text), limit)
        cut = self._tokenizer([row.prompt.text for row in rows], truncation=True, max_length=limit).input_ids
        return [list(text) for text in cut]

    @torch.inference_mode()
    def _generate_batch(self, texts: list[list[int]], seeds: list[int]) -> list[np.ndarray]:
        """Make a batch; clips that are not finite are made again in float32."""
        sound = self._loaded.generate(texts, seeds, self._frames)
        lost = (~sound.isfinite().flatten(1).all(1)).nonzero().flatten().tolist()
        if lost and self.dtype != torch.float32:
            self.retried += len(lost)
            log.warning("%d clip(s) are NaN in %s: made again in float32", len(lost), self.dtype)
            again = self._load_in_float32().generate([texts[i] for i in lost], [seeds[i] for i in lost], self._frames)
            sound[lost] = again
        sound = sound[:, : self._samples]
        sound = sound / sound.abs().flatten(1).amax(1).clamp(min=1.0).view(-1, *[1] * (sound.dim() - 1))
        return list(sound.numpy())

    def _load_in_float32(self) -> LoadedModel:
        """The same checkpoint in float32, loaded once."""
        if self._exact is None:
            checkpoint = self._load(self._model, self._settings.revision, torch.float32, self.device)
            self._exact = LoadedModel(checkpoint, torch.float32, self.sampling, self._settings.stereo)
        return self._exact


class LoadedModel:
    """A checkpoint ready to generate: text encoder, engine and codec."""

    def __init__(self, checkpoint: Checkpoint, dtype: torch.dtype, sampling: Sampling, stereo: bool = False) -> None:
        model: Any = checkpoint.model
        self._model, self._sampling, self._stereo = model, sampling, stereo
        self._pad = int(checkpoint.tokenizer.pad_token_id)
        melody = isinstance(model, MusicgenMelodyForConditionalGeneration)
        self.engine = MelodyEngine(model) if melody else Engine(model)
        self.codec = Codec(model.audio_encoder, dtype, model.config.decoder.audio_channels)
        del model.decoder, model.audio_encoder  # the engine and the codec have copies

    @torch.inference_mode()
    def generate(self, texts: Sequence[list[int]], seeds: Sequence[int], frames: int) -> Tensor:
        """Generate a batch.

        Args:
            texts: The token ids of each prompt.
            seeds: The seed of each clip.
            frames: The length of the clips, in frames of the codec.

        Returns:
            float32 [batch, samples] on the CPU, in stereo [batch, samples, 2]. A clip with logits that are not finite
            is all NaN.
        """
        states, mask = self._read(texts)
        noise = draw_uniforms(seeds, self.engine.count_steps(frames), self.engine.codebooks)
        codes, finite = self.engine.decode(states, mask, frames, noise, self._sampling)
        sound = self.codec.decode(codes, fold=not self._stereo)
        if not (finite := finite.cpu()).all():
            self.engine.release()
            sound[~finite] = torch.nan
        return sound

    def _read(self, texts: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
        """Encode token ids: [batch, length, width] and the mask [batch, length]."""
        device = self.engine.device
        # On a CPU one by one: T5's sums then do not depend on the batch, and it takes a hundredth of the time.
        together = 1 if device.type == "cpu" else len(texts)
        parts: list[Tensor] = []
        masks: list[Tensor] = []
        for start in range(0, len(texts), together):
            some = [torch.tensor(text, device=device) for text in texts[start : start + together]]
            ids = pad_sequence(some, batch_first=True, padding_value=self._pad)
            masks += [torch.ones_like(text) for text in some]
            parts += encode_text(self._model, ids, pad_sequence(masks[start:], batch_first=True)).unbind()
        return pad_sequence(parts, batch_first=True), pad_sequence(masks, batch_first=True)
