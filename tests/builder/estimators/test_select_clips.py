from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import builder.estimators.select_clips as select_clips
from builder.errors import RecipeError
from builder.estimators.agreement import AGREES
from builder.estimators.select_clips import BY_RANK, BY_WHERE, choose_clips, count_kept


def make_row(one: str, genre: str, agrees: bool, clap: float | None, tempo: float = 100.0) -> dict[str, Any]:
    values = dict.fromkeys(AGREES) | {"genre": agrees}
    return {"id": one, "clap": clap, "tempo": tempo, "split": "train", "asked": {"genre": genre}, "agrees": values}


ROWS = [
    make_row("a", "pop", False, 0.9),
    make_row("b", "pop", True, 0.1),
    make_row("c", "pop", True, 0.3),
    make_row("d", "pop", True, None),
    make_row("e", "pop", True, 0.8, tempo=50.0),
    make_row("f", "rock", False, 0.2),
]


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select_clips, "iterate_compared_rows", lambda path: iter(ROWS))


def choose(where: str | None, keep: float | None) -> select_clips.ClipChoice:
    return choose_clips(Path("corpus"), where, keep)


def test_the_best_of_each_genre_are_kept_and_the_others_have_a_reason() -> None:
    choice = choose("tempo > 60", 0.5)
    assert choice.kept == {"c", "b", "f"}  # agreement first, then clap; a genre keeps one at least
    assert choice.reasons == {"a": BY_RANK, "d": BY_RANK, "e": BY_WHERE} and choice.left_out == {"a", "d", "e"}
    assert choice.genres["f"] == "rock" and len(choice.genres) == len(ROWS)


def test_without_keep_all_for_which_the_expression_is_true_are_kept() -> None:
    assert choose("tempo > 60", None).kept == choose("tempo > 60", 1.0).kept == set("abcdf")
    assert choose(None, None).reasons == {}


def test_equal_clips_are_drawn_alike_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [make_row(str(number), "pop", True, None) for number in range(20)]
    monkeypatch.setattr(select_clips, "iterate_compared_rows", lambda path: iter(rows))
    kept = choose(None, 0.25).kept
    rows.reverse()
    assert len(kept) == 5 and choose(None, 0.25).kept == kept != set("01234")


@pytest.mark.parametrize(("clips", "keep", "kept"), [(100, 0.07, 7), (10, 0.7, 7), (3, 0.5, 2), (1, 0.01, 1)])
def test_a_share_is_rounded_up(clips: int, keep: float, kept: int) -> None:
    assert count_kept(clips, keep) == kept


@pytest.mark.parametrize("keep", [0.0, -0.5, 1.5, float("nan")])
def test_what_is_no_share_is_refused(keep: float) -> None:
    with pytest.raises(RecipeError, match="is not a share"):
        choose(None, keep)
