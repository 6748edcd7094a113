"""The dataset card against the files that it is rendered from."""

from __future__ import annotations

import json
import re
import shutil

import datasets
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from datasets.info import DatasetInfosDict
from huggingface_hub import DatasetCard, DatasetCardData
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.annotations.annotation import annotation_features
from builder.corpus.building.build import build
from builder.corpus.card.add_fidelity import add_fidelity
from builder.corpus.card.card import write_card
from builder.corpus.card.fidelity import FIDELITY
from builder.corpus.corpus import Corpus
from builder.corpus.schema import COLUMNS
from builder.corpus.shards import read_footer, write_shard
from builder.corpus.verify import verify
from builder.embedders.embed_corpus import embed_corpus
from builder.errors import DataError
from builder.io import markdown
from builder.io.markdown import parse_front_matter
from builder.recipe import Recipe
from builder.settings import EmbedderSettings

from .... import markdown as page
from ... import fakes

fakes.register()
LEVELS = EmbedderSettings(name="levels")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A corpus of 60 clips with embeddings; only to be read."""
    place = tmp_path_factory.mktemp("made")
    build(fakes.small_recipe(place, per_genre=12), place / "corpus", clips_per_shard=20, workers=1)
    embed_corpus(place / "corpus", LEVELS)
    return place / "corpus"


@pytest.fixture
def corpus(made, tmp_path):
    return shutil.copytree(made, tmp_path / "corpus")


def read(corpus):
    return (corpus / "README.md").read_text(encoding="utf-8")


def measured(root, path, **changes):
    """A file as `synthmir fidelity` writes it, each figure another number."""

    def figure(value, **more):
        return {
            "value": value,
            "low": round(value - 0.01, 6),
            "high": round(value + 0.04, 6),
            "n": 60,
            "n_reference": 40,
        } | more

    duplicates = {"pairs": 3, "spare": 1, "largest_group": 2, "rule": "near", "dimension": 3.5, "ratio": 0.2}
    duplicates |= {"nearest_median": 0.1, "nearest_99": 0.2, "listed": []}
    genres = ["electronica", "funk", "orchestral", "pop", "rock"]
    content = {
        "schema": 1,
        "corpus": {"name": "/home/me/corpus", "kind": "corpus", "n": 60, "labels": {}, "unlabelled": 0, "notes": []}
        | {"fingerprint": Corpus(root).fingerprint},
        "reference": {"name": "gtzan:/home/me/gtzan", "kind": "benchmark", "n": 40, "labels": {}, "unlabelled": 0},
        "embedder": {"name": "levels", "revision": "1", "dim": 4},
        "dim": 4,
        "frechet": {
            "distance": figure(123.4, low=None, high=None),
            "reference_halves": 17.25,
            "reference_halves_n": 20,
        },
        "kernel": {"rbf": figure(0.4321), "bandwidth": 1.5, "polynomial": figure(9.9)},
        "manifold": {"k": 5, "precision": figure(0.61), "recall": figure(0.52), "density": figure(0.73)}
        | {"coverage": figure(0.44)},
        "diversity": {"corpus": 6.75, "reference": 13.5, "n": 40},
        "within": {**duplicates, "clips": 5, "n": 60},
        "against": {**duplicates, "clips": 2, "n": 60, "n_reference": 40},
        "two_sample": {"accuracy": figure(0.93), "auc": 0.97, "p_value": 0.00125},
        "adherence": {"probe": "reference", "accuracy": figure(0.66), "probe_accuracy": figure(0.81), "labels": []},
        "text_audio": {"checkpoint": "/home/me/clap", "similarity": figure(0.31), "shuffled": figure(0.12)}
        | {"own_wins": figure(0.77)},
        "genres": [
            {"genre": name, "n": 12, "n_reference": 8, "adherence": figure(0.51 + 0.07 * i, n=12), "duplicates": i}
            for i, name in enumerate(genres)
        ],
        "left_out": [],
        "pictures": {},
        "record": {"details": {"spec": "gtzan:/home/me/gtzan", "held_out": False}},
    }
    path.write_text(json.dumps(content | changes))
    return path


def row(text, first, heading=""):
    """The rest of a table's row that begins with `first`, under a heading."""
    part = text[text.index(heading) :]
    return next(line[1:] for table in page.tables(part) for line in table if line and line[0] == first)


