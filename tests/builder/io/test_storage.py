from __future__ import annotations

import json
import pickle
import signal
import threading
import time
from pathlib import Path
from uuid import uuid4

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder import load_corpus
from builder.corpus.building.build import build
from builder.corpus.corpus import Corpus
from builder.corpus.shards import WORK, Entry, Ledger
from builder.corpus.verify import verify
from builder.embedders.embed_corpus import embed_corpus
from builder.errors import BackendError, DataError, HubError, SynthmirError
from builder.interrupts import check_interrupt
from builder.io import atomic, locks, storage, storage_backends
from builder.io.locks import lock_folder
from builder.io.storage import list_files, open_for_arrow, to_path
from builder.io.storage_backends import OBJECT_STORAGES, ObjectStorage
from builder.recipe import Recipe
from builder.settings import EmbedderSettings

from ..hub.loopback_hub import LoopbackHub
from ..hub.loopback_routes import Routes

LEVELS = EmbedderSettings(name="levels", batch_size=3)


@pytest.fixture(scope="module")
def server():
    """An S3 server on this machine."""
    from moto.server import ThreadedMotoServer

    served = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    served.start()
    yield "http://{}:{}".format(*served.get_host_and_port())
    served.stop()


@pytest.fixture
def bucket(server, monkeypatch):
    """The address of an empty bucket. Credentials and endpoint are in the environment."""
    import boto3
    import s3fs

    environment = {"ENDPOINT_URL": server, "ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "hush"}
    for key, value in (environment | {"DEFAULT_REGION": "us-east-1"}).items():
        monkeypatch.setenv(f"AWS_{key}", value)
    monkeypatch.setattr(OBJECT_STORAGES["s3"], "heartbeat_seconds", 0.1)
    s3fs.S3FileSystem.clear_instance_cache()
    name = f"b{uuid4().hex}"
    boto3.client("s3").create_bucket(Bucket=name)
    return f"s3://{name}"


@pytest.fixture
def memory(monkeypatch):
    """The address of a folder in memory, whose locks have a fast heartbeat."""
    monkeypatch.setattr(OBJECT_STORAGES["memory"], "heartbeat_seconds", 0.1)
    return f"memory://{uuid4().hex}"


class Copying(Routes):
    """The loopback Hub's routes; a commit may also name content that the repository has already."""

    def _apply(self, repo, tree, key, value):
        if key == "lfsFile" and "size" not in value:
            tree[value["path"]] = next(entry for entry in repo.files.values() if entry.sha256 == value["oid"])
            return
        super()._apply(repo, tree, key, value)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hub on this machine with an empty data set org/small; clients are directed to it."""
    from huggingface_hub import HfFileSystem, constants

    (tmp_path / "hub").mkdir()
    served = LoopbackHub(tmp_path / "hub")
    served.server.RequestHandlerClass = type("Handler", (Copying,), {"hub": served})
    served.add_repo("dataset", "org/small")
    files = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, served.endpoint)
    for key, value in {
        "ENDPOINT": served.endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": files,
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
    }.items():
        monkeypatch.setattr(constants, key, value)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    HfFileSystem.clear_instance_cache()
    yield served
    served.stop()
    HfFileSystem.clear_instance_cache()


SCORED = {"generator": "scored", "annotations": True, "stems": True}


def shards(corpus) -> dict[str, bytes]:
    opened = Corpus.open(corpus)
    return {name: (opened.root / name).read_bytes() for config in opened.configs() for name in opened.shards(config)}


def failing(monkeypatch, where, name, at, error=KeyboardInterrupt):
    """Make the `at`-th call of a function fail."""
    original, calls = getattr(where, name), []

    def call(*args, **kwargs):
        calls.append(args)
        if len(calls) == at:
            raise error
        return original(*args, **kwargs)

    monkeypatch.setattr(where, name, call)


def refusing(monkeypatch, method, error):
    """Make S3 answer one kind of request with an error."""
    import s3fs

    original = s3fs.S3FileSystem._call_s3

    async def call(self, asked, *args, **kwargs):
        if asked == method:
            raise error
        return await original(self, asked, *args, **kwargs)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", call)


def test_a_corpus_in_s3_is_the_same_bytes_and_datasets_reads_it(recipe, bucket, tmp_path):
    import datasets

    chosen, address = recipe(per_genre=4, **SCORED), f"{bucket}/deep/corpus"
    build(chosen, tmp_path / "local", clips_per_shard=8)
    assert build(chosen, address, clips_per_shard=8).rows == 20
    assert shards(address) == shards(tmp_path / "local")
    for corpus in (address, tmp_path / "local"):
        assert embed_corpus(corpus, LEVELS).rows == 20
    report = verify(address)
    assert (report.faults, report.clips, report.embeddings) == ([], 20, {"levels": 20})
    assert report.annotations == 20
    assert next(iter(load_corpus(address, "stems", split="train", streaming=True)))["audio"]["array"].shape == (
        32_000,
    )
    assert sorted(list_files(to_path(address))) == sorted(list_files(tmp_path / "local"))
    files = {"train": f"{address}/levels/train-*.parquet"}
    rows = datasets.load_dataset("parquet", data_files=files, streaming=True, split="train")
    shards_here = sorted((tmp_path / "local" / "levels").glob("train-*"))
    expected = [row["id"] for path in shards_here for row in pq.read_table(path).to_pylist()]
    assert [row["id"] for row in rows] == expected
    assert Recipe.load(f"{address}/recipe.yaml").fingerprint() == chosen.fingerprint()


def test_a_build_in_s3_that_was_killed_resumes_and_shows_no_partial_shard(recipe, bucket, tmp_path, monkeypatch):
    chosen, address, log = recipe(per_genre=4), f"{bucket}/corpus", tmp_path / "made"
    build(chosen, tmp_path / "local", clips_per_shard=4)
    monkeypatch.setenv("TONE_LOG", str(log))
    with monkeypatch.context() as patch:
        failing(patch, ObjectStorage, "upload_file", 7)
        with pytest.raises(KeyboardInterrupt):
            build(chosen, address, clips_per_shard=4, workers=1)
    there = [name for name in list_files(to_path(address)) if name.endswith(".parquet")]
    assert there and all(name.startswith(f"{WORK}/data/") for name in there)
    for name in there:
        assert (to_path(address) / name).read_bytes() == (
            tmp_path / "local" / name.removeprefix(f"{WORK}/")
        ).read_bytes()
    with pytest.raises(DataError, match="not finished"):
        verify(address)
    build(chosen, address, workers=1)
    made = log.read_text().split()
    assert len(made) - len(set(made)) <= 4  # the shard that was in flight
    assert shards(address) == shards(tmp_path / "local")
    assert verify(address).faults == []


@pytest.mark.parametrize("step", ["cp_file", "rm_file"])
@pytest.mark.parametrize("at", [4, 8, 14])
def test_a_move_that_was_interrupted_resumes(recipe, memory, tmp_path, monkeypatch, step, at):
    from fsspec.implementations.memory import MemoryFileSystem

    chosen, log = recipe(per_genre=4, **SCORED), tmp_path / "made"
    build(chosen, tmp_path / "local", clips_per_shard=4)
    monkeypatch.setenv("TONE_LOG", str(log))
    with monkeypatch.context() as patch:
        failing(patch, MemoryFileSystem, step, at)  # of 5 shards of each config
        with pytest.raises(KeyboardInterrupt):
            build(chosen, memory, clips_per_shard=4, workers=1)
    with pytest.raises(DataError, match="not finished"):
        Corpus.open(memory)
    with pytest.raises(DataError, match="other processes cannot see it"):
        build(chosen, memory, workers=2)
    build(chosen, memory, workers=1)
    assert len(log.read_text().split()) == 20
    assert shards(memory) == shards(tmp_path / "local")
    assert verify(memory).faults == []


def test_embedding_that_was_stopped_resumes(recipe, memory, monkeypatch):
    build(recipe(per_genre=4), memory, clips_per_shard=4, workers=1)
    with monkeypatch.context() as patch:
        failing(patch, ObjectStorage, "upload_file", 5)
        with pytest.raises(KeyboardInterrupt):
            embed_corpus(memory, LEVELS)
    assert Corpus.open(memory).embedders() == []
    before = {name for name in list_files(to_path(memory)) if name.endswith(".parquet")}
    seen = []
    original = ObjectStorage.upload_file

    def upload_file(self, part, target):
        seen.append(str(target))
        original(self, part, target)

    monkeypatch.setattr(ObjectStorage, "upload_file", upload_file)
    embed_corpus(memory, LEVELS)
    again = {str(to_path(memory) / name) for name in before} & set(seen)
    assert again == set()
    assert verify(memory).faults == []


def test_a_corpus_on_the_hub_is_the_same_bytes_and_appears_in_one_commit(recipe, hub, tmp_path):
    chosen, address = recipe(per_genre=2), "hf://datasets/org/small"
    build(chosen, tmp_path / "local", clips_per_shard=4)
    build(chosen, address, clips_per_shard=4)
    assert shards(address) == shards(tmp_path / "local")
    embed_corpus(address, LEVELS)
    report = verify(address)
    assert (report.faults, report.embeddings) == ([], {"levels": 10})
    repo = hub.repos["dataset", "org/small"]
    assert {name for name in repo.files if name.startswith(".")} == {".gitattributes"}
    seen = [{name for name in tree if name.startswith("data/")} for tree in repo.commits.values()]
    assert all(names in (set(), set(Corpus.open(address).shards())) for names in seen)
    with pytest.raises(HubError, match="org/none"):
        build(chosen, "hf://datasets/org/none")


def test_a_shard_is_checked_by_the_hash_in_its_metadata_or_by_its_content(recipe, bucket, monkeypatch):
    address = f"{bucket}/corpus"
    build(recipe(per_genre=2), address, clips_per_shard=4)
    corpus = Corpus.open(address)
    name = corpus.shards()[0]
    ledger = Ledger(to_path(f"{bucket}/elsewhere"))
    ledger.add(Entry(name, corpus.sums()[name], 0.0, 0, "source"))
    with monkeypatch.context() as patch:
        refusing(patch, "get_object", AssertionError("the shard was read"))
        assert ledger.has_intact(corpus.root, name, "source")
    whole = (corpus.root / name).read_bytes()
    fs = corpus.root.fs
    fs.pipe_file((corpus.root / name).path, whole)  # by a tool that leaves no hash
    assert ledger.has_intact(corpus.root, name, "source")
    fs.pipe_file((corpus.root / name).path, whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    assert not ledger.has_intact(corpus.root, name, "source")
    assert any("damaged" in fault for fault in verify(address).faults)
    build(recipe(per_genre=2), address)
    assert (corpus.root / name).read_bytes() == whole


def test_the_ledger_in_a_store_keeps_entries_and_ignores_incomplete_ones(memory):
    work = to_path(memory) / WORK
    Ledger(work).add(Entry("data/one", "0" * 64, 1.0, 5, "source"))
    atomic.write_text(work / "ledger" / "data" / "two.json", '{"name": "two", "sha')
    again = Ledger(work)
    assert again.entries == {"data/one": Entry("data/one", "0" * 64, 1.0, 5, "source")}
    assert not again.has_intact(to_path(memory), "data/one", "source")


def test_a_large_shard_is_uploaded_in_parts_and_appears_atomically(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(storage_backends, "PART_BYTES", 5 << 20)  # the smallest that S3 takes
    content = bytes(range(256)) * (11 << 12)  # 11 MiB
    (tmp_path / "large").write_bytes(content)
    target = to_path(f"{bucket}/large")
    OBJECT_STORAGES["s3"].upload_file(tmp_path / "large", target)
    assert target.fs.info(target.path)["ETag"].strip('"').endswith("-3")
    assert storage.stored_sha256(target) == storage.hash_file(tmp_path / "large") == storage.hash_file(target)


def test_an_incomplete_upload_is_reported(bucket, tmp_path, monkeypatch):
    import s3fs

    (tmp_path / "file").write_bytes(b"12345")
    monkeypatch.setattr(s3fs.S3FileSystem, "put_file", lambda self, part, key, **rest: self.pipe_file(key, b"123"))
    with pytest.raises(DataError, match="3 bytes arrived of 5"):
        OBJECT_STORAGES["s3"].upload_file(tmp_path / "file", to_path(f"{bucket}/file"))


def test_a_full_temporary_folder_is_reported(memory, monkeypatch):
    def full(part):
        raise OSError(28, "No space left on device")

    with pytest.raises(DataError, match=r"cannot write memory://.*No space left.*\n.*TMPDIR"):
        atomic.write_file(to_path(memory) / "file", full)
    assert list_files(to_path(memory)) == []


def test_paths_can_be_pickled(bucket):
    there = pickle.loads(pickle.dumps(to_path(f"{bucket}/corpus")))  # noqa: S301 - as between worker processes
    atomic.write_text(there / "file", "words")
    assert (to_path(f"{bucket}/corpus") / "file").read_text() == "words"
    assert there.storage_options == {"use_listings_cache": False}


def test_a_second_build_into_an_address_is_refused(recipe, bucket):
    errors = []

    def second(done: int, total: int) -> None:
        if not errors:
            with pytest.raises(DataError, match=r"corpus: another run is at work here \(.*process \d+\)") as error:
                build(recipe(per_genre=2), f"{bucket}/corpus")
            errors.append(error)

    build(recipe(per_genre=2), f"{bucket}/corpus", progress=second)
    assert errors and verify(f"{bucket}/corpus").faults == []


def lock_of(address: str, **changed: object) -> Path:
    """Write a lock that a run on another machine left."""
    lock = to_path(address) / WORK / "lock"
    owner = {"owner": "other", "count": 3, "host": "far", "pid": 1, "processes": "another machine"}
    atomic.write_text(lock, json.dumps(owner | changed))
    return lock


@pytest.mark.parametrize("kind", ["bucket", "memory"])
def test_a_lock_without_heartbeat_is_taken_over(request, kind, monkeypatch, caplog):
    address = f"{request.getfixturevalue(kind)}/corpus"
    lock = lock_of(address)
    monkeypatch.setattr(locks, "PATIENCE", 3)
    with lock_folder(lock.parent):
        assert json.loads(lock.read_text())["owner"] != "other"
    assert list_files(to_path(address)) == []
    assert "is held; waiting up to" in caplog.text


def test_an_invalid_lock_is_taken_over(memory, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE", 2)
    atomic.write_text(to_path(memory) / WORK / "lock", "[1]")
    with lock_folder(to_path(memory) / WORK):
        assert json.loads((to_path(memory) / WORK / "lock").read_text())["count"] >= 0


def test_a_lock_with_heartbeat_is_not_taken_over(memory):
    lock, stop = lock_of(memory), threading.Event()

    def work() -> None:
        count = 3
        while not stop.wait(0.02):
            count += 1
            lock_of(memory, count=count)

    owner = threading.Thread(target=work)
    owner.start()
    try:
        with (
            pytest.raises(DataError, match=r"another run is at work here \(far, process 1\)"),
            lock_folder(lock.parent),
        ):
            pytest.fail("two runs at work")
    finally:
        stop.set()
        owner.join()
    assert json.loads(lock.read_text())["owner"] == "other"


def test_the_lock_of_a_dead_process_of_this_machine_is_taken_over_immediately(memory, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE", 10_000)
    lock = lock_of(memory, processes=locks._process_space(), pid=2**22 + 1)  # no kernel gives such a number
    with lock_folder(lock.parent):
        assert json.loads(lock.read_text())["owner"] != "other"


def test_a_run_stops_when_its_lock_is_taken_over(memory):
    with pytest.raises(DataError, match="another run has taken this over"), lock_folder(to_path(memory) / WORK):
        while True:  # until the owner sees it, which may overwrite what was written as it looked
            lock_of(memory)
            time.sleep(0.1)
    assert json.loads((to_path(memory) / WORK / "lock").read_text())["owner"] == "other"


def test_a_run_that_ignores_sigint_stops_at_its_next_check(memory):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a script's background job
    try:
        with pytest.raises(DataError, match="another run has taken this over"), lock_folder(to_path(memory) / WORK):
            while True:
                lock_of(memory)
                check_interrupt()
                time.sleep(0.1)
    finally:
        signal.signal(signal.SIGINT, before)
    check_interrupt()  # what is run next is not stopped


@pytest.mark.parametrize("method", ["put_object", "delete_object", "list_objects_v2"])
def test_missing_rights_are_reported_before_the_work(recipe, bucket, monkeypatch, tmp_path, method):
    log = tmp_path / "made"
    monkeypatch.setenv("TONE_LOG", str(log))
    refusing(monkeypatch, method, PermissionError("Access Denied"))
    with pytest.raises(DataError, match=r"corpus.*: Access Denied\n  fix: ask for the right to list, read, write and"):
        build(recipe(), f"{bucket}/corpus")
    assert not log.exists()


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (PermissionError("The difference between the request time and now is too large"), DataError, "clock"),
        (FileNotFoundError("The specified bucket does not exist"), DataError, "the bucket must exist"),
        (TimeoutError("timed out"), BackendError, "check the network and AWS_ENDPOINT_URL"),
    ],
    ids=["clock", "bucket", "network"],
)
def test_what_a_store_refuses_is_explained(recipe, bucket, monkeypatch, error, kind, words):
    refusing(monkeypatch, "put_object", error)
    with pytest.raises(kind, match=words):
        build(recipe(), f"{bucket}/corpus")


def test_exceptions_of_clients_are_explained_and_others_are_raised(bucket):
    from botocore.exceptions import EndpointConnectionError, NoCredentialsError

    for error, kind in [
        (NoCredentialsError(), DataError),
        (EndpointConnectionError(endpoint_url="http://x"), BackendError),
    ]:
        with pytest.raises(kind, match="AWS_"), storage.storage_errors(to_path(bucket + "/c")):
            raise error
    with pytest.raises(HubError, match="not report"), storage.storage_errors(to_path("hf://datasets/org/name")):
        raise FileNotFoundError("not report")
    with pytest.raises(TypeError), storage.storage_errors(to_path(bucket + "/c")):
        raise TypeError("a fault in synthmir")


def test_a_missing_corpus_is_reported(bucket):
    with pytest.raises(DataError, match=r"s3://.*/none: there is no such folder"):
        verify(f"{bucket}/none")
    atomic.write_text(to_path(f"{bucket}/thesis/chapter.tex"), "words")
    with pytest.raises(DataError, match="not a synthmir corpus"):
        verify(f"{bucket}/thesis")


def test_folders_with_other_files_are_not_changed(recipe, bucket):
    atomic.write_text(to_path(f"{bucket}/thesis/chapter.tex"), "words")
    with pytest.raises(DataError, match="not empty"):
        build(recipe(), f"{bucket}/thesis")
    with pytest.raises(DataError, match="is a file"):
        build(recipe(), f"{bucket}/thesis/chapter.tex")
    assert list_files(to_path(f"{bucket}/thesis")) == ["chapter.tex"]


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr(storage, "find_spec", lambda name: None)
    with pytest.raises(BackendError, match=r"needs the package s3fs.*\n.*uv sync --extra s3, or pip install"):
        to_path("s3://bucket/corpus")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("s3://bucket", "a whole bucket"),
        ("s3://", "not an address"),
        ("s3:///corpus", "not an address"),
        ("s3://bucket/../other", "not an address"),
        ("s3://bucket//corpus", "not an address"),
        ("s3://[bucket/corpus", "not an address: Invalid IPv6 URL"),
        ("gs://bucket/corpus", "an unknown kind of storage"),
        ("https://host/corpus?token=hush", "an unknown kind of storage"),
        ("hf://org/name", "not the address of a data set"),
        ("s3://key:hush@bucket/corpus", "must not hold keys"),
        ("s3://key:hu/sh@bucket/corpus", "must not hold keys"),
        (Path("s3://bucket/corpus"), "a folder of this machine is needed"),
    ],
    ids=str,
)
def test_invalid_addresses_are_refused(address, words):
    with pytest.raises(DataError, match=words) as error:
        to_path(address)
    assert "hu" not in str(error.value).replace("authority", "")


def test_other_text_is_a_path(tmp_path):
    assert to_path("runs/demo") == Path("runs/demo")
    assert to_path(tmp_path) is tmp_path
    assert to_path(f"file://{tmp_path}") == tmp_path
    assert not storage.is_remote(to_path("a:b/c"))
    assert open_for_arrow(tmp_path) is tmp_path


@given(
    st.sampled_from(["s3", "S3", "hf", "memory", "gs", "https", "file"]),
    st.text(max_size=30),
    st.text("ABCDEFabc019+/=", min_size=8, max_size=40),
)
def test_no_message_shows_credentials(scheme, rest, key):
    for address in (f"{scheme}://{rest}", f"{scheme}://id:{key}@{rest}"):
        try:
            to_path(address)
        except SynthmirError as error:
            if "@" in address.split("://")[1].split("/")[0] or ":" in address.split("://")[1].split("/")[0]:
                assert key not in str(error)


def test_the_command_line_takes_addresses_and_hides_keys(recipe, bucket, capsys, monkeypatch, tmp_path):
    import synthmir.cli

    recipe(per_genre=2)

    def run(*words: str) -> tuple[object, str]:
        monkeypatch.setattr("sys.argv", ["synthmir", *words])
        with pytest.raises(SystemExit) as stop:
            synthmir.cli.main()
        output = capsys.readouterr()
        return stop.value.code, output.err + output.out

    address = f"{bucket}/corpus"
    code, output = run("build", str(tmp_path / "small.yaml"), "--out", address)
    assert (code, "10 clips" in output, address in output) == (0, True, True)
    assert run("embed", address, "--embedder", "levels")[0] == 0
    code, output = run("verify", address)
    assert (code, output.splitlines()[-1]) == (0, "no problems found")
    code, output = run("verify", address.replace("s3://", "s3://id:hush@"))
    assert (code, "hush" in output, "Traceback" in output) == (3, False, False)
