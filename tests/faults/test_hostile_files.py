"""Size bombs, false headers, paths that leave the folder and hidden code: refused within limits; nothing is run."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import struct
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder import audio
from builder.audio import decode_audio, load_audio, stream_audio
from builder.corpus.building.extend import pin_shards
from builder.corpus.card import card
from builder.corpus.card.card import write_card
from builder.corpus.card.fidelity import drop_stale_measurements
from builder.corpus.corpus import Corpus
from builder.corpus.export.export import export_corpus
from builder.corpus.load import load_corpus
from builder.corpus.shards import Ledger
from builder.corpus.verify import verify
from builder.embedders.audio_sources import open_source
from builder.embedders.embed_corpus import embed_corpus
from builder.embedders.embedded_dataset import open_dataset
from builder.embedders.weights import find_weights_file, read_tensors
from builder.errors import MAX_LINE, BackendError, DataError, RecipeError, SynthmirError
from builder.hub.publishable import model_config
from builder.io import parquet_guard as parquet
from builder.io.hf_features import read_label_names
from builder.io.markdown import parse_front_matter
from builder.io.parquet_guard import check_parquet
from builder.io.safe_files import read_json, read_yaml
from builder.io.untrusted import refuse_code
from builder.prompts.sources import read_descriptions
from builder.recipe import Recipe
from builder.records import RunRecord
from builder.settings import EmbedderSettings, EvaluationSettings
from builder.taxonomy import Taxonomy
from evaluation.ablation import parse_vary
from evaluation.benchmarks.base import load_benchmark
from evaluation.benchmarks.mapping import find_mapping
from evaluation.explorer.clip_table import Clips
from evaluation.explorer.corpus_source import is_classifier
from evaluation.inference.embed_target import is_benchmark
from evaluation.inference.evaluated_model import EvaluatedModel, corpus_of
from evaluation.inference.validation_audio import validation_clips
from evaluation.reporting import example_clips as gallery
from evaluation.reporting import report
from training.card import figures as card_figures
from training.data.features import load_features
from training.data.splits import split_target
from training.models.classifier import load_model

from . import hostile_readers as seeds

TAXONOMY = Taxonomy.load("paper")


@contextmanager
def bounded(megabytes: float) -> Iterator[None]:
    """No more of Python's and numpy's memory than this is taken inside."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < megabytes * 1e6
    finally:
        tracemalloc.stop()


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    seeds.corpus(tmp_path / "corpus")
    return tmp_path / "corpus"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    seeds.model(tmp_path / "model")
    return tmp_path / "model"


# Audio ------------------------------------------------------------------------------------------------------------


def flac(samples: int, claimed: int, rate: int = 32_000) -> bytes:
    """Silence, whose STREAMINFO claims another length."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(samples, np.float32), rate, format="FLAC")
    data = bytearray(buffer.getvalue())
    data[21] = (
        data[21] & 0xF0 | claimed >> 32
    )  # 36 bits of total samples, at bit 4 of the eighteenth byte of the block
    data[22:26] = (claimed & 0xFFFFFFFF).to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize("claimed", [10 * 3600 * 32_000, (1 << 36) - 1])
def test_a_flac_that_claims_hours_takes_no_memory_for_them(claimed: int) -> None:
    bomb = flac(32_000, claimed)
    with bounded(60):
        with pytest.raises(DataError, match="is longer than the limit of 60 s"):
            decode_audio(bomb, seconds=60)
        for read in (lambda: load_audio(bomb, 32_000), lambda: np.concatenate(list(stream_audio(bomb, 16_000)))):
            try:
                assert len(read()) <= 32_000  # what is there
            except DataError as error:
                assert re.search("longer than|cannot be read|of the 1,152,000,000 samples", str(error))


def test_a_flac_that_does_not_say_its_length_is_read_in_bounds() -> None:
    with bounded(60):
        for read in (decode_audio, lambda data: (load_audio(data, 32_000),)):
            assert len(read(flac(96_000, 0))[0]) == 96_000


def test_what_is_held_at_once_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = flac(96_000, 96_000)
    assert decode_audio(sound)[0].shape == (96_000, 1)
    with pytest.raises(DataError, match="longer than the limit of 2 s"):
        decode_audio(sound, seconds=2)
    monkeypatch.setattr(audio, "MAX_HELD", 64_000)
    for read in (decode_audio, lambda data: load_audio(data, 32_000)):
        with pytest.raises(DataError, match="longer than"):
            read(sound)
    assert len(load_audio(sound, 32_000, seconds=1.5)) == 48_000


def test_silence_of_hours_in_kilobytes_is_streamed_in_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(1_800 * 8_000, np.int16), 8_000, format="FLAC")
    assert len(buffer.getvalue()) < 100_000  # half an hour
    monkeypatch.setattr(audio, "BLOCK_SECONDS", 10)
    with bounded(20):
        assert sum(len(block) for block in stream_audio(buffer.getvalue(), 8_000)) == 1_800 * 8_000
    monkeypatch.setattr(audio, "MAX_HOURS", 0.1)
    with pytest.raises(DataError, match="longer than the limit of 6 min"):
        list(stream_audio(buffer.getvalue(), 8_000))


def wav(rate: int = 16_000, channels: int = 1, size: int | None = None, samples: int = 16_000) -> bytes:
    """A WAV file of 16 bits with any header."""
    data = bytes(2 * samples)
    size = len(data) if size is None else size
    block = 2 * channels
    head = struct.pack("<HHIIHH", 1, channels, rate, min(rate * block, 2**32 - 1), block % 65_536, 16)
    return (
        b"RIFF"
        + struct.pack("<I", 36 + len(data))
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + head
        + b"data"
        + (struct.pack("<I", size) + data)
    )


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (wav(rate=1), "sampling rate is 1 Hz"),
        (wav(rate=2**31 - 1), "sampling rate is 2,147,483,647 Hz|cannot be read as audio"),
        (wav(rate=2**32 - 1), "sampling rate|cannot be read as audio"),
        (wav(channels=60_000), "cannot be read as audio|holds no samples"),
        (wav(samples=0, size=2**32 - 1), "holds no samples"),
    ],
    ids=["one-hertz", "gigahertz", "negative-rate", "channels", "empty"],
)
def test_false_headers_are_refused(data: bytes, words: str) -> None:
    with bounded(80):
        for read in (decode_audio, lambda one: load_audio(one, 32_000), lambda one: list(stream_audio(one, 32_000))):
            with pytest.raises(DataError, match=words):
                read(data)


def test_a_claim_of_gigabytes_gives_what_is_there() -> None:
    with bounded(20):
        assert len(decode_audio(wav(size=2**32 - 1))[0]) == 16_000
        assert len(load_audio(wav(channels=8, samples=80_000), 16_000)) == 10_000


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "zero.wav").symlink_to("/dev/zero")
    for name in ("pipe.wav", "zero.wav"):
        for read in (
            decode_audio,
            lambda path: load_audio(path, 32_000),
            lambda path: list(stream_audio(path, 32_000)),
        ):
            with pytest.raises(DataError, match="not a file"):
                read(tmp_path / name)
        with pytest.raises(RecipeError, match="not a file"):
            read_yaml(tmp_path / name)
        with pytest.raises(OSError, match="not a file"):
            read_json(tmp_path / name)


def test_long_audio_of_many_channels_is_decoded(tmp_path: Path) -> None:
    """Limits bound memory, not length: an hour, eight channels, 192 kHz."""
    path = tmp_path / "hour.flac"
    with soundfile.SoundFile(path, "w", 8_000, 1, "PCM_16") as file:
        for _ in range(60):
            file.write(np.zeros(60 * 8_000, np.int16))
    assert len(load_audio(path, 8_000)) == 3_600 * 8_000
    soundfile.write(tmp_path / "wide.wav", np.zeros((192_000, 8), np.float32), 192_000, subtype="PCM_24")
    assert len(load_audio(tmp_path / "wide.wav", 32_000)) == 32_000


# Parquet ----------------------------------------------------------------------------------------------------------

MANY = 3_000_000


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that small bombs are bombs."""
    monkeypatch.setattr(parquet, "SLACK", 16 << 20)
    monkeypatch.setattr(parquet, "PAGE_SLACK", 4 << 20)


