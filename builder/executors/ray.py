"""Shards made on Ray: actors on one machine or many, each with its own model, its own share of cores and GPUs."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import BackendError, DataError, RecipeError
from ..io.atomic import write_text
from ..io.storage import delete_file
from ..records import package_versions
from .base import Done, ExecutorSettings, Failure, Tick, Worker, count_cores, run_task
from .crew import WorkerEvent, WorkerHandle, WorkerPool

ASK_SECONDS = 0.5  # between questions to a worker how far it is
ANSWER_SECONDS = 120.0  # for a node to say what it has installed
DOUBT_SECONDS = 20.0  # for a worker out of reach to come back
START_SECONDS = 120.0  # for a worker's process to come up, where the Ray is our own
ROOM_SECONDS = 600.0  # for a cluster to have room for a worker, which may need a new node
TELL_SECONDS = 30.0  # of waiting for that, until it is told
START = (
    "start one (ray start --head), name another --address, or leave it out to start one here alone; where the cluster "
    "asks for tokens, as ray start does: --address auto, or RAY_AUTH_MODE=token and its ~/.ray/auth_token"
)
KEYS = "what reaches the store (AWS_..., ~/.aws, HF_TOKEN) must be in the environment of ray start on every node"
NO_ROOM = (
    "ray status, and /tmp/ray/session_latest/logs/raylet.err, tell why; mend that or ask for less (--workers, "
    "--gpus-per-worker). The same command goes on"
)
STORE_BYTES = 128 << 20  # Ray's object store, where Ray is started here: a few shards' rows at a time
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # 15 by default: beside anything else that computes they would get a 30th of a core
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # which would send the working folder to every node
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
}
_started_here = False
log = logging.getLogger(__name__)


class RayExecutor(WorkerPool):
    """`workers` actors. A cluster that is not there, that differs, or has too little is refused when this is made."""

    def __init__(
        self, scale: ExecutorSettings, workers: int | None = None, *, one_core: bool, place: Path | None = None
    ) -> None:
        self._ray = connect(scale.address, workers)
        self._place, self._gpus = place, scale.gpus_per_worker
        if not _started_here:
            _refuse_other_versions(self._look())
        count, self._cpus = allocate_workers(_nodes(self._ray), workers, scale.gpus_per_worker, one_core)
        self._told = False
        super().__init__(count, scale.shard_timeout)

    def run(self, setup: Callable[[], Worker], tasks: Sequence[Any], tick: Tick) -> Iterator[Any]:
        """See Executor."""
        if tasks and self._place is not None and not _started_here:
            self._refuse_apart(self._place)
        return super().run(setup, tasks, tick)

    def _refuse_apart(self, place: Path) -> None:
        """Raise DataError if a node does not see the folder that is written into."""
        token = place / f".seen-{uuid.uuid4().hex}"
        write_text(token, token.name)
        try:
            blind = [name for name, found in self._look(str(token)).items() if not found["seen"]]
        finally:
            delete_file(token)
        if blind:
            raise DataError(
                f"{place}: cannot be read on node(s) {', '.join(blind)}",
                "let --out be on storage that every node shares at the same path (NFS), or an address: s3://BUCKET/...",
            )

    def hire(self, setup: Callable[[], Worker]) -> WorkerHandle:
        """See Crew."""
        actor = self._ray.remote(
            num_cpus=self._cpus,
            num_gpus=self._gpus,
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
            concurrency_groups={"news": 1},
        )(_RayWorker)
        return _RayHandle(self._ray, actor.remote(), setup, START_SECONDS if _started_here else ROOM_SECONDS)

    def news(self, hands: Sequence[WorkerHandle], seconds: float) -> list[tuple[WorkerHandle, WorkerEvent]]:
        """See Crew."""
        actors = [hand for hand in hands if isinstance(hand, _RayHandle)]
        refs: dict[Any, _RayHandle] = {ref: hand for hand in actors for ref in hand.pending()}
        found: list[tuple[WorkerHandle, WorkerEvent]] = []
        if not refs:
            time.sleep(seconds)
        elif self._ray.wait(list(refs), num_returns=1, timeout=seconds)[0]:
            ready, _ = self._ray.wait(list(refs), num_returns=len(refs), timeout=0)
            found += [(refs[ref], one) for ref in ready for one in refs[ref].hear(ref)]
        self._tell_of_waiting(actors)
        return found + [(hand, one) for hand in actors for one in hand.doubted()]

    def _tell_of_waiting(self, actors: Sequence[_RayHandle]) -> None:
        """Once: that the cluster has no room for some."""
        absent = [actor for actor in actors if actor.absent() > TELL_SECONDS]
        if absent and not self._told:
            self._told = True
            log.warning("%d of %d worker(s) wait for room on Ray (ray status tells why)", len(absent), self.count)

    def _look(self, token: str = "") -> dict[str, dict[str, Any]]:
        """What each living node has: {address: {"versions": ..., "seen": ...}}."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as OnNode

        look = self._ray.remote(num_cpus=0, max_retries=0)(_looker())
        wanted = tuple(package_versions())
        asked = {
            node["NodeManagerAddress"] + " " + node["NodeID"][:6]: look.options(
                scheduling_strategy=OnNode(node["NodeID"], soft=False)
            ).remote(wanted, token)
            for node in _nodes(self._ray)
        }
        found = {}
        for name, ref in asked.items():
            try:
                found[name] = self._ray.get(ref, timeout=ANSWER_SECONDS)
            except self._ray.exceptions.GetTimeoutError:
                raise BackendError(
                    f"node {name} of the Ray cluster did not answer in {ANSWER_SECONDS:g} s", "ray status tells more"
                ) from None
            except self._ray.exceptions.RayTaskError as error:
                raise BackendError(
                    f"node {name} of the Ray cluster: {error.cause or error}", KEYS if token else None
                ) from None
            except self._ray.exceptions.RayError:  # a node that has just died is none of the cluster's
                continue
        return found


