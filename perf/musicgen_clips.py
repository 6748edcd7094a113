"""Whole clips by MusicGen-small, full size with random weights: prompt to waveform, tokens compared, memory flat.

    uv run perf/musicgen_clips.py [--quick] [--device cpu|cuda] [--json FILE]

A checkpoint is saved and loaded as a user's is. Ours is the generator `musicgen` as `synthmir build` calls it, on ten-
second clips; the peer is transformers as people use it: float32, one prompt, `generate` (its text, its 503 steps, its
EnCodec), processor to array. Tokens are compared with `generate`'s, greedy and in float32, on prompts of different
lengths. Memory is that of processes of their own, with a small checkpoint and clips of one second.
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
from musicgen import small
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


def rows_of(count: int) -> list[Clip]:
    """The first clips of the paper's recipe."""
    from builder.corpus.building.plan import plan_clips

    return plan_clips(Recipe.load("paper").with_options({"prompts.total": max(100, 2 * count)}))[:count]


def generator(folder: Path, **settings: Any) -> MusicGen:
    return MusicGen(GeneratorSettings(name="musicgen", model=str(folder), **settings), Recipe.load("paper").labels)


@torch.inference_mode()
def tokens(model: Any, batch: int, guidance: float) -> tuple[int, int]:
    """How many tokens were compared, and how many of them are the same."""
    lengths = [5 + 3 * (index % 5) for index in range(batch)]
    ids, mask = torch.zeros(batch, max(lengths), dtype=torch.long), torch.zeros(batch, max(lengths), dtype=torch.long)
    draw = torch.Generator().manual_seed(1)
    for index, length in enumerate(lengths):
        ids[index, :length] = torch.randint(3, 32_000, (length,), generator=draw)
        mask[index, :length] = 1
    wanted = None

    class Keep:
        """`generate` returns sound; the tokens are taken on their way to EnCodec."""

        def __call__(self, codes: torch.Tensor, **_: Any) -> Any:
            nonlocal wanted
            wanted = codes[0]
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
    found, _ = engine.decode(encode_text(model, ids, mask), mask, FRAMES, noise, sampling)
    assert wanted is not None
    return found.numel(), int((found == wanted[..., :FRAMES]).sum())


def theirs(folder: Path, texts: list[str]) -> float:
    """Seconds of one clip."""
    from transformers import AutoTokenizer

    model: Any = MusicgenForConditionalGeneration.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    start = perf_counter()
    with torch.inference_mode():
        model.generate(**tokenizer(texts, return_tensors="pt"), do_sample=True, guidance_scale=3, max_new_tokens=503)
    return perf_counter() - start


def peak(folder: Path, count: int) -> float:
    """MB at most of a process that makes `count` clips."""
    command = [sys.executable, __file__, "--make", str(folder), str(count)]
    out = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    return float(out.stdout.split()[-1])


def make(folder: Path, count: int) -> None:
    made, clips = generator(folder, seconds=1), rows_of(count)
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
        small_peak, large_peak = peak(tiny, few), peak(tiny, many)
        note = "small checkpoint, clips of 1 s, processes of their own"
        rows.append(row(f"peak memory, {many} clips", "MB", large_peak, small_peak, f"{few} clips", 1, note))
        model = small("cpu")
        for batch, guidance in ((1, 3.0),) if options.quick else ((1, 1.0), (1, 3.0), (8, 1.0), (8, 3.0)):
            n, same = tokens(model, batch, guidance)
            name = f"the same greedy tokens, float32, {batch} clip(s), guidance {guidance:g}"
            rows.append(row(name, "tokens", same, n, "generate", n, f"{FRAMES} frames of 4 codebooks"))
        if not options.quick:
            model.save_pretrained(full)
            checkpoints.tokenizer().save_pretrained(full)
            del model
            peer = theirs(full, ["a rock track. distorted guitars over a driving beat"])
            for dtype, batch in (("float32", 8), ("bfloat16", 8), ("bfloat16", 32)):
                made = generator(full, seconds=10, dtype=dtype, batch_size=batch, device=options.device)
                clips = rows_of(batch)
                start = perf_counter()
                made.generate(clips)
                took = (perf_counter() - start) / batch
                note = f"{took:.1f} and {peer:.1f} s a clip; first batch, nothing warmed up"
                name = f"prompt to waveform, {dtype}, {batch} clips"
                rows.append(row(name, "audio-s/s", 10 / took, 10 / peer, "transformers, float32, 1 clip", 1, note))
                del made
        finish("musicgen_clips", rows, options)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--make"]:
        make(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