def _bombs() -> dict[str, Callable[[Path], None]]:
    def words(path: Path) -> None:
        once = pa.DictionaryArray.from_arrays(pa.array(np.zeros(300_000, np.int32)), pa.array(["x" * 900_000]))
        pq.write_table(pa.table({"id": once}), path, dictionary_pagesize_limit=1 << 30)

    def nested(path: Path) -> None:
        once = pa.DictionaryArray.from_arrays(pa.array(np.zeros(300_000, np.int32)), pa.array(["x" * 900_000]))
        column = pa.StructArray.from_arrays([once], ["path"])
        pq.write_table(pa.table({"audio": column}), path, dictionary_pagesize_limit=1 << 30)

    def runs(path: Path) -> None:
        pq.write_table(pa.table({"genre": pa.array(np.zeros(MANY, np.int64))}), path)

    def lists(path: Path) -> None:
        values = pa.array(np.zeros(MANY * 4, np.float32))
        pq.write_table(pa.table({"embedding": pa.FixedSizeListArray.from_arrays(values, MANY // 10)}), path)

    def packed(path: Path) -> None:
        column = pa.array(["y" * 8_000_000])
        pq.write_table(pa.table({"id": column}), path, compression="zstd", use_dictionary=False)

    def prefixes(path: Path) -> None:
        column = pa.array(["z" * 100_000 + str(i) for i in range(500)])
        pq.write_table(pa.table({"id": column}), path, use_dictionary=False, column_encoding="DELTA_BYTE_ARRAY",
                       compression="none", data_page_size=1 << 30)  # fmt: skip

    return {"words": words, "nested": nested, "runs": runs, "lists": lists, "packed": packed, "prefixes": prefixes}


@pytest.mark.parametrize("kind", _bombs())
@pytest.mark.usefixtures("small_limits")
def test_parquet_that_unpacks_to_gigabytes_is_refused_unread(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "bomb.parquet"
    _bombs()[kind](path)
    assert path.stat().st_size < 5e6
    pool = pa.default_memory_pool()
    before = pool.bytes_allocated()
    with bounded(10), pytest.raises(DataError, match=r"unpacks? to|claims"):
        check_parquet(path)
    assert pool.bytes_allocated() - before < 20e6


def test_a_schema_of_ten_thousand_floors_is_refused(tmp_path: Path) -> None:
    kind: pa.DataType = pa.int32()
    for _ in range(60):
        kind = pa.struct([("a", kind)])
    pq.write_table(pa.table({"id": pa.array([None], kind)}), tmp_path / "deep.parquet", store_schema=False)
    with pytest.raises(DataError, match="nested more than 50 deep"):
        check_parquet(tmp_path / "deep.parquet")


def test_honest_parquet_passes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = pa.table({
        "id": [f"track-{i:06d}" for i in range(20_000)],
        "genre": pa.array(np.arange(20_000) // 10_000),
        "prompt": ["A very long text that is repeated. " * 20] * 20_000,
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(rng.random(20_000 * 8, np.float32)), 8),
        "nothing": pa.nulls(20_000, pa.string()),
    })  # fmt: skip
    for name, options in {
        "plain": {"use_dictionary": False, "compression": "none"}, "snappy": {}, "zstd": {"compression": "zstd"},
        "v2": {"data_page_version": "2.0"}, "groups": {"row_group_size": 100}, "delta": {
            "use_dictionary": False, "column_encoding": {"id": "DELTA_BYTE_ARRAY"}},
    }.items():  # fmt: skip
        pq.write_table(table, tmp_path / f"{name}.parquet", **options)
        check_parquet(tmp_path / f"{name}.parquet")
    pq.write_table(table.slice(0, 0), tmp_path / "empty.parquet")
    check_parquet(tmp_path / "empty.parquet")


def test_columns_that_are_not_read_are_not_checked(tmp_path: Path) -> None:
    column = pa.array(["y" * 90_000_000, "n"])
    pq.write_table(pa.table({"id": ["a", "b"], "notes": column}), tmp_path / "a.parquet", compression="zstd")
    check_parquet(tmp_path / "a.parquet", ["id"])
    with pytest.raises(DataError, match="notes"):
        check_parquet(tmp_path / "a.parquet")


def test_bombs_in_a_corpus_are_refused_by_its_readers(corpus: Path) -> None:
    once = pa.DictionaryArray.from_arrays(pa.array(np.zeros(300_000, np.int32)), pa.array(["x" * 900_000]))
    columns = {"id": once, "genre": pa.array(np.zeros(300_000, np.int64)), "prompt_group": once}
    columns["embedding"] = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(2_400_000, np.float32)), 8)
    pq.write_table(pa.table(columns), corpus / seeds.VECTORS[0], dictionary_pagesize_limit=1 << 30)
    with pytest.raises(DataError, match="unpack to over"):
        load_features(corpus, "melstats", "genre")
    seeds.right_sums(corpus)
    assert any(seeds.VECTORS[0] in fault for fault in verify(corpus).faults)
    (corpus / seeds.VECTORS[0]).replace(corpus.parent / "alone.parquet")
    with pytest.raises(DataError, match="unpack to over"):
        open_source(str(corpus.parent / "alone.parquet"), "audio", 10)


@pytest.mark.usefixtures("small_limits")
def test_bombs_are_refused_by_loading_exporting_and_the_explorer(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards of silence that unpack to far more than they are, each column right in kind and number."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", corpus.parent / "cache")
    shard = corpus / seeds.SHARDS[1]
    table = pq.read_table(shard)
    column = pa.array([{"bytes": bytes(40_000_000), "path": "a.flac"}] * len(table), table.schema.field("audio").type)
    bomb = table.set_column(table.schema.get_field_index("audio"), table.schema.field("audio"), column)
    pq.write_table(bomb, shard, compression="zstd", use_dictionary=False)
    assert shard.stat().st_size < 1e6
    seeds.right_sums(corpus)
    for read in (
        lambda: load_corpus(corpus),
        lambda: load_corpus(corpus, task="genre", streaming=True),
        lambda: export_corpus(corpus, "audiofolder", corpus.parent / "out"),
        lambda: Clips.open(str(corpus)),
        lambda: gallery.choose_examples(corpus, {}),
        lambda: write_card(corpus),
    ):
        with bounded(10), pytest.raises(DataError, match=r"unpacks? to|claims"):
            read()


def test_clips_of_hours_are_not_unpacked(corpus: Path) -> None:
    """Half an hour of silence in kilobytes stands where a clip should."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(1_800 * 32_000, np.int16), 32_000, format="FLAC")
    shard = corpus / seeds.SHARDS[1]
    table = pq.read_table(shard)
    kind = table.schema.field("audio")
    column = pa.array([{"bytes": buffer.getvalue(), "path": "a.flac"}] * len(table), kind.type)
    pq.write_table(table.set_column(table.schema.get_field_index("audio"), kind, column), shard)
    seeds.right_sums(corpus)
    rows = load_corpus(corpus, split="validation", streaming=True)
    batches = load_corpus(corpus, split="validation", streaming=True, task="genre")
    clips = Clips.open(str(corpus))
    for read in (
        lambda: next(iter(rows)),
        lambda: next(iter(batches)),
        lambda: export_corpus(corpus, "mirdata", corpus.parent / "out", audio="wav"),
        lambda: clips.decode_audio(len(clips) - 1),
    ):
        with bounded(60), pytest.raises(DataError, match="is longer than"):
            read()


def test_a_shard_of_numberless_others_is_counted_without_counting(corpus: Path) -> None:
    (corpus / seeds.SHARDS[0]).rename(corpus / f"data/train-00000-of-{10**15}.parquet")
    seeds.right_sums(corpus)
    with bounded(50):
        assert any(f"lacks shard 1 of {10**15}" in fault for fault in verify(corpus).faults)


# Words ------------------------------------------------------------------------------------------------------------

LAUGHS = "a: &a [lol, lol, lol]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True)
)
YAML_BOMBS = {
    "laughs": LAUGHS,
    "deep": "[" * 10_000,
    "deep-blocks": "\n".join(" " * i + "a:" for i in range(1_000)),
    "wide": "[" + "x," * 260_000 + "]",
    "digits": "a: " + "9" * 100_000,
    "sixties": "a: " + "1:" * 50_000 + "1",
    "hex": "a: 0x" + "f" * 100_000,
    "code": "a: !!python/object/apply:os.system ['touch ran']",
    "module": "a: !!python/module:os",
    "nul": "a: \0",
}


@pytest.mark.parametrize("kind", YAML_BOMBS)
def test_yaml_bombs_are_refused_by_all_that_read_yaml(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.yaml"
    path.write_text(YAML_BOMBS[kind])
    for read in (
        lambda: Recipe.load(path),
        lambda: Taxonomy.load("a.yaml", tmp_path),
        lambda: find_mapping([], ["rock"], ["pop"], str(path)),
    ):
        # In a mapping every scalar is text: a number of any length is a word there, and `a` no key.
        with pytest.raises(RecipeError, match=r"not valid YAML|a\.yaml: 2 problems\n  - map: missing"):
            read()
    assert [path.name for path in tmp_path.iterdir()] == ["a.yaml"]


@pytest.mark.parametrize("kind", YAML_BOMBS)
def test_yaml_bombs_in_a_card_or_a_corpus_are_refused(corpus: Path, kind: str) -> None:
    bomb = YAML_BOMBS[kind]
    (corpus / "README.md").write_text(f"---\n{bomb}\n---\n# Small\n")
    out = corpus.parent / "out"
    for read in (
        lambda: parse_front_matter((corpus / "README.md").read_text()),
        lambda: pin_shards(corpus),
        lambda: export_corpus(corpus, "mirdata", out),
    ):
        with pytest.raises(DataError, match=r"README.md: its YAML cannot be read"):
            read()
    (corpus / "recipe.yaml").write_text(bomb)
    with pytest.raises(RecipeError, match=r"recipe.yaml: not valid YAML"):
        write_card(corpus)
    with pytest.raises(RecipeError, match="is not KEY=VALUE"):
        parse_vary([f"training.hidden={bomb}"])


DEEP = "[" * 100_000


def test_deeply_nested_json_is_refused_by_every_reader(corpus: Path, model: Path) -> None:
    clips = Clips.open(str(corpus))
    for name, read in {
        "fidelity.json": drop_stale_measurements,
        "rejected.jsonl": card._count_faults,
        "records/embed-melstats.json": write_card,
        "records/build.json": write_card,
    }.items():
        (corpus / name).write_text(DEEP)
        with pytest.raises(DataError, match=Path(name).name):
            read(corpus)
    (model / "config.json").write_text(DEEP)
    (model / "scores.jsonl").write_text(DEEP)
    for read in (
        lambda: model_config(model),
        lambda: card_figures.read_json(model / "config.json"),
        lambda: report._json(model / "config.json"),
        lambda: report._lines(model / "scores.jsonl"),
    ):
        with pytest.raises(DataError, match=r"config\.json|scores\.jsonl"):
            read()
    assert not is_classifier(model)
    assert read_label_names({b"huggingface": DEEP.encode()}) == {}
    (corpus / "records/build.json").write_text(DEEP)
    assert clips._read_record("records/build.json") == {}


def test_a_hundred_thousand_faults_are_counted_and_few_are_worded(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("name: a\nprompts: {total: 1}\n" + "".join(f"k{i}: 1\n" for i in range(5_000)))
    with pytest.raises(RecipeError, match=r"5,000 problems") as error:
        Recipe.load(path)
    assert len(str(error.value)) < 5_000
    (tmp_path / "d.csv").write_text("genre,description\n" + "polka,x\n" * 3_000)
    with pytest.raises(RecipeError, match=r"nothing was read behind|and 98. more"):
        read_descriptions(tmp_path / "d.csv", TAXONOMY)
    (tmp_path / "d.jsonl").write_text(
        json.dumps({"genre": "pop", "description": "x", "instruments": ["y" * 9] * 9_000})
    )
    with pytest.raises(RecipeError, match="y"):
        read_descriptions(tmp_path / "d.jsonl", TAXONOMY)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("d.jsonl", '{"genre": "pop", "description": "' + "x" * 3_000_000 + '"}'),
        ("d.csv", 'genre,description\npop,"' + "x" * 3_000_000 + '"\n'),
        ("d.csv", 'genre,description\npop,"' + "x\n" * 3_000_000),
        ("d.jsonl", '{"a":' * 50_000),
        ("d.jsonl", '{"genre": "pop", "description": "\\ud800"}'),
    ],
    ids=["long-json", "long-csv", "endless-csv", "deep-json", "half-a-letter"],
)
def test_descriptions_that_are_none(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with bounded(60), pytest.raises(RecipeError):
        read_descriptions(tmp_path / name, TAXONOMY)


@pytest.mark.parametrize("path", ["../a.jsonl", "/tmp/a.jsonl", "b/../../a.jsonl"])
def test_a_recipe_does_not_say_where_else_to_write(tmp_path: Path, path: str) -> None:
    source = {"kind": "chat", "model": "m", "path": path}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump({"name": "a", "prompts": {"total": 1, "source": source}}))
    with pytest.raises(RecipeError, match=r"within the recipe.s folder"):
        Recipe.load(tmp_path / "r.yaml")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KEYS = (
    "name",
    "taxonomy",
    "prompts",
    "generator",
    "quality",
    "split",
    "embedder",
    "training",
    "evaluation",
    "ablation",
)
CONFIG = ("id2label", "label2id", "hidden", "embedder", "examples", "neighbors", "threshold", "problem_type", "task",
          "dtype", "architectures", "_attn_implementation")  # fmt: skip
HERE = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@HERE
@given(st.dictionaries(st.sampled_from(KEYS), JSON, max_size=5))
def test_any_recipe_is_read_or_refused(tmp_path: Path, data: dict[str, Any]) -> None:
    base = {"name": "a", "prompts": {"total": 1}}
    (tmp_path / "r.yaml").write_text(json.dumps(base | data))
    try:
        Recipe.load(tmp_path / "r.yaml").fingerprint()
    except RecipeError as error:
        assert len(str(error)) < 20_000


@HERE
@given(st.dictionaries(st.sampled_from(CONFIG), JSON))
def test_any_config_is_a_model_or_refused(tmp_path: Path, data: dict[str, Any]) -> None:
    if not (tmp_path / "good.json").exists():
        seeds.model(tmp_path)
        shutil.copy(tmp_path / "config.json", tmp_path / "good.json")
    config = json.loads((tmp_path / "good.json").read_text()) | data
    (tmp_path / "config.json").write_text(json.dumps(config))
    with contextlib.suppress(DataError):
        load_model(tmp_path)


@HERE
@given(
    st.dictionaries(st.sampled_from(("command", "fingerprint", "rows", "details", "versions", "wall_seconds")), JSON)
)
def test_any_record_is_read_or_refused(tmp_path: Path, data: dict[str, Any]) -> None:
    (tmp_path / "r.json").write_text(json.dumps(data))
    try:
        found = RunRecord.read(tmp_path / "r.json")
    except (ValueError, TypeError):
        return
    assert isinstance(found.details, dict) and isinstance(found.rows, int)


# Corpora ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "data/../../outside"])
def test_sums_that_name_files_elsewhere(corpus: Path, name: str) -> None:
    with (corpus / "SHA256SUMS").open("a") as file:
        file.write(f"{'0' * 64}  {name}\n")
    for read in (verify, lambda path: Corpus.open(path).sums(), lambda path: embed_corpus(path, EmbedderSettings())):
        with pytest.raises(DataError, match="line 9 names a file outside"):
            read(corpus)


@pytest.mark.parametrize("folder", [".work", "records", "melstats"])
def test_nothing_is_written_through_links_in_a_corpus(corpus: Path, tmp_path: Path, folder: str) -> None:
    outside = tmp_path / "outside"
    (corpus / folder).rename(outside) if (corpus / folder).exists() else outside.mkdir()
    (outside / ".precious.part").write_text("mine")
    (corpus / folder).symlink_to(outside, target_is_directory=True)
    before = {path: path.stat().st_mtime_ns for path in outside.rglob("*")}
    with pytest.raises(DataError, match="is a link to another place"):
        embed_corpus(corpus, EmbedderSettings(), overwrite=True)
    assert {path: path.stat().st_mtime_ns for path in outside.rglob("*")} == before


def test_a_corpus_of_links_to_files_is_read(corpus: Path, tmp_path: Path) -> None:
    """As the Hub's cache lays them out: each file a link to a blob elsewhere."""
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    for number, path in enumerate(sorted(p for p in corpus.rglob("*") if p.is_file())):
        path.rename(blobs / str(number))
        path.symlink_to(blobs / str(number))
    assert not verify(corpus).faults
    assert load_features(corpus, "melstats", "genre").train.ids


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "5", "[]", '{"details": 5}', "\xff", '{"details": {"generator": []}}']
)
def test_records_that_are_none(corpus: Path, text: str) -> None:
    (corpus / "records/build.json").write_bytes(text.encode("latin-1"))
    seeds.right_sums(corpus)
    for read in (verify, lambda path: embed_corpus(path, EmbedderSettings(), overwrite=True)):
        try:
            read(corpus)
        except SynthmirError as error:
            assert "build.json" in str(error) or "records" in str(error)


def test_a_ledger_of_nonsense_is_no_ledger(tmp_path: Path) -> None:
    lines = [
        "[" * 100_000,
        '{"name": 1}',
        "\xff\xfe",
        '{"name": [], "sha256": {}, "seconds": "x", "rows": null, "source": 1}',
    ]
    (tmp_path / "ledger.jsonl").write_text("\n".join(lines), encoding="latin-1")
    assert Ledger(tmp_path).entries == {}


# Models -----------------------------------------------------------------------------------------------------------


def safetensors(header: dict[str, Any] | bytes, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def one(shape: list[int], offsets: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


LIES = {
    "length": safetensors({}, length=1 << 63),
    "length-of-the-file": safetensors({}, bytes(100), length=200),
    "beyond": safetensors(one([4], [0, 16]), bytes(8)),
    "huge": safetensors(one([1 << 40, 1 << 20], [0, 16]), bytes(16)),
    "overflow": safetensors(one([1 << 62, 8], [0, 16]), bytes(16)),
    "backwards": safetensors(one([4], [16, 0]), bytes(16)),
    "negative": safetensors(one([-4], [0, 16]), bytes(16)),
    "overlap": safetensors({"a": one([4], [0, 16])["a"], "b": one([4], [8, 24])["a"]}, bytes(24)),
    "hole": safetensors(one([2], [8, 16]), bytes(16)),
    "dtype": safetensors(one([4], [0, 16], "F64"), bytes(16)),
    "kind": safetensors(one([4], [0, 16], "object"), bytes(16)),
    "deep": safetensors(b"[" * 100_000),
    "megabytes": safetensors(b" " * (9 << 20)),
    "no-json": safetensors(b"\xff\xfe{}"),
}


class Code:
    """What a pickle would run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("ran",)


def pickled() -> bytes:
    import pickle

    return pickle.dumps({"a": Code()})


@pytest.mark.parametrize("kind", [*LIES, "pickle"])
def test_safetensors_that_lie(model: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = pickled() if kind == "pickle" else LIES[kind]
    (model / "model.safetensors").write_bytes(data)
    with bounded(40):
        with pytest.raises(DataError, match=r"model.safetensors: (damaged|does not fit)"):
            load_model(model)
        with pytest.raises(BackendError, match="not a file of weights"):
            read_tensors(model / "model.safetensors")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["w.pt", "w.bin", "w.ckpt"])
def test_pickles_are_not_run(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.chdir(tmp_path)
    for write in (lambda path: torch.save({"a": Code()}, path), lambda path: path.write_bytes(pickled())):
        write(tmp_path / name)
        with pytest.raises(BackendError, match="none was loaded"):
            read_tensors(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_arrays_of_objects_are_not_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from evaluation.inference.embedding_cache import _read

    monkeypatch.chdir(tmp_path)
    objects = np.array([Code()], dtype=object)
    np.savez(tmp_path / "h.npz", vectors=objects, starts=np.array([0, 1]), reasons=np.array([""]))
    assert _read(tmp_path / "h.npz", 1) is None
    assert not (tmp_path / "ran").exists()


MAN_IN_THE_CONFIG = {
    "auto_map": {"AutoConfig": "trap.Trap", "AutoModel": "trap.Trap", "AutoModelForAudioClassification": "trap.Trap"},
    "_attn_implementation": "somebody/kernel",
    "attn_implementation": "somebody/kernel",
    "_attn_implementation_internal": "somebody/kernel",
    "experts_implementation": "somebody/kernel",
    "configuration_files": ["config.4.0.json", "../config.4.0.json"],
    "custom_pipelines": {"audio-classification": {"impl": "trap.Trap", "pt": ["AutoModel"]}},
    "trust_remote_code": True,
    "_commit_hash": "../../x",
    "torch_dtype": "__import__('os')",
    "dtype": None,
    "to_dict": 5,
    "__class__": "trap.Trap",
}


@pytest.mark.parametrize("key", MAN_IN_THE_CONFIG)
def test_a_config_that_names_code_runs_none(model: Path, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands open an untrusted folder; nothing in it is imported, whatever it names."""
    monkeypatch.chdir(model)
    monkeypatch.syspath_prepend(str(model))
    (model / "trap.py").write_text("import os; os.mkdir('ran')\n")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {key: MAN_IN_THE_CONFIG[key]}))
    candidate = EvaluatedModel.load(model, EvaluationSettings())
    assert candidate.labels == ["electronica", "funk"]
    assert "trap" not in sys.modules and not (model / "ran").exists()
    assert "somebody/kernel" not in repr(candidate.model.config.__dict__)


@pytest.mark.parametrize("key", ["_attn_implementation", "attn_implementation", "configuration_files"])
@pytest.mark.parametrize("inner", [False, True])
def test_a_checkpoint_that_names_code_is_refused(tmp_path: Path, key: str, inner: bool) -> None:
    inner_config = {key: MAN_IN_THE_CONFIG[key]}
    if key == "configuration_files":
        (tmp_path / "config.4.0.json").write_text("{}")
    config = {"model_type": "bert", **({"audio_config": inner_config} if inner else inner_config)}
    (tmp_path / "config.json").write_text(json.dumps(config))
    if key == "configuration_files" and not inner:  # transformers follows it, within the folder
        return
    with pytest.raises(BackendError, match=f"names code to be loaded: {key}"):
        refuse_code(str(tmp_path))


def test_a_checkpoint_with_its_own_code_is_neither_run_nor_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from builder.embedders.huggingface import HuggingFace

    (tmp_path / "trap.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    auto = {"AutoConfig": "trap.Trap", "AutoModel": "trap.Trap", "AutoFeatureExtractor": "trap.Trap"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "strange", "auto_map": auto}))
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"feature_extractor_type": "Trap", "auto_map": auto})
    )
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked"))
    with pytest.raises(BackendError, match="cannot be loaded"):
        HuggingFace(EmbedderSettings(name=f"hf:{tmp_path}"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "changes",
    [{"hidden": [10**12]}, {"hidden": [1 << 24] * 3}, {"embedder": {"name": "melstats", "dim": 10**12}},
     {"hidden": [4] * 100_000}, {"examples": 1 << 24, "neighbors": 3}, {"id2label": {"0": "a", "1": "b", "2": "c"}},
     {"id2label": {str(i): str(i) for i in range(100_001)}}],
    ids=["wide", "wide-and-deep", "dim", "deep", "examples", "labels", "many-labels"],
)  # fmt: skip
def test_a_config_of_a_giant_takes_no_memory(model: Path, changes: dict[str, Any]) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | changes))
    with bounded(300), pytest.raises(DataError, match=r"describes no model|does not fit"):
        load_model(model)


