"""Turn a score into the sound of version 1: mixed, equalised, with reverberation and a set loudness.

The bytes of version 1 must stay those of 0.1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.fft
from numpy.random import PCG64, Generator

from ..ducking import duck
from ..loudness import weight_loudness
from ..production.effects import follow
from ..score import LEAD_IN, Production, Score, Track
from ..style import Vocabulary
from .sampler import Sampler

_FADE_IN, _FADE_OUT = 0.004, 0.03
_CEILING = 10 ** (-1.0 / 20)  # -1 dBFS


def mix_score(
    score: Score, seconds: float, sampler: Sampler, vocabulary: Vocabulary, stems: Sequence[str] = ()
) -> list[np.ndarray]:
    """Play a score.

    Args:
        score: The notes and the production.
        seconds: The length of the clip.
        sampler: The instruments.
        vocabulary: The envelopes of the instruments.
        stems: The stems that are wanted.

    Returns:
        The mix, float32 [round(seconds * sampling_rate)], mono, with peaks up to -1 dBFS, and the same of each wanted
        stem. Stems get the gains that saturation and limiter have for the mix.
    """
    rate = sampler.sampling_rate
    length = round(seconds * rate)
    drums = np.zeros(length, np.float32)
    band = np.zeros(length, np.float32)
    parts = [np.zeros(length, np.float32) for _ in stems]
    for track in score.tracks:
        buses = [drums if track.is_drum else band]
        if track.stem in stems:
            buses.append(parts[stems.index(track.stem)])
        play_track(track, buses, score.tempo, sampler, vocabulary)
    if score.production.pump:
        ducking = duck(score, score.production.pump, min(0.32, 45.0 / score.tempo), length, rate)
        band *= ducking
        for stem, part in zip(stems, parts, strict=True):
            if stem != "drums":
                part *= ducking
    sound = master(drums + band, score.production, score.seed, rate, parts)
    before = sound.copy()
    limit(sound, rate)
    follow(before, sound, parts)
    return [sound, *parts]


def play_track(
    track: Track, buses: Sequence[np.ndarray], tempo: int, sampler: Sampler, vocabulary: Vocabulary
) -> None:
    """Add a track's notes to each bus."""
    rate, beat = sampler.sampling_rate, 60.0 / tempo
    level = 10 ** (track.level / 20)
    release = 0.05 if track.is_drum else vocabulary.envelope(track.program).release
    fade = np.linspace(1.0, 0.0, max(2, round(release * rate)), dtype=np.float32) ** 2
    for note in track.notes:
        start = round((note.start * beat + LEAD_IN) * rate)
        held = note.duration * beat
        if track.is_drum:
            held = sampler.ring(note.pitch, held)
        wanted = round((held + release) * rate)
        dark, bright = sampler.note(track.program, track.is_drum, note.pitch, held + release)
        stop = min(wanted, len(dark), len(buses[0]) - start)
        if stop <= 0:
            continue
        gain = level * note.velocity**1.5
        sound = dark[:stop] * np.float32(gain)
        sound += bright[:stop] * np.float32(gain * (0.35 + 0.75 * note.velocity))
        tail = stop - (wanted - len(fade))
        if tail > 0:
            sound[max(0, stop - tail) :] *= fade[max(0, tail - stop) : tail]
        for bus in buses:
            bus[start : start + stop] += sound


def master(
    sound: np.ndarray, production: Production, seed: int, rate: int, stems: Sequence[np.ndarray] = ()
) -> np.ndarray:
    """Apply saturation, then reverberation, equaliser and loudness in one pass over the spectrum.

    The stems that `sound` is the sum of are changed in place.
    """
    if production.drive > 0.02:
        scale = np.float32((1.0 + 6.0 * production.drive) / max(1e-6, 4.0 * float(np.sqrt(np.mean(sound**2)))))
        before, sound = sound, np.tanh(sound * scale) / scale
        follow(before, sound, stems)
    impulse = _room(production.room_seconds, seed, rate)
    size = scipy.fft.next_fast_len(len(sound) + len(impulse), real=True)
    spectrum = scipy.fft.rfft(sound, size)
    room = scipy.fft.rfft(impulse, size)
    frequencies = np.arange(len(spectrum), dtype=np.float32) * np.float32(rate / size)
    wet = np.float32(10 ** (production.room / 20)) / (1.0 + (180.0 / np.maximum(frequencies, 1.0)) ** 4)
    response = (1.0 + room * wet) * _equaliser(frequencies, production)
    spectrum *= response
    power = float(np.sum(np.abs(spectrum) ** 2 * weight_loudness(frequencies))) * 2.0 / size / len(sound)
    gain = 10 ** ((production.loudness + 0.691) / 20) / max(1e-6, power**0.5)
    for stem in stems:
        stem[:] = scipy.fft.irfft(scipy.fft.rfft(stem, size) * response, size)[: len(sound)]
        stem *= np.float32(gain)
    out: np.ndarray = scipy.fft.irfft(spectrum, size)[: len(sound)] * np.float32(gain)
    return out


def _room(seconds: float, seed: int, rate: int) -> np.ndarray:
    """An impulse response of unit energy: decaying noise after 8 ms, its treble decaying faster than its bass."""
    length = round(min(1.4, seconds) * rate)
    noise = Generator(PCG64(seed)).standard_normal(length, dtype=np.float32)
    time = np.arange(length, dtype=np.float32) / rate
    soft = np.convolve(noise, np.ones(6, np.float32) / 6, "same")
    tail = noise * np.exp(-13.8 / seconds * time) + 2.0 * soft * np.exp(-6.9 / seconds * time)
    tail[: round(0.008 * rate)] = 0.0
    return np.asarray(tail / np.sqrt(np.sum(tail**2)), dtype=np.float32)


def _equaliser(frequencies: np.ndarray, production: Production) -> np.ndarray:
    """The gain by frequency: rumble and treble cut, tilt, bass shelf, and one peak."""
    octaves = np.log2(np.maximum(frequencies, 20.0) / 1000.0)
    centre, boost = production.presence
    decibels = production.tilt * octaves
    decibels += production.shelf / (1.0 + (frequencies / 150.0) ** 2)
    decibels += boost * np.exp(-((octaves - np.log2(centre / 1000.0)) ** 2) / 0.5)
    gain = 10 ** (decibels / 20)
    gain /= np.sqrt(1.0 + (frequencies / production.top) ** 8)
    rumble = (frequencies / 32.0) ** 4
    return np.asarray(gain * np.sqrt(rumble / (1.0 + rumble)), dtype=np.float32)


def limit(sound: np.ndarray, rate: int) -> np.ndarray:
    """Apply a soft limiter, a fade-in and a fade-out."""
    knee = 0.6
    over = np.abs(sound) > knee
    loud = sound[over]
    room = _CEILING - knee
    sound[over] = np.sign(loud) * (knee + room * np.tanh((np.abs(loud) - knee) / room))
    fade_in, fade_out = round(_FADE_IN * rate), round(_FADE_OUT * rate)
    sound[:fade_in] *= np.linspace(0.0, 1.0, fade_in, dtype=np.float32)
    sound[-fade_out:] *= np.linspace(1.0, 0.0, fade_out, dtype=np.float32)
    return sound
