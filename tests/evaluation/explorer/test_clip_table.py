"""A corpus to look through: the labels as they were written, sound read when asked for, neighbours and map."""

from __future__ import annotations

import io
import json
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from builder.corpus.corpus import write_sums
from builder.errors import DataError, HubError, RecipeError
from evaluation.explorer import layout
from evaluation.explorer.clip_table import Clips
from evaluation.explorer.corpus_source import Folder
from evaluation.explorer.labels import evenly
from evaluation.explorer.picture import thumbnail

from ...builder.hub.loopback_hub import LoopbackHub
from ..conftest import FINGERPRINT, GENRES, INSTRUMENTS, NASTY, PLAYED

SHARDS = ("data/train-00000-of-00001.parquet", "data/validation-00000-of-00001.parquet")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def rows(corpus: Path) -> list[dict[str, Any]]:
    return [row for shard in SHARDS for row in pq.read_table(corpus / shard).to_pylist()]


@pytest.fixture
def copy(corpus: Path, tmp_path: Path) -> Path:
    """A corpus to spoil."""
    return Path(shutil.copytree(corpus, tmp_path / "copy"))


def rewrite(path: Path, change: Any) -> None:
    """A shard with its table changed, its schema's metadata kept."""
    table = pq.read_table(path)
    new = change(table)
    pq.write_table(new.replace_schema_metadata(table.schema.metadata), path)


def test_labels_are_words_in_the_order_of_the_shards(corpus: Path, rows: list[dict[str, Any]]):
    clips = Clips.open(corpus)
    table = clips.table
    assert len(clips) == len(rows) == 27
    assert table["id"].tolist() == [row["id"] for row in rows]
    assert table["genre"].tolist() == [GENRES[row["genre"]] for row in rows]
    assert table["prompt"].tolist() == [row["prompt"] for row in rows] and NASTY in set(table["prompt"])
    assert table["instruments"].tolist() == [tuple(INSTRUMENTS[i] for i in PLAYED[row["genre"]]) for row in rows]
    assert table["tempo_bpm"].tolist() == [row["tempo_bpm"] for row in rows]
    assert table["seed"].tolist() == [row["seed"] for row in rows]
    assert table["split"].tolist() == ["train"] * 18 + ["validation"] * 9
    assert table["mood"].isna().all() and table["loudness"].isna().all()  # columns that this corpus has not
    assert clips.facets() == {
        "genre": list(GENRES), "subgenre": [], "mood": [], "instruments": list(INSTRUMENTS), "vocals": [],
        "split": ["train", "validation"],
    }  # fmt: skip
    told = clips.source
    assert (told.clips, told.seconds, told.generator, told.fingerprint) == (27, 27.0, "sines", FINGERPRINT)


def test_large_seeds_and_missing_words_come_through(copy: Path):
    seeds = [2**63 - 1 - i for i in range(18)]

    def change(table: pa.Table) -> pa.Table:
        genre = pa.array([None, -1, 99, *table["genre"].to_pylist()[3:]], pa.int64())
        table = table.set_column(table.schema.get_field_index("seed"), "seed", pa.array(seeds))
        return table.set_column(table.schema.get_field_index("genre"), "genre", genre)

    rewrite(copy / SHARDS[0], change)
    table = Clips.open(copy).table
    assert table["seed"].tolist()[:18] == seeds
    assert table["genre"].isna().tolist()[:4] == [True, True, True, False]


def test_sound_is_what_the_shards_hold(corpus: Path, rows: list[dict[str, Any]]):
    clips, few = Clips.open(corpus), Clips.open(corpus, limit=7)
    stored = {row["id"]: row["audio"]["bytes"] for row in rows}
    for opened in (clips, few):
        ids = opened.table["id"].tolist()
        assert [opened.audio(position) for position in reversed(range(len(opened)))] == [
            (stored[identity], ".flac") for identity in reversed(ids)
        ]
        assert [data for data, _ in opened.sounds()] == [stored[identity] for identity in ids]
    samples, rate = clips.samples(0)
    assert (rate, samples.shape, samples.dtype) == (32_000, (32_000,), np.float32)
    for wrong in (-1, 27):
        with pytest.raises(DataError, match="there is no clip"):
            clips.audio(wrong)


