"""Robustness: a model's scores on the same tracks, clean and damaged by codecs, filters, noise and rooms."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np

from builder.audio import decode_audio, resample, to_mono
from builder.degradations import DAMAGES, Damage, parse_damages
from builder.records import record_run
from builder.settings import EvaluationSettings

from .benchmarks.base import load_benchmark
from .benchmarks.text import printable
from .benchmarks.track import Track
from .inference.evaluated_model import VALIDATION, EvaluatedModel, Tick, corpus_of, predict_benchmark
from .inference.predict import audio_source
from .inference.validation_audio import sample_items, validation_clips
from .results.predictions import Predictions
from .results.robustness import FILE, Level, Robustness
from .results.scores import HEADLINES, BenchmarkScores, Quantity
from .statistics.compare import adjust_p_values, compare_predictions
from .statistics.summary import score_predictions

TRACKS = 500  # by default; each is predicted once for each level


def evaluate_robustness(
    model_folder: Path,
    on: str,
    out: Path,
    damages: Sequence[str] = (),
    corpus: Path | None = None,
    settings: EvaluationSettings | None = None,
    limit: int = TRACKS,
    tick: Tick = lambda _: None,
) -> Robustness:
    """Evaluate a model on the same tracks, clean and through each damage, and write `out/robustness.json`.

    Each score has its 95 % interval, and each difference to the clean tracks that of paired resamples, with p-values
    adjusted by Holm over all levels. Everything that is named is looked up before anything is predicted.

    Args:
        model_folder: The model.
        on: "validation" or a benchmark, such as "gtzan:PATH".
        out: The folder of results.
        damages: As `parse_damages` takes them.
        corpus: What holds the validation split; by default the corpus that the model was trained on.
        settings: Bootstrap, aggregation and seed.
        limit: At most so many tracks, drawn by the seed.
        tick: Called with 1 after each track at each level.

    Raises:
        DataError: The model, the corpus or the benchmark cannot be used.
        RecipeError: A damage or a setting is not valid.
        BackendError: The embedder, or a package that a damage needs, is missing.
    """
    settings = settings or EvaluationSettings()
    parsed, out = parse_damages(damages), Path(out)
    for damage in parsed:  # a missing package is reported before the work
        damage(np.zeros((4_800, 2), np.float32), 48_000)
    model = EvaluatedModel.load(Path(model_folder), settings)
    task, problem = model.model.config.task, model.problem
    bench = (
        validation_clips(corpus_of(model.trained, model.folder, corpus), model.labels, task, limit, settings.seed)
        if on == VALIDATION
        else load_benchmark(on, model.labels, task, problem)  # type: ignore[arg-type]
    )
    chosen = sample_items(bench.tracks, limit, settings.seed)
    notes = list(bench.notes)
    if len(chosen) < len(bench.tracks):
        notes.append(f"{len(chosen)} of {len(bench.tracks)} tracks, drawn with seed {settings.seed}")
    bench.tracks = chosen

    def predict(damage: Damage | None) -> Predictions:
        predictions = predict_benchmark(
            model.model,
            model.embedder,
            bench,
            None,
            tick,
            model.model.config.threshold,
            aggregate=settings.aggregate,
            read=partial(read_damaged, damage=damage, seed=settings.seed),
        )
        return replace(predictions, notes=())

    with record_run("robustness", model.trained.fingerprint) as record:
        clean = predict(None)
        levels, drops = [], []
        for damage in parsed:
            damaged = predict(damage)
            levels.append((damage, _headlines(damaged, settings, task)))
            drops.append(compare_predictions(damaged, clean, settings, task, printable(on), "clean"))
        record.rows = len(chosen) * (1 + len(parsed))
        record.details = {"damages": [str(damage) for damage in parsed], "settings": settings.model_dump(mode="json")}
    adjusted = iter(adjust_p_values([drop for of_level in drops for drop in of_level]))
    robustness = Robustness(
        schema=1,
        model=str(model.folder),
        task=task,
        problem=problem,  # type: ignore[arg-type]
        benchmark=printable(on),
        source=bench.source,
        licence=bench.licence,
        notes=notes,
        n=len(clean),
        skips=list(clean.skips),
        clean=_headlines(clean, settings, task),
        levels=[
            Level(
                kind=damage.kind,
                level=damage.level,
                unit=DAMAGES[damage.kind].unit,
                about=DAMAGES[damage.kind].about,
                figures=scores,
                drops=[next(adjusted) for _ in of_level],
            )
            for (damage, scores), of_level in zip(levels, drops, strict=True)
        ],
        record=asdict(record),
    )
    robustness.write(out / FILE)
    return robustness


def read_damaged(track: Track, sampling_rate: int, damage: Damage | None, seed: int) -> np.ndarray:
    """Decode a track, damage it at its own rate and channels, and resample it to mono.

    Unlike `read_track` this holds the whole track, as codecs, reverberation, noise relative to its level, and changes
    of speed work on all of it. Reverberation takes the most: 50 bytes a sample and channel, which is 1 GB for four
    minutes in stereo at 44.1 kHz, in each thread.

    Args:
        track: The track.
        sampling_rate: Hz.
        damage: None for no damage.
        seed: Its noise follows from this and the track's id.

    Returns:
        float32 [samples], mono.

    Raises:
        DataError: The track cannot be read, or has more than `builder.audio.MAX_HELD` samples, 25 minutes in stereo at
            44.1 kHz. It is then skipped at every level, and in the clean scores.
    """
    samples, rate = decode_audio(audio_source(track))
    if damage is not None:
        samples = damage(samples, rate, seed=zlib.crc32(track.id.encode("utf-8", "surrogateescape"), seed))
    return resample(to_mono(samples), rate, sampling_rate)


def _headlines(predictions: Predictions, settings: EvaluationSettings, task: str) -> dict[str, Quantity | None]:
    """Return the headline scores of predictions."""
    scores: BenchmarkScores = score_predictions(predictions, settings, task, name="", predictions="")
    headlines = {key: getattr(scores, key) for key in HEADLINES[predictions.problem]}
    return {key: None if score is None else Quantity(**score.model_dump()) for key, score in headlines.items()}
