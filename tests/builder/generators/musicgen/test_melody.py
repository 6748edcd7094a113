"""Melody checkpoints conditioned on text only: compared with transformers' `generate`, and in the generator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from builder.generators.musicgen.engine import encode_text
from builder.generators.musicgen.kernels import linear
from builder.generators.musicgen.melody import MelodyEngine
from builder.generators.musicgen.sampling import Sampling, draw_uniforms
from tests.builder.generators.musicgen import checkpoints
from tests.builder.generators.musicgen.test_engine import FRAMES, TEXTS, generated, inputs
from tests.builder.generators.musicgen.test_musicgen import clips, make

RAGGED = TEXTS[::2]


@pytest.fixture(scope="module")
def mono() -> Any:
    return checkpoints.model(melody=True)


@pytest.fixture(scope="module")
def stereo() -> Any:
    return checkpoints.model(melody=True, stereo=True)


def encode(model: Any, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    batch = inputs(texts)
    with torch.inference_mode():
        return encode_text(model, batch["input_ids"], batch["attention_mask"]), batch["attention_mask"]


def played(engine: Any, states: torch.Tensor, mask: torch.Tensor, sampling: Sampling, frames: int = FRAMES) -> Any:
    codes, finite = engine.decode(
        states, mask, frames, draw_uniforms(range(len(states)), engine.count_steps(frames), engine.codebooks), sampling
    )
    assert finite.all()
    return codes


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("channels", ["mono", "stereo"])
def test_greedy_tokens_agree_with_transformers_generate(
    channels: str, guidance: float, request: pytest.FixtureRequest
) -> None:
    model, greedy = request.getfixturevalue(channels), Sampling(guidance=guidance, greedy=True)
    options = {"do_sample": False, "guidance_scale": guidance}
    alone = torch.cat([generated(model, inputs([text]), **options) for text in RAGGED])
    together = generated(model, inputs(RAGGED), **options)  # here `generate` attends to the padding
    states, mask = encode(model, RAGGED)
    for engine in (MelodyEngine(model, plain=True), MelodyEngine(model)):
        assert torch.equal(played(engine, states, mask, greedy), alone)
        assert torch.equal(played(engine, *encode(model, RAGGED[2:3]), greedy), alone[2:3])
        assert torch.equal(played(engine, states, torch.ones_like(mask), greedy), together)
    assert not torch.equal(alone, together) and alone.unique().numel() > 8


def test_positions_are_extended_beyond_the_published_table() -> None:
    model = checkpoints.model(melody=True, max_position_embeddings=40)
    wanted = generated(model, inputs(TEXTS[:1]), do_sample=False)
    codes = played(MelodyEngine(model), *encode(model, TEXTS[:1]), Sampling(guidance=3.0, greedy=True))
    assert checkpoints.CHROMA + FRAMES > 40 and torch.equal(codes, wanted)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_masked_step_equals_exact_step(mono: Any, guidance: float) -> None:
    """GPU graphs read the cache beyond the written part with a mask, which must give the same tokens."""
    engine, sampling = MelodyEngine(mono, plain=True), Sampling(guidance=guidance, top_k=20)
    states, mask = encode(mono, TEXTS)
    wanted = played(engine, states, mask, sampling)
    steps = engine.count_steps(FRAMES)
    with torch.inference_mode():
        run = engine._start_run(states, mask, FRAMES, draw_uniforms(range(8), steps, 4), sampling)
        for _ in range(steps):
            engine._step(run, sampling, steps, exact=False)
    places = torch.arange(1, FRAMES + 1) + engine.delays[:, None]
    assert torch.equal(run.codes.gather(2, places.expand(8, -1, -1)), wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_clip_is_bit_identical_in_any_batch(dtype: torch.dtype) -> None:
    if not linear.can_pack(dtype):
        pytest.skip("products are not packed here")
    model = checkpoints.model(melody=True)
    states, mask = encode(model, TEXTS)
    model.decoder.to(dtype)
    sampling = Sampling(top_k=40)
    noise = draw_uniforms(range(8), MelodyEngine(model).count_steps(FRAMES), 4)

    def play(engine: MelodyEngine, chosen: list[int]) -> torch.Tensor:
        length = int(mask[chosen].sum(1).max())
        return engine.decode(states[chosen, :length], mask[chosen, :length], FRAMES, noise[chosen], sampling)[0]

    engine = MelodyEngine(model)
    alone = torch.cat([play(engine, [index]) for index in range(8)])
    assert torch.equal(play(MelodyEngine(model), list(range(8))), alone)
    assert torch.equal(play(engine, list(range(8))[::-1]).flip(0), alone)
    assert torch.equal(play(MelodyEngine(model), [6, 1, 4]), alone[[6, 1, 4]])


def test_text_with_nan_does_not_affect_others(mono: Any) -> None:
    engine, sampling = MelodyEngine(mono), Sampling()
    states, mask = encode(mono, TEXTS[:3])
    wanted = played(engine, states, mask, sampling)
    broken = states.clone()
    broken[1] = torch.nan
    codes, finite = engine.decode(
        broken, mask, FRAMES, draw_uniforms(range(3), engine.count_steps(FRAMES), 4), sampling
    )
    assert finite.tolist() == [True, False, True]
    assert torch.equal(codes[[0, 2]], wanted[[0, 2]])
    assert torch.equal(played(engine, states, mask, sampling), wanted)


def test_generator_with_a_melody_checkpoint(tmp_path: Path) -> None:
    folder = checkpoints.musicgen(tmp_path, melody=True)
    generator = make(folder, seconds=1.01)
    sounds = generator.generate(clips(4))
    again = make(folder, seconds=1.01, batch_size=3).generate(clips(4)[::-1])[::-1]
    for sound, same in zip(sounds, again, strict=True):
        assert sound.shape == (32_320,) and np.isfinite(sound).all() and np.abs(sound).max() > 0.01
        np.testing.assert_allclose(same, sound, atol=1e-4)
    engine = generator._loaded.engine
    width, steps, text = 32, 54, 32
    assert engine.bytes_per_clip(51, Sampling()) == 2 * 2 * 2 * width * (checkpoints.CHROMA + text + steps) * 4
