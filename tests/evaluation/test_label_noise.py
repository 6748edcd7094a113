"""Labels that the sound contradicts are found; prompt groups are not divided."""

import sys
from pathlib import Path

import numpy as np
import pytest

import synthmir
from builder.embedders.embedded_dataset import EmbeddedDataset
from builder.errors import BackendError, DataError
from evaluation.label_noise.folds import assign_folds, predict_out_of_fold
from evaluation.label_noise.measure import NoisyLabels, find_noisy_labels
from evaluation.label_noise.page import PAGE, format_table, render_section
from evaluation.results import label_noise as results

from .conftest import NASTY


def test_planted_wrong_labels_are_found() -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(150) % 3
    embeddings = (4 * np.eye(3)[truth] + rng.standard_normal((150, 3))).astype(np.float32)
    wrong = rng.permutation(150)[:15]
    labels = truth.copy()
    labels[wrong] = (truth[wrong] + 1) % 3
    folds = assign_folds(labels, [str(row) for row in range(150)], 5)
    found = find_noisy_labels(labels, predict_out_of_fold(embeddings, labels, folds, 3))
    right = len(set(found.order.tolist()) & set(wrong.tolist()))
    assert right >= 14 and len(found.order) <= 18
    assert 0.08 < 1 - np.trace(found.joint) < 0.13


def test_folds_keep_groups_and_have_every_label() -> None:
    labels = np.repeat([0, 1, 2], 8)
    groups = [f"{label}-{row // 2}" for row, label in enumerate(labels.tolist())]
    folds = assign_folds(labels, groups, 4, seed=3)
    assert all(len({fold for fold, mine in zip(folds, groups, strict=True) if mine == group}) == 1 for group in groups)
    assert all(np.bincount(folds[labels == label], minlength=4).tolist() == [2] * 4 for label in range(3))
    assert assign_folds(labels, groups, 4, seed=3).tolist() == folds.tolist()
    assert assign_folds(labels, groups, 4, seed=4).tolist() != folds.tolist()


def test_the_function_and_its_file(corpus: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    noise = synthmir.label_noise(corpus, out=tmp_path, folds=3, notice=lines.append)
    assert results.LabelNoise.read(tmp_path / results.FILE) == noise
    assert noise.n == 27 and noise.embedder == "melstats" and sum(noise.labels.values()) == 27
    assert "genre of 27 clips on melstats" in lines[0]
    assert noise.record["command"] == "label-noise"
    schema = Path(results.__file__).with_suffix(".schema.json")
    assert schema.read_text(encoding="utf-8") == results.LabelNoise.json_schema()


def test_doubtful_clips_have_players(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    doubted = NoisyLabels(np.arange(20), np.eye(3) / 3)
    monkeypatch.setattr("evaluation.label_noise.measure.find_noisy_labels", lambda *_: doubted)
    lines: list[str] = []
    noise = synthmir.label_noise(corpus, out=tmp_path / "label_noise", folds=3, notice=lines.append)
    assert f"players of the most doubtful clips: {tmp_path / 'label_noise' / PAGE}" in lines[0]
    page = (tmp_path / "label_noise" / PAGE).read_text(encoding="utf-8")
    assert [clip.audio is not None for clip in noise.doubtful] == [True] * 12 + [False] * 8
    for place, clip in enumerate(noise.doubtful[:12], 1):
        assert clip.audio is not None and (tmp_path / "label_noise" / clip.audio).is_file()
        assert f'href="#doubtful-{place}"' in page and f'id="doubtful-{place}"' in page and clip.id in page
    assert page.count("<audio") == 12 and page.count('href="#doubtful"') == 12 and NASTY not in page
    assert 'src="label_noise/assets/doubtful-01.flac"' in render_section(tmp_path / "label_noise", "label_noise/")


def test_clips_that_cannot_be_read_have_no_player(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    doubted = NoisyLabels(np.arange(3), np.eye(3) / 3)
    monkeypatch.setattr("evaluation.label_noise.measure.find_noisy_labels", lambda *_: doubted)

    def refuse(*_: object) -> dict[str, bytes]:
        raise DataError("damaged")

    monkeypatch.setattr(EmbeddedDataset, "audio", refuse)
    noise = synthmir.label_noise(corpus, out=tmp_path, folds=3)
    assert [clip.audio for clip in noise.doubtful] == [None] * 3
    assert "<audio" not in (tmp_path / PAGE).read_text(encoding="utf-8")


def test_the_table_lists_pairs_and_clips() -> None:
    clip = results.DoubtfulClip(
        id="pop-1", split="train", label="pop", probability=0.02, predicted="rock", predicted_probability=0.9
    )
    noise = results.LabelNoise(
        schema=1, corpus="c", fingerprint=None, column="genre", embedder="musicnn", folds=5, n=100, unlabelled=4,
        labels={"pop": 50, "rock": 50}, accuracy=0.9, noise=0.125, doubtful=[clip] * 30, record={},
        pairs=[results.LabelPair(label="pop", actual="rock", share=0.25, doubtful=30)],
    )  # fmt: skip
    table = format_table(noise)
    assert "12.5% are estimated to be wrong, 30 are doubtful" in table and "4 clips have no genre" in table
    assert "pop    rock         25.0%  30" in table and "pop-1  pop 0.02  rock 0.90" in table
    assert table.endswith("and 10 more")


@pytest.mark.parametrize(
    ("column", "message"),
    [("instruments", "does not hold one label"), ("prompt_group", "are in a single prompt group"), ("gnre", "genre")],
)
def test_columns_that_cannot_be_checked(corpus: Path, tmp_path: Path, column: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        synthmir.label_noise(corpus, out=tmp_path, column=column)
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab.count", None)
    with pytest.raises(BackendError, match="cleanlab") as error:
        find_noisy_labels(np.array([0, 1]), np.eye(2))
    assert "synthmir[labels]" in str(error.value.fix)
