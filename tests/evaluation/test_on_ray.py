"""Evaluation on Ray gives the same scores as in one process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from builder.executors import ExecutorSettings, choose_executor
from builder.recipe import Recipe
from builder.settings import EvaluationSettings
from evaluation.ablation import ablate
from evaluation.evaluate import evaluate_model

ray = pytest.importorskip("ray")

from builder.executors.ray_cluster import connect  # noqa: E402

RECIPE = """
name: small
prompts: {per_genre: 8}
generator: {seconds: 1}
quality: {max_rejected: 1.0, max_silence: 1.0, min_loudness: -70}
split: {validation: 0.25}
training: {epochs: 4, hidden: [8]}
evaluation: {bootstrap: 100}
"""

pytestmark = pytest.mark.long  # a Ray of its own: minutes


@pytest.fixture(scope="module")
def scale():
    """A Ray of its own here, of two cores."""
    connect(None, 2)
    yield ExecutorSettings("ray")
    ray.shutdown()


def test_scores_on_ray_equal_those_of_one_process(
    scale: ExecutorSettings, model: Path, music: Path, tmp_path: Path
) -> None:
    (music / "Hip-Hop/nothing.mp3").write_bytes(b"\0" * 99)
    settings = EvaluationSettings(bootstrap=200, seed=3)
    executor = choose_executor(scale, 2, one_core=False)
    here, there = (
        evaluate_model(model, [f"folder:{music}"], tmp_path / name, settings=settings, executor=one)
        for name, one in (("here", None), ("there", executor))
    )
    assert there["benchmarks"] == here["benchmarks"] and here["benchmarks"][0]["skipped"] == 1
    predictions = here["benchmarks"][0]["predictions"]
    assert (tmp_path / "there" / predictions).read_bytes() == (tmp_path / "here" / predictions).read_bytes()


def test_an_ablation_is_the_same(scale: ExecutorSettings, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for genre in ("pop", "rock"):
        (tmp_path / "music" / genre).mkdir(parents=True)
        for number in range(3):
            soundfile.write(tmp_path / f"music/{genre}/{number}.wav", 0.1 * draw.standard_normal(40_000), 16_000)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    recipe = Recipe.load(tmp_path / "recipe.yaml").with_options(
        {"evaluation.benchmarks": [f"folder:{tmp_path / 'music'}"]}
    )
    vary = {"prompts.strategy": ["template", "tags"]}
    here = ablate(recipe, tmp_path / "here", vary, seeds=1, workers=1)
    there = ablate(recipe, tmp_path / "there", vary, seeds=1, workers=2, scale=scale)
    assert there.cells == here.cells
    shards = [path.relative_to(tmp_path / "here") for path in (tmp_path / "here").rglob("*.parquet")]
    assert shards
    for shard in shards:
        assert (tmp_path / "there" / shard).read_bytes() == (tmp_path / "here" / shard).read_bytes()
