"""Find labels that are probably wrong: out-of-fold predictions on embeddings, and confident learning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from builder.corpus.corpus import Corpus
from builder.embedders.augment import SUFFIX
from builder.embedders.embedded_dataset import EmbeddedDataset, filter_rows, is_corpus, open_dataset
from builder.errors import BackendError, DataError
from builder.io.storage import to_path
from builder.records import record_run
from training.data.labels import choose_problem, encode_labels
from training.models.classifier import SINGLE

from ..rendering.clip_excerpts import write_excerpt
from ..results import label_noise as results
from .folds import assign_folds, predict_out_of_fold

PLAYED = 12  # of the most doubtful clips: those that get an excerpt


@dataclass(frozen=True, slots=True)
class NoisyLabels:
    """What confident learning says of labels.

    Attributes:
        order: int64 [found], rows whose label is probably wrong, the most doubtful first.
        joint: float64 [classes, classes], the estimated share of rows by their label and what they are.
    """

    order: np.ndarray
    joint: np.ndarray


def find_noisy_labels(labels: np.ndarray, probabilities: np.ndarray) -> NoisyLabels:
    """Find labels that are probably wrong by confident learning (Northcutt, Jiang and Chuang 2021), with cleanlab.

    Args:
        labels: int64 [n], from 0 to classes - 1.
        probabilities: float64 [n, classes], of classifiers that did not see the row.

    Raises:
        BackendError: The package cleanlab is not installed.
    """
    try:
        from cleanlab.count import estimate_joint
        from cleanlab.filter import find_label_issues
    except ImportError as error:
        raise BackendError(
            f"label noise needs the package cleanlab: {error}", "install it: pip install 'synthmir[labels]'"
        ) from error
    order = find_label_issues(labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    return NoisyLabels(np.asarray(order, np.int64), np.asarray(estimate_joint(labels, probabilities), np.float64))


def measure_label_noise(
    path: str | Path, out: Path, column: str = "genre", embedder: str | None = None, folds: int = 5, seed: int = 0
) -> results.LabelNoise:
    """Find the labels of a corpus, or of another data set with embeddings, that its sound contradicts.

    Args:
        path: A corpus, or any data set that `builder.embedders.embedded_dataset.open_dataset` opens.
        out: The folder that gets label_noise.json, and excerpts of the most doubtful clips.
        column: A column with one label for each clip.
        embedder: The embeddings of a corpus, by default the first ones.
        folds: The clips of a fold are predicted by a classifier of the others. Prompt groups are not divided.
        seed: Of the folds.

    Raises:
        DataError: There are no embeddings, no such labels, or a label is in a single prompt group.
        BackendError: The package cleanlab is not installed.
    """
    path = to_path(path)
    corpus = Corpus.open(path) if is_corpus(path) else None
    name = embedder or _find_embedder(corpus)
    with record_run("label-noise", corpus.fingerprint if corpus is not None else None) as record:
        dataset = open_dataset(path, name)
        rows = dataset.rows()
        values = dataset.labels(column, rows)
        if choose_problem(values.kind, column, None) != SINGLE:
            raise DataError(
                f"{path}: column {column!r} does not hold one label for each clip", "name another: --column genre"
            )
        names, encoded = encode_labels(SINGLE, {"all": values}, column)
        kept = encoded["all"].labelled
        if not kept.any():
            raise DataError(f"{path}: no clip has a {column}", "name another column: --column genre")
        chosen = filter_rows(rows, kept)
        used, labels = np.unique(encoded["all"].values[kept], return_inverse=True)
        names = [names[code] for code in used]
        splits = [split for split, places in chosen.items() for _ in places]
        ids = dataset.ids(chosen)
        groups = [
            f"group {group}" if group is not None else f"id {identity}"
            for group, identity in zip(dataset.groups(chosen, but=column), ids, strict=True)
        ]
        _check_groups(str(path), column, names, labels, groups)
        embeddings = dataset.embeddings(chosen, column=dataset.find_embeddings())
        probabilities = predict_out_of_fold(embeddings, labels, assign_folds(labels, groups, folds, seed), len(names))
        noisy = find_noisy_labels(labels, probabilities)
        record.rows = len(labels)
        record.details = {"column": column, "embedder": name, "folds": folds, "seed": seed}
    predicted = probabilities.argmax(axis=1)
    doubtful = [
        results.DoubtfulClip(
            id=ids[row],
            split=splits[row],
            label=names[labels[row]],
            probability=_share(probabilities[row, labels[row]]),
            predicted=names[predicted[row]],
            predicted_probability=_share(probabilities[row, predicted[row]]),
        )
        for row in noisy.order.tolist()
    ]
    audio = _read_audio(dataset, [clip.id for clip in doubtful[:PLAYED]])
    doubtful[:PLAYED] = [
        clip.model_copy(update={"audio": write_excerpt(out, f"doubtful-{place:02d}.flac", audio.get(clip.id))})
        for place, clip in enumerate(doubtful[:PLAYED], 1)
    ]
    result = results.LabelNoise(
        schema=1,
        corpus=path.name,
        fingerprint=corpus.fingerprint if corpus is not None else None,
        column=column,
        embedder=name,
        folds=folds,
        n=len(labels),
        unlabelled=int((~kept).sum()),
        labels={label: int((labels == place).sum()) for place, label in enumerate(names)},
        accuracy=_share((predicted == labels).mean()),
        noise=_share(1 - np.trace(noisy.joint)),
        pairs=_list_pairs(names, noisy.joint, doubtful),
        doubtful=doubtful,
        record=asdict(record),
    )
    result.write(out / results.FILE)
    return result


def _read_audio(dataset: EmbeddedDataset, ids: Sequence[str]) -> dict[str, bytes]:
    """The audio of some clips; without those that cannot be read, which get no player."""
    try:
        return dataset.audio(ids) if ids else {}
    except DataError:
        return {}


def _find_embedder(corpus: Corpus | None) -> str:
    """The first embeddings of clean audio of a corpus; of another data set "default"."""
    if corpus is None:
        return "default"
    found = [name for name in corpus.embeddings() if not name.endswith(SUFFIX)]
    if not found:
        raise DataError(f"{corpus.root}: has no embeddings", f"synthmir embed {corpus.root}")
    return found[0]


def _check_groups(source: str, column: str, names: Sequence[str], labels: np.ndarray, groups: Sequence[str]) -> None:
    """Raise DataError if there is a single label, or one that is in a single group."""
    if len(names) < 2:
        raise DataError(f"{source}: every clip's {column} is {names[0]!r}: none can be mistaken for another one")
    pairs = set(zip(labels.tolist(), groups, strict=True))
    counts = np.bincount([label for label, _ in pairs], minlength=len(names))
    if (alone := np.flatnonzero(counts < 2)).size:
        listed = ", ".join(repr(names[place]) for place in alone[:5])
        raise DataError(
            f"{source}: {len(alone)} {column} label(s) are in a single prompt group: {listed}",
            "build a larger corpus, or name another column: --column genre",
        )


def _list_pairs(
    names: Sequence[str], joint: np.ndarray, doubtful: Sequence[results.DoubtfulClip]
) -> list[results.LabelPair]:
    """The pairs of labels that are confused, the largest shares first."""
    counts: dict[tuple[str, str], int] = {}
    for clip in doubtful:
        counts[clip.label, clip.predicted] = counts.get((clip.label, clip.predicted), 0) + 1
    pairs = [
        results.LabelPair(
            label=label,
            actual=actual,
            share=_share(joint[row, place] / joint[row].sum()),
            doubtful=counts.get((label, actual), 0),
        )
        for row, label in enumerate(names)
        for place, actual in enumerate(names)
        if row != place and joint[row, place] > 0
    ]
    return sorted(pairs, key=lambda pair: (-pair.share, pair.label, pair.actual))


def _share(value: float) -> float:
    return float(min(max(value, 0.0), 1.0))