def test_the_metadata_is_what_the_hub_reads(made):
    data = DatasetCard.load(made / "README.md").data.to_dict()
    assert data["license"] == "cc-by-4.0" and data["size_categories"] == ["n<1K"]
    assert "audio-classification" in data["task_categories"] and {"music", "synthetic", "tone"} <= set(data["tags"])
    assert [config["config_name"] for config in data["configs"]] == ["default", "levels"]
    splits = {
        info["config_name"]: {s["name"]: s["num_examples"] for s in info["splits"]} for info in data["dataset_info"]
    }
    assert splits == {name: {"train": 50, "validation": 10} for name in ("default", "levels")}
    assert DatasetCardData(**data).to_dict() == data


def test_it_is_sound_markdown_whose_links_lead_somewhere(corpus, tmp_path):
    add_fidelity(corpus, measured(corpus, tmp_path / "f.json"))
    text = read(corpus)
    assert not page.ragged(text) and not page.broken_links(text, corpus)
    assert not re.search(r"\{\{|\}\}|\{%|\bNone\b|\bnan\b|\n\n\n|/home/me", text)
    assert text.count("](assets/") == len(list((corpus / "assets").iterdir())) == 4
    assert len(re.findall(r"^## ", text, re.MULTILINE)) == len(set(re.findall(r"^## .*", text, re.MULTILINE)))


def test_counts_are_those_of_the_shards(made):
    """Against pandas, which reads the files by itself."""
    text = read(made)
    columns = ["genre", "subgenre", "mood", "instruments", "tempo_bpm", "vocals", "prompt", "loudness", "peak"]
    parts = {
        s: pd.read_parquet(sorted((made / "data").glob(f"{s}-*")), columns=columns) for s in ("train", "validation")
    }
    frame = pd.concat(parts.values())
    for split, part in parts.items():
        of_genre = [str((part["genre"] == code).sum()) for code in range(5)]
        assert row(text, split, "## Content") == [str(len(part)), *of_genre]
    features = datasets.load_dataset_builder(str(made)).info.features
    moods = frame["mood"].dropna().astype(int).map(features["mood"].int2str)
    cells = row(text, "mood", "## Content")
    assert cells[:2] == [str(len(moods)), f"{moods.nunique()} of {features['mood'].num_classes}"]
    best = moods.value_counts()
    assert dict(re.findall(r"([\w-]+) \((\d+)\)", cells[2])).items() <= {k: str(v) for k, v in best.items()}.items()
    assert re.search(r"\((\d+)\)", cells[2])[1] == str(best.max())
    tempo = frame["tempo_bpm"].dropna()
    low, high, mid = tempo.min(), tempo.max(), tempo.median()
    assert row(text, "tempo_bpm", "## Content") == [
        str(len(tempo)), "", f"{low:.0f} to {high:.0f} BPM, median {mid:.4g}",
    ]  # fmt: skip
    for column, name in (("loudness", "loudness (LUFS)"), ("peak", "peak (dBFS)")):
        values = frame[column].to_numpy(np.float64)
        assert row(text, name) == [f"{np.percentile(values, q):.4g}" for q in (5, 50, 95)]
    spread = np.percentile(frame["loudness"].to_numpy(np.float64), [5, 95])
    assert f"between {spread[0]:.1f} and {spread[1]:.1f} LUFS, {spread[1] - spread[0]:.1f} LU apart" in text
    assert frame["prompt"].iloc[0] in [cells[1] for table in page.tables(text) for cells in table if len(cells) > 1]


def test_how_it_was_made_is_the_records(made):
    text, how = read(made), "## How it was made"
    record, embedded = Corpus(made).record(), Corpus(made).record("records/embed-levels.json")
    details = record["details"]
    assert row(text, "recipe fingerprint", how) == [record["fingerprint"]]
    assert row(text, "accepted / rejected clips", how) == [f"60 / {details['rejected']}"]
    assert row(text, "computing time", how) == [f"{details['worker_seconds']:.1f} s by {details['workers']} worker"]
    assert row(text, "device", how) == [record["device"]]
    assert all(f"{name} {version}" in row(text, "versions", how)[0] for name, version in record["versions"].items())
    assert row(text, "synthmir embed corpus --embedder levels", how)[0] == f"{embedded['details']['seconds']:.1f} s"
    assert row(text, "levels", "## Embeddings")[:3] == ["4", "60", "1"]
    assert "One sine a clip." in text and "rejected no clip" in text


