"""The decode engine compared with transformers' `generate`, and its parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch.nn.functional import scaled_dot_product_attention
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    LogitsProcessorList,
    MusicgenForConditionalGeneration,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from builder.generators.musicgen import codec, sampling
from builder.generators.musicgen.engine import Engine, encode_text
from builder.generators.musicgen.kernels import attention, linear, native
from builder.generators.musicgen.sampling import Sampling, draw_uniforms, keep_largest, sample_tokens
from tests.builder.generators.musicgen import checkpoints

FRAMES = 30
TEXTS = [checkpoints.TEXTS[index % 5][: 12 + 5 * index] for index in range(8)]  # of eight lengths


@pytest.fixture(scope="module")
def mono() -> MusicgenForConditionalGeneration:
    return checkpoints.model()


@pytest.fixture(scope="module")
def stereo() -> MusicgenForConditionalGeneration:
    return checkpoints.model(stereo=True)


@pytest.fixture
def fresh_kernels() -> Iterator[None]:
    """Clear the caches of kernels before and after a test."""
    for clear in (True, False):
        attention.load_kernel.cache_clear()
        native.load_library.cache_clear()
        linear.can_pack.cache_clear()
        linear.has_kernel.cache_clear()
        sampling._kernel.cache_clear()
        if clear:
            yield


def inputs(texts: list[str]) -> dict[str, torch.Tensor]:
    return dict(checkpoints.tokenizer()(texts, return_tensors="pt", padding=True, truncation=True))


def generated(model: MusicgenForConditionalGeneration, batch: dict[str, torch.Tensor], **options: Any) -> torch.Tensor:
    """The codes that `generate` decodes with EnCodec, [batch, codebooks, frames]."""
    seen: list[torch.Tensor] = []
    decode = model.audio_encoder.decode

    def listen(codes: torch.Tensor, *rest: Any, **more: Any) -> Any:
        seen.append(codes[0])
        return decode(codes, *rest, **more)

    channels = model.config.decoder.audio_channels
    model.audio_encoder.decode = listen
    try:
        model.generate(**batch, max_new_tokens=FRAMES + model.decoder.num_codebooks // channels - 1, **options)
    finally:
        model.audio_encoder.decode = decode
    return torch.stack(seen, dim=2).flatten(1, 2)


def decoded(
    engine: Engine, model: Any, batch: dict[str, torch.Tensor], sampling: Sampling, seeds: Any
) -> torch.Tensor:
    with torch.inference_mode():
        states = encode_text(model, batch["input_ids"], batch["attention_mask"])
    noise = draw_uniforms(list(seeds), engine.count_steps(FRAMES), engine.codebooks)
    codes, finite = engine.decode(states, batch["attention_mask"], FRAMES, noise, sampling)
    assert finite.all()
    return codes


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "fast"])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("clips", [1, 8])
@pytest.mark.parametrize("channels", ["mono", "stereo"])
def test_greedy_tokens_agree_with_transformers_generate(
    channels: str, clips: int, guidance: float, plain: bool, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(channels)
    batch = inputs(TEXTS[:clips])
    wanted = generated(model, batch, do_sample=False, guidance_scale=guidance)
    result = decoded(Engine(model, plain=plain), model, batch, Sampling(guidance=guidance, greedy=True), range(clips))
    assert torch.equal(result, wanted)
    assert wanted.unique().numel() > 8


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_masked_step_equals_exact_step(mono: Any, guidance: float) -> None:
    """GPU graphs read the cache beyond the written part with a mask, which must give the same tokens."""
    engine, batch = Engine(mono, plain=True), inputs(TEXTS)
    sampling = Sampling(guidance=guidance, top_k=20)
    wanted = decoded(engine, mono, batch, sampling, range(8))
    with torch.inference_mode():
        states = encode_text(mono, batch["input_ids"], batch["attention_mask"])
        steps = engine.count_steps(FRAMES)
        run = engine._start_run(states, batch["attention_mask"], FRAMES, draw_uniforms(range(8), steps, 4), sampling)
        for _ in range(steps):
            engine._step(run, sampling, steps, exact=False)
    places = torch.arange(1, FRAMES + 1) + engine.delays[:, None]
    assert torch.equal(run.codes.gather(2, places.expand(8, -1, -1)), wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_clip_is_bit_identical_in_any_batch(dtype: torch.dtype) -> None:
    if not linear.can_pack(dtype):
        pytest.skip("products are not packed here")
    model = checkpoints.model()
    engine, sampling = Engine(model.to(dtype)), Sampling(top_k=40)
    seeds = [11, 22, 33, 44, 55, 66, 77, 88]
    with torch.inference_mode():
        texts = [inputs([text]) for text in TEXTS]
        states = [encode_text(model, text["input_ids"], text["attention_mask"])[0] for text in texts]

    def play(chosen: list[int]) -> torch.Tensor:
        padded = pad_sequence([states[index] for index in chosen], batch_first=True)
        mask = pad_sequence([torch.ones(len(states[index])) for index in chosen], batch_first=True)
        noise = draw_uniforms([seeds[index] for index in chosen], engine.count_steps(FRAMES), 4)
        return engine.decode(padded, mask, FRAMES, noise, sampling)[0]

    together = play(list(range(8)))
    assert torch.equal(together, torch.cat([play([index]) for index in range(8)]))
    assert torch.equal(together, play(list(range(8))[::-1]).flip(0))
    assert torch.equal(together[[6, 1, 4]], play([6, 1, 4]))
    assert len({tuple(codes.flatten().tolist()) for codes in together}) == 8


def test_runs_do_not_affect_each_other(mono: Any) -> None:
    engine, batch = Engine(mono), inputs(TEXTS[:3])
    first = decoded(engine, mono, batch, Sampling(), [1, 2, 3])
    decoded(engine, mono, batch, Sampling(temperature=3.0), [4, 5, 6])
    assert torch.equal(decoded(engine, mono, batch, Sampling(), [1, 2, 3]), first)


def test_clip_with_nan_is_reported_and_others_are_unaffected(mono: Any) -> None:
    engine, batch = Engine(mono), inputs(TEXTS[:3])
    with torch.inference_mode():
        states = encode_text(mono, batch["input_ids"], batch["attention_mask"])
    noise = draw_uniforms([1, 2, 3], engine.count_steps(FRAMES), 4)
    wanted, _ = engine.decode(states, batch["attention_mask"], FRAMES, noise, Sampling())
    broken = states.clone()
    broken[1] = torch.nan
    codes, finite = engine.decode(broken, batch["attention_mask"], FRAMES, noise, Sampling())
    engine.release()
    assert finite.tolist() == [True, False, True]
    assert torch.equal(codes[[0, 2]], wanted[[0, 2]])
    assert torch.equal(engine.decode(states, batch["attention_mask"], FRAMES, noise, Sampling())[0], wanted)


def test_engine_works_after_the_decoder_is_deleted() -> None:
    model, batch = checkpoints.model(), inputs(TEXTS[:2])
    wanted = generated(model, batch, do_sample=False)
    engine = Engine(model)
    with torch.no_grad():
        for weight in model.decoder.parameters():
            weight.zero_()
    assert torch.equal(decoded(engine, model, batch, Sampling(greedy=True), [0, 1]), wanted)


# sampling


WARPED = [
    Sampling(temperature=1.0, top_k=0),
    Sampling(temperature=0.7, top_k=12),
    Sampling(temperature=1.5, top_k=0, top_p=0.8),
    Sampling(temperature=1.2, top_k=20, top_p=0.6),
]


def warped(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """The distribution that transformers samples from."""
    steps = LogitsProcessorList([TemperatureLogitsWarper(sampling.temperature)])
    if sampling.top_k:
        steps.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        steps.append(TopPLogitsWarper(sampling.top_p))
    return steps(torch.zeros(1, 1, dtype=torch.long), logits[None])[0].softmax(-1)  # type: ignore[arg-type]


@pytest.mark.parametrize("sampling", WARPED, ids=str)
def test_samples_have_the_distribution_of_transformers(sampling: Sampling) -> None:
    logits = torch.randn(32, generator=torch.Generator().manual_seed(3))
    wanted = warped(logits, sampling).double().numpy()
    draws = 40_000
    noise = draw_uniforms([5], draws, 1).flatten()
    counts = np.bincount(sample_tokens(logits.expand(draws, -1), noise, sampling).numpy(), minlength=32)
    assert counts[wanted == 0].sum() == 0
    likely = wanted > 0
    assert likely.sum() >= 4
    assert chisquare(counts[likely], draws * wanted[likely] / wanted[likely].sum()).pvalue > 0.001


@settings(max_examples=60, deadline=None)
@given(
    logits=st.lists(st.floats(-60, 60, width=32), min_size=2, max_size=40),
    uniform=st.floats(0, 1, width=32, exclude_max=True),
    sampling=st.sampled_from(WARPED),
)
def test_sampled_tokens_have_a_positive_probability(logits: list[float], uniform: float, sampling: Sampling) -> None:
    scores = torch.tensor(logits)
    token = sample_tokens(scores, torch.tensor(uniform), sampling)
    assert 0 <= token < len(logits)
    assert warped(scores, sampling)[token] > 0


@given(
    st.lists(st.floats(width=32, allow_nan=False) | st.sampled_from([0.0, -0.0, 1.0]), min_size=2, max_size=70),
    st.data(),
)
def test_keep_largest_agrees_with_torch(numbers: list[float], data: st.DataObject) -> None:
    x = torch.tensor([numbers, numbers[::-1]], dtype=torch.float32)
    k = data.draw(st.integers(1, len(numbers)))
    assert torch.equal(keep_largest(x, k), sampling._plain(x, k))


def test_keep_largest_ends_with_nan() -> None:
    x = torch.tensor([[1.0, torch.nan, 3.0, -torch.nan, -torch.inf]])
    assert keep_largest(x, 2).isnan().any()


def test_uniforms_depend_on_the_seed_only() -> None:
    many = draw_uniforms([3, 2**63 - 1, 7], 20, 4)
    assert torch.equal(draw_uniforms([7], 20, 4)[0], many[2])
    assert torch.equal(draw_uniforms([7], 12, 4)[0], many[2, :12])  # a shorter clip begins as the longer one
    assert many.min() >= 0 and many.max() < 1
    assert not torch.equal(draw_uniforms([7], 20, 4), draw_uniforms([7 + 2**32], 20, 4))


# what it is built on


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("size", [8, 64, 80])
def test_attention_kernel_agrees_with_torch(dtype: torch.dtype, size: int) -> None:
    built = attention.load_kernel(dtype, size)
    if built is None:
        pytest.skip("no C compiler here")
    rows, heads, capacity = 5, 3, 70
    torch.manual_seed(size)
    qkv = (4 * torch.randn(rows, 3 * heads * size)).to(dtype)
    keys, values = torch.randn(2, rows, heads, capacity, size).to(dtype)
    query, key, value = qkv.view(rows, 3, heads, 1, size).unbind(1)
    tolerance = 1e-5 if dtype == torch.float32 else 0.02
    for position in (0, 1, 37, capacity - 1):
        result = built.attend_step(qkv, keys, values, position)
        assert torch.equal(keys[:, :, position], key[:, :, 0]) and torch.equal(values[:, :, position], value[:, :, 0])
        seen = slice(position + 1)
        wanted = scaled_dot_product_attention(query.float(), keys[:, :, seen].float(), values[:, :, seen].float())
        torch.testing.assert_close(result.float(), wanted.flatten(1), atol=tolerance, rtol=tolerance)
    lengths = torch.tensor([1, 5, 33, 69, 70])
    result = built.attend_prefix(query.flatten(1).contiguous(), keys, values, lengths)
    mask = (torch.arange(capacity) < lengths[:, None])[:, None, None]
    wanted = scaled_dot_product_attention(query.float(), keys.float(), values.float(), attn_mask=mask)
    torch.testing.assert_close(result.float(), wanted.flatten(1), atol=tolerance, rtol=tolerance)


def test_torch_is_used_without_a_compiler(mono: Any, fresh_kernels: None, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = inputs(TEXTS[:2])
    wanted = decoded(Engine(mono), mono, batch, Sampling(), [1, 2])
    attention.load_kernel.cache_clear()
    native.load_library.cache_clear()
    monkeypatch.setattr(native, "COMPILERS", ("no-such-compiler",))
    engine = Engine(mono)
    assert engine._kernel is None
    assert torch.equal(decoded(engine, mono, batch, Sampling(), [1, 2]), wanted)


@pytest.mark.parametrize(("find", "put"), [("found[i].a / total", "found[i].a"), ("#include <math.h>", "#error")])
def test_wrong_attention_kernel_is_not_used(
    find: str, put: str, fresh_kernels: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    broken = tmp_path / "attention.c"
    source = attention.SOURCE.read_text()
    assert find in source
    broken.write_text(source.replace(find, put))
    monkeypatch.setattr(attention, "SOURCE", broken)
    assert attention.load_kernel(torch.float32, 16) is None


@pytest.mark.parametrize(("find", "put"), [("sums[row][1], second", "sums[row][1], first"), ("#include", "#error")])
def test_wrong_product_kernel_is_not_used(
    find: str, put: str, fresh_kernels: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    broken = tmp_path / "product.c"
    source = linear.SOURCE.read_text()
    assert find in source
    broken.write_text(source.replace(find, put))
    monkeypatch.setattr(linear, "SOURCE", broken)
    assert not linear.has_kernel()
    x, weight = torch.ones(3, 64).bfloat16(), torch.ones(96, 64).bfloat16()
    assert torch.equal(linear.make_product(weight)(x), torch.full((3, 96), 64.0).bfloat16())


@pytest.mark.parametrize(("find", "put"), [("from[i] < least", "from[i] <= least"), ("#include <math.h>", "#error")])
def test_wrong_selection_kernel_is_not_used(
    find: str, put: str, fresh_kernels: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    broken = tmp_path / "select.c"
    source = sampling.SOURCE.read_text()
    assert find in source
    broken.write_text(source.replace(find, put))
    monkeypatch.setattr(sampling, "SOURCE", broken)
    assert sampling._kernel() is None
    assert keep_largest(torch.tensor([3.0, 1.0, 2.0]), 2).tolist() == [3.0, -np.inf, 2.0]


@pytest.mark.parametrize("outputs", [2500, 2528])
@pytest.mark.parametrize("rows", [1, 2, 16, 33, 64, 128])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_products_agree_with_torch(dtype: torch.dtype, rows: int, outputs: int) -> None:
    torch.manual_seed(rows)
    weight, x = torch.randn(outputs, 128).to(dtype), torch.randn(rows, 128).to(dtype)
    wanted = (x.double() @ weight.double().T).float()
    tolerance = 1e-4 if dtype == torch.float32 else 0.3
    for plain in (True, False):
        apply = linear.make_product(weight, plain=plain)
        for some in (rows, 1, 7):
            torch.testing.assert_close(apply(x[:some]).float(), wanted[:some], atol=tolerance, rtol=0.01)
            there = torch.full((len(x[:some]), outputs), 5.0, dtype=dtype)
            assert apply(x[:some], onto=there) is there
            torch.testing.assert_close(there.float(), wanted[:some] + 5, atol=tolerance, rtol=0.01)
    if linear.can_pack(dtype):
        assert torch.equal(apply(x[:1])[0], apply(x)[0])  # a row does not depend on its company


@pytest.mark.parametrize("form", [codec.ProductDecoder, codec.LayerDecoder])
@pytest.mark.parametrize("channels", ["mono", "stereo"])
def test_codec_agrees_with_transformers(
    channels: str, form: Any, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = request.getfixturevalue(channels)
    frames = 2 * codec.CHUNK + 7  # chunks that meet, and a short one
    noise = torch.Generator().manual_seed(1)
    codes = torch.randint(checkpoints.VOCABULARY, (3, model.decoder.num_codebooks, frames), generator=noise)
    with torch.inference_mode():
        sides = [codes] if channels == "mono" else [codes[:, ::2], codes[:, 1::2]]
        wanted = torch.stack([model.audio_encoder.decode(side[None], [None]).audio_values[:, 0] for side in sides])
    monkeypatch.setattr(codec.ProductDecoder, "suits", lambda model: form is codec.ProductDecoder)
    made = codec.Codec(model.audio_encoder, torch.float32, len(sides))
    assert isinstance(made._decoder, form)
    result = made.decode(codes)
    assert result.shape == (3, frames * 640)
    torch.testing.assert_close(result, wanted.mean(0), atol=1e-5, rtol=0)
    half = codec.Codec(model.audio_encoder, torch.bfloat16, len(sides)).decode(codes)
    error = (half - result).pow(2).mean() / result.pow(2).mean()
    assert -10 * torch.log10(error) > 35  # dB
    if form is codec.ProductDecoder:
        assert torch.equal(made.decode(codes[1:2])[0], result[1])  # whatever it is decoded with
