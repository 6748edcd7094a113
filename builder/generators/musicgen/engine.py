"""Decode MusicGen's codes step by step, with the weights of a loaded checkpoint.

Gives the tokens of transformers' `generate` (the same ones when greedy and in float32) and is faster: the cache of
keys and values is one static block, the text's keys and values are computed once, projections are fused, and packed on
CPUs, attention is made for one query a step, and on GPUs a step is a captured graph. The rows that are decoded without
text skip cross-attention, whose output is exactly zero there, as its keys and values are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, layer_norm
from transformers import MusicgenForConditionalGeneration
from transformers.activations import ACT2FN

from ...cpu_kernels import allocate_large_pages
from .kernels.attention import attend, load_kernel
from .kernels.linear import Product, make_product
from .sampling import Sampling, apply_guidance, sample_tokens

GRAPH_STEPS = 64  # steps that share a captured graph, which reads the cache up to the last of them
USUAL_TEXT = 32  # tokens, assumed for the memory of a clip
TEXT_STEP = 16  # on GPUs texts are padded to a multiple of it, so that there are few shapes to capture


@dataclass(frozen=True, slots=True)
class Norm:
    """Layer normalisation."""

    weight: Tensor
    bias: Tensor
    eps: float

    @classmethod
    def from_module(cls, module: nn.LayerNorm) -> Norm:
        """Copy the weights of a loaded module."""
        return cls(module.weight.detach().clone(), module.bias.detach().clone(), module.eps)

    def __call__(self, x: Tensor) -> Tensor:
        """Normalise [rows, width]."""
        return layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


@dataclass(frozen=True, slots=True)
class Cross:
    """The cross-attention of a layer, to the text."""

    norm: Norm
    query: Product
    keys_values: Product
    out: Product


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of the decoder, with fused projections."""

    norm: Norm
    qkv: Product
    out: Product
    cross: Cross | None  # None where the text is a prefix of the codes (see melody.py)
    last_norm: Norm
    up: Product
    down: Product


@dataclass(slots=True)
class Run:
    """The state of a batch. Rows are the clips with text, followed with guidance by the same clips without text."""

    codes: Tensor  # int64 [batch, codebooks, steps + 1], written step by step
    uniforms: Tensor  # float32 [steps, batch, codebooks]
    position: Tensor  # int64 [1]: the next step
    finite: Tensor  # bool [batch]: all logits so far are finite
    cache: Tensor  # [layers, 2, rows, heads, steps, size]: keys, values
    text: Tensor  # [layers, 2, batch, heads, length, size]: keys, values
    text_mask: Tensor  # bool [batch, 1, 1, length]
    text_lengths: Tensor  # int64 [batch]
    frames: int
    starts: Tensor | None = None  # int64 [rows]: where a row's codes start in the cache; None: all at 0