def test_values_missing_from_a_record_are_left_out_or_refused(corpus):
    path = corpus / "records" / "embed-levels.json"
    record = json.loads(path.read_text())
    del record["details"]["embedder"]["about"], record["details"]["seconds"], record["device"]
    path.write_text(json.dumps(record))
    write_card(corpus)
    assert row(read(corpus), "levels", "## Embeddings")[-1] == ""
    assert row(read(corpus), "synthmir embed corpus --embedder levels", "## How it was made") == ["", ""]
    before = read(corpus)
    del record["details"]["embedder"]
    path.write_text(json.dumps(record))
    with pytest.raises(DataError, match=r"corpus: its records are not those of a corpus: KeyError\('embedder'\)"):
        write_card(corpus)
    built = Corpus(corpus).record()
    del built["details"]["worker_seconds"]
    (corpus / "records" / "build.json").write_text(json.dumps(built))
    shutil.rmtree(corpus / "levels")
    with pytest.raises(DataError, match=r"its records are not those of a corpus.*worker_seconds"):
        write_card(corpus)
    assert read(corpus) == before


def test_every_column_is_described_with_its_unit(made):
    text = read(made)
    (described,) = (table[1:] for table in page.tables(text) if table[0][:3] == ["column", "type", "unit"])
    assert set(COLUMNS) - {"embedding"} == {line[0] for line in described}
    assert {line[0]: line[2] for line in described if line[2]} == {
        "audio": "32 kHz", "tempo_bpm": "BPM", "duration": "s", "loudness": "LUFS", "peak": "dBFS",
    }  # fmt: skip


