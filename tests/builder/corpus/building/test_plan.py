from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace

import pytest

from builder.clip import Clip
from builder.corpus.building import plan as planning
from builder.corpus.building.plan import cut_shards, plan_clips
from builder.errors import RecipeError


def test_every_genre_has_its_share_of_validation(recipe):
    clips = plan_clips(recipe(per_genre=40))
    counts = Counter((clip.split, clip.prompt.genre) for clip in clips)
    assert len(clips) == 200
    assert {counts["validation", genre] for genre in recipe().labels.genre_names} == {8}


def test_ids_and_seeds_are_unique_and_the_same_again(recipe):
    clips = plan_clips(recipe(per_genre=40))
    assert len({clip.id for clip in clips}) == len({clip.seed for clip in clips}) == 200
    assert clips == plan_clips(recipe(per_genre=40))


def test_clips_of_one_description_never_cross_the_splits(recipe, monkeypatch):
    def doubled(recipe):
        prompts = list(planning_prompts(recipe))
        return [replace(p, description=prompts[i // 3 * 3].description) for i, p in enumerate(prompts)]

    planning_prompts = planning.make_prompts
    monkeypatch.setattr(planning, "make_prompts", doubled)
    splits = defaultdict(set)
    for clip in plan_clips(recipe(per_genre=30)):
        splits[clip.prompt_group].add(clip.split)
    assert len(splits) == 50
    assert all(len(found) == 1 for found in splits.values())


def test_one_description_cannot_be_split(recipe, monkeypatch):
    one = planning.make_prompts(recipe())[0]
    monkeypatch.setattr(planning, "make_prompts", lambda recipe: [one, one])
    with pytest.raises(RecipeError, match=f"genre '{one.genre}'.*divided into train and validation"):
        plan_clips(recipe())


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_shards_hold_every_clip_once_in_order(recipe, size):
    clips = plan_clips(recipe(per_genre=20))
    parts = cut_shards(clips, size)
    assert [clip for part in parts for clip in part.clips] == clips
    assert len({part.name for part in parts}) == len(parts)
    assert max(len(part.clips) for part in parts) <= size
    assert all(clip.split == part.split for part in parts for clip in part.clips)


@pytest.mark.parametrize(("clips", "expected"), [(500, 64), (57_562, 225), (10_000_000, 1024)])
def test_default_shards_suit_small_and_large_corpora(recipe, clips, expected):
    clip = plan_clips(recipe())[0]
    rows: list[Clip] = [clip] * clips
    parts = cut_shards(rows)
    assert max(len(part.clips) for part in parts) == expected
    assert len(parts) < 10_000  # files that the Hub takes in one folder
