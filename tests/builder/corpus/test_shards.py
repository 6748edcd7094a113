from __future__ import annotations

import errno
import os
import shutil
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Features, Value

from builder.corpus import shards
from builder.corpus.shards import WORK, Entry, Ledger, hash_file, open_shard, read_footer, write_shard
from builder.errors import DataError
from builder.io import parquet_guard as parquet
from builder.io.locks import lock_folder
from builder.io.parquet_guard import read_batches

from ...warm import WarmProcess

FEATURES = Features({"id": Value("string"), "n": Value("int32")})


def rows(*numbers: int) -> list[dict[str, object]]:
    return [{"id": str(n), "n": n} for n in numbers]


def test_a_shard_is_read_back_with_its_features_and_footer(tmp_path):
    import datasets

    write_shard(tmp_path / "a.parquet", [rows(1, 2), rows(3)], FEATURES, {"made": 3})
    back = datasets.Dataset.from_parquet(str(tmp_path / "a.parquet"), cache_dir=str(tmp_path / "cache"))
    assert back.features == FEATURES
    assert back["n"][:] == [1, 2, 3]
    assert read_footer(tmp_path / "a.parquet") == {"made": 3}


LONG = Features({"id": Value("string"), "audio": {"bytes": Value("binary"), "path": Value("string")}})


def long_rows(*sizes: int) -> list[dict[str, object]]:
    return [{"id": str(n), "audio": {"bytes": bytes([n]) * size, "path": f"{n}.flac"}} for n, size in enumerate(sizes)]


def group_rows(path) -> list[int]:
    metadata = pq.read_metadata(path)
    return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]


def test_row_groups_of_small_rows_are_as_version_0_1_wrote_them(tmp_path):
    write_shard(tmp_path / "a.parquet", [long_rows(*[1000] * 150)], LONG, {})
    assert group_rows(tmp_path / "a.parquet") == [64, 64, 22]


def test_row_groups_of_large_rows_are_cut_by_bytes_however_batches_come(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "ROW_GROUP_BYTES", 1000)
    made = long_rows(400, 400, 100, 400, 1500, 10, 10, *[1] * 70)
    for name, size in (("a", 1), ("b", 3), ("c", len(made))):
        batches = [made[start : start + size] for start in range(0, len(made), size)]
        write_shard(tmp_path / name, batches, LONG, {})
    assert group_rows(tmp_path / "a") == [3, 1, 1, 64, 8]  # texts count, too: ids, paths
    assert len({hash_file(tmp_path / name) for name in "abc"}) == 1
    assert pq.read_table(tmp_path / "a")["id"].to_pylist() == [row["id"] for row in made]


def test_memory_is_that_of_a_row_group_and_a_batch(tmp_path, monkeypatch):
    """64 rows of 4 MB, and row groups and batches of 8 MB: written and read with a tenth of them held at once."""
    monkeypatch.setattr(shards, "ROW_GROUP_BYTES", 8 << 20)
    monkeypatch.setattr(parquet, "BATCH_BYTES", 8 << 20)
    rng = np.random.default_rng(0)

    def one_by_one():
        for n in range(64):
            yield [{"id": str(n), "audio": {"bytes": rng.bytes(4 << 20), "path": f"{n}.flac"}}]

    previous = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(previous)
    pa.set_memory_pool(pool)
    tracemalloc.start()
    try:
        write_shard(tmp_path / "a.parquet", one_by_one(), LONG, {})
        written = pool.max_memory() + tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        pool = pa.proxy_memory_pool(previous)
        pa.set_memory_pool(pool)
        batches = [len(batch.to_pylist()) for batch in read_batches(tmp_path / "a.parquet", 16, ["id", "audio"])]
        read = pool.max_memory() + tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(previous)
    assert batches == [1] * 64 and group_rows(tmp_path / "a.parquet")[:2] == [1, 1]
    assert written < 40 << 20 and read < 40 << 20, (written, read)


@pytest.mark.parametrize("size", [1, 5, 16, 48, 64, 100, 1000])
def test_batches_are_those_of_arrow_itself(tmp_path, size):
    write_shard(tmp_path / "a.parquet", [long_rows(*[10] * 150)], LONG, {})
    wanted = [batch.to_pylist() for batch in pq.ParquetFile(tmp_path / "a.parquet").iter_batches(size)]
    assert [batch.to_pylist() for batch in read_batches(tmp_path / "a.parquet", size)] == wanted


