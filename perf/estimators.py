"""What `synthmir annotate` takes for each clip, beside librosa's functions, and whether its memory stays flat.

uv run perf/estimators.py [--quick] [--json FILE]

Both sides measure the same clips of the arranger, decoded, in turns. The command is run on a corpus and on one four
times as large; the paper's 57,562 clips are projected from the difference. Times are of the processor, so that they do
not depend on what else runs on the machine.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pyarrow.parquet as pq
import table

from builder.corpus.building.build import build
from builder.estimators.annotate_corpus import list_light
from builder.estimators.base import EstimatorSettings, load_estimator
from builder.estimators.sound import Sound
from builder.recipe import Recipe

CLIPS = 57_562  # in the corpus of Kroher et al. 2023
CORES, RATE = 2, 32_000
ANNOTATE = """
import re, sys, time
from pathlib import Path
from builder.estimators.annotate_corpus import annotate_corpus
clock = time.process_time()
annotate_corpus(sys.argv[1], sys.argv[2].split(","))
peak = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]  # ru_maxrss begins at the parent's
print(time.process_time() - clock, int(peak) / 1024)
"""


def librosa_tempo(samples: np.ndarray) -> None:
    """librosa's tempo, from its onset strength."""
    librosa.feature.tempo(onset_envelope=librosa.onset.onset_strength(y=samples, sr=RATE, hop_length=320), sr=RATE)


PEERS: dict[str, tuple[str, Callable[[np.ndarray], Any]]] = {
    "tempo": ("librosa.feature.tempo", librosa_tempo),
    "key": ("librosa.feature.chroma_cqt", lambda y: librosa.feature.chroma_cqt(y=y, sr=RATE)),
    "onset_rate": ("librosa.onset.onset_detect", lambda y: librosa.onset.onset_detect(y=y, sr=RATE)),
    "spectral_centroid": (
        "librosa.feature.spectral_centroid",
        lambda y: librosa.feature.spectral_centroid(y=y, sr=RATE, hop_length=320),
    ),
}


def main() -> None:
    options = table.arguments(__doc__)
    small = 3 if options.quick else 12
    with tempfile.TemporaryDirectory() as folder:
        corpora = [make_corpus(Path(folder), per_genre) for per_genre in (small, 4 * small)]
        rows = [time_estimator(name, read_clips(corpora[0]), 3 if options.quick else 10) for name in list_light()]
        rows += time_command(corpora, 5 * small)
    table.finish("estimators", rows, options)


def make_corpus(folder: Path, per_genre: int) -> Path:
    """A corpus of the arranger with so many clips of each of five genres."""
    root = folder / str(per_genre)
    recipe = {"name": "perf", "prompts": {"per_genre": per_genre}, "generator": {"name": "arranger", "seconds": 10}}
    build(Recipe.from_dict(recipe), root, workers=1)
    return root


def read_clips(corpus: Path) -> list[np.ndarray]:
    """Some clips, decoded."""
    file = sorted((corpus / "data").glob("*.parquet"))[0]
    rows = pq.read_table(file, columns=["audio"]).slice(0, 10).to_pylist()
    return [Sound.decode(row["audio"]["bytes"]).samples for row in rows]


def time_estimator(name: str, clips: list[np.ndarray], rounds: int) -> dict[str, Any]:
    """Milliseconds a clip of an estimator by itself, and of its peer."""
    estimator = load_estimator(EstimatorSettings(name))
    peer_name, peer = PEERS.get(name, ("", None))
    ours, theirs = [], []
    for number in range(rounds + 1):  # the first is the warm-up
        clock = time.process_time()
        for samples in clips:
            estimator.estimate([Sound(samples)])
        middle = time.process_time()
        for samples in clips if peer else ():
            peer(samples)
        if number:
            ours.append(1000 * (middle - clock) / len(clips))
            theirs.append(1000 * (time.process_time() - middle) / len(clips))
    if peer:
        return table.paired(f"{name}, a clip of 10 s", "ms", ours, theirs, peer_name)
    return table.row(f"{name}, a clip of 10 s", "ms", float(np.median(ours)), n=rounds)


def time_command(corpora: list[Path], smaller: int) -> list[dict[str, Any]]:
    """Time and memory of `annotate` on two corpora, the larger four times the smaller, each in its own process."""
    rows = []
    for names, title in ((list_light(), "all that need no download"), (["tags"], "tags (musicnn)")):
        seconds, memory = [], []
        for corpus in corpora:
            command = [sys.executable, "-c", ANNOTATE, str(corpus), ",".join(names)]
            out = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
            seconds.append(float(out[0]))
            memory.append(float(out[1]))
        a_clip = (seconds[1] - seconds[0]) / (3 * smaller)
        hours = a_clip * CLIPS / CORES / 3600
        note = f"{title}; processor time without the start: {4 * smaller} clips less {smaller}"
        rows.append(table.row("annotate, a clip of 10 s", "ms", 1000 * a_clip, n=1, note=note))
        rows.append(
            table.row(f"annotate, {CLIPS:,} clips, projected", "h", hours, n=1, note=f"{title}; {CORES} cores")
        )
        rows.append(
            table.row(
                "peak memory, four times the clips", "MiB", memory[1], memory[0], f"{smaller} clips", n=1, note=title
            )
        )
    return rows


if __name__ == "__main__":
    main()
