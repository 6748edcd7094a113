"""The forward passes of musicnn's taggers, with every layer that the package names.

Sources: Pons et al. 2018, End-to-end learning for music audio tagging at scale (arXiv 1711.02520), for the musically
motivated front end; Pons and Serra 2019, musicnn: pre-trained convolutional neural networks for music audio tagging
(arXiv 1909.06654), for the models and the features.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..cpu_kernels import pack_linear
from ..mel import hz_to_mel, mel_filters, mel_to_hz

MUSICNN_RATE = 16_000  # Hz
MUSICNN_FFT, MUSICNN_HOP, MUSICNN_BANDS = 512, 256, 96  # samples, samples, mel bands up to 8 kHz
MUSICNN_FRAMES = 187  # of a window of three seconds, as the package counts them
NORM_EPSILON = 1e-3  # of TensorFlow's batch normalization
NORM_PARTS = ("gamma", "beta", "moving_mean", "moving_variance")
TIMBRAL = {"conv2d": 38, "conv2d_1": 67}  # filters over 7 frames and so many bands
TEMPORAL = {"conv2d_2": 128, "conv2d_3": 64, "conv2d_4": 32}  # filters over so many frames of one band
MIDDLE = {"conv2d_5": 561, "conv2d_6": 64, "conv2d_7": 64}  # filters over 7 frames of so many features
FRAMES_AT_ONCE = 32  # of the timbral filters: what they compute stays in a core's cache
FRAMES_TOGETHER, BANDS_AT_ONCE = 8, 16  # of the temporal filters: frames in a row of the product, and its bands
VGG_POOLS = ((4, 1), (2, 2), (2, 2), (2, 2), (4, 4))  # frames and bands
VGG_STRIDES = ((2, 2), (2, 2), (2, 2), (2, 2), (4, 4))


class MusicnnMel:
    """musicnn's log-mel spectrogram: float32 [samples] at 16 kHz -> float32 [frames, 96].

    Hann frames of 512 samples every 256, centred, with zeros around the signal; power in 96 bands of Slaney's scale
    up to 8 kHz, each filter of area one, rounded to float16 as in the package; then log10(1 + 10,000 x).
    """

    def __init__(self, device: torch.device) -> None:
        high = MUSICNN_RATE / 2
        edges = mel_to_hz(np.linspace(0, hz_to_mel(high, "slaney"), MUSICNN_BANDS + 2), "slaney")
        filters = mel_filters(MUSICNN_RATE, MUSICNN_FFT, MUSICNN_BANDS, 0, high, "slaney")
        self._filters = torch.from_numpy(filters * (2 / (edges[2:] - edges[:-2]))).float().to(device)
        self._window = torch.hann_window(MUSICNN_FFT, device=device)

    def __call__(self, audio: Tensor) -> Tensor:
        """Compute it."""
        spectrum = torch.stft(
            audio, MUSICNN_FFT, MUSICNN_HOP, window=self._window, pad_mode="constant", return_complex=True
        )
        power = torch.view_as_real(spectrum).square().sum(dim=-1).T @ self._filters
        rounded = power.clamp(max=torch.finfo(torch.float16).max).half().float()
        return (1 + 10_000 * rounded).log10()


@dataclass(frozen=True, slots=True)
class MusicnnShapes:
    """The tensors of an architecture: convolutions [frames, bands, inputs, outputs], norms, and dense layers."""

    convolutions: Mapping[str, tuple[int, int, int, int]]
    norms: tuple[int, ...]
    dense: Mapping[str, tuple[int, int]]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor by its name in the checkpoint."""
        shapes: dict[str, tuple[int, ...]] = {}
        for name, shape in [*self.convolutions.items(), *self.dense.items()]:
            shapes |= {f"{name}/kernel": shape, f"{name}/bias": shape[-1:]}
        for number, width in enumerate(self.norms):
            shapes |= {f"{norm_name(number)}/{part}": (width,) for part in NORM_PARTS}
        return shapes


def norm_name(number: int) -> str:
    """TensorFlow's name of a model's batch normalization: batch_normalization, batch_normalization_1, ..."""
    return "batch_normalization" + (f"_{number}" if number else "")


