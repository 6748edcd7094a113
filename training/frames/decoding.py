"""Activations of frames to annotations: beats, chords, melody, notes and activity.

Beats are found by a dynamic Bayesian network over tempo and position in the bar: the bar pointer of Whiteley, Cemgil
and Godsill (ISMIR 2006) with the state space of Krebs, Böck and Widmer, *An Efficient State-Space Model for Joint
Tempo and Meter Tracking* (ISMIR 2015), and the observations of Böck, Krebs and Widmer, *Joint Beat and Downbeat
Tracking with Recurrent Neural Networks* (ISMIR 2016). Inside a beat its states follow one another without a choice. So
the most probable path is searched from beat to beat, which gives the path of the Viterbi algorithm over all states,
with a fraction of the work. The tempo of the first beat has a log-normal prior around 120 beats a minute (as in Ellis,
*Beat Tracking by Dynamic Programming*, 2007), which decides where half or twice the tempo fits as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import median_filter

from builder.annotations.annotation import MELODY_RATE, Notes, Segments

SLOWEST, FASTEST = 55.0, 215.0  # beats a minute
METERS = (2, 3, 4, 6)  # beats in a bar
MEDIAN_TEMPO, TEMPO_SPREAD = 120.0, 0.25  # of the first beat: beats a minute, and octaves, the standard deviation
TEMPO_LAMBDA = 100.0  # how unlikely a change of tempo is
BEAT_SHARE = 1 / 16  # of a beat's length, in which the activation is that of a beat
LENGTH_REACH = 5  # frames by which the length of a beat may differ from the one before
SILENT = 0.05  # there are no beats a second before the first and after the last frame with this activation
LEAST = 1e-6  # a probability
PITCH_REACH = 2  # bins around the most probable one whose mean is the pitch
SHORTEST_NOTE = 0.03  # seconds
BETWEEN_ONSETS = 0.06  # seconds between two onsets of a pitch
VELOCITY = 80  # of decoded notes: no activation has it


def decode_beats(
    beat: np.ndarray,
    downbeat: np.ndarray | None,
    rate: float,
    meters: tuple[int, ...] = METERS,
    tempi: tuple[float, float] = (SLOWEST, FASTEST),
) -> tuple[np.ndarray, np.ndarray | None]:
    """Find the most probable beats, with their positions in the bar. A recording keeps one meter; its tempo may drift.

    Args:
        beat: float [frames], probability of a beat, downbeats included, at frame i, which is at i / rate seconds.
        downbeat: float [frames], probability of a downbeat. None: positions are not estimated.
        rate: Frames a second.
        meters: The numbers of beats in a bar to choose from.
        tempi: The slowest and the fastest tempo in beats a minute.

    Returns:
        The times of the beats, float64 [beats], in seconds; and their positions, int8 [beats], where 1 is a downbeat.
        Both are empty where no activation reaches 0.05. The positions are None without `downbeat`.

    Raises:
        ValueError: The activations differ in length.
    """
    beat = np.clip(np.asarray(beat, np.float64), 0.0, 1.0)
    if downbeat is not None and len(downbeat) != len(beat):
        raise ValueError(f"{len(beat)} activations of beats, {len(downbeat)} of downbeats: give one of each a frame")
    loud = np.flatnonzero(beat >= SILENT)
    if not len(loud):
        return np.zeros(0), None if downbeat is None else np.zeros(0, np.int8)
    space = _BeatSpace.make(rate, tempi, meters if downbeat is not None else (1,))
    first, last = max(0, loud[0] - round(rate)), min(len(beat), loud[-1] + 1 + round(rate))
    inner = beat[first:last]
    marked = inner if downbeat is None else np.clip(np.asarray(downbeat, np.float64)[first:last], 0.0, inner)
    frames, positions = space.find_path(*_log_densities(inner, marked))
    times = (first + _move_to_peaks(frames, inner)) / rate
    return times, None if downbeat is None else positions.astype(np.int8)


def _log_densities(beat: np.ndarray, downbeat: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the log densities of the activations in the states of no beat, a beat that is no downbeat, a downbeat."""
    other = beat if downbeat is beat else beat - downbeat
    none = (1 - beat) * BEAT_SHARE / (1 - BEAT_SHARE)
    return tuple(np.log(np.maximum(values, LEAST)) for values in (none, other, downbeat))  # type: ignore[return-value]