def test_no_sound_is_read_until_it_is_asked_for(corpus: Path, monkeypatch: pytest.MonkeyPatch):
    read: list[tuple[str, int, int]] = []

    class Counting(io.FileIO):
        def read(self, size: int = -1) -> bytes:
            start = self.tell()
            data = super().read(size)
            read.append((str(self.name), start, start + len(data)))
            return data

        def readinto(self, buffer: Any) -> int:  # the way that Arrow may take instead
            raise AssertionError("not counted")

    @contextmanager
    def counted(self: Folder, name: str) -> Iterator[Any]:
        with Counting(str(self.root / name), "rb") as handle:
            yield handle

    def heard() -> int:
        """Bytes of the columns of audio read so far."""
        total = 0
        for shard in SHARDS:
            group = pq.read_metadata(corpus / shard).row_group(0)
            columns = [group.column(i) for i in range(group.num_columns)]
            chunk = next(c for c in columns if c.path_in_schema == "audio.bytes")
            begin = chunk.dictionary_page_offset or chunk.data_page_offset
            end = begin + chunk.total_compressed_size
            for name, low, high in read:
                if name == str(corpus / shard):
                    total += max(0, min(high, end) - max(low, begin))
        return total

    monkeypatch.setattr(Folder, "open", counted)
    clips = Clips.open(corpus)
    clips.facets(), clips.source, clips.filter(text="rock"), clips.neighbours(0), clips.why
    assert read and heard() == 0
    clips.audio(0)
    assert heard() > 0
    before = heard()
    clips.audio(0)
    assert heard() == before  # kept


@pytest.fixture(scope="module")
def clips(corpus: Path) -> Clips:
    return Clips.open(corpus)


RANGES = st.none() | st.tuples(st.none() | st.integers(80, 160), st.none() | st.integers(80, 160))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    genre=st.lists(st.sampled_from(GENRES), max_size=2),
    instruments=st.lists(st.sampled_from(INSTRUMENTS), max_size=2),
    split=st.sampled_from(["", "train", "validation"]),
    tempo=RANGES,
    text=st.sampled_from(["", "ROCK", "track script", "-3", "no such words"]),
)
def test_filtering_is_what_it_says(
    clips: Clips, genre: list[str], instruments: list[str], split: str, tempo: Any, text: str
):
    found = clips.filter(genre=genre, instruments=instruments, split=split, tempo=tempo, text=text)
    low, high = tempo or (None, None)
    expected = [
        position
        for position, row in enumerate(clips.table.to_dict("records"))
        if (not genre or row["genre"] in genre)
        and (not instruments or set(instruments) & set(row["instruments"]))
        and (not split or row["split"] == split)
        and (low is None or row["tempo_bpm"] >= low)
        and (high is None or row["tempo_bpm"] <= high)
        and all(word in f"{row['id']} {row['prompt']}".lower() for word in text.lower().split())
    ]
    assert found.tolist() == expected


def test_clips_without_a_number_are_not_in_a_range_of_it(clips: Clips):
    assert len(clips.filter(loudness=(None, None))) == 27
    assert len(clips.filter(loudness=(-99, 99))) == 0
    assert len(clips.filter(genre="no such genre")) == 0


@settings(deadline=None)
@given(st.lists(st.sampled_from("abc"), max_size=40), st.integers(1, 45))
def test_a_limit_is_shared_evenly(genres: list[str], limit: int):
    chosen = evenly(genres, limit)
    assert len(chosen) == min(limit, len(genres)) and sorted(set(chosen.tolist())) == chosen.tolist()
    there, taken = Counter(genres), Counter(genres[row] for row in chosen)
    open_ones = [taken[name] for name in there if taken[name] < there[name]]
    assert all(count <= min(open_ones) + 1 for count in taken.values()) if open_ones else len(chosen) == len(genres)


def test_embeddings_are_joined_by_id_whatever_their_order(copy: Path):
    expected = Clips.open(copy).embeddings
    assert expected is not None
    table = pq.read_table(copy / "melstats/train-00000-of-00001.parquet")
    stored = dict(zip(table["id"].to_pylist(), table["embedding"].to_pylist(), strict=True))
    rewrite(copy / "melstats/train-00000-of-00001.parquet", lambda table: table.take(list(reversed(range(18)))))
    found = Clips.open(copy).embeddings
    assert found is not None and found[0] == "melstats" and found[1].dtype == np.float32
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_array_equal(found[1][5], np.float32(stored[Clips.open(copy).table["id"][5]]))
    few = Clips.open(copy, limit=5)
    assert few.embeddings is not None
    row = Clips.open(copy).table["id"].tolist().index(few.table["id"][3])
    np.testing.assert_array_equal(few.embeddings[1][3], expected[1][row])


