"""Subsets: fewer clips, and fewer of some labels."""

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


def counts(subset: Features) -> list[int]:
    return torch.bincount(subset.train.labels, minlength=len(subset.names)).tolist()


def test_default_settings_keep_all_rows():
    given_features = features(5, 7)
    assert draw_subset(given_features, TrainingSettings()) is given_features


@given(st.lists(st.integers(5, 60), min_size=2, max_size=6), st.data())
def test_subset_has_the_clips_asked_for_and_keeps_label_shares(sizes, data):
    asked = data.draw(st.integers(len(sizes) * 5, sum(sizes)))
    assume(min(sizes) * asked >= sum(sizes))  # otherwise the rarest label has no row, which is an error
    source = features(*sizes)
    subset = draw_subset(source, TrainingSettings(clips=asked))
    assert len(subset.train) == asked and subset.validation is source.validation
    for kept, size in zip(counts(subset), sizes, strict=True):
        assert abs(kept - asked * size / sum(sizes)) <= 1
    rows = subset.train.embeddings[:, 0].long()
    assert rows.tolist() == sorted(rows.tolist()) == [int(identity) for identity in subset.train.ids]
    assert torch.equal(subset.train.labels, source.train.labels[rows])


def test_an_imbalance_falls_geometrically():
    subset = draw_subset(features(100, 100, 100, 100, 100), TrainingSettings(imbalance=16))
    assert sorted(counts(subset), reverse=True) == [100, 50, 25, 12, 6]
    fewer = draw_subset(features(100, 100, 100, 100, 100), TrainingSettings(imbalance=16, clips=97))
    assert len(fewer.train) == 97 and max(counts(fewer)) / min(counts(fewer)) == pytest.approx(16, rel=0.35)


def test_the_seed_determines_the_subset():
    source = features(40, 40)
    first, again, other = (draw_subset(source, TrainingSettings(clips=20, seed=seed)).train.ids for seed in (1, 1, 2))
    assert first == again != other


def test_impossible_subsets_are_refused():
    with pytest.raises(RecipeError, match=r"training\.clips: 20, but there are 12 training rows"):
        draw_subset(features(5, 7), TrainingSettings(clips=20))
    with pytest.raises(RecipeError, match=r"leave no row of '[ab]'"):
        draw_subset(features(5, 7), TrainingSettings(imbalance=50))
    many = replace(features(5, 7), problem_type=MULTI)
    with pytest.raises(RecipeError, match="needs a task with one label a clip"):
        draw_subset(many, TrainingSettings(imbalance=2))
    assert len(draw_subset(many, TrainingSettings(clips=4)).train) == 4
