"""Decode EnCodec's codes to sound (Defossez et al. 2022, arXiv 2210.13438), on CPUs as matrix products."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import elu
from torch.nn.utils import parametrize
from transformers import EncodecModel

from .kernels.linear import can_pack, make_product

GPU_CLIPS = 16  # decoded at once; the activations of a clip of 30 s take 600 MB
CHUNK = 50  # frames: the activations of a second of sound fit into the processor's cache
HALO = 2  # frames on either side that a sample depends on, after the LSTM


class Decoder(Protocol):
    """Turns features, float32 [clips, width, frames], into sound, float32 [clips, samples]."""

    def __call__(self, features: Tensor) -> Tensor:
        """Decode."""
        ...


class Codec:
    """The decoder of a loaded EnCodec, computed in `dtype`.

    The error of bfloat16 is 45 to 50 dB below the sound, far less than EnCodec's own error.
    """

    def __init__(self, model: EncodecModel, dtype: torch.dtype, channels: int = 1) -> None:
        self.sampling_rate = int(model.config.sampling_rate)
        self.frame_rate = int(model.config.frame_rate)
        self._channels = channels
        # EnCodec's convolutions and LSTM give wrong results on Apple's MPS, so there the codec is on the CPU.
        self._device = torch.device("cpu") if model.device.type == "mps" else model.device
        self._quantizer = model.quantizer.to(self._device)
        folded = _move_weights(_fold_weight_norm(model), self._device)
        as_products = self._device.type == "cpu" and can_pack(dtype) and ProductDecoder.suits(model)
        self._decoder: Decoder = ProductDecoder(folded, dtype) if as_products else LayerDecoder(folded, dtype)

    @torch.inference_mode()
    def decode(self, codes: Tensor, fold: bool = True) -> Tensor:
        """Decode a batch.

        Args:
            codes: int64 [batch, codebooks, frames].
            fold: Whether the channels are averaged.

        Returns:
            On the CPU, float32 [batch, samples], or without `fold` float32 [batch, samples, channels].
        """
        # In stereo the codebooks of left and right alternate, and the codec decodes each side as a clip.
        sides = codes.to(self._device).unflatten(1, (-1, self._channels)).movedim(2, 1).flatten(0, 1)
        sound = self._decoder(self._quantizer.decode(sides.transpose(0, 1)))
        sound = sound.unflatten(0, (-1, self._channels))
        return (sound.mean(1) if fold else sound.transpose(1, 2)).cpu()


class LayerDecoder:
    """Decodes with transformers' layers, GPU_CLIPS clips at a time."""

    def __init__(self, decoder: nn.Module, dtype: torch.dtype) -> None:
        self._decoder, self._dtype = decoder.to(dtype).eval(), dtype

    def __call__(self, features: Tensor) -> Tensor:
        """See Decoder."""
        parts = [self._decoder(some.to(self._dtype)).float()[:, 0] for some in features.split(GPU_CLIPS)]
        return torch.cat(parts)


class ProductDecoder:
    """Decodes with matrix products over [time, channels], one second of one clip at a time.

    The taps of a convolution are neighbours in memory, and a transposed convolution needs no overlapping sums. The
    activations fit into the cache whatever the length, and a clip's sound does not depend on its batch.
    """

    def __init__(self, decoder: Any, dtype: torch.dtype) -> None:
        first, lstm, *rest, _, last = decoder.layers
        self._dtype = dtype
        self._first = Convolution(first.conv, dtype)
        self._lstm = [Recurrence(lstm.lstm, layer, dtype) for layer in range(lstm.lstm.num_layers)]
        self._stages = [
            (
                Upsampling(up.conv, dtype),
                Convolution(block.block[1].conv, dtype),
                Convolution(block.block[3].conv, dtype),
            )
            for _, up, block in zip(rest[::3], rest[1::3], rest[2::3], strict=True)
        ]
        self._last = Convolution(last.conv, torch.float32)

    @staticmethod
    def suits(model: EncodecModel) -> bool:
        """Whether the model has the layers of MusicGen's codec, which are the ones implemented here."""
        config = model.config
        return (
            not config.use_causal_conv
            and not config.use_conv_shortcut
            and config.norm_type == "weight_norm"
            and config.pad_mode == "reflect"
            and config.num_residual_layers == 1
        )

    def __call__(self, features: Tensor) -> Tensor:
        """See Decoder."""
        x = torch.stack([self._first(clip.T.to(self._dtype)) for clip in features], dim=1)  # [frames, clips, channels]
        y = x
        for layer in self._lstm:
            y = layer(y)
        return torch.stack([self._sound(clip.contiguous()) for clip in (x + y).unbind(1)])

    def _sound(self, x: Tensor) -> Tensor:
        """Decode features of one clip, [frames, channels], to [samples]."""
        parts = []
        for start in range(0, len(x), CHUNK):
            end = min(start + CHUNK, len(x))
            before, after = min(HALO, start), min(HALO, len(x) - end)
            y = self._upsample(x[start - before : end + after])
            hop = len(y) // (before + end - start + after)
            parts.append(y[before * hop : len(y) - after * hop])
        return torch.cat(parts)

    def _upsample(self, x: Tensor) -> Tensor:
        for up, wide, narrow in self._stages:
            x = up(elu(x))
            x = x + narrow(elu(wide(elu(x))))
        return self._last(elu(x).float())[:, 0]


