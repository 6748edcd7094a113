"""Prompt adherence by a music tagger: whether clips that were asked for rock get the tag "rock" more than others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.embedders.tagger import TAGGER, load_tagger
from builder.errors import BackendError, DataError
from builder.estimators.tag_labels import read_label_tags
from training.metrics import MetricValues, Ranking, divide

from ..benchmarks.text import normalize_label
from ..results import fidelity as results
from ..results.fidelity import Figure
from ..statistics.bootstrap import confidence_intervals
from ..statistics.metrics import MetricSet

if TYPE_CHECKING:
    from builder.embedders.musicnn import Musicnn

    from .set_pair import SetPair

MIN_CLIPS = 5  # that were asked for a label, and that were not
AUC, WITHIN = "auc", "within_genres"
NOT_ASKED = "unspecified"  # of the column `vocals`


def measure_tagging(
    pair: SetPair, rows: np.ndarray, weights: str | None, held_out: bool
) -> tuple[results.Tagging | None, str]:
    """Compare the tags of clips with what their prompts ask for, from the embeddings alone.

    Args:
        pair: The corpus and the reference.
        rows: int64 [n], the clips to take.
        weights: Of the tagger, as `embedder.weights` in a recipe.
        held_out: Whether the reference is of the same corpus: its tags say nothing of real music.

    Returns:
        The area under the ROC curve of each label's tags, with its 95 % interval over groups of clips (jackknife).
        Labels with fewer than five clips, or fewer than five others, are left out. None where there are none,
        and why: "" for embeddings of another embedder.
    """
    if pair.corpus.embedder["name"] != TAGGER:
        return None, ""
    try:
        tagger = load_tagger(pair.corpus.embedder, weights)
    except (BackendError, DataError) as error:
        return None, error.message
    return _measure_tags(pair, tagger, rows, held_out), ""


def _measure_tags(pair: SetPair, tagger: Musicnn, rows: np.ndarray, held_out: bool) -> results.Tagging:
    """Measure every label that enough clips have."""
    corpus, recordings = pair.corpus, np.flatnonzero(pair.labelled != "")
    tags = tagger.predict_tags(corpus.vectors[rows])
    reference_tags = (
        tagger.predict_tags(pair.reference.vectors[recordings]) if len(recordings) and not held_out else None
    )
    genres, groups = pair.prompted[rows], [corpus.groups[row] for row in rows]
    columns: dict[str, list[Any]] = {}
    measured = []
    for label in read_label_tags(tagger.arch[:3]):
        if label.column not in columns:
            values = corpus.read_labels(label.column)
            columns[label.column] = [values[row] for row in rows] if values else [None] * len(rows)
        asked, known = find_asked(columns[label.column], label.labels)
        places = [tagger.tag_names.index(tag) for tag in label.tags]
        clips = np.flatnonzero(known)
        strata = None if label.column == "genre" else genres[clips]
        found = measure_auc(asked[clips], tags[clips][:, places].max(axis=1), [groups[row] for row in clips], strata)
        if found is None:
            continue
        reference = None
        if reference_tags is not None and label.column == "genre":
            right, _ = find_asked(pair.labelled[recordings].tolist(), label.labels)
            artists = [pair.reference.groups[row] for row in recordings]
            reference = measure_auc(right, reference_tags[:, places].max(axis=1), artists)
        measured.append(
            results.TagAdherence(
                column=label.column,
                label=label.name,
                tags=list(label.tags),
                asked=int(asked.sum()),
                auc=found[0],
                within_genres=found[1],
                reference=reference and reference[0],
            )
        )
    return results.Tagging(tagger=f"{tagger.name}, {tagger.arch}", labels=measured)


def find_asked(values: Sequence[Any], labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Find the clips whose prompt asks for one of the labels.

    Args:
        values: A label, a list of labels, or None for each clip.
        labels: The labels.

    Returns:
        bool [n], which clips were asked for one; bool [n], of which clips the prompt says anything of that kind.
    """
    wanted = {normalize_label(label) for label in labels}
    lists = [value if isinstance(value, list) else [value] for value in values]
    given = [{normalize_label(label) for label in own if label not in (None, NOT_ASKED)} for own in lists]
    return np.array([bool(own & wanted) for own in given], bool), np.array([bool(own) for own in given], bool)


def measure_auc(
    asked: np.ndarray, scores: np.ndarray, groups: Sequence[str], strata: np.ndarray | None = None
) -> tuple[Figure, Figure | None] | None:
    """Compute the area under the ROC curve: how often an asked clip scores higher than another one.

    Args:
        asked: bool [n].
        scores: float [n].
        groups: Clips of one group are not independent.
        strata: The genre of each clip; adds the area over pairs of clips of one genre.

    Returns:
        The area, and that within genres; None with fewer than `MIN_CLIPS` asked clips or others.
    """
    n, count = len(asked), int(asked.sum())
    if min(count, n - count) < MIN_CLIPS:
        return None
    scores = scores.astype(np.float64)
    every = Ranking(asked, scores)
    parts = []
    for name in [] if strata is None else sorted(set(strata)):
        own = np.flatnonzero(strata == name)
        if 0 < asked[own].sum() < len(own):
            parts.append((own, Ranking(asked[own], scores[own])))

    def compute(weights: np.ndarray) -> MetricValues:
        values = {AUC: every.compute(weights)[1]}
        if parts:
            won, pairs = np.zeros(len(weights)), np.zeros(len(weights))
            for own, ranking in parts:
                drawn = weights[:, own]
                possible = drawn[:, asked[own]].sum(axis=1) * drawn[:, ~asked[own]].sum(axis=1)
                won += np.nan_to_num(ranking.compute(drawn)[1]) * possible
                pairs += possible
            values[WITHIN] = divide(won, pairs)
        return values

    names = (AUC, WITHIN) if parts else (AUC,)
    metrics = MetricSet(compute, dict.fromkeys(names, (asked, ~asked)))
    whole, bounds = metrics(np.ones((1, n))), confidence_intervals(metrics, n, groups, resamples=1, rankings=names)

    def make_figure(name: str, size: int) -> Figure:
        low, high = (None if np.isnan(bound) else float(bound) for bound in bounds[name])
        return Figure(value=float(whole[name][0]), low=low, high=high, n=size)

    within = make_figure(WITHIN, sum(len(own) for own, _ in parts)) if parts else None
    return make_figure(AUC, n), within
