"""The generator `audiocraft` on small checkpoints, compared with audiocraft's decoding."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from builder.clip import Clip, Prompt
from builder.corpus.building.build import build
from builder.corpus.corpus import BUILD_RECORD
from builder.corpus.verify import verify
from builder.errors import BackendError, RecipeError
from builder.generators.audiocraft import generator as audiocraft
from builder.generators.audiocraft.generator import AudioCraft
from builder.generators.base import load_generator
from builder.generators.musicgen.engine import Engine, encode_text
from builder.generators.musicgen.sampling import Sampling, draw_uniforms
from builder.recipe import Recipe
from builder.settings import GeneratorSettings
from tests.builder.generators.audiocraft import checkpoints as made
from tests.builder.generators.musicgen import checkpoints

needs_audiocraft = pytest.mark.audiocraft
FRAMES = 50
TEXTS = [text[: 40 - 8 * index] for index, text in enumerate(checkpoints.TEXTS[:4])]
CASES = {"looked up": (), "t5": (made.T5_READER,), "stereo": (made.STEREO,)}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the text encoder that a checkpoint names, and the checkpoints beside it."""
    return made.t5(tmp_path_factory.mktemp("audiocraft"))


@pytest.fixture
def there(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make that folder the current one, where audiocraft finds the text encoder by its name."""
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def folder(there: Path) -> Path:
    return checkpoint(there, "looked up")


def checkpoint(place: Path, case: str) -> Path:
    """The checkpoint of a case, made once."""
    folder = place / case.replace(" ", "-")
    return folder if folder.is_dir() else made.musicgen(folder, *CASES[case])


def make(folder: Path | str, **options: Any) -> AudioCraft:
    settings = {"name": "audiocraft", "model": str(folder), "seconds": 1.0, "dtype": "float32", **options}
    taxonomy: Any = None  # MusicGen reads the prompt alone
    generator = load_generator(GeneratorSettings(**{"batch_size": 8, **settings}), taxonomy)
    assert isinstance(generator, AudioCraft)
    return generator


def load(folder: Path | str, revision: str | None = None) -> Any:
    return audiocraft.load_checkpoint(str(folder), revision, torch.float32, torch.device("cpu"))


def clips(texts: list[str] = TEXTS) -> list[Clip]:
    return [Clip(f"c{n}", Prompt(text, text, "rock"), "g", 7919 * n + 2**40, "train") for n, text in enumerate(texts)]


def theirs(folder: Path, guidance: float) -> Any:
    """audiocraft's MusicGen, set to take the most likely token."""
    model = import_module("audiocraft.models").MusicGen.get_pretrained(str(folder), device="cpu")
    model.set_generation_params(use_sampling=False, duration=FRAMES / 50, cfg_coef=guidance)
    return model


# the same as audiocraft


@needs_audiocraft
@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("case", CASES)
def test_greedy_tokens_agree_with_audiocraft(there: Path, case: str, guidance: float) -> None:
    folder = checkpoint(there, case)
    own, loaded = theirs(folder, guidance), load(folder)
    engine = Engine(loaded.model)
    wanted = [own.generate([text], return_tokens=True)[1] for text in TEXTS]
    assert len(torch.cat(wanted).unique()) > 20 and not torch.equal(wanted[0], wanted[1])
    for batch in (TEXTS[:1], TEXTS):
        texts = [torch.tensor(ids) for ids in loaded.tokenizer(batch).input_ids]
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(ids) for ids in texts], batch_first=True)
        ids = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)
        noise = draw_uniforms(range(len(batch)), engine.count_steps(FRAMES), engine.codebooks)
        with torch.inference_mode():
            states = encode_text(loaded.model, ids, mask)
        codes, _ = engine.decode(states, mask, FRAMES, noise, Sampling(guidance=guidance, greedy=True))
        assert torch.equal(codes, torch.cat(wanted[: len(batch)]))
    if case != "t5":  # texts of one length, where audiocraft's batch holds no padding either
        assert torch.equal(own.generate(TEXTS, return_tokens=True)[1], codes)


