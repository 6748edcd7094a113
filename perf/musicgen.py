"""MusicGen-small, full size with random weights: synthmir's engine and codec compared with transformers.

    uv run perf/musicgen.py [--quick] [--device cpu|cuda] [--json FILE]

Both sides decode in one process with the same data type, batch and allocator settings, in interleaved rounds of a few
steps in the middle of a ten-second clip, where the cache is half full. The time of whole clips is the sum of their
parts: text, 503 steps, EnCodec. The share of the roofline is the ideal time of a step over the measured time. Ideal is
the time to read weights, keys and values at the measured memory speed, or to compute the products at the measured
speed of large ones if that is longer. "Of packed" uses the speed of packed products with as many rows.
"""

from __future__ import annotations

import inspect
import statistics
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from time import perf_counter
from typing import Any

import torch
from table import arguments, finish, paired, row
from transformers import (
    DynamicCache,
    EncodecConfig,
    EncoderDecoderCache,
    LogitsProcessorList,
    MusicgenConfig,
    MusicgenDecoderConfig,
    MusicgenForConditionalGeneration,
    T5Config,
)
from transformers.utils import logging

from builder.cpu_kernels import tune_allocator
from builder.generators.musicgen.codec import Codec
from builder.generators.musicgen.engine import Engine, encode_text
from builder.generators.musicgen.kernels.linear import make_product
from builder.generators.musicgen.sampling import Sampling, draw_uniforms

FRAMES, STEPS, MIDDLE, TEXT = 500, 503, 240, 24
SAMPLING = Sampling(guidance=3.0, top_k=250)
CASES = [(torch.float32, 1), (torch.float32, 8), (torch.bfloat16, 1), (torch.bfloat16, 8), (torch.bfloat16, 32)]
QUICK = [(torch.bfloat16, 8)]


def build_model(device: str) -> MusicgenForConditionalGeneration:
    """A model of MusicGen-small's published size with random weights."""
    text = T5Config(vocab_size=32128, d_model=768, d_ff=3072, num_layers=12, num_heads=12, decoder_start_token_id=0)
    codec = EncodecConfig(
        sampling_rate=32_000,
        upsampling_ratios=[8, 5, 4, 4],
        num_filters=64,
        hidden_size=128,
        codebook_size=2048,
        target_bandwidths=[2.2],
        use_causal_conv=False,
        use_conv_shortcut=False,
    )
    config = MusicgenConfig(
        text_encoder=text.to_dict(), audio_encoder=codec.to_dict(), decoder=MusicgenDecoderConfig().to_dict()
    )
    torch.manual_seed(0)
    model = MusicgenForConditionalGeneration(config).eval().to(device)
    for layer in model.audio_encoder.quantizer.layers:
        layer.codebook.embed.normal_()
    pad = config.decoder.pad_token_id
    model.generation_config.update(decoder_start_token_id=pad, pad_token_id=pad, bos_token_id=pad)
    return model


def synchronize(device: str) -> float:
    """Wait for the device and return the time."""
    if device == "cuda":
        torch.cuda.synchronize()
    return perf_counter()


class Timer:
    """A logits processor that records the time of each step."""

    def __init__(self, device: str) -> None:
        self.device, self.times = device, list[float]()

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Leave the scores as they are."""
        self.times.append(synchronize(self.device))
        return scores


def time_peer(model: Any, inputs: dict[str, torch.Tensor], steps: int, device: str, middle: int = MIDDLE) -> float:
    """Seconds a step of `generate` on a cache that is half full of random numbers, which is the same work."""
    config, batch = model.config.decoder, len(inputs["input_ids"])
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    shape = (2 * batch, config.num_attention_heads, middle, config.hidden_size // config.num_attention_heads)
    for layer in range(config.num_hidden_layers):
        keys = torch.randn(shape, dtype=model.decoder.dtype, device=device)
        cache.self_attention_cache.update(keys, keys.clone(), layer)
    timer = Timer(device)
    known = inspect.signature(model.prepare_inputs_for_generation).parameters
    model.generate(
        **inputs,
        **{"cache" if "cache" in known else "past_key_values": cache},  # transformers 5.24 renamed it
        logits_processor=LogitsProcessorList([timer]),
        max_new_tokens=steps + 2,
        do_sample=True,
        top_k=SAMPLING.top_k,
        guidance_scale=SAMPLING.guidance,
    )
    return statistics.median(later - sooner for sooner, later in pairwise(timer.times[1:]))


def time_engine(engine: Engine, run: Any, steps: int, device: str, middle: int = MIDDLE) -> float:
    """Seconds a step of the engine at the same position."""
    run.position.fill_(middle)
    times = [synchronize(device)]
    with torch.inference_mode():
        if engine._captures:
            graph = engine._capture(run, SAMPLING)[middle // 64]
        for step in range(steps):
            if engine._captures:
                graph.replay()
            else:
                engine._step(run, SAMPLING, middle + step + 1)
            times.append(synchronize(device))
    return statistics.median(later - sooner for sooner, later in pairwise(times))


def time_best(work: Callable[[], Any], device: str, repeats: int = 5) -> float:
    """The seconds of the fastest of a few runs, after one to warm up."""
    work()
    times = []
    for _ in range(repeats):
        clock = synchronize(device)
        work()
        times.append(synchronize(device) - clock)
    return min(times)


class Machine:
    """The measured limits of this machine: bytes read a second, and operations a second."""

    def __init__(self, device: str) -> None:
        self.device = device
        block = torch.ones(2**27, device=device)
        self.bandwidth = block.numel() * 4 / time_best(block.sum, device)
        self._large: dict[torch.dtype, float] = {}

    def product_rate(self, dtype: torch.dtype) -> float:
        """Operations a second of a large packed product."""
        if dtype not in self._large:
            x = torch.randn(2048, 2048, device=self.device).to(dtype)
            apply = make_product(x)
            self._large[dtype] = 2 * 2048**3 / time_best(lambda: apply(x), self.device)
        return self._large[dtype]

    def packed_rate(self, dtype: torch.dtype, rows: int) -> float:
        """Operations a second of packed products with few rows, whose weights are read from memory."""
        x = torch.randn(rows, 1024, device=self.device).to(dtype)
        weights = [make_product(torch.randn(4096, 1024, device=self.device).to(dtype)) for _ in range(24)]
        return 24 * 2 * rows * 4096 * 1024 / time_best(lambda: [apply(x) for apply in weights], self.device)


def describe_efficiency(machine: Machine, dtype: torch.dtype, batch: int, seconds: float) -> str:
    """The time of a step relative to the machine's limits, and to those of packed products."""
    width, ffn, layers, heads, item = 1024, 4096, 24, 4 * 2048, dtype.itemsize
    both = layers * (4 * width**2 + 2 * width * ffn) + heads * width  # parameters for all rows
    text = layers * 2 * width**2  # parameters for rows with text only
    flops = 2 * batch * (2 * both + text)
    cache = layers * 2 * width * item * (2 * batch * MIDDLE + batch * TEXT)
    weights = (both + text) * item
    ideal = max(weights / machine.bandwidth, flops / machine.product_rate(dtype)) + cache / machine.bandwidth
    packed = flops / machine.packed_rate(dtype, 2 * batch) + cache / machine.bandwidth
    return f"{ideal / seconds:.0%} of the roofline, {packed / seconds:.0%} of packed"


