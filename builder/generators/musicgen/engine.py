"""The decode engine: a loaded MusicGen's own weights, run one step at a time as fast as the machine lets them.

Computes what transformers' `generate` computes (greedy and in float32: the same tokens), without what makes it slow:
the cache of keys and values is one static block, keys and values of the text are computed once, projections are fused
and on CPUs packed, attention suits one query a step, and on GPUs a step is a captured graph. The half of the batch
that is decoded without text skips cross-attention, which is exactly nought there: its keys and values are zeros.
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
from .kernels.attention import attend, kernel
from .kernels.linear import Product, product
from .sampling import Sampling, choose, guide

GRAPH_STEPS = 64  # steps that share a captured graph, which reads the cache up to the last of them
USUAL_TEXT = 32  # tokens
TEXT_STEP = 16  # on GPUs texts are padded to a multiple of it, so that few shapes are captured


@dataclass(frozen=True, slots=True)
class Norm:
    """Layer normalisation."""

    weight: Tensor
    bias: Tensor
    eps: float

    @classmethod
    def of(cls, module: nn.LayerNorm) -> Norm:
        """The weights of a loaded one."""
        return cls(module.weight.detach().clone(), module.bias.detach().clone(), module.eps)

    def __call__(self, x: Tensor) -> Tensor:
        """[rows, width] -> the same."""
        return layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


@dataclass(frozen=True, slots=True)
class Cross:
    """The part of a layer that attends to the text."""

    norm: Norm
    query: Product
    keys_values: Product
    out: Product


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of the decoder, its projections fused."""

    norm: Norm
    qkv: Product
    out: Product
    cross: Cross | None  # None where the text stands in front of the codes (see melody.py)
    last_norm: Norm
    up: Product
    down: Product


@dataclass(slots=True)
class Run:
    """A batch while it is decoded. Rows are the clips with their text, then with guidance the same without text."""

    codes: Tensor  # int64 [batch, codebooks, steps + 1], written step by step
    uniforms: Tensor  # float32 [steps, batch, codebooks]
    position: Tensor  # int64 [1]: the step that comes next
    finite: Tensor  # bool [batch]: every logit so far was a number
    cache: Tensor  # [layers, 2, rows, heads, steps, size]: keys, values
    text: Tensor  # [layers, 2, batch, heads, length, size]: keys, values
    text_mask: Tensor  # bool [batch, 1, 1, length]
    text_lengths: Tensor  # int64 [batch]
    frames: int
    starts: Tensor | None = None  # int64 [rows]: where in the cache a row's codes begin; None: all at its beginning


