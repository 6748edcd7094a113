"""The generator `diffusers` on small random pipelines of every class."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import httpx2
import numpy as np
import pytest
import torch
from huggingface_hub.errors import GatedRepoError

from builder.clip import Clip, Prompt
from builder.errors import BackendError, DataError, RecipeError, SynthmirError
from builder.generators.base import load_generator
from builder.generators.diffusers import model_folder
from builder.generators.diffusers.generator import Diffusers
from builder.generators.diffusers.lyrics import write_lyrics
from builder.generators.diffusers.model_folder import ModelFolder, quiet_diffusers
from builder.resampling import resample
from builder.settings import GeneratorSettings
from builder.taxonomy import Taxonomy

from ..test_generator_contract import clips
from . import pipelines

Load = Callable[..., Diffusers]


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of each pipeline, saved once."""
    saved: dict[str, Path] = {}

    def find(name: str) -> Path:
        if name not in saved:
            saved[name] = pipelines.save(name, tmp_path_factory.mktemp(name))
        return saved[name]

    return find


@pytest.fixture(scope="session")
def load(folders: Callable[[str], Path]) -> Load:
    """Loaded generators, each once."""
    loaded: dict[str, Diffusers] = {}

    def find(name: str, **options: Any) -> Diffusers:
        key = f"{name} {options}"
        if key not in loaded:
            loaded[key] = make(folders(name), **options)
        return loaded[key]

    return find


def make(folder: Path, **options: Any) -> Diffusers:
    settings = GeneratorSettings(name="diffusers", model=str(folder), **{"seconds": 1.0, "steps": 2, **options})
    made = load_generator(settings, Taxonomy.load("paper"))
    assert isinstance(made, Diffusers)
    return made


