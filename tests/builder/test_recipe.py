from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from builder.errors import RecipeError
from builder.io.safe_files import MAX_YAML_BYTES, find_shipped, read_yaml
from builder.prompts import make_prompts
from builder.recipe import Recipe
from builder.registry import EMBEDDERS, GENERATORS
from builder.settings import GeneratorSettings

SHIPPED = sorted(path.stem for path in find_shipped("recipes").glob("*.yaml"))


def load(folder: Path, text: str = "", **sections: Any) -> Recipe:
    """Load a recipe with this text, or with these sections added to a minimal one."""
    whole = {"name": "test", "prompts": {"per_genre": 2}} | sections
    (folder / "recipe.yaml").write_text(text or yaml.safe_dump(whole), encoding="utf-8")
    return Recipe.load(folder / "recipe.yaml")


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_recipe_loads_and_writes_itself(name: str, tmp_path: Path) -> None:
    recipe = Recipe.load(name)
    assert recipe.name == name
    for file, content in recipe.portable().items():
        (tmp_path / file).write_bytes(content)
    again = Recipe.load(tmp_path / "recipe.yaml")
    named = recipe.model_dump()
    named["generator"]["revision"] = recipe.generator.version  # a written recipe names its version of the arranger
    assert again.model_dump() == named
    assert again.fingerprint() == recipe.fingerprint()


def test_the_papers_settings() -> None:
    paper, gtzan = Recipe.load("paper"), Recipe.load("gtzan-synth")
    assert (paper.prompts.total, paper.prompts.strategy, paper.generator.model) == (
        57562,
        "template",
        "facebook/musicgen-small",
    )
    assert (gtzan.prompts.per_genre, gtzan.prompts.strategy, gtzan.generator.guidance) == (1000, "repeat", 10.0)
    assert (paper.training.hidden, paper.training.patience, paper.split.validation) == ((128,), 5, 0.1)


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        (
            {"promts": {}},
            "promts: unknown key (did you mean 'prompts'?). Known here: ablation, annotations, audio, embedder",
        ),
        ({"prompts": {"per_gerne": 5}}, "prompts.per_gerne: unknown key (did you mean 'per_genre'?)"),
        ({"prompts": {"per_genre": -5}}, "prompts.per_genre: input should be greater than or equal to 1 (found -5)"),
        ({"prompts": {"per_genre": 0}}, "prompts.per_genre: input should be greater than or equal to 1 (found 0)"),
        ({"prompts": {"total": -1}}, "prompts.total: input should be greater than or equal to 1"),
        ({"prompts": {"per_genre": "5"}}, "prompts.per_genre: input should be a valid integer (found '5')"),
        ({"prompts": {"per_genre": 2.5}}, "prompts.per_genre: input should be a valid integer"),
        ({"prompts": {"per_genre": True}}, "prompts.per_genre: input should be a valid integer"),
        ({"prompts": {"per_genre": 5, "total": 5}}, "give either per_genre or total"),
        ({"prompts": {}}, "give either per_genre or total"),
        ({"prompts": [1]}, "prompts: expected `key: value` lines (found [1])"),
        ({"prompts": {"total": 5, "seed": -1}}, "prompts.seed: input should be greater than or equal to 0"),
        ({"prompts": {"total": 5, "seed": 2**63}}, "prompts.seed: input should be less than"),
        ({"prompts": {"total": 5, "strategy": "poem"}}, "prompts.strategy: input should be 'template', 'repeat'"),
        ({"prompts": {"total": 5, "vocals": "none"}}, "prompts.vocals: input should be"),
        (
            {"prompts": {"total": 5, "instrumentation": "some"}},
            "prompts.instrumentation: input should be a valid boolean",
        ),
        ({"prompts": {"total": 5, "vocals": ["instrumental", "none"]}}, "prompts.vocals.1: input should be 'unspec"),
        ({"prompts": {"total": 5, "vocals": ["instrumental"] * 2}}, "prompts.vocals: a value is given twice"),
        ({"prompts": {"total": 5, "strategy": []}}, "prompts.strategy: expected at least 1 value (found [])"),
        (
            {"prompts": {"total": 5, "instrumentation": [True, False], "source": {"kind": "file", "path": "d.csv"}}},
            "instrumentation must be on or off: texts of source kind 'file' are fixed",
        ),
        ({"prompts": {"total": 5, "source": {"kind": "file"}}}, "source kind 'file' also needs path"),
        ({"prompts": {"total": 5, "source": {"kind": "chat"}}}, "source kind 'chat' also needs path and model"),
        ({"prompts": {"total": 5, "source": {"path": "x"}}}, "source kind 'grammar' does not use path"),
        ({"generator": {"seconds": 0}}, "generator.seconds: input should be greater than or equal to 1"),
        ({"generator": {"seconds": float("nan")}}, "generator.seconds: input should be"),
        ({"split": {"validation": 1.0}}, "split.validation: input should be less than 1"),
        ({"training": {"hidden": [0]}}, "training.hidden.0: input should be greater than or equal to 1"),
        ({"evaluation": {"benchmarks": []}}, "evaluation.benchmarks: expected at least 1"),
        ({"name": "My Corpus"}, "name: expected lower-case letters, digits, `.`, `_`, `-`"),
        ({"name": "../up"}, "name: expected lower-case letters, digits, `.`, `_`, `-`"),
    ],
)
def test_a_fault_is_reported_with_its_key(tmp_path: Path, sections: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError) as error:
        load(tmp_path, **sections)
    assert words in error.value.message
    assert "recipe.yaml: 1 problem" in error.value.message


