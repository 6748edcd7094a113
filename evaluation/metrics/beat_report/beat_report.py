"""Beat tracking: F-measure, continuity, information gain, and the F-measure of downbeats."""

import warnings
from typing import Any

import datasets
import evaluate
import mir_eval
import numpy as np

_DESCRIPTION = """
Scores of estimated beats and downbeats (Davies, Degara and Plumbley 2009), averaged over tracks, with 95 % intervals.
The scores of each track equal mir_eval's.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (`list`): for each track its estimated beats: a list of times in seconds, or of
        `{"time": seconds, "position": place in the bar}`, as in the column `beats` of a corpus's `annotations`.
        Position 1 is a downbeat, `None` an unknown position.
    references (`list`): for each track its true beats, in either form.
    trim_seconds (`float`, default 5.0): beats before this time do not count, as in `mir_eval.beat.evaluate`. Give 0
        for clips of a few seconds.
    groups (`list`, *optional*): for each track what is drawn together in the bootstrap, such as its artist; `None`
        for a track that is drawn alone. Without it every track is drawn alone.
    resamples (`int`, default 1000): bootstrap resamples of the intervals.
    seed (`int`, default 0): of the resamples.

Returns:
    f_measure (`float`): mean over tracks of the F-measure with a tolerance of 70 ms, 0 .. 1.
    cmlt (`float`): mean share of beats in sequence at the annotated metrical level ("correct metric level, total").
    amlt (`float`): the same where twice, half and the off-beats are accepted ("any metric level, total").
    information_gain (`float`): mean information gain of the histogram of errors, 0 .. 1.
    downbeat_f_measure (`float` or `None`): mean F-measure of the downbeats, over the tracks whose beats have
        positions.
    intervals (`dict`): of each score its 95 % interval over the groups, `[low, high]`; `None` for a single group.
    n (`int`): how many tracks.
    per_track (`list` of `dict`): the scores of each track, `None` where a track does not define one.
    A track whose reference has no beats after `trim_seconds` does not enter the means.

Raises:
    ValueError: no tracks, times that are not in order or negative, groups of another length.

Examples:
    >>> report = evaluate.load("beat_report")
    >>> result = report.compute(predictions=[[5.5, 6.0, 6.5, 7.0]], references=[[5.5, 6.0, 6.5, 7.3]])
    >>> result["f_measure"]
    0.75
"""

_CITATION = r"""
@inproceedings{raffel2014mir_eval,
  title     = {{mir\_eval}: A Transparent Implementation of Common {MIR} Metrics},
  author    = {Raffel, C. and McFee, B. and Humphrey, E. J. and Salamon, J. and Nieto, O. and Liang, D. and
               Ellis, D. P. W.},
  booktitle = {Proceedings of the 15th International Society for Music Information Retrieval Conference},
  year      = {2014}
}
@techreport{davies2009evaluation,
  title       = {Evaluation Methods for Musical Audio Beat Tracking Algorithms},
  author      = {Davies, M. E. P. and Degara, N. and Plumbley, M. D.},
  institution = {Queen Mary University of London},
  number      = {C4DM-TR-09-06},
  year        = {2009}
}
"""

_SCORES = ("f_measure", "cmlt", "amlt", "information_gain")
_TIMES = datasets.Sequence(datasets.Value("float64"))
_BEATS = [{"time": datasets.Value("float64"), "position": datasets.Value("int64")}]


