"""Connecting to a Ray cluster, and checking that it has what the workers need."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..errors import BackendError, DataError, RecipeError
from ..io.atomic import write_text
from ..io.storage import delete_file
from ..records import package_versions
from .base import count_cores

ANSWER_SECONDS = 120.0  # for a node to report what it has installed
CONNECT_SECONDS = 10.0
OBJECT_STORE_BYTES = 128 << 20  # of a Ray that is started here: the rows of a few shards
FIX_UNREACHABLE = (
    "start one (ray start --head), name another --address, or leave it out to start one here alone; where the cluster "
    "asks for tokens, as ray start does: --address auto, or RAY_AUTH_MODE=token and its ~/.ray/auth_token"
)
FIX_CREDENTIALS = (
    "what reaches the store (AWS_..., ~/.aws, HF_TOKEN) must be in the environment of ray start on every node"
)
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # the default, 15, gives them a 30th of a core beside other work
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # it would send the working folder to every node
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
}
_started_here = False


def is_started_here() -> bool:
    """Return whether Ray was started by this process, on this machine alone."""
    return _started_here


def connect(address: str | None, workers: int | None = None) -> Any:
    """Connect to Ray, and return the package.

    Args:
        address: Of a cluster. Default: RAY_ADDRESS; without it, Ray is started here and ends with this process.
        workers: How many cores a Ray that is started here has at least.

    Raises:
        BackendError: If the package is not installed, or the cluster cannot be reached.
        RecipeError: If the address is of a kind that cannot be used.
    """
    global _started_here
    for key, value in _ENVIRONMENT.items():
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
    if os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] == "0":  # Ray read it when it was imported, maybe before it was set
        ray._private.ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = False
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address:
        check_address(address)
    else:
        options |= {"num_cpus": max(count_cores(), workers or 1), "include_dashboard": False}
        options |= {"object_store_memory": OBJECT_STORE_BYTES, "_node_ip_address": "127.0.0.1"}
    with _keep_signal_handler():
        try:
            ray.init(address or "local", **options)
        except Exception as error:  # of many classes: no such cluster, another Ray, another Python, no room
            where = f"no Ray can be reached at {address!r}" if address else "Ray cannot be started here"
            raise BackendError(f"{where}: {str(error).strip().splitlines()[0]}", FIX_UNREACHABLE) from error
    _started_here = not address
    ray._private.worker.print_to_stdstream = lambda *_, **__: None  # WorkerPool reports a worker's death, in one line
    return ray


def check_address(address: str) -> None:
    """Raise BackendError if nothing answers at HOST:PORT, RecipeError for a Ray Client address. Ray tries for long."""
    if "://" in address:
        raise RecipeError(
            f"--address {address}: is not the cluster's own address", "run this on one of its nodes: --address auto"
        )
    host, _, port = address.rpartition(":")
    if not host:
        return
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise BackendError(f"no Ray can be reached at {address!r}: {error}", FIX_UNREACHABLE) from error


@contextlib.contextmanager
def _keep_signal_handler() -> Iterator[None]:
    """Restore this process's handler of SIGTERM, which Ray replaces."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM) if main else None
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def living_nodes(ray: Any) -> list[dict[str, Any]]:
    """Return the nodes of the cluster that are alive, as Ray describes them."""
    return [node for node in ray.nodes() if node["Alive"]]