def test_all_faults_are_reported_together(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as error:
        load(tmp_path, name="A B", prompts={"total": -1, "sede": 3}, generator={"seconds": "long"}, colour="red")
    assert "5 problems" in error.value.message
    for key in ("name:", "prompts.total:", "prompts.sede:", "generator.seconds:", "colour:"):
        assert f"  - {key}" in error.value.message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: [", "not valid YAML"),
        ("a: 1\na: 2\n", "key 'a' is there twice"),
        ("a: &x 1\nb: *x\n", "aliases"),
        ("- a\n", "expected `key: value` lines, found a list"),
        ("# nothing\n", "the file is empty"),
        ("name: !!python/object/apply:os.getcwd []\n", "not valid YAML"),
        ("{" * 3000, "not valid YAML"),
    ],
)
def test_broken_yaml_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(RecipeError) as error:
        load(tmp_path, text)
    assert words in error.value.message


def test_files_that_are_no_recipe_are_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    (tmp_path / "huge.yaml").write_bytes(b"#" * (MAX_YAML_BYTES + 1))
    for name, words in (("latin", "not UTF-8"), ("huge", "larger than"), ("gone", "No such file")):
        with pytest.raises(RecipeError, match=words):
            read_yaml(tmp_path / f"{name}.yaml")
    with pytest.raises(RecipeError, match="Is a directory"):
        read_yaml(tmp_path)
    with pytest.raises(RecipeError, match=r"shipped: .*demo.*paper"):
        Recipe.load("papper")


def test_an_unknown_taxonomy_or_genre_is_reported(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"did you mean 'gtzan'"):
        make_prompts(load(tmp_path, taxonomy="gtzn"))
    (tmp_path / "mine.yaml").write_text("name: mine\ngenres: [rok, jazz]\n", encoding="utf-8")
    with pytest.raises(RecipeError, match=r"unknown genre 'rok' \(did you mean 'rock'\?\)"):
        make_prompts(load(tmp_path, taxonomy="mine.yaml"))


def test_paths_start_at_the_recipes_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "mine.yaml").write_text("name: mine\ngenres: [rock, jazz]\n", encoding="utf-8")
    recipe = load(tmp_path / "deep", taxonomy="mine.yaml")
    monkeypatch.chdir("/")
    assert recipe.labels.genre_names == ["rock", "jazz"]


