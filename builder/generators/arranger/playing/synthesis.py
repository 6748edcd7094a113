"""Play one note of a sound font: version 2.

Implements parts of the SoundFont Technical Specification 2.04, section 8: tuning, loops, volume envelope, filter with
its resonance, modulation envelope, vibrato, attenuation, pan, and modulators from velocity and key. Sends to effects
and the continuous controllers are left out: the mix has its own.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np
from scipy.signal import butter, lfilter, sosfilt

from .soundfont import (
    ATTENUATION,
    CENTS,
    COARSE,
    DEFAULTS,
    END,
    KEYTRACK,
    LOOP_END,
    LOOP_START,
    MODES,
    ROOT,
    SAMPLE,
    SEMITONES,
    START,
    Modulator,
    Sample,
    SoundFont,
    Zone,
    interpolate,
)

# Generators: numbers of section 8.1.2.
_LFO_PITCH, _VIBRATO, _ENVELOPE_PITCH, _CUTOFF, _RESONANCE, _ENVELOPE_CUTOFF = 5, 6, 7, 8, 9, 11
_PAN, _LFO_DELAY, _LFO_RATE, _VIBRATO_DELAY, _VIBRATO_RATE = 17, 21, 22, 23, 24
_MOD_DELAY, _VOLUME_DELAY = 25, 33  # then attack, hold, decay, sustain, release, key to hold, key to decay
_RELEASE = 38
_VELOCITY_TO_CUTOFF = (0x0102, _CUTOFF)  # source and target of the default modulator of section 8.4.2
_STEPS = (2.0**-6, 2.0**5)  # slowest and fastest playing of a sample, against damaged tuning
_FILTER_CENTS = 200  # the steps in which a filter moves
_HOP = 64  # samples between values of the modulation envelope, 2 ms at 32 kHz
_PART = 8192  # samples that are computed at once, so that they stay in the cache of a core
_OPEN = 0.45  # of the sampling rate: a cutoff above it is no filter
_FLOOR = 100.0  # dB of the envelope
_SIDE = 400  # in 0.1 %: a pan of a side of a stereo sample


def play_note(
    font: SoundFont, program: int, is_drum: bool, key: int, velocity: int, seconds: float, rate: int, channels: int
) -> np.ndarray:
    """Play a held note, without the attenuation by its velocity.

    Args:
        font: The sound font.
        program: A program, or kit, that the font has.
        is_drum: Whether the percussion bank is used.
        key: MIDI note number.
        velocity: 1 to 127. It chooses layers, and changes the timbre.
        seconds: How long the key is held.
        rate: Sampling rate in Hz.
        channels: 1 or 2.

    Returns:
        float32 [channels, round(seconds * rate)].
    """
    out = np.zeros((channels, round(seconds * rate)), np.float32)
    zones = list(font.list_zones(program, is_drum, key, velocity))
    if channels == 1 and any(zone.get(_PAN, 0) <= -_SIDE for zone, _ in zones):
        zones = [pair for pair in zones if pair[0].get(_PAN, 0) < _SIDE]  # of stereo samples the left side alone
    for zone, modulators in zones:
        settings = DEFAULTS | zone
        _modulate(settings, modulators, key, velocity)
        sound = _play_zone(font, settings, key, out.shape[1], rate)
        if not len(sound):
            continue
        pan = min(500, max(-500, settings.get(_PAN, 0))) / 1000
        gains = [1.0] if channels == 1 else [(0.5 - pan) ** 0.5 * 2**0.5, (0.5 + pan) ** 0.5 * 2**0.5]
        for channel, gain in zip(out, gains, strict=True):
            channel[: len(sound)] += np.float32(gain) * sound
    return out


def release_seconds(zone: Zone) -> float:
    """Return the seconds in which a zone decays by 100 dB after its key is released."""
    return _seconds(zone.get(_RELEASE, DEFAULTS[_RELEASE]))


def _modulate(settings: Zone, modulators: list[Modulator], key: int, velocity: int) -> None:
    """Add what velocity and key change. A zone's modulator replaces the default one of its source and target."""
    known = {(one.source, one.target): one for one in modulators}
    known.setdefault(_VELOCITY_TO_CUTOFF, Modulator(*_VELOCITY_TO_CUTOFF, -2400, 0, 0))
    for (source, target), one in known.items():
        value = {2: velocity, 3: key}.get(source & 0xFF)  # of no continuous controller
        if value is None or one.scale & 0xFF or target == ATTENUATION:
            continue
        settings[target] = settings.get(target, 0) + round(one.amount * _curve(value / 128, source))


def _curve(value: float, source: int) -> float:
    """A source's value, 0 to 1, by the direction, polarity and curve that its number has (sections 8.2, 9.5)."""
    if source & 0x100:
        value = 127 / 128 - value
    kind, bipolar = source >> 10, source & 0x200
    if kind == 1:  # concave
        value = 1.0 if value >= 127 / 128 else min(1.0, -20 / 96 * 2 * np.log10(1 - value))
    elif kind == 2:  # convex
        value = 0.0 if value <= 0 else max(0.0, 1 + 20 / 96 * 2 * np.log10(value))
    elif kind == 3:  # switch
        value = float(value >= 0.5)
    return 2 * value - 1 if bipolar else float(value)


