"""The executor on Ray: the same bytes as the local executors, and the failures of a cluster."""

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

from builder.corpus.building.build import build
from builder.corpus.building.shard_builder import ShardBuilder
from builder.corpus.corpus import Corpus
from builder.corpus.verify import verify
from builder.embedders.embed_corpus import embed_corpus
from builder.errors import BackendError, DataError, RecipeError
from builder.executors import TRIES, ExecutorSettings, choose_executor
from builder.recipe import Recipe
from builder.records import package_versions
from tests.builder.executors.tasks import count_tries, no_setup, slow_setup
from tests.builder.executors.test_executors import run

ray = pytest.importorskip("ray")

from builder.executors import ray as ray_executor  # noqa: E402
from builder.executors import ray_cluster  # noqa: E402

ROOT = Path(__file__).parents[3]
RECIPE = "{name: two, prompts: {per_genre: 4}, generator: {seconds: 1}, split: {validation: 0.3}}"


@pytest.fixture(scope="module")
def scale():
    """Settings for a Ray of two cores, started here for all tests of this file."""
    ray_cluster.connect(None, 2)
    yield ExecutorSettings("ray")
    ray.shutdown()


@pytest.fixture
def arranged(tmp_path: Path) -> Recipe:
    (tmp_path / "r.yaml").write_text(RECIPE)
    return Recipe.load(tmp_path / "r.yaml")


def files(corpus: Path, config: str) -> dict[str, bytes]:
    return {name: (corpus / name).read_bytes() for name in Corpus.open(corpus).shards(config)}


def test_a_corpus_and_its_embeddings_are_the_same_bytes_as_in_one_process(scale, arranged, tmp_path):
    for where, options in {"local": {"workers": 1}, "ray": {"workers": 2, "scale": scale}}.items():
        updates: list[tuple[int, int]] = []
        progress = functools.partial(_record, updates)
        recipe = arranged.with_values({"annotations": True, "stems": True})
        build(recipe, tmp_path / where, clips_per_shard=4, progress=progress, **options)
        assert updates[-1] == (20, 20) and updates == sorted(updates)
        embed_corpus(tmp_path / where, arranged.embedder, **options)
    assert len(Corpus.open(tmp_path / "ray").configs()) == 4
    for config in ("data", "annotations", "stems", "melstats"):
        assert files(tmp_path / "local", config) == files(tmp_path / "ray", config)
    assert verify(tmp_path / "ray").faults == []
    assert Corpus.open(tmp_path / "ray").record()["details"]["workers"] == 2


def _record(updates: list[tuple[int, int]], done: int, total: int) -> None:
    updates.append((done, total))


def test_uv_run_does_not_change_the_environment_of_workers(scale):
    assert ray._private.ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV is False  # this file imported Ray before


def test_failures_are_reported_as_by_the_local_executors(scale, tmp_path):
    tasks = [("refuse", tmp_path / "a"), ("die", tmp_path / "b"), ("once-die", tmp_path / "c"), *range(5)]
    results, ticks, error = run(choose_executor(scale, 2, one_core=True), tasks)
    assert (set(results), ticks) == ({0, 2, 4, 6, 8, "once-die"}, 6)
    assert count_tries(tmp_path / "a") == count_tries(tmp_path / "b") == TRIES
    assert isinstance(error, BackendError)  # the failures are of two classes
    assert "2 of 8 shard(s) failed 3 times" in error.message
    assert "the shard is bad" in error.message and "a worker process died" in error.message


def test_a_task_that_hangs_is_stopped(scale, tmp_path):
    limited = ExecutorSettings("ray", shard_timeout=1)
    results, _, error = run(choose_executor(limited, 2, one_core=True), [("once-hang", tmp_path / "log"), 1])
    assert (set(results), error) == ({"once-hang", 2}, None)


def test_progress_is_reported_while_a_task_runs(scale, tmp_path):
    ticks: list[tuple[float, int]] = []
    results = choose_executor(scale, 1, one_core=True).run(
        slow_setup, [1], lambda n: ticks.append((time.monotonic(), n))
    )
    assert list(results) == [10]
    assert sum(count for _, count in ticks) == 10
    assert ticks[-1][0] - ticks[0][0] > 0.5