@pytest.fixture(params=pipelines.MAKERS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_clip_does_not_depend_on_its_neighbours(name: str, load: Load) -> None:
    generator = load(name)
    whole = generator.generate(clips())
    assert all(clip.shape == (32_000,) and np.abs(clip).max() <= 1.0 for clip in whole)
    assert np.abs(whole[0] - generator.generate([replace(clips()[0], seed=1)])[0]).max() > 1e-4
    for clip, again in zip(whole[::-1], generator.generate(clips()[::-1]), strict=True):
        np.testing.assert_array_equal(clip, again)


def test_clip_is_that_of_the_pipeline(name: str, load: Load, folders: Callable[[str], Path]) -> None:
    """A plain call with the same seed gives the same samples."""
    row = clips()[2]
    length = ModelFolder.find(str(folders(name)), None).kind.length
    kind = getattr(diffusers, json.loads((folders(name) / "model_index.json").read_text())["_class_name"])
    arguments: dict[str, Any] = {"output_type": "pt"}
    if name == "ace-step":
        arguments |= {"lyrics": "[Instrumental]", "bpm": 80, "keyscale": "Eb major"}
    with quiet_diffusers():
        pipeline = kind.from_pretrained(folders(name))
        pipeline.set_progress_bar_config(disable=True)
        sound = pipeline(
            row.prompt.text,
            num_inference_steps=2,
            guidance_scale=load(name).guidance,
            generator=torch.Generator().manual_seed(row.seed),
            **{length: 1.0},
            **arguments,
        ).audios
    mono = sound.reshape(-1, sound.shape[-1]).mean(0).numpy()
    expected = resample(mono, pipelines.RATE, 32_000)[:32_000]
    expected /= max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(load(name).generate([row])[0][: len(expected)], expected, atol=1e-5)


@pytest.mark.parametrize(
    "scheduler",
    ["CosineDPMSolverMultistepScheduler", "EDMDPMSolverMultistepScheduler", "DPMSolverSDEScheduler", "DDIMScheduler"],
)
def test_no_scheduler_keeps_state(scheduler: str, load: Load) -> None:
    generator = load("stable-audio" if "MultistepS" in scheduler else "audioldm2")
    options = {"algorithm_type": "sde-dpmsolver++"} if scheduler.startswith("EDM") else {}
    kept = generator._pipeline.scheduler
    generator._pipeline.scheduler = getattr(diffusers, scheduler)(**options)
    try:
        first, other = generator.generate(clips()[:2])
        again = generator.generate(clips()[1::-1])
    finally:
        generator._pipeline.scheduler = kept
    np.testing.assert_array_equal(first, again[1])
    np.testing.assert_array_equal(other, again[0])
    assert np.abs(first - other).max() > 0


def test_stereo_and_negative_prompt(load: Load) -> None:
    plain = load("stable-audio").generate(clips()[:1])[0]
    stereo = load("stable-audio", stereo=True).generate(clips()[:1])[0]
    assert stereo.shape == (32_000, 2)
    np.testing.assert_allclose(stereo.mean(1), plain, atol=1e-6)
    steered = load("stable-audio", negative_prompt="low quality").generate(clips()[:1])[0]
    assert np.abs(steered - plain).max() > 1e-5


def test_defaults_are_those_of_the_model(folders: Callable[[str], Path]) -> None:
    limits = {name: ModelFolder.find(str(folders(name)), None).limits for name in pipelines.MAKERS}
    assert [(known.steps, known.guidance) for known in limits.values()] == [(100, 7), (8, 1), (50, 7), (200, 3.5)]
    assert [known.channels for known in limits.values()] == [2, 2, 2, 1]
    assert [known.seconds for known in limits.values()] == pytest.approx([2.0, 384.0, 600.0, 2.048])
    generator = make(folders("stable-audio"), guidance=2.0)
    assert (generator.guidance, generator.steps, generator.license) == (2.0, 2, "other")


def test_ace_step_gets_what_the_row_says(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    generator, calls = load("ace-step"), []
    whole = generator._pipeline

    class Recorder:
        scheduler = whole.scheduler
        _format_prompt, tokenizer = staticmethod(whole._format_prompt), whole.tokenizer

        def __call__(self, **arguments: Any) -> Any:
            calls.append(arguments)
            return diffusers.AudioPipelineOutput(audios=torch.zeros(len(arguments["prompt"]), 2, 1000))

    monkeypatch.setattr(generator, "_pipeline", Recorder())
    monkeypatch.setattr(generator, "batch_size", 8)
    rows = [*clips(), replace(clips()[1], id="c5", seed=9)]
    generator.generate(rows)
    given = {(call["bpm"], call["keyscale"]): call["lyrics"] for call in calls}
    assert given.keys() == {(None, None), (150, None), (80, "Eb major"), (None, "A minor")}
    assert given[80, "Eb major"] == ["[Instrumental]"] and given[None, None] == [""]
    sung = given[150, None]
    assert len(sung) == 2 and sung[0] != sung[1] and all(text.startswith("[verse]\n") for text in sung)


def test_lyrics_depend_on_seed_length_and_mood() -> None:
    prompt = Prompt("A song.", "", "pop", mood="melancholic", vocals="with-vocals")
    long = write_lyrics(prompt, 1, 60)
    assert long == write_lyrics(prompt, 1, 60) and "[chorus]" in long
    assert len({write_lyrics(prompt, seed, 60) for seed in range(50)}) > 40
    assert write_lyrics(prompt, 1, 5).count("\n") < long.count("\n")
    assert write_lyrics(replace(prompt, mood="upbeat"), 1, 60) != long


def test_a_long_prompt_is_logged_once(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    row = Clip("long", Prompt("guitar " * 60, "", "rock"), "g", 3, "train")
    with caplog.at_level(logging.WARNING):
        load("audioldm2").generate([row])
    (line,) = [record.getMessage() for record in caplog.records if "clip long" in record.getMessage()]
    assert line.endswith("tokens and is truncated to 64")


def test_out_of_memory_halves_the_batch(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = load("stable-audio")
    expected, sizes = generator.generate(clips()[:3]), []
    make_batch = generator._make_batch

    def fail(rows: Any, conditions: Any) -> Any:
        sizes.append(len(rows))
        if len(rows) > 1:
            raise torch.OutOfMemoryError("no memory")
        return make_batch(rows, conditions)

    monkeypatch.setattr(generator, "_make_batch", fail)
    monkeypatch.setattr(generator, "batch_size", 3)
    for clip, same in zip(generator.generate(clips()[:3]), expected, strict=True):
        np.testing.assert_array_equal(clip, same)
    assert sizes == [3, 1, 1, 1]
    monkeypatch.setattr(generator, "_make_batch", lambda rows, conditions: fail([*rows, *rows], conditions))
    with pytest.raises(BackendError, match="one clip of 1 s does not fit"):
        generator.generate(clips()[:1])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("stable-audio", {"seconds": 2.5}, "seconds: 2.5, but .* plays 2 at most"),
        ("audioldm2", {"seconds": 3.0}, "plays 2.048 at most"),
        ("audioldm2", {"stereo": True}, "plays mono"),
        ("ace-step", {"negative_prompt": "noise"}, "ACE-Step takes none"),
        ("stable-audio-3", {"negative_prompt": "noise"}, "no effect at a guidance of 1"),
        ("stable-audio", {"temperature": 2.0, "top_k": 3}, "temperature.*\n.*top_k"),
        ("stable-audio", {"offload": True, "device": "cpu"}, "offload: means nothing on the CPU"),
        ("stable-audio", {"revision": "main"}, "is a folder, which has no revisions"),
    ],
)
def test_what_the_model_cannot_do(
    name: str, options: dict[str, Any], message: str, folders: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ModelFolder, "load", lambda self, dtype: pytest.fail("the weights were loaded"))
    with pytest.raises(RecipeError, match=message):
        make(folders(name), **options)


def test_a_distilled_model_refuses_guidance(tmp_path: Path) -> None:
    pipelines.ace_step(turbo=True).save_pretrained(tmp_path / "turbo")
    assert ModelFolder.find(str(tmp_path / "turbo"), None).limits.steps == 8
    with pytest.raises(RecipeError, match="distilled and ignores it"):
        make(tmp_path / "turbo", guidance=4.0)


def rewrite_index(folder: Path, **changes: Any) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | changes))


