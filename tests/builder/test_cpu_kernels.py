from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from builder import cpu_kernels as cpu

DTYPES = (torch.float32, torch.bfloat16)
CLOSE = {torch.float32: {"rtol": 1e-5, "atol": 1e-5}, torch.bfloat16: {"rtol": 2e-2, "atol": 4e-2}}


@pytest.fixture(autouse=True)
def fresh():
    """Forget what was measured on this machine."""
    yield
    cpu._packing_works.cache_clear()
    cpu._blocked_works.cache_clear()


def layer(outputs: int, inputs: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(outputs)
    weight = torch.randn(outputs, inputs, generator=draw) / inputs**0.5
    return weight.to(dtype), torch.randn(outputs, generator=draw).to(dtype)


@settings(deadline=None, max_examples=25)
@given(
    outputs=st.integers(1, 300), inputs=st.integers(1, 200), rows=st.integers(1, 40), hint=st.integers(1, 100),
    gelu=st.booleans(), biased=st.booleans(), dtype=st.sampled_from(DTYPES),
)  # fmt: skip
def test_a_packed_layer_is_the_layer(outputs, inputs, rows, hint, gelu, biased, dtype):
    weight, bias = layer(outputs, inputs, dtype)
    x = torch.randn(2, rows, inputs, generator=torch.Generator().manual_seed(rows)).to(dtype)
    expected = F.linear(x, weight, bias if biased else None)
    expected = F.gelu(expected) if gelu else expected
    found = cpu.pack_linear(weight, bias if biased else None, hint, gelu)(x)
    assert found.dtype == dtype
    torch.testing.assert_close(found, expected, **CLOSE[dtype])


@pytest.mark.parametrize("rows", [2, 16, 100])
@pytest.mark.parametrize("dtype", DTYPES)
def test_wide_layers_are_packed_in_parts_and_stay_whole(rows, dtype):
    weight, bias = layer(3 * cpu.CHUNK + 7, 64, dtype)
    x = torch.randn(rows, 64, generator=torch.Generator().manual_seed(1)).to(dtype)
    torch.testing.assert_close(cpu.pack_linear(weight, bias, rows)(x), F.linear(x, weight, bias), **CLOSE[dtype])


def test_weights_that_are_a_view(dtype=torch.float32):
    weight, bias = layer(96, 48, dtype)
    x = torch.randn(5, 96, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(cpu.pack_linear(weight.T, None, 5)(x), F.linear(x, weight.T))
    x = x[:, :48]
    torch.testing.assert_close(cpu.pack_linear(weight[16:64], bias[16:64], 5)(x), F.linear(x, weight, bias)[:, 16:64])


@settings(deadline=None, max_examples=15)
@given(
    batch=st.integers(1, 2), heads=st.integers(1, 3), queries=st.integers(60, 700), keys=st.integers(1, 400),
    width=st.sampled_from((8, 64)), dtype=st.sampled_from(DTYPES),
)  # fmt: skip
def test_attention_is_torchs(batch, heads, queries, keys, width, dtype):
    draw = torch.Generator().manual_seed(queries)
    q = torch.randn(batch, queries, heads, width, generator=draw).to(dtype).transpose(1, 2)
    k, v = (torch.randn(batch, heads, keys, width, generator=draw).to(dtype) for _ in "kv")
    found = cpu.compute_attention(q, k, v)
    assert found.shape == q.shape and found.dtype == dtype
    torch.testing.assert_close(found, F.scaled_dot_product_attention(q, k, v), **CLOSE[dtype])


def test_large_scores_are_not_rounded_to_bfloat16():
    draw = torch.Generator().manual_seed(0)
    q, k, v = ((scale * torch.randn(1, 1, 600, 64, generator=draw)).bfloat16() for scale in (12, 1, 1))
    exact = F.scaled_dot_product_attention(q.double(), k.double(), v.double())
    assert (
        cpu.compute_attention(q, k, v) - exact
    ).norm() < 4e-3 * exact.norm()  # bfloat16 holds 8 bits: 2e-3 is its own


def test_where_the_private_operators_are_wrong_or_missing_the_plain_ones_run(monkeypatch):
    weight, bias = layer(32, 16, torch.float32)
    x = torch.randn(80, 16, generator=torch.Generator().manual_seed(3))
    expected = F.linear(x, weight, bias)

    def wrong(*anything, **more):
        return lambda x: torch.zeros(*x.shape[:-1], 32)

    def missing(*anything, **more):
        raise RuntimeError("mkldnn_reorder_linear_weight: needs avx512")

    q = x[None, None]
    for broken in (wrong, missing):
        cpu._packing_works.cache_clear()
        cpu._blocked_works.cache_clear()
        monkeypatch.setattr(cpu, "_packed", broken)
        monkeypatch.setattr(cpu, "_blocked", lambda q, k, v, broken=broken: broken()(q)[..., :16])
        torch.testing.assert_close(cpu.pack_linear(weight, bias, 80)(x), expected)
        torch.testing.assert_close(cpu.compute_attention(q, q, q), F.scaled_dot_product_attention(q, q, q))


def test_other_types_take_the_plain_path():
    weight, bias = layer(8, 4, torch.float64)
    x = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    assert torch.equal(cpu.pack_linear(weight, bias, 3, gelu=True)(x), F.gelu(F.linear(x, weight, bias)))


def test_the_global_generator_is_left_alone():
    before = torch.random.get_rng_state()
    cpu.pack_linear(*layer(32, 16, torch.float32), rows=4)
    cpu.compute_attention(*torch.zeros(3, 1, 1, 100, 8))
    assert torch.equal(torch.random.get_rng_state(), before)


FAULTS = """
import resource, torch
from builder.cpu_kernels import tune_allocator
torch.set_num_threads(1)

def faults():
    for turn in range(20):
        if turn == 3:
            start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        one, other = torch.zeros(12_000_000), torch.zeros(11_000_000)
        del one, other
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start

print(faults(), tune_allocator(), faults())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="another C library than glibc")
def test_freed_pages_are_kept():
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True, env={})
    plain, said, tuned = done.stdout.split()
    assert said == "True" and int(tuned) < int(plain) / 3


def test_the_users_own_allocator_settings_stand(monkeypatch):
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    monkeypatch.setattr(cpu.ctypes, "CDLL", lambda name: pytest.fail("the allocator was touched"))
    cpu.tune_allocator.cache_clear()
    try:
        assert cpu.tune_allocator() is False
    finally:
        cpu.tune_allocator.cache_clear()


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(cpu.ctypes, "CDLL", lambda name: object())
    cpu.tune_allocator.cache_clear()
    try:
        assert cpu.tune_allocator() is False
    finally:
        cpu.tune_allocator.cache_clear()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_large_pages_are_zeros_to_write_to(dtype):
    x = cpu.allocate_large_pages(3, 5, 70_001, dtype=dtype)
    assert x.shape == (3, 5, 70_001) and x.dtype == dtype and not x.any()
    x[1].fill_(2)
    other = cpu.allocate_large_pages(3, 5, 70_001, dtype=dtype)
    assert x.sum() > 0 and not other.any()
    assert cpu.allocate_large_pages(0, 4, dtype=dtype).shape == (0, 4)


def test_missing_memory_is_reported():
    with pytest.raises(MemoryError, match="cannot have"):
        cpu.allocate_large_pages(2**50, dtype=torch.float32)
