"""MusicGen-small's language model, full size with random weights: synthmir's engine compared with audiocraft.

    uv run perf/musicgen_audiocraft.py [--quick] [--device cpu|cuda] [--json FILE]

The engine gets the same weights, converted as the generator `audiocraft` converts them. Both sides decode in one
process with the same data type, batch, text and allocator settings, in interleaved rounds of a few steps in the middle
of a ten-second clip, where the cache is half full. audiocraft decodes in float32 on CPUs; for bfloat16 its weights are
rounded, which is faster than autocast.
"""

from __future__ import annotations

import logging
import statistics
import warnings
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import torch
from musicgen import FRAMES, MIDDLE, SAMPLING, STEPS, TEXT, synchronize, time_engine
from table import arguments, finish, paired
from torch import nn

from builder.cpu_kernels import tune_allocator
from builder.generators.audiocraft.weights import AudioCraftModel, convert_language_model
from builder.generators.musicgen.engine import Engine
from builder.generators.musicgen.sampling import draw_uniforms

CASES = [(torch.float32, 1), (torch.float32, 8), (torch.bfloat16, 1), (torch.bfloat16, 8)]
QUICK = [(torch.bfloat16, 8)]
SMALL = {
    "lm_model": "transformer_lm",
    "device": "cpu",
    "dtype": "float32",
    "dataset": {"segment_duration": 30},
    "classifier_free_guidance": {"training_dropout": 0.3, "inference_coef": 3.0},
    "attribute_dropout": {},
    "codebooks_pattern": {"modeling": "delay", "delay": {"delays": [0, 1, 2, 3]}},
    "fuser": {"sum": [], "prepend": [], "cross": ["description"], "input_interpolate": []},
    # T5 is left out: it encodes a prompt once, in a few thousandths of a clip's time.
    "conditioners": {"description": {"model": "lut", "lut": {"n_bins": 8, "dim": 8, "tokenizer": "noop"}}},
    "transformer_lm": {
        "dim": 1024,
        "num_heads": 16,
        "num_layers": 24,
        "hidden_scale": 4,
        "n_q": 4,
        "card": 2048,
        "dropout": 0.0,
        "activation": "gelu",
        "norm_first": True,
        "bias_ff": False,
        "bias_attn": False,
        "bias_proj": False,
        "causal": True,
        "memory_efficient": True,  # as published: torch's attention
    },
}


def time_peer(lm: Any, text: torch.Tensor, steps: int, device: str) -> float:
    """Seconds a step of audiocraft on a cache that is half full of random numbers, which is the same work."""
    rows = len(text)  # the clips with text, then without
    size = lm.dim // lm.transformer.layers[0].self_attn.num_heads
    codes = torch.randint(lm.card, (rows // 2, lm.n_q, 1), device=device)
    with lm.streaming():
        lm.transformer._streaming_state["offsets"] = torch.full((rows,), MIDDLE, device=device)
        for layer in lm.transformer.layers:
            keys = torch.randn(rows, lm.dim // size, MIDDLE, size, dtype=text.dtype, device=device)
            state = {"past_keys": keys, "past_values": keys.clone(), "offset": torch.tensor(0)}
            layer.self_attn._streaming_state.update(state)
        times = []
        for _ in range(steps + 1):
            times.append(synchronize(device))
            codes = lm._sample_next_token(
                codes,
                {"description": (text, torch.ones(text.shape[:2], device=device))},
                {},
                use_sampling=True,
                top_k=SAMPLING.top_k,
                cfg_coef=SAMPLING.guidance,
            )
        times.append(synchronize(device))
    return statistics.median(later - sooner for sooner, later in pairwise(times[1:]))


def build_model() -> Any:
    """audiocraft's language model of MusicGen-small's published size with random weights."""
    logging.getLogger("xformers").setLevel(logging.ERROR)  # its kernels are not used
    builders, omegaconf = import_module("audiocraft.models.builders"), import_module("omegaconf")
    torch.manual_seed(0)
    return builders.get_lm_model(omegaconf.OmegaConf.create(SMALL)).eval()


@torch.inference_mode()
def main() -> None:
    options = arguments(__doc__)
    if find_spec("audiocraft") is None:
        print("audiocraft is not installed, so nothing is measured: uv sync --extra audiocraft")
        return
    warnings.simplefilter("ignore")
    device, rounds, steps = options.device, (2 if options.quick else 5), (4 if options.quick else 6)
    tune_allocator()
    lm = build_model()
    decoder: Any = convert_language_model(lm, 1)
    rows = []
    for dtype, batch in QUICK if options.quick else CASES:
        lm.to(device, dtype)
        engine = Engine(AudioCraftModel(nn.Identity(), nn.Identity(), decoder.to(device, dtype), nn.Identity()))  # type: ignore[arg-type]
        states = torch.randn(batch, TEXT, lm.dim, device=device).to(dtype)
        mask = torch.ones(batch, TEXT, device=device, dtype=torch.int64)
        text = torch.cat([states, torch.zeros_like(states)])  # audiocraft's states without text are zero
        run = engine._start_run(states, mask, FRAMES, draw_uniforms(range(batch), STEPS, engine.codebooks), SAMPLING)
        run.cache.normal_()
        time_engine(engine, run, 2, device)
        pairs = [(time_engine(engine, run, steps, device), time_peer(lm, text, steps, device)) for _ in range(rounds)]
        mine, peer = ([batch * lm.n_q / pair[side] for pair in pairs] for side in (0, 1))
        took = [1e3 * statistics.median(pair[side] for pair in pairs) for side in (0, 1)]
        name = f"decode {str(dtype).removeprefix('torch.')}, {batch} clip(s)"
        note = f"{took[0]:.1f} and {took[1]:.1f} ms a step"
        rows.append(paired(name, "tokens/s", mine, peer, "audiocraft", note))
        engine.release()
    finish("musicgen_audiocraft", rows, options)


if __name__ == "__main__":
    main()
