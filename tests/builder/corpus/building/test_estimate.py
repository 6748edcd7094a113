"""The estimate: what it probes, how it scales, and that it ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from builder.clip import Clip
from builder.corpus.building import estimate as module
from builder.corpus.building.build import build
from builder.corpus.building.capacity import estimate_capacity
from builder.corpus.building.estimate import BUDGET, Sample, estimate_build, scale_seconds
from builder.recipe import Recipe
from builder.settings import GeneratorSettings

SETUP = 40.0  # seconds that the first call takes


class Model:
    """A generator on a clock of its own: batch by batch `once + clips x (by_length x s + by_square x s^2)` seconds."""

    name, revision, sampling_rate, license, about = "model", "1", 32_000, "cc-by-4.0", "A clock."
    samples = single_core = False
    batch_size, rows_at_once = 8, 32

    def __init__(self, costs: tuple[float, float, float], seconds: float) -> None:
        self.costs, self.seconds, self.clock = costs, seconds, 0.0
        self.calls: list[tuple[int, float]] = []

    def generate(self, rows: Sequence[Clip]) -> list[np.ndarray]:
        if not self.calls:
            self.clock += SETUP
        self.calls.append((len(rows), self.seconds))
        self.clock += self.cost(len(rows), self.seconds)
        return [np.zeros(round(self.seconds * self.sampling_rate), np.float32) for _ in rows]

    def cost(self, clips: int, seconds: float) -> float:
        once, by_length, by_square = self.costs
        return once + clips * (by_length * seconds + by_square * seconds**2)


@pytest.fixture
def probed(recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Model, Any]]:
    def run(costs: tuple[float, float, float], seconds: float = 10.0) -> tuple[Model, Any]:
        model = Model(costs, seconds)
        monkeypatch.setattr(module, "load_recipe_generator", lambda recipe: model)
        monkeypatch.setattr(module, "monotonic", lambda: model.clock)
        chosen = recipe(per_genre=20)
        return model, estimate_build(chosen.model_copy(update={"generator": GeneratorSettings(seconds=seconds)}))

    return run


@pytest.mark.parametrize(
    "costs", [(0.0, 0.01, 0.0), (0.5, 0.05, 0.001), (2.0, 0.5, 0.05), (0.2, 0.3, 0.2), (5.0, 1.0, 0.0)], ids=str
)
@pytest.mark.parametrize("seconds", [1.0, 10.0, 30.0])
def test_what_it_says_is_what_a_build_takes(probed: Any, costs: Any, seconds: float) -> None:
    model, found = probed(costs, seconds)
    build = 100 / 8 * model.cost(8, seconds) / 3600
    assert found.build_hours == pytest.approx(build, rel=0.02)
    assert model.clock < SETUP + 5 * BUDGET
    assert model.seconds == seconds  # as it was
    assert max(clips for clips, _ in model.calls) == model.batch_size


def test_what_a_minute_allows_is_made_whole(probed: Any) -> None:
    model, found = probed((0.1, 0.01, 0.001))
    assert model.calls[-1] == (8, 10.0)
    assert found.probe == "8 clip(s) of 10 s made in 1.7 s"


def test_what_it_does_not_is_scaled_from_shorter_clips_and_said(probed: Any) -> None:
    model, found = probed((2.0, 0.5, 0.05))
    lengths = [seconds for clips, seconds in model.calls if clips == 8]
    assert len(lengths) == 3 and lengths == sorted(set(lengths)) and lengths[-1] < 10
    assert f"8 clip(s) of {lengths[-1]:g} s made in" in found.probe
    assert f"scaled to 10 s by 1 and {lengths[1]:g} s too" in found.probe


def test_a_machine_too_slow_for_a_batch_makes_fewer_clips_and_says_so(probed: Any) -> None:
    model, found = probed((0.0, 40.0, 0.0))
    assert model.calls == [(1, 1.0), (1, 1.0)]
    assert "1 clip(s) of 1 s made in 40.0 s, scaled to 10 s in proportion; a build makes 8 at a time" in found.probe
    assert found.build_hours == pytest.approx(100 * 400 / 3600)


def test_shares_are_never_less_than_nothing() -> None:
    """Clips that seem to get cheaper with length are noise: the longest is not outdone by less than nothing."""
    found = scale_seconds([Sample(8, 1.0, 5.0, 0), Sample(8, 2.0, 9.0, 0), Sample(8, 3.0, 12.0, 0)], 10.0)
    assert 30 < found < 50


def test_a_real_generator_is_probed_at_its_own_length(recipe: Callable[..., Recipe]) -> None:
    found = estimate_build(recipe(per_genre=6))
    assert (found.clips, found.shards, found.workers) == (30, 2, 1)
    assert found.audio_hours == pytest.approx(30 / 3600) and 0 < found.build_hours < 1
    assert found.flac_bytes > 30 * 1000 and "4 clip(s) of 1 s made in" in found.probe


def test_annotations_and_stems_are_counted(recipe, tmp_path):
    chosen = recipe(generator="scored", annotations=True, stems=True)
    plain = estimate_build(recipe(generator="scored"), workers=1)
    found = estimate_build(chosen, workers=1)
    assert plain.score_bytes == 0 and found.flac_bytes == plain.flac_bytes
    build(chosen, tmp_path / "corpus")
    stored = sum(
        path.stat().st_size for one in ("annotations", "stems") for path in (tmp_path / "corpus" / one).iterdir()
    )
    assert 0.6 * stored < found.score_bytes < 1.6 * stored
    rows = {row.what: row.value for row in estimate_capacity(chosen).rows}
    assert rows["annotations and stems"] * 1e9 == pytest.approx(found.score_bytes, rel=0.3)
