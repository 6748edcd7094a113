"""A frame model beside its peers on annotated tracks: librosa's methods, and basic-pitch for notes.

    uv run perf/annotation_peers.py MODEL [--on validation]... [--corpus CORPUS] [--out DIR] [--name NAME]
        [--without basic-pitch]

The validation split holds clips that the model was not trained on. basic-pitch runs in an environment of its own,
which uv makes. Writes NAME.json, as `synthmir evaluate` writes annotation_scores.json, and NAME.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).parents[1]))

from builder.annotations.annotation import Annotation, Notes
from builder.io.atomic import write_text
from builder.settings import EvaluationSettings
from evaluation.annotation_scores.evaluate import evaluate_sources
from evaluation.annotation_scores.peers import PEERS, Peer, choose_peers
from evaluation.inference.evaluated_model import corpus_of, read_training_record
from evaluation.reporting.annotation_report import TASK_NAMES, format_points, format_share
from evaluation.results.annotation_scores import FILE, SCORES, AnnotationScores
from training.frames.loading import load_frame_model

BASIC_PITCH = "basic-pitch"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--on", action="append", help="annotated tracks, as `synthmir evaluate` takes them")
    parser.add_argument("--corpus", type=Path, help="of validation; by default what the model was trained on")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--name", default="frame_models", help="of the two files")
    parser.add_argument("--without", action="append", default=[], choices=[*PEERS, BASIC_PITCH])
    parser.add_argument("--bootstrap", type=int, default=1000)
    options = parser.parse_args()
    model, trained = load_frame_model(options.model), read_training_record(options.model)
    on = options.on or ["validation"]
    corpus = corpus_of(trained, options.model, options.corpus) if "validation" in on else options.corpus
    tasks = [*model.config.tasks, *(["tempo"] if "beats" in model.config.tasks else [])]
    peers = choose_peers([name for name in PEERS if name not in options.without], tasks)
    with start_basic_pitch("notes" in tasks and BASIC_PITCH not in options.without) as others:
        scores = evaluate_sources(
            model.annotate, on, options.out, options.model.name, tasks, [*peers, *others],
            EvaluationSettings(bootstrap=options.bootstrap), corpus, trained.fingerprint, partial(count, [0]),
        )  # fmt: skip
    (options.out / FILE).replace(options.out / f"{options.name}.json")
    clips = trained.details["clips"]["train"]
    write_text(options.out / f"{options.name}.md", "\n".join(page(scores, clips)) + "\n")
    print((options.out / f"{options.name}.md").read_text(encoding="utf-8"))


def count(done: list[int], more: int) -> None:
    """Print how many tracks were scored."""
    done[0] += more
    print(f"\r{done[0]} tracks", end="", file=sys.stderr, flush=True)


def page(scores: AnnotationScores, clips: int) -> Iterator[str]:
    """The tables of every source and task, in Markdown."""
    yield f"# {', '.join(TASK_NAMES[task].lower() for task in scores.tasks)}: a frame model and its peers"
    yield ""
    yield f"A model that was trained on {clips:,} clips; {scores.record['device']}. In brackets: 95 % intervals."
    for source in scores.sources:
        yield from ("", f"## {source.name}, {source.n:,} tracks", "", source.protocol)
        for task in source.tasks:
            names = SCORES[task.task]
            yield from ("", f"### {TASK_NAMES[task.task]}", "")
            yield "| | n | " + " | ".join(names.values()) + " |"
            yield "|---|---:" + "|---:" * len(names) + "|"
            for system in task.systems:
                cells = [format_share(system.scores.get(key)) for key in names]
                yield f"| {system.name} | {system.n} | " + " | ".join(cells) + " |"
            first = next(iter(names))
            for one in task.comparisons:
                if one.metric == first:
                    yield from ("", f"{names[first]} minus that of {one.against}: {format_points(one.difference)}.")
        if source.notes:
            yield from ("", "; ".join(source.notes) + ".")


@contextmanager
def start_basic_pitch(wanted: bool) -> Iterator[list[Peer]]:
    """Start the process of basic-pitch and yield it as a peer; no peer where it is not wanted."""
    if not wanted:
        yield []
        return
    uv = shutil.which("uv") or shutil.which("uv", path=Path(__file__).parents[1] / ".uv" / "bin")
    if uv is None:
        raise SystemExit("basic-pitch needs uv on the PATH: install it, or leave it out: --without basic-pitch")
    script = Path(__file__).with_name("basic_pitch_notes.py")
    command = [uv, "run", "--no-project", "--script", str(script)]
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        try:
            annotate = partial(transcribe, process.stdin, process.stdout, Path(folder) / "audio.wav")
            yield [Peer(BASIC_PITCH, "Bittner et al. 2022, version 0.4.0, its own weights", ("notes",), annotate)]
        finally:
            process.terminate()
            process.wait()


def transcribe(questions: IO[Any], answers: IO[Any], file: Path, audio: np.ndarray, rate: int) -> Annotation:
    """Ask the process for the notes of a recording."""
    soundfile.write(file, audio, rate)
    questions.write(f"{file}\n")
    questions.flush()
    line = answers.readline()
    if not line:
        raise SystemExit(
            f"basic-pitch ended: run `uv run --no-project --script perf/basic_pitch_notes.py` and enter {file}"
        )
    rows = np.array(sorted(json.loads(line), key=lambda note: (note[0], note[2])), np.float64).reshape(-1, 4)
    zeros = np.zeros(len(rows), np.int16)
    pitch, velocity = (rows[:, place].astype(np.int16) for place in (2, 3))
    notes = Notes(rows[:, 0], rows[:, 1], pitch, velocity, zeros, np.zeros(len(rows), bool), zeros)
    return Annotation("", len(audio) / rate, notes=notes)


if __name__ == "__main__":
    main()
