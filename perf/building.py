"""Building a corpus: what the shards cost beside `datasets`' own writer, and whether memory stays flat.

uv run perf/building.py [--quick] [--json FILE]
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import table

from builder.clip import Clip
from builder.corpus.building.build import build
from builder.corpus.building.plan import plan_clips
from builder.corpus.schema import LabelEncoder, audio_features
from builder.recipe import Recipe
from builder.registry import GENERATORS

RATE = 32_000
RECIPE = "{{name: perf, prompts: {{per_genre: {per_genre}}}, generator: {{name: {generator}, seconds: 10}}}}"


class Ready:
    """A generator that costs nothing: it hands out clips that were made before."""

    name, revision, license, about = "ready", "1", "cc-by-4.0", "Noise, made before the clock starts."
    sampling_rate, rows_at_once, samples, single_core = RATE, 16, False, False
    clips = [(0.1 * np.random.default_rng(seed).standard_normal(10 * RATE)).astype(np.float32) for seed in range(16)]

    def __init__(self, settings: object, taxonomy: object) -> None: ...

    def generate(self, rows: Sequence[Clip]) -> list[np.ndarray]:
        """Clips by seed."""
        return [self.clips[row.seed % len(self.clips)] for row in rows]


def recipe(folder: Path, per_genre: int, generator: str) -> Recipe:
    """A recipe file of so many clips."""
    path = folder / f"{generator}-{per_genre}.yaml"
    path.write_text(RECIPE.format(per_genre=per_genre, generator=generator))
    return Recipe.load(path)


def ours(chosen: Recipe, out: Path) -> float:
    """Seconds that `build` takes: FLAC, quality gate, shards, hashes, card."""
    clock = time.perf_counter()
    build(chosen, out, workers=1)
    return time.perf_counter() - clock


def peers(chosen: Recipe, out: Path) -> float:
    """Seconds that `datasets` takes for the same rows, audio and levels: from_generator, then to_parquet."""
    import datasets

    from builder.audio import encode_flac, measure_loudness, measure_peak

    def rows():  # type: ignore[no-untyped-def]
        encode = LabelEncoder(chosen.labels)
        generator = Ready(None, None)
        for clip in plan_clips(chosen):
            samples = generator.generate([clip])[0]
            audio = {"bytes": encode_flac(samples, RATE), "path": f"{clip.id}.flac"}
            made = {"guidance": None, "temperature": None, "top_k": None, "duration": 10.0, "attempts": 1}
            levels = {"loudness": measure_loudness(samples, RATE), "peak": measure_peak(samples)}
            levels |= {"generator": "ready", "generator_revision": "1"}
            yield (
                {"id": clip.id, "audio": audio, "prompt": clip.prompt.text, "seed": clip.seed}
                | encode(clip)
                | made
                | levels
            )

    clock = time.perf_counter()
    features = audio_features(chosen.labels)
    # A plain struct: the Audio feature encodes through torchcodec, which needs FFmpeg.
    raw = datasets.Features(
        {**features, "audio": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}}
    )
    made = datasets.Dataset.from_generator(rows, features=raw, cache_dir=str(out), fingerprint=out.name)
    made.to_parquet(out / "corpus.parquet")
    return time.perf_counter() - clock


def peak_memory(folder: Path, per_genre: int) -> float:
    """Most memory (MB) that `synthmir build` with two workers holds at a time, its processes together."""
    chosen = folder / f"arranger-{per_genre}.yaml"
    recipe(folder, per_genre, "arranger")
    out = folder / f"corpus-{per_genre}"
    command = [sys.executable, "-m", "synthmir", "build", str(chosen), "--out", str(out), "--workers", "2"]
    run = subprocess.Popen(
        command, cwd=Path(__file__).parents[1], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    most = 0.0
    while run.poll() is None:
        most = max(most, _resident(run.pid))
        time.sleep(0.1)
    if run.returncode:
        raise SystemExit(f"synthmir build failed with {run.returncode}")
    shutil.rmtree(out)
    return most


def _resident(pid: int) -> float:
    """MB held by a process and its children (proportional: shared pages are counted once)."""
    total = 0
    for child in [pid, *_children(pid)]:
        try:
            for line in Path(f"/proc/{child}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        except OSError:
            continue
    return total / 1024


def _children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            for child in map(int, task.read_text().split()):
                found += [child, *_children(child)]
        except OSError:
            continue
    return found


def main() -> None:
    options = table.arguments(__doc__)
    GENERATORS["ready"] = "building:Ready"
    sys.modules["building"] = sys.modules["__main__"]
    per_genre, rounds = (20, 3) if options.quick else (100, 7)
    small, large = (10, 50) if options.quick else (100, 1000)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        chosen = recipe(folder, per_genre, "ready")
        pairs = []
        for turn in range(rounds + 1):  # the first warms both up
            pairs.append((ours(chosen, folder / f"o{turn}"), peers(chosen, folder / f"p{turn}")))
            shutil.rmtree(folder / f"o{turn}")
            shutil.rmtree(folder / f"p{turn}")
        clips = 5 * per_genre
        rows = [
            table.paired(
                f"write {clips} ready clips of 10 s: FLAC, labels, Parquet",
                "clips/s",
                [clips / a for a, _ in pairs[1:]],
                [clips / b for _, b in pairs[1:]],
                peer_name="datasets from_generator + to_parquet",
                note="both encode FLAC and measure loudness; ours also gates quality, hashes, and can resume",
            )
        ]
        few, many = peak_memory(folder, small), peak_memory(folder, large)
        rows.append(
            table.row(
                f"peak memory of a build, {5 * large} clips beside {5 * small}",
                "MB",
                many,
                few,
                peer_name=f"{5 * small} clips",
                n=1,
                note="arranger, main process and two workers together",
            )
        )
    table.finish("building", rows, options)


if __name__ == "__main__":
    main()