@torch.inference_mode()
def main() -> None:
    options = arguments(__doc__)
    logging.set_verbosity_error()
    device, rounds, steps = options.device, (2 if options.quick else 3), (4 if options.quick else 6)
    tune_allocator()
    machine, model = Machine(device), build_model(device)
    rows = [row("memory read", "GB/s", machine.bandwidth / 1e9)]
    parts: dict[Any, tuple[float, float]] = {}
    for dtype, batch in QUICK if options.quick else CASES:
        model.to(dtype)
        ids = torch.randint(3, 32_000, (batch, TEXT), device=device)
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        engine = Engine(model)
        states = encode_text(model, ids, inputs["attention_mask"])
        noise = draw_uniforms(range(batch), STEPS, 4)
        run = engine._start_run(states, inputs["attention_mask"], FRAMES, noise, SAMPLING)
        run.cache.normal_()
        time_engine(engine, run, 2, device)
        pairs = [
            (time_engine(engine, run, steps, device), time_peer(model, inputs, steps, device)) for _ in range(rounds)
        ]
        mine, peer = ([batch * FRAMES / 50 / (STEPS * pair[side]) for pair in pairs] for side in (0, 1))
        took = [statistics.median(pair[side] for pair in pairs) for side in (0, 1)]
        name = f"{str(dtype).removeprefix('torch.')}, {batch} clip(s)"
        efficiency = describe_efficiency(machine, dtype, batch, took[0])
        note = f"{1e3 * took[0]:.1f} and {1e3 * took[1]:.1f} ms a step; {efficiency}"
        rows.append(paired(f"decode {name}", "audio-s/s", mine, peer, "generate", note))
        engine.release()

        some = min(batch, 8)
        codes = torch.randint(2048, (some, 4, FRAMES), device=device)
        codec = Codec(model.audio_encoder, dtype)
        times = []
        for _ in range(max(1, rounds // 2)):
            clock = synchronize(device)
            codec.decode(codes)
            half = synchronize(device)
            model.audio_encoder.decode(codes[None], [None])
            times.append((half - clock, synchronize(device) - half))
        mine, peer = ([some * FRAMES / 50 / pair[side] for pair in times] for side in (0, 1))
        voice = [statistics.median(pair[side] for pair in times) / some for side in (0, 1)]
        note = f"{1e3 * voice[0]:.0f} and {1e3 * voice[1]:.0f} ms a clip"
        rows.append(paired(f"EnCodec {name}", "audio-s/s", mine, peer, "transformers", note))
        text = time_best(partial(encode_text, model, ids, inputs["attention_mask"]), device, 1) / batch
        whole = tuple(text + STEPS * took[side] / batch + voice[side] for side in (0, 1))
        parts[dtype, batch] = whole
        rows.append(
            row(f"whole clips {name}", "audio-s/s", 10 / whole[0], 10 / whole[1], "generate", rounds, "from the parts")
        )
    if (default := parts.get((torch.float32, 1))) is not None:
        for (dtype, batch), (mine_whole, _) in parts.items():
            name = f"{str(dtype).removeprefix('torch.')}, {batch} clip(s)"
            rows.append(
                row(f"whole clips {name}", "audio-s/s", 10 / mine_whole, 10 / default[1], "generate, float32, 1 clip")
            )
    finish("musicgen", rows, options)


if __name__ == "__main__":
    main()
