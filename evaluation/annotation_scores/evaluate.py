"""Score a function that annotates audio, and its peers, on annotated tracks: means, intervals and comparisons."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from builder.annotations.annotation import Annotation
from builder.audio import load_audio
from builder.errors import DataError
from builder.names import format_count
from builder.records import record_run
from builder.settings import EvaluationSettings

from ..benchmarks.annotated import HAS_TASK, AnnotatedTrack, AnnotatedTracks, load_annotated
from ..results.annotation_scores import FILE, SCORES, AnnotationScores, SourceScores, SystemScores, TaskScores
from ..results.scores import Comparison, Quantity, Sampling, Skip
from ..statistics.bootstrap import confidence_intervals, group_codes
from ..statistics.compare import adjust_p_values, describe_difference
from ..statistics.metrics import MetricSet
from ..statistics.paired import paired_bootstrap
from .peers import Peer
from .track_scores import score_with_weights

RATE = 44_100  # Hz, of the audio that systems get
MODEL = "model"
Annotate = Callable[[np.ndarray, int], Annotation]


@dataclass
class _System:
    """A system under test and its scores so far: of each task the track numbers, the scores and their weights."""

    name: str
    about: str
    tasks: Sequence[str]
    annotate: Annotate
    rows: dict[str, list[tuple[int, dict[str, float], dict[str, float]]]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


def evaluate_annotations(
    annotate: Annotate,
    tracks: Iterable[AnnotatedTrack],
    tasks: Sequence[str] = (),
    peers: Sequence[Peer] = (),
    settings: EvaluationSettings | None = None,
    tick: Callable[[int], None] = lambda _: None,
    name: str = MODEL,
) -> SourceScores:
    """Score predicted annotations on annotated tracks, beside peers that get the same audio.

    Args:
        annotate: Predicts the annotation of audio, float32 [samples] in mono, and its sampling rate in Hz, as
            `FrameModel.annotate` does.
        tracks: The tracks with what is played in them, as `load_annotated` opens them.
        tasks: What is scored, of `SCORES`. Empty: all that a track and the prediction have.
        peers: Other systems, as `choose_peers` gives them.
        settings: How resamples for the intervals are drawn.
        tick: Called with 1 after each track.
        name: The name of the model in the results.

    Returns:
        For each task the mean scores of each system with 95 % intervals, over artists where they are known, and the
        model's scores minus those of each peer on the tracks that both have. A track that cannot be decoded, or whose
        annotation is not valid, is listed in `skips`.

    Raises:
        DataError: No track is left.
        RecipeError: There is no such task.
    """
    settings = settings or EvaluationSettings()
    systems = [_System(name, "", tuple(tasks), annotate)]
    for peer in peers:
        shared = [task for task in peer.tasks if not tasks or task in tasks]
        if shared:
            systems.append(_System(peer.name, peer.about, shared, peer.annotate))
    groups: list[str | None] = []
    skips: list[Skip] = []
    seconds = 0.0
    for track in tracks:
        try:
            samples = load_audio(track.audio, RATE)
            scored = [_score_track(system, track, samples) for system in systems]
        except DataError as error:
            skips.append(Skip(id=track.id, reason=error.message))
        else:
            for system, rows in zip(systems, scored, strict=True):
                for task, (scores, weights) in rows.items():
                    system.rows.setdefault(task, []).append((len(groups), scores, weights))
            groups.append(track.group)
            seconds += len(samples) / RATE
        tick(1)
    found = [task for task in SCORES if task in systems[0].rows]
    if not found:
        raise _no_scores_error(tracks, tasks, skips)
    units = _choose_groups(groups)
    listed = [_score_task(task, systems, units, settings, _name_of(tracks)) for task in found]
    about: dict[str, Any] = {"name": _name_of(tracks)}
    if isinstance(tracks, AnnotatedTracks):
        about |= {"source": tracks.source, "licence": tracks.licence, "citation": tracks.citation}
        about |= {"protocol": tracks.protocol, "notes": list(tracks.notes)}
    failures = [line for system in systems for line in _describe_failures(system)]
    return SourceScores(
        **about | {"notes": [*about.get("notes", ()), *failures]},
        n=len(groups),
        seconds=round(seconds, 3),
        skips=skips,
        sampling=Sampling(
            method=settings.interval,
            over="tracks" if units is None else "artists",
            units=int(group_codes(units, len(groups)).max()) + 1,
            alone=0 if units is None else sum(group is None for group in units),
            resamples=settings.bootstrap,
            seed=settings.seed,
        ),
        tasks=listed,
    )


def evaluate_sources(
    annotate: Annotate,
    on: Sequence[str],
    out: Path,
    model: str,
    tasks: Sequence[str] = (),
    peers: Sequence[Peer] = (),
    settings: EvaluationSettings | None = None,
    corpus: Path | None = None,
    fingerprint: str | None = None,
    tick: Callable[[int], None] = lambda _: None,
) -> AnnotationScores:
    """Score predicted annotations on several sources of annotated tracks, and write `out/annotation_scores.json`.

    All sources are opened before any track is read.

    Args:
        annotate: As in `evaluate_annotations`, with `tasks`, `peers`, `settings` and `tick`.
        on: The sources: "validation", "corpus:PATH", "mirdata:DATASET:PATH".
        out: The folder of results.
        model: The model's folder or name.
        corpus: The corpus of "validation".
        fingerprint: Of the recipe of the corpus that the model was trained on.

    Returns:
        The contents of annotation_scores.json.

    Raises:
        DataError: A source cannot be used, or no track is left.
        RecipeError: A source or a task is not valid.
    """
    names = list(dict.fromkeys(on))
    wanted = [task for task in tasks if task in HAS_TASK]
    opened = [load_annotated(name, wanted, corpus) for name in names]
    settings = settings or EvaluationSettings()
    with record_run("evaluate", fingerprint) as record:
        sources = [
            evaluate_annotations(annotate, tracks, tasks, peers, settings, tick, Path(model).name) for tracks in opened
        ]
        record.rows = sum(source.n for source in sources)
        record.details = {
            "on": [tracks.name for tracks in opened],
            "peers": [peer.name for peer in peers],
            "settings": settings.model_dump(mode="json", include={"bootstrap", "seed", "interval"}),
        }
    listed = list(dict.fromkeys(task.task for source in sources for task in source.tasks))
    result = AnnotationScores(schema=1, model=model, tasks=listed, sources=sources, record=asdict(record))
    result.write(Path(out) / FILE)
    return result


def _score_track(
    system: _System, track: AnnotatedTrack, samples: np.ndarray
) -> dict[str, tuple[dict[str, float], dict[str, float]]]:
    """Annotate a track and score it. A peer that fails has no scores; a failure of the model is raised."""
    try:
        estimate = system.annotate(samples, RATE)
    except DataError:
        raise
    except Exception as error:
        if not system.about:
            raise
        system.failures.append(f"{track.id}: {type(error).__name__}: {error}"[:200])
        return {}
    return score_with_weights(track.annotation, estimate, system.tasks)


def _score_task(
    task: str,
    systems: Sequence[_System],
    groups: Sequence[str | None] | None,
    settings: EvaluationSettings,
    where: str,
) -> TaskScores:
    names = list(SCORES[task])
    tables = [(system, *_table(system.rows[task], names)) for system in systems if task in system.rows]
    scored = []
    for system, numbers, table in tables:
        values, bounds = _weighted_means(table, names), _pick(groups, numbers)
        intervals = confidence_intervals(
            values, len(numbers), bounds, settings.bootstrap, settings.seed, settings.interval
        )
        means = values(np.ones((1, len(numbers))))
        scored.append(
            SystemScores(
                name=system.name,
                about=system.about,
                n=len(numbers),
                failed=len(system.failures),
                scores={
                    key: _quantity(means[key][0], intervals[key], int(values.evidence[key][0].sum())) for key in names
                },
            )
        )
    (_, first, model), *others = tables
    comparisons = []
    for system, numbers, table in others:
        shared = np.intersect1d(first, numbers)
        if not len(shared):
            continue
        differences = paired_bootstrap(
            model[np.isin(first, shared)],
            table[np.isin(numbers, shared)],
            lambda rows: _weighted_means(rows, names),
            _pick(groups, shared),
            settings.bootstrap,
            settings.seed,
            settings.interval,
        )
        comparisons += [
            Comparison(benchmark=where, against=system.name, metric=key, **describe_difference(differences[key]))
            for key in names
            if key in differences
        ]
    return TaskScores(task=task, systems=scored, comparisons=adjust_p_values(comparisons))


def _table(
    rows: Sequence[tuple[int, dict[str, float], dict[str, float]]], names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the tracks, and float64 [tracks, 2, scores]: the scores and their weights."""
    values = [[[one[name] for name in names] for one in (scores, weights)] for _, scores, weights in rows]
    return np.array([number for number, *_ in rows]), np.array(values, np.float64)


