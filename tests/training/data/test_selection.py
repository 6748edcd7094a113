"""Training rows that estimates choose or weigh."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from builder.errors import RecipeError
from builder.estimators import select_clips
from builder.settings import TrainingSettings
from builder.validation import validate
from training.data.features import Features, load_features
from training.data.selection import select_rows


@pytest.fixture
def features(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> Features:
    """The genres of a corpus, with an estimate by the number of the row: `tempo` is 0, 1, 2, 3, 0, 1, ..."""
    read = load_features(corpus, "melstats", "genre")

    def rows(_: Path) -> Iterator[dict[str, Any]]:
        for place, identity in enumerate((*read.train.ids, *read.validation.ids)):
            agrees = dict.fromkeys(select_clips.SHARES) | {"genre": place % 2 == 0, "tempo_octave": True}
            yield {"id": identity, "tempo": place % 4, "asked": {"genre": "x"}, "agrees": agrees}

    monkeypatch.setattr(select_clips, "iterate_compared_rows", rows)
    return read


def settings(**options: Any) -> TrainingSettings:
    return validate(TrainingSettings, options, "options")


def test_rows_are_chosen_and_validation_stays(features: Features, corpus: Path) -> None:
    chosen = select_rows(features, corpus, settings(where="tempo >= 2 and tempo != 2"))
    assert chosen.train.ids == features.train.ids[3::4] and chosen.train.weights is None
    assert torch.equal(chosen.train.embeddings, features.train.embeddings[3::4])
    assert chosen.validation is features.validation
    assert select_rows(features, corpus, settings()) is features


def test_rows_are_weighed(features: Features, corpus: Path) -> None:
    weights = select_rows(features, corpus, settings(weight="agreement")).train.weights
    assert weights is not None and len(weights) == len(features.train)
    assert weights.mean().item() == pytest.approx(1)
    assert torch.allclose(weights[1::2] / weights[::2], torch.tensor(2 / 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"where": "tempo > 3"}, "is true of none of 300 clips"),
        ({"where": "id == 'none' or tempo == 7"}, "is true of none"),
        ({"where": "tempi > 3"}, "no column 'tempi'"),
        ({"weight": "agreement", "head": "knn"}, "knn has no weights"),
    ],
)
def test_what_cannot_be_chosen(features: Features, corpus: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        select_rows(features, corpus, settings(**options))


def test_labels_that_would_be_lost_are_named(features: Features, corpus: Path) -> None:
    ids = [*features.train.ids[:1], *features.train.ids[4:]]
    first = int(features.train.labels[0])
    kept = [name for name, label in zip(features.train.ids, features.train.labels.tolist(), strict=True)
            if label != first or name == ids[0]][:40]  # fmt: skip
    with pytest.raises(RecipeError, match="keeps too few clips: 1 of .* " + features.names[first]):
        select_rows(features, corpus, settings(where=f"id in {kept}"))


def test_data_without_estimates(features: Features, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="is not a corpus"):
        select_rows(features, tmp_path, settings(where="tempo > 0"))


def test_tasks_learnt_from_audio_have_none() -> None:
    with pytest.raises(RecipeError, match="learnt from audio"):
        settings(task="beats", where="tempo > 0")