@pytest.mark.parametrize(
    "text", ["", "[]", "5", "[" * 100_000, '{"command": "train", "details": []}', '{"command": "train", "rows": "x"}',
             '{"command": "train", "spare": 1}', "\x00"],
)  # fmt: skip
def test_a_training_record_of_nonsense(model: Path, text: str) -> None:
    (model / "training.json").write_text(text)
    with pytest.raises(DataError, match=r"training.json: not a run record"):
        EvaluatedModel.load(model, EvaluationSettings())


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_kill_just_before_the_sums_are_written_is_made_good(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    """Its embeddings stand in their place then, its record too, and only SHA256SUMS does not know of them."""
    from builder.embedders import embed_corpus as mapping

    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    shutil.rmtree(corpus / "melstats")
    (corpus / "records/embed-melstats.json").unlink()
    seeds.right_sums(corpus)
    if overwrite:
        embed_corpus(corpus, EmbedderSettings())
        monkeypatch.setattr(mapping.load_embedder(EmbedderSettings()).__class__, "revision", "older")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("builder.corpus.shard_map.write_sums", killed)
        embed_corpus(corpus, EmbedderSettings(), overwrite=overwrite)
    embed_corpus(corpus, EmbedderSettings(), overwrite=overwrite)
    assert verify(corpus).faults == []
    assert verify(corpus).embeddings == {"melstats": 6}


# What the long fuzz found -----------------------------------------------------------------------------------------

NAMELESS = {"long": "x" * 5000, "deep": "/".join(["y" * 200] * 40), "half-a-letter": "\ud800", "nul": "a\0b"}


@pytest.mark.parametrize("kind", NAMELESS)
def test_names_that_no_file_can_have(model: Path, tmp_path: Path, kind: str) -> None:
    name = NAMELESS[kind]
    recipe = Recipe.model_validate({"name": "a", "prompts": {"per_genre": 1}})
    described = {"prompts.source": {"kind": "file", "path": name}}
    record = RunRecord("train", seeds.FINGERPRINT, rows=6, details={"corpus": name})
    reads: list[Callable[[], object]] = [
        lambda: Taxonomy.load(name, tmp_path),
        lambda: recipe.with_options(described).source_file(),
        lambda: corpus_of(record, model, None),
        lambda: load_features(tmp_path / name, "melstats", "genre"),
        lambda: open_dataset(tmp_path / name, "melstats"),
        lambda: open_source(f"./{name}", "audio", 10),
        lambda: find_weights_file(name),
        lambda: Corpus.open(tmp_path / name),
        lambda: load_benchmark(f"folder:{name}", ["a", "b"], "genre").recordings,
        lambda: load_benchmark(name, ["a", "b"], "genre"),
        lambda: find_mapping([], ["jazz"], ["funk", "pop"], name),
    ]
    for read in reads:
        with pytest.raises(SynthmirError) as raised:
            read()
        str(raised.value).encode()  # it can be printed
        assert len(raised.value.message) < 2 * MAX_LINE
    assert not is_benchmark(name)


def test_messages_are_of_bounded_lines_and_can_be_written() -> None:
    error = DataError(f"a\ud800b: {'x' * 10**6}\nsecond {'y' * 100}", "z" * 10**6)
    str(error).encode()
    assert error.message.startswith("a\\ud800b: xxx")
    assert error.message.splitlines()[1] == f"second {'y' * 100}"
    assert max(map(len, str(error).splitlines())) < MAX_LINE + 20
    assert DataError("short", "é ☃").fix == "é ☃"


@pytest.mark.parametrize("value", [{}, [], {"a": 1}], ids=["mapping", "list", "full"])
def test_a_task_that_is_no_word(tmp_path: Path, value: object) -> None:
    recipe = {"name": "a", "prompts": {"per_genre": 1}, "training": {"task": value}}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe))
    with pytest.raises(RecipeError, match=r"training\.task: input should be a valid string"):
        Recipe.load(tmp_path / "r.yaml")