@dataclass(frozen=True)
class _BeatSpace:
    """The lengths that a beat may have, and the beats of each meter."""

    lengths: np.ndarray  # int64 [lengths], frames, in steps of 1
    zones: np.ndarray  # int64 [lengths], the frames at the start of a beat that have the activation of one
    likely: np.ndarray  # float64 [lengths], log probability of the first beat's length, as far as they differ
    changes: (
        np.ndarray
    )  # float64 [lengths, 2 * LENGTH_REACH + 1], log probability after each length within LENGTH_REACH
    before: np.ndarray  # int64 [beats], the place of the beat before each, over all meters
    positions: np.ndarray  # int64 [beats], from 1

    @classmethod
    def make(cls, rate: float, tempi: tuple[float, float], meters: tuple[int, ...]) -> _BeatSpace:
        """Make the space for a frame rate."""
        slowest, fastest = tempi
        lengths = np.arange(max(2, round(60 * rate / fastest)), round(60 * rate / slowest) + 1)
        old = lengths[:, None] + np.arange(-LENGTH_REACH, LENGTH_REACH + 1)  # of each new length
        # Beats are at frames: lengths of one tempo differ by a frame.
        change = np.maximum(np.abs(old - lengths[:, None]) - 1.0, 0.0) / np.maximum(old, 1)
        known = (old >= lengths[0]) & (old <= lengths[-1])
        likely = np.where(known, np.exp(-TEMPO_LAMBDA * change), 0.0)
        total = np.zeros(len(lengths))  # over the new lengths after each old one
        np.add.at(total, np.where(known, old - lengths[0], 0), likely)
        with np.errstate(divide="ignore"):
            changes = np.log(likely / total[np.where(known, old - lengths[0], 0)])
        octaves = np.log2(60 * rate / lengths / MEDIAN_TEMPO)
        first = -0.5 * (octaves / TEMPO_SPREAD) ** 2
        starts = np.cumsum([0, *meters[:-1]])
        before = np.concatenate([start + np.roll(np.arange(m), 1) for start, m in zip(starts, meters, strict=True)])
        positions = np.concatenate([np.arange(1, meter + 1) for meter in meters])
        return cls(lengths, np.ceil(lengths * BEAT_SHARE).astype(np.int64), first, changes, before, positions)

    def find_path(self, none: np.ndarray, other: np.ndarray, downbeat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the frames at which the beats of the most probable path start, and their positions.

        Args:
            none: float64 [frames], log density of each frame in the states of no beat.
            other: The same in the states of a beat that is no downbeat.
            downbeat: The same in the states of a downbeat.
        """
        frames, pad, block = len(none), int(self.lengths[-1]), int(self.lengths[0])
        total, beats, sizes = frames + 2 * pad, len(self.before), len(self.lengths)
        spans = self._span_densities(none, other, downbeat, pad)  # [total, 2, sizes]
        is_downbeat = (self.positions == 1).astype(np.int64)
        # The log probability of the best path up to the end of a beat, by the frame where it starts, its place and
        # length; of the last frames only. Before the recording a beat starts at no cost, so that the first may be cut.
        ring = pad + block
        ended = np.full((ring, beats, sizes), -np.inf)
        ended[:pad] = spans[:pad, is_downbeat] + self.likely
        origin = np.zeros((total, beats, sizes), np.int8)
        for start in range(pad, frames + pad, block):  # a beat depends on none that is nearer than the shortest length
            at = np.arange(start, min(start + block, frames + pad))
            arrived = np.full((len(at), beats, sizes + 2 * LENGTH_REACH), -np.inf)
            before = (at[:, None, None] - self.lengths) % ring
            arrived[..., LENGTH_REACH:-LENGTH_REACH] = ended[before, self.before[None, :, None], np.arange(sizes)]
            choices = sliding_window_view(arrived, 2 * LENGTH_REACH + 1, axis=-1) + self.changes
            best = choices.argmax(axis=-1)
            origin[at] = best
            reached = np.take_along_axis(choices, best[..., None], axis=-1)[..., 0]
            ended[at % ring] = reached + spans[at][:, is_downbeat]
        tail = np.arange(frames, frames + pad)  # the last beat ends at the end of the recording or later
        late = np.where((tail[:, None] + self.lengths >= frames + pad)[:, None], ended[tail % ring], -np.inf)
        at_tail, place, size = np.unravel_index(int(late.argmax()), late.shape)
        now = int(tail[at_tail])
        path: list[tuple[int, int]] = []
        while now >= pad:
            path.append((now - pad, int(self.positions[place])))
            size = size + int(origin[now, place, size]) - LENGTH_REACH
            place = self.before[place]
            now -= int(self.lengths[size])
        found = np.array(path[::-1], np.int64).reshape(-1, 2)
        return found[:, 0], found[:, 1]

    def _span_densities(self, none: np.ndarray, other: np.ndarray, downbeat: np.ndarray, pad: int) -> np.ndarray:
        """Return the log density of a beat of each length that starts at each frame, other and downbeats.

        Frames before and after the recording have none.
        """
        sums = [
            np.cumsum(np.concatenate([[0.0], np.pad(values, (pad, 2 * pad))])) for values in (none, other, downbeat)
        ]
        start = np.arange(len(none) + 2 * pad)[:, None]
        rest = sums[0][start + self.lengths] - sums[0][start + self.zones]
        return np.stack([kind[start + self.zones] - kind[start] + rest for kind in sums[1:]], axis=1)


def _move_to_peaks(frames: np.ndarray, beat: np.ndarray) -> np.ndarray:
    """Move beats to the peak of the activation near them, between frames by a parabola through three of them."""
    if not len(frames):
        return frames.astype(np.float64)
    near = np.clip(frames[:, None] + np.arange(-2, 5), 0, len(beat) - 1)
    peaks = near[np.arange(len(frames)), beat[near].argmax(axis=1)]
    low, high = (beat[np.clip(peaks + step, 0, len(beat) - 1)] for step in (-1, 1))
    middle = beat[peaks]
    curve = low - 2 * middle + high
    inside = (curve < 0) & (peaks > 0) & (peaks < len(beat) - 1)
    shift = np.where(inside, 0.5 * (low - high) / np.where(inside, curve, -1.0), 0.0)
    moved = peaks + np.clip(shift, -0.5, 0.5)
    return np.where(middle >= SILENT, moved, frames.astype(np.float64))


def decode_chords(
    log_probabilities: np.ndarray, labels: Sequence[str], rate: float, self_transition: float = 0.99
) -> Segments:
    """Find the most probable sequence of chords, or of other classes that last, by the Viterbi algorithm.

    Args:
        log_probabilities: float [frames, classes], of each class at frame i, which is at i / rate seconds.
        labels: The names of the classes.
        rate: Frames a second.
        self_transition: The probability that a frame has the class of the one before. All others are equally probable.

    Returns:
        The segments, without gaps from 0 to the end, each longer than no time and of another label than the next.

    Raises:
        ValueError: The labels are not as many as the classes.
    """
    values = np.asarray(log_probabilities, np.float64)
    if values.ndim != 2 or values.shape[1] != len(labels):
        raise ValueError(f"log_probabilities is {values.shape}: give [frames, {len(labels)}], a column for each label")
    frames, classes = values.shape
    if not frames:
        return Segments(np.zeros(0), np.zeros(0), ())
    stay, change = np.log(self_transition), np.log((1 - self_transition) / max(classes - 1, 1))
    origin = np.empty((frames, classes), np.int32)
    every, score = np.arange(classes), values[0]
    for frame in range(1, frames):
        best = int(score.argmax())
        moved, stayed = score[best] + change, score + stay
        origin[frame] = np.where(stayed >= moved, every, best)
        score = np.maximum(stayed, moved) + values[frame]
    path = np.empty(frames, np.int64)
    path[-1] = score.argmax()
    for frame in range(frames - 1, 0, -1):
        path[frame - 1] = origin[frame, path[frame]]
    edges = np.flatnonzero(np.diff(path)) + 1
    times = np.concatenate([[0.0], (edges - 0.5) / rate, [frames / rate]])  # between the frames that differ
    return Segments(times[:-1], times[1:], tuple(labels[place] for place in path[np.concatenate([[0], edges])]))


def decode_melody(
    pitch: np.ndarray, voiced: np.ndarray, hertz: np.ndarray, rate: float, threshold: float = 0.5
) -> np.ndarray:
    """Find the fundamental frequency of a melody.

    The frequency is that of the most probable bin, refined by the mean of the bins around it. Stretches of a single
    voiced or unvoiced frame are removed.

    Args:
        pitch: float [frames, bins], the probability of each pitch, or any weight that is higher for likelier ones.
        voiced: float [frames], the probability that there is a melody.
        hertz: float [bins], the frequency of each bin, equally spaced in pitch.
        rate: Frames a second.
        threshold: The probability from which a frame has a melody.

    Returns:
        f0 in Hz every 10 ms, float32 [frames * 100 / rate], 0 where there is no melody.
    """
    frames = len(pitch)
    if not frames:
        return np.zeros(0, np.float32)
    places = np.clip(pitch.argmax(axis=1)[:, None] + np.arange(-PITCH_REACH, PITCH_REACH + 1), 0, len(hertz) - 1)
    places[:, 1:][places[:, 1:] == places[:, :-1]] = -1  # an edge bin counts once
    weights = np.where(places >= 0, np.maximum(np.take_along_axis(pitch, places, axis=1), 0.0), 0.0)
    octaves = np.log2(np.asarray(hertz, np.float64))
    total = weights.sum(axis=1)
    centre = (weights * octaves[places]).sum(axis=1) / np.where(total > 0, total, 1.0)
    centre = np.where(total > 0, centre, octaves[pitch.argmax(axis=1)])
    sounding = median_filter((np.asarray(voiced) >= threshold).astype(np.int8), 3, mode="nearest").astype(bool)
    at = np.arange(int(np.ceil(frames * MELODY_RATE / rate - 1e-9))) * (rate / MELODY_RATE)
    nearest = np.minimum(np.ceil(at - 0.5).astype(np.int64), frames - 1)
    low = np.minimum(np.floor(at).astype(np.int64), frames - 1)
    high = np.minimum(low + 1, frames - 1)
    # Between two voiced frames that are less than a semitone apart the pitch glides; else it is that of the nearest.
    glides = sounding[low] & sounding[high] & (np.abs(centre[high] - centre[low]) < 1 / 12)
    found = np.where(glides, centre[low] + (centre[high] - centre[low]) * (at - low), centre[nearest])
    return np.where(sounding[nearest], 2.0**found, 0.0).astype(np.float32)


def decode_notes(
    onsets: np.ndarray,
    active: np.ndarray,
    rate: float,
    onset_threshold: float = 0.5,
    active_threshold: float = 0.5,
    lowest_pitch: int = 21,
) -> Notes:
    """Find notes: each starts at a peak of the onset activation, and sounds while its pitch is active.

    This is the decoding of Hawthorne et al., *Onsets and Frames* (ISMIR 2018).

    Args:
        onsets: float [frames, pitches], the probability of an onset at frame i, which is at i / rate seconds.
        active: float [frames, pitches], the probability that a pitch sounds.
        rate: Frames a second.
        onset_threshold: The lowest peak that is an onset.
        active_threshold: The probability from which a pitch sounds.
        lowest_pitch: The MIDI note number of the first pitch.

    Returns:
        The notes, ordered by onset and pitch, with program 0, track 0 and one velocity: no activation has these.
    """
    frames = len(onsets)
    before = np.pad(onsets, ((1, 0), (0, 0)))[:-1]
    after = np.pad(onsets, ((0, 1), (0, 0)))[1:]
    peaks = (onsets >= onset_threshold) & (onsets > before) & (onsets >= after)
    gap, shortest = round(BETWEEN_ONSETS * rate), max(1, round(SHORTEST_NOTE * rate))
    sounds = median_filter((active >= active_threshold).astype(np.int8), (3, 1), mode="nearest").astype(bool)
    found = []
    for place in np.flatnonzero(peaks.any(axis=0)):
        starts = _space_out(np.flatnonzero(peaks[:, place]), onsets[:, place], gap)
        silent = np.flatnonzero(~sounds[:, place])
        limits = np.append(starts[1:], frames)
        for start, limit in zip(starts, limits, strict=True):
            # A pitch may become active a frame after its onset.
            later = silent[np.searchsorted(silent, start + 2) :]
            end = min(int(later[0]) if len(later) else frames, int(limit))
            if end - start >= shortest:
                found.append((start / rate, end / rate, place + lowest_pitch))
    found.sort(key=lambda note: (note[0], note[2]))
    columns = np.array(found, np.float64).reshape(-1, 3)
    zeros = np.zeros(len(found), np.int16)
    return Notes(
        onset=columns[:, 0],
        offset=columns[:, 1],
        pitch=columns[:, 2].astype(np.int16),
        velocity=zeros + np.int16(VELOCITY),
        program=zeros,
        is_drum=np.zeros(len(found), bool),
        track=zeros,
    )


def _space_out(starts: np.ndarray, strength: np.ndarray, gap: int) -> np.ndarray:
    """Keep the strongest of onsets that are nearer to one another than `gap` frames."""
    kept: list[int] = []
    for start in starts.tolist():
        if kept and start - kept[-1] < gap:
            if strength[start] > strength[kept[-1]]:
                kept[-1] = start
            continue
        kept.append(start)
    return np.array(kept, np.int64)


def decode_activity(
    activity: np.ndarray, rate: float, threshold: float = 0.5, smoothing: float = 0.25
) -> tuple[np.ndarray, np.ndarray]:
    """Find when something sounds: the stretches above a threshold, after a median filter over time.

    Args:
        activity: float [frames], the probability that it sounds at frame i, which is at i / rate seconds.
        rate: Frames a second.
        threshold: The probability from which it sounds.
        smoothing: The length of the median filter in seconds, which removes stretches and gaps of half of it.

    Returns:
        The starts and the ends of the stretches in seconds, float64 [stretches].
    """
    if not len(activity):
        return np.zeros(0), np.zeros(0)
    length = 2 * round(smoothing * rate / 2) + 1
    sounds = median_filter(np.asarray(activity, np.float64), length, mode="nearest") >= threshold
    edges = np.diff(np.pad(sounds.astype(np.int8), 1))
    return np.flatnonzero(edges == 1) / rate, np.flatnonzero(edges == -1) / rate
