"""Landmarks: pairs of spectral peaks that name a recording, after Wang 2003, "An industrial-strength audio search
algorithm" (sections 2.1 to 2.3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .sound import power_spectra

LANDMARK_RATE = 8_000  # Hz
SIZE, HOP = 512, 128  # samples of a frame, and between frames: 64 and 16 ms
NEIGHBOURHOOD = (15, 15)  # frames and bins around a peak that it is the highest of
FAN_OUT = 5  # peaks that each peak is paired with
REACH = 63  # frames at most between the two, 1 s
FLOOR = 1e-8  # power of a peak: -80 dB


@dataclass(frozen=True, slots=True)
class Peaks:
    """The spectral peaks of a recording, between frames and bins."""

    frames: np.ndarray  # float64 [n]
    bins: np.ndarray  # float64 [n]

    def cut(self, start: float, stop: float) -> Peaks:
        """The peaks from one frame to before another one, which then begin at 0."""
        kept = (self.frames >= start) & (self.frames < stop)
        return Peaks(self.frames[kept] - start, self.bins[kept])


@dataclass(frozen=True, slots=True)
class Landmarks:
    """The landmarks of a recording: a hash of two frequencies and the time between them, and when it begins."""

    hashes: np.ndarray  # uint32 [n]
    frames: np.ndarray  # int32 [n]


def find_peaks(samples: np.ndarray) -> Peaks:
    """Find the spectral peaks of a recording.

    Args:
        samples: float32 [samples] at 8 kHz.

    Returns:
        The peaks, each at the top of the parabola through its logarithmic power and that beside it.
    """
    from scipy.ndimage import maximum_filter

    power = power_spectra(samples, SIZE, HOP)
    frames, bins = np.nonzero((power == maximum_filter(power, NEIGHBOURHOOD)) & (power > FLOOR))
    level = np.log(np.pad(power, 1, "edge") + FLOOR**2)
    rows, columns = frames + 1, bins + 1
    top = level[rows, columns]
    return Peaks(
        frames + _find_top(level[rows - 1, columns], top, level[rows + 1, columns]),
        bins + _find_top(level[rows, columns - 1], top, level[rows, columns + 1]),
    )


def _find_top(before: np.ndarray, top: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Where the parabola through three neighbours is highest: float64 [n] in [-0.5, 0.5]."""
    curvature = np.minimum(before - 2.0 * top + after, -1e-9)
    return np.clip(0.5 * (before - after) / curvature, -0.5, 0.5)


def pair_peaks(peaks: Peaks, speed: float = 1.0, pitch: float = 1.0) -> Landmarks:
    """Pair the peaks of a recording.

    Args:
        peaks: Those of a recording, or of one that was changed.
        speed: How many times as fast it is as the original, whose landmarks are wanted.
        pitch: How many times as high its frequencies are.
    """
    frames, bins = np.rint(peaks.frames * speed).astype(np.int64), np.rint(peaks.bins / pitch).astype(np.int64)
    order = np.lexsort((bins, frames))
    frames, bins = frames[order], bins[order]
    hashes, starts = [], []
    for ahead in range(1, FAN_OUT + 1):
        gap = frames[ahead:] - frames[:-ahead]
        kept = (gap > 0) & (gap <= REACH)
        first, second = bins[:-ahead][kept], bins[ahead:][kept]
        hashes.append((first << 17 | second << 8 | gap[kept]).astype(np.uint32))
        starts.append(frames[:-ahead][kept].astype(np.int32))
    return Landmarks(np.concatenate(hashes), np.concatenate(starts))


class LandmarkIndex:
    """Landmarks of many recordings, to be searched."""

    def __init__(self, recordings: list[Landmarks]) -> None:
        owners = [np.full(len(one.hashes), number, np.int32) for number, one in enumerate(recordings)]
        hashes = np.concatenate([one.hashes for one in recordings])
        order = np.argsort(hashes, kind="stable")
        self.hashes = hashes[order]
        self.frames = np.concatenate([one.frames for one in recordings])[order]
        self.owners = np.concatenate(owners)[order]

    def search(self, query: Landmarks, leave_out: int = -1) -> tuple[int, int, int]:
        """Find the recording that shares most landmarks with a query at one shift of time.

        Args:
            query: The landmarks of a clip.
            leave_out: A recording that does not count.

        Returns:
            Its number, how many landmarks agree, and the frame of the recording at which the clip begins. -1, 0 and 0
            if there is none.
        """
        first, last = (np.searchsorted(self.hashes, query.hashes, side) for side in ("left", "right"))
        counts = last - first
        if not counts.sum():
            return -1, 0, 0
        starts = np.repeat(first - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
        places = np.arange(counts.sum()) + starts
        owners = self.owners[places].astype(np.int64)
        shifts = self.frames[places].astype(np.int64) - np.repeat(query.frames, counts)
        kept = owners != leave_out
        if not kept.any():
            return -1, 0, 0
        # Shifts are counted in bins of two frames, each with the next one: a shift may be between two frames.
        low = shifts.min()
        span = (shifts.max() - low) // 2 + 2
        keys, votes = np.unique(owners[kept] * span + (shifts[kept] - low) // 2, return_counts=True)
        following = np.where(np.diff(keys, append=-1) == 1, np.append(votes[1:], 0), 0)
        best = int((votes + following).argmax())
        return int(keys[best] // span), int((votes + following)[best]), int(keys[best] % span * 2 + low)
