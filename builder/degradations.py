"""Degradations of recordings: codecs, band limits, noise, reverberation, other speeds and pitches.

Each one is a function of the audio, a level and a seed, so that a model can be evaluated on degraded copies of
the same tracks (`evaluation.robustness`), and trained on degraded copies (`synthmir embed --augment`).
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .audio import resample
from .errors import BackendError, RecipeError
from .validation import suggest

Function = Callable[[np.ndarray, int, float, np.random.Generator], np.ndarray]
CODED_FRAMES = 1 << 20  # frames to encode at a time: libvorbis keeps 4 bytes of each on the stack, which has 8 MiB
MPEG_RATES = (32_000, 44_100, 48_000)  # Hz, of MPEG-1, with bit rates of 32 to 320 kbit/s


@dataclass(frozen=True, slots=True)
class DamageKind:
    """A kind of damage.

    Attributes:
        apply: Function of samples, sampling rate, level and random numbers.
        levels: The levels of the robustness evaluation, from mild to severe.
        unit: Unit of the level.
        about: Description for tables.
        low: The lowest level that is allowed.
        high: The highest level that is allowed.
    """

    apply: Function
    levels: tuple[float, ...]
    unit: str
    about: str
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Damage:
    """A kind of damage at a level.

    Example:
        >>> Damage.parse("mp3:64")(samples, 44_100)  # float32 [samples, channels]
    """

    kind: str
    level: float

    @classmethod
    def parse(cls, text: str) -> Damage:
        """Parse `KIND:LEVEL`. Raises RecipeError for an unknown kind, or a level that it does not allow."""
        kind, _, level = text.partition(":")
        if kind not in DAMAGES:
            raise RecipeError(
                f"there is no damage called {kind!r}{suggest(kind, DAMAGES)}", f"use one of: {', '.join(DAMAGES)}"
            )
        known = DAMAGES[kind]
        try:
            value = float(level)
        except ValueError:
            value = float("nan")
        if not known.low <= value <= known.high:
            raise RecipeError(
                f"damage {text!r}: the level of {kind} is {known.unit} from {known.low:g} to {known.high:g}",
                f"for example {kind}:{known.levels[0]:g}",
            )
        return cls(kind, value)

    def __str__(self) -> str:
        return f"{self.kind}:{self.level:g}"

    def __call__(self, samples: np.ndarray, sampling_rate: int, seed: int = 0) -> np.ndarray:
        """Apply the damage.

        Args:
            samples: float32 [samples, channels] in [-1, 1].
            sampling_rate: Hz.
            seed: Seed of the random numbers.

        Returns:
            float32 [samples, channels] in [-1, 1], clipped at full scale; `speed` changes the number of samples, and
            `side` the number of channels.

        Raises:
            BackendError: A package that it needs is not installed.
        """
        draw = np.random.default_rng((seed, zlib.crc32(str(self).encode())))
        out = DAMAGES[self.kind].apply(samples, sampling_rate, self.level, draw)
        return np.clip(out, -1.0, 1.0).astype(np.float32, copy=False)


def parse_damages(chosen: Sequence[str] = ()) -> list[Damage]:
    """Parse damages as they are written on the command line.

    Args:
        chosen: "mp3" for all levels of a kind, or "mp3:64" for one. None of them: all levels of all kinds.

    Raises:
        RecipeError: There is no such kind or level.
    """
    damages = []
    for text in chosen or DAMAGES:
        levels = DAMAGES[text].levels if text in DAMAGES else ()
        damages += [Damage(text, level) for level in levels] or [Damage.parse(text)]
    return list(dict.fromkeys(damages))


def _mp3(samples: np.ndarray, rate: int, kbps: float, _: np.random.Generator) -> np.ndarray:
    # libsndfile maps its compression level, 0 .. 1, to the bit rates of the standard at the sampling rate.
    # Under 64 kbit/s a frame has no room for the tag that lets decoders remove the delay of the codec.
    coded_rate = rate if rate in MPEG_RATES else 44_100
    x = _map_channels(samples, lambda channel: resample(channel, rate, coded_rate))
    level = (320 - kbps) / (320 - 32)
    out = _encode_and_decode(
        x, coded_rate, format="MP3", subtype="MPEG_LAYER_III", compression_level=level, bitrate_mode="CONSTANT"
    )
    return _map_channels(out, lambda channel: resample(channel, coded_rate, rate))[: len(samples)]


def _ogg(samples: np.ndarray, rate: int, quality: float, _: np.random.Generator) -> np.ndarray:
    level = 1 - quality / 10
    return _encode_and_decode(samples, rate, format="OGG", subtype="VORBIS", compression_level=level)[: len(samples)]


def _lowpass(samples: np.ndarray, rate: int, hertz: float, _: np.random.Generator) -> np.ndarray:
    return _filter(samples, rate, hertz, "lowpass")


def _highpass(samples: np.ndarray, rate: int, hertz: float, _: np.random.Generator) -> np.ndarray:
    return _filter(samples, rate, hertz, "highpass")


def _resample(samples: np.ndarray, rate: int, hertz: float, _: np.random.Generator) -> np.ndarray:
    if hertz >= rate:
        return samples
    low = round(hertz)
    return _map_channels(samples, lambda channel: resample(resample(channel, rate, low), low, rate))[: len(samples)]


def _gain(samples: np.ndarray, rate: int, decibels: float, _: np.random.Generator) -> np.ndarray:
    return samples * np.float32(10 ** (decibels / 20))


def _compress(samples: np.ndarray, rate: int, ratio: float, _: np.random.Generator) -> np.ndarray:
    board = _pedalboard()
    squeezed = board.Compressor(threshold_db=-30, ratio=ratio, attack_ms=2, release_ms=100)(samples.T, rate).T
    loud, now = (np.sqrt(np.mean(np.square(x, dtype=np.float64))) for x in (samples, squeezed))
    return np.asarray(squeezed * np.float32(loud / now if now else 1.0))  # with the original loudness


def _tilt(samples: np.ndarray, rate: int, decibels: float, _: np.random.Generator) -> np.ndarray:
    board = _pedalboard()
    chain = board.Pedalboard(
        [
            board.LowShelfFilter(cutoff_frequency_hz=300, gain_db=-decibels),
            board.HighShelfFilter(cutoff_frequency_hz=3_000, gain_db=decibels),
        ]
    )
    return np.asarray(chain(samples.T, rate).T)


def _noise(samples: np.ndarray, rate: int, ratio: float, draw: np.random.Generator) -> np.ndarray:
    """Pink noise, with the same power in every octave, as music has."""
    shape = np.fft.rfft(draw.standard_normal(samples.shape), axis=0)
    shape[1:] /= np.sqrt(np.arange(1, len(shape)))[:, None]
    shape[0] = 0.0
    noise = np.fft.irfft(shape, n=len(samples), axis=0)
    power, other = (float(np.mean(np.square(x, dtype=np.float64))) for x in (samples, noise))
    return samples + noise * np.sqrt(power / other * 10 ** (-ratio / 10)) if other else samples


def _reverb(samples: np.ndarray, rate: int, seconds: float, draw: np.random.Generator) -> np.ndarray:
    """Reverberation as noise that decays by 60 dB in `seconds` (Polack 1988), with the power of the direct sound."""
    from scipy.signal import fftconvolve

    time = np.arange(max(2, round(seconds * rate))) / rate
    tail = draw.standard_normal((len(time), samples.shape[1])) * 10 ** (-3 * time / seconds)[:, None]
    tail[0] = 0.0
    tail /= np.sqrt(np.square(tail).sum(axis=0))
    tail[0] = 1.0
    wet = fftconvolve(samples, tail, axes=0)[: len(samples)]
    power, now = (float(np.mean(np.square(x, dtype=np.float64))) for x in (samples, wet))
    return np.asarray(wet * np.sqrt(power / now) if now else wet)


def _side(samples: np.ndarray, rate: int, share: float, _: np.random.Generator) -> np.ndarray:
    """Mix to mono with the right channel reduced by `share`. At 2 it is inverted, which cancels the centre."""
    if samples.shape[1] == 1:
        return samples
    return (samples[:, :1] + (1 - share) * samples[:, 1:2]) / 2


def _pitch(samples: np.ndarray, rate: int, semitones: float, _: np.random.Generator) -> np.ndarray:
    stretch = _pedalboard().time_stretch
    return np.asarray(stretch(samples.T, rate, stretch_factor=1.0, pitch_shift_in_semitones=semitones).T)


def _speed(samples: np.ndarray, rate: int, percent: float, _: np.random.Generator) -> np.ndarray:
    return np.asarray(_pedalboard().time_stretch(samples.T, rate, stretch_factor=percent / 100).T)


def _map_channels(samples: np.ndarray, apply: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Apply a function of one channel to each."""
    return np.stack([apply(channel) for channel in samples.T], axis=1)