def _weighted_means(table: np.ndarray, names: Sequence[str]) -> MetricSet:
    """Return the weighted mean of each score over the tracks that define it."""
    known = ~np.isnan(table[:, 0]) & (table[:, 1] > 0)
    mass = np.where(known, table[:, 1], 0.0)
    sums = np.where(known, table[:, 0], 0.0) * mass

    def compute(weights: np.ndarray) -> dict[str, np.ndarray]:
        total = weights @ mass
        means = np.divide(weights @ sums, total, out=np.full(total.shape, np.nan), where=total > 0)
        return {name: means[:, place] for place, name in enumerate(names)}

    return MetricSet(compute, {name: (known[:, place],) for place, name in enumerate(names)})


def _quantity(value: float, bounds: np.ndarray, n: int) -> Quantity | None:
    if np.isnan(value):
        return None
    low, high = (None if np.isnan(bound) else float(bound) for bound in bounds)
    return Quantity(value=float(value), low=low, high=high, n=n)


def _pick(groups: Sequence[str | None] | None, numbers: np.ndarray) -> list[str | None] | None:
    return None if groups is None else [groups[number] for number in numbers.tolist()]


def _choose_groups(groups: Sequence[str | None]) -> Sequence[str | None] | None:
    """Return the artists, if there are two or more; None: every track is a unit of its own."""
    known = {group for group in groups if group is not None}
    return groups if known and len(known) + sum(group is None for group in groups) > 1 else None


def _name_of(tracks: Iterable[AnnotatedTrack]) -> str:
    return tracks.name if isinstance(tracks, AnnotatedTracks) else "tracks"


def _describe_failures(system: _System) -> list[str]:
    if not system.failures:
        return []
    return [f"{system.name} failed on {format_count(len(system.failures), 'track')}: {system.failures[0]}"]


def _no_scores_error(tracks: Iterable[AnnotatedTrack], tasks: Sequence[str], skips: Sequence[Skip]) -> DataError:
    if skips:
        return DataError(
            f"{_name_of(tracks)}: no track can be scored: {skips[0].id}: {skips[0].reason}", "see the track"
        )
    if isinstance(tracks, AnnotatedTracks):
        return tracks.no_tracks_error()
    wanted = " or ".join(tasks) or "annotations"
    return DataError(f"no track has {wanted} that the model predicts", "give other tracks, or another task")
