"""The generator `musicgen` on a small checkpoint: clips, errors, and a corpus built with it."""

from __future__ import annotations

import json
import logging
import resource
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
import yaml
from datasets import Audio, load_dataset
from huggingface_hub import constants
from transformers import EncodecModel

from builder.audio import decode_audio, measure_loudness
from builder.clip import Clip, Prompt
from builder.corpus.building.build import build
from builder.corpus.corpus import BUILD_RECORD
from builder.corpus.shards import read_footer
from builder.corpus.verify import verify
from builder.embedders.embed_corpus import embed_corpus
from builder.errors import BackendError, DataError, RecipeError, SynthmirError
from builder.generators.base import load_generator
from builder.generators.memory import pick_device, pick_dtype
from builder.generators.musicgen import generator as musicgen
from builder.generators.musicgen.codec import Codec
from builder.generators.musicgen.generator import MusicGen
from builder.recipe import Recipe
from builder.settings import EmbedderSettings, GeneratorSettings
from tests.builder import loopback
from tests.builder.generators.musicgen import checkpoints
from tests.warm import WarmProcess

TAXONOMY: Any = None  # MusicGen reads the prompt alone


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.musicgen(tmp_path_factory.mktemp("musicgen"))


def make(folder: Path | str, **options: Any) -> MusicGen:
    settings = {
        "name": "musicgen",
        "model": str(folder),
        "seconds": 1.0,
        "dtype": "float32",
        "batch_size": 8,
        **options,
    }
    generator = load_generator(GeneratorSettings(**settings), TAXONOMY)
    assert isinstance(generator, MusicGen)
    return generator


def clips(count: int = 8) -> list[Clip]:
    texts = [checkpoints.TEXTS[index % 5][: 40 - 4 * index] for index in range(count)]
    return [Clip(f"c{n}", Prompt(text, text, "rock"), "g", 7919 * n + 2**40, "train") for n, text in enumerate(texts)]


@pytest.mark.parametrize("seconds", [1.0, 1.01, 1.2345])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_length_of_clips(folder: Path, seconds: float, dtype: str) -> None:
    sounds = make(folder, seconds=seconds, dtype=dtype).generate(clips(3))
    for sound in sounds:
        assert sound.shape == (round(seconds * 32_000),) and sound.dtype == np.float32
        assert 0.01 < np.abs(sound).max() <= 1.0
    assert np.abs(sounds[0] - sounds[1]).max() > 0.01


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_clip_does_not_depend_on_batch_and_order(folder: Path, dtype: str) -> None:
    rows = clips()
    eight = make(folder, dtype=dtype).generate(rows)
    one = make(folder, dtype=dtype, batch_size=1).generate(rows)
    three = make(folder, dtype=dtype, batch_size=3).generate(rows[::-1])[::-1]
    for wanted, alone, some in zip(eight, one, three, strict=True):
        np.testing.assert_allclose(alone, wanted, atol=1e-4)
        np.testing.assert_allclose(some, wanted, atol=1e-4)


def test_clip_depends_on_seed_and_settings(folder: Path) -> None:
    row = clips(1)[0]
    other = Clip("c0", row.prompt, "g", row.seed + 1, "train")
    first = make(folder).generate([row])[0]
    assert np.array_equal(first, make(folder).generate([row])[0])
    assert not np.array_equal(first, make(folder).generate([other])[0])
    for option in ({"guidance": 1.0}, {"guidance": 10.0}, {"temperature": 0.5}, {"top_k": 2}, {"top_p": 0.3}):
        assert not np.array_equal(first, make(folder, **option).generate([row])[0])


