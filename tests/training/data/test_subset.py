"""Fewer clips, and fewer of some labels."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from builder.errors import RecipeError
from builder.settings import TrainingSettings
from training.data.features import Features, Split
from training.data.subset import draw_subset
from training.models.classifier import MULTI


def features(*counts: int) -> Features:
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate(counts)])
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))]
    train = Split(tuple(map(str, range(len(labels)))), torch.arange(len(labels)).float()[:, None], labels)
    return Features("genre", "melstats", tuple("abcdefgh"[: len(counts)]), train, train, {})


def counts(found: Features) -> list[int]:
    return torch.bincount(found.train.labels, minlength=len(found.names)).tolist()


def test_nothing_asked_changes_nothing():
    given_features = features(5, 7)
    assert draw_subset(given_features, TrainingSettings()) is given_features


@given(st.lists(st.integers(5, 60), min_size=2, max_size=6), st.data())
def test_so_many_clips_and_each_label_its_share(there, data):
    asked = data.draw(st.integers(len(there) * 5, sum(there)))
    assume(min(there) * asked >= sum(there))  # else the rarest label is left without a row, which is an error
    source = features(*there)
    found = draw_subset(source, TrainingSettings(clips=asked))
    assert len(found.train) == asked and found.validation is source.validation
    for kept, all_of_it in zip(counts(found), there, strict=True):
        assert abs(kept - asked * all_of_it / sum(there)) <= 1
    rows = found.train.embeddings[:, 0].long()
    assert rows.tolist() == sorted(rows.tolist()) == [int(identity) for identity in found.train.ids]
    assert torch.equal(found.train.labels, source.train.labels[rows])


def test_an_imbalance_falls_geometrically():
    found = draw_subset(features(100, 100, 100, 100, 100), TrainingSettings(imbalance=16))
    assert sorted(counts(found), reverse=True) == [100, 50, 25, 12, 6]
    fewer = draw_subset(features(100, 100, 100, 100, 100), TrainingSettings(imbalance=16, clips=97))
    assert len(fewer.train) == 97 and max(counts(fewer)) / min(counts(fewer)) == pytest.approx(16, rel=0.35)


def test_the_seed_draws():
    source = features(40, 40)
    first, again, other = (draw_subset(source, TrainingSettings(clips=20, seed=seed)).train.ids for seed in (1, 1, 2))
    assert first == again != other


def test_what_cannot_be_had_is_told():
    with pytest.raises(RecipeError, match=r"training\.clips: 20, but there are 12 training rows"):
        draw_subset(features(5, 7), TrainingSettings(clips=20))
    with pytest.raises(RecipeError, match=r"leave no row of '[ab]'"):
        draw_subset(features(5, 7), TrainingSettings(imbalance=50))
    many = replace(features(5, 7), problem_type=MULTI)
    with pytest.raises(RecipeError, match="needs a task with one label a clip"):
        draw_subset(many, TrainingSettings(imbalance=2))
    assert len(draw_subset(many, TrainingSettings(clips=4)).train) == 4
