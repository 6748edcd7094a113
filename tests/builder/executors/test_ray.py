"""The executor on Ray: the same as the local ones, byte for byte, and what a cluster can do to it."""

from __future__ import annotations

import functools
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from builder.corpus.building.build import ShardBuilder, build
from builder.corpus.corpus import Corpus
from builder.corpus.verify import verify
from builder.embedders.embed_corpus import embed_corpus
from builder.errors import BackendError, DataError, RecipeError
from builder.executors import TRIES, ExecutorSettings, choose_executor
from builder.recipe import Recipe
from tests.builder.executors.test_executors import run, tried

ray = pytest.importorskip("ray")

from builder.executors import ray as on_ray  # noqa: E402

ROOT = Path(__file__).parents[3]
RECIPE = "{name: two, prompts: {per_genre: 4}, generator: {seconds: 1}, split: {validation: 0.3}}"


@pytest.fixture(scope="module")
def scale():
    """A Ray of its own here, of two cores, for all tests of this file."""
    on_ray.connect(None, 2)
    yield ExecutorSettings("ray")
    ray.shutdown()


@pytest.fixture
def arranged(tmp_path: Path) -> Recipe:
    (tmp_path / "r.yaml").write_text(RECIPE)
    return Recipe.load(tmp_path / "r.yaml")


def files(corpus: Path, config: str) -> dict[str, bytes]:
    return {name: (corpus / name).read_bytes() for name in Corpus.open(corpus).shards(config)}


def test_a_corpus_and_its_embeddings_are_those_of_one_process(scale, arranged, tmp_path):
    for where, options in {"local": {"workers": 1}, "ray": {"workers": 2, "scale": scale}}.items():
        news: list[tuple[int, int]] = []
        told = functools.partial(_note, news)
        build(arranged, tmp_path / where, clips_per_shard=4, progress=told, **options)
        assert news[-1] == (20, 20) and news == sorted(news)
        embed_corpus(tmp_path / where, arranged.embedder, **options)
    for config in ("data", "melstats"):
        assert files(tmp_path / "local", config) == files(tmp_path / "ray", config)
    assert verify(tmp_path / "ray").faults == []
    assert Corpus.open(tmp_path / "ray").record()["details"]["workers"] == 2


def _note(news: list[tuple[int, int]], done: int, total: int) -> None:
    news.append((done, total))


def test_under_uv_run_the_workers_have_this_environment_all_the_same(scale):
    assert ray._private.ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV is False  # this file has imported Ray before


def test_what_fails_is_told_as_by_the_local_ones(scale, tmp_path):
    tasks = [("refuse", tmp_path / "a"), ("die", tmp_path / "b"), ("once-die", tmp_path / "c"), *range(5)]
    found, ticks, error = run(choose_executor(scale, 2, one_core=True), tasks)
    assert (set(found), ticks) == ({0, 2, 4, 6, 8, "once-die"}, 6)
    assert tried(tmp_path / "a") == tried(tmp_path / "b") == TRIES
    assert isinstance(error, BackendError)  # of two kinds
    assert "2 of 8 shard(s) failed 3 times" in error.message
    assert "the shard is bad" in error.message and "a worker process died" in error.message


def test_a_shard_that_hangs_is_stopped(scale, tmp_path):
    limited = ExecutorSettings("ray", shard_timeout=1)
    found, _, error = run(choose_executor(limited, 2, one_core=True), [("once-hang", tmp_path / "log"), 1])
    assert (set(found), error) == ({"once-hang", 2}, None)


def test_progress_is_told_while_a_shard_is_made(scale, tmp_path):
    ticks: list[tuple[float, int]] = []
    results = choose_executor(scale, 1, one_core=True).run(
        slow_setup, [1], lambda n: ticks.append((time.monotonic(), n))
    )
    assert list(results) == [10]
    assert sum(count for _, count in ticks) == 10
    assert ticks[-1][0] - ticks[0][0] > 0.5


def slow_setup():
    def worker(task, tick):
        for _ in range(10):
            time.sleep(0.15)
            tick(1)
        return 10

    return worker


def no_setup():
    raise DataError("the weights are not there")


def test_a_worker_that_cannot_start_says_why(scale):
    with pytest.raises(DataError, match=r"^the weights are not there$"):
        list(choose_executor(scale, 2, one_core=True).run(no_setup, [1, 2], lambda _: None))


class Fragile(ShardBuilder):
    """Dies of one shard for as long as a file is there."""

    def __init__(self, trouble: Path, *options: object) -> None:
        super().__init__(*options)  # type: ignore[arg-type]
        self.trouble = trouble

    def __call__(self, shard, tick):
        if shard.split == "train" and shard.index == 1 and self.trouble.exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(shard, tick)


