"""Melody extraction: overall accuracy, raw pitch, raw chroma and voicing."""

import warnings

import datasets
import evaluate
import mir_eval
import numpy as np

_DESCRIPTION = """
Scores of the fundamental frequency of a melody on a regular grid (Poliner et al. 2007; Salamon et al. 2014), averaged
over tracks, with 95 % intervals. The scores of each track equal mir_eval's.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (`list` of `list` of `float`): for each track the estimated frequency in Hz at 0, `hop`, 2 `hop`, ...
        seconds; 0 where there is no melody. A negative frequency is one for a frame that is estimated to be unvoiced.
    references (`list` of `list` of `float`): for each track the true frequency.
    hop (`float`, default 0.01): seconds between values, as in the column `melody` of a corpus's `annotations`.
    cents (`float`, default 50): how far a right frequency may be off.
    groups (`list`, *optional*): for each track what is drawn together in the bootstrap, such as its artist; `None`
        for a track that is drawn alone. Without it every track is drawn alone.
    resamples (`int`, default 1000): bootstrap resamples of the intervals.
    seed (`int`, default 0): of the resamples.

Returns:
    overall_accuracy (`float`): share of frames whose frequency, or lack of one, is right, 0 .. 1.
    raw_pitch, raw_chroma (`float`): share of the voiced frames of the reference whose frequency is right; with octave
        errors accepted.
    voicing_recall (`float`): share of the voiced frames that are estimated to be voiced.
    voicing_false_alarm (`float`): share of the unvoiced frames that are; lower is better.
    intervals (`dict`): of each score its 95 % interval over the groups, `[low, high]`; `None` for a single group.
    n (`int`): how many tracks.
    per_track (`list` of `dict`): the scores of each track, `None` where a track does not define one.
    A track without voiced frames does not enter the means of pitch, chroma and recall, one without unvoiced frames not
    that of the false alarms.

Raises:
    ValueError: no tracks, frequencies that are not finite, a hop that is not above 0.

Examples:
    >>> report = evaluate.load("melody_report")
    >>> result = report.compute(predictions=[[0, 220, 441, 0]], references=[[0, 440, 440, 440]])
    >>> result["raw_pitch"], result["raw_chroma"]
    (0.3333333333333333, 0.6666666666666666)
"""

_CITATION = r"""
@inproceedings{raffel2014mir_eval,
  title     = {{mir\_eval}: A Transparent Implementation of Common {MIR} Metrics},
  author    = {Raffel, C. and McFee, B. and Humphrey, E. J. and Salamon, J. and Nieto, O. and Liang, D. and
               Ellis, D. P. W.},
  booktitle = {Proceedings of the 15th International Society for Music Information Retrieval Conference},
  year      = {2014}
}
@article{salamon2014melody,
  title   = {Melody Extraction from Polyphonic Music Signals: Approaches, Applications and Challenges},
  author  = {Salamon, J. and G{\'o}mez, E. and Ellis, D. P. W. and Richard, G.},
  journal = {IEEE Signal Processing Magazine},
  volume  = {31},
  number  = {2},
  pages   = {118--134},
  year    = {2014}
}
"""

_FREQUENCIES = datasets.Sequence(datasets.Value("float64"))


def score_melody(
    reference: np.ndarray, estimate: np.ndarray, hop: float = 0.01, cents: float = 50.0
) -> dict[str, float]:
    """Score the melody of one track through mir_eval.

    Args:
        reference: float64 [frames], true frequencies in Hz, 0 where unvoiced.
        estimate: float64 [frames], estimated frequencies, which may be fewer or more.
        hop: Seconds between frames.
        cents: How far a right frequency may be off.

    Returns:
        The scores, 0 to 1; NaN where the reference has no frames that a score is computed from.
    """
    true, estimated = (values if values.size else np.zeros(1) for values in (reference, estimate))
    grids = (np.arange(values.size) * hop for values in (true, estimated))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mir_eval's, of no voiced frames or a single frame
        arrays = mir_eval.melody.to_cent_voicing(next(grids), true, next(grids), estimated)
        recall, false_alarm = mir_eval.melody.voicing_measures(arrays[0], arrays[2])
        scores = {
            "overall_accuracy": mir_eval.melody.overall_accuracy(*arrays, cent_tolerance=cents),
            "raw_pitch": mir_eval.melody.raw_pitch_accuracy(*arrays, cent_tolerance=cents),
            "raw_chroma": mir_eval.melody.raw_chroma_accuracy(*arrays, cent_tolerance=cents),
            "voicing_recall": recall,
            "voicing_false_alarm": false_alarm,
        }
    voiced = reference > 0
    if not voiced.any():
        scores |= dict.fromkeys(("raw_pitch", "raw_chroma", "voicing_recall"), np.nan)
    if voiced.all():
        scores["voicing_false_alarm"] = np.nan
    if not voiced.size:
        scores["overall_accuracy"] = np.nan
    return {name: float(value) for name, value in scores.items()}


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class MelodyReport(evaluate.Metric):
    """The `evaluate` module; see the card beside it."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({"predictions": _FREQUENCIES, "references": _FREQUENCIES}),
            reference_urls=["https://mir-eval.readthedocs.io/latest/api/melody.html"],
        )

    def _compute(
        self,
        predictions: list[list[float]],
        references: list[list[float]],
        hop: float = 0.01,
        cents: float = 50.0,
        groups: list[object] | None = None,
        resamples: int = 1000,
        seed: int = 0,
    ) -> dict[str, object]:
        if not hop > 0:
            raise ValueError(f"hop is {hop}: give the seconds between values, such as 0.01")
        tracks = []
        for index, pair in enumerate(zip(references, predictions, strict=True)):
            true, estimate = (np.asarray(values, np.float64) for values in pair)
            if not (np.isfinite(true).all() and np.isfinite(estimate).all()):
                raise ValueError(f"track {index}: frequencies are not finite; write 0 where there is no melody")
            tracks.append(score_melody(true, estimate, hop, cents))
        return _average_tracks(tracks, None, groups, resamples, seed)


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
