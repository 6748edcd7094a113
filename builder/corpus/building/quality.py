"""The quality gate: a clip that fails is made again with a derived seed, and rejected after a number of attempts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from ...audio import measure_loudness, measure_peak
from ...clip import Clip
from ...errors import BackendError
from ...generators.base import GeneratorBackend, StemGenerator
from ...settings import QualitySettings
from .plan import hash_to_int

FRAME_SECONDS = 0.05
SILENCE = 10 ** (-60 / 20)  # of full scale
FULL_SCALE = 0.9999
STEM_ROWS = 4  # clips that are made at a time with their stems, which take up to seven times the memory


@dataclass(frozen=True, slots=True)
class Take:
    """A clip that was made.

    Attributes:
        clip: The planned clip, with the seed that made this audio.
        samples: float32 [samples] or [samples, 2] in [-1, 1].
        attempts: How often the clip was made.
        faults: Why it fails the quality gate; empty for an accepted clip.
        loudness: Integrated loudness in LUFS.
        peak: Highest sample in dBFS.
        stems: Its stems by name, where they were asked for.
    """

    clip: Clip
    samples: np.ndarray
    attempts: int
    faults: tuple[str, ...] = ()
    loudness: float = 0.0
    peak: float = 0.0
    stems: dict[str, np.ndarray] | None = None


def inspect_clip(
    clip: Clip, samples: np.ndarray, rate: int, seconds: float, limits: QualitySettings, tries: int, channels: int = 1
) -> Take:
    """Measure a clip and list its faults.

    A frame is silent where all channels are; clipping and DC are those of the worst channel.

    Args:
        clip: The planned clip.
        samples: float32 [samples] or [samples, 2].
        rate: Its sampling rate in Hz.
        seconds: The length that was asked for.
        limits: Thresholds of the faults.
        tries: How often the clip was made so far.
        channels: The number of channels that was asked for.
    """
    length = round(seconds * rate)
    wanted = (length,) if channels == 1 else (length, channels)
    if samples.shape != wanted:
        return Take(clip, samples, tries, (f"length: {samples.shape} samples, asked for {wanted}",))
    if not np.isfinite(samples).all():
        return Take(clip, samples, tries, (f"NaN: {int((~np.isfinite(samples)).sum())} samples are not finite",))
    level, peak = measure_loudness(samples, rate), measure_peak(samples)
    frame = round(FRAME_SECONDS * rate)
    frames = np.abs(samples[: length // frame * frame]).reshape(-1, frame * channels).max(axis=1)
    silent = float((frames < SILENCE).mean()) if len(frames) else 1.0
    clipped = float((np.abs(samples) >= FULL_SCALE).mean(axis=0).max())
    offset = float(np.abs(samples.mean(axis=0, dtype=np.float64)).max())
    faults = []
    if level < limits.min_loudness:
        faults.append(f"loudness: {level:.1f} LUFS, at least {limits.min_loudness:g}")
    if silent > limits.max_silence:
        faults.append(f"silence: {silent:.0%} of the frames, at most {limits.max_silence:.0%}")
    if clipped > limits.max_clipped:
        faults.append(f"clipping: {clipped:.2%} of the samples, at most {limits.max_clipped:.2%}")
    if offset > limits.max_dc:
        faults.append(f"DC: mean {offset:.3f}, at most {limits.max_dc:g}")
    return Take(clip, samples, tries, tuple(faults), level, peak)


def generate_stems(
    generator: GeneratorBackend, rows: Sequence[Clip]
) -> list[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Make clips with their stems. Raises BackendError for another number of clips than it was asked for."""
    made = cast(StemGenerator, generator).generate_stems(rows)
    _check_count(generator, len(made), len(rows))
    return made


def _check_count(generator: GeneratorBackend, made: int, asked: int) -> None:
    if made != asked:
        raise BackendError(f"generator {generator.name!r} returned {made} clips for {asked} rows")


def make_clips(
    generator: GeneratorBackend,
    clips: Sequence[Clip],
    seconds: float,
    limits: QualitySettings,
    channels: int = 1,
    stems: bool = False,
) -> Iterator[list[Take]]:
    """Make clips, and make faulty ones again, up to `limits.attempts` times in all.

    The seed of another attempt is derived from that of the clip, so that the result does not depend on the batch.

    Args:
        generator: Makes the audio.
        clips: The clips to make.
        seconds: Their length.
        limits: Thresholds of the faults.
        channels: 1 or 2.
        stems: Whether stems are made too.

    Yields:
        The clips in order, as many at a time as the generator makes.

    Raises:
        BackendError: The generator returns another number of clips than it was asked for.
    """
    size = min(generator.rows_at_once, STEM_ROWS) if stems else generator.rows_at_once
    for start in range(0, len(clips), size):
        batch = clips[start : start + size]
        waiting = list(batch)
        done: dict[str, Take] = {}
        for tries in range(1, limits.attempts + 1):
            rows = [
                clip if tries == 1 else replace(clip, seed=hash_to_int("again", clip.seed, tries)) for clip in waiting
            ]
            made = generate_stems(generator, rows) if stems else []
            audio = [samples for samples, _ in made] if stems else generator.generate(rows)
            _check_count(generator, len(audio), len(rows))
            takes = [
                inspect_clip(row, samples, generator.sampling_rate, seconds, limits, tries, channels)
                for row, samples in zip(rows, audio, strict=True)
            ]
            if stems:
                takes = [replace(take, stems=parts) for take, (_, parts) in zip(takes, made, strict=True)]
            done.update((take.clip.id, take) for take in takes)
            waiting = [clip for clip, take in zip(waiting, takes, strict=True) if take.faults]
            if not waiting:
                break
        yield [done[clip.id] for clip in batch]
