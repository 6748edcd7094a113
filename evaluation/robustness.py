"""The same tracks, damaged: how much of a model's figures survives codecs, narrow bands, noise and rooms."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np

from builder.audio import decode_audio, resample, to_mono
from builder.degradations import DAMAGES, Damage
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

TRACKS = 500  # judged unless told otherwise: each of them once a level


def parse_damages(chosen: Sequence[str] = ()) -> list[Damage]:
    """`mp3`, all its levels, or `mp3:64`; nothing chosen is every kind. Raises RecipeError."""
    found = []
    for text in chosen or DAMAGES:
        levels = DAMAGES[text].levels if text in DAMAGES else ()
        found += [Damage(text, level) for level in levels] or [Damage.parse(text)]
    return list(dict.fromkeys(found))


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
    """Judge a model on `limit` tracks of a benchmark (or `validation`), clean and through each of `damages`.

    Writes `out/robustness.json` and a picture. Each figure has its 95 % interval, each drop that of paired resamples,
    with p-values by Holm over all levels. Everything named is looked up before anything is judged. Raises DataError,
    RecipeError, BackendError.
    """
    settings = settings or EvaluationSettings()
    wanted, out = parse_damages(damages), Path(out)
    for damage in wanted:  # a package that is missing is told before the work
        damage(np.zeros((4_800, 2), np.float32), 48_000)
    ours = EvaluatedModel.load(Path(model_folder), settings)
    task, problem = ours.model.config.task, ours.problem
    bench = (
        validation_clips(corpus_of(ours.trained, ours.folder, corpus), ours.labels, task, limit, settings.seed)
        if on == VALIDATION
        else load_benchmark(on, ours.labels, task, problem)  # type: ignore[arg-type]
    )
    chosen = sample_items(bench.tracks, limit, settings.seed)
    notes = list(bench.notes)
    if len(chosen) < len(bench.tracks):
        notes.append(f"{len(chosen)} of {len(bench.tracks)} tracks, drawn with seed {settings.seed}")
    bench.tracks = chosen

    def judged(damage: Damage | None) -> Predictions:
        found = predict_benchmark(
            ours.model,
            ours.embedder,
            bench,
            None,
            tick,
            ours.model.config.threshold,
            aggregate=settings.aggregate,
            read=partial(heard, damage=damage, seed=settings.seed),
        )
        return replace(found, notes=())

    with record_run("robustness", ours.trained.fingerprint) as record:
        clean = judged(None)
        levels, drops = [], []
        for damage in wanted:
            through = judged(damage)
            levels.append((damage, _figures(through, settings, task)))
            drops.append(compare_predictions(through, clean, settings, task, printable(on), "clean"))
        record.rows = len(chosen) * (1 + len(wanted))
        record.details = {"damages": [str(damage) for damage in wanted], "settings": settings.model_dump(mode="json")}
    adjusted = iter(adjust_p_values([drop for some in drops for drop in some]))
    found = Robustness(
        schema=1,
        model=str(ours.folder),
        task=task,
        problem=problem,  # type: ignore[arg-type]
        benchmark=printable(on),
        source=bench.source,
        licence=bench.licence,
        notes=notes,
        n=len(clean),
        skips=list(clean.skips),
        clean=_figures(clean, settings, task),
        levels=[
            Level(
                kind=damage.kind,
                level=damage.level,
                unit=DAMAGES[damage.kind].unit,
                about=DAMAGES[damage.kind].about,
                figures=figures,
                drops=[next(adjusted) for _ in some],
            )
            for (damage, figures), some in zip(levels, drops, strict=True)
        ],
        record=asdict(record),
    )
    found.write(out / FILE)
    return found


def heard(track: Track, sampling_rate: int, damage: Damage | None, seed: int) -> np.ndarray:
    """A track, damaged as it lies on disk, then mono at `sampling_rate`; its noise follows from its id and `seed`.

    Unlike `prediction.load` it holds the whole track: codecs, rooms, noise of a track's own level and stretched time
    go over all of it. That takes at most (reverb) 50 bytes for each number of each channel, 1 GB for four minutes in
    stereo at 44.1 kHz, in each thread that reads. Raises DataError for a track of more than `builder.audio.MAX_HELD`
    numbers (25 minutes of that, 70 of mono at 32 kHz; 6.6 GB): it is skipped at every level alike, clean as well.
    """
    samples, rate = decode_audio(audio_source(track))
    if damage is not None:
        samples = damage(samples, rate, seed=zlib.crc32(track.id.encode("utf-8", "surrogateescape"), seed))
    return resample(to_mono(samples), rate, sampling_rate)


def _figures(judged: Predictions, settings: EvaluationSettings, task: str) -> dict[str, Quantity | None]:
    scores: BenchmarkScores = score_predictions(judged, settings, task, name="", predictions="")
    found = {key: getattr(scores, key) for key in HEADLINES[judged.problem]}
    return {key: None if figure is None else Quantity(**figure.model_dump()) for key, figure in found.items()}
