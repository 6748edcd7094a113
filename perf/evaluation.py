"""Real recordings through melstats and a classifier, as `synthmir evaluate` predicts them: tracks a second.

    uv run perf/evaluation.py [--quick] [--json FILE]

Tracks are 30 seconds of MP3 at 128 kbit/s, 44.1 kHz stereo, made from the arranger's clips. The peer is the same task
written with librosa and the same embedder and classifier: load (decode, mix, resample with soxr), cut, embed, average.
Rounds are interleaved in one process. Shares are of one thread's time for one track, measured step by step. Memory is
that of a separate process that predicts so many tracks.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
import soundfile
from table import arguments, finish, paired, row

sys.path.insert(0, str(Path(__file__).parents[1]))  # this file's own name would hide the package `evaluation`

from builder.audio import decode_audio, measure_audio, resample, split_into_windows, to_mono
from builder.corpus.building.plan import plan_clips
from builder.embedders.base import load_embedder
from builder.generators.base import load_generator
from builder.recipe import Recipe
from builder.settings import EmbedderSettings

RATE, SECONDS, KINDS = 44_100, 30, 20


def make(folder: Path) -> list[Path]:
    """Write KINDS different tracks of 30 seconds as MP3."""
    recipe = Recipe.load("demo")
    generator = load_generator(recipe.generator, recipe.labels)
    clips = generator.generate(list(plan_clips(recipe))[: 3 * KINDS])
    files = []
    for number in range(KINDS):
        one = resample(np.concatenate(clips[3 * number : 3 * number + 3]), generator.sampling_rate, RATE)
        file = folder / f"{number}.mp3"
        level = (320 - 128) / (320 - 32)
        options = {
            "format": "MP3",
            "subtype": "MPEG_LAYER_III",
            "compression_level": level,
            "bitrate_mode": "CONSTANT",
        }
        soundfile.write(file, np.stack([one, 0.9 * one], axis=1)[: RATE * SECONDS], RATE, **options)
        files.append(file)
    return files


def classifier(embedder: object) -> object:
    """Return a classifier with the paper's head and random weights."""
    import torch

    from training.models.classifier import SynthmirClassifier, SynthmirConfig

    torch.manual_seed(0)
    config = SynthmirConfig(id2label=dict(enumerate("abcde")), label2id={c: i for i, c in enumerate("abcde")},
                            embedder={"name": "melstats", "dim": embedder.dim})  # type: ignore[attr-defined]  # fmt: skip
    return SynthmirClassifier(config).eval()


def ours(files: list[Path], embedder: object, model: object) -> None:
    from evaluation.benchmarks.track import Track
    from evaluation.inference.predict import predict_tracks

    for _ in predict_tracks(model, embedder, (Track(f"{n}", file, 0) for n, file in enumerate(files))):  # type: ignore[arg-type]
        pass


def theirs(files: list[Path], embedder: object, model: object) -> None:
    import librosa
    import torch

    for file in files:
        samples, _ = librosa.load(file, sr=embedder.sampling_rate)  # type: ignore[attr-defined]
        vectors = embedder.embed(split_into_windows(samples, 10 * embedder.sampling_rate, 5 * embedder.sampling_rate))  # type: ignore[attr-defined]
        with torch.inference_mode():
            model(torch.from_numpy(vectors)).logits.softmax(-1).mean(0)  # type: ignore[operator]


def parts(file: Path, embedder: object, model: object) -> dict[str, float]:
    """Return the seconds of one thread for one track, by step: the best of seven."""
    import torch

    from evaluation.inference.predict import compute_logits

    rate = embedder.sampling_rate  # type: ignore[attr-defined]
    stereo, origin = decode_audio(file)
    sound = resample(to_mono(stereo), origin, rate)
    cut = split_into_windows(sound, 10 * rate, 5 * rate)
    vectors = embedder.embed(cut)  # type: ignore[attr-defined]
    work = {
        "decode": lambda: decode_audio(file),
        "resample": lambda: resample(to_mono(stereo), origin, rate),
        "embed": lambda: embedder.embed(cut),  # type: ignore[attr-defined]
        "classify": lambda: compute_logits(model, vectors),  # type: ignore[arg-type]
    }
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    took = {name: best(do) for name, do in work.items()}
    torch.set_num_threads(threads)
    return took


def best(do: Callable[[], object]) -> float:
    """Return the seconds of a call: the best of seven."""
    times = []
    for _ in range(7):
        start = perf_counter()
        do()
        times.append(perf_counter() - start)
    return min(times)


def peak(count: int, folder: Path) -> float:
    """Return the peak memory in MB of a process that predicts `count` tracks."""
    command = [sys.executable, __file__, "--predict", str(count), str(folder)]
    out = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    return float(out.stdout.split()[-1])


def predict(count: int, folder: Path) -> None:
    embedder = load_embedder(EmbedderSettings())
    files = sorted(folder.glob("*.mp3"))
    ours([files[number % len(files)] for number in range(count)], embedder, classifier(embedder))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    options = arguments(__doc__)
    count, rounds = (60, 2) if options.quick else (1_000, 2)
    with tempfile.TemporaryDirectory() as folder:
        files = make(Path(folder))
        embedder = load_embedder(EmbedderSettings())
        model = classifier(embedder)
        tracks = [files[number % KINDS] for number in range(count)]
        fewer = tracks[: max(20, count // 10)]  # the peer takes long
        ours(fewer[:20], embedder, model)
        theirs(fewer[:4], embedder, model)
        mine, peers = [], []
        for _ in range(rounds):
            start = perf_counter()
            ours(tracks, embedder, model)
            half = perf_counter()
            theirs(fewer, embedder, model)
            mine.append(count / (half - start))
            peers.append(len(fewer) / (perf_counter() - half))
        note = f"{count} tracks of {SECONDS} s, MP3 128 kbit/s, 44.1 kHz stereo"
        rows = [paired("melstats and classifier", "tracks/s", mine, peers, "librosa.load, same embedder", note)]
        took = parts(files[0], embedder, model)
        whole = sum(took.values())
        rows += [
            row(f"of it: {name}", "ms", 1e3 * seconds, note=f"{seconds / whole:.0%} of a track, one thread")
            for name, seconds in took.items()
        ]
        counting = best(lambda: measure_audio(files[0]))
        note = f"{counting / took['decode']:.0%} of decoding"
        rows.append(row("of decoding: its frames counted, opened", "ms", 1e3 * counting, note=note))
        small, large = peak(count // 10, Path(folder)), peak(count, Path(folder))
        rows.append(
            row(f"peak memory, {count} tracks", "MB", large, small, f"{count // 10} tracks", 1, "a separate process")
        )
        finish("evaluation", rows, options)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--predict"]:
        predict(int(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
