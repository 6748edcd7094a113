"""Chord recognition: weighted chord symbol recall at several vocabularies, and segmentation."""

import warnings

import datasets
import evaluate
import mir_eval
import numpy as np

_DESCRIPTION = """
Weighted chord symbol recall (WCSR) of estimated chords: the share of the time in which the estimate has the root of
the reference, its major or minor triad, or its seventh chord; and how well the boundaries agree (Pauwels and Peeters
2013). The scores of each track equal mir_eval's; over tracks they are weighted by the time that is scored.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (`list` of `list` of `dict`): for each track its estimated chords, `{"start", "end", "label"}`, in
        order: seconds, and a label in the syntax of Harte et al. 2005, such as "C:maj", "A:min7", "N".
    references (`list` of `list` of `dict`): for each track its true chords.
    groups (`list`, *optional*): for each track what is drawn together in the bootstrap, such as its artist; `None`
        for a track that is drawn alone. Without it every track is drawn alone.
    resamples (`int`, default 1000): bootstrap resamples of the intervals.
    seed (`int`, default 0): of the resamples.

Returns:
    root, majmin, sevenths (`float`): WCSR, 0 .. 1: the root is right; the chord is, among major, minor and no chord;
        the chord is, among major, minor, major 7, minor 7, dominant 7 and no chord. The time of other reference chords
        does not count.
    seg (`float`): the lower one of 1 - over-segmentation and 1 - under-segmentation, weighted by the tracks' lengths.
    intervals (`dict`): of each score its 95 % interval over the groups, `[low, high]`; `None` for a single group.
    n (`int`): how many tracks.
    per_track (`list` of `dict`): the scores of each track, `None` where a track does not define one.
    Time outside of the estimated chords counts as no chord.

Raises:
    ValueError: no tracks, a label that is no chord, chords that overlap or end before they begin.

Examples:
    >>> report = evaluate.load("chord_report")
    >>> true = [{"start": 0.0, "end": 2.0, "label": "C:maj"}, {"start": 2.0, "end": 4.0, "label": "A:min7"}]
    >>> estimate = [{"start": 0.0, "end": 3.0, "label": "C:maj"}, {"start": 3.0, "end": 4.0, "label": "A:min"}]
    >>> result = report.compute(predictions=[estimate], references=[true])
    >>> result["majmin"], result["sevenths"]
    (0.75, 0.5)
"""

_CITATION = r"""
@inproceedings{raffel2014mir_eval,
  title     = {{mir\_eval}: A Transparent Implementation of Common {MIR} Metrics},
  author    = {Raffel, C. and McFee, B. and Humphrey, E. J. and Salamon, J. and Nieto, O. and Liang, D. and
               Ellis, D. P. W.},
  booktitle = {Proceedings of the 15th International Society for Music Information Retrieval Conference},
  year      = {2014}
}
@inproceedings{pauwels2013evaluating,
  title     = {Evaluating Automatically Estimated Chord Sequences},
  author    = {Pauwels, J. and Peeters, G.},
  booktitle = {IEEE International Conference on Acoustics, Speech and Signal Processing},
  pages     = {749--753},
  year      = {2013}
}
"""

_COMPARISONS = {"root": mir_eval.chord.root, "majmin": mir_eval.chord.majmin, "sevenths": mir_eval.chord.sevenths}
_CHORDS = [{"start": datasets.Value("float64"), "end": datasets.Value("float64"), "label": datasets.Value("string")}]


def score_chords(
    reference: tuple[np.ndarray, list[str]], estimate: tuple[np.ndarray, list[str]]
) -> tuple[dict[str, float], dict[str, float]]:
    """Score the chords of one track through mir_eval.

    Args:
        reference: True chords: float64 [chords, 2], start and end in seconds, in order; and their labels.
        estimate: Estimated chords.

    Returns:
        The scores `root`, `majmin`, `sevenths` and `seg`, 0 to 1; and the seconds that each is computed from. A score
        without any is NaN.

    Raises:
        ValueError: Chords overlap or have no length, or a label is no chord.
    """
    spans, labels = reference
    if not len(labels):
        return tuple(dict.fromkeys((*_COMPARISONS, "seg"), value) for value in (np.nan, 0.0))  # type: ignore[return-value]
    first, last = float(spans.min()), float(spans.max())
    times = estimate[0].reshape(-1, 2)
    # mir_eval's adjustment would leave chords without length of those that begin or end where the reference does.
    during = (times[:, 1] > first) & (times[:, 0] < last)
    played = [label for label, inside in zip(estimate[1], during, strict=True) if inside]
    whole = (np.array([[first, last]]), ["N"])
    if played:
        whole = mir_eval.util.adjust_intervals(times[during], played, first, last, "N", "N")
    merged, true, estimated = mir_eval.util.merge_labeled_intervals(spans, list(labels), *whole)
    seconds = mir_eval.util.intervals_to_durations(merged)
    scores, weights = {}, {}
    for name, compare in _COMPARISONS.items():
        same = compare(true, estimated)
        weights[name] = float(seconds[same >= 0].sum())
        scores[name] = float(mir_eval.chord.weighted_accuracy(same, seconds)) if weights[name] else np.nan
    both = [mir_eval.chord.merge_chord_intervals(*chords) for chords in ((spans, list(labels)), whole)]
    return scores | {"seg": float(mir_eval.chord.seg(*both))}, weights | {"seg": float(seconds.sum())}


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class ChordReport(evaluate.Metric):
    """The `evaluate` module; see the card beside it."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({"predictions": _CHORDS, "references": _CHORDS}),
            reference_urls=["https://mir-eval.readthedocs.io/latest/api/chord.html"],
        )

    def _compute(
        self,
        predictions: list[list[dict[str, float | str]]],
        references: list[list[dict[str, float | str]]],
        groups: list[object] | None = None,
        resamples: int = 1000,
        seed: int = 0,
    ) -> dict[str, object]:
        tracks, weights = [], []
        for index, chords in enumerate(zip(references, predictions, strict=True)):
            try:
                scores, seconds = score_chords(*map(_read_chords, chords))
            except (ValueError, mir_eval.chord.InvalidChordException) as error:
                raise ValueError(f"track {index}: {error}") from error
            tracks.append(scores)
            weights.append(seconds)
        return _average_tracks(tracks, weights, groups, resamples, seed)


def _read_chords(chords: list[dict[str, float | str]]) -> tuple[np.ndarray, list[str]]:
    """Return the start and the end [chords, 2] and the labels of chords."""
    spans = np.array([(chord["start"], chord["end"]) for chord in chords], np.float64).reshape(-1, 2)
    if (spans[1:, 0] < spans[:-1, 1]).any():
        raise ValueError("chords overlap or are not in order")
    return spans, [str(chord["label"]) for chord in chords]


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
