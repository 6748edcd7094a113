"""PaSST compared with hear21passt, and musicnn with its package: speed, difference, shares, and the paper's corpus.

uv run perf/embedding.py [--only passt|musicnn] [--quick] [--device cpu|cuda] [--json FILE]

PaSST's weights are full-size and random, which is the same work; musicnn's are the released ones. Each side runs in
its own process, because the allocator is tuned for a whole process. The sides alternate batch by batch and never run
at the same time. musicnn needs an old TensorFlow, so uv makes an environment for it (musicnn_package.py). The rows of
musicnn are left out, and it says so, where there is no uv or no package index. With --only, the rows of the other
stay in FILE, with the day they were measured on.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import table

from builder.errors import BackendError

CLIPS = 57_562  # in the corpus of Kroher et al. 2023
SECONDS, RATE = 10, 32_000
SIDES = {  # name: (synthmir's or the package's, data type, whether the allocator is tuned)
    "package": ("package", "float32", False),
    "package, tuned": ("package", "float32", True),
    "float32": ("synthmir", "float32", True),
    "bfloat16": ("synthmir", "bfloat16", True),
}
MUSICNN_SIDES = {"float32": ("musicnn", "float32", True), "bfloat16": ("musicnn", "bfloat16", True)}
MUSICNN_ENVIRONMENT = ["tensorflow==2.15.1", "librosa<0.11", "numpy<2", "setuptools<80"]
PROTOTYPE_SECONDS = 0.1  # of a window of musicnn on one core in the first port: a quarter is asked for
TARGETS = [  # name, side, peer, target ratio on a CPU
    ("float32, default settings", "float32", "package", 2.4),
    ("bfloat16, default settings", "bfloat16", "package", 3.4),
    ("float32, same allocator settings", "float32", "package, tuned", 1.8),
    ("bfloat16, same allocator settings", "bfloat16", "package, tuned", 2.4),
]


Side = Callable[[np.ndarray], tuple[np.ndarray, float]]  # audio -> embeddings and seconds


def make_clips(count: int, seed: int = 0) -> np.ndarray:
    """Make clips of decaying tones in noise: float32 [count, samples]."""
    rng, at = np.random.default_rng(seed), np.arange(SECONDS * RATE, dtype=np.float32) / RATE
    tones = np.sin(2 * np.pi * rng.uniform(60, 4_000, (count, 1)).astype(np.float32) * at) * np.exp(-(at * 2 % 1))
    return (0.2 * tones + 0.02 * rng.standard_normal((count, len(at)), np.float32)).astype(np.float32)


def save_random_weights(path: Path) -> None:
    """Write random weights in the released format, with variances like those of a trained transformer."""
    import torch
    from safetensors.torch import save_file

    from builder.embedders.passt_network import ARCHS

    draw, weights = torch.Generator().manual_seed(0), {}
    for name, shape in ARCHS["passt_s_swa_p16_128_ap476"].shapes().items():
        spread = 0.1 if len(shape) == 1 else 1.4 * float(np.prod(shape[1:])) ** -0.5
        centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        weights[name] = centre + spread * torch.randn(shape, generator=draw)
    save_file(weights, path)


def load_side(
    kind: str, dtype: str, tuned: bool, weights: Path | None, device: str
) -> Callable[[np.ndarray], np.ndarray]:
    """Load a side, which embeds float32 [batch, samples]; the package is used as its documentation says."""
    import torch

    from builder.cpu_kernels import tune_allocator
    from builder.embedders.musicnn import Musicnn
    from builder.embedders.passt import Passt
    from builder.settings import EmbedderSettings

    if kind == "musicnn":
        return Musicnn(EmbedderSettings(name="musicnn", dtype=dtype, device=device)).embed
    if kind == "synthmir":
        return Passt(EmbedderSettings(name="passt", weights=str(weights), dtype=dtype, device=device)).embed
    if tuned:
        tune_allocator()
    from hear21passt import base
    from hear21passt.models.passt import get_model
    from safetensors.torch import load_file

    base.get_model_passt = lambda arch: get_model(arch=arch, pretrained=False)
    model = base.get_basic_model(mode="embed_only").to(device).eval()
    model.net.load_state_dict(load_file(weights), strict=False)
    return lambda audio: base.get_scene_embeddings(torch.from_numpy(audio), model).cpu().numpy()


def serve_side(side: tuple[str, str, bool], weights: Path | None, device: str, pipe: Connection) -> None:
    """Run a side in this process: receive audio, send its embeddings and the seconds."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        embed = load_side(*side, weights, device)
        while (audio := pipe.recv()) is not None:
            clock = time.perf_counter()
            embeddings = embed(audio)
            pipe.send((embeddings, time.perf_counter() - clock))


