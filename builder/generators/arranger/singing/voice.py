"""Singing: a glottal source through a vocal tract of moving formants, note by note from vowels and consonants.

Source and filter (Fant 1960): the LF pulse of glottis.py, with jitter, shimmer and breath, through a cascade of
resonators (Klatt 1980) that follows the vowels of phonemes.py. The filter is applied in the spectrum of overlapping
frames, so that a clip takes milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import scipy.fft
from numpy.random import PCG64, Generator

from .diction import Curves, SungNote, plan_curves
from .glottis import TABLE, TABLE_BITS, pulse_table
from .phonemes import NOISES
from .singer import Singer

HOP = 256  # samples between frames
TRACE_STEP = 128  # samples between values of pitch and loudness
_SIZE = 4 * HOP  # of the transform: a frame of 2 * HOP, and as much for the filter to ring
_BLOCK = 64  # hops that are computed at once
_LEVEL = 0.1  # RMS while it sounds, as the sampler's notes
_BANDWIDTHS = (70.0, 100.0, 150.0, 250.0, 300.0)  # Hz, of F1 to F5 (Klatt 1980, table I)
_TAIL = 0.06  # seconds after a phrase


def sing(notes: Sequence[SungNote], singer: Singer, seed: int, length: int, rate: int) -> np.ndarray:
    """Sing notes.

    Args:
        notes: The notes in order, with their syllables; times in seconds. A note ends where the next one starts.
        singer: Who sings.
        seed: Of the small irregularities and of the noise. The same arguments give the same samples.
        length: The samples of the clip.
        rate: The sampling rate in Hz.

    Returns:
        float32 [length], with an RMS of 0.1 while it sounds.
    """
    out = np.zeros(length, np.float32)
    random = Generator(PCG64(seed))
    upper = _upper_resonances(singer, rate)
    energy, sounding = 0.0, 0
    for curves in plan_curves(notes, singer, random, TRACE_STEP / rate, _TAIL):
        sound = _sing_phrase(curves, singer, random, upper, rate)
        blocks = np.einsum("ij,ij->i", *[sound.reshape(-1, HOP)] * 2)
        energy += float(blocks.sum())
        sounding += HOP * int(np.count_nonzero(blocks > 1e-3 * blocks.max()))
        start = round(curves.start * rate)
        sound = sound[max(0, -start) : max(0, length - start)]
        out[max(0, start) : max(0, start) + len(sound)] += sound
    out *= np.float32(_LEVEL * (sounding / energy) ** 0.5 if energy else 0.0)
    return out


def trace_voice(
    notes: Sequence[SungNote], singer: Singer, seed: int, rate: int
) -> Iterator[tuple[float, np.ndarray, np.ndarray]]:
    """Yield what `sing` sings, phrase by phrase, without its sound.

    The arguments are those of `sing`.

    Yields:
        The start of the phrase in seconds, and float32 [steps] each, the pitch as a MIDI note number and the loudness
        of the voice, `TRACE_STEP` samples apart.
    """
    random = Generator(PCG64(seed))
    for curves in plan_curves(notes, singer, random, TRACE_STEP / rate, _TAIL):
        yield curves.start, curves.pitch, curves.voicing
        # The irregularities of the next phrase come after the random numbers of this one's sound.
        speed = _raise_rate(_measure_speed(curves, rate), _count_frames(curves) * HOP)
        random.standard_normal(_count_periods(speed), dtype=np.float32)
        for _ in range(1 + len(curves.noises)):
            random.integers(len(_NOISE))


def _count_frames(curves: Curves) -> int:
    return len(curves.pitch) * TRACE_STEP // HOP + 2


def _measure_speed(curves: Curves, rate: int) -> np.ndarray:
    """How far the phase moves in a sample, in units of 2 ** -32 of a period: float32 [steps]."""
    frequency = np.float32(440.0) * np.exp2((curves.pitch - 69.0) / 12.0)
    return np.asarray(frequency * np.float32(2.0**32 / rate))


def _count_periods(speed: np.ndarray) -> int:
    """How many periods need an amplitude."""
    return int(float(speed.sum(dtype=np.float64)) / 2.0**32) + 2


def _sing_phrase(curves: Curves, singer: Singer, random: Generator, upper: np.ndarray, rate: int) -> np.ndarray:
    """The sound of one phrase: float32, from the phrase's start."""
    frames = _count_frames(curves)
    sound = np.zeros((frames + 4) * HOP, np.float32)
    hops = _pad(_excite(curves, singer, random, frames * HOP, rate))
    denominators = _plan_tract(curves, singer, frames, rate)
    for first in range(0, frames, _BLOCK):  # blocks that fit in the cache of a core
        last = min(frames, first + _BLOCK)
        spectra = scipy.fft.rfft(_cut_frames(hops[first : last + 1]), _SIZE, axis=1)
        spectra *= _respond(denominators[first:last], upper)
        _overlap_add(sound, spectra, first)
    _add_noises(sound, curves, singer, random, rate)
    return sound[HOP:]  # the first frame starts a hop before the phrase