def test_an_exception_of_setup_is_raised(scale):
    with pytest.raises(DataError, match=r"^the weights are not there$"):
        list(choose_executor(scale, 2, one_core=True).run(no_setup, [1, 2], lambda _: None))


class Fragile(ShardBuilder):
    """Kills its process at one shard as long as a file exists."""

    def __init__(self, fatal: Path, *options: object) -> None:
        super().__init__(*options)  # type: ignore[arg-type]
        self.fatal = fatal

    def __call__(self, task, tick):
        if task.shard.split == "train" and task.shard.index == 1 and self.fatal.exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(task, tick)


def test_a_shard_that_kills_its_worker_is_set_aside_and_the_same_command_resumes(
    scale, arranged, tmp_path, monkeypatch
):
    fatal = tmp_path / "fatal"
    fatal.touch()
    monkeypatch.setattr("builder.corpus.building.build.ShardBuilder", functools.partial(Fragile, fatal))
    with pytest.raises(BackendError, match=r"1 of \d shard\(s\) .* set aside, the others are finished") as raised:
        build(arranged, tmp_path / "corpus", clips_per_shard=4, workers=2, scale=scale)
    assert "data/train-00001-of-" in raised.value.message and raised.value.exit_code == 4
    with pytest.raises(DataError, match="not finished"):
        Corpus.open(tmp_path / "corpus")
    fatal.unlink()
    made: list[int] = []
    build(arranged, tmp_path / "corpus", workers=2, scale=scale, progress=lambda done, _: made.append(done))
    assert made[0] == 16  # of 20: the other shards were kept
    build(arranged, tmp_path / "whole", clips_per_shard=4, workers=1)
    assert files(tmp_path / "corpus", "data") == files(tmp_path / "whole", "data")


def test_waiting_for_room_ends(scale, monkeypatch, caplog):
    @ray.remote(num_cpus=1)
    class Other:
        def here(self):
            return True

    cores = int(ray.cluster_resources()["CPU"])
    others = [Other.remote() for _ in range(cores)]
    assert all(ray.get([other.here.remote() for other in others]))
    monkeypatch.setattr(ray_executor, "WARN_SECONDS", 1)
    with monkeypatch.context() as short:
        short.setattr(ray_executor, "START_SECONDS", 2)
        with pytest.raises(BackendError, match=r"no worker started in 2 s\n  fix: look at ray status and"):
            list(choose_executor(scale, 2, one_core=True).run(slow_setup, [1, 2], lambda _: None))
    assert "2 of 2 worker(s) wait for room on Ray" in caplog.text
    ray.kill(others.pop())  # there is room for one worker
    handles = []
    start_worker = ray_executor.RayExecutor.start_worker

    def start_and_record(self, setup):
        handles.append(start_worker(self, setup))
        return handles[-1]

    monkeypatch.setattr(ray_executor.RayExecutor, "start_worker", start_and_record)

    def let_the_other_time_out(_: int) -> None:
        for handle in handles:
            if not handle.ready:
                handle._start_seconds = 0.0

    assert list(choose_executor(scale, 2, one_core=True).run(slow_setup, range(3), let_the_other_time_out)) == [10] * 3
    assert len(handles) > 2  # the worker that did not start was replaced, and the other ran the tasks
    for other in others:
        ray.kill(other)


def test_missing_gpus_and_cores_are_reported(scale):
    with pytest.raises(BackendError, match=r"1 worker\(s\) with 1 GPU\(s\) .*: this Ray has 0 GPU\(s\) on 1 node"):
        choose_executor(ExecutorSettings("ray", gpus_per_worker=1), one_core=True)
    with pytest.raises(BackendError, match=r"64 worker\(s\) with a core each do not fit: this Ray has \d+ core"):
        choose_executor(scale, 64, one_core=True)