def allocate_workers(nodes: list[dict[str, Any]], workers: int | None, gpus: float, one_core: bool) -> tuple[int, int]:
    """Decide how many workers there are, and how many cores each gets.

    Args:
        nodes: As Ray describes them.
        workers: How many are wanted. Default: as many as GPUs allow, or cores if `one_core`, or nodes.
        gpus: Of each worker.
        one_core: Whether a worker keeps one core busy and no more.

    Raises:
        BackendError: If the nodes have too few cores or GPUs.
    """
    resources = [node["Resources"] for node in nodes]
    cpus = [int(have.get("CPU", 0)) for have in resources]
    if gpus:
        slots = [min(int(have.get("GPU", 0) / gpus), cpu) for have, cpu in zip(resources, cpus, strict=True)]
        needs = f"{gpus:g} GPU(s) and a core each"
        available = f"{sum(have.get('GPU', 0) for have in resources):g} GPU(s)"
    else:
        slots, needs, available = cpus, "a core each", f"{sum(cpus)} core(s)"
    least = workers or 1
    if sum(slots) < least:
        raise BackendError(
            f"{least} worker(s) with {needs} do not fit: this Ray has {available} on {len(nodes)} node(s)",
            "ask for less (--workers, --gpus-per-worker), or wait until the nodes have joined: ray status",
        )
    if gpus or one_core:
        return workers or sum(slots), 1
    count = workers or sum(cpu > 0 for cpu in cpus)
    each = next(n for n in range(sum(cpus) // count, 0, -1) if sum(cpu // n for cpu in cpus) >= count)
    return count, each


def check_versions(ray: Any) -> None:
    """Raise BackendError if a node has other versions of packages than this process: its clips would differ."""
    here = package_versions()
    lines = []
    for node, report in _ask_nodes(ray).items():
        installed = report["versions"]
        differing = [
            f"{name} {installed.get(name) or 'missing'} (here {version})"
            for name, version in here.items()
            if _public_version(installed.get(name)) != _public_version(version)
        ]
        lines += [f"\n  - {node}: {', '.join(differing)}"] if differing else []
    if lines:
        raise BackendError(
            "the nodes of the Ray cluster do not have what is installed here:" + "".join(lines),
            "install the same version of synthmir, from the same lock file, on every node",
        )


def _public_version(version: str | None) -> str | None:
    """Return a version without its local part: 2.9.0+cu128 is 2.9.0."""
    return version and version.partition("+")[0]


def check_shared(ray: Any, place: Path) -> None:
    """Raise DataError if a node cannot read what this process writes to a folder."""
    probe = place / f".seen-{uuid.uuid4().hex}"
    write_text(probe, probe.name)
    try:
        blind = [node for node, report in _ask_nodes(ray, str(probe)).items() if not report["seen"]]
    finally:
        delete_file(probe)
    if blind:
        raise DataError(
            f"{place}: cannot be read on node(s) {', '.join(blind)}",
            "let --out be on storage that every node shares at the same path (NFS), or an address: s3://BUCKET/...",
        )


def _ask_nodes(ray: Any, probe: str = "") -> dict[str, dict[str, Any]]:
    """Ask each living node for its versions of packages, and whether it sees the file `probe`."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as OnNode

    inspect = ray.remote(num_cpus=0, max_retries=0)(_make_inspection())
    packages = tuple(package_versions())
    answers = {
        node["NodeManagerAddress"] + " " + node["NodeID"][:6]: inspect.options(
            scheduling_strategy=OnNode(node["NodeID"], soft=False)
        ).remote(packages, probe)
        for node in living_nodes(ray)
    }
    reports = {}
    for name, answer in answers.items():
        try:
            reports[name] = ray.get(answer, timeout=ANSWER_SECONDS)
        except ray.exceptions.GetTimeoutError:
            raise BackendError(
                f"node {name} of the Ray cluster did not answer in {ANSWER_SECONDS:g} s", "look at ray status"
            ) from None
        except ray.exceptions.RayTaskError as error:
            raise BackendError(
                f"node {name} of the Ray cluster: {error.cause or error}", FIX_CREDENTIALS if probe else None
            ) from None
        except ray.exceptions.RayError:  # a node that has just died is no longer of the cluster
            continue
    return reports


def _make_inspection() -> Callable[[tuple[str, ...], str], dict[str, Any]]:
    """Return a function that Ray pickles by value, so that it runs where synthmir is not installed."""

    def inspect(packages: tuple[str, ...], probe: str) -> dict[str, Any]:
        import platform
        from importlib import metadata

        installed = {"python": platform.python_version()}
        for name in packages:
            try:
                installed.setdefault(name, metadata.version(name))
            except metadata.PackageNotFoundError:
                continue
        if not probe:
            return {"versions": installed, "seen": True}
        from builder.io.storage import to_path

        return {"versions": installed, "seen": to_path(probe).exists()}

    return inspect
