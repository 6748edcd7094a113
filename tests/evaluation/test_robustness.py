"""Robustness: scores and differences on damaged tracks, files, and invalid input."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from builder.degradations import DAMAGES, parse_damages
from builder.errors import BackendError, DataError, RecipeError
from builder.settings import EvaluationSettings
from evaluation.benchmarks.track import Track
from evaluation.evaluate import evaluate_model
from evaluation.reporting.result_files import write_result_files
from evaluation.reporting.tables import format_robustness
from evaluation.results.robustness import FILE, Robustness
from evaluation.robustness import evaluate_robustness, read_damaged, sample_items

SETTINGS = EvaluationSettings(bootstrap=200, seed=3)
LEVELS = ["gain:0", "lowpass:300", "noise:-20"]


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three recordings of each genre, and one file that cannot be read."""
    from .conftest import sound

    root = tmp_path_factory.mktemp("music")
    for genre, name in enumerate(("electronica", "hip-hop", "rock")):
        (root / name).mkdir()
        for seed in (20, 21, 22):
            soundfile.write(root / name / f"{seed}.wav", sound(genre, seed, 2.0, 44_100), 44_100)
    (root / "rock/broken.mp3").write_bytes(b"\0" * 99)
    return root


@pytest.fixture(scope="module")
def found(model: Path, music: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Robustness, Path]:
    out = tmp_path_factory.mktemp("out")
    return evaluate_robustness(model, f"folder:{music}", out, LEVELS, settings=SETTINGS), out


def test_scores_and_differences(found, model, music, tmp_path):
    robustness, _ = found
    plain = evaluate_model(model, [f"folder:{music}"], tmp_path, settings=SETTINGS)["benchmarks"][0]
    for key, figure in robustness.clean.items():
        assert figure.model_dump() == plain[key]
    assert robustness.n == 9 and [skip.id for skip in robustness.skips] == ["rock/broken.mp3"]
    untouched, *severe = robustness.levels
    assert untouched.figures == robustness.clean
    assert all(drop.difference.value == 0 and drop.p == 1 for drop in untouched.drops)
    assert all(level.figures["accuracy"].value < robustness.clean["accuracy"].value for level in severe)
    for level in robustness.levels:
        for drop in level.drops:
            assert drop.difference.value == pytest.approx(drop.value - drop.other)
            assert drop.value == level.figures[drop.metric].value and drop.other == robustness.clean[drop.metric].value
            assert drop.p_holm >= drop.p


def test_the_files(found):
    robustness, out = found
    assert Robustness.read(out / FILE) == robustness
    data = json.loads((out / FILE).read_text(encoding="utf-8"))
    assert data["schema"] == 1 and data["record"]["command"] == "robustness" and data["record"]["rows"] == 4 * 10
    schema = Path(sys.modules[Robustness.__module__].__file__).with_suffix(".schema.json")
    assert schema.read_text(encoding="utf-8") == Robustness.json_schema()
    write_result_files(robustness, out)
    picture = (out / "robustness.svg").read_text(encoding="utf-8")
    assert picture.startswith("<?xml") and all(f">{level.kind}<" in picture for level in robustness.levels)
    table = format_robustness(robustness)
    assert "clean" in table and "lowpass 300 Hz" in table and "1 skipped" in table


def test_scores_do_not_depend_on_the_other_damages(found, model, music, tmp_path):
    robustness, _ = found
    again = evaluate_robustness(model, f"folder:{music}", tmp_path, ["noise:-20"], settings=SETTINGS)
    assert again.levels[0].figures == robustness.levels[2].figures


def test_the_validation_split(model, tmp_path):
    robustness = evaluate_robustness(model, "validation", tmp_path, ["gain:0", "noise"], settings=SETTINGS, limit=6)
    assert robustness.benchmark == "validation" and robustness.n == 6
    assert robustness.notes == ["6 of 9 clips, drawn with seed 3"]
    assert [(level.kind, level.level) for level in robustness.levels] == [
        ("gain", 0), *(("noise", level) for level in DAMAGES["noise"].levels)
    ]  # fmt: skip


def test_damage_is_applied_before_mixing_to_mono(tmp_path):
    samples = np.stack([np.ones(4_410), -np.ones(4_410)], axis=1) / 2
    soundfile.write(tmp_path / "a.wav", samples, 44_100)
    track = Track("a", tmp_path / "a.wav", 0)
    assert np.abs(read_damaged(track, 44_100, None, 0)).max() < 1e-4  # the channels cancel out in mono
    inverted = parse_damages(["side:2"])[0]
    np.testing.assert_allclose(read_damaged(track, 44_100, inverted, 0), 0.5, atol=1e-3)


def test_sample_items_is_reproducible():
    tracks = [Track(str(number), None, 0) for number in range(50)]
    drawn = sample_items(tracks, 7, 1)
    assert len(drawn) == 7 and drawn == sample_items(tracks, 7, 1) and drawn != sample_items(tracks, 7, 2)
    assert [int(track.id) for track in drawn] == sorted(int(track.id) for track in drawn)
    assert sample_items(tracks, 50, 1) == tracks


def test_parse_damages():
    assert [str(damage) for damage in parse_damages(["mp3", "noise:3", "mp3:64"])] == [
        *(f"mp3:{level:g}" for level in DAMAGES["mp3"].levels), "noise:3"
    ]  # fmt: skip
    assert {damage.kind for damage in parse_damages()} == set(DAMAGES)
    with pytest.raises(RecipeError, match="no damage called 'echo'"):
        parse_damages(["echo"])


def test_a_missing_package_is_reported_before_the_work(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pedalboard", None)
    with pytest.raises(BackendError, match="pedalboard"):
        evaluate_robustness(tmp_path / "no model", "validation", tmp_path, ["noise", "pitch"])


def test_a_missing_or_damaged_file(tmp_path):
    with pytest.raises(DataError, match="synthmir robustness writes it"):
        Robustness.read(tmp_path / FILE)
    (tmp_path / FILE).write_text("{}")
    with pytest.raises(DataError, match="write it again"):
        Robustness.read(tmp_path / FILE)