def test_the_fingerprint_stands_for_what_changes_the_audio(tmp_path: Path) -> None:
    base = load(tmp_path).fingerprint()
    same = (
        {"generator": {"batch_size": 3, "device": "cpu"}},
        {"training": {"epochs": 3}},
        {"evaluation": {"bootstrap": 200}},
        {"split": {"validation": 0.2}},
        {"quality": {"max_rejected": 0.5}},
        {"generator": {"seconds": 10}},
        {"generator": {"top_p": 1.0, "stereo": False}},
    )
    other = (
        {"name": "other"},
        {"taxonomy": "gtzan"},
        {"prompts": {"per_genre": 3}},
        {"prompts": {"per_genre": 2, "seed": 1}},
        {"prompts": {"per_genre": 2, "vocals": "instrumental"}},
        {"generator": {"seconds": 11}},
        {"generator": {"top_k": 1}},
        {"generator": {"top_p": 0.9}},
        {"generator": {"stereo": True}},
        {"quality": {"attempts": 1}},
    )
    assert {load(tmp_path, **sections).fingerprint() for sections in same} == {base}
    prints = [load(tmp_path, **sections).fingerprint() for sections in other]
    assert len({base, *prints}) == 1 + len(other)


def test_settings_that_came_later_leave_older_recipes_their_fingerprint() -> None:
    first = {"name", "model", "revision", "seconds", "guidance", "temperature", "top_k", "dtype"}
    assert set(GeneratorSettings().audible()) == first
    assert set(GeneratorSettings(top_p=0.5, stereo=True).audible()) == first | {"top_p", "stereo"}


def test_a_file_of_descriptions_counts_by_content_not_by_name(tmp_path: Path) -> None:
    text = "genre,description\npop,x\n"
    for name, content in (("a.csv", text), ("b.csv", text), ("c.csv", text + "pop,y\n")):
        (tmp_path / name).write_text(content, encoding="utf-8")
    a, b, c = (
        load(tmp_path, prompts={"total": 1, "source": {"kind": "file", "path": name}}).fingerprint()
        for name in ("a.csv", "b.csv", "c.csv")
    )
    assert a == b != c
    with pytest.raises(RecipeError, match=r"prompts\.source\.path: there is no file"):
        load(tmp_path, prompts={"total": 1, "source": {"kind": "file", "path": "d.csv"}}).fingerprint()


def test_reading_recipes_and_making_prompts_is_light() -> None:
    code = (
        "import sys; from builder.recipe import Recipe; from builder.prompts import make_prompts;"
        "make_prompts(Recipe.load('demo'));"
        "print([m for m in ('torch', 'transformers', 'datasets', 'numpy', 'librosa') if m in sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "[]"


def unknown(folder: Path) -> Path:
    (folder / "r.yaml").write_text(
        "name: x\nprompts: {per_genre: 5}\ngenerator: {name: theremin}\nembedder: {name: ears}\n"
    )
    return folder / "r.yaml"


def test_names_that_nothing_is_registered_by_are_faults_of_the_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as raised:
        Recipe.load(unknown(tmp_path))
    assert "2 problems" in str(raised.value) and "generator.name" in str(raised.value)
    assert "no embedder called 'ears'. Known: hf, " in str(raised.value)
    with pytest.raises(RecipeError, match="options: 1 problem"):
        Recipe.load("demo").with_options({"embedder.name": "melstat"})
    assert Recipe.load("demo").with_options({"embedder.name": "hf:me/model"}).embedder.name == "hf:me/model"


def test_a_corpus_by_a_generator_that_is_not_known_here_is_still_read(tmp_path: Path) -> None:
    recipe = Recipe.load(unknown(tmp_path), kept=True)
    assert recipe.generator.name == "theremin" and recipe.with_options({"training.seed": 3}).training.seed == 3


def test_a_generator_of_ones_own_is_known_once_it_is_registered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GENERATORS, "theremin", "somewhere:Theremin")
    monkeypatch.setitem(EMBEDDERS, "ears", "somewhere:Ears")
    assert Recipe.load(unknown(tmp_path)).fingerprint() == Recipe.load(unknown(tmp_path), kept=True).fingerprint()