@pytest.mark.parametrize(
    ("key", "value"), [("rows", [[]]), ("rows", None), ("fingerprint", 3), ("wall_seconds", "long"), ("details", [])]
)  # fmt: skip
def test_a_wrong_type_in_a_record_is_reported_with_its_key(corpus: Path, key: str, value: object) -> None:
    path = corpus / "records/build.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(DataError, match=f"build.json: not a run record: {key} is {type(value).__name__}"):
        verify(corpus)


@pytest.mark.parametrize(("key", "value"), [("embedder", ["melstats"]), ("augment", None), ("generator", "none")])
def test_a_wrong_type_in_details_is_reported_with_its_key(corpus: Path, key: str, value: object) -> None:
    path = corpus / "records/embed-melstats.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"details": record["details"] | {key: value}}))
    with pytest.raises(DataError, match=rf"not a run record: details\.{key} is {type(value).__name__}"):
        embed_corpus(corpus, EmbedderSettings(name="melstats"), overwrite=True)


def test_texts_that_are_none_in_embeddings(corpus: Path) -> None:
    file = corpus / seeds.VECTORS[0]
    data = file.read_bytes()
    assert data.count(b"train-0") > 1
    file.write_bytes(data.replace(b"train-0", b"train\xff0"))
    with pytest.raises(DataError, match="Invalid UTF8"):
        split_target(open_dataset(corpus, "melstats"))