class Engine:
    """Decodes with the weights of `model`, on its device and in its data type.

    `plain` does without a compiler, graphs and operators outside torch's API. All that `Engine` keeps of the model's
    decoder are copies of its weights, so that `model.decoder` may be deleted.
    """

    def __init__(self, model: MusicgenForConditionalGeneration, plain: bool = False) -> None:
        config: Any = model.config.decoder
        lm: Any = model.decoder
        decoder = lm.model.decoder
        self.dtype, self.device = lm.dtype, lm.device
        self.heads, self.size = config.num_attention_heads, config.hidden_size // config.num_attention_heads
        self.codebooks, self.vocabulary, self.pad = config.num_codebooks, config.vocab_size, config.pad_token_id
        # A codebook begins a step after the one before it. In stereo those of left and right alternate, in step.
        self.delays = (torch.arange(self.codebooks) // config.audio_channels).to(self.device)
        self._activation: Callable[[Tensor], Tensor] = ACT2FN[config.activation_function]
        self._kernel = kernel(self.dtype, self.size) if self.device.type == "cpu" and not plain else None
        self._captures = self.device.type == "cuda" and not plain
        self._run: Run | None = None
        self._graphs: tuple[Sampling, list[torch.cuda.CUDAGraph]] | None = None

        def fused(*linears: Any) -> Product:
            return product(torch.cat([linear.weight.detach() for linear in linears]), plain=plain)

        def cross(layer: Any) -> Cross | None:
            if not hasattr(layer, "encoder_attn"):
                return None
            attention = layer.encoder_attn
            return Cross(
                norm=Norm.of(layer.encoder_attn_layer_norm),
                query=fused(attention.q_proj),
                keys_values=fused(attention.k_proj, attention.v_proj),
                out=fused(attention.out_proj),
            )

        with torch.inference_mode():
            self._tokens = torch.cat([table.weight.detach() for table in decoder.embed_tokens])
            self._offsets = torch.arange(self.codebooks, device=self.device) * (self.vocabulary + 1)
            self._positions = decoder.embed_positions.weights.to(self.device, self.dtype, copy=True)
            self._norm = Norm.of(decoder.layer_norm)
            self._heads = fused(*lm.lm_heads)
            self._layers = [
                Layer(
                    norm=Norm.of(layer.self_attn_layer_norm),
                    qkv=fused(layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj),
                    out=fused(layer.self_attn.out_proj),
                    cross=cross(layer),
                    last_norm=Norm.of(layer.final_layer_norm),
                    up=fused(layer.fc1),
                    down=fused(layer.fc2),
                )
                for layer in decoder.layers
            ]

    @property
    def max_frames(self) -> int:
        """The longest clip that there are positions for."""
        return len(self._positions) - int(self.delays[-1])

    def steps(self, frames: int) -> int:
        """Steps that `frames` frames take: the last codebook ends as much later as it began."""
        return frames + int(self.delays[-1])

    def bytes_per_clip(self, frames: int, sampling: Sampling) -> int:
        """Memory that one more clip in the batch takes: nearly all of it keys and values."""
        rows = 2 if sampling.guided else 1
        kept, _ = self._extents(self.steps(frames), USUAL_TEXT)
        return len(self._layers) * 2 * rows * self.heads * self.size * kept * self._tokens.element_size()

    def _extents(self, steps: int, length: int) -> tuple[int, int]:
        """How many keys are cached of what is decoded, and how many of the text beside it."""
        return steps, length

    def release(self) -> None:
        """Give back the memory of the last batch."""
        self._run = self._graphs = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @torch.inference_mode()
    def decode(
        self, states: Tensor, mask: Tensor, frames: int, uniforms: Tensor, sampling: Sampling
    ) -> tuple[Tensor, Tensor]:
        """Decode a batch.

        `states` [batch, length, width] is the text as the decoder is given it (see `text_states`), `mask` [batch,
        length] is nonzero for tokens, which come before padding; `uniforms` [batch, steps(frames), codebooks] are in
        [0, 1). Returns codes int64 [batch, codebooks, frames], and bool [batch], False where a logit was no number.
        """
        run = self._begin(states, mask, frames, uniforms, sampling)
        steps = self.steps(frames)
        if self._captures:
            for step, graph in enumerate(self._capture(run, sampling)):
                for _ in range(min(GRAPH_STEPS, steps - step * GRAPH_STEPS)):
                    graph.replay()
        else:
            for step in range(steps):
                self._step(run, sampling, step + 1)
        if not (finite := run.finite.clone()).all():
            self.release()  # the cache holds what is no number
        places = torch.arange(1, frames + 1, device=self.device) + self.delays[:, None]
        return run.codes.gather(2, places.expand(len(run.codes), -1, -1)), finite

    def _begin(self, states: Tensor, mask: Tensor, frames: int, uniforms: Tensor, sampling: Sampling) -> Run:
        """A run for the batch, in the buffers of the one before where they fit."""
        batch, length, _ = states.shape
        steps, layers = self.steps(frames), len(self._layers)
        if self._captures:
            padding = -length % TEXT_STEP
            states, mask = nn.functional.pad(states, (0, 0, 0, padding)), nn.functional.pad(mask, (0, padding))
            length += padding
        rows = 2 * batch if sampling.guided else batch
        kept, beside = self._extents(steps, length)
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
        self._tell(run, states.to(self.device, self.dtype))
        return run

    def _tell(self, run: Run, states: Tensor) -> None:
        """Keep the keys and values of a text [batch, length, width]."""
        batch, length, _ = states.shape
        for layer, place in zip(self._layers, run.text, strict=True):
            assert layer.cross is not None
            keys_values = layer.cross.keys_values(states.flatten(0, 1)).view(batch, length, 2, self.heads, self.size)
            place.copy_(keys_values.permute(2, 0, 3, 1, 4))

    def _step(self, run: Run, sampling: Sampling, length: int, exact: bool = True) -> None:
        """Read the codes at `run.position` and write those that follow; the cache is read up to `length`.

        `exact`: the cache is written up to `length`; else what lies behind `run.position` is masked.
        """
        batch = len(run.codes)
        codes = run.codes.index_select(2, run.position).squeeze(2)
        x = embedding(codes + self._offsets, self._tokens).sum(1)
        if sampling.guided:
            x = x.repeat(2, 1)
        places = run.position if run.starts is None else run.position + run.starts
        x = x + self._positions.index_select(0, places)
        length += run.cache.shape[4] - len(run.uniforms)  # what stands in front of the codes
        seen = None
        if not exact or run.starts is not None:
            seen = (torch.arange(length, device=self.device) <= places[:, None])[:, None, None]
        for layer, cache, text in zip(self._layers, run.cache, run.text, strict=True):
            layer.out(self._self_attention(places, layer.qkv(layer.norm(x)), cache, length, seen), onto=x)
            if layer.cross is not None:
                told, cross = x[:batch], layer.cross
                cross.out(self._cross_attention(run, cross.query(cross.norm(told)), text), onto=told)
            layer.down(self._activation(layer.up(layer.last_norm(x))), onto=x)
        logits = self._heads(self._norm(x)).float()
        if sampling.guided:
            logits = guide(logits, sampling.guidance)
        run.finite &= logits.sum(1).isfinite()  # a NaN or an infinity stays one in the sum
        logits = logits.view(batch, self.codebooks, self.vocabulary)
        chosen = choose(logits, run.uniforms.index_select(0, run.position).squeeze(0), sampling)
        frame = run.position - self.delays
        chosen = torch.where((frame >= 0) & (frame < run.frames), chosen, self.pad)
        run.position += 1
        run.codes.index_copy_(2, run.position, chosen.unsqueeze(2))

    def _self_attention(self, places: Tensor, qkv: Tensor, cache: Tensor, length: int, seen: Tensor | None) -> Tensor:
        keys, values = cache
        if self._kernel is not None:
            return self._kernel.step(qkv, keys, values, length - 1)
        query, key, value = qkv.view(len(qkv), 3, self.heads, 1, self.size).unbind(1)
        keys.index_copy_(2, places, key)
        values.index_copy_(2, places, value)
        return attend(query, keys[:, :, :length], values[:, :, :length], seen)

    def _cross_attention(self, run: Run, query: Tensor, text: Tensor) -> Tensor:
        keys, values = text
        if self._kernel is not None:
            return self._kernel.over(query, keys, values, run.text_lengths)
        return attend(query.view(len(query), self.heads, 1, self.size), keys, values, run.text_mask)

    def _capture(self, run: Run, sampling: Sampling) -> list[torch.cuda.CUDAGraph]:
        """A graph for every GRAPH_STEPS steps, captured once for a run's buffers."""
        if self._graphs is None or self._graphs[0] != sampling:
            steps = len(run.uniforms)
            graphs: list[torch.cuda.CUDAGraph] = []
            lengths = [min(start + GRAPH_STEPS, steps) for start in range(0, steps, GRAPH_STEPS)]
            kept = [buffer.clone() for buffer in (run.codes, run.position, run.finite)]
            side = torch.cuda.Stream(self.device)
            side.wait_stream(torch.cuda.current_stream(self.device))
            with torch.cuda.stream(side):  # a first time outside, for what libraries set up when first called
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


def text_states(model: MusicgenForConditionalGeneration, ids: Tensor, mask: Tensor) -> Tensor:
    """Token ids and mask [batch, length] -> the text as the decoder is given it, [batch, length, width]."""
    states = model.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    if hasattr(model, "enc_to_dec_proj"):
        states = model.enc_to_dec_proj(states)
    return states * mask[..., None]
