"""The melstats front end as plain tensor arithmetic, which other runtimes than torch can run."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from builder.embedders.melstats import BANDS, FLOOR, FRAME, HOP, PULSE, SAMPLING_RATE, MelStats
from builder.settings import EmbedderSettings

RATE, WINDOW = SAMPLING_RATE, round(MelStats.window_seconds * SAMPLING_RATE)
FRAMES = 1 + (WINDOW - FRAME) // HOP  # of a window
FIRST, SECOND = 40, 50  # their product is a frame
BEATS = 1 + math.floor(PULSE[1] * FRAMES * HOP / RATE)  # bins of a window's pulse, with that of 0 Hz


class MelGraph(nn.Module):
    """`MelStats.embed` in plain tensor arithmetic: float32 [windows, 320000] -> float32 [windows, 768].

    The Fourier transform of a frame is two small products, 40 x 50 samples (Cooley and Tukey 1965). All is float64
    within: what float32 rounds shows in quiet bands under loud ones, and melstats' own rounding is enough of it.
    """

    window: Tensor  # float64 [frame]
    banks: Tensor  # [128, bins]
    first: Tensor  # [40, 2 * 40]: cosines beside sines
    turn: Tensor  # [2, 50, 40]: cosines, sines
    second: Tensor  # [2, 50, columns]

    def __init__(self) -> None:
        super().__init__()
        mel = MelStats(EmbedderSettings())
        banks = nn.functional.pad(mel._bands.T, (mel._bins.start, 0))
        columns = 1 + int(banks.any(dim=0).nonzero().max()) // FIRST  # bins above the bands are not computed
        self._hold("window", mel._window)
        self._hold(
            "banks", nn.functional.pad(banks, (0, max(0, FIRST * columns - banks.shape[1])))[:, : FIRST * columns]
        )
        self._hold("first", torch.cat(_waves(FIRST, FIRST, FIRST), dim=1))
        self._hold("turn", torch.stack(_waves(SECOND, FIRST, FRAME)))
        self._hold("second", torch.stack(_waves(SECOND, columns, SECOND)))

    def _hold(self, name: str, constant: Tensor) -> None:
        self.register_buffer(name, constant.double().contiguous())

    def forward(self, audio: Tensor) -> Tensor:
        """See the class."""
        count = self._frames(audio)[:, None]  # [windows, 1]
        there = (torch.arange(FRAMES) < count)[:, None]  # [windows, 1, frames]
        decibels = self._decibels(audio, there, count)
        level = (decibels * there).sum(dim=2) / count
        centred = (decibels - level[..., None]) * there
        spread = (centred.square().sum(dim=2) / count).sqrt()
        ordered = torch.where(there, decibels, torch.inf).sort(dim=2).values
        low, high = _percentile(ordered, count, 0.1), _percentile(ordered, count, 0.9)
        change = (decibels.diff(dim=2).abs() * there[..., 1:]).sum(dim=2) / (count - 1)
        return torch.cat([level, spread, low, high, change, _pulse(centred, count)], dim=1).float()

    def _frames(self, audio: Tensor) -> Tensor:
        """How many frames lie before the tail of zeros, int64 [windows]; silence counts whole."""
        last = ((audio != 0) * torch.arange(1, WINDOW + 1)).amax(dim=1)
        samples = torch.where(last == 0, WINDOW, last).clamp(min=FRAME + HOP)
        return 1 + (samples - FRAME) // HOP

    def _decibels(self, audio: Tensor, there: Tensor, count: Tensor) -> Tensor:
        """[windows, 128, frames] in dB relative to the mean over the frames that are there."""
        power = (self._power(audio) @ self.banks.T).transpose(1, 2)
        mean = (power * there).sum(dim=(1, 2))[:, None] / (count * BANDS)
        relative = power / mean.clamp(min=torch.finfo(torch.float32).tiny)[..., None]
        return 10 * relative.clamp(min=FLOOR).log10()

    def _power(self, audio: Tensor) -> Tensor:
        """[windows, 320000] -> [windows, frames, bins]. Sample 50 a + b of a frame gives bin 40 d + c."""
        places = torch.arange(FRAMES)[:, None] * HOP + torch.arange(FRAME)
        framed = (audio[:, places] * self.window).unflatten(2, (FIRST, SECOND)).transpose(2, 3)  # [.., b, a]
        real, imaginary = (framed @ self.first).split(FIRST, dim=3)  # [.., b, c]
        real, imaginary = _times(real, imaginary, *self.turn)
        real, imaginary = real.transpose(2, 3), imaginary.transpose(2, 3)
        cosine, sine = self.second
        real, imaginary = real @ cosine - imaginary @ sine, real @ sine + imaginary @ cosine  # [.., c, d]
        return (real.square() + imaginary.square()).transpose(2, 3).flatten(2)


def _waves(rows: int, columns: int, period: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine of -2 pi row column / period, [rows, columns]."""
    turns = torch.arange(rows)[:, None] * torch.arange(columns) % period
    angle = turns.double() * (-2 * math.pi / period)
    return angle.cos(), angle.sin()


def _times(real: Tensor, imaginary: Tensor, other: Tensor, other_imaginary: Tensor) -> tuple[Tensor, Tensor]:
    """A product of complex numbers."""
    return real * other - imaginary * other_imaginary, real * other_imaginary + imaginary * other


def _percentile(ordered: Tensor, count: Tensor, share: float) -> Tensor:
    """[windows, bands, frames] in rising order, `count` [windows, 1] of them -> [windows, bands], as numpy does it."""
    place = share * (count - 1).double()
    below = place.floor().long()
    above = torch.minimum(below + 1, count - 1)
    one, other = (ordered.gather(2, index[..., None].expand(-1, BANDS, -1))[..., 0] for index in (below, above))
    return one + (other - one) * (place - below)


def _pulse(centred: Tensor, count: Tensor) -> Tensor:
    """RMS of the modulation between the limits of `PULSE`, [windows, bands]."""
    bins = torch.arange(BEATS)
    frequency = bins * (1 / (count.double() * (HOP / RATE)))  # [windows, bins], Hz
    beat = (frequency >= PULSE[0]) & (frequency <= PULSE[1])
    turns = bins[:, None] * torch.arange(FRAMES) % count[..., None]  # [windows, bins, frames]
    angle = turns * (2 * math.pi / count[..., None].double())
    cosine, sine = (centred @ wave.transpose(1, 2) for wave in (angle.cos(), angle.sin()))
    power = ((cosine.square() + sine.square()) * beat[:, None]).sum(dim=2)
    return (2 * power).sqrt() / count
