"""What a model hears in files."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from builder.errors import DataError

from .benchmarks.base import Track, printable
from .prediction import embedder_of, predict_tracks

LISTED = 20  # reasons shown where no file can be read


@dataclass(frozen=True, slots=True)
class Answer:
    """One file: labels with their probabilities, most likely first, or the reason why there are none."""

    file: str
    labels: tuple[tuple[str, float], ...] = ()
    error: str | None = None


def classify(
    model_folder: Path, files: Iterable[str | Path], top_k: int = 3, workers: int | None = None
) -> list[Answer]:
    """The `top_k` labels of each file, in order; a file that cannot be read says why. DataError if none can be."""
    from training.model import load_model

    model = load_model(Path(model_folder))
    labels = list(model.config.labels)
    tracks = [Track(printable(str(file)), Path(file), -1) for file in files]
    answers = []
    for track, result in predict_tracks(model, embedder_of(model), tracks, workers=workers):
        if isinstance(result, str):
            answers.append(Answer(track.id, error=result))
            continue
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
            line = json.dumps(asdict(answer) | {"labels": dict(answer.labels)}, ensure_ascii=False)
        else:
            told = answer.error or "  ".join(f"{label} {share:.1%}" for label, share in answer.labels)
            line = f"{answer.file:{width}}  {told}"
        sys.stdout.write(f"{line}\n")
