"""`compare` and `evaluate` give one model the same score on the same tracks: same windows, same aggregation."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Audio, Features, Value

from builder.audio import encode_flac
from builder.embedders.embed_dataset import embed_dataset
from builder.embedders.melstats import MelStats
from builder.io.hf_audio import make_dataset
from builder.settings import EmbedderSettings, EvaluationSettings, TrainingSettings
from evaluation.evaluate import evaluate_model
from evaluation.inference.embed_target import embed_target
from evaluation.results.strategies import StrategyComparison
from evaluation.strategies import compare_strategies
from tests.training.model_folders import make_sound
from training.settings import ChosenSettings

RATE = 16_000
WINDOW = 0.2  # seconds: tracks of 0.5 s have five windows that overlap by half, and three that do not
QUICK = EvaluationSettings(bootstrap=100)


@pytest.fixture(scope="module", autouse=True)
def short_windows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MelStats, "window_seconds", WINDOW)
        patch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        yield


@pytest.fixture(scope="module")
def tracks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty tracks with a tempo and a genre, as `datasets` saves them; the pitch rises with the tempo."""
    folder = tmp_path_factory.mktemp("tracks") / "saved"
    rng = np.random.default_rng(0)
    rows: dict[str, list[Any]] = {"id": [], "audio": [], "tempo_bpm": [], "genre": []}
    time = np.arange(RATE // 2) / RATE
    for number in range(30):
        tempo = 70.0 + 4 * number
        tone = 0.2 * np.sin(2 * np.pi * (4 * tempo * (1 + time)) * time)  # changes over the track, so windows differ
        samples = np.float32(tone + 0.5 * make_sound(0.5, RATE, number) + 0.01 * rng.standard_normal(len(time)))
        rows["id"].append(f"track-{number}")
        rows["audio"].append({"bytes": encode_flac(samples, RATE), "path": f"{number}.flac"})
        rows["tempo_bpm"].append(tempo)
        rows["genre"].append("fast" if number % 5 > 2 else "slow")
    columns = {"id": Value("string"), "audio": Audio(decode=False), "tempo_bpm": Value("float32")}
    make_dataset(rows, Features({**columns, "genre": Value("string")})).save_to_disk(str(folder))
    return folder


@pytest.fixture(scope="module")
def source(tracks: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("source") / "embeddings"
    embed_dataset(tracks, EmbedderSettings(), out)
    return out


def compare(source: Path, target: str, task: str, out: Path) -> StrategyComparison:
    training = TrainingSettings(task=task, target=target, epochs=3, hidden=(8,), batch_size=8, strategy="joint")
    chosen = embed_target(source, ChosenSettings(training, EmbedderSettings(), None), out)
    return compare_strategies(
        source,
        out,
        chosen.training,
        strategies=["real", "joint"],
        seeds=(0,),
        embedder=chosen.embedder,
        settings=QUICK,
    )


@pytest.mark.parametrize(
    ("task", "metrics"), [("tempo_bpm", ("mae", "octave_error")), ("genre", ("accuracy", "macro_f1"))]
)
def test_compare_and_evaluate_give_the_same_score(
    task: str, metrics: tuple[str, ...], source: Path, tracks: Path, tmp_path: Path
) -> None:
    benchmark = f"hub:{tracks}?label={task}"
    comparison = compare(source, benchmark, task, tmp_path)
    policy = {key: comparison.record["details"][key] for key in ("window_seconds", "hop_seconds", "aggregate")}
    assert policy == {"window_seconds": WINDOW, "hop_seconds": WINDOW / 2, "aggregate": "mean"}
    for strategy in comparison.strategies:
        model = tmp_path / strategy.models / "seed-0"
        scores = evaluate_model(model, [benchmark], tmp_path / f"scores-{strategy.name}", source, QUICK)
        [entry] = scores["benchmarks"]
        assert entry["n"] == comparison.n < 30  # only the test part: the rest was learnt from
        assert {key: scores["record"]["details"][key] for key in ("window_seconds", "hop_seconds")} == {
            key: policy[key] for key in ("window_seconds", "hop_seconds")
        }
        for metric in metrics:
            assert strategy.figures[metric].seeds == pytest.approx([entry[metric]["value"]], abs=1e-6)
            assert strategy.figures[metric].mean.n == entry["n"]


def test_without_the_recordings_stored_embeddings_are_scored_and_noted(
    source: Path, tracks: Path, tmp_path: Path
) -> None:
    """The stored embedding of a track is an average over its windows, and gives another score."""
    copy = shutil.copytree(tracks, tmp_path / "copy")
    embed_dataset(copy, EmbedderSettings(), tmp_path / "real")
    with_windows = compare(source, str(tmp_path / "real"), "tempo_bpm", tmp_path / "with")
    shutil.rmtree(copy)
    without = compare(source, str(tmp_path / "real"), "tempo_bpm", tmp_path / "without")
    assert with_windows.notes == [] and with_windows.record["details"]["window_seconds"] == WINDOW
    [note] = without.notes
    assert "scored by its stored embedding, as the recordings were not found" in note
    assert without.record["details"]["window_seconds"] is None
    scores = [{one.name: one.figures["mae"].seeds for one in result.strategies} for result in (with_windows, without)]
    assert scores[0] != scores[1]
