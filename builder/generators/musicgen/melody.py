"""The decode engine of MusicGen's melody models, in which the text is a prefix of the codes.

In front of the text is a chroma, here the one that stands for no melody: the first bin, as long as in training. The
prefix is read at once, layer by layer, and its keys and values are in the cache in front of those of the codes. The
prefix without text is the same for every clip and is read only once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from .engine import Engine, Run
from .kernels.attention import attend

PART = 64  # zero vectors that are read at once


class MelodyEngine(Engine):
    """An `Engine` for a loaded `MusicgenMelodyForConditionalGeneration`, conditioned on text only.

    A text has as many positions as tokens, so a clip is the one that `generate` makes of that text alone. In a batch
    `generate` also attends to the padding.
    """

    def __init__(self, model: Any, plain: bool = False) -> None:
        super().__init__(model, plain)
        with torch.inference_mode():
            first = torch.zeros(model.config.num_chroma, dtype=model.dtype, device=model.device)
            first[0] = 1.0
            embedded = model.audio_enc_to_dec_proj(first) if hasattr(model, "audio_enc_to_dec_proj") else first
            self._chroma = embedded.to(self.dtype).repeat(model.config.chroma_length, 1)
        self._embed_positions = model.decoder.model.decoder.embed_positions.get_embedding
        self._silence: Tensor | None = None

    def _cache_lengths(self, steps: int, length: int) -> tuple[int, int]:
        return len(self._chroma) + length + steps, 0

    def _cache_text(self, run: Run, states: Tensor) -> None:
        """Read chroma and text into the cache; rows without text have zero vectors of the same length."""
        batch, length, width = states.shape
        if (places := run.cache.shape[4] + PART) > len(self._positions):  # 30 s need more than the published table
            self._positions = self._embed_positions(places, width).to(self._positions)
        silence, chroma = self._without_text(length), len(self._chroma)
        run.cache[..., : chroma + length, :] = silence[:, :, None]
        lengths = run.text_lengths.tolist()
        texts = [text[:own] for text, own in zip(states, lengths, strict=True)]
        for row, keys_values in enumerate(self._read(texts, silence[..., :chroma, :])):
            run.cache[:, :, row, :, chroma : chroma + lengths[row]] = keys_values
        starts = (run.text_lengths + chroma).repeat(run.cache.shape[2] // batch)
        run.starts = starts if run.starts is None else run.starts.copy_(starts)  # in place: graphs read this buffer

    def _without_text(self, length: int) -> Tensor:
        """Keys and values [layers, 2, heads, chroma + length, size] of the chroma and of zero vectors.

        They are computed in parts of fixed size, so that they are bit-identical whatever length is needed first.
        """
        if self._silence is None:
            before = self._chroma.new_zeros(len(self._layers), 2, self.heads, 0, self.size)
            (self._silence,) = self._read([self._chroma], before)
        while self._silence.shape[3] < len(self._chroma) + length:
            (more,) = self._read([self._chroma.new_zeros(PART, self._chroma.shape[1])], self._silence)
            self._silence = torch.cat([self._silence, more], dim=3)
        return self._silence[..., : len(self._chroma) + length, :]

    def _read(self, texts: list[Tensor], before: Tensor) -> list[Tensor]:
        """Keys and values [layers, 2, heads, length, size] of each text [length, width] after the prefix `before`.

        Products are computed for all texts at once, attention for each text alone, without padding.
        """
        past, sizes = before.shape[3], [len(text) for text in texts]
        x = torch.cat([text + self._positions[past : past + len(text)] for text in texts])
        by_layer: list[list[Tensor]] = []
        for layer, known in zip(self._layers, before, strict=True):
            attended, own = [], []
            for qkv in layer.qkv(layer.norm(x)).split(sizes):
                query, *new = qkv.view(-1, 3, self.heads, self.size).permute(1, 2, 0, 3)  # [heads, length, size]
                own.append(torch.stack(new))
                keys, values = torch.cat([known, own[-1]], dim=2)
                seen = torch.ones(len(qkv), past + len(qkv), dtype=torch.bool, device=self.device).tril(past)
                heads = scaled_dot_product_attention(query, keys, values, attn_mask=seen)
                attended.append(heads.movedim(0, 1).flatten(1))
            by_layer.append(own)
            x = x + layer.out(torch.cat(attended))
            x = x + layer.down(self._activation(layer.up(layer.last_norm(x))))
        return [torch.stack(parts) for parts in zip(*by_layer, strict=True)]

    def _self_attention(self, places: Tensor, qkv: Tensor, cache: Tensor, length: int, seen: Tensor | None) -> Tensor:
        """As in `Engine`, but with a position for each row."""
        keys, values = cache
        query, key, value = qkv.view(len(qkv), 3, self.heads, 1, self.size).unbind(1)
        into = places[:, None, None, None].expand_as(key)
        keys.scatter_(2, into, key)
        values.scatter_(2, into, value)
        if self._kernel is not None:
            return self._kernel.attend_prefix(query.flatten(1).contiguous(), keys, values, places + 1)
        return attend(query, keys[:, :, :length], values[:, :, :length], seen)