class Convolution:
    """A convolution of stride 1 over [time, channels], with reflected ends."""

    def __init__(self, conv: nn.Conv1d, dtype: torch.dtype) -> None:
        (self._taps,), (self._dilation,) = conv.kernel_size, conv.dilation
        weight = conv.weight.detach().transpose(1, 2).flatten(1)  # [outputs, taps x inputs]
        self._apply = make_product(weight.to(dtype), None if conv.bias is None else conv.bias.detach().to(dtype))

    def __call__(self, x: Tensor) -> Tensor:
        """Map [time, inputs] to [time, outputs]."""
        if self._taps == 1:
            return self._apply(x)
        time, reach = len(x), (self._taps - 1) * self._dilation
        right = reach // 2
        left = reach - right
        padded = torch.cat([x[1 : left + 1].flip(0), x, x[time - 1 - right : time - 1].flip(0)])
        steps = range(0, reach + 1, self._dilation)
        return self._apply(torch.cat([padded[step : step + time] for step in steps], dim=1))


class Upsampling:
    """A transposed convolution whose kernel is twice its stride, over [time, channels]."""

    def __init__(self, conv: nn.ConvTranspose1d, dtype: torch.dtype) -> None:
        (self._stride,) = conv.stride
        weight = conv.weight.detach()  # [inputs, outputs, 2 x stride]
        now, before = weight.split(self._stride, dim=2)
        matrix = torch.cat([before, now]).permute(2, 1, 0).flatten(0, 1)  # [stride x outputs, 2 x inputs]
        bias = None if conv.bias is None else conv.bias.detach().repeat(self._stride).to(dtype)
        self._apply, self._outputs = make_product(matrix.to(dtype), bias), weight.shape[1]

    def __call__(self, x: Tensor) -> Tensor:
        """Map [time, inputs] to [time x stride, outputs]."""
        zeros = x.new_zeros(1, x.shape[1])
        pairs = torch.cat([torch.cat([zeros, x]), torch.cat([x, zeros])], dim=1)
        right = self._stride // 2
        return self._apply(pairs).view(-1, self._outputs)[self._stride - right : -right or None]


class Recurrence:
    """A layer of an LSTM over [time, clips, channels]."""

    def __init__(self, lstm: nn.LSTM, layer: int, dtype: torch.dtype) -> None:
        weights = {
            name: getattr(lstm, f"{name}_l{layer}").detach()
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        }
        bias = (weights["bias_ih"] + weights["bias_hh"]).to(dtype)
        self._read = make_product(weights["weight_ih"].to(dtype), bias)
        self._recur = make_product(weights["weight_hh"].to(dtype))

    def __call__(self, x: Tensor) -> Tensor:
        """Map [time, clips, channels] to the same shape."""
        hidden, cell, out = x.new_zeros(x.shape[1:]), torch.zeros(x.shape[1:]), torch.empty_like(x)
        for step, inputs in enumerate(self._read(x.flatten(0, 1)).view(*x.shape[:2], -1)):
            input_gate, forget_gate, new, output_gate = (inputs + self._recur(hidden)).float().chunk(4, dim=1)
            cell = forget_gate.sigmoid() * cell + input_gate.sigmoid() * new.tanh()
            hidden = (output_gate.sigmoid() * cell.tanh()).to(x.dtype)
            out[step] = hidden
        return out


def _move_weights(module: nn.Module, device: torch.device) -> nn.Module:
    """Move a module, but not its single numbers: layers read their padding on the host, which waits for a GPU."""
    numbers = [
        (part, name, buffer)
        for part in module.modules()
        for name, buffer in part._buffers.items()
        if buffer is not None and buffer.dim() == 0
    ]
    module.to(device)
    for part, name, buffer in numbers:
        part._buffers[name] = buffer
    return module


def _fold_weight_norm(model: EncodecModel) -> nn.Module:
    """A copy of the decoder with its weight norm computed once, in float32."""
    folded = type(model.decoder)(model.config)
    for module in list(folded.modules()):
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight")
    weights = {name: weight for name, weight in model.decoder.state_dict().items() if "parametrizations" not in name}
    for name, module in model.decoder.named_modules():
        if parametrize.is_parametrized(module):
            weights[f"{name}.weight"] = module.weight
    folded.load_state_dict(weights)
    return folded