def test_clips_whose_columns_are_not_what_they_say(corpus: Path) -> None:
    file = corpus / seeds.SHARDS[1]
    sound = pq.read_table(file)
    place = sound.column_names.index("genre")

    def clips(table: pa.Table) -> Any:
        pq.write_table(table.replace_schema_metadata(sound.schema.metadata), file)
        return validation_clips(corpus, ["electronica", "funk"], "genre", 10, 0)

    assert clips(sound).tracks
    for value in (2**21, -2):
        labels = pa.array([value] * len(sound), sound.schema.field("genre").type)
        with pytest.raises(DataError, match=f"a label is {value}, and there are names for"):
            clips(sound.set_column(place, sound.schema.field("genre"), labels))
    paths = pa.array([{"path": "a.flac"}] * len(sound))
    with pytest.raises(DataError, match="column 'audio' holds struct"):
        clips(sound.set_column(sound.column_names.index("audio"), "audio", paths))
    nothing = pa.nulls(len(sound), sound.schema.field("audio").type)
    assert all(track.data is None for track in clips(sound.set_column(1, sound.schema.field("audio"), nothing)).tracks)


def test_arrow_files_whose_lists_and_texts_lie_outside(tmp_path: Path) -> None:
    seeds._dataset_seed(tmp_path)
    file = tmp_path / seeds.ARROW[0]
    data = file.read_bytes()
    offsets = {"texts": b"".join(struct.pack("<i", i) for i in (0, 2, 4, 6)),
               "lists": b"".join(struct.pack("<i", i) for i in (0, 2, 4, 6))}  # fmt: skip
    texts = data.index(offsets["texts"])
    lists = data.index(offsets["lists"], texts + 4)
    for at in (texts, lists):
        file.write_bytes(data[: at + 8] + struct.pack("<i", 0x3272_0000) + data[at + 12 :])
        for read in (
            lambda: load_features(tmp_path, "melstats", "genre"),
            lambda: open_dataset(tmp_path, "melstats"),
            lambda: open_source(str(tmp_path), "embedding", 10),
        ):
            with pytest.raises(DataError, match="cannot be loaded as a data set: Column"):
                read()
    file.write_bytes(data)
    open_dataset(tmp_path, "melstats")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("metadata.csv", "file_name,te\0mpo\nb.flac,1\n", "the name of column 'te.x00mpo' holds NUL"),
        ("metadata.jsonl", f'{{"file_name": "b.flac", "tempo": {"9" * 60}}}\n', "columns cannot be converted"),
        ("metadata.jsonl", '{"file_name": "b.flac", "x": 1}\n{"file_name": "a", "x": "y"}\n', "cannot be converted"),
        ("metadata.jsonl", '{"file_name": "b.flac", "x": "\\ud800"}\n', "line 1: holds half of a surrogate pair"),
        ("metadata.jsonl", '{"file_name": ["b.flac"]}\n', "line 1: has no file_name"),
        ("metadata.parquet", "PAR1 and no more", "not a readable Parquet file"),
    ],
    ids=["nul", "digits", "two-types", "half-a-letter", "a-list", "no-parquet"],
)
def test_a_metadata_table_that_datasets_cannot_hold(tmp_path: Path, name: str, text: str, words: str) -> None:
    seeds._metadata_seed(tmp_path)
    (tmp_path / "metadata.csv").unlink()
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=words):
        open_source(str(tmp_path), "audio", 10)