@pytest.mark.parametrize(
    ("nodes", "workers", "gpus", "one_core", "expected"),
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
def test_workers_and_cores_are_allocated(nodes, workers, gpus, one_core, expected):
    described = [{"Resources": {"CPU": float(cpu), **({"GPU": float(gpu)} if gpu else {})}} for cpu, gpu in nodes]
    assert ray_cluster.allocate_workers(described, workers, gpus, one_core) == expected


@pytest.mark.parametrize("address", ["127.0.0.1:{closed}", "127.0.0.1:seventy", "no.such.host.invalid:6379"])
def test_an_address_without_ray_is_reported(address):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = free.getsockname()[1]
    with pytest.raises(BackendError, match=r"no Ray can be reached at .*\n  fix: start one \(ray start"):
        ray_cluster.check_address(address.format(closed=closed))


def test_a_ray_client_address_is_refused():
    with pytest.raises(RecipeError, match="--address auto"):
        ray_cluster.check_address("ray://head:10001")


def test_nodes_with_other_versions_are_refused(scale, monkeypatch):
    monkeypatch.setattr(ray_cluster, "_started_here", False)
    here = package_versions()
    monkeypatch.setattr(ray_cluster, "package_versions", lambda: here | {"synthmir": "99.0", "absent": "1"})
    with pytest.raises(BackendError, match=r"(?s)nodes .* do not have what is installed here.*fix: install the same"):
        choose_executor(scale, 1, one_core=True)
    reports = {"a": {"versions": {"synthmir": "1.0", "torch": "2.9.0+cu128"}}, "b": {"versions": {"torch": "2.9.0"}}}
    monkeypatch.setattr(ray_cluster, "package_versions", lambda: {"synthmir": "1.0", "torch": "2.9.0+cpu"})
    monkeypatch.setattr(ray_cluster, "_ask_nodes", lambda ray: reports)
    with pytest.raises(BackendError) as raised:
        ray_cluster.check_versions(ray)
    assert "\n  - b: synthmir missing (here 1.0)" in raised.value.message and "- a" not in raised.value.message


def test_a_folder_that_nodes_do_not_share_is_refused(scale, monkeypatch, tmp_path):
    monkeypatch.setattr(ray_cluster, "_started_here", False)
    executor = choose_executor(scale, 1, one_core=True, place=tmp_path)
    assert list(executor.run(slow_setup, [1], lambda _: None)) == [10]
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(ray_cluster, "write_text", lambda path, text: None)  # as if a node saw another disk
    with pytest.raises(DataError, match=r"cannot be read on node\(s\) .*\n  fix: let --out be on storage that every"):
        list(executor.run(slow_setup, [1], lambda _: None))


def test_a_missing_package_is_reported_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BackendError, match=r"uv sync --extra ray"):
        ray_cluster.connect(None)


KILL_A_NODE = """
import os, sys, threading, time
os.environ["RAY_health_check_period_ms"] = "500"
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
from builder.executors import ExecutorSettings, choose_executor
from builder.executors import ray_cluster
from tests.builder.executors.tasks import marked_setup
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
results = list(executor.run(partial(marked_setup, marks), range(6), lambda _: None))
killer.join()
assert sorted(results) == list(range(6)), results
print("finished")
ray.shutdown()
cluster.shutdown()
"""


@pytest.mark.long
def test_tasks_of_a_killed_node_are_tried_again(tmp_path):
    (tmp_path / "marks").mkdir()
    run = subprocess.run(
        [sys.executable, "-c", KILL_A_NODE, str(tmp_path / "marks")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (run.stdout.strip().splitlines() or [run.stderr])[-1] == "finished", run.stderr
    tries = [mark.name.partition("-")[0] for mark in (tmp_path / "marks").iterdir()]
    assert set(tries) == set(map(str, range(6))) and len(tries) > 6


@pytest.mark.long
def test_a_stopped_build_leaves_no_process(tmp_path):
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
    children = _list_descendants(stop.pid)
    assert len(children) > 3
    stop.terminate()
    assert "the same command resumes" in stop.communicate()[1] and stop.returncode == 130
    while any(_alive(pid) for pid in children):  # the suite's timeout bounds it
        time.sleep(0.1)
    assert not (tmp_path / "corpus" / "data").exists()


def _list_descendants(pid: int) -> list[int]:
    threads = Path(f"/proc/{pid}/task").iterdir()
    children = [int(child) for thread in threads for child in (thread / "children").read_text().split()]
    return [process for child in children for process in (child, *_list_descendants(child))]


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
