"""One GPU: what must be equal to the CPU first, then speed and memory of every part that runs on GPUs.

    uv run perf/gpu.py [--device cuda|cpu] [--tiny] [--seconds 420] [--json FILE]

Models have their published sizes and random weights, which is the same work; --tiny takes the smallest that their
classes allow, so that the script itself can be tested without a GPU. The checks come first. If one fails, the script
ends with status 1 after the table. Timings that do not fit into --seconds are left out, and the table says which.
The peers run in the same process on the same device.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import table
import torch
from musicgen import SAMPLING, build_model, synchronize, time_best, time_engine, time_peer

sys.path.insert(0, str(Path(__file__).parents[1]))

from builder.embedders.musicnn_network import MUSICNN_FRAMES, MUSICNN_SHAPES, MusicnnMel, MusicnnNetwork
from builder.embedders.passt_network import ARCHS, PasstNetwork
from builder.generators.musicgen.codec import Codec
from builder.generators.musicgen.engine import Engine, encode_text
from builder.generators.musicgen.sampling import Sampling, draw_uniforms
from builder.settings import TrainingSettings

CLIPS, CLIP_SECONDS = 57_562, 10  # of the paper's corpus (Kroher, Cuesta, Pikrakis 2023)
TEXT = 24  # tokens of a prompt
PASST = "passt_s_swa_p16_128_ap476"
HALVES = (torch.bfloat16, torch.float16)
Row = dict[str, Any]


class Bench:
    """What the checks and timings share: the models, the sizes, and the rows that are written."""

    def __init__(self, device: str, tiny: bool) -> None:
        self.device, self.tiny = device, tiny
        self.rows: list[Row] = []
        self.failed: list[str] = []
        self.left_out: list[str] = []
        self.model: Any = build_tiny_model() if tiny else build_model("cpu")
        self.frames = 20 if tiny else 500
        self.batches = (2, 3) if tiny else (64, 128, 256)
        self.rounds, self.steps = (1, 4) if tiny else (3, 24)

    def check(self, name: str, value: float, limit: float, unit: str = "", note: str = "") -> None:
        """Add a row of a value that may be `limit` at most."""
        if not value <= limit:  # NaN fails, too
            self.failed.append(name)
        text = f"at most {limit:g}: {'passed' if value <= limit else 'FAILED'}"
        self.rows.append(table.row(f"check: {name}", unit, value, note="; ".join(filter(None, (text, note)))))

    def inputs(self, batch: int, device: str) -> dict[str, torch.Tensor]:
        """Token ids of random prompts of different lengths, and their mask."""
        draw = torch.Generator().manual_seed(1)
        size = self.model.config.text_encoder.vocab_size
        ids = torch.randint(3, size - 1, (batch, TEXT), generator=draw)
        lengths = TEXT - torch.arange(batch) % 12
        mask = (torch.arange(TEXT) < lengths[:, None]).long()
        return {"input_ids": (ids * mask).to(device), "attention_mask": mask.to(device)}


def build_tiny_model() -> Any:
    """The smallest MusicGen that its classes allow."""
    from tests.builder.generators.musicgen import checkpoints

    return checkpoints.model().eval()


def synchronized_peak(device: str) -> float:
    """The most memory that tensors had since the last call, in GiB; 0 on a CPU."""
    if device != "cuda":
        return 0.0
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated() / 2**30
    torch.cuda.reset_peak_memory_stats()
    return peak


@torch.inference_mode()
def decode(bench: Bench, engine: Engine, model: Any, batch: int, frames: int, sampling: Sampling) -> torch.Tensor:
    """Codes [batch, codebooks, frames] of the first prompts, each from its own seed. -1 where a clip is not finite."""
    inputs = bench.inputs(64, str(engine.device))
    ids, mask = (inputs[name][:batch] for name in ("input_ids", "attention_mask"))
    noise = draw_uniforms(range(batch), engine.count_steps(frames), engine.codebooks)
    states = encode_text(model, ids, mask)
    codes, finite = engine.decode(states, mask, frames, noise, sampling)
    engine.release()
    return torch.where(finite[:, None, None], codes, -1).cpu()


def check_decoding(bench: Bench) -> None:
    """Greedy codes equal those of the CPU; a clip is the same in any batch; half precision has no NaN."""
    frames = 12 if bench.tiny else 50
    greedy = Sampling(greedy=True, guidance=3.0)
    expected = decode(bench, Engine(bench.model), bench.model, 2, frames, greedy)
    bench.model.to(bench.device)
    engine = Engine(bench.model)
    differ = (decode(bench, engine, bench.model, 2, frames, greedy) != expected).float().mean()
    bench.check("greedy codes in float32 that differ from the CPU's", 100 * float(differ), 0.0, "%")
    alone = decode(bench, engine, bench.model, 1, frames, SAMPLING)
    for batch in (3,) if bench.tiny else (8, 64):
        together = decode(bench, engine, bench.model, batch, frames, SAMPLING)[:1]
        differ = (together != alone).float().mean()
        bench.check(f"codes in float32 of a clip alone and among {batch} that differ", 100 * float(differ), 0.0, "%")
    for dtype in HALVES:
        bench.model.to(dtype)
        codes = decode(bench, Engine(bench.model), bench.model, 4, frames, SAMPLING)
        bench.check(f"clips with NaN in {dtype_name(dtype)}", int((codes < 0).any((1, 2)).sum()), 0, "clips of 4")
    bench.model.float()


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def make_audio(rate: int, seconds: float, count: int) -> torch.Tensor:
    """Decaying tones in noise: float32 [count, samples]."""
    rng, at = np.random.default_rng(0), np.arange(round(seconds * rate), dtype=np.float32) / rate
    tones = np.sin(2 * np.pi * rng.uniform(60, 4_000, (count, 1)).astype(np.float32) * at) * np.exp(-(at * 2 % 1))
    return torch.from_numpy(0.2 * tones + 0.02 * rng.standard_normal((count, len(at)), np.float32))


def make_passt(device: str, dtype: torch.dtype, tiny: bool) -> PasstNetwork:
    """PaSST with random weights, whose variances are like those of a trained one."""
    arch = replace(ARCHS[PASST], depth=1) if tiny else ARCHS[PASST]
    draw, weights = torch.Generator().manual_seed(0), {}
    for name, shape in arch.shapes().items():
        spread = 0.1 if len(shape) == 1 else 1.4 * math.prod(shape[1:]) ** -0.5
        centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        weights[name] = centre + spread * torch.randn(shape, generator=draw)
    return PasstNetwork(weights, arch, dtype, torch.device(device))


def make_musicnn(device: str, dtype: torch.dtype) -> Callable[[torch.Tensor], torch.Tensor]:
    """musicnn with random weights: one window, float32 [48,000], to its features."""
    draw, weights = torch.Generator().manual_seed(0), {}
    for name, shape in MUSICNN_SHAPES.shapes().items():
        weights[name] = math.prod(shape[:-1]) ** -0.5 * torch.randn(shape, generator=draw)
        if name.endswith(("gamma", "moving_variance")):
            weights[name] = torch.ones(shape)
    mel, network = MusicnnMel(torch.device(device)), MusicnnNetwork(weights, torch.device(device), dtype)
    return lambda window: network(mel(window)[:MUSICNN_FRAMES])[network.embedding]


@torch.inference_mode()
def check_embedders(bench: Bench) -> None:
    """PaSST and musicnn give the CPU's vectors to 1e-4 of the largest value."""
    clips = make_audio(32_000, 1 if bench.tiny else 10, 2)
    expected = make_passt("cpu", torch.float32, bench.tiny)(clips)
    found = make_passt(bench.device, torch.float32, bench.tiny)(clips.to(bench.device)).cpu()
    bench.check("PaSST's largest difference from the CPU, of its largest value", relative(found, expected), 1e-4)
    window = make_audio(16_000, 3, 1)[0]
    expected = make_musicnn("cpu", torch.float32)(window)
    found = make_musicnn(bench.device, torch.float32)(window.to(bench.device)).cpu()
    bench.check("musicnn's largest difference from the CPU, of its largest value", relative(found, expected), 1e-4)


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def check_training(bench: Bench) -> None:
    """The learning curve of a classifier is that of the CPU."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    from training.data.features import Features, Split
    from training.models.classifier import SynthmirConfig
    from training.optim.loop import fit

    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(5, (600,), generator=draw)
    rows = torch.randn(600, 64, generator=draw) + torch.nn.functional.one_hot(labels, 64)
    names = tuple("abcde")
    parts = [
        Split(tuple(map(str, range(len(x)))), x, y)
        for x, y in ((rows[:500], labels[:500]), (rows[500:], labels[500:]))
    ]
    features = Features("genre", "random", names, *parts, {})
    settings = TrainingSettings(epochs=5, seed=1)
    config = SynthmirConfig(embedder={"dim": 64}, id2label=dict(enumerate(names)))
    losses = []
    for on_cpu in (True, bench.device == "cpu"):
        AcceleratorState._reset_state(reset_partial_state=True)
        curve = fit(config, features, settings, Accelerator(cpu=on_cpu)).curve
        losses.append([point["validation_loss"] for point in curve])
    AcceleratorState._reset_state(reset_partial_state=True)
    apart = max(abs(one - other) / other for one, other in zip(losses[1], losses[0], strict=True))
    bench.check("the largest difference of five validation losses from the CPU's, of the loss", apart, 1e-3)


def time_decoding(bench: Bench) -> Iterator[str]:
    """Decoding in half precision at several batch sizes, with and without graphs, beside `generate`."""
    for dtype, batch in product(HALVES, bench.batches):
        name = f"{dtype_name(dtype)}, {batch} clips"
        yield f"decode {name}"
        bench.model.to(bench.device, dtype)
        inputs = bench.inputs(batch, bench.device)
        engines = {"with graphs": Engine(bench.model)}
        if bench.device == "cuda":
            plain = Engine(bench.model)
            plain._captures = False
            engines["without graphs"] = plain
        for kind, engine in engines.items():
            synchronized_peak(bench.device)
            with torch.inference_mode():
                states = encode_text(bench.model, **rename(inputs))
            steps = engine.count_steps(bench.frames)
            run = engine._start_run(
                states,
                inputs["attention_mask"],
                bench.frames,
                draw_uniforms(range(batch), steps, engine.codebooks),
                SAMPLING,
            )
            run.cache.normal_()
            middle = min(240, steps // 2)
            time_engine(engine, run, 2, bench.device, middle)
            pairs = [
                (
                    time_engine(engine, run, bench.steps, bench.device, middle),
                    time_peer(bench.model, inputs, min(bench.steps, 8), bench.device, middle),
                )
                for _ in range(bench.rounds)
            ]
            speeds = [[batch * bench.frames / 50 / (steps * pair[side]) for pair in pairs] for side in (0, 1)]
            peak = synchronized_peak(bench.device)
            label = kind if bench.device == "cuda" else "no graphs on a CPU"
            hours = CLIPS * CLIP_SECONDS / statistics.median(speeds[0]) / 60
            note = (
                f"{1e3 * statistics.median(pair[0] for pair in pairs):.2f} ms a step; {CLIPS:,} clips: {hours:.1f} min"
            )
            note += f"; {peak:.1f} GiB with the peer's" if peak else ""
            bench.rows.append(table.paired(f"decode {name}, {label}", "audio-s/s", *speeds, "generate", note))
            engine.release()


def rename(inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {"ids": inputs["input_ids"], "mask": inputs["attention_mask"]}


@torch.inference_mode()
def time_codec(bench: Bench) -> Iterator[str]:
    """EnCodec's decoder beside transformers'."""
    config, batch = bench.model.config.decoder, 2 if bench.tiny else 16
    codes = torch.randint(config.vocab_size, (batch, config.num_codebooks, bench.frames), device=bench.device)
    for dtype in HALVES:
        yield f"EnCodec {dtype_name(dtype)}"
        bench.model.to(bench.device, dtype)
        codec = Codec(bench.model.audio_encoder, dtype)
        pairs = [
            (
                time_best(partial(codec.decode, codes), bench.device, 2),
                time_best(partial(bench.model.audio_encoder.decode, codes[None], [None]), bench.device, 2),
            )
            for _ in range(bench.rounds)
        ]
        speeds = [[batch * bench.frames / 50 / pair[side] for pair in pairs] for side in (0, 1)]
        bench.rows.append(
            table.paired(f"EnCodec {dtype_name(dtype)}, {batch} clips", "audio-s/s", *speeds, "transformers")
        )


@torch.inference_mode()
def time_embedders(bench: Bench) -> Iterator[str]:
    """PaSST in batches, and musicnn window by window, each from sound on the device."""
    seconds, batch = (1, 2) if bench.tiny else (10, 64)
    for dtype in (torch.float32, *HALVES[:1]):
        yield f"PaSST {dtype_name(dtype)}"
        network, clips = (
            make_passt(bench.device, dtype, bench.tiny),
            make_audio(32_000, seconds, batch).to(bench.device),
        )
        synchronized_peak(bench.device)
        speed = batch / time_best(partial(network, clips), bench.device, bench.rounds)
        note = f"{CLIPS:,} clips: {CLIPS / speed / 60:.1f} min; {synchronized_peak(bench.device):.1f} GiB"
        bench.rows.append(
            table.row(f"PaSST {dtype_name(dtype)}, {batch} clips", "clips/s", speed, n=bench.rounds, note=note)
        )
        yield f"musicnn {dtype_name(dtype)}"
        embed, window = make_musicnn(bench.device, dtype), make_audio(16_000, 3, 1)[0].to(bench.device)
        speed = 1 / time_best(partial(embed, window), bench.device, bench.rounds)
        bench.rows.append(table.row(f"musicnn {dtype_name(dtype)}", "windows/s", speed, n=bench.rounds))


def time_clips(bench: Bench) -> Iterator[str]:
    """Whole clips as `synthmir build` makes them: from prompts to sound on the host."""
    from builder.clip import Clip, Prompt
    from builder.generators.musicgen.generator import MusicGen
    from builder.settings import GeneratorSettings
    from builder.taxonomy import Taxonomy
    from tests.builder.generators.musicgen import checkpoints

    yield "whole clips"
    with tempfile.TemporaryDirectory() as folder:
        bench.model.to("cpu", torch.float32).save_pretrained(folder)
        checkpoints.tokenizer().save_pretrained(folder)
        size = bench.batches[0]
        settings = GeneratorSettings(
            name="musicgen", model=folder, seconds=1 if bench.tiny else CLIP_SECONDS, batch_size=size,
            dtype="bfloat16", device=bench.device,
        )  # fmt: skip
        made = MusicGen(settings, Taxonomy.load("paper"))
        text = "a rock track. distorted guitars over a driving beat"
        clips = [Clip(str(seed), Prompt(text, text, genre="rock"), "", seed, "train") for seed in range(size)]
        made.generate(clips)  # captures the graphs
        synchronized_peak(bench.device)
        start = synchronize(bench.device)
        made.generate(clips)
        took = synchronize(bench.device) - start
        note = f"prompt to waveform; {synchronized_peak(bench.device):.1f} GiB; made again in float32: {made.retried}"
        bench.rows.append(
            table.row(f"whole clips, bfloat16, {size} clips", "audio-s/s", size * made.seconds / took, note=note)
        )


CHECKS = (check_decoding, check_embedders, check_training)
TIMINGS = (time_clips, time_codec, time_embedders, time_decoding)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="the smallest models, to test this script")
    parser.add_argument("--quick", action="store_true", help="the same as --tiny --device cpu where there is no GPU")
    parser.add_argument("--seconds", type=float, default=420.0, help="after which no timing is begun")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table there as well")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        if not options.quick:
            parser.error("there is no GPU here; to test this script: --device cpu --tiny")
        options.device, options.tiny = "cpu", True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    end = monotonic() + options.seconds
    bench = Bench(options.device, options.tiny)
    for check in CHECKS:
        check(bench)
    for timing in TIMINGS:
        for name in timing(bench):
            if monotonic() > end:
                bench.left_out.append(name)
                break
    if bench.left_out:
        print(f"not measured, as {options.seconds:g} s were over: {', '.join(bench.left_out)} and what follows them")
    table.finish("gpu", bench.rows, options)
    if bench.failed:
        sys.exit(f"FAILED: {'; '.join(bench.failed)}")


if __name__ == "__main__":
    main()