def test_files_called_by_numbers_find_their_line(tmp_path: Path) -> None:
    seeds._metadata_seed(tmp_path)
    (tmp_path / "metadata.csv").write_text("file_name,tempo\n1,120\n2,90\n")
    assert len(next(iter(open_source(str(tmp_path), "audio", 10).values()))) == 2


@pytest.mark.parametrize(
    ("card", "words"),
    [(b"---\nlicense: \xff\n---\n", "cannot be read"), (b"---\nlicense: !!binary aGVsbG8=\n---\n", None)],
    ids=["bytes", "binary"],
)
def test_the_exporter_refuses_a_card_that_is_not_text(corpus: Path, card: bytes, words: str | None) -> None:
    (corpus / "README.md").write_bytes(card)
    seeds.right_sums(corpus)
    with pytest.raises(DataError, match=words) if words else contextlib.nullcontext():
        export_corpus(corpus, "mirdata", corpus.parent / "out")


def test_columns_called_by_no_text_and_shards_that_differ(corpus: Path) -> None:
    file = corpus / seeds.SHARDS[1]
    data = file.read_bytes()
    file.write_bytes(data.replace(b"prompt_group", b"prompt\xffgroup"))
    seeds.right_sums(corpus)
    for read in (lambda: export_corpus(corpus, "mirdata", corpus.parent / "out"), lambda: Clips.open(corpus)):
        with pytest.raises(DataError, match=r"not a readable Parquet file|cannot be read"):
            read()
    file.write_bytes(data)
    table = pq.read_table(file)
    place = table.column_names.index("genre")
    pq.write_table(table.set_column(place, "genre", table["genre"].cast(pa.string())).replace_schema_metadata(), file)
    with pytest.raises(DataError, match="its shards differ in their columns"):
        Clips.open(corpus)