def _filter(samples: np.ndarray, rate: int, hertz: float, kind: str) -> np.ndarray:
    """A Butterworth filter of order 8 (48 dB per octave). A low-pass above the Nyquist frequency changes nothing."""
    from scipy.signal import butter, sosfilt

    if hertz >= rate / 2:
        return samples if kind == "lowpass" else np.zeros_like(samples)
    return np.asarray(sosfilt(butter(8, hertz, kind, fs=rate, output="sos"), samples, axis=0))


def _encode_and_decode(samples: np.ndarray, rate: int, **options: Any) -> np.ndarray:
    """Encode audio with a lossy codec and decode it, in memory."""
    import soundfile

    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", rate, samples.shape[1], **options) as file:
        for start in range(0, len(samples), CODED_FRAMES):
            file.write(samples[start : start + CODED_FRAMES])
    buffer.seek(0)
    out: np.ndarray = soundfile.read(buffer, dtype="float32", always_2d=True)[0]
    return out


def _pedalboard() -> Any:
    try:
        import pedalboard
    except ModuleNotFoundError as error:
        raise BackendError(
            "compress, tilt, pitch and speed need the package 'pedalboard', which is not installed",
            "uv sync --extra benchmarks   (or: pip install pedalboard)",
        ) from error
    return pedalboard


