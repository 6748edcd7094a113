"""Mix and master the tracks of a clip, as its production says."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import scipy.fft
from numpy.random import PCG64, Generator
from scipy.signal import oaconvolve

from ..ducking import duck
from ..loudness import weight_loudness
from ..score import Score
from .amplifier import amplify
from .effects import (
    BLOCK,
    apply_gain,
    compress,
    cut_highs,
    echo,
    follow,
    interpolate,
    limit,
    measure_peaks,
    measure_powers,
    modulate,
    oscillate,
    saturate,
    shelve,
    sweep,
)
from .media import code, make_crackle, make_hiss, make_hum, saturate_tape, warp_time
from .movement import delay_vibrato
from .parameters import Ambience, Compression, Equaliser, Medium, MixProduction, Movement, TrackProduction
from .space import make_space

Part = tuple[np.ndarray, np.float32]  # what of a track is reverberated, and its factor

_AHEAD = 0.003  # seconds that the limiter sees ahead
_FADE_IN, _FADE_OUT = 0.004, 0.03
_HAAS = 0.011  # seconds between the sides of a wide track


def mix_tracks(
    sounds: list[np.ndarray],
    score: Score,
    production: MixProduction,
    channels: int,
    rate: int,
    stems: Sequence[str] = (),
) -> list[np.ndarray]:
    """Mix and master the tracks of a score.

    What depends on the level (compressors, saturation, codec, limiter) is computed from the mix, and is the same gain
    for each stem. What is linear (reverberation, equaliser, speed) is done to each stem. Noise is in the mix alone.

    Args:
        sounds: The tracks of `score`, in its order: float32 [1 or channels, samples] each.
        score: The score.
        production: Its production.
        channels: 1 or 2.
        rate: The sampling rate in Hz.
        stems: The stems that are wanted.

    Returns:
        The mix and the wanted stems, float32 [channels, samples] each. The mix is the same with and without stems.
    """
    length = sounds[0].shape[1]
    ducking = None
    if production.pump:
        seconds = min(0.5, production.pump_beats * 60.0 / score.tempo)
        ducking = duck(score, production.pump, seconds, length, rate)
    dry, send = np.zeros((channels, length), np.float32), np.zeros((channels, length), np.float32)
    parts: list[list[Part]] = [[] for _ in stems]
    for track, sound in zip(score.tracks, sounds, strict=True):
        settings = production.tracks[track.instrument]
        sound = mix_track(sound, settings, score.tempo, score.seed, channels, rate)
        if track.is_drum and production.drums is not None:
            sound = compress_bus(sound, production.drums, rate)
        elif not track.is_drum and ducking is not None:
            sound *= ducking
        dry += sound
        level = np.float32(10 ** (settings.send / 20))
        sound *= level
        send += sound
        if track.stem in stems:
            parts[stems.index(track.stem)].append((sound, level))
    mix, made, weight = add_space(dry, send, parts, production, score.seed, rate)
    if production.bus is not None:
        before, mix = mix, compress_bus(mix, production.bus, rate)
        follow(before, mix, made)
    mix = record(mix, production.medium, score.seed, rate, made)
    mastered = master(mix, weight, production, rate)
    follow(mix, mastered, made)
    return [mastered, *made]


def mix_track(
    sound: np.ndarray, settings: TrackProduction, tempo: float, seed: int, channels: int, rate: int
) -> np.ndarray:
    """Play a track through its amplifier and effects, and place it between left and right.

    Args:
        sound: float32 [1 or channels, samples].
        settings: The track's production.
        tempo: Beats a minute.
        seed: Seed of the room's noise.
        channels: 1 or 2. In mono, the effects on the sides are left out.
        rate: The sampling rate in Hz.

    Returns:
        float32 [channels, samples].
    """
    if settings.amplifier is not None:
        sound = amplify(sound, settings.amplifier, rate)
    if settings.drive is not None:
        sound = _overdrive(sound, settings.drive)
    if settings.low or settings.high:
        sound = shelve(sound, (250.0, settings.low), (3000.0, settings.high), rate)
    if settings.movement is not None:
        sound = _move(sound, settings.movement, tempo, rate)
    if settings.ambience is not None:
        sound = _add_ambience(sound, settings.ambience, seed, rate)
    if settings.chorus is not None:
        sound = _add_chorus(sound, settings.chorus, rate)
    if settings.double is not None:
        sound = _double(sound, settings.double, channels, rate)
    if settings.repeats is not None:
        repeats = settings.repeats
        delay = max(1, round(repeats.beats * 60.0 / tempo * rate))
        level = np.float32(10 ** (repeats.level / 20))
        sound = sound + level * echo(sound, delay, repeats.feedback, repeats.top, rate)
    sound = sound * np.float32(10 ** (settings.gain / 20))
    return sound if channels == 1 else _spread(sound, settings, rate)


def _spread(sound: np.ndarray, settings: TrackProduction, rate: int) -> np.ndarray:
    """Place a sound between left and right; a wide one gets a delayed copy with opposite signs, which mono cancels."""
    # Constant power, with 1 for both channels in the centre.
    left, right = (math.sqrt(2.0) * f(math.pi / 4 * (1.0 + settings.pan)) for f in (math.cos, math.sin))
    out = np.empty((2, sound.shape[1]), np.float32)
    np.multiply(sound[0], np.float32(left), out=out[0])
    np.multiply(sound[-1], np.float32(right), out=out[1])
    if settings.width:
        late = round(_HAAS * rate)
        side = np.float32(0.7 * settings.width) * sound.mean(axis=0, dtype=np.float32)[:-late]
        out[0, late:] += side
        out[1, late:] -= side
    return out


def _overdrive(sound: np.ndarray, drive: float) -> np.ndarray:
    """Saturate a track and keep its power."""
    power = float(np.mean(sound * sound))
    if power < 1e-12:
        return sound
    out = saturate(sound, 0.3 * 10 ** (drive / 20) / power**0.5)
    out *= np.float32((power / max(1e-12, float(np.mean(out * out)))) ** 0.5)
    return out


def _move(sound: np.ndarray, movement: Movement, tempo: float, rate: int) -> np.ndarray:
    """Let the level, the treble or the pitch of a track go up and down."""
    curve = oscillate(sound.shape[1], tempo / 60.0 / movement.beats, movement.phase, rate)
    if movement.kind == "pitch":
        return modulate(sound, delay_vibrato(movement, curve, tempo, rate))
    curve = np.float32(1.0 - 0.5 * movement.depth) + np.float32(0.5 * movement.depth) * curve
    return sound * curve if movement.kind == "level" else sweep(sound, movement.corner, curve, rate)


def _add_ambience(sound: np.ndarray, ambience: Ambience, seed: int, rate: int) -> np.ndarray:
    """Add what microphones in a small room pick up: a short reverberation, at a level relative to the sound."""
    random = Generator(PCG64((seed, 2)))
    length = round(ambience.seconds * rate)
    time = np.arange(length, dtype=np.float32) * np.float32(1.0 / rate)
    impulse = random.standard_normal(length, dtype=np.float32) * np.exp(np.float32(-5.0 / ambience.seconds) * time)
    impulse = cut_highs(impulse[None], ambience.top, rate)
    impulse *= np.float32(10 ** (ambience.level / 20)) / np.sqrt(np.sum(impulse * impulse))
    wet = oaconvolve(sound, impulse, axes=1)[:, : sound.shape[1]].astype(np.float32, copy=False)
    wet += sound
    return wet


def _add_chorus(sound: np.ndarray, depth: float, rate: int) -> np.ndarray:
    """Add a copy whose delay changes around 10 ms."""
    swing = np.float32(0.5 * depth / 1000.0 * rate)
    delays = np.float32(0.01 * rate) + swing * oscillate(sound.shape[1], 0.3 + 0.2 * depth, 0.25, rate)
    return np.asarray(np.float32(0.75) * (sound + np.float32(0.7) * modulate(sound, delays)))


def _double(sound: np.ndarray, late: float, channels: int, rate: int) -> np.ndarray:
    """Play a part twice, the second time a little later and not evenly so: one on each side, or both in mono."""
    drift = oscillate(sound.shape[1], 0.31, 0.1, rate) + oscillate(sound.shape[1], 0.83, 0.6, rate)
    take = modulate(sound, np.float32(rate / 1000.0) * (np.float32(late) + np.float32(1.2) * drift))
    if channels == 2:
        return np.concatenate([sound[:1], take[-1:]])
    take += sound
    take *= np.float32(0.72)
    return take


def compress_bus(sound: np.ndarray, settings: Compression, rate: int) -> np.ndarray:
    """Compress a bus by its own RMS, and blend it with the uncompressed sound."""
    powers = measure_powers(sound)
    levels = np.sqrt(powers / max(1e-12, float(powers.mean())))
    gain = compress(levels, settings.threshold, settings.ratio, settings.attack, settings.release, rate)
    if settings.blend < 1.0:
        gain = np.float32(1.0 - settings.blend) + np.float32(settings.blend) * gain
    return apply_gain(sound, gain)


def equalise(frequencies: np.ndarray, settings: Equaliser) -> np.ndarray:
    """The gain of the master equaliser at each frequency."""
    octaves = np.log2(np.maximum(frequencies, 20.0) / 1000.0)
    decibels = settings.tilt * octaves
    for (corner, gain), side in ((settings.low, 1.0), (settings.high, -1.0)):
        decibels += gain / (1.0 + np.exp2(2.0 * side * (octaves - math.log2(corner / 1000.0))))
    for centre, gain, width in settings.bells:
        decibels += gain * np.exp(-(((octaves - math.log2(centre / 1000.0)) * 1.66 / width) ** 2))
    rising = (frequencies / settings.bottom) ** 4
    falling = (frequencies / settings.top) ** (2 * settings.slope)
    return np.asarray(10 ** (decibels / 20) * np.sqrt(rising / (1.0 + rising) / (1.0 + falling)))


def add_space(
    dry: np.ndarray, send: np.ndarray, stems: Sequence[Sequence[Part]], production: MixProduction, seed: int, rate: int
) -> tuple[np.ndarray, list[np.ndarray], float]:
    """Add the reverberation and equalise, in one pass over the spectrum.

    Args:
        dry: float32 [channels, samples], the sum of the tracks.
        send: float32 [channels, samples], what is reverberated.
        stems: The tracks of each stem. All of them add up to `send`.
        production: The production of the clip.
        seed: Seed of the reverberation's noise.
        rate: The sampling rate in Hz.

    Returns:
        The mix, float32 [channels, samples], the same of each stem, and the ratio of the mix's K-weighted power to its
        power.
    """
    channels, length = dry.shape
    impulse = make_space(production.space, channels, Generator(PCG64(seed)), rate)
    size = scipy.fft.next_fast_len(length + impulse.shape[1], real=True)
    bins = size // 2 + 1
    # Gains are smooth: one in BLOCK bins (about 3 Hz) is computed, the others are interpolated.
    coarse = np.arange(-(-bins // BLOCK) + 1) * (BLOCK * rate / size)
    gains = equalise(coarse, production.equaliser)
    # The reverberation has no deep bass, which would blur the mix.
    wet_gains = gains * 10 ** (production.wet / 20) / (1.0 + (180.0 / np.maximum(coarse, 1.0)) ** 4)
    dry_curve, wet_curve = (interpolate(curve)[:bins] for curve in (gains, wet_gains))
    weights = weight_loudness(coarse[:-1])
    out, made = np.empty_like(dry), [np.empty_like(dry) for _ in stems]
    power, weighted = 0.0, 0.0
    for channel in range(channels):
        room = scipy.fft.rfft(impulse[channel], size)
        spectrum = scipy.fft.rfft(send[channel], size)
        spectrum *= room
        spectrum *= wet_curve
        direct = scipy.fft.rfft(dry[channel], size)
        direct *= dry_curve
        spectrum += direct
        squares = np.zeros(len(weights) * BLOCK, np.float32)
        np.square(spectrum.real, out=squares[:bins])
        squares[:bins] += np.square(spectrum.imag)
        by_block = squares.reshape(-1, BLOCK).sum(axis=1)
        power += float(by_block.sum())
        weighted += float((by_block * weights).sum())
        out[channel] = scipy.fft.irfft(spectrum, size)[:length]
        if stems:
            room *= wet_curve
            _add_space_to_stems(out, made, channel, stems, room, dry_curve, size)
    return out, made, weighted / max(1e-12, power)


def _add_space_to_stems(
    mix: np.ndarray,
    out: list[np.ndarray],
    channel: int,
    stems: Sequence[Sequence[Part]],
    wet: np.ndarray,
    dry: np.ndarray,
    size: int,
) -> None:
    """Reverberate and equalise a channel of each stem.

    Transforms are fast four at a time. The stem with most tracks is what the others leave of the mix.
    """
    *order, last = sorted(range(len(stems)), key=lambda number: len(stems[number]))
    # A row for the first track of each stem, which gets the others of that stem.
    tracks = [(row, part) for row, number in enumerate(order) for part in stems[number][:1]]
    tracks += [(row, part) for row, number in enumerate(order) for part in stems[number][1:]]
    sounds = np.zeros((_count_rows(len(tracks)), size), np.float32)
    for line, (_, (sound, _)) in zip(sounds, tracks, strict=False):
        line[: mix.shape[1]] = sound[channel]
    spectra = scipy.fft.rfft(sounds, overwrite_x=True)
    del sounds
    for place, (row, (_, level)) in enumerate(tracks):
        spectra[place] *= wet + dry / level
        if place >= len(order):
            spectra[row] += spectra[place]
    out[last][channel] = mix[channel]
    for line, number in zip(scipy.fft.irfft(spectra[: _count_rows(len(order))], size), order, strict=False):
        out[number][channel] = line[: mix.shape[1]]
        out[last][channel] -= out[number][channel]


def _count_rows(count: int) -> int:
    """How many rows to transform for so many: three that are left after each four take longer than four."""
    return count + (count % 4 == 3)


def record(sound: np.ndarray, medium: Medium, seed: int, rate: int, stems: Sequence[np.ndarray] = ()) -> np.ndarray:
    """Record a mix on a medium: saturation, noise, speed, codec.

    Args:
        sound: float32 [channels, samples].
        medium: The medium.
        seed: Seed of the noise.
        rate: The sampling rate in Hz.
        stems: What `sound` is the sum of. Recorded in place, without the noise.

    Returns:
        float32 [channels, samples].
    """
    random = Generator(PCG64((seed, 1)))
    channels, length = sound.shape
    level = float(np.sqrt(np.mean(sound * sound)))
    if medium.drive is not None:
        sound = saturate_tape(sound, medium.drive, medium.emphasis, rate, stems)
    if medium.wow or medium.flutter:
        sound = warp_time(sound, medium.wow, medium.flutter, random, rate, stems)
    if medium.hiss is not None:
        noise = make_hiss(channels, length, medium.colour, random, rate)
        sound = sound + np.float32(level * 10 ** (medium.hiss / 20)) * noise
    if medium.hum is not None:
        sound = sound + np.float32(level * 10 ** (medium.hum / 20)) * make_hum(length, medium.mains, random, rate)
    if medium.crackle is not None:
        clicks = make_crackle(channels, length, medium.density, random, rate)
        sound = sound + np.float32(level * 10 ** (medium.crackle / 20) * 16.0) * clicks
    if medium.ratio is not None:
        sound = code(sound, medium.ratio, medium.codec_top, rate, stems)
    return sound


def master(sound: np.ndarray, weight: float, production: MixProduction, rate: int) -> np.ndarray:
    """Bring a mix to its loudness: soft clipping of the highest peaks, then a limiter that looks ahead.

    Args:
        sound: float32 [channels, samples].
        weight: The ratio of the K-weighted power to the power.
        production: The production of the clip.
        rate: The sampling rate in Hz.

    Returns:
        float32 [channels, samples] with peaks up to `production.peak`.
    """
    ceiling = 10 ** (production.peak / 20)
    peaks, powers = measure_peaks(sound), measure_powers(sound)
    # The loudness is that of a stereo master, where two equal channels have 3 dB more than one.
    target = 10 ** ((production.loudness + 0.691) / 10) / 2.0
    gain = math.sqrt(target / max(1e-12, weight * gate_power(powers, rate)))
    most = 16.0 * ceiling / max(1e-6, float(peaks.max()))
    shave = 10 ** (-production.clip / 20)
    for _ in range(3):  # the limiter takes some loudness away
        gain = min(gain, most)
        clipped = peaks * np.float32(gain)
        if production.clip:
            clipped = clip_softly(clipped, max(ceiling, gain * shave * float(peaks.max())))
        curve = limit(clipped, ceiling, _AHEAD, production.release, rate) * np.float32(gain)
        reached = weight * gate_power(powers * curve * curve, rate)
        gain *= min(2.0, max(0.5, math.sqrt(target / max(1e-12, reached))))
    gain = min(gain, most)
    sound = sound * np.float32(gain)
    if production.clip:
        sound = clip_softly(sound, max(ceiling, gain * shave * float(peaks.max())))
    sound = apply_gain(sound, limit(measure_peaks(sound), ceiling, _AHEAD, production.release, rate))
    fade_in, fade_out = round(_FADE_IN * rate), round(_FADE_OUT * rate)
    sound[:, :fade_in] *= np.linspace(0.0, 1.0, fade_in, dtype=np.float32)
    sound[:, -fade_out:] *= np.linspace(1.0, 0.0, fade_out, dtype=np.float32)
    return np.clip(sound, -ceiling, ceiling)


def clip_softly(sound: np.ndarray, highest: float) -> np.ndarray:
    """Bend what is over 0.75 of `highest`, so that nothing exceeds it."""
    knee = np.float32(0.75 * highest)
    over = np.abs(sound) > knee
    if not over.any():
        return sound
    loud = sound[over]
    room = np.float32(highest) - knee
    out = sound.copy()
    out[over] = np.sign(loud) * (knee + room * np.tanh((np.abs(loud) - knee) / room))
    return out


def gate_power(powers: np.ndarray, rate: int) -> float:
    """The mean power of what is less than 10 dB below the mean, in blocks of 0.4 s, as ITU-R BS.1770 gates it."""
    size = max(1, min(len(powers), round(0.4 * rate / BLOCK)))
    blocks = powers[: len(powers) // size * size].reshape(-1, size).mean(axis=1, dtype=np.float64)
    loud = blocks[blocks > 0.1 * blocks.mean()]
    return float(loud.mean()) if len(loud) else 0.0
