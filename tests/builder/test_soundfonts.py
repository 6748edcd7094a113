"""Sound fonts by name and path, in recipes, rows and cards."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from builder import soundfonts
from builder.clip import Clip, Prompt
from builder.corpus.building.build import build
from builder.errors import BackendError, DataError, RecipeError, SynthmirError
from builder.generators.arranger import Arranger
from builder.recipe import Recipe
from builder.settings import GeneratorSettings
from builder.soundfonts import find_font, name_font, pin_font, resolve_font

from .generators.arranger.fonts import font, sine

RECIPE = """
name: small
taxonomy: own.yaml
prompts: {per_genre: 2}
generator: {name: arranger, seconds: 1, soundfont: [TimGM6mb, fonts/a.sf2]}
split: {validation: 0.5}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    (tmp_path / "fonts").mkdir()
    (tmp_path / "fonts" / "a.sf2").write_bytes(font(sine(20, 100), 32_000, 60, (200, 1200)))
    (tmp_path / "own.yaml").write_text("{name: own, genres: [funk, rock]}")
    (tmp_path / "small.yaml").write_text(RECIPE)
    return Recipe.load(tmp_path / "small.yaml")


def clip(seed: int) -> Clip:
    return Clip("c", Prompt("", "", "rock", instruments=("flute",)), "g", seed, "train")


def test_font_is_drawn_by_the_seed_and_is_in_the_row(recipe: Recipe) -> None:
    arranger = Arranger(recipe.generator, recipe.labels)
    rows = [arranger.describe(clip(seed)) for seed in range(12)]
    assert {row["soundfont"] for row in rows} == {"TimGM6mb", "a.sf2"}
    again = Arranger(recipe.generator, recipe.labels)
    assert [again.describe(clip(seed)) for seed in range(12)] == rows
    productions = [json.loads(row["production"]) for row in rows]
    for row, production in zip(rows, productions, strict=True):
        assert production.get("substitutes", {}).get("flute") == (0 if row["soundfont"] == "a.sf2" else None)


def test_identity_is_the_digest_and_not_the_path(recipe: Recipe, tmp_path: Path) -> None:
    moved = tmp_path / "moved.sf2"
    moved.write_bytes((tmp_path / "fonts" / "a.sf2").read_bytes())
    other = recipe.with_values({"generator.soundfont": ["TimGM6mb", str(moved)]})
    assert other.fingerprint() == recipe.fingerprint()
    assert recipe.with_values({"generator.soundfont": "TimGM6mb"}).fingerprint() != recipe.fingerprint()
    before = recipe.fingerprint()
    moved.write_bytes(font(sine(10, 100), 32_000, 60, (200, 900)))
    assert other.fingerprint() != before == recipe.fingerprint()


def test_corpus_names_fonts_without_folders_and_refuses_a_changed_one(recipe: Recipe, tmp_path: Path) -> None:
    out = tmp_path / "corpus"
    build(recipe, out, workers=1)
    written = (out / "recipe.yaml").read_text()
    assert "a.sf2@" in written and str(tmp_path) not in written
    kept = Recipe.load(out / "recipe.yaml")
    assert kept.fingerprint() == recipe.fingerprint()  # though the font is not beside it
    with pytest.raises(BackendError, match=r"there is no file .*a\.sf2"):
        Arranger(kept.generator, kept.labels)
    next(out.glob("data/train-*")).unlink()
    path = tmp_path / "fonts" / "a.sf2"
    path.write_bytes(font(sine(10, 100), 32_000, 60, (200, 900)))
    with pytest.raises(DataError, match="corpus of another recipe"):
        build(recipe, out, workers=1)
    pinned = str(path) + "@" + kept.generator.soundfont[1].partition("@")[2]
    with pytest.raises(BackendError, match="has the digest"):
        find_font(pinned)
    card = (out / "README.md").read_text()
    assert "`a.sf2`" in card or "`TimGM6mb`" in card


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Fluid", "there is no sound font called 'Fluid'"),
        ("missing.sf2", "there is no file missing.sf2"),
        ("FluidR3_GM", "FluidR3_GM is not installed"),
    ],
)
def test_font_that_is_not_there(text: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = soundfonts.KnownFont(("/nowhere/a.sf2",), "apt-get install fluid-soundfont-gm", "MIT", "Frank Wen")
    monkeypatch.setitem(soundfonts.KNOWN, "FluidR3_GM", absent)
    with pytest.raises(SynthmirError, match=message) as caught:
        find_font(text)
    assert caught.value.fix
    if text == "FluidR3_GM":
        assert caught.value.fix == "apt-get install fluid-soundfont-gm"


def test_font_that_is_too_large_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.sf2").write_text("no sound font")
    settings = GeneratorSettings(soundfont=(str(tmp_path / "a.sf2"),))
    arranger = Arranger(settings, Recipe.load("demo").labels)
    with pytest.raises(BackendError, match="not a readable sound font"):
        arranger.generate([clip(0)])
    monkeypatch.setattr(soundfonts, "MAX_BYTES", 5)
    with pytest.raises(BackendError, match="is larger than"):
        find_font(str(tmp_path / "a.sf2"))


def test_damaged_font_is_refused_before_a_folder_is_made(recipe: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "fonts" / "a.sf2"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BackendError, match=re.escape(f"{path}: not a readable sound font")):
        build(recipe, tmp_path / "corpus", workers=2)
    assert not (tmp_path / "corpus").exists()


def test_font_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.sf2").write_bytes(font(sine(20, 100), 32_000, 60, (200, 1200)))

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(BackendError, match=r"a\.sf2 cannot be read \(Permission denied\)") as caught:
        find_font(str(tmp_path / "a.sf2"))
    assert "permissions" in (caught.value.fix or "")


def test_version_1_has_one_font() -> None:
    with pytest.raises(RecipeError, match="version 1 of the arranger is played with TimGM6mb alone"):
        Arranger(GeneratorSettings(revision="1", soundfont=("FluidR3_GM",)), Recipe.load("demo").labels)


def test_names_and_paths(tmp_path: Path) -> None:
    assert resolve_font("FluidR3_GM", tmp_path) == "FluidR3_GM"
    assert resolve_font("x/a.sf3@0123456789abcdef", tmp_path) == f"{tmp_path}/x/a.sf3@0123456789abcdef"
    assert resolve_font("~/a.sf2", tmp_path) == str(Path.home() / "a.sf2")
    assert name_font("/x/a.sf3@0123456789abcdef") == "a.sf3"
    assert pin_font("/x/a.sf3@0123456789abcdef") == "a.sf3@0123456789abcdef"
    assert GeneratorSettings(soundfont="FluidR3_GM").soundfont == ("FluidR3_GM",)  # type: ignore[arg-type]
