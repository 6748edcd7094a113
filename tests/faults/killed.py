"""A build and an embedding whose processes are killed at drawn moments, and what became of the corpus.

SIGKILL ends the main process, a worker, or a node of a Ray cluster of this machine. After a main process the same
command is given again. Each clip is noted as its making begins, so that what is made twice can be counted.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq

from builder.corpus.build import ShardBuilder, build
from builder.corpus.verify import verify
from builder.embedders.mapping import Hired, embed_corpus
from builder.errors import BackendError
from builder.recipe import Recipe
from tests.builder import fakes

from .refused import ROOT, content

fakes.register()  # in every process that unpickles a worker of these

ACTOR = "ray::_Actor"
SPAWNED = "multiprocessing.spawn"
SLOW = "TONE_SLEEP"
HUNG = 300.0  # seconds without an end, after which a run is called hung
AT_START = 0.2  # of the kills: at any moment since the start, the others once so much is done
LAST = 0.85  # of the shards: about when the last kill is due
DELAY = 0.6  # seconds at most, after that


class LoggedBuilder(ShardBuilder):
    """Notes each clip's id in a file as it is begun."""

    def __init__(self, log: Path, *options: Any) -> None:
        super().__init__(*options)
        make = self.generator.generate

        def generate(rows: Any) -> Any:
            _note(log, [f"make {row.id}" for row in rows])
            return make(rows)

        self.generator.generate = generate  # type: ignore[method-assign]


class LoggedHired(Hired):
    """Makes embedders that note how many clips of a shard are embedded."""

    def __init__(self, log: Path, *options: Any) -> None:
        super().__init__(*options)
        object.__setattr__(self, "log", log)

    def __call__(self) -> Any:
        return _logged(self.log, super().__call__)  # type: ignore[attr-defined]

    def __reduce__(self) -> tuple[Any, ...]:
        return partial, (_logged, self.log, partial(*super().__reduce__()[1]))  # type: ignore[attr-defined]


def _logged(log: Path, setup: Callable[[], Any]) -> Callable[[Any, Any], Any]:
    worker = setup()

    def embed(part: Any, tick: Callable[[int], None]) -> Any:
        def noted(count: int) -> None:
            time.sleep(count * float(os.environ.get(SLOW, "0")))
            _note(log, [f"embed {part.name}"] * count)
            tick(count)

        return worker(part, noted)

    return embed


def _note(log: Path, lines: list[str]) -> None:
    with log.open("a") as file:  # one write, so that processes do not mix theirs
        file.write("".join(line + "\n" for line in lines))


def session(log: str, *command: str) -> None:
    """One run of the command line, in a process of its own, with notes."""
    import builder.corpus.build as building
    import builder.embedders.mapping as mapping
    import synthmir

    building.ShardBuilder = partial(LoggedBuilder, Path(log))  # type: ignore[assignment,misc]
    mapping.Hired = partial(LoggedHired, Path(log))  # type: ignore[assignment,misc]
    sys.argv = ["synthmir", *command]
    synthmir.main()


@dataclass
class Plan:
    """What is built, and how it is disturbed. `ray`: share of the sessions that run on a cluster of two nodes."""

    folder: Path
    clips: int
    kills: int
    clips_per_shard: int
    ray: float = 0.0
    generator: str = "arranger"
    embedder: str = "melstats"
    seed: int = 0
    seconds: float = 1.0
    workers: int = 2
    embedding: bool = True  # is disturbed too
    slow: float = 0.0  # seconds that a tone waits, and its embedding

    @property
    def recipe(self) -> Path:
        """Its file, written."""
        path = self.folder / "recipe.yaml"
        path.write_text(
            f"{{name: killed, prompts: {{total: {self.clips}}}, embedder: {{name: {self.embedder}}}, "
            f"generator: {{name: {self.generator}, seconds: {self.seconds:g}}}}}\n"
        )
        return path

    def commands(self, corpus: Path) -> list[list[str]]:
        """Build, embed."""
        build = ["build", str(self.recipe), "--out", str(corpus), "--clips-per-shard", str(self.clips_per_shard)]
        return [build, ["embed", str(corpus), "--embedder", self.embedder]]


@dataclass
class Found:
    """What there is to tell after the last kill."""

    kills: Counter[str] = field(default_factory=Counter)  # of what: main, worker, node
    sessions: int = 0
    given_up: int = 0  # sessions that ended as a shard's workers were killed thrice, or all as they started
    differs: list[str] = field(default_factory=list)
    lost: int = 0
    doubled: int = 0
    made_again: int = 0
    embedded_again: int = 0
    faults: list[str] = field(default_factory=list)  # of `verify`