def test_at_most_thirty_seconds(folder: Path) -> None:
    assert make(folder, seconds=30.0).generate(clips(1))[0].shape == (960_000,)
    longer = GeneratorSettings.model_construct(**{**GeneratorSettings().model_dump(), "seconds": 31.0})
    with pytest.raises(RecipeError, match=r"31.*30"):
        MusicGen(longer, TAXONOMY)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stereo checkpoint."""
    return checkpoints.musicgen(tmp_path_factory.mktemp("stereo"), stereo=True)


def test_stereo_is_averaged_to_mono_or_kept(wide: Path) -> None:
    folded = make(wide).generate(clips(2))
    kept = make(wide, stereo=True).generate(clips(2))
    assert [sound.shape for sound in (*folded, *kept)] == [(32_000,)] * 2 + [(32_000, 2)] * 2
    for mono, both in zip(folded, kept, strict=True):
        assert both.dtype == np.float32 and np.abs(both).max() <= 1.0
        assert np.abs(both[:, 0] - both[:, 1]).max() > 0.01
        np.testing.assert_allclose(mono, both.mean(1), atol=1e-6)


def test_stereo_with_a_mono_model_is_refused(folder: Path) -> None:
    with pytest.raises(RecipeError, match=r"generator\.stereo: .* plays mono") as caught:
        make(folder, stereo=True)
    assert "musicgen-stereo" in str(caught.value)


def test_loud_stereo_keeps_its_balance(wide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = make(wide, stereo=True)
    quiet = generator.generate(clips(2))
    generate = generator._loaded.generate
    monkeypatch.setattr(generator._loaded, "generate", lambda *rest: 20 * generate(*rest))
    for loud, wanted in zip(generator.generate(clips(2)), quiet, strict=True):
        np.testing.assert_allclose(loud, wanted / np.abs(wanted).max(), rtol=1e-4, atol=1e-6)


def test_loud_clips_are_scaled_down(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = make(folder)
    quiet = generator.generate(clips(2))
    generate = generator._loaded.generate
    monkeypatch.setattr(generator._loaded, "generate", lambda *rest: 20 * generate(*rest))
    for loud, wanted in zip(generator.generate(clips(2)), quiet, strict=True):
        assert np.abs(loud).max() == pytest.approx(1.0)
        np.testing.assert_allclose(loud, wanted / np.abs(wanted).max(), rtol=1e-4, atol=1e-6)


def test_revision_and_licence_of_a_folder(folder: Path, tmp_path: Path) -> None:
    other = checkpoints.musicgen(tmp_path, seed=1)
    (other / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Fine-tuned\n")
    ours, theirs = make(folder), make(other)
    assert ours.revision == make(folder).revision != theirs.revision
    assert (ours.license, theirs.license) == ("cc-by-nc-4.0", "apache-2.0")
    assert f"(./{folder.name}, float32)" in ours.about


def test_auto_device_and_dtype() -> None:
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    fast = torch.cpu.get_capabilities()
    half = fast.get("avx512_bf16") or fast.get("amx_bf16")
    assert pick_dtype("auto", torch.device("cpu")) == (torch.bfloat16 if half else torch.float32)
    assert pick_dtype("float16", torch.device("cpu")) == torch.float16


def test_mps_must_be_named_and_available(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackendError, match="there is no 'mps' on this machine"):
        pick_device("mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert pick_device("mps").type == "mps" and pick_dtype("auto", pick_device("mps")) == torch.float32
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_codec_is_on_the_cpu_with_mps(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = torch.arange(160).view(1, 4, 40) % 8
    expected = Codec(checkpoints.model().audio_encoder, torch.float32).decode(codes)
    monkeypatch.setattr(EncodecModel, "device", property(lambda _: torch.device("mps")))
    codec = Codec(checkpoints.model().audio_encoder, torch.float32)  # to move anything to MPS would fail here
    assert torch.equal(codec.decode(codes), expected)


# memory


def out_of_memory_over(clips_at_most: int, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> list[int]:
    """Let decoding of larger batches fail; returns the list of the batches that were tried."""
    decode, tried = musicgen.Engine.decode, []

    def limited(self: Any, states: torch.Tensor, *rest: Any) -> Any:
        tried.append(len(states))
        if len(states) > clips_at_most:
            raise error
        return decode(self, states, *rest)

    monkeypatch.setattr(musicgen.Engine, "decode", limited)
    return tried


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_out_of_memory_halves_the_batch(folder: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    wanted = make(folder).generate(clips())
    tried = out_of_memory_over(3, monkeypatch, error)
    generator = make(folder)
    for sound, expected in zip(generator.generate(clips()), wanted, strict=True):
        np.testing.assert_allclose(sound, expected, atol=1e-4)
    assert tried == [8, 4, 2, 2, 2, 2]
    assert generator.batch_size == 2


def test_out_of_memory_with_one_clip_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out_of_memory_over(0, monkeypatch, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(BackendError, match="one clip of 1 s does not fit"):
        make(folder).generate(clips(2))


def test_other_errors_than_memory_are_raised(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out_of_memory_over(0, monkeypatch, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes"):
        make(folder).generate(clips(2))


def test_batch_size_fits_into_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = make(folder)._loaded.engine.bytes_per_clip(50, musicgen.Sampling())
    assert clip == 2 * 2 * 2 * 32 * 53 * 4  # layers, keys and values, guidance, width, steps, bytes
    for free, batch in ((0, 1), (6.1 * clip / 0.6, 6), (1e12, 32)):
        monkeypatch.setattr(psutil, "virtual_memory", lambda free=free: type("", (), {"available": free})())
        generator = make(folder, batch_size=None, device="cpu")
        assert generator.batch_size == batch
        assert generator.rows_at_once >= batch


def test_memory_does_not_grow_with_the_clips(folder: Path) -> None:
    generator = make(folder, batch_size=16, dtype="auto")
    rows = [Clip(f"c{n}", clips(8)[n % 8].prompt, "g", n, "train") for n in range(64)]
    generator.generate(rows)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(4):
        generator.generate(rows)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024  # KiB


# not a number


def test_clips_that_are_nan_in_half_precision_are_made_in_float32(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = make(folder).generate(clips(4))
    decode = musicgen.Engine.decode

    def overflowing(self: Any, states: torch.Tensor, *rest: Any) -> Any:
        if self.dtype == torch.bfloat16:
            states[2, 0, 0] = torch.inf
        return decode(self, states, *rest)

    monkeypatch.setattr(musicgen.Engine, "decode", overflowing)
    generator = make(folder, dtype="bfloat16")
    sounds = generator.generate(clips(4))
    assert generator.retried == 1
    assert all(np.isfinite(sound).all() for sound in sounds)
    assert sum(np.allclose(sound, exact, atol=1e-4) for sound, exact in zip(sounds, wanted, strict=True)) == 1


def test_clips_that_are_nan_in_float32_are_returned_as_nan(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = musicgen.Engine.decode
    monkeypatch.setattr(musicgen.Engine, "decode", lambda self, states, *rest: decode(self, states / 0, *rest))
    generator = make(folder)
    assert all(np.isnan(sound).all() and sound.shape == (32_000,) for sound in generator.generate(clips(2)))
    assert generator.retried == 0


# bad input


def test_error_for_an_empty_prompt_names_the_clip(folder: Path) -> None:
    rows = clips(3)
    rows[1] = Clip("c1", Prompt(" \n", "", "rock"), "g", 1, "train")
    with pytest.raises(DataError, match=r"clip c1.*empty"):
        make(folder).generate(rows)


def test_long_prompt_is_truncated_with_a_warning(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = " ".join(3 * checkpoints.TEXTS)
    long = Clip("c0", Prompt(text, text, "rock"), "g", 1, "train")
    with caplog.at_level(logging.WARNING):
        assert make(folder).generate([long])[0].shape == (32_000,)
    assert "c0" in caplog.text and "256" in caplog.text


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("/no/such/folder", "there is no such folder"),
        ("no-such/model", r"is not on this machine.*HF_HUB_OFFLINE.*\n.*hf download no-such/model --local-dir DIR"),
        ("a b", "is not a folder or a Hub id"),
    ],
)
def test_missing_model_is_an_error(name: str, error: str) -> None:
    with pytest.raises(BackendError, match=error) as caught:
        make(name)
    assert name in str(caught.value) and caught.value.fix


@pytest.fixture(scope="module")
def shelf(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The models on the Hub of these tests."""
    place = tmp_path_factory.mktemp("shelf")
    bert, mute = place / "bert", place / "mute"
    for made in (bert, mute):
        made.mkdir()
    (bert / "config.json").write_text('{"model_type": "bert"}')
    for name in ("config.json", "model.safetensors"):
        (mute / name).write_bytes((folder / name).read_bytes())
    return {"me/tiny": folder, "me/bert": bert, "me/mute": mute, "me/gated": folder}