def _play_zone(font: SoundFont, settings: Zone, key: int, length: int, rate: int) -> np.ndarray:
    """Play one zone: float32 [at most length], shorter where its sample ends."""
    sample = font.samples[settings[SAMPLE]]
    if not 400 <= sample.rate <= 192_000 or sample.root > 254:
        return np.zeros(0, np.float32)
    semitones = (key - (settings[ROOT] if settings[ROOT] >= 0 else min(127, sample.root))) * settings[KEYTRACK] / 100
    semitones += settings.get(SEMITONES, 0) + (settings.get(CENTS, 0) + sample.correction) / 100
    semitones = min(120.0, max(-120.0, semitones))
    step = min(_STEPS[1], max(_STEPS[0], 2.0 ** (semitones / 12) * sample.rate / rate))
    source, loop = cut_sample(font, sample, settings)
    if len(source) < 8:
        return np.zeros(0, np.float32)
    modulation = _envelope(settings, _MOD_DELAY, key, length, rate) if _is_modulated(settings) else None
    places = _places(settings, modulation, step, length, rate)
    needed = int(places[-1]) + 4 if length else 4
    values = source[: min(needed, loop[1] if loop else needed)].astype(np.float32)
    if step > 1.05:
        values = sosfilt(_anti_aliasing(min(0.95, round(0.9 / step, 2))), values).astype(np.float32)
    if loop and loop[1] < needed:
        turns = 1 + (needed - loop[1]) // (loop[1] - loop[0])
        values = np.concatenate([values, *[values[loop[0] :]] * turns])[:needed]
    elif len(values) < needed:
        places = places[: int(np.searchsorted(places, len(values) - 3))]
    sound, values = np.empty(len(places), np.float32), np.pad(values, (1, 2))
    for start in range(0, len(places), _PART):
        part = places[start : start + _PART]
        whole = part.astype(np.intp)
        sound[start : start + _PART] = interpolate(values, whole, (part - whole).astype(np.float32))
    sound = _filter(sound, settings, modulation, rate)
    sound *= _volume(settings, key, len(sound), rate)
    sound *= np.float32(10 ** (-0.4 * min(1440, max(0, settings.get(ATTENUATION, 0))) / 200) / 32_768)
    return np.asarray(sound, dtype=np.float32)


def cut_sample(font: SoundFont, sample: Sample, settings: Zone) -> tuple[np.ndarray, tuple[int, int] | None]:
    """The values of a sample from its first on, and its loop in them, None without a valid one."""
    data, first = font.sample_data(sample)
    shift = {item: settings.get(item, 0) + 32_768 * settings.get(COARSE[item], 0) for item in COARSE}
    base = 0 if sample.compressed else sample.start
    start = max(0, first + shift[START])
    end = min(len(data), (len(data) if sample.compressed else sample.end) + shift[END])
    # Loops of compressed samples start at the sample.
    here = first if sample.compressed else 0
    loop_start, loop_end = here + sample.loop_start + shift[LOOP_START], here + sample.loop_end + shift[LOOP_END]
    if sample.compressed and sample.loop_start >= len(data):  # some writers keep positions in the file
        loop_start, loop_end = loop_start - base, loop_end - base
    looped = settings.get(MODES, 0) & 1 and start <= loop_start and loop_start + 3 < loop_end <= end
    return data[start : max(start, end)], (loop_start - start, loop_end - start) if looped else None


def _is_modulated(settings: Zone) -> bool:
    return abs(settings.get(_ENVELOPE_CUTOFF, 0)) > 100 or abs(settings.get(_ENVELOPE_PITCH, 0)) > 5


def _places(settings: Zone, modulation: np.ndarray | None, step: float, length: int, rate: int) -> np.ndarray:
    """The place in the sample of each value: float64 [length]."""
    cents = np.zeros(0)
    for depth, delay, speed in (
        (settings.get(_VIBRATO, 0), settings[_VIBRATO_DELAY], settings.get(_VIBRATO_RATE, 0)),
        (settings.get(_LFO_PITCH, 0), settings[_LFO_DELAY], settings.get(_LFO_RATE, 0)),
    ):
        if abs(depth) >= 2:
            turns = (np.arange(length) / rate - _seconds(delay)) * 8.176 * 2 ** (min(4500, max(-16_000, speed)) / 1200)
            wave = np.where(turns > 0, 1 - 4 * np.abs((turns + 0.25) % 1 - 0.5), 0.0)  # a triangle
            cents = (cents if len(cents) else 0) + min(1200, max(-1200, depth)) * wave
    if modulation is not None and (depth := settings.get(_ENVELOPE_PITCH, 0)):
        moved = min(2400, max(-2400, depth)) * np.repeat(modulation, _HOP)[:length]
        cents = (cents if len(cents) else 0) + moved
    if not len(cents):
        return np.arange(length) * step
    return np.cumsum(np.minimum(_STEPS[1], step * 2.0 ** (cents / 1200))) - step