class Engine:
    """Decodes with the weights of a model, on its device and in its data type.

    Args:
        model: The loaded checkpoint. The engine copies the decoder's weights: `model.decoder` may be deleted.
        plain: Use neither compiled kernels, nor graphs, nor operators outside of torch's API.
    """

    def __init__(self, model: MusicgenForConditionalGeneration, plain: bool = False) -> None:
        config: Any = model.config.decoder
        lm: Any = model.decoder
        decoder = lm.model.decoder
        self.dtype, self.device = lm.dtype, lm.device
        self.heads, self.size = config.num_attention_heads, config.hidden_size // config.num_attention_heads
        self.codebooks, self.vocabulary, self.pad = config.num_codebooks, config.vocab_size, config.pad_token_id
        # Each codebook is one step later than the one before. In stereo, those of left and right alternate, in step.
        self.delays = (torch.arange(self.codebooks) // config.audio_channels).to(self.device)
        self._last_delay = (self.codebooks - 1) // config.audio_channels
        self._activation: Callable[[Tensor], Tensor] = ACT2FN[config.activation_function]
        self._kernel = load_kernel(self.dtype, self.size) if self.device.type == "cpu" and not plain else None
        self._captures = self.device.type == "cuda" and not plain
        self._run: Run | None = None
        self._graphs: tuple[Sampling, list[torch.cuda.CUDAGraph]] | None = None

        def fused(*linears: Any) -> Product:
            return make_product(torch.cat([linear.weight.detach() for linear in linears]), plain=plain)

        def cross(layer: Any) -> Cross | None:
            if not hasattr(layer, "encoder_attn"):
                return None
            attention = layer.encoder_attn
            return Cross(
                norm=Norm.from_module(layer.encoder_attn_layer_norm),
                query=fused(attention.q_proj),
                keys_values=fused(attention.k_proj, attention.v_proj),
                out=fused(attention.out_proj),
            )

        with torch.inference_mode():
            self._tokens = torch.cat([table.weight.detach() for table in decoder.embed_tokens])
            self._offsets = torch.arange(self.codebooks, device=self.device) * (self.vocabulary + 1)
            self._positions = decoder.embed_positions.weights.to(self.device, self.dtype, copy=True)
            self._norm = Norm.from_module(decoder.layer_norm)
            self._heads = fused(*lm.lm_heads)
            self._layers = [
                Layer(
                    norm=Norm.from_module(layer.self_attn_layer_norm),
                    qkv=fused(layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj),
                    out=fused(layer.self_attn.out_proj),
                    cross=cross(layer),
                    last_norm=Norm.from_module(layer.final_layer_norm),
                    up=fused(layer.fc1),
                    down=fused(layer.fc2),
                )
                for layer in decoder.layers
            ]

    @property
    def max_frames(self) -> int:
        """Frames of the longest clip that the position embeddings allow."""
        return len(self._positions) - self._last_delay

    def count_steps(self, frames: int) -> int:
        """The number of steps for `frames` frames: the last codebook starts and ends later than the first."""
        return frames + self._last_delay

    def bytes_per_clip(self, frames: int, sampling: Sampling) -> int:
        """The memory of one clip in the batch, nearly all of it keys and values."""
        rows = 2 if sampling.guided else 1
        kept, _ = self._cache_lengths(self.count_steps(frames), USUAL_TEXT)
        return len(self._layers) * 2 * rows * self.heads * self.size * kept * self._tokens.element_size()

    def _cache_lengths(self, steps: int, length: int) -> tuple[int, int]:
        """The lengths of the cache of codes and of the cache of the text."""
        return steps, length

    def release(self) -> None:
        """Free the memory of the last batch."""
        self._run = self._graphs = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @torch.inference_mode()
    def decode(
        self, states: Tensor, mask: Tensor, frames: int, uniforms: Tensor, sampling: Sampling
    ) -> tuple[Tensor, Tensor]:
        """Decode a batch.

        Args:
            states: The encoded text, [batch, length, width] (see `encode_text`).
            mask: [batch, length], nonzero for tokens, which are in front of the padding.
            frames: The length of the clips.
            uniforms: Random numbers in [0, 1), float32 [batch, count_steps(frames), codebooks].
            sampling: How tokens are sampled.

        Returns:
            Codes, int64 [batch, codebooks, frames], and bool [batch], False for a clip with non-finite logits. After
            such a clip call `release`: the cache has NaN, which the next batch would read.
        """
        run = self._start_run(states, mask, frames, uniforms, sampling)
        steps = self.count_steps(frames)
        if self._captures:
            for step, graph in enumerate(self._capture(run, sampling)):
                for _ in range(min(GRAPH_STEPS, steps - step * GRAPH_STEPS)):
                    graph.replay()
        else:
            for step in range(steps):
                self._step(run, sampling, step + 1)
        places = torch.arange(1, frames + 1, device=self.device) + self.delays[:, None]
        return run.codes.gather(2, places.expand(len(run.codes), -1, -1)), run.finite.clone()

    def _start_run(self, states: Tensor, mask: Tensor, frames: int, uniforms: Tensor, sampling: Sampling) -> Run:
        """Set up the state of a batch, in the buffers of the last batch if they have the same shapes."""
        batch, length, _ = states.shape
        steps, layers = self.count_steps(frames), len(self._layers)
        if self._captures:
            padding = -length % TEXT_STEP
            states, mask = nn.functional.pad(states, (0, 0, 0, padding)), nn.functional.pad(mask, (0, padding))
            length += padding
        rows = 2 * batch if sampling.guided else batch
        kept, beside = self._cache_lengths(steps, length)
        if self._run is None or (batch, rows, steps, kept, beside) != (
            len(self._run.codes),
            self._run.cache.shape[2],
            len(self._run.uniforms),
            self._run.cache.shape[4],
            self._run.text.shape[4],
        ):
            self.release()

            def new(*shape: int, dtype: torch.dtype = self.dtype) -> Tensor:
                return torch.zeros(shape, dtype=dtype, device=self.device)

            shape = (layers, 2, rows, self.heads, kept, self.size)
            cache = allocate_large_pages(*shape, dtype=self.dtype) if self.device.type == "cpu" else new(*shape)
            self._run = Run(
                codes=new(batch, self.codebooks, steps + 1, dtype=torch.int64),
                uniforms=new(steps, batch, self.codebooks, dtype=torch.float32),
                position=new(1, dtype=torch.int64),
                finite=new(batch, dtype=torch.bool),
                cache=cache,
                text=new(layers, 2, batch, self.heads, beside, self.size),
                text_mask=new(batch, 1, 1, length, dtype=torch.bool),
                text_lengths=new(batch, dtype=torch.int64),
                frames=frames,
            )
        run = self._run
        run.codes.fill_(self.pad)
        run.uniforms.copy_(uniforms.transpose(0, 1))
        run.position.zero_()
        run.finite.fill_(True)
        run.text_mask.copy_(mask[:, None, None] != 0)
        run.text_lengths.copy_((mask != 0).sum(1))
        self._cache_text(run, states.to(self.device, self.dtype))
        return run

    def _cache_text(self, run: Run, states: Tensor) -> None:
        """Compute the keys and values of a text [batch, length, width]."""
        batch, length, _ = states.shape
        for layer, place in zip(self._layers, run.text, strict=True):
            assert layer.cross is not None
            keys_values = layer.cross.keys_values(states.flatten(0, 1)).view(batch, length, 2, self.heads, self.size)
            place.copy_(keys_values.permute(2, 0, 3, 1, 4))

    def _step(self, run: Run, sampling: Sampling, length: int, exact: bool = True) -> None:
        """Read the codes at `run.position` and write the next ones.

        Args:
            run: The batch.
            sampling: How tokens are sampled.
            length: How much of the cache is read.
            exact: Whether the cache is filled up to `length`; else positions after `run.position` are masked.
        """
        batch = len(run.codes)
        codes = run.codes.index_select(2, run.position).squeeze(2)
        x = embedding(codes + self._offsets, self._tokens).sum(1)
        if sampling.guided:
            x = x.repeat(2, 1)
        places = run.position if run.starts is None else run.position + run.starts
        x = x + self._positions.index_select(0, places)
        length += run.cache.shape[4] - len(run.uniforms)  # the prefix of the codes
        seen = None
        if not exact or run.starts is not None:
            seen = (torch.arange(length, device=self.device) <= places[:, None])[:, None, None]
        for layer, cache, text in zip(self._layers, run.cache, run.text, strict=True):
            layer.out(self._self_attention(places, layer.qkv(layer.norm(x)), cache, length, seen), onto=x)
            if layer.cross is not None:
                with_text, cross = x[:batch], layer.cross
                cross.out(self._cross_attention(run, cross.query(cross.norm(with_text)), text), onto=with_text)
            layer.down(self._activation(layer.up(layer.last_norm(x))), onto=x)
        logits = self._heads(self._norm(x)).float()
        if sampling.guided:
            logits = apply_guidance(logits, sampling.guidance)
        run.finite &= logits.sum(1).isfinite()  # NaN and infinity remain in the sum
        logits = logits.view(batch, self.codebooks, self.vocabulary)
        chosen = sample_tokens(logits, run.uniforms.index_select(0, run.position).squeeze(0), sampling)
        frame = run.position - self.delays
        chosen = torch.where((frame >= 0) & (frame < run.frames), chosen, self.pad)
        run.position += 1
        run.codes.index_copy_(2, run.position, chosen.unsqueeze(2))

    def _self_attention(self, places: Tensor, qkv: Tensor, cache: Tensor, length: int, seen: Tensor | None) -> Tensor:
        keys, values = cache
        if self._kernel is not None:
            return self._kernel.attend_step(qkv, keys, values, length - 1)
        query, key, value = qkv.view(len(qkv), 3, self.heads, 1, self.size).unbind(1)
        keys.index_copy_(2, places, key)
        values.index_copy_(2, places, value)
        return attend(query, keys[:, :, :length], values[:, :, :length], seen)

    def _cross_attention(self, run: Run, query: Tensor, text: Tensor) -> Tensor:
        keys, values = text
        if self._kernel is not None:
            return self._kernel.attend_prefix(query, keys, values, run.text_lengths)
        return attend(query.view(len(query), self.heads, 1, self.size), keys, values, run.text_mask)

    def _capture(self, run: Run, sampling: Sampling) -> list[torch.cuda.CUDAGraph]:
        """One graph for every GRAPH_STEPS steps, captured once for the buffers of a run."""
        if self._graphs is None or self._graphs[0] != sampling:
            steps = len(run.uniforms)
            graphs: list[torch.cuda.CUDAGraph] = []
            lengths = [min(start + GRAPH_STEPS, steps) for start in range(0, steps, GRAPH_STEPS)]
            kept = [buffer.clone() for buffer in (run.codes, run.position, run.finite)]
            side = torch.cuda.Stream(self.device)
            side.wait_stream(torch.cuda.current_stream(self.device))
            with torch.cuda.stream(side):  # once without capture, as libraries initialise themselves at the first call
                for length in lengths:
                    self._step(run, sampling, length, exact=False)
            torch.cuda.current_stream(self.device).wait_stream(side)
            for length in lengths:
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, pool=graphs[0].pool() if graphs else None):
                    self._step(run, sampling, length, exact=False)
                graphs.append(graph)
            for buffer, value in zip((run.codes, run.position, run.finite), kept, strict=True):
                buffer.copy_(value)
            self._graphs = (sampling, graphs)
        return self._graphs[1]


def encode_text(model: MusicgenForConditionalGeneration, ids: Tensor, mask: Tensor) -> Tensor:
    """Encode text for the decoder.

    Args:
        model: The loaded checkpoint with its text encoder.
        ids: Token ids, [batch, length].
        mask: [batch, length], 0 for padding.

    Returns:
        [batch, length, width], zero where the mask is.
    """
    states = model.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    if hasattr(model, "enc_to_dec_proj"):
        states = model.enc_to_dec_proj(states)
    return states * mask[..., None]
