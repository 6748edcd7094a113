"""The table of clips: labels, filters, audio that is read when needed, embeddings and neighbours."""

from __future__ import annotations

import io
import json
import shutil
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
from builder.errors import DataError
from evaluation.explorer.clip_labels import sample_evenly
from evaluation.explorer.clip_table import Clips
from evaluation.explorer.comparison import compare_corpora
from evaluation.explorer.corpus_source import CorpusFolder
from evaluation.explorer.thumbnail import render_thumbnail

from ..conftest import FINGERPRINT, GENRES, INSTRUMENTS, NASTY, PLAYED
from .explored import SHARDS, rewrite

RANGES = st.none() | st.tuples(st.none() | st.integers(80, 160), st.none() | st.integers(80, 160))


def test_label_names_in_the_order_of_the_shards(corpus: Path, rows: list[dict[str, Any]]):
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
    assert table["mood"].isna().all() and table["loudness"].isna().all()  # columns that this corpus does not have
    assert clips.facets() == {
        "genre": list(GENRES), "subgenre": [], "mood": [], "instruments": list(INSTRUMENTS), "vocals": [],
        "split": ["train", "validation"],
    }  # fmt: skip
    summary = clips.summary
    assert (summary.clips, summary.seconds, summary.generator, summary.fingerprint) == (27, 27.0, "sines", FINGERPRINT)


def test_large_seeds_and_missing_labels(corpus_copy: Path):
    seeds = [2**63 - 1 - i for i in range(18)]

    def change(table: pa.Table) -> pa.Table:
        genre = pa.array([None, -1, 99, *table["genre"].to_pylist()[3:]], pa.int64())
        table = table.set_column(table.schema.get_field_index("seed"), "seed", pa.array(seeds))
        return table.set_column(table.schema.get_field_index("genre"), "genre", genre)

    rewrite(corpus_copy / SHARDS[0], change)
    table = Clips.open(corpus_copy).table
    assert table["seed"].tolist()[:18] == seeds
    assert table["genre"].isna().tolist()[:4] == [True, True, True, False]


def test_audio_is_what_the_shards_hold(corpus: Path, rows: list[dict[str, Any]]):
    clips, few = Clips.open(corpus), Clips.open(corpus, limit=7)
    stored = {row["id"]: row["audio"]["bytes"] for row in rows}
    for opened in (clips, few):
        ids = opened.table["id"].tolist()
        assert [opened.read_audio(position) for position in reversed(range(len(opened)))] == [
            (stored[identity], ".flac") for identity in reversed(ids)
        ]
        assert [data for data, _ in opened.read_all_audio()] == [stored[identity] for identity in ids]
    samples, rate = clips.decode_audio(0)
    assert (rate, samples.shape, samples.dtype) == (32_000, (32_000,), np.float32)
    for wrong in (-1, 27):
        with pytest.raises(DataError, match="there is no clip"):
            clips.read_audio(wrong)


def test_audio_is_read_only_when_needed_and_cached(corpus: Path, monkeypatch: pytest.MonkeyPatch):
    read: list[tuple[str, int, int]] = []

    class CountingFile(io.FileIO):
        def read(self, size: int = -1) -> bytes:
            start = self.seek(0, io.SEEK_CUR)
            data = super().read(size)
            read.append((str(self.name), start, start + len(data)))
            return data

        def readinto(self, buffer: Any) -> int:  # Arrow may call this instead
            raise AssertionError("bytes are not counted here")

    @contextmanager
    def open_counting(self: CorpusFolder, name: str) -> Iterator[Any]:
        with CountingFile(str(self.root / name), "rb") as handle:
            yield handle

    def audio_bytes_read() -> int:
        """How many bytes of the audio columns were read so far."""
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

    monkeypatch.setattr(CorpusFolder, "open", open_counting)
    clips = Clips.open(corpus)
    clips.facets(), clips.summary, clips.filter(text="rock"), clips.find_neighbours(0), clips.no_embeddings_reason
    assert read and audio_bytes_read() == 0
    clips.read_audio(0)
    assert audio_bytes_read() > 0
    before = audio_bytes_read()
    clips.read_audio(0)
    assert audio_bytes_read() == before  # cached


@pytest.fixture(scope="module")
def clips(corpus: Path) -> Clips:
    return Clips.open(corpus)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    genre=st.lists(st.sampled_from(GENRES), max_size=2),
    instruments=st.lists(st.sampled_from(INSTRUMENTS), max_size=2),
    split=st.sampled_from(["", "train", "validation"]),
    tempo=RANGES,
    text=st.sampled_from(["", "ROCK", "track script", "-3", "no such words"]),
)
def test_filter_equals_a_loop_over_the_rows(
    clips: Clips, genre: list[str], instruments: list[str], split: str, tempo: Any, text: str
):
    positions = clips.filter(genre=genre, instruments=instruments, split=split, tempo=tempo, text=text)
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
    assert positions.tolist() == expected


def test_ranges_leave_out_clips_without_a_value(clips: Clips):
    assert len(clips.filter(loudness=(None, None))) == 27
    assert len(clips.filter(loudness=(-99, 99))) == 0
    assert len(clips.filter(genre="no such genre")) == 0


