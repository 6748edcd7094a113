"""Key estimation: accuracy, mir_eval's weighted score, and which errors were made."""

import warnings
from collections import Counter

import datasets
import evaluate
import mir_eval
import numpy as np

_DESCRIPTION = """
Accuracy and weighted score of estimates of one key a track. The weighted score gives 1 for the key, 0.5 for the key a
fifth above, 0.3 for the relative and 0.2 for the parallel one; it equals mir_eval's.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (`list` of `str`): estimated keys, tonic:mode ("A:minor") or as mir_eval writes them ("A minor").
    references (`list` of `str`): true keys.
    groups (`list`, *optional*): for each track what is drawn together in the bootstrap, such as its artist; `None`
        for a track that is drawn alone. Without it every track is drawn alone.
    resamples (`int`, default 1000): bootstrap resamples of the intervals.
    seed (`int`, default 0): of the resamples.

Returns:
    weighted_score (`float`): mean of mir_eval's weighted score, 0 .. 1.
    accuracy (`float`): share of tracks whose key is right, 0 .. 1.
    errors (`dict`): how many tracks got the key (`right`), the one a `fifth` above, the `relative` key, the `parallel`
        key, or an `other`.
    intervals (`dict`): of each score its 95 % interval over the groups, `[low, high]`; `None` for a single group.
    n (`int`): how many tracks.
    per_track (`list` of `dict`): the scores of each track, `None` where a track does not define one.
    Enharmonic names are the same key.

Raises:
    ValueError: no tracks, a text that is no key.

Examples:
    >>> report = evaluate.load("key_report")
    >>> result = report.compute(predictions=["A:minor", "C:major"], references=["C:major", "C:major"])
    >>> result["weighted_score"], result["accuracy"]
    (0.65, 0.5)
"""

_CITATION = r"""
@inproceedings{raffel2014mir_eval,
  title     = {{mir\_eval}: A Transparent Implementation of Common {MIR} Metrics},
  author    = {Raffel, C. and McFee, B. and Humphrey, E. J. and Salamon, J. and Nieto, O. and Liang, D. and
               Ellis, D. P. W.},
  booktitle = {Proceedings of the 15th International Society for Music Information Retrieval Conference},
  year      = {2014}
}
"""

_ERRORS = {1.0: "right", 0.5: "fifth", 0.3: "relative", 0.2: "parallel", 0.0: "other"}


def score_key(reference: str, estimate: str) -> dict[str, float]:
    """Score the key of one track through mir_eval.

    Args:
        reference: The true key, "A:minor" or "A minor".
        estimate: The estimated key.

    Returns:
        `weighted_score`: 1, 0.5, 0.3, 0.2 or 0; `accuracy`: 1 or 0.

    Raises:
        ValueError: A text is no key.
    """
    true, estimated = (key.replace(":", " ") for key in (reference, estimate))
    score = float(mir_eval.key.weighted_score(true, estimated))
    return {"weighted_score": score, "accuracy": float(score == 1.0)}


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class KeyReport(evaluate.Metric):
    """The `evaluate` module; see the card beside it."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
            reference_urls=["https://mir-eval.readthedocs.io/latest/api/key.html"],
        )

    def _compute(
        self,
        predictions: list[str],
        references: list[str],
        groups: list[object] | None = None,
        resamples: int = 1000,
        seed: int = 0,
    ) -> dict[str, object]:
        tracks = [score_key(true, estimate) for true, estimate in zip(references, predictions, strict=True)]
        counts = Counter(_ERRORS[track["weighted_score"]] for track in tracks)
        report = _average_tracks(tracks, None, groups, resamples, seed)
        return report | {"errors": {name: counts[name] for name in _ERRORS.values()}}


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
