"""What a model hears in files."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from builder.errors import DataError
from training.metrics import TEMPO_TASKS

from .benchmarks.text import printable
from .benchmarks.track import Track
from .inference.predict import Aggregate, check_aggregate, load_model_embedder, predict_tracks, problem_of
from .results.scores import REGRESSION

LISTED = 20  # reasons shown where no file can be read


@dataclass(frozen=True, slots=True)
class Answer:
    """One file: labels with their probabilities, most likely first; or a number; or why there is neither."""

    file: str
    labels: tuple[tuple[str, float], ...] = ()
    value: float | None = None  # of a model that predicts a number
    unit: str = ""
    error: str | None = None


def classify(
    model_folder: Path,
    files: Iterable[str | Path],
    top_k: int = 3,
    workers: int | None = None,
    aggregate: Aggregate = "mean",
) -> list[Answer]:
    """The `top_k` labels of each file, in order; a file that cannot be read says why. DataError if none can be."""
    from training.models.classifier import load_model

    model = load_model(Path(model_folder))
    problem, labels = problem_of(model), list(model.config.labels)
    check_aggregate(aggregate, problem)
    unit = "bpm" if model.config.task in TEMPO_TASKS else ""
    tracks = [Track(printable(str(file)), Path(file), -1) for file in files]
    answers = []
    for track, result in predict_tracks(
        model, load_model_embedder(model), tracks, workers=workers, aggregate=aggregate
    ):
        if isinstance(result, str):
            answers.append(Answer(track.id, error=result))
        elif problem == REGRESSION:
            answers.append(Answer(track.id, value=float(result[0]), unit=unit))
        else:
            order = np.argsort(-result, kind="stable")[:top_k]
            answers.append(Answer(track.id, tuple((labels[index], float(result[index])) for index in order)))
    if answers and all(answer.error for answer in answers):
        lines = "\n".join(f"  - {answer.file}: {answer.error}" for answer in answers[:LISTED])
        more = f"\n  ... and {len(answers) - LISTED} more" if len(answers) > LISTED else ""
        raise DataError(
            f"none of {len(answers)} file(s) can be read\n{lines}{more}", "check that they are whole audio files"
        )
    return answers


def show(answers: Sequence[Answer], jsonl: bool = False) -> None:
    """Write answers to standard output: one line a file, or one JSON object a file."""
    width = max((len(answer.file) for answer in answers), default=0)
    for answer in answers:
        if jsonl:
            told = {"file": answer.file, "labels": dict(answer.labels), "value": answer.value, "error": answer.error}
            line = json.dumps(told, ensure_ascii=False)
        else:
            line = f"{answer.file:{width}}  {_told(answer)}"
        sys.stdout.write(f"{line}\n")


def _told(answer: Answer) -> str:
    if answer.value is not None:
        return f"{answer.value:.1f} {answer.unit}".rstrip()
    return answer.error or "  ".join(f"{label} {share:.1%}" for label, share in answer.labels)
