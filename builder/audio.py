"""Audio: FLAC encoding, decoding of files of any format, resampling, windows, loudness and peak."""

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
MIN_LOUDNESS = -70.0  # LUFS: the absolute gate of ITU-R BS.1770; also the loudness of silence and of less than 0.4 s
MIN_RATE, MAX_RATE = 1_000, 768_000  # Hz: other rates need filters of gigabytes, or state lengths of hours
MAX_HELD = 1 << 27  # samples in memory, 512 MiB: 70 minutes at 32 kHz
MAX_HOURS = 24  # of a file that is streamed
ENDLESS = 1 << 62  # frames: the length of a stream that does not state it
BLOCK_SECONDS, BLOCK_VALUES = 60, 1 << 24  # decoded at a time: at most 64 MiB for any number of channels
REACH = 20  # samples of the lower rate that the filter of a resampler covers on each side, at most


def encode_flac(samples: np.ndarray, sampling_rate: int) -> bytes:
    """Encode audio as 16-bit FLAC.

    Args:
        samples: float32 [samples] or [samples, channels] in [-1, 1].
        sampling_rate: Hz.

    Returns:
        The bytes of a FLAC file.
    """
    import soundfile

    buffer = BytesIO()
    soundfile.write(buffer, samples, sampling_rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def decode_audio(source: str | Path | bytes, seconds: float | None = None) -> tuple[np.ndarray, int]:
    """Decode audio: WAV, FLAC, MP3, Ogg, AU or AIFF of any bit depth.

    Args:
        source: A file, or its bytes.
        seconds: The longest audio that is accepted. Default: MAX_HELD values.

    Returns:
        float32 [samples, channels] in [-1, 1], and the sampling rate in Hz.

    Raises:
        DataError: The audio cannot be read, is truncated, empty or too long, or has samples that are not finite.
    """
    samples: np.ndarray | None = None
    rate = 0
    for block, rate in read_blocks(source, seconds):
        done = 0 if samples is None else len(samples)
        if done + len(block) > MAX_HELD // block.shape[1]:
            raise _length_error(_name_source(source), MAX_HELD // block.shape[1] / rate)
        if samples is None:
            samples = block
            continue
        samples = samples if samples.base is None else samples.copy()
        samples.resize((done + len(block), block.shape[1]), refcheck=False)  # in place, so memory is not used twice
        samples[done:] = block
    assert samples is not None, "read_blocks raises an error without blocks"
    return samples, rate


def load_audio(source: str | Path | bytes, sampling_rate: int, seconds: float | None = None) -> np.ndarray:
    """Load audio as mono at a sampling rate.

    Args:
        source: A file, or its bytes.
        sampling_rate: Hz of the result.
        seconds: Load at most so much from the start. Default: all, up to MAX_HELD samples; see `stream_audio` for
            longer audio.

    Returns:
        float32 [samples], the mean of the channels.

    Raises:
        DataError: As `decode_audio`.
    """
    limit = MAX_HELD if seconds is None else round(seconds * sampling_rate)
    parts, done = [], 0
    for part in stream_audio(source, sampling_rate):
        parts.append(part)
        if (done := done + len(part)) > limit:
            if seconds is not None:
                break
            raise _length_error(_name_source(source), limit / sampling_rate)
    return (parts[0] if len(parts) == 1 else np.concatenate(parts))[:limit]


def stream_audio(source: str | Path | bytes, sampling_rate: int) -> Iterator[np.ndarray]:
    """Load audio of any length as mono, in blocks, so that memory does not grow with the length.

    Args:
        source: A file, or its bytes.
        sampling_rate: Hz of the result.

    Yields:
        float32 [n] blocks, the mean of the channels.

    Raises:
        DataError: As `decode_audio`, once the fault is reached.
    """
    read = read_blocks(source, 3600 * MAX_HOURS)
    first, rate = next(read)
    yield from _resampled(
        (to_mono(block) for block in chain([first], (block for block, _ in read))), rate, sampling_rate
    )


def read_blocks(source: str | Path | bytes, seconds: float | None = None) -> Iterator[tuple[np.ndarray, int]]:
    """Decode audio in blocks.

    Memory is reserved for one block at a time, as a header of a few bytes may claim hours. Files that were joined end
    to end are read as one, with the channels of the first.

    Args:
        source: A file, or its bytes.
        seconds: The longest audio that is accepted. Default: any.

    Yields:
        float32 [n, channels] in [-1, 1], and the sampling rate in Hz.

    Raises:
        DataError: As `decode_audio`.
    """
    name, done = _name_source(source), 0
    with _audio_errors(name), _open_source(source) as file:
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
                        "split it into files of one sampling rate each",
                    )
                limit = ENDLESS if seconds is None else seconds * rate + 1
                if limit < frames < ENDLESS:
                    raise _length_error(name, seconds)
                size = max(1, min(BLOCK_SECONDS * rate, BLOCK_VALUES // max(channels, audio.channels)))
                while len(samples := audio.read(min(size, frames - got), dtype="float32", always_2d=True)):
                    got += len(samples)
                    if done + got > limit:
                        raise _length_error(name, seconds)
                    if not np.isfinite(samples).all():
                        raise DataError(f"{name}: has samples that are not finite (NaN or infinite)")
                    if audio.channels != channels:
                        samples = np.repeat(to_mono(samples)[:, None], channels, axis=1)
                    yield samples, rate
                done += got
                # The length that FLAC states is exact; an MPEG decoder may drop frames that refer to missing ones.
                spare = {"FLAC": 0, "MP3": 4_608}.get(audio.format, ENDLESS)
                if got + spare < frames < ENDLESS:
                    raise _truncation_error(name, f"it has {got:,} of the {frames:,} samples that its header states")
    if not done:
        raise DataError(f"{name}: holds no samples")


def measure_audio(source: str | Path | bytes) -> tuple[int, int, int]:
    """Measure the length of audio without decoding it.

    Args:
        source: A file, or its bytes.

    Returns:
        Samples per channel, channels, and sampling rate in Hz. For MP3, up to two frames more than are decoded; for a
        format that does not state its length, ENDLESS samples.

    Raises:
        DataError: The audio cannot be read, or is truncated.
    """
    name, total, channels, rate = _name_source(source), 0, 0, 0
    with _audio_errors(name), _open_source(source) as file:
        for stream in _checked_streams(name, file):
            with _open_decoder(file, stream) as (audio, frames):
                total, channels, rate = total + frames, channels or audio.channels, rate or audio.samplerate
    return min(total, ENDLESS), channels, rate


@contextmanager
def _audio_errors(name: str) -> Iterator[None]:
    """Turn errors of libsndfile and of the file system into DataError."""
    import soundfile

    try:
        yield
    except OSError as error:
        raise DataError(f"{name}: cannot be read: {error.strerror or error}") from error
    except (soundfile.SoundFileError, ValueError, MemoryError) as error:
        reason = getattr(error, "error_string", str(error))
        raise DataError(f"{name}: cannot be read as audio: {reason}") from error


def _checked_streams(name: str, file: IO[bytes]) -> list[Stream]:
    """The streams of a file. Raises DataError where a part of it is missing."""
    layout = find_streams(file)
    if layout.fault:
        raise _truncation_error(name, layout.fault)
    return layout.streams


@lru_cache(maxsize=1)
def _decoder_class() -> type[SoundFile]:
    from soundfile import SoundFile

    class ForwardDecoder(SoundFile):
        """Reads from start to end: soundfile would seek after each read, which fails where no length is known."""

        def seekable(self) -> bool:
            return False

    return ForwardDecoder


@contextmanager
def _open_decoder(file: IO[bytes], stream: Stream) -> Iterator[tuple[SoundFile, int]]:
    """Open a decoder of a stream; also gives the samples per channel."""
    decoder = _decoder_class()
    if stream.plain:
        file.seek(0)
        # By descriptor: libsndfile refuses names that are not UTF-8, and reports a missing file as "System error".
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


def _name_source(source: str | Path | bytes) -> str:
    return "audio bytes" if isinstance(source, bytes) else str(source)


@contextmanager
def _open_source(source: str | Path | bytes) -> Iterator[IO[bytes]]:
    if isinstance(source, bytes):
        yield BytesIO(source)
        return
    kind = Path(source).stat().st_mode
    if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):  # a pipe would block, a device may never end
        raise DataError(f"{source}: cannot be read: not a file")
    with Path(source).open("rb", buffering=0) as file:
        yield file


def _truncation_error(name: str, fault: str) -> DataError:
    return DataError(
        f"{name}: is truncated or damaged: {fault}",
        "get the file again, or save what is left of it: ffmpeg -i IN OUT",
    )


def _length_error(name: str, seconds: float | None) -> DataError:
    limit = "" if seconds is None else f" {seconds / 60:.3g} min" if seconds > 99 else f" {seconds:g} s"
    return DataError(f"{name}: is longer than the limit of{limit}", "split it into shorter files")


def to_mono(samples: np.ndarray) -> np.ndarray:
    """Average the channels.

    Args:
        samples: float32 [samples, channels].

    Returns:
        float32 [samples].
    """
    channels = samples.shape[1]
    # A product, as numpy's mean over so short an axis takes longer than decoding an MP3.
    return samples[:, 0] if channels == 1 else samples @ np.full(channels, 1 / channels, np.float32)


def decode_clip(data: bytes, longest: float, sampling_rate: int | None, num_channels: int) -> tuple[np.ndarray, int]:
    """Decode a clip with a given number of channels.

    Args:
        data: Bytes of an audio file.
        longest: The longest clip that is accepted, in seconds.
        sampling_rate: Hz of the result. Default: that of the clip.
        num_channels: 1: the mean of a stereo clip. 2: both channels; the channel of a mono clip is repeated.

    Returns:
        float32 [samples] or [2, samples] in [-1, 1], and the sampling rate in Hz.

    Raises:
        DataError: As `decode_audio`.
    """
    samples, rate = decode_audio(data, longest)
    wanted = sampling_rate or rate
    if num_channels == 1 or samples.shape[1] != num_channels:
        one = resample(to_mono(samples), rate, wanted)
        return (one if num_channels == 1 else np.tile(one, (num_channels, 1))), wanted
    return np.stack([resample(channel, rate, wanted) for channel in samples.T]), wanted


def _resampled(blocks: Iterator[np.ndarray], origin: int, target: int) -> Iterator[np.ndarray]:
    """Resample blocks, each with as much of its neighbours as the filter covers, so that there are no seams."""
    if origin == target:
        yield from blocks
        return
    divisor = gcd(origin, target)
    step, new = origin // divisor, target // divisor  # `step` samples in are `new` samples out
    context = step * ceil(REACH * max(1.0, origin / target) / step + 1)
    held, before = np.zeros(0, np.float32), 0  # the first `before` samples were output already
    for block in blocks:
        if (ready := (len(held) - before - context) // step * step) > 0:
            out = resample(held[: before + ready + context], origin, target)
            yield out[before // step * new : (before + ready) // step * new]
            spare = max(0, before + ready - context)
            held, before = held[spare:], before + ready - spare
        held = np.concatenate([held, block])
    yield resample(held, origin, target)[before // step * new :]


def split_into_windows(samples: np.ndarray, window: int, hop: int | None = None) -> np.ndarray:
    """Split audio into windows. The last one ends with the audio, so that nothing is left out.

    Args:
        samples: float32 [samples].
        window: Samples in a window.
        hop: Samples between the starts of windows. Default: `window`.

    Returns:
        float32 [n, window]; [1, samples] for audio that is shorter than a window.
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
    """Measure integrated loudness (ITU-R BS.1770-4).

    Args:
        samples: float32 [samples] or [samples, 2].
        sampling_rate: Hz.

    Returns:
        LUFS, at least -70, which is also the value of silence and of less than 0.4 s.
    """
    if len(samples) < 0.4 * sampling_rate:
        return MIN_LOUDNESS
    with np.errstate(divide="ignore"):
        return max(MIN_LOUDNESS, float(_meter(sampling_rate).integrated_loudness(samples)))


def measure_peak(samples: np.ndarray) -> float:
    """Measure the highest sample of an array of any shape, in dB relative to full scale, at least -120."""
    return 20.0 * float(np.log10(max(1e-6, float(np.abs(samples).max(initial=0.0)))))