@needs_audiocraft
@pytest.mark.parametrize("case", CASES)
def test_sound_agrees_with_audiocraft(there: Path, case: str) -> None:
    folder = checkpoint(there, case)
    stereo = case == "stereo"
    own = theirs(folder, 3.0)
    sounds = make(folder, top_k=1, stereo=stereo).generate(clips())  # of one token the likeliest
    for text, sound in zip(TEXTS, sounds, strict=True):
        wanted = own.generate([text])[0].T.numpy()
        assert wanted.shape == (32_000, 2 if stereo else 1) and 0.01 < np.abs(wanted).max() < 1.0
        np.testing.assert_allclose(sound, wanted if stereo else wanted[:, 0], atol=1e-4)
    if stereo:
        for both, folded in zip(sounds, make(folder, top_k=1).generate(clips()), strict=True):
            np.testing.assert_allclose(folded, both.mean(1), atol=1e-6)


@needs_audiocraft
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_clip_does_not_depend_on_batch_and_order(there: Path, dtype: str) -> None:
    folder, rows = checkpoint(there, "t5"), clips()
    together = make(folder, dtype=dtype).generate(rows)
    alone = make(folder, dtype=dtype, batch_size=1).generate(rows)
    turned = make(folder, dtype=dtype, batch_size=3).generate(rows[::-1])[::-1]
    for wanted, one, some in zip(together, alone, turned, strict=True):
        np.testing.assert_allclose(one, wanted, atol=1e-4)
        np.testing.assert_allclose(some, wanted, atol=1e-4)
    assert np.abs(together[0] - together[1]).max() > 0.01


@needs_audiocraft
def test_only_the_decoder_is_in_half_precision(folder: Path) -> None:
    loaded = load(folder)
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.float32}
    half = audiocraft.load_checkpoint(str(folder), None, torch.bfloat16, torch.device("cpu")).model
    assert {parameter.dtype for parameter in half.decoder.parameters()} == {torch.bfloat16}
    assert {parameter.dtype for parameter in half.audio_encoder.parameters()} == {torch.float32}


@needs_audiocraft
def test_corpus_from_an_audiocraft_checkpoint(folder: Path, tmp_path: Path) -> None:
    generator = {"name": "audiocraft", "model": str(folder), "seconds": 1, "dtype": "float32", "batch_size": 4}
    content = {"name": "tiny", "prompts": {"per_genre": 2}, "generator": generator, "embedder": {"name": "levels"}}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(content))
    record = build(Recipe.load(tmp_path / "tiny.yaml"), tmp_path / "corpus", clips_per_shard=3)
    assert record.rows == 10 and not verify(tmp_path / "corpus").faults
    kept = json.loads((tmp_path / "corpus" / BUILD_RECORD).read_text())["details"]["generator"]
    assert (kept["name"], kept["license"]) == ("audiocraft", "cc-by-nc-4.0")


