"""The scores of one predicted annotation against the true one, through mir_eval."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import mir_eval
import numpy as np

from builder.annotations.annotation import Annotation, Notes, Segments, TrackActivity
from builder.errors import DataError, RecipeError
from builder.validation import suggest
from training.frames.labels import KEY_LABELS, NO_CHORD, classify_key
from training.metrics import TEMPO_FACTORS, is_within

from ..metrics import import_metric

_BEAT, _CHORD, _KEY, _MELODY, _NOTE = (
    import_metric(f"{name}_report") for name in ("beat", "chord", "key", "melody", "note")
)
LONG = 20.0  # seconds from which the beats of the first TRIM seconds do not count, as in the literature
TRIM = 5.0
GRID = 100  # steps a second on which instruments are compared
Scores = dict[str, float]


def score_annotation(
    reference: Annotation, estimate: Annotation, tasks: Sequence[str] = ()
) -> dict[str, dict[str, float]]:
    """Score a predicted annotation of one track.

    Args:
        reference: What is played.
        estimate: What is predicted.
        tasks: Names of `TASK_SCORES`. Empty: all of them.

    Returns:
        For each task that both annotations have, its scores, see `evaluation.results.annotation_scores.SCORES`. A
        score that the reference does not define, such as the pitch accuracy of a track without a melody, is NaN. Beats
        in the first 5 seconds do not count in tracks of 20 seconds and more, as in `mir_eval.beat.evaluate`.

    Raises:
        RecipeError: There is no such task.
        DataError: An annotation is not valid: a chord that is none, notes that end before they begin, ...

    Example:
        >>> score_annotation(reference, model.annotate(audio, 44_100), ["beats"])["beats"]["f_measure"]
        0.97
    """
    return {task: scores for task, (scores, _) in score_with_weights(reference, estimate, tasks).items()}


def score_with_weights(
    reference: Annotation, estimate: Annotation, tasks: Sequence[str] = ()
) -> dict[str, tuple[Scores, Scores]]:
    """Score a predicted annotation: for each task its scores, and the weight of each in a mean over tracks."""
    found = {}
    for task in tasks or TASK_SCORES:
        if task not in TASK_SCORES:
            known = ", ".join(TASK_SCORES)
            raise RecipeError(
                f"no annotation is scored as {task!r}{suggest(task, TASK_SCORES)}", f"use one of: {known}"
            )
        try:
            scored = TASK_SCORES[task](reference, estimate)
        except (ValueError, mir_eval.chord.InvalidChordException) as error:
            raise DataError(
                f"{reference.id}: {task}: {error}", "correct the annotation, or leave the track out"
            ) from error
        if scored is not None:
            scores, weights = scored if isinstance(scored, tuple) else (scored, dict.fromkeys(scored, 1.0))
            found[task] = scores, weights
    return found


def _score_beats(reference: Annotation, estimate: Annotation) -> Scores | None:
    if reference.beats is None or estimate.beats is None:
        return None
    trim = TRIM if reference.duration >= LONG else 0.0
    scores = _BEAT.score_beats(reference.beats, estimate.beats, trim)
    known = reference.positions is not None and estimate.positions is not None
    scores["downbeat_f_measure"] = (
        _BEAT.score_downbeats(reference.beats[reference.positions == 1], estimate.beats[estimate.positions == 1], trim)
        if known
        else np.nan
    )
    return scores


def _score_tempo(reference: Annotation, estimate: Annotation) -> Scores | None:
    if reference.tempo_bpm is None:
        return None
    true = np.array([reference.tempo_bpm])
    if estimate.tempo_bpm is None:  # no tempo was found, as where no beat was
        return {"accuracy_1": 0.0, "accuracy_2": 0.0} if estimate.beats is not None else None
    found = np.array([estimate.tempo_bpm])
    near = [float(is_within(factor * true, found)[0]) for factor in TEMPO_FACTORS.values()]
    return {"accuracy_1": near[0], "accuracy_2": max(near)}


def _score_time_signature(reference: Annotation, estimate: Annotation) -> Scores | None:
    if reference.time_signature is None or estimate.time_signature is None:
        return None
    return {"accuracy": float(reference.time_signature == estimate.time_signature)}


def _score_chords(reference: Annotation, estimate: Annotation) -> tuple[Scores, Scores] | None:
    if reference.chords is None or estimate.chords is None:
        return None
    return _CHORD.score_chords(_fill_gaps(reference.chords), _fill_gaps(estimate.chords))


def _fill_gaps(chords: Segments) -> tuple[np.ndarray, list[str]]:
    """Return spans [chords, 2] and labels, with "N" where there is a gap."""
    spans: list[tuple[float, float]] = []
    labels: list[str] = []
    for start, end, label in zip(chords.start.tolist(), chords.end.tolist(), chords.label, strict=True):
        if spans and start < spans[-1][1] - 1e-3:
            raise ValueError(f"the chord at {start:.2f} s begins before the last one ends")
        if spans and start > spans[-1][1]:
            spans.append((spans[-1][1], start))
            labels.append(NO_CHORD)
        begin = spans[-1][1] if spans else start
        if end > begin:
            spans.append((begin, end))
            labels.append(label)
    return np.array(spans, np.float64).reshape(-1, 2), labels


def _score_key(reference: Annotation, estimate: Annotation) -> Scores | None:
    if reference.key is None or estimate.key is None:
        return None
    true, found = (classify_key(key) for key in (reference.key, estimate.key))
    if true < 0:  # neither major nor minor: the score is not defined
        return {"weighted_score": np.nan, "accuracy": np.nan}
    if found < 0:
        return {"weighted_score": 0.0, "accuracy": 0.0}
    return _KEY.score_key(KEY_LABELS[true], KEY_LABELS[found])


def _score_melody(reference: Annotation, estimate: Annotation) -> Scores | None:
    if reference.melody is None or estimate.melody is None:
        return None
    return _MELODY.score_melody(reference.melody.astype(np.float64), estimate.melody.astype(np.float64))


def _score_notes(reference: Annotation, estimate: Annotation) -> Scores | None:
    if reference.notes is None or estimate.notes is None:
        return None
    return _NOTE.score_notes(_pitched(reference.notes), _pitched(estimate.notes))


def _pitched(notes: Notes) -> np.ndarray:
    """Return notes without drums, float64 [notes, 4]. Velocities are NaN where all are equal: none was estimated."""
    kept = ~notes.is_drum
    columns = [getattr(notes, name)[kept] for name in ("onset", "offset", "pitch", "velocity")]
    table = np.stack([column.astype(np.float64) for column in columns], axis=1)
    if len(table) > 1 and np.ptp(table[:, 3]) == 0:
        table[:, 3] = np.nan
    return table


def _score_instruments(reference: Annotation, estimate: Annotation) -> Scores | None:
    if not reference.tracks or not estimate.tracks:
        return None
    steps = int(np.ceil(reference.duration * GRID))
    names = sorted({track.instrument for track in (*reference.tracks, *estimate.tracks)})
    true, found = (
        np.array([_when_active(one.tracks, name, steps) for name in names]) for one in (reference, estimate)
    )
    both = float((true & found).sum())
    if not true.any():
        return dict.fromkeys(("f_measure", "precision", "recall"), np.nan)
    precision, recall = both / max(float(found.sum()), 1.0), both / float(true.sum())
    return {
        "f_measure": float(mir_eval.util.f_measure(precision, recall)),
        "precision": precision,
        "recall": recall,
    }


def _when_active(tracks: Sequence[TrackActivity], name: str, steps: int) -> np.ndarray:
    """Return bool [steps]: when any of the tracks of an instrument sounds."""
    active = np.zeros(steps, bool)
    for track in tracks:
        if track.instrument == name:
            for start, end in zip(track.start, track.end, strict=True):
                active[max(0, round(start * GRID)) : max(0, round(end * GRID))] = True
    return active


TASK_SCORES: dict[str, Callable[[Annotation, Annotation], Scores | tuple[Scores, Scores] | None]] = {
    "beats": _score_beats,
    "tempo": _score_tempo,
    "time_signature": _score_time_signature,
    "chords": _score_chords,
    "key": _score_key,
    "melody": _score_melody,
    "notes": _score_notes,
    "instruments": _score_instruments,
}