def test_a_poisoned_shard_is_set_aside_and_the_same_command_goes_on(scale, arranged, tmp_path, monkeypatch):
    trouble = tmp_path / "trouble"
    trouble.touch()
    monkeypatch.setattr("builder.corpus.building.build.ShardBuilder", functools.partial(Fragile, trouble))
    with pytest.raises(BackendError, match=r"1 of \d shard\(s\) .* set aside, the others are finished") as told:
        build(arranged, tmp_path / "corpus", clips_per_shard=4, workers=2, scale=scale)
    assert "data/train-00001-of-" in told.value.message and told.value.exit_code == 4
    with pytest.raises(DataError, match="not finished"):
        Corpus.open(tmp_path / "corpus")
    trouble.unlink()
    made: list[int] = []
    build(arranged, tmp_path / "corpus", workers=2, scale=scale, progress=lambda done, _: made.append(done))
    assert made[0] == 16  # of 20: the others were kept
    build(arranged, tmp_path / "whole", clips_per_shard=4, workers=1)
    assert files(tmp_path / "corpus", "data") == files(tmp_path / "whole", "data")


def test_workers_for_whom_there_is_no_room_are_not_waited_for_without_end(scale, monkeypatch, caplog):
    @ray.remote(num_cpus=1)
    class Other:
        def here(self):
            return True

    cores = int(ray.cluster_resources()["CPU"])
    others = [Other.remote() for _ in range(cores)]
    assert all(ray.get([other.here.remote() for other in others]))
    monkeypatch.setattr(on_ray, "TELL_SECONDS", 1)
    with monkeypatch.context() as short:
        short.setattr(on_ray, "START_SECONDS", 2)
        with pytest.raises(BackendError, match=r"no worker came up in 2 s\n  fix: ray status, and"):
            list(choose_executor(scale, 2, one_core=True).run(slow_setup, [1, 2], lambda _: None))
    assert "2 of 2 worker(s) wait for room on Ray" in caplog.text
    ray.kill(others.pop())  # one worker starts, the other is waited for
    hired = []
    hire = on_ray.RayExecutor.hire
    monkeypatch.setattr(on_ray.RayExecutor, "hire", lambda self, setup: hired.append(hire(self, setup)) or hired[-1])

    def give_up_on_the_other(_: int) -> None:
        for hand in hired:
            if not hand.ready:
                hand._patience = 0.0

    assert list(choose_executor(scale, 2, one_core=True).run(slow_setup, range(3), give_up_on_the_other)) == [10] * 3
    assert len(hired) > 2  # the one that did not start was replaced, and the other worked on
    for other in others:
        ray.kill(other)


def test_gpus_and_cores_that_are_not_there_are_told(scale):
    with pytest.raises(BackendError, match=r"1 worker\(s\) with 1 GPU\(s\) .*: this Ray has 0 GPU\(s\) on 1 node"):
        choose_executor(ExecutorSettings("ray", gpus_per_worker=1), one_core=True)
    with pytest.raises(BackendError, match=r"64 worker\(s\) with a core each do not fit: this Ray has \d+ core"):
        choose_executor(scale, 64, one_core=True)


@pytest.mark.parametrize(
    ("nodes", "workers", "gpus", "one_core", "found"),
    [
        ([(64, 8)], None, 1, False, (8, 1)),
        ([(64, 8)], None, 0.5, False, (16, 1)),
        ([(64, 8), (64, 8)], None, 2, False, (8, 1)),
        ([(2, 8)], None, 1, False, (2, 1)),  # a core each
        ([(16, 0), (16, 0)], None, 0, True, (32, 1)),
        ([(16, 0), (16, 0)], None, 0, False, (2, 16)),  # one a node, with all its cores
        ([(16, 0), (8, 0)], 3, 0, False, (3, 8)),
        ([(16, 0), (0, 0)], None, 0, False, (1, 16)),
    ],
)
def test_how_many_workers_and_of_how_many_cores(nodes, workers, gpus, one_core, found):
    have = [{"Resources": {"CPU": float(cpu), **({"GPU": float(gpu)} if gpu else {})}} for cpu, gpu in nodes]
    assert on_ray.allocate_workers(have, workers, gpus, one_core) == found


@pytest.mark.parametrize("address", ["127.0.0.1:{closed}", "127.0.0.1:seventy", "no.such.host.invalid:6379"])
def test_an_address_with_no_ray_is_told(address):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = free.getsockname()[1]
    with pytest.raises(BackendError, match=r"there is no Ray to be reached at .*\n  fix: start one \(ray start"):
        on_ray._refuse_unreachable(address.format(closed=closed))


def test_an_address_of_another_kind_is_refused():
    with pytest.raises(RecipeError, match="--address auto"):
        on_ray._refuse_unreachable("ray://head:10001")