def connect(address: str | None, workers: int | None = None) -> Any:
    """The package ray, connected: to `address`, or what RAY_ADDRESS names, or a Ray of its own here, which ends with
    this process. Raises BackendError.
    """
    global _started_here
    for key, value in _SETTINGS.items():
        os.environ.setdefault(key, value)
    address = address or os.environ.get("RAY_ADDRESS") or None
    try:
        import ray
    except ModuleNotFoundError as error:
        raise BackendError(
            f"--executor ray needs the package {error.name!r}, which is not installed",
            "uv sync --extra ray   (or: pip install 'synthmir[ray]')",
        ) from error
    if ray.is_initialized():
        return ray
    if os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] == "0":  # which Ray read when it was imported, maybe long ago
        ray._private.ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = False
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address:
        _refuse_unreachable(address)
    else:
        options |= {"num_cpus": max(count_cores(), workers or 1), "include_dashboard": False}
        options |= {"object_store_memory": STORE_BYTES, "_node_ip_address": "127.0.0.1"}
    with _own_signals():
        try:
            ray.init(address or "local", **options)
        except Exception as error:  # of many kinds: no such cluster, another Ray, another Python, no room
            where = f"there is no Ray to be reached at {address!r}" if address else "Ray cannot be started here"
            raise BackendError(f"{where}: {str(error).strip().splitlines()[0]}", START) from error
    _started_here = not address
    ray._private.worker.print_to_stdstream = lambda *_, **__: None  # a worker's death is told by Crew, in few words
    return ray


