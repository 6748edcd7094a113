"""`import synthmir`: one function for each command, with the same options, imported when it is used."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from types import ModuleType

import pytest
import typer.main

import builder
import evaluation
import synthmir
from synthmir.cli import app

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
NOT_IN_PYTHON = {"jsonl", "dry_run", "seeds"}  # output formats; `estimate`, `train_seeds` are functions of their own
NOT_IN_COMMAND = {"progress", "notice"}


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - {"recipe"}))  # in Python that is `read_recipe`
def test_each_command_is_a_function_with_the_same_options(name: str):
    options = {parameter.name for parameter in COMMANDS[name].params}
    if name in ("build", "train", "prompts", "classify", "tags"):
        options -= NOT_IN_PYTHON
    if name == "plan":
        options -= {"json"}
    function = inspect.signature(getattr(synthmir, name.replace("-", "_"))).parameters
    assert set(function) - NOT_IN_COMMAND - ({"workers"} if name == "classify" else set()) == options


@pytest.mark.parametrize(
    "package", [synthmir, synthmir.annotations, builder, evaluation], ids=lambda package: package.__name__
)
def test_names_are_the_same_for_type_checkers_and_at_run_time(package: ModuleType):
    tree = ast.parse(Path(str(package.__file__)).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imported = {
        alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert imported.keys() == set(package.__all__) - {"__version__"} and set(package.__all__) == set(dir(package))
    for name, module in imported.items():
        assert getattr(package, name).__module__.endswith(str(module)), name
    with pytest.raises(AttributeError, match="no attribute 'biuld'"):
        package.biuld  # noqa: B018


def test_a_script_of_a_few_lines_builds_trains_and_scores(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    recipe = {"name": "tiny", "prompts": {"per_genre": 10}, "generator": {"seconds": 1}, "training": {"epochs": 3}}
    updates: list[tuple[str, int, int | None]] = []
    corpus = synthmir.build(recipe, tmp_path / "corpus", workers=1, progress=lambda *update: updates.append(update))
    assert updates[0] == ("build", 0, 50) and updates[-1] == ("build", 50, 50)
    assert synthmir.embed(tmp_path / "corpus", progress=False).rows == 50
    assert not synthmir.verify(corpus.root, progress=False).faults
    X, y = synthmir.load_tensors(corpus.root, split="train", task="genre")
    (batch, *_) = synthmir.load_batches(corpus.root, split="validation", task="genre", batch_size=5)
    dataset = synthmir.open_dataset(str(corpus.root), "melstats")
    assert X.shape == (45, 768) and y.shape == (45,) and batch["audio"].shape == (5, 32_000)
    assert len(dataset) == 50 and dataset.embeddings("train").shape == (45, 768)
    model = synthmir.train(tmp_path / "corpus", tmp_path / "model", progress=False)
    assert len(model.config.labels) == 5
    scores = synthmir.evaluate(tmp_path / "model", on="validation", bootstrap=100, progress=False)
    assert scores.benchmarks[0].n == 5
    assert capfd.readouterr() == ("", "")  # silent, as asked


def test_a_recipe_is_a_name_a_file_a_dictionary_or_a_recipe(tmp_path: Path):
    (tmp_path / "r.yaml").write_text("{name: demo, prompts: {per_genre: 2}}")
    read = synthmir.read_recipe(tmp_path / "r.yaml")
    assert synthmir.read_recipe(read) is read
    given = synthmir.read_recipe({"name": "demo", "prompts": {"per_genre": 2}})
    assert given.model_dump() == read.model_dump() and given.folder == Path.cwd()
    assert synthmir.read_recipe("demo").prompts.per_genre == 100
    with pytest.raises(synthmir.RecipeError, match="did you mean 'prompts'"):
        synthmir.read_recipe({"name": "demo", "prompt": {}})