def test_a_record_of_another_version_is_gone_on_with(corpus: Path) -> None:
    path = corpus / "records/embed-melstats.json"
    first = embed_corpus(corpus, EmbedderSettings(name="melstats"), overwrite=True)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"spare": 1}))
    seeds.right_sums(corpus)
    assert embed_corpus(corpus, EmbedderSettings(name="melstats")) == first


def test_a_card_by_hand_is_no_hindrance(corpus: Path) -> None:
    for text in (
        "---\nlicense: mit\n---\n",
        "---\nconfigs: 3\n---\n",
        "---\nconfigs: [{config_name: melstats}]\n---\n",
    ):
        (corpus / "README.md").write_text(text)
        (corpus / seeds.VECTORS[0]).unlink()
        embed_corpus(corpus, EmbedderSettings(name="melstats"), overwrite=True)
        assert "melstats" in (corpus / "README.md").read_text()


def test_columns_that_only_the_card_reads(corpus: Path) -> None:
    file = corpus / seeds.SHARDS[1]
    metadata = pq.read_metadata(file).row_group(0)
    columns = [metadata.column(number) for number in range(metadata.num_columns)]
    [prompt] = [column for column in columns if column.path_in_schema == "prompt"]
    data, start = bytearray(file.read_bytes()), prompt.dictionary_page_offset or prompt.data_page_offset
    last = start + prompt.total_compressed_size
    data[last - 6 : last] = b"\xff" * 6  # of its last page, not of a header
    file.write_bytes(data)
    seeds.right_sums(corpus)
    with pytest.raises(DataError, match=rf"{file.name}: not a readable Parquet file"):
        embed_corpus(corpus, EmbedderSettings(name="melstats"), overwrite=True)
