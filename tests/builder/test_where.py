"""Expressions that choose clips: what they mean, and the faults that they name."""

from typing import Any

import pytest

from builder.errors import RecipeError
from builder.estimators.where import Where, check_columns, list_columns

ROW: dict[str, Any] = {
    "id": "pop-1",
    "split": "train",
    "clap": 0.4,
    "tempo": None,
    "key": "C major",
    "tags": {"female vocalists": 0.7, "rock": 0.1},
    "asked": {"genre": "pop", "key": "A minor", "tempo_bpm": 120},
    "agrees": {"genre": True, "mood": None, "tempo": False},
}


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("clap > 0.3 and agrees.genre", True),
        ("clap > 0.3 and agrees.tempo", False),
        ("clap < 0.3 or not agrees.tempo", True),
        ("0.3 < clap <= 0.4", True),
        ("clap > -1 and split != 'test'", True),
        ('tags["female vocalists"] > 0.5 and tags.rock < 0.2', True),
        ("genre in ['pop', 'rock']", True),
        ("genre not in ('pop', 'rock')", False),
        ("key == 'C major' and asked.key == 'A minor'", True),
        # what is missing is neither true nor false
        ("agrees.mood", False),
        ("not agrees.mood", False),
        ("tempo > 100 or agrees.genre", True),
        ("not (tempo > 100 and agrees.genre)", False),
    ],
)
def test_what_expressions_mean(text: str, chosen: bool) -> None:
    where = Where.parse(text)
    check_columns(where, list_columns(ROW))
    assert where.matches(ROW) is chosen


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("clap >", 6),
        ("clap > 0.3 and", 14),
        ("agrees.genre and f(clap)", 17),
        ("clap + 1 > 2", 0),
        ("__import__('os')", 0),
        ("agrees.genre.__class__", 0),
        ("clap > (lambda: 1)", 7),
        ("clap is 3", 0),
        ("", 0),
        ("1 > 2", 0),
        ("not " * 60 + "clap", 200),
        ("(" * 300 + "clap", 0),
    ],
)
def test_what_does_not_parse_shows_the_place(text: str, place: int) -> None:
    with pytest.raises(RecipeError) as error:
        Where.parse(text)
    assert error.value.message.startswith("where: ") and "agrees.genre" in str(error.value.fix)
    mark = error.value.message.splitlines()[-1]
    assert mark.endswith("^") and (place == 0 or abs(len(mark) - 3 - place) <= 1)


def test_other_faults_are_named() -> None:
    with pytest.raises(RecipeError, match=r"no column 'agrees.gener'.*agrees.genre"):
        check_columns(Where.parse("agrees.gener"), list_columns(ROW))
    with pytest.raises(RecipeError, match=r"0\.4 cannot be compared with 'high'"):
        Where.parse("clap > 'high'").matches(ROW)
    with pytest.raises(RecipeError, match="too many"):
        Where.parse("clap > 0 and " * 100 + "clap > 0")