def disturb(plan: Plan, told: Callable[[str], None] = lambda words: None) -> Found:
    """Build and embed twice, once undisturbed, and compare."""
    whole, corpus = plan.folder / "whole", plan.folder / "corpus"
    recipe = Recipe.load(plan.recipe)
    build(recipe, whole, workers=1, clips_per_shard=plan.clips_per_shard)
    embed_corpus(whole, recipe.embedder)
    log, found = plan.folder / "killed.log", Found()
    with ExitStack() as stack:
        cluster = stack.enter_context(_Cluster()) if plan.ray else None
        chance = random.Random(plan.seed)
        for stage, command in enumerate(plan.commands(corpus)):
            some = plan.kills - found.kills.total() if stage or not plan.embedding else -(-plan.kills // 2)
            if stage and not plan.embedding:
                embed_corpus(corpus, recipe.embedder)
            else:
                _Stage(plan, command, log, cluster, chance, some, found, told).run()
    wanted, there = content(whole), content(corpus)
    found.differs = sorted(name for name in wanted.keys() | there if wanted.get(name) != there.get(name))
    for config in ("data", plan.embedder):
        planned, made = _ids(whole / config), _ids(corpus / config)
        found.lost += (planned - made).total()
        found.doubled += (made - planned).total()
    noted = Counter(log.read_text().splitlines())
    begun = Counter({key: count for key, count in noted.items() if key.startswith("make ")})
    found.made_again = begun.total() - len(begun)
    found.embedded_again = noted.total() - begun.total() - _ids(whole / plan.embedder).total()
    found.faults = verify(corpus).faults
    return found


def _ids(folder: Path) -> Counter[str]:
    tables = [pq.read_table(path, columns=["id"]) for path in folder.glob("*.parquet")]
    return Counter(name for table in tables for name in table["id"].to_pylist())


def start(log: Path, command: list[str], slow: float = 0.0) -> subprocess.Popen[str]:
    """A run of the command line in a process of its own, with notes in a file; it is told to take its time."""
    code = "import sys; from tests.faults.killed import session; session(*sys.argv[1:])"
    environ = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), SLOW: str(slow)}
    return subprocess.Popen(
        [sys.executable, "-c", code, str(log), *command], cwd=ROOT, env=environ, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace",
    )  # fmt: skip


def workers(count: int) -> list[str]:
    """Options for so many worker processes: one is one only where it has a time limit."""
    return ["--workers", str(count), *(["--shard-timeout", "600"] if count == 1 else [])]


class _Cluster:
    """A Ray cluster of two nodes of this machine, the second of which can be killed."""

    def __enter__(self) -> _Cluster:
        for name, value in {"RAY_health_check_period_ms": "500", "PYTHONPATH": str(ROOT)}.items():
            os.environ[name] = value
        from ray.cluster_utils import Cluster

        small = {"object_store_memory": 128 << 20}
        self._cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, **small}
        )
        self._small = small
        self._second = self._cluster.add_node(num_cpus=1, **small)
        self.address = self._cluster.address
        return self

    def kill_node(self) -> None:
        """SIGKILL to the node's processes; another comes."""
        self._cluster.remove_node(self._second, allow_graceful=False)
        self._second = self._cluster.add_node(num_cpus=1, **self._small)

    def __exit__(self, *_: object) -> None:
        self._cluster.shutdown()


@dataclass
class _Stage:
    """One command, given until it is done."""

    plan: Plan
    command: list[str]
    log: Path
    cluster: _Cluster | None
    chance: random.Random
    kills: int
    found: Found
    told: Callable[[str], None]

    def run(self) -> None:
        done = 0
        while True:
            on_ray = self.cluster is not None and self.chance.random() < self.plan.ray
            options = ["--executor", "ray", "--address", self.cluster.address] if on_ray and self.cluster else []
            run = start(self.log, [*self.command, *workers(self.plan.workers), *options], self.plan.slow)
            self.found.sessions += 1
            killed = False
            while not killed and done < self.kills:
                if not self._wait(run, self._after(), done):
                    break
                victim = self._kill(run, on_ray)
                if victim:
                    done += 1
                    self.found.kills[victim] += 1
                    where = "on Ray" if on_ray else "here"
                    self.told(f"{self.command[0]}: {victim} {where}, {self._done()} shards done")
                killed = victim == "main"
            words = run.communicate(timeout=HUNG)[0]
            if killed:
                continue
            if run.returncode == 0:
                return
            if run.returncode != BackendError.exit_code or "the same command tries" not in words:
                raise RuntimeError(f"{self.command[0]} ended with {run.returncode}:\n{words}")
            self.found.given_up += 1

    def _after(self) -> float:
        """Seconds until the next kill, from the start or from when enough is done; negative: from the start."""
        return -self.chance.uniform(0.3, 6.0) if self.chance.random() < AT_START else self.chance.uniform(0, DELAY)

    def _wait(self, run: subprocess.Popen[str], after: float, done: int) -> bool:
        """Whether the moment of the next kill came before the end."""
        shards = -(-self.plan.clips // self.plan.clips_per_shard)
        enough = int(LAST * shards * (done + 0.5) / self.kills) if after > 0 else 0
        clock, before = time.monotonic(), self._noted()
        while run.poll() is None and time.monotonic() - clock < HUNG:
            if after < 0 or (self._done() >= enough and self._noted() > before):  # something is in work again
                break
            time.sleep(0.02)
        until = time.monotonic() + abs(after)
        while run.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        return run.poll() is None

    def _noted(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0

    def _done(self) -> int:
        """Shards that are finished in this stage."""
        work = self.plan.folder / "corpus" / ".work"
        ledger = work / ("ledger.jsonl" if self.command[0] == "build" else f"{self.plan.embedder}/ledger.jsonl")
        try:
            return ledger.read_bytes().count(b"\n")
        except OSError:
            return 0

    def _kill(self, run: subprocess.Popen[str], on_ray: bool) -> str:
        """What was killed, "" if there was none of it."""
        kinds = ("main", "worker", "node") if on_ray else ("main", "worker")
        victim = self.chance.choices(kinds, (4, 4, 3)[: len(kinds)])[0]
        if victim == "main":
            run.kill()
        elif victim == "node":
            assert self.cluster
            self.cluster.kill_node()
        else:
            workers = _workers(os.getpid(), ACTOR) if on_ray else _workers(run.pid, SPAWNED)
            if not workers:
                return ""
            os.kill(self.chance.choice(workers), signal.SIGKILL)
        return victim


def _workers(root: int, word: str) -> list[int]:
    """Processes below one whose command has this word."""
    found = []
    for process in psutil.Process(root).children(recursive=True):
        try:
            if word in " ".join(process.cmdline()):
                found.append(process.pid)
        except psutil.Error:
            continue
    return sorted(found)