def test_rows_of_some_ids_are_read(tmp_path):
    write_shard(tmp_path / "a.parquet", [long_rows(*[10] * 100)], LONG, {})
    found = [
        row["id"]
        for batch in read_batches(tmp_path / "a.parquet", 30, ["id"], ["7", "70"])
        for row in batch.to_pylist()
    ]
    assert found == ["7", "70"]


def test_a_shard_that_fails_leaves_nothing(tmp_path):
    def groups():
        yield rows(1)
        raise RuntimeError("generator died")

    with pytest.raises(RuntimeError, match="generator died"):
        write_shard(tmp_path / "a.parquet", groups(), FEATURES, {})
    assert list(tmp_path.iterdir()) == []


def test_the_footer_may_be_known_after_the_last_row(tmp_path):
    with open_shard(tmp_path / "a.parquet", FEATURES) as shard:
        shard.write(rows(1, 2))
        shard.write(rows(3))
        assert not (tmp_path / "a.parquet").exists()
        shard.footer = {"rejected": ["4"]}
    assert read_footer(tmp_path / "a.parquet") == {"rejected": ["4"]}
    write_shard(tmp_path / "b.parquet", [rows(1, 2), rows(3)], FEATURES, {"rejected": ["4"]})
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_an_empty_shard_is_a_shard(tmp_path):
    write_shard(tmp_path / "a.parquet", [[]], FEATURES, {"planned": 1})
    assert read_footer(tmp_path / "a.parquet") == {"planned": 1}


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet at all" * 100])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"a.parquet: not a readable shard"):
        read_footer(tmp_path / "a.parquet")


def test_the_ledger_survives_a_torn_line(tmp_path):
    ledger = Ledger(tmp_path)
    (tmp_path / "one").write_text("1")
    ledger.add(Entry("one", hash_file(tmp_path / "one"), 1.0, 5, "source"))
    with ledger.path.open("a") as handle:
        handle.write('{"name": "two", "sha')
    again = Ledger(tmp_path)
    assert again.has_intact(tmp_path, "one", "source") and not again.has_intact(tmp_path, "two", "source")
    again.add(Entry("three", "0" * 64, 1.0, 5, "source"))
    assert set(Ledger(tmp_path).entries) == {"one", "three"}


def test_an_entry_is_intact_only_with_its_bytes_and_its_source(tmp_path):
    ledger = Ledger(tmp_path)
    (tmp_path / "one").write_text("1")
    ledger.add(Entry("one", hash_file(tmp_path / "one"), 1.0, 5, "source"))
    assert ledger.has_intact(tmp_path, "one", "source")
    assert not ledger.has_intact(tmp_path, "one", "another source")
    (tmp_path / "one").write_text("2")
    assert not ledger.has_intact(tmp_path, "one", "source")


def test_a_folder_is_locked_once_and_goes_with_its_lock(tmp_path):
    work = tmp_path / WORK
    with lock_folder(work), pytest.raises(DataError, match="another run is at work here"), lock_folder(work):
        pytest.fail("two at work")
    assert not work.exists()
    with lock_folder(work):
        (work / "state").write_text("unfinished")
    assert (work / "state").exists()
    with lock_folder(work):
        shutil.rmtree(work)
    assert not work.exists()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS], ids=errno.errorcode.get)
def test_a_network_folder_without_locks_is_refused(tmp_path, monkeypatch, number):
    def refuse(handle, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    with (
        pytest.raises(DataError, match=r"cannot be locked: .*\n  fix: mount it with locks"),
        lock_folder(tmp_path / WORK),
    ):
        pytest.fail("locked")


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    code = "import sys, time; from pathlib import Path; from builder.io.locks import lock_folder\n"
    code += "with lock_folder(Path(sys.argv[1])): print('locked', flush=True); time.sleep(600)"
    holder = WarmProcess(code, tmp_path / WORK, folder=tmp_path)
    assert holder.wait_for_line() == "locked"
    with pytest.raises(DataError, match="another run is at work here"), lock_folder(tmp_path / WORK):
        pytest.fail("two at work")
    holder.kill()
    with lock_folder(tmp_path / WORK):
        pass
    assert not (tmp_path / WORK).exists()
