"""Means of agreement with their intervals: of all clips, by genre, sub-genre and word of the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from builder.corpus.corpus import Corpus
from builder.corpus.estimates import read_entries
from builder.estimators.agreement import AGREES, SHARES
from builder.io.atomic import write_file
from builder.records import record_run
from training.metrics import MetricValues

from ..results import agreement as results
from ..results.fidelity import Figure
from ..statistics.bootstrap import confidence_intervals
from ..statistics.metrics import RANKING_METRICS, MetricSet, multi_label
from .differences import compare_with_others, find_words, is_clear, make_figure
from .disagreeing import list_disagreeing
from .rows import ClipTable, read_clips

TABLE = "agreement.parquet"
MIN_CLIPS = 5  # with and without a label, of an area under the ROC curve; of a sub-genre, and of the others
MIN_WORD = 20  # clips with a word, and without it
MAX_WORDS = 12  # that are listed for a label
MEASURED = [name for name in AGREES if name not in ("genre_rank", "mood_rank")]  # ranks have no mean of interest


def measure_agreement(path: Path, out: Path, resamples: int = 1000, seed: int = 0) -> results.Agreement:
    """Compare what the prompts of a corpus ask for with what estimators measured in its sound.

    Args:
        path: A corpus that `synthmir annotate` has measured.
        out: The folder that gets agreement.json, and agreement.parquet with a row for each clip.
        resamples: Of the bootstrap, in which clips of one prompt group are drawn together.
        seed: Of the resamples.

    Raises:
        DataError: The corpus has no estimates, or not of all clips.
    """
    corpus = Corpus.open(path)
    with record_run("agreement", corpus.fingerprint) as record:
        clips = read_clips(path)
        _write_table(out / TABLE, clips)
        labels = [_measure_label(clips, name, resamples, seed) for name in MEASURED]
        tags = [
            found
            for key in clips.tag_rows
            for against in ("asked", "played")
            if (found := _measure_tags(clips, key, against, resamples, seed)) is not None
        ]
        record.rows = len(clips)
        record.details = {"resamples": resamples, "seed": seed}
    result = results.Agreement(
        schema=1,
        corpus=corpus.root.name,
        fingerprint=corpus.fingerprint,
        n=len(clips),
        estimators=[entry.to_dict() for entry in read_entries(corpus).values()],
        labels=[label for label in labels if label is not None],
        tags=tags,
        disagreeing=list_disagreeing(corpus, clips, out),
        annotated=clips.annotated,
        record=asdict(record),
    )
    result.write(out / results.FILE)
    return result


def _write_table(path: Path, clips: ClipTable) -> None:
    """Write a row for each clip: its id, prompt, genre, and the columns of `agrees`."""
    columns: dict[str, pa.Array] = {
        "id": pa.array(clips.ids, pa.string()),
        "prompt": pa.array(clips.prompts, pa.string()),
        "genre": pa.array(clips.genres, pa.string()),
    }
    for name, values in clips.agrees.items():
        numbers = pa.array(np.array(values, np.float64), from_pandas=True)  # NaN becomes null
        columns[name] = numbers.cast(pa.bool_()) if name in SHARES else numbers
    table = pa.table(columns)
    write_file(path, lambda part: pq.write_table(table, part))


def _measure_label(clips: ClipTable, name: str, resamples: int, seed: int) -> results.LabelAgreement | None:
    """The agreement of one label; None where no clip has it."""
    values = np.array(clips.agrees[name], np.float64)
    known = np.flatnonzero(~np.isnan(values))
    if not len(known):
        return None
    values, groups = values[known], [clips.groups[row] for row in known]
    genres, subgenres = [clips.genres[row] for row in known], [clips.subgenres[row] for row in known]
    by_word: list[results.Word] = []
    by_subgenre: list[results.Word] = []
    if name in SHARES:
        texts = [find_words(clips.prompts[row]) for row in known]
        by_word = compare_with_others(values, texts, groups, MIN_WORD, resamples, seed)
        own = [{subgenre} if subgenre else set() for subgenre in subgenres]
        by_subgenre = compare_with_others(values, own, groups, MIN_CLIPS, resamples, seed)
    return results.LabelAgreement(
        name=name,
        about=AGREES[name],
        share=name in SHARES,
        all=_mean_by(values, ["all"] * len(known), groups, resamples, seed)["all"],
        genres=_mean_by(values, genres, groups, resamples, seed),
        subgenres=_mean_by(values, subgenres, groups, resamples, seed),
        words=[one for one in by_word if is_clear(one.difference)][:MAX_WORDS],
        words_tested=len(by_word),
        subgenre_differences=by_subgenre,
        truth=_measure_truth(clips, name, resamples, seed),
    )


def _measure_truth(clips: ClipTable, name: str, resamples: int, seed: int) -> results.Truth | None:
    """The accuracy of estimator and generator by exact annotations; None without those."""
    if name not in clips.estimator:
        return None
    estimator, generator, agrees = (
        np.array(values[name], np.float64) for values in (clips.estimator, clips.generator, clips.agrees)
    )
    if np.isnan(estimator).all() or np.isnan(generator).all():
        return None

    def mean(values: np.ndarray) -> Figure:
        known = np.flatnonzero(~np.isnan(values))
        groups = [clips.groups[row] for row in known]
        return _mean_by(values[known], ["all"] * len(known), groups, resamples, seed)["all"]

    disagreeing = ~np.isnan(generator) & ~np.isnan(estimator) & (agrees < 1)
    return results.Truth(
        estimator=mean(estimator),
        generator=mean(generator),
        disagreeing=int(disagreeing.sum()),
        not_played=int((disagreeing & (generator < 1)).sum()),
        misestimated=int((disagreeing & (generator == 1)).sum()),
    )


def _mean_by(
    values: np.ndarray, names: Sequence[str | None], groups: Sequence[str], resamples: int, seed: int
) -> dict[str, Figure]:
    """Compute the mean of each name's clips with its 95 % interval (BCa bootstrap over prompt groups).

    Args:
        values: float64 [n] in [0, 1].
        names: [n], such as genres; clips of None are left out.
        groups: [n], clips of one group are drawn together.
        resamples: Of the bootstrap.
        seed: Of the resamples.

    Returns:
        The means by name, in alphabetical order. Equal values have an exact interval.
    """
    known = sorted({name for name in names if name})
    if not known:
        return {}
    member = np.array([[name == one for one in known] for name in names], np.float64)

    def compute(weights: np.ndarray) -> MetricValues:
        with np.errstate(invalid="ignore"):
            return {"mean": (weights @ (member * values[:, None])) / (weights @ member)}

    metrics = MetricSet(compute, {"mean": (member > 0,)})
    means = metrics(np.ones((1, len(values))))["mean"][0]
    low, high = confidence_intervals(metrics, len(values), groups, resamples, seed)["mean"]
    return {
        name: make_figure(means[place], low[place], high[place], int(member[:, place].sum()))
        for place, name in enumerate(known)
    }


def _measure_tags(
    clips: ClipTable, key: tuple[str, str], against: Literal["asked", "played"], resamples: int, seed: int
) -> results.TagAgreement | None:
    """The area under the ROC curve of a label's tags; None with fewer than five clips with it, or without it."""
    truth = np.array((clips.asked if against == "asked" else clips.played)[key], np.float64)
    known = np.flatnonzero(~np.isnan(truth))
    positive = int((truth[known] == 1).sum())
    if min(positive, len(known) - positive) < MIN_CLIPS:
        return None
    scores = np.array(clips.tags[key], np.float64)[known]
    metrics = multi_label(truth[known, None] == 1, scores[:, None])
    groups = [clips.groups[row] for row in known]
    bounds = confidence_intervals(metrics, len(known), groups, min(resamples, 200), seed, rankings=RANKING_METRICS)
    value = metrics(np.ones((1, len(known))))["roc_auc"][0, 0]
    low, high = bounds["roc_auc"][:, 0]
    label = clips.tag_rows[key]
    return results.TagAgreement(
        column=label.column,
        label=label.name,
        tags=list(label.tags),
        against=against,
        positive=positive,
        auc=make_figure(value, low, high, len(known)),
    )
