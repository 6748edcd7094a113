"""The page of results on real recordings holds the numbers of the files beside it, and no path of a machine."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from evaluation.results.ablation import COMMON, OWN, Ablation, BenchmarkProbes, CellDifference, CellScores
from evaluation.results.scores import LinearProbes, ProbeScores, Quantity, Sampling, SeedScores, Worth

RESULTS = Path(__file__).parents[1] / "docs/results"
REAL = "folder:/home/me/music"


def load_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"results_{name}", RESULTS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def score(value: float) -> dict[str, SeedScores]:
    mean = Quantity(value=value, low=value - 0.1, high=value + 0.1, n=123)
    return {
        key: SeedScores(mean=mean, seeds=[value - 0.02, value + 0.02]) for key in ("accuracy", "balanced_accuracy")
    }


@pytest.fixture
def ablation() -> Ablation:
    """Two cells, scored on clips and on a folder of this machine."""
    cells = [
        CellScores(
            name=f"training.clips={clips}", values={"training.clips": clips}, corpus="c", models="m",
            train_rows=clips, scores={OWN: score(0.9), COMMON: score(0.9), REAL: score(value)},
        )
        for clips, value in ((100, 0.41), (3_000, 0.52))
    ]  # fmt: skip
    difference = CellDifference(
        cell="training.clips=3000", benchmark=REAL, against="training.clips=100", metric="balanced_accuracy",
        value=0.52, other=0.41, difference=Quantity(value=0.11, low=0.02, high=0.2, n=123), p=0.01, p_holm=0.03,
    )  # fmt: skip
    point = ProbeScores(shots=8, rows=36.5, fewer={"funk": 3.2}, scores=score(0.66))
    worth = Worth(metric="balanced_accuracy", value=0.52, tracks=5.3, bound=None)
    probes = LinearProbes(draws=10, folds=5, seed=0, points=[point], worth=worth)
    sampling = Sampling(method="bca", over="artists", units=90, alone=23, resamples=1000, seed=0)
    record = {"started": "2026-11-30T20:00:00+00:00", "wall_seconds": 600, "device": "a CPU", "versions": {"x": "1"}}
    return Ablation(
        schema=1, recipe="demo", task="genre", problem="single_label_classification",
        vary={"training.clips": [100, 3_000]}, seeds=2, places=[OWN, COMMON, REAL], metric="balanced_accuracy",
        sampling={OWN: sampling, COMMON: sampling, REAL: sampling}, notes=["1 file of /home/me/music"], cells=cells,
        differences=[difference], probes=[BenchmarkProbes(benchmark=REAL, embedder="musicnn", probes=probes)],
        record=record | {"details": {"benchmarks": [REAL]}},
    )  # fmt: skip


def test_the_page_has_the_figures_and_no_path(ablation: Ablation, tmp_path: Path) -> None:
    make, page = load_script("make"), load_script("page")
    clean = make._rename_place(ablation)
    assert clean.places == [make.PLACE] and "/home" not in json.dumps(make.describe_ablation(clean, "synthmir"))
    figures = make.describe_ablation(clean, "synthmir ablate demo --on folder:REAL")
    (tmp_path / "sizes-musicnn.json").write_text(json.dumps({"schema": 1, **figures}))
    (tmp_path / "strategies.json").write_bytes((RESULTS / "strategies.json").read_bytes())  # of perf/strategies.py
    text = page.render_page(tmp_path)
    assert "six strategies" not in text
    assert "## How many clips?" in text and "### musicnn" in text
    assert (
        "| training.clips=3000 | 3,000 | 52.0 % [42.0, 62.0] | 2.8 | 52.0 % [42.0, 62.0] | +11.0 pp | 0.030 |" in text
    )
    assert "| 8 (funk 3.2) | 36 | 66.0 % [56.0, 76.0] | 2.8 | 66.0 % [56.0, 76.0] |" in text
    assert "123 tracks, intervals over 67 artists and 23 tracks of unknown artist, 2 trainings each" in text
    assert "The curve ends at 3,000 clips; 10,000 were not run." in text
    assert "2026-11-30, a CPU, 10 min" in text and "synthmir ablate demo --on folder:REAL" in text
    assert "![sizes-musicnn](sizes-musicnn.svg)" in text


def test_each_steps_figures_are_written_at_once(
    ablation: Ablation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = load_script("make")

    def stop_after_one(options: Any) -> Iterator[tuple[str, Any]]:
        yield "sizes-musicnn", make.describe_ablation(make._rename_place(ablation), "synthmir ablate")
        raise KeyboardInterrupt

    monkeypatch.setitem(make.STEPS, "sizes", stop_after_one)
    with pytest.raises(KeyboardInterrupt):
        make.main(["music", "--only", "sizes", "--out", str(tmp_path)])
    assert json.loads((tmp_path / "sizes-musicnn.json").read_text())["n"] == 123
    page = (tmp_path / "index.md").read_text()
    make.main(["--out", str(tmp_path)])  # the page alone
    assert (tmp_path / "index.md").read_text() == page and "### musicnn" in page


@pytest.mark.parametrize("arguments", [["music", "--only", "nothing"], ["music", "--sizes", "many"]])
def test_options_that_are_wrong(arguments: list[str], capsys: Any) -> None:
    with pytest.raises(SystemExit):
        load_script("make").parse_options(arguments)
    assert "usage" in capsys.readouterr().err


def test_the_readme_has_the_numbers_of_the_figures() -> None:
    page = load_script("page")
    figures = json.loads((RESULTS / "embedders.json").read_text(encoding="utf-8"))
    points = [one for probes in figures["probes"].values() for one in probes["points"] if one["shots"] in (8, "all")]
    readme = (RESULTS.parents[1] / "README.md").read_text(encoding="utf-8")
    for row in [*figures["rows"], *points]:
        assert page.format_score(row["scores"]["balanced_accuracy"]) in readme