@settings(deadline=None)
@given(st.lists(st.sampled_from("abc"), max_size=40), st.integers(1, 45))
def test_a_limit_is_divided_evenly_among_genres(genres: list[str], limit: int):
    chosen = sample_evenly(genres, limit)
    assert len(chosen) == min(limit, len(genres)) and sorted(set(chosen.tolist())) == chosen.tolist()
    there, taken = Counter(genres), Counter(genres[row] for row in chosen)
    open_ones = [taken[name] for name in there if taken[name] < there[name]]
    assert all(count <= min(open_ones) + 1 for count in taken.values()) if open_ones else len(chosen) == len(genres)


def test_embeddings_are_joined_by_id(corpus_copy: Path):
    expected = Clips.open(corpus_copy).embeddings
    assert expected is not None
    table = pq.read_table(corpus_copy / "melstats/train-00000-of-00001.parquet")
    stored = dict(zip(table["id"].to_pylist(), table["embedding"].to_pylist(), strict=True))
    rewrite(corpus_copy / "melstats/train-00000-of-00001.parquet", lambda table: table.take(list(reversed(range(18)))))
    embeddings = Clips.open(corpus_copy).embeddings
    assert embeddings is not None and embeddings[0] == "melstats" and embeddings[1].dtype == np.float32
    np.testing.assert_array_equal(embeddings[1], expected[1])
    np.testing.assert_array_equal(embeddings[1][5], np.float32(stored[Clips.open(corpus_copy).table["id"][5]]))
    few = Clips.open(corpus_copy, limit=5)
    assert few.embeddings is not None
    row = Clips.open(corpus_copy).table["id"].tolist().index(few.table["id"][3])
    np.testing.assert_array_equal(few.embeddings[1][3], expected[1][row])


def test_embeddings_of_degraded_audio_are_not_used(corpus_copy: Path):
    shutil.copytree(corpus_copy / "melstats", corpus_copy / "a-augmented")
    (corpus_copy / "records/embed-a-augmented.json").write_text(json.dumps({"details": {"augment": ["noise:20"]}}))
    write_sums(corpus_copy, {})
    embeddings = Clips.open(corpus_copy).embeddings
    assert embeddings is not None and embeddings[0] == "melstats"


def test_neighbours_equal_scikit_learns(clips: Clips):
    assert clips.embeddings is not None
    scaled = StandardScaler().fit_transform(clips.embeddings[1].astype(np.float64))
    peer = NearestNeighbors(metric="cosine").fit(scaled)
    distances, indices = peer.kneighbors(scaled, 6)
    for position in range(len(clips)):
        neighbours = clips.find_neighbours(position, 5)
        assert [other for other, _ in neighbours] == indices[position, 1:].tolist()
        np.testing.assert_allclose([cosine for _, cosine in neighbours], 1 - distances[position, 1:], atol=1e-5)
    assert len(clips.find_neighbours(0, 100)) == 26


def test_a_repeated_clip_is_a_duplicate(corpus_copy: Path):
    def change(table: pa.Table) -> pa.Table:
        rows = table["embedding"].to_pylist()
        rows[4] = rows[11]
        at = table.schema.get_field_index("embedding")
        return table.set_column(at, table.schema.field(at), pa.array(rows, table.schema.field(at).type))

    before = Clips.open(corpus_copy).find_duplicates()
    rewrite(corpus_copy / "melstats/train-00000-of-00001.parquet", change)
    pairs = Clips.open(corpus_copy).find_duplicates()
    assert (4, 11) in [pair[:2] for pair in pairs] and (4, 11) not in [pair[:2] for pair in before]
    assert pairs[0][:2] == (4, 11) and pairs[0][2] == pytest.approx(1)
    assert len(Clips.open(corpus_copy).find_duplicates(similarity=-1.0)) > len(pairs)


def test_the_reason_for_missing_embeddings(corpus_copy: Path):
    rewrite(corpus_copy / "melstats/validation-00000-of-00001.parquet", lambda table: table.slice(1))
    part = Clips.open(corpus_copy)
    assert part.embeddings is None and "has no embedding of some clips" in part.no_embeddings_reason
    shutil.rmtree(corpus_copy / "melstats")
    clips = Clips.open(corpus_copy)
    assert clips.embeddings is None and clips.map_points() is None
    assert clips.find_neighbours(0) == [] and clips.find_duplicates() == []
    assert "synthmir embed" in clips.no_embeddings_reason
    assert compare_corpora(Clips.open(corpus_copy), clips).reason == clips.no_embeddings_reason


def test_a_thumbnail_shows_a_tone_at_its_frequency():
    time = np.arange(64_000) / 32_000
    picture = Image.open(io.BytesIO(render_thumbnail(np.float32(0.5 * np.sin(2 * np.pi * 1_000 * time)), 32_000)))
    assert picture.format == "PNG" and picture.size[1] == 96 and picture.size[0] <= 480
    shade = np.asarray(picture.convert("L"), int)
    low, high, tone = (2595 * np.log10(1 + hertz / 700) for hertz in (40, 14_000, 1_000))  # the HTK mel scale
    band = 97 * (tone - low) / (high - low) - 1
    assert abs((95 - shade[:, shade.shape[1] // 2].argmax()) - band) <= 1
    assert Image.open(io.BytesIO(render_thumbnail(np.zeros(10, np.float32), 32_000))).size[1] == 96
