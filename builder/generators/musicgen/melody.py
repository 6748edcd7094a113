"""The decode engine of MusicGen's melody models: the text is no memory beside the codes but stands in front of them.

In front of the text stands a chroma, here that of no melody: its first bin, for as long as in training. All of it is
read at once, layer by layer, and leaves its keys and values in the cache in front of those of the codes. What no
text says is the same for every clip and read only once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from .engine import Engine, Run
from .kernels.attention import attend

PART = 64  # noughts that are read at once


class MelodyEngine(Engine):
    """An `Engine` for a loaded `MusicgenMelodyForConditionalGeneration`, told by text alone.

    A text takes as many places as it has tokens by `mask`, so that a clip comes out as `generate` makes it of that
    text alone; in a batch `generate` lets the padding be heard too.
    """

    def __init__(self, model: Any, plain: bool = False) -> None:
        super().__init__(model, plain)
        with torch.inference_mode():
            first = torch.zeros(model.config.num_chroma, dtype=model.dtype, device=model.device)
            first[0] = 1.0
            told = model.audio_enc_to_dec_proj(first) if hasattr(model, "audio_enc_to_dec_proj") else first
            self._chroma = told.to(self.dtype).repeat(model.config.chroma_length, 1)
        self._embed_positions = model.decoder.model.decoder.embed_positions.get_embedding
        self._silence: Tensor | None = None

    def _extents(self, steps: int, length: int) -> tuple[int, int]:
        return len(self._chroma) + length + steps, 0

    def _tell(self, run: Run, states: Tensor) -> None:
        """Read chroma and text; the rows without text read noughts as long as it."""
        batch, length, width = states.shape
        if (places := run.cache.shape[4] + PART) > len(self._positions):  # 30 seconds end behind the published table
            self._positions = self._embed_positions(places, width).to(self._positions)
        silence, chroma = self._without_text(length), len(self._chroma)
        run.cache[..., : chroma + length, :] = silence[:, :, None]
        lengths = run.text_lengths.tolist()
        texts = [text[:own] for text, own in zip(states, lengths, strict=True)]
        for row, found in enumerate(self._read(texts, silence[..., :chroma, :])):
            run.cache[:, :, row, :, chroma : chroma + lengths[row]] = found
        starts = (run.text_lengths + chroma).repeat(run.cache.shape[2] // batch)
        run.starts = starts if run.starts is None else run.starts.copy_(starts)  # in place: graphs read it there

    def _without_text(self, length: int) -> Tensor:
        """Keys and values [layers, 2, heads, chroma + length, size] of no melody and then noughts.

        They are made part by part, so that they are the same bit for bit whatever length is asked for first.
        """
        if self._silence is None:
            before = self._chroma.new_zeros(len(self._layers), 2, self.heads, 0, self.size)
            (self._silence,) = self._read([self._chroma], before)
        while self._silence.shape[3] < len(self._chroma) + length:
            (more,) = self._read([self._chroma.new_zeros(PART, self._chroma.shape[1])], self._silence)
            self._silence = torch.cat([self._silence, more], dim=3)
        return self._silence[..., : len(self._chroma) + length, :]

    def _read(self, texts: list[Tensor], before: Tensor) -> list[Tensor]:
        """Keys and values [layers, 2, heads, length, size] of each text [length, width] that follows on `before`.

        Products are of all texts at once, attention is each text's own: no padding, and nothing of the others.
        """
        past, sizes = before.shape[3], [len(text) for text in texts]
        x = torch.cat([text + self._positions[past : past + len(text)] for text in texts])
        found: list[list[Tensor]] = []
        for layer, known in zip(self._layers, before, strict=True):
            heard, own = [], []
            for qkv in layer.qkv(layer.norm(x)).split(sizes):
                query, *new = qkv.view(-1, 3, self.heads, self.size).permute(1, 2, 0, 3)  # [heads, length, size]
                own.append(torch.stack(new))
                keys, values = torch.cat([known, own[-1]], dim=2)
                seen = torch.ones(len(qkv), past + len(qkv), dtype=torch.bool, device=self.device).tril(past)
                heads = scaled_dot_product_attention(query, keys, values, attn_mask=seen)
                heard.append(heads.movedim(0, 1).flatten(1))
            found.append(own)
            x = x + layer.out(torch.cat(heard))
            x = x + layer.down(self._activation(layer.up(layer.last_norm(x))))
        return [torch.stack(parts) for parts in zip(*found, strict=True)]

    def _self_attention(self, places: Tensor, qkv: Tensor, cache: Tensor, length: int, seen: Tensor | None) -> Tensor:
        """As in `Engine`, but every row has a place of its own."""
        keys, values = cache
        query, key, value = qkv.view(len(qkv), 3, self.heads, 1, self.size).unbind(1)
        into = places[:, None, None, None].expand_as(key)
        keys.scatter_(2, into, key)
        values.scatter_(2, into, value)
        if self._kernel is not None:
            return self._kernel.over(query.flatten(1).contiguous(), keys, values, places + 1)
        return attend(query, keys[:, :, :length], values[:, :, :length], seen)
