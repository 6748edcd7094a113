"""Prompt adherence by tags: the area under the ROC curve, who is asked for a label, a corpus of known tags."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from sklearn.metrics import roc_auc_score

from builder.embedders.base import load_embedder
from builder.embedders.musicnn import MUSICNN_TAGS
from builder.embedders.tagger import load_tagger
from builder.errors import BackendError, DataError
from builder.estimators.tag_labels import read_label_tags
from builder.settings import EmbedderSettings
from evaluation.benchmarks.mapping import vocabulary_labels
from evaluation.fidelity.embedded_sets import open_corpus_set
from evaluation.fidelity.measure import measure_fidelity
from evaluation.fidelity.page import format_table, render_section, write_page
from evaluation.fidelity.set_pair import SetPair
from evaluation.fidelity.tags import find_asked, measure_auc, measure_tagging
from synthmir import tags as predict_tags

from ...builder.embedders import tf_writer
from ..conftest import GENRES, RATE, sound
from .test_fidelity import write_embeddings

GENRE_TAGS = {"Electronica": "electronic", "Hip Hop": "Hip-Hop", "Rock": "rock"}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like the package's, with random weights."""
    folder = tmp_path_factory.mktemp("package")
    tf_writer.save(folder / "musicnn" / "MSD_musicnn", tf_writer.random_musicnn("MSD_musicnn"))
    return folder


def test_the_area_agrees_with_scikit_learn_and_within_genres_with_a_count_of_pairs():
    rng = np.random.default_rng(3)
    asked, genres = rng.random(200) < 0.3, rng.choice(["a", "b", "c"], 200)
    asked[genres == "c"] = False
    scores = np.round(rng.normal(size=200) + 0.5 * asked + (genres == "b"), 1)  # with ties
    found = measure_auc(asked, scores, [f"g{i // 2}" for i in range(200)], genres)
    assert found is not None and found[1] is not None
    auc, within = found
    assert auc.value == pytest.approx(roc_auc_score(asked, scores)) and auc.n == 200
    pairs = [
        (scores[i] > scores[j]) + (scores[i] == scores[j]) / 2
        for i in np.flatnonzero(asked)
        for j in np.flatnonzero(~asked & (genres == genres[i]))
    ]
    assert within.value == pytest.approx(np.mean(pairs)) and within.n == (genres != "c").sum()
    for figure in found:
        assert figure.low < figure.value < figure.high and figure.high - figure.low < 0.4


def test_perfect_separation_has_an_interval_and_few_clips_have_no_area():
    asked = np.arange(40) < 10
    found = measure_auc(asked, asked.astype(float), [str(i) for i in range(40)])
    assert found is not None and found[1] is None
    assert found[0].value == 1.0 and found[0].low is not None and found[0].low < 0.8
    assert measure_auc(np.arange(40) < 4, np.arange(40.0), [""] * 40) is None
    assert measure_auc(np.arange(40) < 36, np.arange(40.0), [""] * 40) is None


def test_clips_whose_prompt_says_nothing_are_neither_asked_nor_others():
    asked, known = find_asked(["with-vocals", "unspecified", "instrumental", None], ["with-vocals"])
    assert asked.tolist() == [True, False, False, False] and known.tolist() == [True, False, True, False]
    asked, known = find_asked([["piano", "drums"], [], ["flute"]], ["drums", "live drums"])
    assert asked.tolist() == [True, False, False] and known.tolist() == [True, False, True]


@pytest.mark.parametrize("dataset", ["MSD", "MTT"])
def test_the_table_names_tags_and_labels_that_exist(dataset: str):
    tags = {" ".join(tag.split()) for tag in MUSICNN_TAGS[dataset].split(",")}
    vocabularies = {"vocals": "vocals", "mood": "moods", "instruments": "instruments"}
    genres = {*vocabulary_labels("paper"), *vocabulary_labels("gtzan")}
    for row in read_label_tags(dataset):
        known = genres if row.column == "genre" else set(vocabulary_labels(vocabularies[row.column]))
        assert set(row.labels) <= known and set(row.tags) <= tags, row


def test_a_corpus_whose_tags_are_its_genres(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("evaluation.fidelity.plots.plot_map", lambda *_: None)
    tagger = load_embedder(EmbedderSettings(name="musicnn", weights=str(package), device="cpu"))
    weight = tagger._network._dense[1][0].numpy()
    genres = np.arange(120) % 3
    directions = np.stack([weight[tagger.tag_names.index(GENRE_TAGS[name])] for name in GENRES])
    noise = np.random.default_rng(0).normal(size=(2, 120, 200))
    sets = [
        write_embeddings(
            tmp_path / name, part + 20 * directions[genres], genres, tagger.revision, "musicnn", prefix=name[0]
        )
        for name, part in zip(("clips", "real"), noise, strict=True)
    ]
    out = tmp_path / "out"
    fidelity = measure_fidelity(sets[0], str(sets[1]), out, weights=str(package))
    assert fidelity.tagging is not None and fidelity.tagging.tagger == "musicnn, MSD_musicnn"
    rows = fidelity.tagging.labels
    assert [(row.column, row.label, row.asked) for row in rows] == [
        ("genre", label, 40) for label in ("electronica", "hiphop", "rock")
    ]
    for row in rows:
        assert row.auc.value > 0.95 and row.auc.n == 120 and row.within_genres is None
        assert row.reference is not None and row.reference.value > 0.95
    assert "genre: hiphop" in format_table(fidelity) and "Hip-Hop" in render_section(out, "")
    assert "Prompts and tags" in write_page(out).read_text()
    clips, recordings = (open_corpus_set(root, EmbedderSettings(name="musicnn"))[0] for root in sets)
    held_out, _ = measure_tagging(SetPair.of(clips, recordings, 0), np.arange(60), str(package), True)
    assert held_out is not None and [row.auc.n for row in held_out.labels] == [60, 60, 60]
    assert all(row.reference is None for row in held_out.labels)


def test_embeddings_of_other_weights_give_no_tags(package: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(DataError, match="revision 0123456789abcdef-MSD_musicnn; the weights here have revision"):
        load_tagger({"name": "musicnn", "revision": "0123456789abcdef-MSD_musicnn"}, str(package))
    with pytest.raises(DataError, match="embeddings of melstats give no tags"):
        load_tagger({"name": "melstats", "revision": "2"})
    monkeypatch.setattr("builder.embedders.musicnn_weights.has_weights", lambda arch: False)
    with pytest.raises(BackendError, match="not on this machine"):
        load_tagger({"name": "musicnn", "revision": "0-MTT_vgg"})


def test_files_are_tagged_and_one_that_cannot_be_read_has_an_error(package: Path, tmp_path: Path):
    soundfile.write(tmp_path / "a.wav", sound(0, 0), RATE)
    (tmp_path / "b.wav").write_text("these are words")
    good, bad = predict_tags([tmp_path / "a.wav", tmp_path / "b.wav"], weights=package, top_k=50)
    names, probabilities = zip(*good.labels, strict=True)
    assert set(names) == {" ".join(tag.split()) for tag in MUSICNN_TAGS["MSD"].split(",")}
    assert (
        list(probabilities) == sorted(probabilities, reverse=True) and 0 < min(probabilities) < max(probabilities) < 1
    )
    assert bad.labels == () and bad.error is not None and "b.wav" not in bad.error
    with pytest.raises(DataError, match="1 of 1 file cannot be read"):
        predict_tags(tmp_path / "b.wav", weights=package)
