"""Agreement on a corpus whose estimates and annotations are written by the test, so that every share is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from datasets import Features, Value
from scipy.stats import norm

import synthmir
from builder.annotations.annotation import Annotation, TrackActivity, annotation_features
from builder.corpus.building.build import build
from builder.corpus.corpus import Corpus
from builder.corpus.estimates import RECORD
from builder.corpus.shards import write_shard
from builder.errors import DataError
from builder.records import RunRecord
from evaluation.agreement.differences import compare_with_others, find_words, is_clear
from evaluation.agreement.page import format_table, render_section
from evaluation.agreement.rows import describe_played
from evaluation.results import agreement as results
from evaluation.results.agreement import Agreement
from evaluation.results.fidelity import Figure

from ..builder.fakes import register, small_recipe

register()


def track(instrument: str, sounds: bool = True) -> TrackActivity:
    times = np.array([0.0] if sounds else [])
    return TrackActivity(instrument, 0, False, "melody", times, times + 1)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 tones. Of those with a tempo, the generator plays every third at double tempo; the estimator errs on every
    fifth clip, by 10 %."""
    folder = tmp_path_factory.mktemp("agreement")
    root = folder / "corpus"
    build(small_recipe(folder, per_genre=12), root, workers=1)
    number = 0
    for name in Corpus.open(root).shards():
        file = name.split("/", 1)[1]
        rows, annotations = [], []
        for clip in pq.read_table(root / name).to_pylist():
            tempo = clip["tempo_bpm"] or 100
            played = 2 * tempo if number % 3 == 0 else tempo
            rows.append({"id": clip["id"], "tempo": 1.1 * played if number % 5 == 0 else played})
            tracks = (track("piano"), track("voice", number % 2 == 0))
            annotations.append(Annotation(clip["id"], 1.0, tempo_bpm=played, key="C:major", tracks=tracks).to_row())
            number += 1
        columns = Features({"id": Value("string"), "tempo": Value("float32")})
        write_shard(root / "estimates" / file, [rows], columns, {})
        write_shard(root / "annotations" / file, [annotations], annotation_features(), {})
    entry = {"name": "tempo", "source": None, "version": "1", "about": "", "columns": ["tempo"]}
    RunRecord("annotate", details={"estimators": [entry]}).write(root / RECORD)
    return root


@pytest.fixture(scope="module")
def measured(corpus: Path) -> tuple[Agreement, Path]:
    return synthmir.agreement(corpus, bootstrap=100), corpus.parent / "agreement"


def test_means_and_what_disagreements_are(corpus: Path, measured: tuple[Agreement, Path]) -> None:
    asked = [row for name in Corpus.open(corpus).shards() for row in pq.read_table(corpus / name).to_pylist()]
    places = [place for place, row in enumerate(asked) if row["tempo_bpm"]]
    right = [place for place in places if place % 3 and place % 5]
    octave = [place for place in places if place % 5]
    labels = {label.name: label for label in measured[0].labels}
    assert set(labels) == {"tempo", "tempo_octave"}
    tempo = labels["tempo"]
    assert tempo.all.value == pytest.approx(len(right) / len(places)) and tempo.all.n == len(places)
    assert tempo.all.low < tempo.all.value < tempo.all.high
    assert labels["tempo_octave"].all.value == pytest.approx(len(octave) / len(places))
    assert sum(figure.n for figure in tempo.genres.values()) == len(places)
    truth = tempo.truth
    assert truth is not None and truth.generator.value == pytest.approx(sum(p % 3 > 0 for p in places) / len(places))
    assert truth.estimator.value == pytest.approx(0.8) and truth.estimator.n == 60  # of all clips, whatever was asked
    assert truth.disagreeing == len(places) - len(right) == truth.not_played + truth.misestimated
    assert truth.misestimated == sum(place % 3 > 0 and place % 5 == 0 for place in places)


def test_files(measured: tuple[Agreement, Path]) -> None:
    agreement, out = measured
    assert Agreement.read(out / "agreement.json") == agreement and agreement.annotated
    rows = pq.read_table(out / "agreement.parquet").to_pylist()
    assert len(rows) == 60 and {row["tempo"] for row in rows} == {True, False, None}
    schema = Path(results.__file__).with_suffix(".schema.json")
    assert schema.read_text(encoding="utf-8") == Agreement.json_schema()
    assert json.loads((out / "agreement.json").read_text())["record"]["command"] == "agreement"