def test_damaged_copies_are_no_embeddings_of_their_own(copy: Path):
    shutil.copytree(copy / "melstats", copy / "a-augmented")
    (copy / "records/embed-a-augmented.json").write_text(json.dumps({"details": {"augment": ["noise:20"]}}))
    write_sums(copy, {})
    found = Clips.open(copy).embeddings
    assert found is not None and found[0] == "melstats"


def test_neighbours_are_those_of_scikit_learn(clips: Clips):
    assert clips.embeddings is not None
    scaled = StandardScaler().fit_transform(clips.embeddings[1].astype(np.float64))
    peer = NearestNeighbors(metric="cosine").fit(scaled)
    distances, places = peer.kneighbors(scaled, 6)
    for position in range(len(clips)):
        found = clips.neighbours(position, 5)
        assert [place for place, _ in found] == places[position, 1:].tolist()
        np.testing.assert_allclose([cosine for _, cosine in found], 1 - distances[position, 1:], atol=1e-5)
    assert len(clips.neighbours(0, 100)) == 26


def test_a_clip_that_is_there_twice_is_a_duplicate(copy: Path):
    def change(table: pa.Table) -> pa.Table:
        rows = table["embedding"].to_pylist()
        rows[4] = rows[11]
        at = table.schema.get_field_index("embedding")
        return table.set_column(at, table.schema.field(at), pa.array(rows, table.schema.field(at).type))

    before = Clips.open(copy).duplicates()
    rewrite(copy / "melstats/train-00000-of-00001.parquet", change)
    pairs = Clips.open(copy).duplicates()
    assert (4, 11) in [pair[:2] for pair in pairs] and (4, 11) not in [pair[:2] for pair in before]
    assert pairs[0][:2] == (4, 11) and pairs[0][2] == pytest.approx(1)
    assert len(Clips.open(copy).duplicates(similarity=-1.0)) > len(pairs)