def _seconds(timecents: int) -> float:
    return float(2.0 ** (min(8000, max(-12_000, timecents)) / 1200))


def _stages(settings: Zone, first: int, key: int) -> tuple[float, float, float, float]:
    """The seconds of delay, attack, hold and decay of an envelope whose delay is generator `first`."""
    delay, attack, hold, decay = (settings[first + place] for place in range(4))
    hold += (60 - key) * settings.get(first + 6, 0)
    decay += (60 - key) * settings.get(first + 7, 0)
    return _seconds(delay), _seconds(attack), _seconds(hold), _seconds(decay)


def _volume(settings: Zone, key: int, length: int, rate: int) -> np.ndarray:
    """The volume envelope while the key is held: a linear attack, a decay that is linear in dB."""
    delay, attack, hold, decay = _stages(settings, _VOLUME_DELAY, key)
    sustain = min(_FLOOR, max(0.0, settings.get(_VOLUME_DELAY + 4, 0) / 10))
    gain = np.ones(length, np.float32)
    peak = delay + attack
    if sustain > 0:
        start = min(length, round((peak + hold) * rate))
        stop = min(length, start + round(decay * sustain / _FLOOR * rate) + 1)
        gain[start:stop] = np.exp(np.arange(stop - start, dtype=np.float32) * np.float32(-11.513 / (decay * rate)))
        gain[stop:] = 10 ** (-sustain / 20)
    rise, wait = min(length, round(peak * rate)), min(length, round(delay * rate))
    gain[:wait] = 0.0
    if rise > wait:
        gain[wait:rise] = np.arange(rise - wait, dtype=np.float32) / np.float32(max(1.0, attack * rate))
    return gain


def _envelope(settings: Zone, first: int, key: int, length: int, rate: int) -> np.ndarray:
    """The modulation envelope in steps of `_HOP` samples while the key is held: float32, 0 to 1."""
    delay, attack, hold, decay = _stages(settings, first, key)
    sustain = 1.0 - min(1000, max(0, settings.get(first + 4, 0))) / 1000
    times = [delay, delay + attack, delay + attack + hold, delay + attack + hold + decay * (1 - sustain)]
    curve = np.interp((np.arange(-(-length // _HOP)) + 0.5) * (_HOP / rate), times, [0.0, 1.0, 1.0, sustain])
    return curve.astype(np.float32)


def _filter(sound: np.ndarray, settings: Zone, modulation: np.ndarray | None, rate: int) -> np.ndarray:
    """The zone's resonant low-pass filter, moved by the modulation envelope."""
    cutoff, depth = settings[_CUTOFF], settings.get(_ENVELOPE_CUTOFF, 0)
    resonance = min(960, max(0, settings.get(_RESONANCE, 0))) / 10
    if modulation is None or abs(depth) <= 100:
        if _hertz(cutoff) >= _OPEN * rate:
            return sound
        return np.asarray(lfilter(*_low_pass(_hertz(cutoff), resonance, rate), sound))
    steps = np.round((cutoff + np.float32(depth) * modulation[: -(-len(sound) // _HOP)]) / _FILTER_CENTS)
    turns = np.flatnonzero(np.diff(steps)) + 1  # where the filter changes
    state = np.zeros(2, np.float32)
    for start, stop in pairwise([0, *turns.tolist(), len(steps)]):
        hertz = min(_OPEN * rate, _hertz(_FILTER_CENTS * float(steps[start])))
        part = sound[start * _HOP : stop * _HOP]
        part[:], state = lfilter(*_low_pass(hertz, resonance, rate), part, zi=state)
    return sound


def _hertz(cents: float) -> float:
    return float(8.176 * 2.0 ** (min(13_500.0, max(1500.0, cents)) / 1200))


@lru_cache(4096)
def _low_pass(cutoff: float, resonance: float, rate: int) -> tuple[np.ndarray, np.ndarray]:
    """A second-order low-pass filter with a resonance in dB (Bristow-Johnson's cookbook), its peak lowered by half."""
    q = 10 ** ((resonance - 3.01) / 20)
    turn = 2 * np.pi * cutoff / rate
    alpha, cosine = np.sin(turn) / (2 * q), np.cos(turn)
    b = (1 - cosine) / 2 / (1 + alpha) / max(1.0, q) ** 0.5
    a = (1.0, -2 * cosine / (1 + alpha), (1 - alpha) / (1 + alpha))
    return np.array((b, 2 * b, b), np.float32), np.array(a, np.float32)


@lru_cache(64)
def _anti_aliasing(cutoff: float) -> np.ndarray:
    """A low-pass filter for samples that are played faster than the clip's rate; 1 is half of the sample's rate."""
    return np.asarray(butter(4, cutoff, output="sos"))
