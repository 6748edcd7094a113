from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from builder.corpus.building.build import build
from builder.corpus.corpus import Corpus
from builder.embedders.musicnn import MUSICNN_TAGS
from builder.errors import DataError
from builder.estimators.agreement import AGREES, compare_labels, find_dataset, iterate_compared_rows
from builder.estimators.annotate_corpus import annotate_corpus

TAGS = {" ".join(tag.split()): 0.01 for tag in MUSICNN_TAGS["MSD"].split(",")}


@pytest.mark.parametrize(
    ("measured", "tempo", "octave"),
    [(120.0, True, True), (124.0, True, True), (126.0, False, False), (61.0, False, True), (362.0, False, True)],
)
def test_tempo_agrees_within_four_per_cent(measured: float, tempo: bool, octave: bool) -> None:
    agrees = compare_labels({"tempo_bpm": 120}, {"tempo": measured})
    assert (agrees["tempo"], agrees["tempo_octave"]) == (tempo, octave)


@pytest.mark.parametrize(
    ("measured", "score"),
    [("A minor", 1.0), ("C major", 0.3), ("A major", 0.2), ("E minor", 0.5), ("F# minor", 0.0)],
)
def test_key_has_mir_evals_score(measured: str, score: float) -> None:
    for asked in ("A minor", "A:minor"):
        agrees = compare_labels({"key": asked}, {"key": measured})
        assert agrees["key_score"] == score and agrees["key"] is (score == 1)
    assert compare_labels({"key": "Eb major"}, {"key": "D# major"})["key"]


def test_genre_is_ranked_among_those_of_the_corpus_by_its_tags() -> None:
    tags = TAGS | {"House": 0.4, "funk": 0.3, "jazz": 0.9, "Mellow": 0.5}
    asked = {"genre": "funk", "mood": "serene"}
    among = {"genre": ["electronica", "funk", "rock"], "mood": ["serene", "sunny"]}
    agrees = compare_labels(asked, {"tags": tags}, among)
    assert agrees["genre_rank"] == 2 and agrees["genre"] is False and agrees["mood"] is True
    assert compare_labels(asked, {"tags": tags})["genre_rank"] == 3  # jazz too
    assert compare_labels({"genre": "orchestral"}, {"tags": tags}, among)["genre"] is None  # no tag means it


def test_claps_probabilities_come_first() -> None:
    estimate = {
        "tags": TAGS | {"funk": 0.9},
        "clap_genre": {"funk": 0.2, "orchestral": 0.8},
        "clap_instruments": {"piano": 0.5, "bass": 0.3, "harp": 0.2},
        "clap_vocals": {"with-vocals": 0.7, "instrumental": 0.3},
    }
    agrees = compare_labels({"genre": "orchestral", "vocals": "instrumental", "instruments": ["bass"]}, estimate)
    assert agrees["genre"] is True and agrees["instruments_rank"] == 0.5
    assert agrees["vocals"] is False and agrees["vocals_probability"] == pytest.approx(0.3)


def test_voice_is_compared_with_the_tag_instrumental() -> None:
    tags = TAGS | {"female vocalists": 0.3, "instrumental": 0.1}
    agrees = compare_labels({"vocals": "with-vocals"}, {"tags": tags})
    assert agrees["vocals"] is True and agrees["vocals_probability"] == pytest.approx(0.75)
    assert compare_labels({"vocals": "instrumental"}, {"tags": tags})["vocals"] is False


def test_what_was_not_asked_for_or_not_measured_does_not_count() -> None:
    nothing = dict.fromkeys(AGREES)
    assert compare_labels({}, {"tempo": 120.0, "key": "A minor", "tags": TAGS}) == nothing
    asked = {"tempo_bpm": 120, "key": "A minor", "genre": "rock", "vocals": "unspecified", "instruments": ["piano"]}
    assert compare_labels(asked, {"tempo": None, "key": None}) == nothing


def test_data_set_of_tags() -> None:
    assert find_dataset(TAGS) == "MSD" and find_dataset({}) == ""


def test_rows_of_a_corpus_have_labels_estimates_and_agreement(recipe, tmp_path) -> None:
    root = tmp_path / "corpus"
    build(recipe(), root, clips_per_shard=10, workers=1)
    with pytest.raises(DataError, match=r"has no estimates.*\n.*synthmir annotate"):
        next(iterate_compared_rows(root))
    annotate_corpus(root, ["key", "silence"])
    rows = list(iterate_compared_rows(root))
    assert len(rows) == 30 and {row["split"] for row in rows} == {"train", "validation"}
    assert rows[0]["asked"]["genre"] in rows[0]["asked"]["prompt"].lower()
    with_key = [row for row in rows if row["asked"]["key"] and row["key"]]
    assert with_key and all(row["agrees"]["key_score"] is not None for row in with_key)
    build(recipe(per_genre=8), root, clips_per_shard=10, workers=1, extend=True)
    with pytest.raises(DataError, match=r"no estimates yet.*\n.*synthmir annotate"):
        next(iterate_compared_rows(root))


@pytest.mark.parametrize("column", ["tempo", "key"])
def test_damaged_estimates_are_refused(recipe, tmp_path, column: str) -> None:
    root = tmp_path / "corpus"
    build(recipe(), root, workers=1)
    annotate_corpus(root, ["silence"])
    for name in Corpus.open(root).shards("estimates"):
        ids = pq.read_table(root / name, columns=["id"])
        damaged = ids.append_column(column, pa.array([[1]] * len(ids)))
        pq.write_table(damaged, root / name)
    with pytest.raises(DataError, match="not a shard of estimates"):
        list(iterate_compared_rows(root))
