"""The forward passes of musicnn's taggers, with every layer that the package names.

Sources: Pons et al. 2018, End-to-end learning for music audio tagging at scale (arXiv 1711.02520), for the musically
motivated front end; Pons and Serra 2019, musicnn: pre-trained convolutional neural networks for music audio tagging
(arXiv 1909.06654), for the models and the features.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..mel import hz_to_mel, mel_filters, mel_to_hz

MUSICNN_RATE = 16_000  # Hz
MUSICNN_FFT, MUSICNN_HOP, MUSICNN_BANDS = 512, 256, 96  # samples, samples, mel bands up to 8 kHz
MUSICNN_FRAMES = 187  # of a window of three seconds, as the package counts them
NORM_EPSILON = 1e-3  # of TensorFlow's batch normalization
NORM_PARTS = ("gamma", "beta", "moving_mean", "moving_variance")
TIMBRAL = {"conv2d": 38, "conv2d_1": 67}  # filters over 7 frames and so many bands
TEMPORAL = {"conv2d_2": 128, "conv2d_3": 64, "conv2d_4": 32}  # filters over so many frames of one band
MIDDLE = {"conv2d_5": 561, "conv2d_6": 64, "conv2d_7": 64}  # filters over 7 frames of so many features
FRAMES_AT_ONCE = 16  # of the timbral filters: what they compute stays in a core's cache
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


class TimbralFilters:
    """Filters over frames and bands, and their maximum over bands: float32 [frames, 96] -> [frames, outputs].

    They are applied by Fourier transforms of the bands: a circular convolution over all 96 has every position of a
    filter over fewer bands. On a CPU that takes half of the time of torch's convolutions, and agrees to 1e-6.

    Args:
        kernels: [outputs, 7, bands] of each kind.
    """

    def __init__(self, kernels: Sequence[Tensor]) -> None:
        frequencies, bands = MUSICNN_BANDS // 2 + 1, torch.arange(MUSICNN_BANDS, dtype=torch.float64)
        angles = 2 * math.pi / MUSICNN_BANDS * bands[:frequencies, None] * bands
        basis = torch.stack([angles.cos(), -angles.sin()], dim=1)  # [frequencies, real and imaginary, bands]
        shares = torch.full((frequencies, 1, 1), 2 / MUSICNN_BANDS, dtype=torch.float64)
        shares[[0, -1]] /= 2  # without a negative frequency
        device = kernels[0].device
        self._basis = basis.flatten(0, 1).T.float().to(device)
        self._spectra, self._inverses = [], []
        for kernel in kernels:
            width = kernel.shape[2]
            spectrum = torch.einsum("kpb,cjb->kpjc", basis[:, :, :width], kernel.cpu().double())
            real, imaginary = spectrum.unbind(dim=1)  # [frequencies, frames, outputs]
            # What follows is the product with the conjugate: real from (real, imaginary), then imaginary.
            pairs = [torch.stack(parts, dim=2) for parts in ((real, imaginary), (-imaginary, real))]
            self._spectra.append(torch.stack(pairs, dim=1).flatten(2, 3).flatten(0, 1).float().to(device))
            inverse = (basis * shares)[:, :, : MUSICNN_BANDS + 1 - width]
            self._inverses.append(inverse.flatten(0, 1).T.float().contiguous().to(device))

    def __call__(self, x: Tensor) -> Tensor:
        """Apply them."""
        frames, frequencies = len(x), self._basis.shape[1] // 2
        transformed = F.pad(x @ self._basis, (0, 0, 3, 3)).view(-1, frequencies, 2).unfold(0, 7, 1)
        patches = transformed.permute(1, 0, 3, 2).reshape(frequencies, frames, 14).repeat_interleave(2, dim=0)
        kinds = []
        for spectra, inverse in zip(self._spectra, self._inverses, strict=True):
            maxima = []
            for part in patches.split(FRAMES_AT_ONCE, dim=1):
                products = torch.bmm(part, spectra).flatten(1)  # [2 * frequencies, part of frames * outputs]
                maxima.append((inverse @ products).view(len(inverse), part.shape[1], -1).amax(dim=0))
            kinds.append(torch.cat(maxima))
        return torch.cat(kinds, dim=1)


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

    def __init__(self, weights: Mapping[str, Tensor], device: torch.device) -> None:
        layers = TensorflowLayers(weights, device)
        self._norms = [layers.norm(number) for number in range(len(MUSICNN_SHAPES.norms))]
        kernels, biases = zip(*map(layers.convolution, (*TIMBRAL, *TEMPORAL)), strict=True)
        scales, shifts = zip(*self._norms[1:6], strict=True)
        self._front = [torch.cat(parts) for parts in (biases, scales, shifts)]
        # ReLU and normalization are monotonic. They follow the maximum, of the negative where the scale is negative.
        self._signs = torch.where(self._front[1] < 0, -1.0, 1.0)
        signed = [
            kernel * torch.where(scale < 0, -1, 1)[:, None, None, None]
            for kernel, scale in zip(kernels, scales, strict=True)
        ]
        self._timbral = TimbralFilters([kernel[:, 0] for kernel in signed[: len(TIMBRAL)]])
        self._temporal = signed[len(TIMBRAL) :]
        # Over 7 frames of all features: [64, features, 7].
        self._middle = [(kernel[:, 0].transpose(1, 2), bias) for kernel, bias in map(layers.convolution, MIDDLE)]
        self._dense = [layers.dense(name) for name in MUSICNN_SHAPES.dense]

    def __call__(self, mel: Tensor) -> dict[str, Tensor]:
        """Compute all layers of one window."""
        scale, shift = self._norms[0]
        x = mel * scale + shift
        maxima = [self._timbral(x)]
        for kernel in self._temporal:
            size = kernel.shape[2]
            padded = F.pad(x[None, None], (0, 0, (size - 1) // 2, size // 2))
            maxima.append(F.conv2d(padded, kernel)[0].amax(dim=2).T)
        bias, scale, shift = self._front
        features = [(torch.cat(maxima, dim=1) * self._signs + bias).relu() * scale + shift]
        for number, (kernel, bias) in enumerate(self._middle):
            scale, shift = self._norms[6 + number]
            y = F.conv1d(F.pad(features[-1].T[None], (3, 3)), kernel, bias)[0].T.relu() * scale + shift
            features.append(y if number == 0 else y + features[-1])
        pooled = torch.cat(features, dim=1)
        mean, maximum = pooled.mean(dim=0), pooled.amax(dim=0)
        flat = torch.stack([maximum, mean], dim=1).flatten() * self._norms[9][0] + self._norms[9][1]
        penultimate = F.linear(flat, *self._dense[0]).relu() * self._norms[10][0] + self._norms[10][1]
        return {
            "timbral": features[0][:, :408],
            "temporal": features[0][:, 408:],
            **{f"cnn{number}": layer for number, layer in enumerate(features) if number},
            "mean_pool": mean,
            "max_pool": maximum,
            "penultimate": penultimate,
            "logits": F.linear(penultimate, *self._dense[1]),
        }


class MusicnnVggNetwork:
    """The baseline of five convolutions over 3 x 3: log-mel float32 [187, 96] -> its layers by name.

    `pool1` to `pool5` are [128, frames, bands], `embedding` is pool5 in TensorFlow's order [256], and `logits` [50]
    are the tags before the sigmoid.
    """

    embedding, width = "embedding", 256

    def __init__(self, weights: Mapping[str, Tensor], device: torch.device) -> None:
        layers = TensorflowLayers(weights, device)
        self._norms = [layers.norm(number) for number in range(len(VGG_SHAPES.norms))]
        self._convolutions = [layers.convolution(name) for name in VGG_SHAPES.convolutions]
        self._dense = layers.dense("dense")

    def __call__(self, mel: Tensor) -> dict[str, Tensor]:
        """Compute all layers of one window."""
        scale, shift = self._norms[0]
        x = (mel * scale + shift)[None, None]
        layers: dict[str, Tensor] = {}
        for number, (kernel, bias) in enumerate(self._convolutions):
            scale, shift = self._norms[number + 1]
            x = F.conv2d(x, kernel, bias, padding=1).relu() * scale[:, None, None] + shift[:, None, None]
            x = max_pool(x, VGG_POOLS[number], VGG_STRIDES[number])
            layers[f"pool{number + 1}"] = x[0]
        layers["embedding"] = x[0].permute(1, 2, 0).flatten()
        layers["logits"] = F.linear(layers["embedding"], *self._dense)
        return layers


def max_pool(x: Tensor, size: tuple[int, int], stride: tuple[int, int]) -> Tensor:
    """Take the maximum of windows, as `torch.nn.functional.max_pool2d`, which takes several times longer on a CPU.

    Args:
        x: [1, features, frames, bands].
        size: Frames and bands of a window.
        stride: Frames and bands between the starts of two windows.

    Returns:
        The maximum of each window that lies inside `x`: [1, features, windows, windows].
    """
    (height, width), (down, across) = size, stride
    frames, bands = (x.shape[2] - height) // down + 1, (x.shape[3] - width) // across + 1
    x = reduce(torch.maximum, [x[:, :, place::down][:, :, :frames] for place in range(height)])
    return reduce(torch.maximum, [x[..., place::across][..., :bands] for place in range(width)])