def test_the_commands_and_code_of_the_card_work(corpus, tmp_path, monkeypatch):
    """Every line of its Python, on a folder that also holds pictures and figures."""
    add_fidelity(corpus, measured(corpus, tmp_path / "f.json"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    (code,) = re.findall(r"```python\n(.*?)```", read(corpus), re.DOTALL)
    names = {}
    monkeypatch.chdir(corpus.parent)
    exec(code, names)
    assert {split: len(part) for split, part in names["corpus"].items()} == {"train": 50, "validation": 10}
    assert (
        set(names["levels"]["train"].column_names).isdisjoint({"audio"}) and len(names["levels"]["validation"]) == 10
    )
    slow = list(names["slow"])
    assert (
        slow
        and all(clip["tempo_bpm"] < 90 for clip in slow)
        and set(slow[0]) == {"id", "prompt", "genre", "tempo_bpm"}
    )


FIGURES = (
    ("Fréchet distance", "123.4"), ("kernel distance", "0.4321 [0.4221, 0.4721]"),
    ("precision", "61.0 % [60.0, 65.0]"), ("recall", "52.0 % [51.0, 56.0]"), ("density", "0.73"),
    ("coverage", "44.0 % [43.0, 48.0]"),
    ("Vendi score", "6.75 / 13.5"), ("two-sample accuracy", "93.0 % [92.0, 97.0]"),
    ("near-duplicates in the corpus", "5"),
    ("near-duplicates in the reference", "2"), ("prompt adherence", "66.0 % [65.0, 70.0]"),
    ("text-audio similarity", "0.31"), ("own prompt more similar", "77.0 % [76.0, 81.0]"),
)  # fmt: skip


def test_the_card_has_the_figures_of_fidelity(corpus, tmp_path):
    assert "not measured" in read(corpus)
    assert add_fidelity(corpus, measured(corpus, tmp_path / "f.json"))
    text = read(corpus)
    for name, value in FIGURES:
        assert row(text, name, "### Compared with gtzan")[0] == value
    assert row(text, "orchestral", "### Prompt adherence by genre") == ["65.0 % [64.0, 69.0]", "12"]
    gaps = page.plain(text[text.index("## Limitations") : text.index("## Intended use")])
    assert "Of gtzan (40 recordings), 44.0 % [43.0, 48.0] have a clip in their neighbourhood; 56.0 % have none" in gaps
    assert (
        "separates clips from recordings with an accuracy of 93.0 % [92.0, 97.0] (50 % is chance, p = 0.0013)" in gaps
    )
    assert (
        "40 clips are equivalent to 6.75 different ones (Vendi score), as many of gtzan to 13.5: a ratio of 0.50"
        in gaps
    )
    assert "2 of 60 clips are near-duplicates of a recording of gtzan" in gaps and "not measured" not in gaps
    assert not verify(corpus).faults


def test_a_floor_is_no_word_on_real_music(corpus, tmp_path):
    record = {"details": {"spec": "validation", "held_out": True}}
    side = {"name": "corpus, validation split", "kind": "corpus", "n": 10}
    add_fidelity(corpus, measured(corpus, tmp_path / "f.json", record=record, reference=side))
    text = read(corpus)
    assert "### Compared with its own validation split" in text and "say nothing about real music" in text
    assert "The distance from recordings is not measured" in text and "trained on the corpus itself" in text


def test_figures_left_out_are_not_invented(corpus, tmp_path):
    bare = {"manifold": None, "two_sample": None, "adherence": None, "text_audio": None, "genres": []}
    add_fidelity(corpus, measured(corpus, tmp_path / "f.json", **bare))
    text = read(corpus)
    assert not re.search("coverage|two-sample|adherence|own prompt|neighbourhood", text)
    assert row(text, "Fréchet distance", "### Compared with gtzan") and not page.ragged(text)


def test_the_same_again_is_no_news_and_another_reference_stands_beside(corpus, tmp_path):
    first = measured(corpus, tmp_path / "f.json")
    assert add_fidelity(corpus, first)
    before = {path: path.stat().st_mtime_ns for path in corpus.rglob("*") if path.is_file()}
    assert not add_fidelity(corpus, first)
    assert {path: path.stat().st_mtime_ns for path in corpus.rglob("*") if path.is_file()} == before
    folder = {"name": "/home/me/my music", "kind": "audio", "n": 7}
    add_fidelity(corpus, measured(corpus, tmp_path / "g.json", reference=folder, record={}))
    text = read(corpus)
    assert (
        text.index("### Compared with gtzan") < text.index("### Compared with my music") and not verify(corpus).faults
    )
    add_fidelity(corpus, measured(corpus, tmp_path / "g.json", reference={**folder, "n": 8}, record={}))
    assert [one["reference"]["n"] for one in json.loads((corpus / FIDELITY).read_text())["measurements"]] == [40, 8]


def test_stopped_before_the_sums_it_is_finished_the_next_time(corpus, tmp_path):
    sums = (corpus / "SHA256SUMS").read_bytes()
    add_fidelity(corpus, measured(corpus, tmp_path / "f.json"))
    (corpus / "SHA256SUMS").write_bytes(sums)
    assert verify(corpus).faults
    assert add_fidelity(corpus, tmp_path / "f.json") and not verify(corpus).faults


def test_new_embeddings_drop_the_figures_of_the_old(corpus, tmp_path):
    add_fidelity(corpus, measured(corpus, tmp_path / "f.json"))
    drawn = (corpus / "assets" / "clips.svg").stat().st_mtime_ns
    embed_corpus(corpus, EmbedderSettings(name="levels", weights="2"), overwrite=True)
    assert not (corpus / FIDELITY).exists() and "gtzan" not in read(corpus) and not verify(corpus).faults
    assert (corpus / "assets" / "clips.svg").stat().st_mtime_ns == drawn


def test_a_repaired_shard_keeps_the_figures_and_the_plots(corpus, tmp_path):
    add_fidelity(corpus, measured(corpus, tmp_path / "f.json"))
    before = {path.name: path.read_bytes() for path in (corpus / "assets").iterdir()}
    lost = corpus / "data" / "train-00001-of-00003.parquet"
    lost.unlink()
    (corpus / "assets" / "clips.svg").write_text("<svg/>")
    build(Recipe.load(corpus / "recipe.yaml"), corpus, workers=1)
    assert lost.exists() and "### Compared with gtzan" in read(corpus) and not verify(corpus).faults
    assert {path.name: path.read_bytes() for path in (corpus / "assets").iterdir()} == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"corpus": {"name": "c", "kind": "corpus", "n": 60, "fingerprint": "feed"}},
            "of a corpus of the recipe feed",
        ),
        ({"embedder": {"name": "passt", "revision": "1"}}, "'passt' embeddings, which are not in the corpus"),
        ({"embedder": {"name": "levels", "revision": "9"}}, "revision 9 of 'levels', the corpus has 1"),
        ({"frechet": {}}, "not a fidelity file: frechet.distance: Field required"),
        ({"diversity": {"corpus": "much", "reference": 1.0, "n": 4}}, "diversity.corpus"),
    ],
    ids=["corpus", "embedder", "revision", "missing", "words"],
)
def test_figures_of_something_else_are_refused(corpus, tmp_path, change, words):
    before = read(corpus)
    with pytest.raises(DataError, match=re.escape(words)):
        add_fidelity(corpus, measured(corpus, tmp_path / "f.json", **change))
    assert read(corpus) == before and not (corpus / FIDELITY).exists()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"schema": 2}', '{"schema": 1, "measurements": [{}]}'])
