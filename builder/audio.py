"""Audio in and out: FLAC bytes, files of any kind to mono float32, resampling, windows, levels."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from io import BufferedReader, BytesIO, FileIO
from itertools import chain
from math import ceil, gcd
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from .containers.detect import find_streams
from .containers.layout import Splice, Stream
from .errors import DataError
from .resampling import resample

if TYPE_CHECKING:
    from soundfile import SoundFile

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".mp3", ".ogg", ".opus", ".au", ".aif", ".aiff"})
MIN_LOUDNESS = -70.0  # LUFS: the absolute gate of ITU-R BS.1770, reported for silence and for under 0.4 s
MIN_RATE, MAX_RATE = 1_000, 768_000  # Hz: beyond, a second of it is filters of gigabytes or hours of nothing
MAX_HELD = 1 << 27  # samples that are held at once, 512 MiB: 70 minutes at 32 kHz
MAX_HOURS = 24  # of one file that is streamed
ENDLESS = 1 << 62  # frames: the length of a stream that does not say how long it is
BLOCK_SECONDS, BLOCK_VALUES = 60, 1 << 24  # what is decoded at a time: 64 MiB at most, whatever the channels
REACH = 20  # samples of the lower rate that a resampler's filter sees to each side, at most


def encode_flac(samples: np.ndarray, sampling_rate: int) -> bytes:
    """float32 [samples] or [samples, channels] in [-1, 1] -> FLAC bytes, 16 bits."""
    import soundfile

    buffer = BytesIO()
    soundfile.write(buffer, samples, sampling_rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def decode_audio(source: str | Path | bytes, seconds: float | None = None) -> tuple[np.ndarray, int]:
    """A file or its bytes -> float32 [samples, channels] in [-1, 1], and the sampling rate in Hz.

    Reads what libsndfile reads: WAV, FLAC, MP3, OGG, AU, AIFF of any bit depth. Raises DataError for what it cannot,
    for what is truncated, for audio of zero length or with samples that are NaN or infinite, and for more than
    `seconds` (where given) or than MAX_HELD numbers.
    """
    held: np.ndarray | None = None
    rate = 0
    for block, rate in read_blocks(source, seconds):
        done = 0 if held is None else len(held)
        if done + len(block) > MAX_HELD // block.shape[1]:
            raise _too_long(_called(source), MAX_HELD // block.shape[1] / rate)
        if held is None:
            held = block
            continue
        held = held if held.base is None else held.copy()
        held.resize((done + len(block), block.shape[1]), refcheck=False)  # where it is: memory is not taken twice
        held[done:] = block
    assert held is not None, "blocks raises where there is none"
    return held, rate


def load_audio(source: str | Path | bytes, sampling_rate: int, seconds: float | None = None) -> np.ndarray:
    """A file or its bytes -> float32 [samples] at `sampling_rate`, channels averaged to mono. Raises DataError.

    No more than `seconds` from its start, where given; else the whole, which must not be longer than MAX_HELD samples:
    `stream_audio` takes audio of any length.
    """
    limit = MAX_HELD if seconds is None else round(seconds * sampling_rate)
    parts, done = [], 0
    for part in stream_audio(source, sampling_rate):
        parts.append(part)
        if (done := done + len(part)) > limit:
            if seconds is not None:
                break
            raise _too_long(_called(source), limit / sampling_rate)
    return (parts[0] if len(parts) == 1 else np.concatenate(parts))[:limit]


def stream_audio(source: str | Path | bytes, sampling_rate: int) -> Iterator[np.ndarray]:
    """A file or its bytes -> blocks of float32 [samples] at `sampling_rate`, channels averaged to mono.

    Five hours take no more memory than two minutes. Raises DataError, once the fault is reached.
    """
    read = read_blocks(source, 3600 * MAX_HOURS)
    first, rate = next(read)
    yield from _resampled(
        (to_mono(block) for block in chain([first], (block for block, _ in read))), rate, sampling_rate
    )


def read_blocks(source: str | Path | bytes, seconds: float | None = None) -> Iterator[tuple[np.ndarray, int]]:
    """A file or its bytes -> blocks of float32 [n, channels], each with the rate in Hz.

    What a header says is never believed further than a block of it: a few bytes may claim hours. Of files joined end
    to end all are read; the first says how many channels there are. Raises DataError as `decode_audio` does, and for
    audio that lasts longer than `seconds`.
    """
    name, done = _called(source), 0
    with _audio_errors(name), _source(source) as file:
        rate = channels = 0
        for stream in _checked_streams(name, file):
            got = 0
            with _open_decoder(file, stream) as (audio, frames):
                rate, channels = rate or audio.samplerate, channels or audio.channels
                if not MIN_RATE <= rate <= MAX_RATE:
                    raise DataError(f"{name}: its sampling rate is {rate:,} Hz, not {MIN_RATE:,} to {MAX_RATE:,}")
                if audio.samplerate != rate:
                    raise DataError(
                        f"{name}: its sampling rate changes from {rate:,} to {audio.samplerate:,} Hz",
                        "cut it where it does, into files of one rate each",
                    )
                limit = ENDLESS if seconds is None else seconds * rate + 1
                if limit < frames < ENDLESS:
                    raise _too_long(name, seconds)
                size = max(1, min(BLOCK_SECONDS * rate, BLOCK_VALUES // max(channels, audio.channels)))
                while len(samples := audio.read(min(size, frames - got), dtype="float32", always_2d=True)):
                    got += len(samples)
                    if done + got > limit:
                        raise _too_long(name, seconds)
                    if not np.isfinite(samples).all():
                        raise DataError(f"{name}: holds samples that are no numbers (NaN or infinite)")
                    if audio.channels != channels:
                        samples = np.repeat(to_mono(samples)[:, None], channels, axis=1)
                    yield samples, rate
                done += got
                # What FLAC says of its length is exact; of MPEG a decoder may drop frames that refer to others.
                spare = {"FLAC": 0, "MP3": 4_608}.get(audio.format, ENDLESS)
                if got + spare < frames < ENDLESS:
                    raise _truncated(name, f"it has {got:,} of the {frames:,} samples that its header states")
    if not done:
        raise DataError(f"{name}: holds no samples")


def measure_audio(source: str | Path | bytes) -> tuple[int, int, int]:
    """Samples a channel, channels and rate in Hz of a file or its bytes, without decoding it. Raises DataError.

    Of MP3 the samples are counted, which may be up to two frames more than are decoded; of what does not say how long
    it is they are ENDLESS.
    """
    name, total, channels, rate = _called(source), 0, 0, 0
    with _audio_errors(name), _source(source) as file:
        for stream in _checked_streams(name, file):
            with _open_decoder(file, stream) as (audio, frames):
                total, channels, rate = total + frames, channels or audio.channels, rate or audio.samplerate
    return min(total, ENDLESS), channels, rate


@contextmanager
def _audio_errors(name: str) -> Iterator[None]:
    """DataError for what libsndfile and the file system raise."""
    import soundfile

    try:
        yield
    except OSError as error:
        raise DataError(f"{name}: cannot be read: {error.strerror or error}") from error
    except (soundfile.SoundFileError, ValueError, MemoryError) as error:
        reason = getattr(error, "error_string", str(error))
        raise DataError(f"{name}: cannot be read as audio: {reason}") from error


def _checked_streams(name: str, file: IO[bytes]) -> list[Stream]:
    """What a decoder is to be given, one after the other. Raises DataError where some of the file is missing."""
    layout = find_streams(file)
    if layout.fault:
        raise _truncated(name, layout.fault)
    return layout.streams


@lru_cache(maxsize=1)
def _decoder_class() -> type[SoundFile]:
    from soundfile import SoundFile

    class Forward(SoundFile):
        """Read from start to end: soundfile otherwise seeks after each read, which fails where no length is known."""

        def seekable(self) -> bool:
            return False

    return Forward


@contextmanager
def _open_decoder(file: IO[bytes], stream: Stream) -> Iterator[tuple[SoundFile, int]]:
    """A decoder of a stream, and how many samples a channel it has."""
    decoder = _decoder_class()
    if stream.plain:
        file.seek(0)
        # By descriptor: libsndfile takes no name that is not UTF-8, and tells a missing file as a "System error".
        with decoder(file.fileno() if isinstance(file, FileIO) else file, closefd=False) as audio:
            if stream.frames <= audio.frames:
                yield audio, stream.frames or min(audio.frames, ENDLESS)
                return
    splice = Splice(file, stream)
    try:
        with decoder(BufferedReader(splice, 1 << 16)) as audio:
            yield audio, stream.frames or min(audio.frames, ENDLESS)
    finally:
        if splice.error:
            raise splice.error


def _called(source: str | Path | bytes) -> str:
    return "audio bytes" if isinstance(source, bytes) else str(source)


@contextmanager
def _source(source: str | Path | bytes) -> Iterator[IO[bytes]]:
    if isinstance(source, bytes):
        yield BytesIO(source)
        return
    kind = Path(source).stat().st_mode
    if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):  # a pipe would be waited for, a device read without end
        raise DataError(f"{source}: cannot be read: not a file")
    with Path(source).open("rb", buffering=0) as file:
        yield file


def _truncated(name: str, fault: str) -> DataError:
    return DataError(
        f"{name}: is truncated or damaged: {fault}",
        "get the file again, or write out what is left of it: ffmpeg -i IN OUT",
    )


def _too_long(name: str, seconds: float | None) -> DataError:
    told = "" if seconds is None else f" {seconds / 60:.3g} min" if seconds > 99 else f" {seconds:g} s"
    return DataError(f"{name}: is longer than the{told} that are taken here", "cut it into shorter files")


def to_mono(samples: np.ndarray) -> np.ndarray:
    """float32 [samples, channels] -> float32 [samples], the channels' mean.

    As a product: numpy's own mean over so short an axis takes longer than it takes to decode an MP3.
    """
    channels = samples.shape[1]
    return samples[:, 0] if channels == 1 else samples @ np.full(channels, 1 / channels, np.float32)


def decode_clip(data: bytes, longest: float, sampling_rate: int | None, num_channels: int) -> tuple[np.ndarray, int]:
    """A clip's bytes -> float32 [samples], or [2, samples] for `num_channels` 2, and the sampling rate in Hz.

    One channel is the mean of a stereo clip's; a mono clip's is repeated for two. Without `sampling_rate` it is the
    clip's own. Raises DataError for what cannot be read, or is longer than `longest` seconds.
    """
    samples, rate = decode_audio(data, longest)
    wanted = sampling_rate or rate
    if num_channels == 1 or samples.shape[1] != num_channels:
        one = resample(to_mono(samples), rate, wanted)
        return (one if num_channels == 1 else np.tile(one, (num_channels, 1))), wanted
    return np.stack([resample(channel, rate, wanted) for channel in samples.T]), wanted


def _resampled(blocks: Iterator[np.ndarray], origin: int, target: int) -> Iterator[np.ndarray]:
    """Each block resampled with as much of its neighbours as the filter sees, so that no seam is left."""
    if origin == target:
        yield from blocks
        return
    divisor = gcd(origin, target)
    step, new = origin // divisor, target // divisor  # every `step` samples in are `new` out, and both grids meet
    context = step * ceil(REACH * max(1.0, origin / target) / step + 1)
    held, before = np.zeros(0, np.float32), 0  # `before` samples at the front were given out already
    for block in blocks:
        if (ready := (len(held) - before - context) // step * step) > 0:
            out = resample(held[: before + ready + context], origin, target)
            yield out[before // step * new : (before + ready) // step * new]
            spare = max(0, before + ready - context)
            held, before = held[spare:], before + ready - spare
        held = np.concatenate([held, block])
    yield resample(held, origin, target)[before // step * new :]


def split_into_windows(samples: np.ndarray, window: int, hop: int | None = None) -> np.ndarray:
    """float32 [samples] -> float32 [n, window], `hop` samples apart (default: end to end).

    The last window ends with the audio, so that nothing is left out. Audio shorter than a window is one shorter
    window, [1, samples]: whether to pad it is the embedder's business.
    """
    if len(samples) <= window:
        return samples[None]
    starts = list(range(0, len(samples) - window + 1, hop or window))
    if starts[-1] + window < len(samples):
        starts.append(len(samples) - window)
    return np.stack([samples[start : start + window] for start in starts])


@lru_cache(maxsize=8)
def _meter(sampling_rate: int) -> Any:
    import pyloudnorm

    return pyloudnorm.Meter(sampling_rate)


def measure_loudness(samples: np.ndarray, sampling_rate: int) -> float:
    """Integrated loudness in LUFS (ITU-R BS.1770-4) of [samples] or [samples, 2], never under -70."""
    if len(samples) < 0.4 * sampling_rate:
        return MIN_LOUDNESS
    with np.errstate(divide="ignore"):
        return max(MIN_LOUDNESS, float(_meter(sampling_rate).integrated_loudness(samples)))


def measure_peak(samples: np.ndarray) -> float:
    """Highest sample in dB relative to full scale, never under -120."""
    return 20.0 * float(np.log10(max(1e-6, float(np.abs(samples).max(initial=0.0)))))