@contextlib.contextmanager
def start_sides(
    sides: dict[str, tuple[str, str, bool]], weights: Path | None, device: str
) -> Iterator[dict[str, Side]]:
    """Start the processes, and give for each side a function from audio to embeddings and seconds."""
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Any] = {}
    workers = []
    for name, side in sides.items():
        pipes[name], far = context.Pipe()
        workers.append(context.Process(target=serve_side, args=(side, weights, device, far), daemon=True))
        workers[-1].start()

    def ask(name: str) -> Side:
        def run(audio: np.ndarray) -> tuple[np.ndarray, float]:
            pipes[name].send(audio)
            answer: tuple[np.ndarray, float] = pipes[name].recv()
            return answer

        return run

    yield {name: ask(name) for name in sides}
    for name, worker in zip(sides, workers, strict=True):
        pipes[name].send(None)
        worker.join()


def compare_sides(
    weights: Path, device: str, batch: int, rounds: int
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Compare speed and embeddings; also return the seconds a clip of each side."""
    seconds: dict[str, list[float]] = {name: [] for name in SIDES}
    with start_sides(SIDES, weights, device) as run:
        embeddings = {name: run[name](make_clips(min(2, batch)))[0] for name in SIDES}  # also warms up
        for turn in range(rounds):
            audio = make_clips(batch, turn)
            for name in SIDES:
                seconds[name].append(run[name](audio)[1] / batch)
    speed = {name: [1 / one for one in some] for name, some in seconds.items()}
    rows = [
        table.paired(name, "clips/s", speed[side], speed[peer], f"hear21passt, float32, batch {batch}", note)
        for name, side, peer, target in TARGETS
        for note in [f"target {target}x on a CPU" if device == "cpu" else "target 4x on a GPU"]
    ]
    for dtype in ("float32", "bfloat16"):
        one, other = embeddings[dtype], embeddings["package"]
        cosine = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
        note = f"largest difference {np.abs(one - other).max():.1e}; largest value {np.abs(other).max():.2g}"
        rows.append(
            table.row(
                f"{dtype}, lowest cosine similarity with hear21passt", "", float(cosine.min()), n=len(one), note=note
            )
        )
    return rows, {name: statistics.median(some) for name, some in seconds.items()}


@contextlib.contextmanager
def start_package(folder: Path) -> Iterator[Callable[[str, Path], tuple[np.ndarray, float]]]:
    """Start musicnn's package in its own environment: a function of what to do and a file. Raises RuntimeError."""
    from builder.embedders.musicnn_weights import download_wheel

    root = Path(__file__).parents[1]
    uv = shutil.which("uv") or shutil.which("uv", path=root / ".uv" / "bin")
    if uv is None:
        raise RuntimeError("there is no uv")
    with zipfile.ZipFile(download_wheel()) as wheel:
        wheel.extractall(folder / "package")
    packages = [part for package in MUSICNN_ENVIRONMENT for part in ("--with", package)]
    command = [uv, "run", "--no-project", "--quiet", "--python", "3.11", *packages, "python"]
    process = subprocess.Popen(
        [*command, str(root / "perf" / "musicnn_package.py")], text=True, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(folder / "package")},
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None

    def ask(how: str, file: Path) -> tuple[np.ndarray, float]:
        print(how, file, file=process.stdin, flush=True)
        if not (seconds := process.stdout.readline()):
            raise RuntimeError("its process ended")
        return np.load(file.with_suffix(".out.npy")), float(seconds)

    try:
        if process.stdout.readline().strip() != "ready":
            raise RuntimeError((process.stderr.read().strip() or "its process ended").splitlines()[-1])
        threading.Thread(target=process.stderr.read, daemon=True).start()  # else its pipe fills
        yield ask
    finally:
        process.stdin.close()
        process.wait()


def compare_musicnn(device: str, windows: int, rounds: int, folder: Path) -> list[dict[str, Any]]:
    """Compare speed and embeddings with the package, with its session kept and as its documentation says."""
    import soundfile

    clips = make_clips(-(-windows // 6))[:, : 6 * 48_000].reshape(-1, 48_000)[:windows]
    file, song = folder / "windows.npy", folder / "song.wav"
    soundfile.write(song, clips[:10].ravel(), 16_000, subtype="FLOAT")
    seconds: dict[str, list[float]] = {name: [] for name in (*MUSICNN_SIDES, "session", "extractor")}
    with start_sides(MUSICNN_SIDES, None, device) as run, start_package(folder) as package:
        expected = []
        for window in clips[:6]:  # one by one: its features of later windows are not what its own output layer gets
            np.save(file, window[None])
            expected.append(package("session", file)[0][0])
        np.save(file, clips)
        embeddings = {name: run[name](clips)[0][: len(expected)] for name in MUSICNN_SIDES}  # also warms up
        package("session", file)
        for _ in range(rounds):
            for name in MUSICNN_SIDES:
                seconds[name].append(run[name](clips)[1] / windows)
            seconds["session"].append(package("session", file)[1] / windows)
            seconds["extractor"].append(package("extractor", song)[1] / 10)
    speed = {name: [1 / one for one in some] for name, some in seconds.items()}
    peers = {
        "session": f"TensorFlow 2.15.1, session kept, batch {windows}",
        "extractor": "extractor() on a file of 30 s",
    }
    rows = [
        table.paired(f"musicnn, {name}", "windows/s", speed[name], speed[peer], text)
        for name in MUSICNN_SIDES
        for peer, text in peers.items()
    ]
    other = np.stack(expected)
    for name, one in embeddings.items():
        cosine = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
        note = f"largest difference {np.abs(one - other).max():.1e}; largest value {np.abs(other).max():.2g}"
        label = f"musicnn, {name}, lowest cosine similarity with the package"
        rows.append(table.row(label, "", float(cosine.min()), n=len(one), note=note))
    return rows


def measure_musicnn(device: str, count: int) -> list[dict[str, Any]]:
    """Measure the time of one window of musicnn's models on one core: the whole, and the spectrogram alone."""
    import torch

    from builder.embedders.musicnn import Musicnn
    from builder.settings import EmbedderSettings

    torch.set_num_threads(1)
    window = torch.from_numpy(make_clips(1)[0, :48_000])
    rows = []
    for arch, dtype in itertools.product(("MSD_musicnn", "MSD_vgg"), MUSICNN_SIDES):
        model = Musicnn(EmbedderSettings(name="musicnn", arch=arch, dtype=dtype, device=device))
        clock = time.perf_counter if device == "cuda" else time.thread_time  # what else the core does is not counted
        whole = time_median(lambda: model.layers(window), count, device, clock)  # noqa: B023
        spectrogram = time_median(lambda: model._mel(window), count, device, clock)  # noqa: B023
        note = f"CPU time; its spectrogram {1e3 * spectrogram:.2f} ms"
        if arch == "MSD_musicnn":
            note += f"; at most {1e3 * PROTOTYPE_SECONDS / 4:.0f} ms asked for"
        rows.append(table.row(f"{arch}, {dtype}, a window of 3 s, one core", "ms", 1e3 * whole, n=count, note=note))
    return rows


def time_median(
    action: Callable[[], Any], count: int, device: str, clock: Callable[[], float] = time.perf_counter
) -> float:
    """The median seconds of an action over `count` calls after a first one."""
    import torch

    times = []
    for _ in range(count + 1):
        start = clock()
        action()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(clock() - start)
    return statistics.median(times[1:])


def measure_shares(weights: Path, dtype: str, device: str, count: int) -> list[dict[str, Any]]:
    """Measure the shares of the time of one clip in one thread: reading, spectrogram, transformer."""
    import torch

    from builder.audio import encode_flac, load_audio, resample
    from builder.embedders.passt import Passt
    from builder.settings import EmbedderSettings

    torch.set_num_threads(1)
    network = Passt(EmbedderSettings(name="passt", weights=str(weights), dtype=dtype, device=device))._network
    audio = make_clips(1)
    mel = network.mel(torch.from_numpy(audio).to(device))
    flac, other = encode_flac(audio[0], RATE), encode_flac(resample(audio[0], RATE, 44_100), 44_100)

    parts = {
        "reading FLAC at 32 kHz": lambda: load_audio(flac, RATE),
        "reading FLAC at 44.1 kHz and resampling": lambda: load_audio(other, RATE),
        "log-mel spectrogram": lambda: network.mel(torch.from_numpy(audio).to(device)),
        "transformer": lambda: network.features(mel),
    }
    took = {name: time_median(action, count, device) for name, action in parts.items()}
    whole = sum(took.values()) - took["reading FLAC at 32 kHz"]
    return [
        table.row(
            f"{dtype}, share: {name}", "%", 100 * one / whole, n=count, note=f"{1e3 * one:.1f} ms a clip, 1 thread"
        )
        for name, one in took.items()
    ]


def project_corpus(weights: Path, dtype: str, device: str, count: int, folder: Path, peer: float) -> dict[str, Any]:
    """Embed `count` clips from FLAC files to Parquet, and project the time for the paper's corpus."""
    from builder.audio import encode_flac
    from builder.embedders.embed_dataset import embed_dataset
    from builder.settings import EmbedderSettings

    source = folder / "clips"
    source.mkdir(exist_ok=True)
    for number in range(0, count, 10):
        for offset, clip in enumerate(make_clips(min(10, count - number), number)):
            (source / f"{number + offset:05d}.flac").write_bytes(encode_flac(clip, RATE))
    settings = EmbedderSettings(name="passt", weights=str(weights), dtype=dtype, device=device)
    starts: list[float] = []
    record = embed_dataset(
        source, settings, folder / f"out-{dtype}", progress=lambda done, total: starts.append(time.perf_counter())
    )
    each = (time.perf_counter() - starts[0]) / record.rows  # the model is loaded once, whatever the number of clips
    hours = each * CLIPS / 3600
    return table.row(
        f"{dtype}, {CLIPS:,} clips, projected", "h", hours, peer * CLIPS / 3600, "hear21passt, defaults", count,
        f"from {count} clips measured, FLAC to Parquet: {each:.3f} s a clip, {os.cpu_count()} cores",
    )  # fmt: skip


def compare_passt(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Every row of PaSST."""
    batch, rounds, count = (2, 1, 2) if options.quick else (8, 5, 200)
    weights = folder / "passt.safetensors"
    save_random_weights(weights)
    rows, seconds = compare_sides(weights, options.device, batch, rounds)
    for dtype in ("float32", "bfloat16"):
        rows.append(project_corpus(weights, dtype, options.device, count, folder, seconds["package"]))
    for dtype in ("float32", "bfloat16"):
        rows += measure_shares(weights, dtype, options.device, 1 if options.quick else 7)
    return rows


def keep_rows(file: Path | None, only: str | None) -> list[dict[str, Any]]:
    """The rows of a file that are not measured now, with the day they were measured on."""
    if only is None or file is None or not file.exists():
        return []
    found = json.loads(file.read_text(encoding="utf-8"))
    kept = [row for row in found["rows"] if row["name"].startswith(("musicnn", "MSD_")) == (only == "passt")]
    for row in kept:
        if "measured on" not in row["note"]:
            row["note"] = "; ".join(filter(None, (row["note"], f"measured on {found['date']}")))
    return kept


def main() -> None:
    parser = table.make_parser(__doc__)
    parser.add_argument("--only", choices=("passt", "musicnn"))
    options = parser.parse_args()
    rows = keep_rows(options.json, options.only)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.only != "musicnn":
            rows += compare_passt(options, folder)
        if options.only != "passt":
            rows += measure_musicnn(options.device, 3 if options.quick else 40)
            try:
                rows += compare_musicnn(options.device, 20 if options.quick else 80, 1 if options.quick else 5, folder)
            except (RuntimeError, BackendError) as error:
                print(f"musicnn's package is not compared: {error}")
    table.finish("embedding", rows, options)


if __name__ == "__main__":
    main()