@pytest.mark.parametrize("revision", [None, "v1", loopback.COMMIT], ids=["newest", "tag", "commit"])
def test_hub_model_is_pinned_to_its_commit(
    folder: Path, shelf: dict[str, Path], revision: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loopback.hub(monkeypatch, tmp_path, shelf)
    generator = make("me/tiny", revision=revision)
    assert generator.revision == loopback.COMMIT and generator.license == "cc-by-nc-4.0"
    if revision is None:
        np.testing.assert_array_equal(generator.generate(clips(1))[0], make(folder).generate(clips(1))[0])
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # and then no network is needed
    assert make("me/tiny", revision=revision).revision == loopback.COMMIT


@pytest.mark.parametrize(
    ("name", "revision", "error"),
    [
        ("me/nothing", None, "me/nothing: the Hub has no such model"),
        ("me/tiny", "v9", r"me/tiny: has no revision 'v9'\n.*generator\.revision"),
        ("me/gated", None, "access on the Hub is restricted"),
        ("me/bert", None, "me/bert: is a bert model, not MusicGen"),
        ("me/mute", None, "me/mute: has no tokenizer"),
    ],
)
def test_errors_of_the_hub_are_explained(
    name: str,
    revision: str | None,
    error: str,
    shelf: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loopback.hub(monkeypatch, tmp_path, shelf, locked={"me/gated"})
    with pytest.raises(BackendError, match=error) as caught:
        make(name, revision=revision)
    assert caught.value.fix


def test_error_without_network_names_the_download_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loopback.no_network(monkeypatch, tmp_path)
    with pytest.raises(BackendError, match="me/tiny: is not on this machine, and the Hub cannot be reached") as caught:
        make("me/tiny")
    assert "generator.model: DIR, after: hf download me/tiny --local-dir DIR" in str(caught.value)


def test_revision_of_a_folder_is_refused(folder: Path) -> None:
    with pytest.raises(RecipeError, match="revision"):
        make(folder, revision="main")


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (lambda path: (path / "config.json").write_text('{"model_type": "bert"}'), "bert"),
        (lambda path: (path / "config.json").write_text("{}"), "not MusicGen"),
        (lambda path: (path / "config.json").write_text("{"), "cannot be loaded"),
        (lambda path: (path / "config.json").unlink(), "not MusicGen"),
        (lambda path: (path / "model.safetensors").unlink(), "cannot be loaded"),
        (lambda path: (path / "model.safetensors").write_bytes(b"torn"), "cannot be loaded"),
        (lambda path: (path / "tokenizer.json").unlink(), "no tokenizer"),
        (lambda path: (path / "tokenizer.json").write_text("{"), "cannot be loaded"),
    ],
)
def test_other_folders_than_musicgen_are_refused(tmp_path: Path, damage: Any, error: str) -> None:
    damage(checkpoints.musicgen(tmp_path))
    with pytest.raises(BackendError, match=error):
        make(tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_missing_gpu_is_an_error(folder: Path) -> None:
    with pytest.raises(BackendError, match="no 'cuda' on this machine"):
        make(folder, device="cuda")


def test_unknown_device_is_refused(folder: Path) -> None:
    with pytest.raises(RecipeError, match="toaster"):
        make(folder, device="toaster")


# a corpus


def recipe(folder: Path, place: Path, **options: Any) -> Recipe:
    path = place / "tiny.yaml"
    generator = {"name": "musicgen", "model": str(folder), "seconds": 1, "dtype": "float32", "batch_size": 4}
    content = {"name": "tiny", "prompts": {"per_genre": 4}, "embedder": {"name": "melstats"}}
    content["generator"] = generator | options
    path.write_text(yaml.safe_dump(content))
    return Recipe.load(path)


def test_stopped_and_resumed_corpus_equals_an_uninterrupted_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = recipe(folder, tmp_path)
    build(ours, tmp_path / "whole", clips_per_shard=6)
    generate, calls = MusicGen.generate, []

    def stopping(self: MusicGen, rows: Any) -> Any:
        calls.append(len(rows))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return generate(self, rows)

    monkeypatch.setattr(MusicGen, "generate", stopping)
    with pytest.raises(KeyboardInterrupt):
        build(ours, tmp_path / "parts", clips_per_shard=6)
    monkeypatch.setattr(MusicGen, "generate", generate)
    record = build(ours, tmp_path / "parts", clips_per_shard=6)
    assert record.rows == 20 and 0 < record.details["made_in_this_session"] < 20
    assert not verify(tmp_path / "parts").faults
    for path in (tmp_path / "whole" / "data").iterdir():
        assert path.read_bytes() == (tmp_path / "parts" / "data" / path.name).read_bytes()
    assert (
        json.loads((tmp_path / "whole" / BUILD_RECORD).read_text())["details"]["generator"]["license"]
        == "cc-by-nc-4.0"
    )


def test_killed_and_resumed_build_equals_an_uninterrupted_one(folder: Path, tmp_path: Path) -> None:
    ours = recipe(folder, tmp_path)
    build(ours, tmp_path / "whole", clips_per_shard=2)
    out = tmp_path / "parts"
    command = ["build", tmp_path / "tiny.yaml", "--out", out, "--clips-per-shard", 2]
    ledger = out / ".work" / "ledger.jsonl"

    def finished() -> int:
        return len(ledger.read_bytes().splitlines()) if ledger.exists() else 0

    for more in (1, 2):
        goal = finished() + more
        running = WarmProcess("import synthmir.cli; synthmir.cli.main()", *command, folder=tmp_path)
        while not running.ended() and finished() < goal:
            time.sleep(0.005)
        running.kill()
        assert running.wait() == -signal.SIGKILL, running.err.read_text()
    kept = finished()
    record = build(ours, tmp_path / "parts")
    assert record.rows == 20 and 0 < record.details["made_in_this_session"] <= 20 - kept
    assert not verify(tmp_path / "parts").faults
    assert {path.name: path.read_bytes() for path in (tmp_path / "parts" / "data").iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "whole" / "data").iterdir()
    }


