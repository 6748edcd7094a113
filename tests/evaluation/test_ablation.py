"""Ablations: shared corpora, tested differences, files, and refused input."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from builder.errors import DataError, RecipeError
from builder.io.safe_files import find_shipped
from builder.recipe import Recipe
from evaluation import ablation
from evaluation.ablation import ablate, make_cells, parse_vary
from evaluation.reporting.result_files import write_result_files
from evaluation.reporting.result_plots import plot_ablation
from evaluation.reporting.tables import format_ablation
from evaluation.results.ablation import COMMON, FILE, OWN, Ablation

RECIPE = """
name: small
prompts: {per_genre: 8, strategy: template}
generator: {seconds: 1}
quality: {max_rejected: 1.0, max_silence: 1.0, min_loudness: -70}
split: {validation: 0.25}
training: {epochs: 4, hidden: [8]}
evaluation: {bootstrap: 100}
"""
VARY = {"prompts.strategy": ["template", "tags"], "training.clips": [None, 15]}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder = tmp_path_factory.mktemp("recipe")
    draw = np.random.default_rng(0)
    for genre in ("pop", "rock"):
        (folder / "music" / genre).mkdir(parents=True)
        for number in range(3):
            soundfile.write(folder / f"music/{genre}/{number}.wav", 0.1 * draw.standard_normal(40_000), 16_000)
    (folder / "music/rock/broken.wav").write_bytes(b"no audio")
    (folder / "recipe.yaml").write_text(RECIPE)
    return Recipe.load(folder / "recipe.yaml").with_options({"evaluation.benchmarks": [f"folder:{folder / 'music'}"]})


@pytest.fixture(scope="module")
def done(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> tuple[Ablation, Path]:
    out = tmp_path_factory.mktemp("out")
    return ablate(recipe, out, VARY, seeds=2, workers=1), out


def test_every_combination_is_made_and_corpora_are_shared(done):
    result, out = done
    assert [cell.values for cell in result.cells] == [
        {"prompts.strategy": strategy, "training.clips": clips}
        for strategy in ("template", "tags")
        for clips in (None, 15)
    ]  # fmt: skip
    assert len({cell.corpus for cell in result.cells}) == 2 == len(list((out / "corpora").iterdir()))
    assert [cell.train_rows for cell in result.cells] == [30, 15, 30, 15]
    assert all(
        (out / cell.models / f"seed-{seed}/model.safetensors").is_file() for cell in result.cells for seed in (0, 1)
    )
    assert len(list((out / "benchmarks").iterdir())) == 1


def test_scores_are_means_over_seeds_with_intervals(done):
    result, _ = done
    folder = result.places[-1]
    assert result.places == [OWN, COMMON, folder]
    for cell in result.cells:
        for place in result.places:
            accuracy = cell.scores[place]["accuracy"]
            assert accuracy.mean.value == pytest.approx(np.mean(accuracy.seeds)) and len(accuracy.seeds) == 2
            assert accuracy.mean.low <= accuracy.mean.value <= accuracy.mean.high
        assert cell.scores[folder]["accuracy"].mean.n == 6  # one cannot be read


def test_differences_are_paired_and_their_p_values_adjusted(done):
    result, _ = done
    assert {(d.cell, d.benchmark) for d in result.differences} == {
        (cell.name, place) for cell in result.cells[1:] for place in result.places[1:]
    }
    for difference in result.differences:
        cell = next(cell for cell in result.cells if cell.name == difference.cell)
        value = cell.scores[difference.benchmark][difference.metric].mean.value
        assert difference.value == pytest.approx(value) and difference.p_holm >= difference.p
        assert difference.difference.value == pytest.approx(difference.value - difference.other)


def test_the_files(done):
    result, out = done
    assert Ablation.read(out / FILE) == result
    assert json.loads((out / FILE).read_text())["schema"] == 1
    schema = Path(sys.modules[Ablation.__module__].__file__).with_suffix(".schema.json")
    assert schema.read_text(encoding="utf-8") == Ablation.json_schema()
    write_result_files(result, out)
    assert "prompts.strategy=tags" in (out / "ablation.svg").read_text()
    table = (out / "ablation.txt").read_text()
    assert "prompts.strategy=tags, training.clips=15" in table and "Balanced accuracy" in table
    assert {place: sampling.describe() for place, sampling in result.sampling.items()}[result.places[-1]] == "6 tracks"
    shown = format_ablation(result.model_copy(update={"metric": "balanced_accuracy"})).splitlines()[1]
    assert shown.index("Balanced accuracy") < shown.index("Accuracy")


def test_finished_work_is_kept(done, recipe, monkeypatch):
    result, out = done
    stamps = {
        path: path.stat().st_mtime_ns for kind in ("*.parquet", "*.safetensors", "*.npz") for path in out.rglob(kind)
    }
    monkeypatch.setattr("evaluation.inference.embedding_cache._embed", lambda *_: pytest.fail("embedded again"))
    again = ablate(recipe, out, VARY, seeds=2, workers=1)
    assert (again.cells, again.differences) == (result.cells, result.differences)
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}


def test_the_common_split_has_no_clip_that_a_cell_was_trained_on(done, recipe, monkeypatch):
    result, out = done
    n = {cell.name: cell.scores[COMMON]["accuracy"].mean.n for cell in result.cells}
    assert len(set(n.values())) == 1
    monkeypatch.setattr(ablation, "_untrained_ids", lambda *_: set())
    bare = ablate(recipe, out, VARY, seeds=2, workers=1)
    assert COMMON not in bare.places and "differences are not tested on it" in bare.notes[0]


def test_one_varied_number_is_plotted_as_a_curve(recipe, tmp_path, done):
    (tmp_path / "corpora").symlink_to(done[1] / "corpora")
    result = ablate(recipe, tmp_path, {"training.clips": [10, 20, None]}, seeds=1, workers=1)
    assert [cell.train_rows for cell in result.cells] == [10, 20, 30]
    assert "training.clips" in plot_ablation(result).decode()


def test_how_models_are_evaluated_is_varied_without_training_again(recipe, tmp_path, done, monkeypatch):
    monkeypatch.setattr("evaluation.statistics.probe_scores.DRAWS", 2)
    (tmp_path / "corpora").symlink_to(done[1] / "corpora")
    probed = recipe.with_options({"evaluation.probe": [1, "all"]})
    result = ablate(probed, tmp_path, {"evaluation.aggregate": ["mean", "vote"]}, seeds=1, workers=1)
    assert result.cells[0].models == result.cells[1].models and len(list((tmp_path / "models").iterdir())) == 1
    (probes,) = result.probes
    assert (probes.benchmark, probes.embedder) == (result.places[-1], "melstats")
    assert [point.shots for point in probes.probes.points] == [1, "all"]
    table = format_ablation(result).splitlines()
    assert table[-3].split()[:4] == ["tracks", "a", "label", "tracks"] and table[-1].split()[0] == "all"
    with pytest.raises(RecipeError, match=r"evaluation.calibrate: '.*' is not each benchmark's own\s+recordings"):
        ablate(recipe, tmp_path, {"evaluation.calibrate": [None, str(tmp_path)]})
    with pytest.raises(RecipeError, match="cannot be varied"):
        ablate(recipe, tmp_path, {"evaluation.seed": [0, 1]})


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["prompts.vocals=unspecified,instrumental"], {"prompts.vocals": ["unspecified", "instrumental"]}),
        (["training.hidden=[],[128],[256,64]"], {"training.hidden": [[], [128], [256, 64]]}),
        (["training.clips=100,null", "prompts.instrumentation=on,off"],
         {"training.clips": [100, None], "prompts.instrumentation": [True, False]}),
    ],
)  # fmt: skip
def test_values_are_read_as_yaml(texts, values):
    assert parse_vary(texts) == values


@pytest.mark.parametrize("text", ["prompts.vocals", "prompts.vocals=", "training.hidden=[1"])
def test_an_invalid_option_is_refused(text):
    with pytest.raises(RecipeError, match="is not KEY=VALUE"):
        parse_vary([text])


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ({"prompts.vocal": ["a", "b"]}, r"no key 'prompts\.vocal' \(did you mean 'vocals'\?\)"),
        ({"prompt.vocals": ["a"]}, r"no key 'prompt\.vocals' \(did you mean 'prompts'\?\)"),
        ({"prompts": ["a"]}, "cannot be varied"),
        ({"training.seed": [1, 2]}, "cannot be varied"),
        ({"training.seed.deep": [1, 2]}, "is no section"),
        ({"prompts.vocals": ["instrumental", "loud"]}, "prompts.vocals"),
        ({"training.clips": [10, 10]}, "a value is given twice"),
    ],
)
def test_unknown_keys_and_invalid_values_are_named(recipe, vary, message):
    with pytest.raises(RecipeError, match=message):
        make_cells(recipe, vary)


def test_nothing_varied_and_a_missing_benchmark(recipe, tmp_path):
    with pytest.raises(RecipeError, match="nothing is varied"):
        ablate(recipe, tmp_path)
    lost = recipe.with_options({"evaluation.benchmarks": [f"folder:{tmp_path / 'lost'}"]})
    with pytest.raises(DataError, match="lost"):
        ablate(lost, tmp_path, VARY)
    assert not list(tmp_path.iterdir())
    with pytest.raises(DataError, match="synthmir ablate writes it"):
        Ablation.read(tmp_path / FILE)


@pytest.mark.parametrize("name", sorted(path.stem for path in find_shipped("recipes").glob("ablate-*.yaml")))
def test_the_shipped_ablations_are_valid(name):
    recipe = Recipe.load(name)
    cells = make_cells(recipe, recipe.ablation.vary)
    assert len(cells) >= 2 and len({cell.name for cell in cells}) == len(cells) == len({cell.folder for cell in cells})
    assert all(cell.recipe.ablation.seeds == 5 for cell in cells)
    (values,) = recipe.ablation.vary.values()
    assert cells[0].recipe.with_options({"name": recipe.name}) == recipe, "the baseline is the recipe itself"
    assert [next(iter(cell.values.values())) for cell in cells] == list(values)