def test_a_spoilt_file_of_figures_says_what_to_do(corpus, content):
    (corpus / FIDELITY).write_text(content)
    with pytest.raises(DataError) as caught:
        write_card(corpus)
    assert FIDELITY in str(caught.value) and "delete" in caught.value.fix


def test_two_builds_have_the_same_pictures_and_the_same_card(made, tmp_path):
    again = tmp_path / "corpus"
    build(Recipe.load(made / "recipe.yaml"), again, clips_per_shard=20, workers=1)
    embed_corpus(again, LEVELS)
    assert len(list((made / "assets").iterdir())) == 4
    for path in (made / "assets").iterdir():
        assert (again / "assets" / path.name).read_bytes() == path.read_bytes()
    shutil.copytree(made / "records", again / "records", dirs_exist_ok=True)  # the seconds that it took
    write_card(again)
    assert read(again) == read(made)


def test_rejected_clips_are_counted_by_fault(recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("TONE_FAULT", "12345")
    build(recipe(per_genre=8, max_rejected=0.9, attempts=1), tmp_path / "corpus", clips_per_shard=40, workers=1)
    rejected = (tmp_path / "corpus" / "rejected.jsonl").read_text().splitlines()
    text = read(tmp_path / "corpus")
    share = 100 * len(rejected) / 40
    assert f"rejected {len(rejected)} of 40 clips ({share:.1f} %): loudness ({len(rejected)}), silence" in text


HOSTILE = "A | <b>x</b> `code` **bold** _it_ [l](http://x) $a$ ~~s~~\n# Head\n---\n| a | b |\x1b[31m &amp; \\| ]("


def test_prompts_and_names_cannot_break_it(tmp_path):
    genres = ("electronica", "funk", "orchestral", "pop", "rock")
    lines = [json.dumps({"genre": genre, "description": f"{n} {HOSTILE}"}) for genre in genres for n in range(2)]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines))
    (tmp_path / "r.yaml").write_text(
        "{name: mine, prompts: {total: 10, source: {kind: file, path: texts.jsonl}},"
        " generator: {name: tone, seconds: 1}, split: {validation: 0.3}}"
    )
    root = tmp_path / 'a "b" `c`\\d'
    build(Recipe.load(tmp_path / "r.yaml"), root, workers=1)
    text = read(root)
    assert not page.ragged(text) and not page.broken_links(text, root) and "<b>" not in page.html(text)
    prompts = pd.concat(pd.read_parquet(path, columns=["prompt"]) for path in sorted((root / "data").iterdir()))[
        "prompt"
    ]
    shown = [cells[1] for table in page.tables(text) if table[0] == ["genre", "prompt"] for cells in table[1:]]
    assert len(shown) == 5 and set(shown) <= {markdown.one_line(prompt) for prompt in prompts}
    assert f"load_dataset({json.dumps(root.name)})" in text


ODD = [
    "no",
    "1990",
    "R&B: soul",
    "a,b",
    "null",
    "yes",
    "1e3",
    "~",
    "#x",
    "🎸",
    'say "x"',
    "it's",
    "0o7",
    "1_000",
    "12:30",
    ".5e1",
]
ODD += [
    "2001-01-01",
    "=",
    "<<",
    "!tag",
    "&anchor",
    "- item",
    "[x]",
    "{y}",
    "%z",
    "@at",
    "`tick`",
    "007",
    "on",
    "a: b # c",
]


def with_genres(corpus, names):
    """The corpus as if others had made it, with these names of genres in the shards."""
    for path in corpus.rglob("*-of-*.parquet"):
        table = pq.read_table(path)
        features = datasets.Features.from_arrow_schema(table.schema)
        features["genre"] = datasets.ClassLabel(names=names)
        write_shard(path, [table.to_pylist()], features, read_footer(path))


def test_class_names_that_yaml_reads_as_other_things_stay_what_they_are(corpus):
    with_genres(corpus, ODD)
    write_card(corpus)
    loaded = yaml.safe_load(read(corpus).split("\n---\n")[0].removeprefix("---\n"))
    for info in loaded["dataset_info"]:
        genre = next(column for column in info["features"] if column["name"] == "genre")
        assert list(genre["dtype"]["class_label"]["names"].values()) == ODD
    card = DatasetCard.load(corpus / "README.md").data
    for name, info in DatasetInfosDict.from_dataset_card_data(card).items():
        assert info.features["genre"].names == ODD, name
    # YAML 1.2, which the Hub's page reads, takes more words for numbers than PyYAML does: those are quoted.
    assert all(f"'{name}'\n" in read(corpus) for name in ("1e3", "0o7", "007", ".5e1"))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=20), max_size=5))
