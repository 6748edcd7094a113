"""A build and an embedding whose processes are killed at random moments, and the corpus that results.

SIGKILL ends the main process, a worker, or a node of a Ray cluster of this machine. After a main process the same
command is given again. Each clip is noted as its making begins, so that what is made twice can be counted. Where a
corpus grows, the main process is also asked to stop (Ctrl-C, SIGTERM), and looked at is what a reader sees in between.
"""

from __future__ import annotations

import os
import random
import shutil
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

from builder.corpus.building.build import build
from builder.corpus.building.shard_builder import ShardBuilder
from builder.corpus.corpus import GROWTH, STATE, SUMS
from builder.corpus.shard_map import ShardMapperFactory
from builder.corpus.shards import WORK
from builder.corpus.verify import verify
from builder.embedders.embed_corpus import embed_corpus
from builder.errors import BackendError
from builder.recipe import Recipe
from tests.builder import fakes

from .growing import Before, clips
from .refused import ROOT, content

fakes.register()  # in every process that unpickles a worker of these

ACTOR = "ray::_RayWorker"
SPAWNED = "multiprocessing.spawn"
SLOW = "TONE_SLEEP"
HUNG = 300.0  # seconds without an end, after which a run is called hung
AT_START = 0.2  # of the kills: at any moment since the start, the others once so much is done
LAST = 0.85  # of the shards: about when the last kill is due
DELAY = 0.6  # seconds at most, after that
JOINING = 0.4  # of the kills of an extension: while new shards are put in their place
JOINED = 1.5  # seconds at most, since that began


class LoggedBuilder(ShardBuilder):
    """Notes each clip's id in a file as it is begun."""

    def __init__(self, log: Path, *options: Any) -> None:
        super().__init__(*options)
        make = self.generator.generate

        def generate(rows: Any) -> Any:
            _note(log, [f"make {row.id}" for row in rows])
            return make(rows)

        self.generator.generate = generate  # type: ignore[method-assign]


class LoggingFactory(ShardMapperFactory):
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
    import builder.corpus.building.build as building
    import builder.corpus.shard_map as mapping
    import synthmir.cli

    building.ShardBuilder = partial(LoggedBuilder, Path(log))  # type: ignore[assignment,misc]
    mapping.ShardMapperFactory = partial(LoggingFactory, Path(log))  # type: ignore[assignment,misc]
    sys.argv = ["synthmir", *command]
    synthmir.cli.main()