def break_code(folder: Path) -> None:
    config = json.loads((folder / "text_encoder/config.json").read_text())
    (folder / "text_encoder/config.json").write_text(json.dumps(config | {"_attn_implementation": "user/kernel"}))


def pickle_weights(folder: Path) -> None:
    (folder / "vae/diffusion_pytorch_model.safetensors").rename(folder / "vae/diffusion_pytorch_model.bin")


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "image": (lambda f: rewrite_index(f, _class_name="FluxPipeline"), "is a FluxPipeline, not one of the pipelines"),
    "own": (lambda f: rewrite_index(f, _class_name=["pipeline", "Mine"]), "not one of the pipelines"),
    "unlisted": (lambda f: rewrite_index(f, vae=[None, None]), "lists no vae"),
    "code": (lambda f: rewrite_index(f, vae=["my_vae", "Vae"]), "not from diffusers or transformers"),
    "missing": (lambda f: shutil.rmtree(f / "vae"), "the component vae is missing"),
    "no index": (lambda f: (f / "model_index.json").unlink(), "has no model_index.json"),
    "no json": (lambda f: (f / "model_index.json").write_text("{"), "cannot be read"),
    "empty config": (lambda f: (f / "vae/config.json").write_text("{}"), "its config files lack 'sampling_rate'"),
    "kernel": (break_code, "names code to be loaded"),
    "pickle": (pickle_weights, "vae has no safetensors"),
    "damaged": (lambda f: (f / "vae/diffusion_pytorch_model.safetensors").write_bytes(b"x" * 64), "cannot be loaded"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_broken_models(fault: str, folders: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders("stable-audio"), tmp_path / "model")
    change, message = BROKEN[fault]
    change(folder)
    with pytest.raises(BackendError, match=message):
        make(folder)


def test_a_licence_that_must_be_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    response = httpx2.Response(403, request=httpx2.Request("GET", "http://127.0.0.1/model"))

    def refuse(*args: Any, **options: Any) -> None:
        raise GatedRepoError("gated", response=response)

    monkeypatch.setattr(model_folder, "require_hub", lambda *args: None)
    monkeypatch.setattr(model_folder, "hf_hub_download", refuse)
    with pytest.raises(BackendError, match="accepted on the page of owner/name on the Hub") as caught:
        ModelFolder.find("owner/name", None)
    assert "http" not in str(caught.value)


def test_no_model_no_prompt(load: Load) -> None:
    with pytest.raises(RecipeError, match="needs a model"):
        load_generator(GeneratorSettings(name="diffusers"), Taxonomy.load("paper"))
    with pytest.raises(DataError, match="the prompt is empty"):
        load("stable-audio").generate([replace(clips()[0], prompt=Prompt(" ", "", "pop"))])


def test_settings_of_others() -> None:
    """Other generators refuse the new settings, and recipes of 0.1 keep their fingerprint."""
    for options in ({"steps": 5}, {"negative_prompt": "noise"}, {"offload": True}):
        with pytest.raises(SynthmirError, match="generator 'arranger' does not use it"):
            load_generator(GeneratorSettings(**options), Taxonomy.load("paper"))  # type: ignore[arg-type]
    plain = GeneratorSettings(name="musicgen").audible()
    assert plain["guidance"] == 3.0 and not {"steps", "negative_prompt", "offload"} & plain.keys()
    own = GeneratorSettings(name="diffusers", model="m", steps=7, offload=True).audible()
    assert own["guidance"] is None and own["steps"] == 7 and "offload" not in own


def test_revision_is_of_the_content(folders: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders("ace-step"), tmp_path / "model")
    same = ModelFolder.find(str(folder), None).revision
    assert same == ModelFolder.find(str(folders("ace-step")), None).revision and len(same) == 12
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    assert ModelFolder.find(str(folder), None).license == "apache-2.0"
    rewrite_index(folder, _diffusers_version="0")
    assert ModelFolder.find(str(folder), None).revision != same


def test_old_class_of_a_language_model(folders: Callable[[str], Path], tmp_path: Path) -> None:
    """A published AudioLDM 2 names GPT2Model, from whose weights the same language model is loaded."""
    folder = shutil.copytree(folders("audioldm2"), tmp_path / "model")
    rewrite_index(folder, language_model=["transformers", "GPT2Model"])
    sounds = [make(one).generate(clips()[:1])[0] for one in (folder, folders("audioldm2"))]
    assert len({hashlib.sha256(sound.tobytes()).hexdigest() for sound in sounds}) == 1