def test_a_head_of_any_words_reads_back_or_is_refused(words):
    try:
        written = markdown.format_front_matter({"names": words})
    except DataError:
        return
    assert yaml.safe_load(written.removeprefix("---\n").removesuffix("---\n")) == {"names": words}


def test_a_head_that_reads_back_otherwise_is_not_written(corpus, monkeypatch):
    before = read(corpus)
    monkeypatch.setattr(markdown._Dumper, "represent_scalar", lambda self, tag, value, style=None: yaml.ScalarNode(
        "tag:yaml.org,2002:bool" if value == "no" else tag, value))  # fmt: skip
    with_genres(corpus, ODD)
    with pytest.raises(DataError, match=r"README\.md: dataset_info reads back from YAML as"):
        write_card(corpus)
    assert read(corpus) == before


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_words_are_shown_as_they_are(words):
    shown = markdown.one_line(words)
    table = page.tables(f"| a | b |\n|---|---|\n| {markdown.escape_text(words)} | {markdown.format_cell(words)} |\n")
    assert [cell.strip() for cell in table[0][1]] == [shown.strip(), shown.strip()]
    assert page.plain(f"So: {markdown.escape_text(words)}.") == f"So: {shown}."
    assert page.plain(f"So: {markdown.format_code(words)}.").strip() == f"So: {shown or '  '}."


def test_long_words_are_cut():
    assert markdown.escape_text("ab " * 200, 10) == "ab ab ab…"


def test_the_card_of_an_extended_corpus_describes_each_part(corpus, tmp_path):
    recipe = Recipe.load(corpus / "recipe.yaml").with_options({"prompts.per_genre": 14, "generator.seconds": 2.0})
    add_fidelity(corpus, measured(corpus, tmp_path / "f.json"))
    build(recipe, corpus, workers=1, extend=True)
    parts, text = Corpus.open(corpus).parts(), read(corpus)
    assert len(parts) == 2 and parts[1]["clips"] == 70
    first, second = (text[text.index(f"### Part {n}: ") :] for n in (1, 2))
    for part, section in ((parts[0], first), (parts[1], second)):
        assert row(section, "recipe fingerprint") == [part["fingerprint"]]
        assert row(section, "accepted / rejected clips") == [f"{part['clips']} / 0"]
    assert f"synthmir build recipes/{parts[0]['fingerprint']}/recipe.yaml --out corpus\n" in first
    assert "synthmir build recipe.yaml --out corpus --extend\n" in second
    assert "130 clips of 1 to 2 s (3.3 min)" in text and "### Compared with gtzan" not in text
    assert not page.ragged(text) and not page.broken_links(text, corpus)


def test_annotations_and_stems_are_described(tmp_path):
    keys = {"annotations": True, "stems": True}
    build(fakes.small_recipe(tmp_path, per_genre=2, generator="scored", **keys), tmp_path / "corpus", workers=1)
    card = (tmp_path / "corpus" / "README.md").read_text(encoding="utf-8")
    stems = pq.read_table(tmp_path / "corpus" / "stems")["stem"].to_pylist()
    assert "## Annotations\n\nWhat is played in each clip" in card and "| `beats` | list of {time: float64" in card
    assert f"| drums | {stems.count(0)} |" in card and "| melody | 10 |" in card and "| vocals | 0 |" in card
    assert '"annotations")  # what is played' in card and '"stems")  # the parts of each clip' in card
    described = {row.split("`")[1] for row in card.split("how exact |")[1].split("\n\n")[0].splitlines()[2:]}
    assert described == set(annotation_features()) - {"id"}
    assert all(row.count("|") == 5 and "| |" not in row for row in card.split("how exact |")[1].splitlines()[2:13])
    tags = parse_front_matter(card)["tags"]
    assert "beat-tracking" in tags and "music-source-separation" in tags and "stems" not in tags
    build(fakes.small_recipe(tmp_path, per_genre=3, seed=4), tmp_path / "corpus", extend=True, workers=1)
    assert "What is played in 10 of the 25 clips" in (tmp_path / "corpus" / "README.md").read_text(encoding="utf-8")