def test_the_map_is_the_same_each_time_and_kept(corpus: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
    points = Clips.open(corpus).map()
    assert points is not None and points.shape == (27, 2) and points.dtype == np.float32
    assert points.min() == -1 and points.max() == 1
    (file,) = (cache / "synthmir/maps").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(layout, "lay_out", lambda vectors: pytest.fail("it was kept"))
        again = Clips.open(corpus).map()
        assert again is not None
        np.testing.assert_array_equal(again, points)
    file.write_bytes(b"\x93NUMPY torn")
    made = Clips.open(corpus).map()
    assert made is not None
    np.testing.assert_array_equal(made, points)
    genre = Clips.open(corpus).table["genre"].to_numpy()
    centres = {name: points[genre == name].mean(axis=0) for name in GENRES}
    nearest = [min(GENRES, key=lambda name: np.hypot(*(point - centres[name]))) for point in points]
    assert np.mean(nearest == genre) > 0.9  # sounds that differ by ear lie apart


def test_without_a_cache_there_is_a_map_all_the_same(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a file"))
    assert Clips.open(corpus).map() is not None


def test_beyond_the_landmarks_clips_go_to_their_like(monkeypatch: pytest.MonkeyPatch):
    random = np.random.default_rng(0)
    centres = 20 * random.standard_normal((3, 16))
    of = random.integers(0, 3, 200)
    vectors = np.float32(centres[of] + random.standard_normal((200, 16)))
    monkeypatch.setattr(layout, "LANDMARKS", 40)
    points = layout.lay_out(vectors)
    assert np.isfinite(points).all() and np.abs(points).max() <= 1
    middles = np.stack([np.median(points[of == index], axis=0) for index in range(3)])
    told = np.argmin(((points[:, None] - middles) ** 2).sum(axis=2), axis=1)
    assert (told == of).all()
    np.testing.assert_array_equal(points, layout.lay_out(vectors))


def test_clips_that_are_all_alike_have_a_map():
    points = layout.lay_out(np.ones((5, 8), np.float32))
    assert np.isfinite(points).all() and len(np.unique(points, axis=0)) == 5


def test_without_embeddings_a_word_says_why(copy: Path):
    rewrite(copy / "melstats/validation-00000-of-00001.parquet", lambda table: table.slice(1))
    part = Clips.open(copy)
    assert part.embeddings is None and "has no embedding of some clips" in part.why
    shutil.rmtree(copy / "melstats")
    clips = Clips.open(copy)
    assert clips.embeddings is None and clips.map() is None
    assert clips.neighbours(0) == [] and clips.duplicates() == []
    assert "synthmir embed" in clips.why and Clips.open(copy).compare(clips).why == clips.why


def test_a_corpus_and_itself_do_not_differ(corpus: Path):
    found = Clips.open(corpus).compare(Clips.open(corpus))
    assert (found.labels["this"] == found.labels["other"]).all()
    assert found.labels.set_index(["column", "label"])["this"]["genre", "Rock"] == pytest.approx(1 / 3)
    assert found.labels.set_index(["column", "label"])["this"]["instruments", "drums"] == pytest.approx(2 / 3)
    tempo = found.levels.set_index("what").loc["tempo_bpm"]
    assert tempo["this median"] == tempo["other median"] == 120
    values = dict(zip(found.distances["figure"], found.distances["value"], strict=True))
    assert values["Fréchet distance"] == pytest.approx(0, abs=1e-3)
    assert values["precision"] == values["recall"] == 1
    assert found.map is not None and found.map.shape == (54, 2)
    assert found.side.tolist() == [0] * 27 + [1] * 27 and found.positions.tolist() == [*range(27), *range(27)]


def test_embeddings_of_two_embedders_are_not_compared(corpus: Path, copy: Path, tmp_path: Path):
    other = Path(shutil.copytree(corpus, tmp_path / "other"))
    (copy / "melstats").rename(copy / "passt")
    found = Clips.open(corpus).compare(Clips.open(copy))
    assert "melstats and of passt cannot be compared" in found.why
    assert found.map is None and found.distances.empty and len(found.labels) > 0
    (copy / "passt").rename(copy / "melstats")
    for folder, revision in ((copy, "1"), (other, "2")):
        record = {"details": {"embedder": {"name": "melstats", "revision": revision}}}
        (folder / "records/embed-melstats.json").write_text(json.dumps(record))
    assert "two revisions of melstats (1, 2)" in Clips.open(copy).compare(Clips.open(other)).why
    assert Clips.open(corpus).compare(Clips.open(copy)).why == ""  # one of them does not say its revision


def test_a_picture_shows_the_pitch_where_it_is():
    time = np.arange(64_000) / 32_000
    picture = Image.open(io.BytesIO(thumbnail(np.float32(0.5 * np.sin(2 * np.pi * 1_000 * time)), 32_000)))
    assert picture.format == "PNG" and picture.size[1] == 96 and picture.size[0] <= 480
    shade = np.asarray(picture.convert("L"), int)
    low, high, tone = (2595 * np.log10(1 + hertz / 700) for hertz in (40, 14_000, 1_000))  # the HTK mel scale
    band = 97 * (tone - low) / (high - low) - 1
    assert abs((95 - shade[:, shade.shape[1] // 2].argmax()) - band) <= 1
    assert Image.open(io.BytesIO(thumbnail(np.zeros(10, np.float32), 32_000))).size[1] == 96


def test_a_run_has_its_model_and_a_corpus_the_one_beside_it(corpus: Path, model: Path, tmp_path: Path):
    run = tmp_path / "my run"
    shutil.copytree(corpus, run / "corpus")
    assert Clips.open(run).model is None and not Clips.open(run).source.has_model
    shutil.copytree(model, run / "model")
    for place in (run, run / "corpus"):
        clips = Clips.open(place)
        assert clips.model == run / "model" and clips.source.has_model and clips.source.name == "my run"
    with pytest.raises(RecipeError):
        _ = clips.recipe  # the miniature's is none


def test_a_corpus_in_an_object_store_is_opened_too(corpus: Path, rows: list[dict[str, Any]]):
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.put(str(corpus), "/bucket/my run/corpus", recursive=True)
    clips = Clips.open("memory://bucket/my run")
    assert clips.source.name == "my run" and clips.table.equals(Clips.open(corpus).table)
    assert clips.audio(20)[0] == rows[20]["audio"]["bytes"] and clips.embeddings is not None
    memory.rm("/bucket", recursive=True)


def test_a_corpus_that_has_grown_has_all_its_parts(copy: Path):
    for config in ("data", "melstats"):
        (copy / config / "train-p01-00000-of-00001.parquet").write_bytes(
            (copy / config / "validation-00000-of-00001.parquet").read_bytes()
        )
        (copy / config / "validation-00000-of-00001.parquet").unlink()
    clips = Clips.open(copy)
    assert clips.table["split"].tolist() == ["train"] * 27 and clips.embeddings is not None


@pytest.mark.parametrize("case", ["absent", "empty", "unfinished", "model", "file", "name", "torn", "lost"])
def test_what_is_no_corpus_is_refused(case: str, copy: Path, model: Path, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    place, message = {
        "absent": (str(tmp_path / "nowhere"), "there is no such folder"),
        "empty": (str(tmp_path / "empty"), "not a synthmir corpus"),
        "unfinished": (str(copy), "not finished"),
        "model": (str(model), "is a model, not a corpus"),
        "file": (str(copy / "recipe.yaml"), "is a file"),
        "name": ("not a name", "no name on the Hub"),
        "torn": (str(copy), "not a readable Parquet file"),
        "lost": (str(copy), r"1 shard\(s\) of train, of \[2\]"),
    }[case]
    if case == "unfinished":
        (copy / ".work").mkdir()
        (copy / ".work/state.json").write_text("{}")
    elif case == "torn":
        (copy / SHARDS[0]).write_bytes((copy / SHARDS[0]).read_bytes()[:5_000])
    elif case == "lost":
        (copy / SHARDS[0]).rename(copy / "data/train-00001-of-00002.parquet")
    with pytest.raises(DataError, match=message):
        Clips.open(place)


def test_no_file_is_opened_by_the_name_beside_the_bytes(copy: Path):
    secret = copy.parent / "secret.flac"
    secret.write_bytes(b"not yours")

    def change(table: pa.Table) -> pa.Table:
        rows = table["audio"].to_pylist()
        rows[0] = {"bytes": None, "path": str(secret)}
        rows[1] = {"bytes": rows[1]["bytes"], "path": "../../x.<b>"}
        at = table.schema.get_field_index("audio")
        return table.set_column(at, table.schema.field(at), pa.array(rows, table.schema.field(at).type))

    rewrite(copy / SHARDS[0], change)
    clips = Clips.open(copy)
    with pytest.raises(DataError, match="holds no sound"):
        clips.audio(0)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    from huggingface_hub import constants

    (tmp_path / "hub").mkdir()
    server = LoopbackHub(tmp_path / "hub")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.endpoint + template)
    monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    yield server
    server.stop()
    assert not server.problems, server.problems


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_repository_is_opened_without_its_audio(corpus: Path, hub: LoopbackHub, rows: list[dict[str, Any]]):
    hub.add_repo("dataset", "org/mini", files_of(corpus))
    clips, local = Clips.open("org/mini"), Clips.open(corpus)
    assert clips.table.equals(local.table) and clips.facets() == local.facets()
    assert clips.source.kind == "hub" and clips.source.fingerprint == FINGERPRINT and not clips.source.has_model
    assert [place for place, _ in clips.neighbours(3)] == [place for place, _ in local.neighbours(3)]
    served = sum(hub.served[shard] for shard in SHARDS)
    audio = sum(len(row["audio"]["bytes"]) for row in rows)
    assert served < 0.25 * audio
    assert clips.audio(20) == local.audio(20) and clips.audio(0) == local.audio(0)
    assert sum(hub.served[shard] for shard in SHARDS) > served
    hub.push(hub.repos["dataset", "org/mini"], {SHARDS[0]: b"changed meanwhile"})
    assert clips.audio(17) == local.audio(17)  # it stays at the commit that was opened


def test_the_model_that_a_card_links_is_fetched(corpus: Path, model: Path, hub: LoopbackHub):
    card = "# mini\n\nA classifier that was trained on it: [org/mini-genre](https://hub/org/mini-genre).\n"
    hub.add_repo("dataset", "org/mini", files_of(corpus) | {"README.md": card.encode()})
    hub.add_repo("model", "org/mini-genre", files_of(model))
    clips = Clips.open("org/mini")
    assert clips.source.has_model
    assert clips.model is not None
    assert (clips.model / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()


def test_a_hub_that_falls_silent_is_told(corpus: Path, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch):
    hub.add_repo("dataset", "org/mini", files_of(corpus))
    clips = Clips.open("org/mini")
    hub.stop()
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with pytest.raises(HubError, match="read org/mini/data"):
        clips.audio(0)


def test_what_the_hub_has_not_is_told(hub: LoopbackHub):
    hub.add_repo("dataset", "org/other", {"readme.txt": b"words"})
    with pytest.raises(HubError, match="404"):
        Clips.open("org/absent")
    with pytest.raises(DataError, match="not a corpus"):
        Clips.open("org/other")