def score_beats(reference: np.ndarray, estimate: np.ndarray, trim_seconds: float = 5.0) -> dict[str, float]:
    """Score the beats of one track through mir_eval.

    Args:
        reference: float64 [beats], true times in seconds, in order.
        estimate: float64 [beats], estimated times.
        trim_seconds: Beats before this time do not count.

    Returns:
        F-measure, CMLt, AMLt and information gain, 0 to 1; NaN where the reference has no beats.
    """
    true, estimated = (mir_eval.beat.trim_beats(times, trim_seconds) for times in (reference, estimate))
    if not true.size:
        return dict.fromkeys(_SCORES, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # mir_eval's, of no beats or a single one
        _, total, _, any_total = mir_eval.beat.continuity(true, estimated)
        values = (
            mir_eval.beat.f_measure(true, estimated),
            total,
            any_total,
            mir_eval.beat.information_gain(true, estimated),
        )
    return {name: float(value) for name, value in zip(_SCORES, values, strict=True)}


def score_downbeats(reference: np.ndarray, estimate: np.ndarray, trim_seconds: float = 5.0) -> float:
    """Return the F-measure of the downbeats of one track through mir_eval; NaN where the reference has none.

    Args:
        reference: float64 [downbeats], true times in seconds, in order.
        estimate: float64 [downbeats], estimated times.
        trim_seconds: Downbeats before this time do not count.
    """
    true, estimated = (mir_eval.beat.trim_beats(times, trim_seconds) for times in (reference, estimate))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # mir_eval's, of no downbeats
        return float(mir_eval.beat.f_measure(true, estimated)) if true.size else np.nan


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class BeatReport(evaluate.Metric):
    """The `evaluate` module; see the card beside it."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=[
                datasets.Features({"predictions": predicted, "references": true})
                for predicted in (_BEATS, _TIMES)
                for true in (_BEATS, _TIMES)
            ],
            reference_urls=["https://mir-eval.readthedocs.io/latest/api/beat.html"],
        )

    def _infer_feature_from_batch(self, batch: dict[str, list[object]]) -> datasets.Features:
        """Choose the form of each list by its first beat: the first track may have none."""
        forms = [
            _BEATS if isinstance(next((track[0] for track in batch[name] if len(track)), None), dict) else _TIMES  # type: ignore[arg-type, index]
            for name in ("predictions", "references")
        ]
        return datasets.Features({"predictions": forms[0], "references": forms[1]})

    def _infer_feature_from_example(self, example: dict[str, object]) -> datasets.Features:
        return self._infer_feature_from_batch({name: [track] for name, track in example.items()})

    def _compute(
        self,
        predictions: list[list[float]] | list[list[dict[str, float]]],
        references: list[list[float]] | list[list[dict[str, float]]],
        trim_seconds: float = 5.0,
        groups: list[object] | None = None,
        resamples: int = 1000,
        seed: int = 0,
    ) -> dict[str, object]:
        tracks = []
        for estimate, reference in zip(predictions, references, strict=True):
            (estimated, downbeats), (true, true_downbeats) = _read_beats(estimate), _read_beats(reference)
            known = downbeats is not None and true_downbeats is not None
            scores = score_beats(true, estimated, trim_seconds)
            scores["downbeat_f_measure"] = (
                score_downbeats(true_downbeats, downbeats, trim_seconds) if known else np.nan  # type: ignore[arg-type]
            )
            tracks.append(scores)
        return _average_tracks(tracks, None, groups, resamples, seed)


def _read_beats(beats: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the times of the beats and of the downbeats; None where beats have no positions."""
    rows = [(beat["time"], beat["position"]) if isinstance(beat, dict) else (beat, None) for beat in beats]
    known = not rows or any(position is not None for _, position in rows)
    downbeats = np.array([time for time, position in rows if position == 1], np.float64)
    return np.array([time for time, _ in rows], np.float64), downbeats if known else None


def _average_tracks(
    tracks: list[dict[str, float]],
    weights: list[dict[str, float]] | None,
    groups: list[object] | None,
    resamples: int,
    seed: int,
) -> dict[str, object]:
    """Average each score over the tracks that define it, with percentile intervals of a bootstrap over groups."""
    if not tracks:
        raise ValueError("there are no tracks: give at least one prediction and reference")
    if groups is not None and len(groups) != len(tracks):
        raise ValueError(f"groups has {len(groups)} names for {len(tracks)} tracks: give one, or None, for each")
    values = np.array([list(track.values()) for track in tracks], np.float64)
    given = np.ones(values.shape) if weights is None else np.array([list(row.values()) for row in weights])
    given = np.where(np.isnan(values), 0.0, given)
    numbers: dict[object, int] = {}
    named = (
        range(len(tracks))
        if groups is None
        else [(name, index if name is None else None) for index, name in enumerate(groups)]
    )
    codes = [numbers.setdefault(name, len(numbers)) for name in named]
    sums, sizes = np.zeros((2, len(numbers), values.shape[1]))
    np.add.at(sums, codes, np.nan_to_num(values) * given)
    np.add.at(sizes, codes, given)
    drawn = np.random.default_rng(seed).integers(len(numbers), size=(resamples, len(numbers)))
    counts = np.stack([np.bincount(row, minlength=len(numbers)) for row in drawn])
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # scores that no track, or no track of a resample, defines
        means = sums.sum(axis=0) / sizes.sum(axis=0)
        bounds = np.nanquantile((counts @ sums) / (counts @ sizes), (0.025, 0.975), axis=0)
    names = list(tracks[0])
    single = len(numbers) == 1
    return {
        **{name: _number(mean) for name, mean in zip(names, means, strict=True)},
        "intervals": {
            name: None if single or np.isnan(mean) else [float(low), float(high)]
            for name, mean, low, high in zip(names, means, *bounds, strict=True)
        },
        "n": len(tracks),
        "per_track": [{name: _number(value) for name, value in track.items()} for track in tracks],
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