@dataclass
class Plan:
    """What is built, and how it is disturbed. `ray`: share of the sessions that run on a cluster of two nodes. `grow`:
    such a corpus is there already, and what is disturbed is that it becomes twice as large, in three steps."""

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
    grow: bool = False

    @property
    def recipe(self) -> Path:
        """Its file, written."""
        return self._recipe("recipe", self.clips)

    def _recipe(self, name: str, total: int, taxonomy: str = "paper", generator: str | None = None) -> Path:
        path = self.folder / f"{name}.yaml"
        path.write_text(
            f"{{name: killed, taxonomy: {taxonomy}, prompts: {{total: {total}}}, embedder: {{name: {self.embedder}}}, "
            f"generator: {{name: {generator or self.generator}, seconds: {self.seconds:g}}}}}\n"
        )
        return path

    def _growth(self) -> list[Path]:
        """Recipes of more clips, a genre more, another generator's clips: a third, a quarter, the rest of as many."""
        (self.folder / "six.yaml").write_text("{name: six, genres: [electronica, funk, orchestral, pop, rock, blues]}")
        more, other = self.clips * 4 // 3, "arranger" if self.generator == "tone" else "tone"
        return [
            self._recipe("more", more),
            self._recipe("genre", more * 6 // 5, "six.yaml"),
            self._recipe("source", 2 * self.clips - more * 6 // 5, "six.yaml", other),
        ]

    def commands(self, corpus: Path) -> list[list[str]]:
        """The commands: build and embed, or extend three times and embed."""
        options = ["--out", str(corpus), "--clips-per-shard", str(self.clips_per_shard)]
        build = [["build", str(self.recipe), *options]]
        if self.grow:
            build = [["build", str(recipe), *options, "--extend"] for recipe in self._growth()]
        return [*build, ["embed", str(corpus), "--embedder", self.embedder]]


@dataclass
class Found:
    """The result after the last kill."""

    kills: Counter[str] = field(default_factory=Counter)  # of what: main, worker, node; stop: of main, but asked to
    sessions: int = 0
    given_up: int = 0  # sessions that ended as a shard's workers were killed three times, or all as they started
    differs: list[str] = field(default_factory=list)
    lost: int = 0
    doubled: int = 0
    made_again: int = 0
    embedded_again: int = 0
    faults: list[str] = field(default_factory=list)  # of `verify`
    looks: int = 0  # at a corpus that grows, in between
    seen: list[str] = field(default_factory=list)  # what a reader saw then, and must not


def disturb(plan: Plan, report: Callable[[str], None] = lambda text: None) -> Found:
    """Build and embed twice, once undisturbed, and compare."""
    whole, corpus = plan.folder / "whole", plan.folder / "corpus"
    recipe = Recipe.load(plan.recipe)
    if plan.grow:
        _undisturbed(plan.recipe, whole, plan)
        embed_corpus(whole, recipe.embedder)
        shutil.copytree(whole, corpus)
    log, found = plan.folder / "killed.log", Found()
    embedded = _ids(corpus / plan.embedder).total()
    with ExitStack() as stack:
        cluster = stack.enter_context(_Cluster()) if plan.ray else None
        chance = random.Random(plan.seed)
        commands = plan.commands(corpus)
        for stage, command in enumerate(commands):
            if command[0] == "build":
                _undisturbed(Path(command[1]), whole, plan)
            else:
                embed_corpus(whole, recipe.embedder)
            rest = len(commands) - stage if plan.embedding else len(commands) - stage - 1
            if not rest:
                embed_corpus(corpus, recipe.embedder)
                continue
            before = Before.of(corpus) if plan.grow else None
            kills = -(-(plan.kills - found.kills.total()) // rest)
            _Stage(plan, command, log, cluster, chance, kills, found, report, before, clips(whole)).run()
    wanted, there = content(whole), content(corpus)
    found.differs = sorted(name for name in wanted.keys() | there if wanted.get(name) != there.get(name))
    for config in ("data", plan.embedder):
        planned, made = _ids(whole / config), _ids(corpus / config)
        found.lost += (planned - made).total()
        found.doubled += (made - planned).total()
    noted = Counter(log.read_text().splitlines())
    begun = Counter({key: count for key, count in noted.items() if key.startswith("make ")})
    found.made_again = begun.total() - len(begun)
    found.embedded_again = noted.total() - begun.total() - (_ids(whole / plan.embedder).total() - embedded)
    found.faults = verify(corpus).faults
    return found


def _undisturbed(recipe: Path, whole: Path, plan: Plan) -> None:
    extend = (whole / SUMS).exists()
    build(Recipe.load(recipe), whole, workers=1, clips_per_shard=plan.clips_per_shard, extend=extend)


def _ids(folder: Path) -> Counter[str]:
    tables = [pq.read_table(path, columns=["id"]) for path in folder.glob("*.parquet")]
    return Counter(name for table in tables for name in table["id"].to_pylist())


def start(log: Path, command: list[str], slow: float = 0.0) -> subprocess.Popen[str]:
    """A run of the command line in a process of its own, with notes in a file; its tones are slowed down."""
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
    """One command, given until it is done. `before`: the corpus that it extends; `clips`: those that are to be."""

    plan: Plan
    command: list[str]
    log: Path
    cluster: _Cluster | None
    chance: random.Random
    kills: int
    found: Found
    report: Callable[[str], None]
    before: Before | None
    clips: frozenset[str]

    @property
    def corpus(self) -> Path:
        """The folder that is disturbed."""
        return self.plan.folder / "corpus"

    @property
    def name(self) -> str:
        """Of the command, and what it adds."""
        return Path(self.command[1]).stem if "--extend" in self.command else self.command[0]

    def run(self) -> None:
        done, joining = 0, self.kills - int(JOINING * self.kills) if "--extend" in self.command else self.kills
        while True:
            on_ray = self.cluster is not None and self.chance.random() < self.plan.ray
            options = ["--executor", "ray", "--address", self.cluster.address] if on_ray and self.cluster else []
            joined = self._joined()
            run = start(self.log, [*self.command, *workers(self.plan.workers), *options], self.plan.slow)
            self.found.sessions += 1
            killed = ""
            while killed not in ("main", "stop") and done < self.kills:
                kinds = ["main", "worker", *(["node"] if on_ray else []), *(["stop"] if self.before else [])]
                if done < joining:
                    after = self._after()
                    there = self._wait(run, after, done)
                    if after < 0 and self.before:
                        kinds.remove("stop")  # its signal handlers may not be set yet
                else:
                    there, kinds = self._wait_for_joining(run, joined), ["main", "stop"]
                if not there:
                    break
                if killed := self._kill(run, kinds):
                    done += 1
                    self.found.kills[killed] += 1
                    where = "on Ray" if on_ray else "here"
                    suffix = ", joining" if done > joining else ""
                    self.report(f"{self.name}: {killed} {where}, {self._done()} shards done{suffix}")
            output = run.communicate(timeout=HUNG)[0]
            if self.before and run.returncode:
                self.found.looks += 1
                self.found.seen += self.before.seen(self.corpus, self.clips)
            if killed == "main":
                continue
            if run.returncode == 0:
                return
            asked = killed == "stop" and run.returncode == 130 and "resumes from here" in output
            gave_up = run.returncode == BackendError.exit_code and "the same command tries" in output
            if not (asked or gave_up) or "Traceback" in output:
                raise RuntimeError(f"{self.command[0]} ended with {run.returncode}:\n{output}")
            self.found.given_up += gave_up

    def _after(self) -> float:
        """Seconds until the next kill, from the start or from when enough is done; negative: from the start."""
        return -self.chance.uniform(0.3, 6.0) if self.chance.random() < AT_START else self.chance.uniform(0, DELAY)

    def _wait(self, run: subprocess.Popen[str], after: float, done: int) -> bool:
        """Whether the moment of the next kill came before the end."""
        shards = -(-self.plan.clips // self.plan.clips_per_shard)
        shards = shards // 3 if "--extend" in self.command else shards  # it grows in three steps
        enough = int(LAST * shards * (done + 0.5) / self.kills) if after > 0 else 0
        before = self._noted()
        return self._reached(  # something is in work again
            run, lambda: after < 0 or (self._done() >= enough and self._noted() > before), abs(after)
        )

    def _wait_for_joining(self, run: subprocess.Popen[str], before: int) -> bool:
        """The same, of a moment while new shards are put in their place; `before`: when that last began."""
        return self._reached(run, lambda: self._joined() not in (0, before), self.chance.uniform(0, JOINED))

    def _reached(self, run: subprocess.Popen[str], moment: Callable[[], bool], after: float) -> bool:
        """Whether it is still at work so many seconds after a moment, waited for."""
        clock = time.monotonic()
        while run.poll() is None and time.monotonic() - clock < HUNG and not moment():
            time.sleep(0.02)
        until = time.monotonic() + after
        while run.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        return run.poll() is None

    def _joined(self) -> int:
        """When a run last began to put new shards in their place, 0 if none did."""
        try:
            return (self.corpus / WORK / STATE).stat().st_mtime_ns
        except OSError:
            return 0

    def _noted(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0

    def _done(self) -> int:
        """Shards that are finished in this stage."""
        place = (GROWTH if self.before else "") if self.command[0] == "build" else self.plan.embedder
        try:
            return (self.corpus / WORK / place / "ledger.jsonl").read_bytes().count(b"\n")
        except OSError:
            return 0

    def _kill(self, run: subprocess.Popen[str], kinds: list[str]) -> str:
        """What was killed, "" if there was none of it."""
        weights = {"main": 4, "worker": 4, "node": 3, "stop": 2}
        victim = self.chance.choices(kinds, [weights[kind] for kind in kinds])[0]
        if victim == "main":
            run.kill()
        elif victim == "stop":
            run.send_signal(self.chance.choice((signal.SIGTERM, signal.SIGINT)))
        elif victim == "node":
            assert self.cluster
            self.cluster.kill_node()
        else:
            there = _workers(os.getpid(), ACTOR) if "node" in kinds else _workers(run.pid, SPAWNED)
            if not there:
                return ""
            os.kill(self.chance.choice(there), signal.SIGKILL)
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