def _pad(samples: np.ndarray) -> np.ndarray:
    """Hops of samples, with an empty one before them: [hops + 1, HOP]."""
    return np.concatenate([np.zeros(HOP, np.float32), samples]).reshape(-1, HOP)


def _cut_frames(hops: np.ndarray) -> np.ndarray:
    """Hann windows of two hops each, which add up to 1: [hops - 1, 2 * HOP]."""
    frames = np.empty((len(hops) - 1, 2 * HOP), np.float32)
    np.multiply(hops[:-1], _WINDOW[:HOP], out=frames[:, :HOP])
    np.multiply(hops[1:], _WINDOW[HOP:], out=frames[:, HOP:])
    return frames


_WINDOW = (0.5 - 0.5 * np.cos(np.pi * np.arange(2 * HOP) / HOP)).astype(np.float32)


def _overlap_add(sound: np.ndarray, spectra: np.ndarray, first: int) -> None:
    """Add frames to a sound, the first of them at hop `first`."""
    pieces = scipy.fft.irfft(spectra, _SIZE, axis=1, overwrite_x=True)
    for part in range(_SIZE // HOP):
        start = (first + part) * HOP
        stretch = sound[start : start + len(pieces) * HOP]
        stretch += pieces[:, part * HOP : (part + 1) * HOP].ravel()[: len(stretch)]


def _excite(curves: Curves, singer: Singer, random: Generator, size: int, rate: int) -> np.ndarray:
    """The glottal source: pulses and breath, in whole hops."""
    frequency = np.float32(440.0) * np.exp2((curves.pitch - 69.0) / 12.0)
    table = pulse_table(singer.quality, _fit_harmonics(float(frequency.max()), rate))
    # The phase in units of 2 ** -32 of a period: its upper bits count periods, the next ones are places in the table.
    speed, voicing, airy = (
        _raise_rate(values, size) for values in (_measure_speed(curves, rate), curves.voicing, curves.breath)
    )
    # Shimmer: each period has its own amplitude. A rough voice has every second one weaker, too.
    amplitude = 1.0 + singer.shimmer * random.standard_normal(_count_periods(speed), dtype=np.float32)
    amplitude[::2] *= np.float32(1.0 - singer.roughness)
    airy *= _draw_noise(random, size)
    out, phase = np.empty(size, np.float32), np.int64(0)
    for first in range(0, size, _BLOCK * HOP):
        block = slice(first, min(size, first + _BLOCK * HOP))
        phases = np.cumsum(speed[block].astype(np.int64))
        phases += phase
        phase = phases[-1]
        place = (phases >> (32 - TABLE_BITS)) & (TABLE - 1)
        part = (phases & ((1 << (32 - TABLE_BITS)) - 1)).astype(np.float32)
        part *= np.float32(2.0 ** (TABLE_BITS - 32))
        values = table[place]
        part *= values.imag
        part += values.real
        phases >>= 32
        part *= amplitude[phases]
        part *= voicing[block]
        # Breath is loudest while the glottis is open.
        part += _OPENING[place] * airy[block]
        out[block] = part
    return out


_OPENING = (0.6 - 0.4 * np.cos(2.0 * np.pi * (np.arange(TABLE) / TABLE + 0.1))).astype(np.float32)
_NOISE = Generator(PCG64(0)).standard_normal(1 << 18, dtype=np.float32)  # about 8 s


def _draw_noise(random: Generator, size: int) -> np.ndarray:
    """White noise with unit variance: a stretch of one long recording, as drawing samples takes longer."""
    start = int(random.integers(len(_NOISE)))
    if start + size <= len(_NOISE):
        return _NOISE[start : start + size]
    return np.take(_NOISE, np.arange(start, start + size), mode="wrap")


def _fit_harmonics(frequency: float, rate: int) -> int:
    """How many harmonics are below half the rate, in steps of about 8 %, so that tables are used again."""
    return int(1.08 ** int(math.log(0.48 * rate / frequency) / math.log(1.08)))


def _raise_rate(values: np.ndarray, size: int) -> np.ndarray:
    """Interpolate values at every TRACE_STEP samples to every sample; the last is held."""
    slopes = np.diff(values, append=values[-1:]) / TRACE_STEP
    ramp = np.arange(TRACE_STEP, dtype=np.float32)
    fine = (slopes[:, None] * ramp + values[:, None]).astype(np.float32).ravel()
    return fine[:size] if len(fine) >= size else np.append(fine, np.full(size - len(fine), values[-1], np.float32))


def _upper_resonances(singer: Singer, rate: int) -> np.ndarray:
    """The response of the resonances above F5, which do not move, and of the singer's microphone: complex64 [bins]."""
    octaves = np.log2(np.maximum(np.arange(_SIZE // 2 + 1) * (rate / _SIZE), 50.0) / 3000.0)
    response = 10 ** (singer.presence / 20 / (1.0 + np.exp(-2.5 * octaves)))
    delay = np.exp(-2j * np.pi * np.arange(_SIZE // 2 + 1) / _SIZE)
    frequency = 5500.0 * singer.scale
    while frequency < 0.49 * rate:
        first, second, gain = _resonator(np.array(frequency), np.array(0.06 * frequency), rate)
        response = response * gain / (1.0 + first * delay + second * delay**2)
        frequency += 1050.0 * singer.scale
    return response.astype(np.complex64)


def _resonator(frequency: np.ndarray, bandwidth: np.ndarray, rate: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Klatt's resonator (1980, equation 2): the two coefficients of its denominator, and the gain for 1 at 0 Hz."""
    radius = np.exp(-np.pi * bandwidth / rate)
    first = -2.0 * radius * np.cos(2.0 * np.pi * frequency / rate)
    second = radius**2
    return first, second, 1.0 + first + second


def _plan_tract(curves: Curves, singer: Singer, frames: int, rate: int) -> np.ndarray:
    """The denominator of the vocal tract's response in each frame, a polynomial in 1 - z^-1: float32 [frames, 12]."""
    at = np.minimum(np.arange(frames) * (HOP // TRACE_STEP), len(curves.pitch) - 1)
    f0 = 440.0 * np.exp2((curves.pitch[at] - 69.0) / 12.0)
    formants = curves.formants[:, at]
    # High notes are sung with F1 at the fundamental or above (Sundberg 1977).
    moving = [np.maximum(formants[0], 1.02 * f0), np.maximum(formants[1], 1.6 * f0), formants[2]]
    fixed = (3500.0 - 500.0 * singer.ring, 4300.0 - 1000.0 * singer.ring)
    moving += [np.full(frames, frequency * singer.scale) for frequency in fixed]
    # In powers of 1 - z^-1, single precision suffices at low frequencies, too.
    denominator = np.zeros((frames, 12))
    denominator[:, 0] = 1.0
    # Soft singing is darker: a first-order low-pass.
    denominator[:, 1] = curves.tilt[at] / (1.0 - curves.tilt[at])
    for frequency, bandwidth in zip(moving, _BANDWIDTHS, strict=True):
        first, second, unit = _resonator(frequency, bandwidth * singer.damping * curves.damping[at], rate)
        shifted = np.zeros_like(denominator)
        shifted[:, 1:] += (-(first + 2.0 * second) / unit)[:, None] * denominator[:, :-1]
        shifted[:, 2:] += (second / unit)[:, None] * denominator[:, :-2]
        denominator += shifted
    return denominator.astype(np.float32)


def _respond(denominators: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """The response of the vocal tract in each frame: complex64 [frames, _SIZE // 2 + 1]."""
    real, imaginary = denominators @ _DIFFERENCES[0], denominators @ _DIFFERENCES[1]
    # 1 / z, of which numpy's own takes three times as long.
    power = real * real
    power += imaginary * imaginary
    np.divide(np.float32(1.0), power, out=power)
    response = np.empty(real.shape, np.complex64)
    np.multiply(real, power, out=response.real)
    np.multiply(imaginary, -power, out=response.imag)
    response *= upper
    return response


_POWERS = (1.0 - np.exp(-2j * np.pi * np.arange(_SIZE // 2 + 1) / _SIZE)) ** np.arange(12)[:, None]
_DIFFERENCES = (_POWERS.real.astype(np.float32), _POWERS.imag.astype(np.float32))  # of 1 - z^-1, at each frequency


def _add_noises(sound: np.ndarray, curves: Curves, singer: Singer, random: Generator, rate: int) -> None:
    """Add the noise of consonants."""
    frequencies = np.maximum(np.arange(_SIZE // 2 + 1) * (rate / _SIZE), 1.0)
    for noise in curves.noises:
        times = np.array(noise.times) - curves.start
        first, last = int(times[0] * rate) // HOP, int(times[-1] * rate) // HOP + 1
        samples = _draw_noise(random, (last - first) * HOP) * np.interp(
            np.arange(first * HOP, last * HOP) / rate, times, noise.levels
        ).astype(np.float32)
        centre, width = NOISES[noise.name]
        shape = np.exp(-0.5 * (np.log2(frequencies / (centre * singer.scale)) / width) ** 2).astype(np.float32)
        shape /= np.sqrt(np.mean(shape**2))
        frames = _cut_frames(_pad(np.append(samples, np.zeros(HOP, np.float32))))
        _overlap_add(sound, scipy.fft.rfft(frames, _SIZE, axis=1) * shape, first)