MUSICNN_SHAPES = MusicnnShapes(
    {name: (7, bands, 1, 204) for name, bands in TIMBRAL.items()}
    | {name: (frames, 1, 1, 51) for name, frames in TEMPORAL.items()}
    | {name: (7, width, 1, 64) for name, width in MIDDLE.items()},
    (1, 204, 204, 51, 51, 51, 64, 64, 64, 1506, 200),
    {"dense": (1506, 200), "dense_1": (200, 50)},
)
VGG_SHAPES = MusicnnShapes(
    {f"{i}CNN": (3, 3, 1 if i == 1 else 128, 128) for i in range(1, 6)}, (1, *[128] * 5), {"dense": (256, 50)}
)


class TensorflowLayers:
    """The layers of a checkpoint on a device, ready for torch."""

    def __init__(self, weights: Mapping[str, Tensor], device: torch.device) -> None:
        self._weights, self._device = weights, device

    def convolution(self, name: str) -> tuple[Tensor, Tensor]:
        """Kernel [outputs, inputs, frames, bands] and bias [outputs]."""
        kernel = self._weights[f"{name}/kernel"].permute(3, 2, 0, 1)
        return kernel.contiguous().to(self._device), self._weights[f"{name}/bias"].to(self._device)

    def dense(self, name: str) -> tuple[Tensor, Tensor]:
        """Weight [outputs, inputs] and bias [outputs]."""
        weight = self._weights[f"{name}/kernel"].T.contiguous()
        return weight.to(self._device), self._weights[f"{name}/bias"].to(self._device)

    def norm(self, number: int) -> tuple[Tensor, Tensor]:
        """Scale and shift [features] of a batch normalization, outside of training."""
        gamma, beta, mean, variance = (self._weights[f"{norm_name(number)}/{part}"].double() for part in NORM_PARTS)
        scale = gamma / (variance + NORM_EPSILON).sqrt()
        return scale.float().to(self._device), (beta - mean * scale).float().to(self._device)

    def pooled_convolution(self, name: str, number: int) -> tuple[Tensor, NormedMaximum]:
        """A convolution's kernel for a maximum directly after it, and what follows the maximum."""
        kernel, bias = self.convolution(name)
        after = NormedMaximum(bias, *self.norm(number))
        return kernel * after.sign[:, None, None, None], after


@dataclass(frozen=True, slots=True)
class NormedMaximum:
    """The bias, ReLU and normalization of a convolution, computed after the maximum over its places.

    All three are monotonic, so that there are fewer values to compute. Where the scale is negative, the kernel is
    negated, because the maximum is where the convolution is least.
    """

    bias: Tensor
    scale: Tensor
    shift: Tensor

    @property
    def sign(self) -> Tensor:
        """-1 where the scale is negative, else 1."""
        return torch.where(self.scale < 0, -1.0, 1.0)

    def __call__(self, maximum: Tensor) -> Tensor:
        """Compute it for the features in the last dimension."""
        return (maximum.float() * self.sign + self.bias).relu() * self.scale + self.shift

    @classmethod
    def concatenate(cls, parts: Sequence[NormedMaximum]) -> NormedMaximum:
        """The same for several convolutions, whose features are concatenated."""
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in cls.__slots__))