DAMAGES: dict[str, DamageKind] = {
    "mp3": DamageKind(_mp3, (192, 96, 64), "kbit/s", "MP3 at a constant bit rate", 64, 320),
    "ogg": DamageKind(_ogg, (6, 2, 0), "quality", "Ogg Vorbis", 0, 10),
    "lowpass": DamageKind(_lowpass, (8000, 4000, 2000), "Hz", "nothing above", 20, 96_000),
    "highpass": DamageKind(_highpass, (100, 300, 1000), "Hz", "nothing below", 1, 20_000),
    "resample": DamageKind(
        _resample, (22_050, 16_000, 8_000), "Hz", "down to that sampling rate and back", 1_000, 384_000
    ),
    "gain": DamageKind(_gain, (-12, -30, 12), "dB", "quieter, or louder and clipped", -90, 60),
    "compress": DamageKind(_compress, (2, 4, 20), "to 1", "dynamic range compression over -30 dBFS", 1, 100),
    "tilt": DamageKind(_tilt, (6, -6, 12, -12), "dB", "treble up and bass down by as much, or the reverse", -40, 40),
    "noise": DamageKind(_noise, (30, 20, 10, 0), "dB", "pink noise at that signal-to-noise ratio", -30, 120),
    "reverb": DamageKind(_reverb, (0.3, 1, 3), "s", "reverberation with that time (RT60)", 0.01, 20),
    "side": DamageKind(_side, (0.5, 1, 2), "share", "folded to mono with the right side down, off, turned over", 0, 2),
    "pitch": DamageKind(_pitch, (1, -1, 3, -3), "semitones", "higher or lower at the same speed", -24, 24),
    "speed": DamageKind(_speed, (95, 105, 80, 125), "%", "slower or faster at the same pitch", 25, 400),
}