@needs_audiocraft
def test_clips_that_are_nan_in_half_precision_are_made_in_float32(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, decode = make(folder).generate(clips()), Engine.decode

    def overflowing(self: Any, states: torch.Tensor, *rest: Any) -> Any:
        return decode(self, states / 0 if self.dtype == torch.bfloat16 else states, *rest)

    monkeypatch.setattr(Engine, "decode", overflowing)
    generator = make(folder, dtype="bfloat16")
    for sound, exact in zip(generator.generate(clips()), wanted, strict=True):
        np.testing.assert_allclose(sound, exact, atol=1e-4)
    assert generator.retried == len(TEXTS)


@needs_audiocraft
def test_audiocraft_loads_in_float32_on_the_cpu(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = import_module("audiocraft.models").MusicGen
    asked, get = [], model.get_pretrained
    monkeypatch.setattr(
        model, "get_pretrained", lambda *name, **options: asked.append(options) or get(*name, **options)
    )
    load(folder)
    assert asked == [{"device": "cpu"}]


@needs_audiocraft
@pytest.mark.parametrize(
    ("language", "sound"),
    [
        ({"transformer_lm": {"activation": "relu"}}, {}),
        ({"transformer_lm": {"memory_efficient": False, "custom": True}}, {}),
        ({"transformer_lm": {"memory_efficient": False}}, {}),
        ({}, {"seanet": {"true_skip": False, "n_residual_layers": 2, "lstm": 1}}),
        ({}, {"seanet": {"causal": True}}),
        ({}, {"rvq": {"n_q": 6}}),
    ],
    ids=["relu", "own attention", "torch's attention", "residual layers", "causal", "more codebooks"],
)
def test_supported_variants_of_the_layers(
    there: Path, tmp_path: Path, language: dict[str, Any], sound: dict[str, Any]
) -> None:
    folder = made.musicgen(tmp_path / "other", language, sound=sound)
    made_here, wanted = (
        make(folder, top_k=1).generate(clips(TEXTS[:1]))[0],
        theirs(folder, 3.0).generate(TEXTS[:1])[0, 0],
    )
    np.testing.assert_allclose(made_here, wanted.numpy() / max(1.0, float(wanted.abs().max())), atol=1e-4)


# from the Hub


def cached(hub: Path, name: str, files: Path) -> str:
    """Put files into the cache of the Hub's client for `name`; returns their commit."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    kept = hub / f"models--{name.replace('/', '--')}"
    shutil.copytree(files, kept / "snapshots" / commit)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text(commit)
    return commit


@needs_audiocraft
def test_hub_model_is_pinned_to_its_commit_and_may_refer_to_a_codec(
    there: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, files, sound = tmp_path / "hub", tmp_path / "files", tmp_path / "sound"
    monkeypatch.setattr(import_module("huggingface_hub.constants"), "HF_HUB_CACHE", str(hub))
    shutil.copytree(folder, files)
    torch.save({"pretrained": "facebook/encodec_32khz", "exported": True}, files / "compression_state_dict.bin")
    commit = cached(hub, "facebook/musicgen-small", files)
    with pytest.raises(BackendError, match="its codec facebook/encodec_32khz") as caught:
        load("small")
    assert caught.value.fix is not None and "hf download facebook/encodec_32khz" in caught.value.fix
    checkpoints.model().audio_encoder.save_pretrained(sound)
    cached(hub, "facebook/encodec_32khz", sound)
    assert load("small").revision == load("facebook/musicgen-small", commit).revision == commit
    codec = load("small").model.audio_encoder
    assert torch.equal(
        codec.quantizer.layers[0].codebook.embed, checkpoints.model().audio_encoder.quantizer.layers[0].codebook.embed
    )
    with pytest.raises(BackendError, match="facebook/musicgen-small"):
        load("small", "another")


# bad input


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audiocraft, "find_spec", lambda name: None)
    with pytest.raises(BackendError, match="needs the package audiocraft") as caught:
        make("facebook/musicgen-small")
    assert caught.value.fix is not None and "uv sync --extra audiocraft" in caught.value.fix


@needs_audiocraft
def test_missing_dependency_of_audiocraft_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError("No module named 'xformers'", name="xformers")

    monkeypatch.setattr(audiocraft, "import_module", missing)
    with pytest.raises(BackendError, match="needs the package xformers") as caught:
        load(folder)
    assert caught.value.fix is not None and "uv sync --extra audiocraft" in caught.value.fix


@needs_audiocraft
def test_folder_called_like_a_short_name_is_used(there: Path, folder: Path) -> None:
    (there / "small").symlink_to(folder)
    assert load("small").revision == load(folder).revision
    (there / "small").unlink()


@needs_audiocraft
@pytest.mark.parametrize(
    ("name", "error"),
    [("/no/such/folder", "no such folder"), ("no-such/model", "is not on this machine"), ("a b", "a b: ")],
)
def test_missing_model_is_an_error(name: str, error: str) -> None:
    with pytest.raises(BackendError, match=error) as caught:
        load(name)
    assert name in str(caught.value) and caught.value.fix


@needs_audiocraft
def test_revision_of_a_folder_is_refused(folder: Path) -> None:
    with pytest.raises(RecipeError, match="revision"):
        load(folder, "main")


class Trap:
    """Leaves a file when it is run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


def changed(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the content of a file."""
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)


@needs_audiocraft
def test_pickled_code_is_not_run(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # which audiocraft's own loading would obey
    for file in audiocraft.FILES:
        copy, sprung = tmp_path / file, tmp_path / f"{file}.sprung"
        shutil.copytree(folder, copy)
        changed(copy / file, lambda content, sprung=sprung: content.update(trap=Trap(sprung)))
        with pytest.raises(BackendError, match=f"{file} holds other objects than weights"):
            load(copy)
        assert not sprung.exists()


@needs_audiocraft
@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (lambda path: (path / "state_dict.bin").unlink(), "has no state_dict.bin"),
        (lambda path: (path / "compression_state_dict.bin").unlink(), "has no compression_state_dict.bin"),
        (lambda path: (path / "state_dict.bin").write_bytes(b"torn"), "cannot be loaded"),
        (lambda path: torch.save([1], path / "state_dict.bin"), "not in the format that audiocraft exports"),
        (
            lambda path: changed(path / "state_dict.bin", lambda content: content.pop("xp.cfg")),
            "not in the format that audiocraft",
        ),
        (lambda path: changed(path / "state_dict.bin", lambda content: content["best_state"].popitem()), "cannot be"),
    ],
    ids=["no language model", "no codec", "torn", "a list", "no settings", "a weight too few"],
)
def test_incomplete_and_damaged_checkpoints_are_refused(folder: Path, tmp_path: Path, damage: Any, error: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    damage(copy)
    with pytest.raises(BackendError, match=error) as caught:
        load(copy)
    assert str(copy) in str(caught.value) and caught.value.fix


def transformer(**options: Any) -> dict[str, Any]:
    return {"transformer_lm": options}


@needs_audiocraft
@pytest.mark.parametrize(
    ("language", "sound", "error"),
    [
        (transformer(bias_attn=True), {}, "have no place or are missing: .*bias"),
        (transformer(layer_scale=0.5), {}, "have no place or are missing: .*layer_scale"),
        (transformer(norm_first=False), {}, "have no place or are missing"),
        (transformer(positional_embedding="rope"), {}, "have no place or are missing: .*rope"),
        (transformer(positional_scale=0.5), {}, "language model .* off"),
        (transformer(kv_repeat=2), {}, "have no place or are missing: .*self_attn.k_proj"),
        ({"codebooks_pattern": {"modeling": "parallel"}}, {}, "codebooks are not delayed"),
        ({"codebooks_pattern": {"delay": {"delays": [0, 2, 4, 6]}}}, {}, "codebooks are not delayed"),
        ({"fuser": {"cross": [], "prepend": ["description"]}}, {}, "not cross-attention to one text"),
        ({"fuser": {"cross_attention_pos_emb": True}}, {}, "not cross-attention to one text"),
        ({}, {"seanet": {"decoder": {"final_activation": "Tanh"}}}, "EnCodec .* off"),
        ({}, {"seanet": {"disable_norm_outer_blocks": 1}}, "EnCodec .* have no place or are missing"),
    ],
    ids=lambda case: None if isinstance(case, dict) else case[:20],
)
def test_other_layers_than_musicgens_are_refused(
    there: Path, tmp_path: Path, language: dict[str, Any], sound: dict[str, Any], error: str
) -> None:
    with pytest.raises(BackendError, match=error) as caught:
        load(made.musicgen(tmp_path / "other", language, sound=sound))
    assert str(tmp_path) in str(caught.value)


@needs_audiocraft
@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"conditioners": {"self_wav": {"model": "chroma_stem"}}}, "has the conditions description and self_wav"),
        ({"conditioners": {"description": {"lut": {"tokenizer": "whitespace"}}}}, "neither read by T5 unchanged"),
        (
            made.merged(made.T5_READER, {"conditioners": {"description": {"t5": {"normalize_text": True}}}}),
            "neither read by",
        ),
        ({"interleave_stereo_codebooks": {"use": True, "per_timestep": True}}, "alternate in time"),
    ],
    ids=["melody", "words", "normalised", "turns"],
)
def test_unsupported_settings_are_refused_before_audiocraft_loads(
    folder: Path, tmp_path: Path, settings: dict[str, Any], error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """audiocraft would download demucs or spaCy's English model while it loads."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    text = yaml.safe_dump(made.merged(made.LANGUAGE, settings))
    changed(copy / "state_dict.bin", lambda content: content.update({"xp.cfg": text}))
    monkeypatch.setattr(import_module("audiocraft.models"), "MusicGen", None)
    with pytest.raises(BackendError, match=error):
        load(copy)


@needs_audiocraft
@pytest.mark.parametrize(
    ("file", "error"),
    [
        ("tokenizer.json", "has no tokenizer"),
        ("config.json", "is no model, not t5"),
        ("model.safetensors", "has no weights"),
    ],
)
def test_incomplete_text_encoder_is_refused(
    there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, error: str
) -> None:
    folder = checkpoint(there, "t5")
    shutil.copytree(there / made.T5, tmp_path / made.T5)
    (tmp_path / made.T5 / file).unlink()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BackendError, match=error):
        load(folder)


@needs_audiocraft
def test_missing_text_encoder_is_an_error(there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = checkpoint(there, "t5")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BackendError, match="its text encoder t5-small") as caught:
        load(folder)
    assert caught.value.fix is not None and "hf download t5-small" in caught.value.fix