def test_stereo_corpus_opens_with_all_readers(wide: Path, tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    build(recipe(wide, tmp_path, stereo=True), root)
    embed_corpus(root, EmbedderSettings(name="levels"))
    report = verify(root)
    assert not report.faults and report.clips == 20 and report.embeddings == {"levels": 20}
    for row in load_dataset(str(root), split="validation").cast_column("audio", Audio(decode=False)):
        samples, rate = decode_audio(row["audio"]["bytes"])
        assert samples.shape == (32_000, 2) and rate == 32_000 and row["duration"] == 1.0
        assert row["peak"] == pytest.approx(20 * np.log10(np.abs(samples).max()), abs=0.1)
        assert row["loudness"] == pytest.approx(measure_loudness(samples, rate), abs=0.1)
    card = (root / "README.md").read_text()
    assert "| `audio` | audio | 32 kHz | the clip: stereo, 32 kHz, FLAC (16 bits) |" in card
    assert "of **generated** stereo music" in card
    assert all(read_footer(path)["channels"] == 2 for path in (root / "data").iterdir())


def test_record_and_card_have_retries_and_sampling(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, calls = musicgen.Engine.decode, []

    def overflowing(self: Any, states: torch.Tensor, *rest: Any) -> Any:
        calls.append(self.dtype)
        if self.dtype == torch.bfloat16 and calls.count(torch.bfloat16) % 2:
            states[0, 0, 0] = torch.inf
        return decode(self, states, *rest)

    monkeypatch.setattr(musicgen.Engine, "decode", overflowing)
    record = build(recipe(folder, tmp_path, dtype="bfloat16", top_p=0.9), tmp_path / "out", clips_per_shard=4)
    lost = calls.count(torch.float32)
    assert lost > 1 and record.details["retried"] == lost
    assert json.loads((tmp_path / "out" / BUILD_RECORD).read_text())["details"]["retried"] == lost
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"| clips repeated in float32, as half precision failed | {lost} |" in card
    assert "| sampling | guidance 3, temperature 1, top-k 250, top-p 0.9 |" in card


def test_build_with_a_damaged_checkpoint_fails_and_resumes_after_repair(folder: Path, tmp_path: Path) -> None:
    ours = recipe(folder, tmp_path)
    with pytest.raises(SynthmirError, match="gone"):
        build(ours.with_options({"generator.model": str(tmp_path / "gone")}), tmp_path / "out")
    assert build(ours, tmp_path / "out").rows == 20  # into the same folder: nothing had been made there