class TimbralFilters:
    """Filters over frames and bands, and their maximum over bands: float32 [frames, 96] -> [frames, outputs].

    They are applied by Fourier transforms of the bands: a circular convolution over all 96 has every position of a
    filter over fewer bands. Positions are counted from the middle one. Two that are equally far from it have the same
    sum of cosines, and sums of sines that differ in sign, so that the larger value is cosines + |sines|. On a CPU
    that takes a third of the time of torch's convolutions, and agrees to 1e-6 of the largest value.

    Args:
        kernels: [outputs, 7, bands] of each kind.
        dtype: Of the products. Default: float32.
    """

    def __init__(self, kernels: Sequence[Tensor], dtype: torch.dtype = torch.float32) -> None:
        device, bands = kernels[0].device, torch.arange(MUSICNN_BANDS, dtype=torch.float64)
        step, frequencies = 2 * math.pi / MUSICNN_BANDS, bands[: MUSICNN_BANDS // 2 + 1]
        angles = step * frequencies[:, None] * bands
        basis = torch.stack([angles.cos(), -angles.sin()], dim=2)  # [frequencies, bands, real and imaginary]
        self._basis = basis.transpose(0, 1).flatten(1).float().to(device)
        shares = torch.full_like(frequencies, 2 / MUSICNN_BANDS)
        shares[[0, -1]] /= 2  # without a negative frequency
        self._kinds = []
        for kernel in kernels:
            last = MUSICNN_BANDS - kernel.shape[2]  # position
            # The transforms of the filter at the middle position, which need not be whole.
            angles = step * frequencies[:, None] * (bands[: kernel.shape[2]] + last / 2)
            real, imaginary = (
                torch.einsum("kb,ojb->kjo", wave * shares[:, None], kernel.cpu().double())
                for wave in (angles.cos(), angles.sin())
            )
            # For (real, imaginary) of each frame: the real and the imaginary part of the product.
            spectra = [torch.stack(parts, dim=2) for parts in ((real, -imaginary), (imaginary, real))]
            angles = step * torch.arange(last, -1, -2)[:, None] / 2 * frequencies
            self._kinds.append(
                [
                    (spectrum.flatten(1, 2).to(device, dtype), wave.to(device, dtype))
                    for spectrum, wave in zip(spectra, (angles.cos(), angles.sin()), strict=True)
                ]
            )

    def __call__(self, x: Tensor) -> Tensor:
        """Apply them."""
        frames, frequencies = len(x), self._basis.shape[1] // 2
        (spectrum, _), _ = self._kinds[0]
        transformed = F.pad((x @ self._basis).to(spectrum.dtype), (0, 0, 3, 3)).view(-1, frequencies, 2)
        patches = transformed.unfold(0, 7, 1).permute(1, 0, 3, 2).reshape(frequencies, frames, 14)
        kinds = []
        for kind in self._kinds:
            maxima = []
            for part in patches.split(FRAMES_AT_ONCE, dim=1):
                cosines, sines = (waves @ torch.bmm(part, spectrum).flatten(1) for spectrum, waves in kind)
                maxima.append(cosines.add_(sines.abs_()).view(len(cosines), part.shape[1], -1).amax(dim=0))
            kinds.append(torch.cat(maxima))
        return torch.cat(kinds, dim=1)


class TemporalFilters:
    """Filters over frames of one band, and their maximum over bands: float32 [frames, bands] -> [frames, outputs].

    Several frames of a band are one row of a matrix product with the filter at each of them: on a CPU that takes
    three quarters of the time of torch's convolutions.

    Args:
        kernel: [outputs, size].
        dtype: Of the product. Default: float32.
    """

    def __init__(self, kernel: Tensor, dtype: torch.dtype = torch.float32) -> None:
        self._size, self._outputs, self._dtype = kernel.shape[1], len(kernel), dtype
        weight = kernel.new_zeros(FRAMES_TOGETHER, self._outputs, self._size + FRAMES_TOGETHER - 1)
        for place in range(FRAMES_TOGETHER):
            weight[place, :, place : place + self._size] = kernel
        rows = BANDS_AT_ONCE * -(-MUSICNN_FRAMES // FRAMES_TOGETHER)
        self._product = pack_linear(weight.flatten(0, 1).to(dtype), None, rows)

    def __call__(self, x: Tensor) -> Tensor:
        """Apply them."""
        missing = -len(x) % FRAMES_TOGETHER
        padded = F.pad(x.T.to(self._dtype), ((self._size - 1) // 2, self._size // 2 + missing))
        rows = padded.unfold(1, self._size + FRAMES_TOGETHER - 1, FRAMES_TOGETHER)
        maxima = [self._product(part.contiguous()).amax(dim=0) for part in rows.split(BANDS_AT_ONCE)]
        return reduce(torch.maximum, maxima).view(-1, self._outputs)[: len(x)]


class MusicnnNetwork:
    """The model with timbral and temporal filters: log-mel float32 [frames, 96] -> its layers by name.

    | layer        | shape         | what it is                                                         |
    |--------------|---------------|--------------------------------------------------------------------|
    | timbral      | [frames, 408] | filters over 7 frames and 38 or 67 bands, their maximum over bands |
    | temporal     | [frames, 153] | filters over 128, 64 or 32 frames, their maximum over bands        |
    | cnn1 to cnn3 | [frames, 64]  | convolutions over 7 frames, the last two residual                  |
    | mean_pool    | [753]         | the mean over time of all layers above                             |
    | max_pool     | [753]         | their maximum over time                                            |
    | penultimate  | [200]         | the dense layer before the tags                                    |
    | logits       | [50]          | the tags, before the sigmoid                                       |
    """

    embedding, width = "penultimate", 200

    def __init__(
        self, weights: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype = torch.float32
    ) -> None:
        layers = TensorflowLayers(weights, device)
        self._input_norm = layers.norm(0)
        front = [layers.pooled_convolution(name, 1 + number) for number, name in enumerate((*TIMBRAL, *TEMPORAL))]
        kernels = [kernel[:, 0] for kernel, _ in front]
        self._front: list[Callable[[Tensor], Tensor]] = [
            TimbralFilters(kernels[: len(TIMBRAL)], dtype),
            *(TemporalFilters(kernel[..., 0], dtype) for kernel in kernels[len(TIMBRAL) :]),
        ]
        self._after_front = NormedMaximum.concatenate([after for _, after in front])
        self._dtype, self._middle = dtype, []
        for number, name in enumerate(MIDDLE):
            kernel, bias = layers.convolution(name)
            weight = kernel[:, 0].flatten(1).to(dtype)  # 7 frames of all features
            product = pack_linear(weight, bias.to(dtype), MUSICNN_FRAMES)
            self._middle.append((product, *layers.norm(6 + number)))
        self._pool_norm, self._dense_norm = layers.norm(9), layers.norm(10)
        self._dense = [layers.dense(name) for name in MUSICNN_SHAPES.dense]

    def __call__(self, mel: Tensor) -> dict[str, Tensor]:
        """Compute all layers of one window."""
        x = mel * self._input_norm[0] + self._input_norm[1]
        features = [self._after_front(torch.cat([filters(x) for filters in self._front], dim=1))]
        for number, (product, scale, shift) in enumerate(self._middle):
            padded = F.pad(features[-1].to(self._dtype), (0, 0, 3, 3))
            y = product(padded.unfold(0, 7, 1).transpose(1, 2).flatten(1)).float().relu() * scale + shift
            features.append(y if number == 0 else y + features[-1])
        pooled = torch.cat(features, dim=1)
        mean, maximum = pooled.mean(dim=0), pooled.amax(dim=0)
        flat = torch.stack([maximum, mean], dim=1).flatten() * self._pool_norm[0] + self._pool_norm[1]
        penultimate = F.linear(flat, *self._dense[0]).relu() * self._dense_norm[0] + self._dense_norm[1]
        return {
            "timbral": features[0][:, :408],
            "temporal": features[0][:, 408:],
            **{f"cnn{number}": layer for number, layer in enumerate(features) if number},
            "mean_pool": mean,
            "max_pool": maximum,
            "penultimate": penultimate,
            "logits": self.logits(penultimate),
        }

    def logits(self, embedding: Tensor) -> Tensor:
        """The tags before the sigmoid of embeddings: float32 [..., 200] -> [..., 50]."""
        return F.linear(embedding, *self._dense[1])


class MusicnnVggNetwork:
    """The baseline of five convolutions over 3 x 3: log-mel float32 [187, 96] -> its layers by name.

    `pool1` to `pool5` are [128, frames, bands], `embedding` is pool5 in TensorFlow's order [256], and `logits` [50]
    are the tags before the sigmoid.
    """

    embedding, width = "embedding", 256

    def __init__(
        self, weights: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype = torch.float32
    ) -> None:
        layers = TensorflowLayers(weights, device)
        self._input_norm, self._dtype = layers.norm(0), dtype
        # Channels last: pooling and normalization take half of the time.
        self._convolutions = [
            (kernel.to(dtype, memory_format=torch.channels_last), after)
            for kernel, after in (
                layers.pooled_convolution(name, 1 + number) for number, name in enumerate(VGG_SHAPES.convolutions)
            )
        ]
        self._dense = layers.dense("dense")

    def __call__(self, mel: Tensor) -> dict[str, Tensor]:
        """Compute all layers of one window."""
        x = (mel * self._input_norm[0] + self._input_norm[1])[None, None]
        layers: dict[str, Tensor] = {}
        for number, (kernel, after) in enumerate(self._convolutions):
            x = F.conv2d(x.to(self._dtype, memory_format=torch.channels_last), kernel, padding=1)
            x = F.max_pool2d(x, VGG_POOLS[number], VGG_STRIDES[number])
            x = after(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            layers[f"pool{number + 1}"] = x[0]
        layers["embedding"] = x[0].permute(1, 2, 0).flatten()
        layers["logits"] = self.logits(layers["embedding"])
        return layers

    def logits(self, embedding: Tensor) -> Tensor:
        """The tags before the sigmoid of embeddings: float32 [..., 256] -> [..., 50]."""
        return F.linear(embedding, *self._dense)