def allocate_workers(nodes: list[dict[str, Any]], workers: int | None, gpus: float, one_core: bool) -> tuple[int, int]:
    """How many workers, and the cores of each. Raises BackendError where the nodes have too little."""
    have = [node["Resources"] for node in nodes]
    cpus = [int(one.get("CPU", 0)) for one in have]
    if gpus:
        slots = [min(int(one.get("GPU", 0) / gpus), cpu) for one, cpu in zip(have, cpus, strict=True)]
        wanted, what = f"{gpus:g} GPU(s) and a core each", f"{sum(one.get('GPU', 0) for one in have):g} GPU(s)"
    else:
        slots, wanted, what = cpus, "a core each", f"{sum(cpus)} core(s)"
    least = workers or 1
    if sum(slots) < least:
        raise BackendError(
            f"{least} worker(s) with {wanted} do not fit: this Ray has {what} on {len(nodes)} node(s)",
            "ask for less (--workers, --gpus-per-worker), or wait until the nodes have joined: ray status",
        )
    if gpus or one_core:
        return workers or sum(slots), 1
    count = workers or sum(cpu > 0 for cpu in cpus)
    each = next(n for n in range(sum(cpus) // count, 0, -1) if sum(cpu // n for cpu in cpus) >= count)
    return count, each


def _nodes(ray: Any) -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _refuse_unreachable(address: str) -> None:
    """Ray itself would try for long."""
    if "://" in address:
        raise RecipeError(
            f"--address {address}: is not the cluster's own address", "run this on one of its nodes: --address auto"
        )
    host, _, port = address.rpartition(":")
    if not host:
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError, OverflowError) as error:
        raise BackendError(f"there is no Ray to be reached at {address!r}: {error}", START) from error


def _refuse_other_versions(found: dict[str, dict[str, Any]]) -> None:
    """Raise BackendError if a node has other packages than this process: its clips would differ from the others'."""
    ours = package_versions()
    bad = []
    for node, told in found.items():
        differ = [
            f"{name} {told['versions'].get(name) or 'missing'} (here {version})"
            for name, version in ours.items()
            if _public(told["versions"].get(name)) != _public(version)
        ]
        bad += [f"\n  - {node}: {', '.join(differ)}"] if differ else []
    if bad:
        raise BackendError(
            "the nodes of the Ray cluster do not have what is installed here:" + "".join(bad),
            "install the same version of synthmir, from the same lock file, on every node",
        )


def _public(version: str | None) -> str | None:
    """Without the local part: 2.9.0+cu128 is 2.9.0."""
    return version and version.partition("+")[0]


def _looker() -> Callable[[tuple[str, ...], str], dict[str, Any]]:
    """A function that travels by value: where synthmir is not installed, it says so."""

    def look(packages: tuple[str, ...], token: str) -> dict[str, Any]:
        import platform
        from importlib import metadata

        found = {"python": platform.python_version()}
        for name in packages:
            try:
                found.setdefault(name, metadata.version(name))
            except metadata.PackageNotFoundError:
                continue
        if not token:
            return {"versions": found, "seen": True}
        from builder.io.storage import to_path

        return {"versions": found, "seen": to_path(token).exists()}

    return look


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Ray takes SIGTERM for itself: this process keeps what it has."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM) if main else None
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


class _RayWorker:
    """A worker, where it works. `told` is answered by a thread of its own while a task is under way."""

    def __init__(self) -> None:
        self.serial = self.ticked = 0

    def where(self) -> str:
        import ray

        return str(ray.get_runtime_context().get_node_id())

    def begin(self, setup: Callable[[], Worker]) -> Failure | None:
        try:
            self.worker = setup()
        except Exception as error:
            return Failure.of(error)
        return None

    def work(self, serial: int, task: Any) -> tuple[Done | Failure, int]:
        self.serial, self.ticked = serial, 0

        def tick(count: int) -> None:
            self.ticked += count

        return run_task(self.worker, task, tick), self.ticked

    def told(self) -> tuple[int, int]:
        return self.serial, self.ticked


class _RayHandle(WorkerHandle):
    """The master's end of an actor. It may take `patience` seconds to come up; then it loads its model, which may
    take any time.
    """

    def __init__(self, ray: Any, actor: Any, setup: Callable[[], Worker], patience: float) -> None:
        self._ray, self._actor, self._setup, self._patience = ray, actor, setup, patience
        self._node, self._serial = "", 0
        self._main: Any = actor.where.remote()
        self._question: Any = None
        self._asked = self._doubt = 0.0
        self._hired = time.monotonic()

    def give(self, task: Any) -> None:
        self._serial += 1
        self._asked = time.monotonic()
        self._main = self._actor.work.remote(self._serial, task)

    def kill(self) -> None:
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.kill(self._actor, no_restart=True)

    def pending(self) -> list[Any]:
        """What is to be waited for."""
        now = time.monotonic()
        if self.job and self._main and not self._question and now - self._asked > ASK_SECONDS:
            self._question, self._asked = self._actor.told.options(concurrency_group="news").remote(), now
        return [ref for ref in (self._main, self._question) if ref is not None]

    def hear(self, ref: Any) -> list[WorkerEvent]:
        """What a finished reference says."""
        errors = self._ray.exceptions
        if ref == self._question:
            self._question = None
            with contextlib.suppress(errors.RayError):  # its death is told by the task itself
                serial, ticked = self._ray.get(ref)
                if serial == self._serial and self._main is not None:
                    return [WorkerEvent("ticked", ticked)]
            return []
        self._main = None
        try:
            value = self._ray.get(ref)
        except errors.RayTaskError as error:
            fault = Failure.of(error)
            return [WorkerEvent("done" if self.job else "unable", fault)]
        except errors.ActorUnavailableError:
            self._doubt = time.monotonic()
            return []
        except errors.RayError:
            return [self._lost() or WorkerEvent("gone", Failure.died("killed, crashed, or out of memory"))]
        if not self._node:
            self._node, self._main = value, self._actor.begin.remote(self._setup)
            return []
        if value is None:
            return [WorkerEvent("ready")]
        if isinstance(value, Failure):
            return [WorkerEvent("unable", value)]
        result, ticked = value
        return [WorkerEvent("ticked", ticked), WorkerEvent("done", result)]

    def absent(self) -> float:
        """For how many seconds it has not come up."""
        return 0.0 if self._node else time.monotonic() - self._hired

    def doubted(self) -> list[WorkerEvent]:
        """Of an actor that could not be reached: whether its node is gone, or it alone. Also: that it never came."""
        if self._main is not None and self.absent() > self._patience:
            return [
                WorkerEvent("absent", Failure("BackendError", f"no worker came up in {self._patience:g} s", NO_ROOM))
            ]
        if not self._doubt:
            return []
        told = self._lost()
        if told is None and time.monotonic() - self._doubt > DOUBT_SECONDS:
            told = WorkerEvent("gone", Failure.died("it cannot be reached"))
        return [told] if told else []

    def _lost(self) -> WorkerEvent | None:
        if not self._node or any(node["NodeID"] == self._node for node in _nodes(self._ray)):
            return None
        return WorkerEvent("lost", Failure.died("with its node"))
