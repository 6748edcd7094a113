"""The contract of generators, tested for all that are registered."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import pytest
from datasets import Features

from builder.clip import Clip, Prompt
from builder.corpus.building.score_configs import find_stem_fault, make_schema
from builder.errors import BackendError
from builder.generators.base import (
    METHODS,
    AnnotatingGenerator,
    GeneratorBackend,
    StemGenerator,
    can_make,
    load_generator,
)
from builder.registry import GENERATORS, SCORED_GENERATORS
from builder.settings import GeneratorSettings
from builder.taxonomy import Taxonomy

from ...warm import WarmProcess

ROOT = Path(__file__).parents[3]
SECONDS = 1.53  # not a whole number of frames

ELSEWHERE = """
import hashlib, sys
from builder.generators.base import load_generator
from builder.taxonomy import Taxonomy
from tests.builder import fakes
from tests.builder.generators.test_generator_contract import clips, settings
fakes.register()
name, model = sys.argv[1], sys.argv[2] or None
generator = load_generator(settings(name, model), Taxonomy.load("paper"))
print(generator.revision, hashlib.sha256(generator.generate(clips()[2:3])[0].tobytes()).hexdigest())
"""


def clips() -> list[Clip]:
    """Four clips with many, few and no labels."""
    prompts = (
        Prompt("A Funk track.", "", "funk"),
        Prompt("A Rock track. At 150 BPM.", "At 150 BPM.", "rock", "punk rock", tempo_bpm=150, vocals="with-vocals"),
        Prompt("A Pop track. Piano.", "Piano.", "pop", "soft pop", "warm", ("piano",), 80, "Eb major", "instrumental"),
        Prompt("An Electronica track.", "", "electronica", "techno", key="A minor"),
    )
    return [Clip(f"c{n}", prompt, "group", 2**40 + n, "train") for n, prompt in enumerate(prompts)]


def settings(name: str, model: str | None, **options: object) -> GeneratorSettings:
    few = {"steps": 2} if name == "diffusers" else {}
    return GeneratorSettings(name=name, model=model, **{"seconds": SECONDS, **few, **options})  # type: ignore[arg-type]


MARKS = {"audiocraft": pytest.mark.audiocraft}


@pytest.fixture(scope="module", params=[pytest.param(name, marks=MARKS.get(name, ())) for name in sorted(GENERATORS)])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(name: str, tmp_path_factory: pytest.TempPathFactory) -> str | None:
    """Small random weights in the published format, for generators that need some."""
    if name == "musicgen":
        from .musicgen import checkpoints

        return str(checkpoints.musicgen(tmp_path_factory.mktemp("weights")))
    if name == "audiocraft":
        from .audiocraft import checkpoints as audiocraft_checkpoints

        return str(audiocraft_checkpoints.musicgen(tmp_path_factory.mktemp("weights")))
    if name == "diffusers":
        from .diffusers import pipelines

        return str(pipelines.save("stable-audio", tmp_path_factory.mktemp("weights")))
    return None


@pytest.fixture(scope="module")
def taxonomy() -> Taxonomy:
    return Taxonomy.load("paper")


@pytest.fixture(scope="module")
def generator(name: str, model: str | None, taxonomy: Taxonomy) -> GeneratorBackend:
    return load_generator(settings(name, model), taxonomy)


@pytest.fixture(scope="module")
def whole(generator: GeneratorBackend) -> list[np.ndarray]:
    return generator.generate(clips())


def test_attributes(generator: GeneratorBackend, name: str) -> None:
    assert generator.name == name and type(generator) is GENERATORS.load(name)
    assert generator.revision and isinstance(generator.revision, str)
    assert generator.license == generator.license.lower() and " " not in generator.license
    assert generator.sampling_rate == 32_000  # what a corpus holds
    assert generator.about.endswith(".") and len(generator.about) < 400
    assert isinstance(generator.samples, bool) and isinstance(generator.single_core, bool)


def test_length_type_and_range(whole: list[np.ndarray], generator: GeneratorBackend) -> None:
    assert len(whole) == len(clips())
    for audio in whole:
        assert audio.shape == (round(SECONDS * generator.sampling_rate),) and audio.dtype == np.float32
        assert np.isfinite(audio).all() and np.abs(audio).max() <= 1.0


def test_no_rows_give_no_clips(generator: GeneratorBackend) -> None:
    assert generator.generate([]) == []


def test_clip_does_not_depend_on_batch_and_order(whole: list[np.ndarray], generator: GeneratorBackend) -> None:
    for row in (3, 0):
        np.testing.assert_array_equal(generator.generate(clips()[row : row + 1])[0], whole[row])
    for audio, same in zip(generator.generate(clips()[::-1]), whole[::-1], strict=True):
        np.testing.assert_array_equal(audio, same)


def test_clip_does_not_depend_on_the_batch_size(
    whole: list[np.ndarray], name: str, model: str | None, taxonomy: Taxonomy, generator: GeneratorBackend
) -> None:
    other = load_generator(settings(name, model, batch_size=2), taxonomy)
    assert other.revision == generator.revision
    for audio, same in zip(other.generate(clips()), whole, strict=True):
        np.testing.assert_array_equal(audio, same)


def test_clip_depends_on_the_seed(generator: GeneratorBackend, whole: list[np.ndarray]) -> None:
    row = clips()[0]
    other = generator.generate([Clip(row.id, row.prompt, row.prompt_group, row.seed + 1, row.split)])[0]
    assert np.abs(other - whole[0]).max() > 1e-3


def test_who_has_a_score(name: str) -> None:
    able = [config for config in METHODS if can_make(name, config)]
    assert able in ([], ["annotations", "stems"])
    shipped = GENERATORS[name].startswith("builder.")
    assert (name in SCORED_GENERATORS) == (bool(able) and shipped)


def test_an_annotation_is_of_its_clip(name: str, generator: GeneratorBackend) -> None:
    if not can_make(name, "annotations"):
        assert not hasattr(generator, "annotate")
        return
    rows = [cast(AnnotatingGenerator, generator).annotate(row).to_row() for row in clips()]
    assert [row["id"] for row in rows] == [row.id for row in clips()]
    assert all(row["duration"] == SECONDS and row["notes"] and row["midi"] for row in rows)
    assert Features.from_arrow_schema(pa.Table.from_pylist(rows, make_schema("annotations")).schema)
    assert cast(AnnotatingGenerator, generator).annotate(clips()[2]).to_row() == rows[2]


def test_stems_add_up_to_their_clip(name: str, generator: GeneratorBackend, whole: list[np.ndarray]) -> None:
    if not can_make(name, "stems"):
        assert not hasattr(generator, "generate_stems")
        return
    made = cast(StemGenerator, generator).generate_stems(clips())
    for (mix, stems), same in zip(made, whole, strict=True):
        np.testing.assert_array_equal(mix, same)
        assert find_stem_fault(mix, stems) is None
    alone = cast(StemGenerator, generator).generate_stems(clips()[3:])[0][1]
    assert alone.keys() == made[3][1].keys()
    assert all(np.array_equal(stem, made[3][1][stem_name]) for stem_name, stem in alone.items())


def test_clip_is_the_same_in_another_process(
    whole: list[np.ndarray], name: str, model: str | None, generator: GeneratorBackend, tmp_path: Path
) -> None:
    import hashlib

    run = WarmProcess(ELSEWHERE, name, model or "", folder=tmp_path)
    assert run.wait() == 0 and run.err.read_text() == ""  # no user is to read what back ends print when they load
    assert run.out.read_text().split() == [generator.revision, hashlib.sha256(whole[2].tobytes()).hexdigest()]


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(BackendError, match="no generator called 'theremin'"):
        GENERATORS.load("theremin")