def test_table_and_section(measured: tuple[Agreement, Path], tmp_path: Path) -> None:
    agreement, out = measured
    table = format_table(agreement)
    assert "Tempo, any octave" in table and "estimator right" in table
    assert "80.0%" in table.splitlines()[5]
    section = render_section(out)
    assert "Played as asked" in section and "<script" not in section
    assert "sub-genres" not in section  # none of this corpus has enough clips
    rows = [results.Word(word="deep <house>", n=9, difference=Figure(value=0.2, low=0.1, high=0.3, n=40), p_holm=0.03)]
    labels = [agreement.labels[0].model_copy(update={"subgenre_differences": rows, "words": rows})]
    changed = agreement.model_copy(update={"labels": labels})
    changed.write(tmp_path / "agreement.json")
    section = render_section(tmp_path)
    assert "Tempo: sub-genres" in section and section.count("deep &lt;house&gt;") == 2 and "<td>0.03</td>" in section
    assert "more or less (points; 1 tested): deep <house> +20.0 [+10.0, +30.0] p = 0.03" in format_table(changed)


def test_clips_that_disagree_have_players(measured: tuple[Agreement, Path]) -> None:
    agreement, out = measured
    assert len(agreement.disagreeing) == 12
    for clip in agreement.disagreeing:
        assert clip.labels == ["tempo"] and clip.compared == 1 and clip.prompt
        assert clip.audio is not None and soundfile.info(out / clip.audio).duration == pytest.approx(1.0)
    section = render_section(out, "agreement/")
    assert section.count('src="agreement/assets/disagreeing-') == 12 and agreement.disagreeing[0].id in section
    assert format_table(agreement).splitlines()[-5].split() == [agreement.disagreeing[0].id, "Tempo"]


def test_words_that_go_with_more_agreement_are_found() -> None:
    prompts = [f"A {word} track number {n}." for n in range(60) for word in ("slow", "fast")]
    values = np.array([float(n % 10 > 0 if word == "slow" else n % 2) for n in range(60) for word in ("slow", "fast")])
    found = compare_with_others(
        values, [find_words(text) for text in prompts], [str(n) for n in range(120)], 20, 200, 0
    )
    assert {word.word for word in found} == {"slow", "fast"}  # the others are in every prompt
    slow = next(word for word in found if word.word == "slow")
    assert slow.difference.value == pytest.approx(0.4) and is_clear(slow.difference)
    assert slow.p_holm is not None and slow.p_holm < 1e-4


def test_chance_differences_are_adjusted_for_their_number() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2, 200).astype(np.float64)
    prompts = [{f"word{n}" for n in range(40) if rng.random() < 0.5} for _ in range(200)]
    groups = [str(n) for n in range(200)]
    found = compare_with_others(values, prompts, groups, 20, 300, 0)
    assert len(found) == 40 and 0 < sum(is_clear(word.difference) for word in found) < 8
    assert min(word.p_holm or 0 for word in found) > 0.05
    (one,) = compare_with_others(values, [own & {"word3"} for own in prompts], groups, 20, 300, 0)
    held = np.array(["word3" in own for own in prompts])
    counts = (int(values[held].sum()), int(held.sum())), (int(values[~held].sum()), int((~held).sum()))
    z = abs(one.difference.value) / np.sqrt(sum(k / n * (1 - k / n) / n for k, n in counts))
    assert one.p_holm == pytest.approx(2 * norm.sf(z), abs=0.06)  # alone it is a plain test of two shares


def test_what_is_played() -> None:
    annotation = Annotation("a", 1.0, key="A:minor", tracks=(track("piano"), track("voice", False), track("bass")))
    played = describe_played(annotation)
    assert played["vocals"] == "instrumental" and played["instruments"] == ["bass", "piano"]


def test_a_corpus_without_estimates_is_refused(tmp_path: Path) -> None:
    build(small_recipe(tmp_path, per_genre=2), tmp_path / "corpus", workers=1)
    with pytest.raises(DataError, match="has no estimates"):
        synthmir.agreement(tmp_path / "corpus", out=tmp_path / "out")
