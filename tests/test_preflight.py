"""What a run would refuse late is refused before anything is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builder.errors import BackendError, DataError, RecipeError
from builder.recipe import Recipe
from evaluation.results.annotation_scores import AnnotationScores
from synthmir.pipeline import _add_benchmarks, run
from synthmir.preflight import check_estimators, check_label_counts, check_recipe, check_run_folder

from .commands import synthmir


def make_recipe(**sections: Any) -> Recipe:
    return Recipe.from_dict({"name": "x", "prompts": {"per_genre": 20}} | sections)


@pytest.mark.parametrize(
    ("sections", "message", "fix"),
    [
        ({"training": {"task": "genres"}}, "training.task: a corpus has no labels 'genres' (did you mean 'genre'", ""),
        ({"annotations": True, "generator": {"name": "musicgen"}}, "annotations: generator 'musicgen'", "arranger"),
        ({"stems": True, "generator": {"name": "musicgen"}}, "stems: generator 'musicgen' has no score", "arranger"),
        ({"training": {"label_column": "tags"}}, "training.label_column: a corpus has no labels 'tags'", "genre"),
        ({"evaluation": {"benchmarks": ["gtzn"]}}, "evaluation.benchmarks: there is no benchmark", "gtzan"),
        ({"evaluation": {"benchmarks": ["folder:/nope"]}}, "evaluation.benchmarks: /nope", "genre"),
        ({"evaluation": {"benchmarks": ["hub:a/b?lable=x"]}}, "has no option 'lable' (did you mean 'label'?)", ""),
        ({"evaluation": {"robustness": {"benchmark": "folder:/nope"}}}, "evaluation.robustness.benchmark: /nope", ""),
        (
            {"evaluation": {"probe": [8]}, "training": {"task": "instruments"}},
            "evaluation.probe: needs a task with one label a track, and instruments is none",
            "leave it out",
        ),
        ({"evaluation": {"robustness": {"damages": ["nois"]}}}, "(did you mean 'noise'?)", "mp3"),
        ({"evaluation": {"fidelity": {"against": "folder:/nope"}}}, "evaluation.fidelity.against: /nope", "genre"),
        ({"training": {"strategy": "real", "target": "folder:/nope"}}, "training.target: /nope", "genre"),
        ({"taxonomy": "gtzn"}, "taxonomy: no shipped taxonomy", "gtzan"),
        (
            {"prompts": {"per_genre": 20, "source": {"kind": "file", "path": "nope.csv"}}},
            "prompts.source.path: there is no file",
            "put the file",
        ),
    ],
)  # fmt: skip
def test_what_does_not_exist_is_refused_with_its_key(sections: dict[str, Any], message: str, fix: str):
    with pytest.raises(RecipeError) as error:
        check_recipe(make_recipe(**sections))
    assert message in error.value.message and fix in (error.value.fix or "")
    assert error.value.message.count("training.") + error.value.message.count("evaluation.") <= 1


def test_all_problems_are_listed_together():
    recipe = make_recipe(
        training={"task": "genres"}, evaluation={"benchmarks": ["gtzn", "validation"]}, taxonomy="gtzn"
    )
    with pytest.raises(RecipeError, match="recipe x: 3 problems") as error:
        check_recipe(recipe)
    for key in ("training.task:", "evaluation.benchmarks:", "taxonomy:"):
        assert f"  - {key}" in error.value.message
    assert error.value.message.count("    fix: ") == 3


def test_what_exists_is_accepted(tmp_path: Path):
    (tmp_path / "rock").mkdir()
    on = ["validation", f"folder:{tmp_path}", "hub:org/not-opened"]
    robustness = {"damages": ["noise", "speed:95"], "benchmark": f"folder:{tmp_path}"}
    for task in ("genre", "tempo", "instruments"):
        recipe = make_recipe(training={"task": task}, evaluation={"benchmarks": on, "robustness": robustness})
        check_recipe(recipe)
        check_label_counts(recipe)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"prompts": {"per_genre": 2}},
            "prompts.per_genre: genre '.*' has a single training clip, and so have 4 other",
        ),
        ({"prompts": {"total": 10}}, "prompts.total: genre '.*' has a single training clip"),
        ({"training": {"task": "vocals"}}, "training.task: no two training clips have different labels of vocals"),
    ],
)
def test_too_few_clips_of_a_label_are_refused(sections: dict[str, Any], message: str):
    with pytest.raises(RecipeError, match=message):
        check_label_counts(make_recipe(**sections))


def test_a_run_and_the_recipe_command_check_first(tmp_path: Path):
    recipe = make_recipe(training={"task": "genres"})
    with pytest.raises(RecipeError, match=r"training\.task"):
        run(recipe, tmp_path / "out", progress=False)
    with pytest.raises(RecipeError, match="single training clip"):
        run(make_recipe(prompts={"per_genre": 2}), tmp_path / "out", progress=False)
    with pytest.raises(BackendError, match="there is no file and no folder"):
        run(
            make_recipe(embedder={"name": "musicnn", "weights": str(tmp_path / "x")}), tmp_path / "out", progress=False
        )
    with pytest.raises(RecipeError, match=r"evaluation\.benchmarks: there is no benchmark called 'foldr'"):
        run(make_recipe(), tmp_path / "out", on="foldr:x", progress=False)
    assert not (tmp_path / "out").exists()
    (tmp_path / "bad.yaml").write_text(recipe.to_yaml())
    done = synthmir("recipe", tmp_path / "bad.yaml")
    assert done.returncode == 2 and "training.task" in done.stderr and not done.stdout
    assert synthmir("recipe", "smoke").returncode == 0


def test_a_run_of_a_task_that_is_learnt_from_annotations_has_no_embeddings(tmp_path: Path):
    recipe = make_recipe(
        prompts={"per_genre": 2}, generator={"seconds": 2}, annotations=True, evaluation={"bootstrap": 100},
        training={"task": "beats,key", "frames": {"epochs": 1, "width": 8, "damages": [], "seconds": 2}},
    )  # fmt: skip
    made = run(recipe, tmp_path, progress=False)
    assert isinstance(made.scores, AnnotationScores) and made.scores.tasks == ["beats", "tempo", "key"]
    assert made.scores_file.is_file() and made.report.is_file() and not made.corpus.embeddings()


@pytest.mark.parametrize(
    ("key", "value"), [("fidelity", {"against": "validation"}), ("robustness", {"damages": ["noise:0"]})]
)
def test_what_needs_embeddings_is_refused_of_a_task_without(key: str, value: dict[str, Any]):
    recipe = make_recipe(annotations=True, training={"task": "beats"}, evaluation={key: value})
    with pytest.raises(RecipeError, match=rf"evaluation\.{key}: is of classifiers of embeddings, and beats"):
        check_recipe(recipe)
    other = make_recipe(annotations=True, training={"task": "beats"}, evaluation={"benchmarks": ["gtzan:x"]})
    with pytest.raises(RecipeError, match=r"evaluation\.benchmarks: gtzan:x: has no annotated tracks"):
        check_recipe(other)


def test_a_task_without_embeddings_has_the_other_checks_too():
    source = {"prompts": {"per_genre": 20, "source": {"kind": "file", "path": "nope.csv"}}}
    recipe = make_recipe(annotations=True, training={"task": "beats"}, **source)
    with pytest.raises(RecipeError, match=r"prompts\.source\.path: there is no file"):
        check_recipe(recipe)
    selected = {"estimates": ["silence"], "select": {"where": "silence >"}}
    with pytest.raises(RecipeError, match=r"select\.where"):
        check_recipe(make_recipe(annotations=True, training={"task": "beats"}, **selected))
    with pytest.raises(RecipeError, match=r"did you mean 'silence'"):
        check_estimators(make_recipe(estimates=["silence"], select={"where": "silense > 0.5"}))


def test_benchmarks_of_a_run_are_added_and_the_corpus_is_compared_with_the_first():
    recipe = make_recipe(evaluation={"benchmarks": ["validation"], "fidelity": {"against": "validation"}})
    added = _add_benchmarks(recipe, ["validation", "folder:x"]).evaluation
    assert added.benchmarks == ("validation", "folder:x") and added.fidelity.against == "folder:x"
    assert _add_benchmarks(recipe, ["validation"]) == recipe


def test_recordings_without_genre_folders_are_refused_first(tmp_path: Path):
    (tmp_path / "song.wav").touch()
    on = {"benchmarks": [f"folder:{tmp_path}"]}
    with pytest.raises(
        RecipeError, match=r"evaluation\.benchmarks: .*no folder in it has the name of a label"
    ) as error:
        check_recipe(make_recipe(evaluation=on))
    assert "audio files directly in it: 1" in error.value.message and "electronica, funk" in str(error.value.fix)
    check_recipe(make_recipe(evaluation=on, training={"task": "vocals"}))  # the folders are not of genres
    (tmp_path / "pop").mkdir()
    check_recipe(make_recipe(evaluation=on))


def test_a_folder_of_something_else_is_refused(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(DataError, match="is not empty, and not a run"):
        run(make_recipe(), tmp_path, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(DataError, match="is a file, not a folder"):
        check_run_folder(tmp_path / "thesis.tex")


@pytest.mark.parametrize(
    "names", [[], [".DS_Store"], ["corpus", "notes.txt"], ["model"], ["corpus", "model", "report"]]
)
def test_a_folder_of_a_run_resumes(tmp_path: Path, names: list[str]):
    for name in names:
        (tmp_path / name).touch() if "." in name else (tmp_path / name).mkdir()
    check_run_folder(tmp_path)
    check_run_folder(tmp_path / "new")


def test_estimators_are_checked_before_the_build():
    with pytest.raises(BackendError, match="estimates: clap nobody/nothing"):
        check_estimators(make_recipe(estimates=["silence", "clap:nobody/nothing"]))
    with pytest.raises(RecipeError, match=r"estimates: there is no estimator called 'tepmo' \(did you mean 'tempo'"):
        make_recipe(estimates=["tepmo"])