def test_nodes_with_other_versions_are_told(scale, monkeypatch):
    monkeypatch.setattr(on_ray, "_started_here", False)
    here = on_ray.package_versions()
    monkeypatch.setattr(on_ray, "package_versions", lambda: here | {"synthmir": "99.0", "absent": "1"})
    with pytest.raises(BackendError, match=r"(?s)nodes .* do not have what is installed here.*fix: install the same"):
        choose_executor(scale, 1, one_core=True)
    found = {"a": {"versions": {"synthmir": "1.0", "torch": "2.9.0+cu128"}}, "b": {"versions": {"torch": "2.9.0"}}}
    monkeypatch.setattr(on_ray, "package_versions", lambda: {"synthmir": "1.0", "torch": "2.9.0+cpu"})
    with pytest.raises(BackendError) as told:
        on_ray._refuse_other_versions(found)
    assert "\n  - b: synthmir missing (here 1.0)" in told.value.message and "- a" not in told.value.message


def test_a_folder_that_the_nodes_do_not_share_is_told(scale, monkeypatch, tmp_path):
    monkeypatch.setattr(on_ray, "_started_here", False)
    executor = choose_executor(scale, 1, one_core=True, place=tmp_path)
    assert list(executor.run(slow_setup, [1], lambda _: None)) == [10]
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(on_ray, "write_text", lambda path, text: None)  # as where a node sees another disk
    with pytest.raises(DataError, match=r"cannot be read on node\(s\) .*\n  fix: let --out be on storage that every"):
        list(executor.run(slow_setup, [1], lambda _: None))


def test_without_the_package_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BackendError, match=r"uv sync --extra ray"):
        on_ray.connect(None)


NODE_DIES = """
import os, sys, threading, time
os.environ["RAY_health_check_period_ms"] = "500"
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
from builder.executors import ExecutorSettings, choose_executor
from builder.executors import ray as on_ray
from tests.builder.executors.test_ray import marked_setup
from functools import partial

marks = Path(sys.argv[1])
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
second = cluster.add_node(num_cpus=1)
executor = choose_executor(ExecutorSettings("ray", cluster.address), one_core=True, place=marks.parent)
assert executor.count == 2, executor.count

def kill_a_node():
    while not list(marks.glob(f"*-{second.node_id}-*")):
        time.sleep(0.02)
    cluster.remove_node(second, allow_graceful=False)
    cluster.add_node(num_cpus=1)

killer = threading.Thread(target=kill_a_node)
killer.start()
found = list(executor.run(partial(marked_setup, marks), range(6), lambda _: None))
killer.join()
assert sorted(found) == list(range(6)), found
print("whole")
ray.shutdown()
cluster.shutdown()
"""


def marked_setup(marks: Path):
    def worker(task, tick):
        (marks / f"{task}-{ray.get_runtime_context().get_node_id()}-{time.time_ns()}").touch()
        time.sleep(1)
        tick(1)
        return task

    return worker


@pytest.mark.long
def test_a_node_that_is_killed_takes_no_shard_with_it(tmp_path):
    (tmp_path / "marks").mkdir()
    run = subprocess.run(
        [sys.executable, "-c", NODE_DIES, str(tmp_path / "marks")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (run.stdout.strip().splitlines() or [run.stderr])[-1] == "whole", run.stderr
    tries = [mark.name.partition("-")[0] for mark in (tmp_path / "marks").iterdir()]
    assert set(tries) == set(map(str, range(6))) and len(tries) > 6


@pytest.mark.long
def test_stopped_it_leaves_no_process(tmp_path):
    """Ray takes SIGTERM for itself, and starts a dozen processes."""
    (tmp_path / "r.yaml").write_text(RECIPE.replace("per_genre: 4", "per_genre: 400"))
    command = ["build", "r.yaml", "--out", "corpus", "--executor", "ray", "--workers", "2"]
    stop = subprocess.Popen(
        [sys.executable, "-m", "synthmir", *command, "--clips-per-shard", "2"],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    ledger = tmp_path / "corpus" / ".work" / "ledger.jsonl"
    while not ledger.exists() and stop.poll() is None:
        time.sleep(0.1)
    assert stop.poll() is None
    children = _below(stop.pid)
    assert len(children) > 3
    stop.terminate()
    assert "the same command resumes" in stop.communicate()[1] and stop.returncode == 130
    while any(_alive(pid) for pid in children):  # the suite's timeout bounds it
        time.sleep(0.1)
    assert not (tmp_path / "corpus" / "data").exists()


def _below(pid: int) -> list[int]:
    found = [
        int(one) for task in Path(f"/proc/{pid}/task").iterdir() for one in (task / "children").read_text().split()
    ]
    return [below for child in found for below in (child, *_below(child))]


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
