"""Whole clips by MusicGen-small, full size with random weights: speed, equality of tokens, and memory.

    uv run perf/musicgen_clips.py [--quick] [--device cpu|cuda] [--json FILE]

A checkpoint is saved and loaded like a user's. synthmir's side is the generator `musicgen` as `synthmir build` calls
it, on ten-second clips. The peer is transformers in its usual form: float32, one prompt, `generate`, processor to
array. Tokens are compared with those of `generate`, greedy and in float32, on prompts of different lengths. Memory is
measured in separate processes, with a small checkpoint and clips of one second.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from musicgen import build_model
from table import arguments, finish, row
from transformers import MusicgenForConditionalGeneration
from transformers.utils import logging

sys.path.insert(0, str(Path(__file__).parents[1]))

from builder.clip import Clip
from builder.generators.musicgen.engine import Engine, encode_text
from builder.generators.musicgen.generator import MusicGen
from builder.generators.musicgen.sampling import Sampling
from builder.recipe import Recipe
from builder.settings import GeneratorSettings
from tests.builder.generators.musicgen import checkpoints

FRAMES = 24  # of the comparison of tokens


def plan_first(count: int) -> list[Clip]:
    """The first clips of the paper's recipe."""
    from builder.corpus.building.plan import plan_clips

    return plan_clips(Recipe.load("paper").with_options({"prompts.total": max(100, 2 * count)}))[:count]


def load_musicgen(folder: Path, **settings: Any) -> MusicGen:
    return MusicGen(GeneratorSettings(name="musicgen", model=str(folder), **settings), Recipe.load("paper").labels)


@torch.inference_mode()
def compare_tokens(model: Any, batch: int, guidance: float) -> tuple[int, int]:
    """Compare greedy tokens with `generate`: how many were compared, and how many are equal."""
    lengths = [5 + 3 * (index % 5) for index in range(batch)]
    ids, mask = torch.zeros(batch, max(lengths), dtype=torch.long), torch.zeros(batch, max(lengths), dtype=torch.long)
    draw = torch.Generator().manual_seed(1)
    for index, length in enumerate(lengths):
        ids[index, :length] = torch.randint(3, 32_000, (length,), generator=draw)
        mask[index, :length] = 1
    expected = None

    class Keep:
        """Takes the tokens before EnCodec decodes them, as `generate` returns sound."""

        def __call__(self, codes: torch.Tensor, **_: Any) -> Any:
            nonlocal expected
            expected = codes[0]
            raise StopIteration

    decode, model.audio_encoder.decode = model.audio_encoder.decode, Keep()
    try:
        options = {"do_sample": False, "guidance_scale": guidance, "max_new_tokens": FRAMES + 3}
        model.generate(input_ids=ids, attention_mask=mask, **options)
    except StopIteration:
        pass
    finally:
        model.audio_encoder.decode = decode
    engine = Engine(model)
    sampling = Sampling(guidance=guidance, top_k=1)
    noise = torch.zeros(batch, engine.count_steps(FRAMES), engine.codebooks)
    decoded, _ = engine.decode(encode_text(model, ids, mask), mask, FRAMES, noise, sampling)
    assert expected is not None
    return decoded.numel(), int((decoded == expected[..., :FRAMES]).sum())


def time_peer(folder: Path, texts: list[str]) -> float:
    """Seconds of one clip with transformers."""
    from transformers import AutoTokenizer

    model: Any = MusicgenForConditionalGeneration.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    start = perf_counter()
    with torch.inference_mode():
        model.generate(**tokenizer(texts, return_tensors="pt"), do_sample=True, guidance_scale=3, max_new_tokens=503)
    return perf_counter() - start


def measure_peak(folder: Path, count: int) -> float:
    """The peak memory in MB of a process that makes `count` clips."""
    command = [sys.executable, __file__, "--make", str(folder), str(count)]
    out = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    return float(out.stdout.split()[-1])


def make_clips(folder: Path, count: int) -> None:
    made, clips = load_musicgen(folder, seconds=1), plan_first(count)
    step = made.rows_at_once
    for start in range(0, count, step):
        made.generate(clips[start : start + step])
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    options = arguments(__doc__)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    rows = []
    with tempfile.TemporaryDirectory() as place:
        tiny, full = Path(place) / "tiny", Path(place) / "full"
        checkpoints.musicgen(tiny)
        few, many = (64, 256) if options.quick else (64, 2_000)
        small_peak, large_peak = measure_peak(tiny, few), measure_peak(tiny, many)
        note = "small checkpoint, clips of 1 s, separate processes"
        rows.append(row(f"peak memory, {many} clips", "MB", large_peak, small_peak, f"{few} clips", 1, note))
        model = build_model("cpu")
        for batch, guidance in ((1, 3.0),) if options.quick else ((1, 1.0), (1, 3.0), (8, 1.0), (8, 3.0)):
            n, same = compare_tokens(model, batch, guidance)
            name = f"the same greedy tokens, float32, {batch} clip(s), guidance {guidance:g}"
            rows.append(row(name, "tokens", same, n, "generate", n, f"{FRAMES} frames of 4 codebooks"))
        if not options.quick:
            model.save_pretrained(full)
            checkpoints.tokenizer().save_pretrained(full)
            del model
            peer = time_peer(full, ["a rock track. distorted guitars over a driving beat"])
            for dtype, batch in (("float32", 8), ("bfloat16", 8), ("bfloat16", 32)):
                made = load_musicgen(full, seconds=10, dtype=dtype, batch_size=batch, device=options.device)
                clips = plan_first(batch)
                start = perf_counter()
                made.generate(clips)
                took = (perf_counter() - start) / batch
                note = f"{took:.1f} and {peer:.1f} s a clip; first batch, without warm-up"
                name = f"prompt to waveform, {dtype}, {batch} clips"
                rows.append(row(name, "audio-s/s", 10 / took, 10 / peer, "transformers, float32, 1 clip", 1, note))
                del made
        finish("musicgen_clips", rows, options)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--make"]:
        make_clips(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
