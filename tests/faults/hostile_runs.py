"""A reader given damaged files in a process of its own, which is watched: what it takes, writes, runs and says."""

from __future__ import annotations

import logging
import os
import resource
import shutil
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

from .hostile_readers import READERS, Reader
from .mutations import mutated

ADDRESS_SPACE = 24 << 30  # bytes: Arrow and torch map more than they use
KNOWN = ("uname",)  # asked by the standard library for the processor's name
RUN = {"os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "pickle.find_class", "socket.connect"}
WRITES = {  # by event: which argument is the path, and which the folder that it starts from
    "os.remove": (0, 1), "os.rmdir": (0, 1), "os.mkdir": (0, 2), "os.chmod": (0, 2), "os.rename": (1, 3),
    "os.link": (1, 3), "os.symlink": (1, 2), "os.truncate": (0, None),
}  # fmt: skip


@dataclass
class Outcome:
    """What became of one damaged input."""

    reader: str
    number: int
    kind: str  # accepted, refused, or a failure: crash, outside, ran
    told: str = ""
    seconds: float = 0.0
    memory: int = 0  # bytes that it took at most, beside what the process held before


@dataclass
class Watch:
    """Python's own audit: no file is written but in `folder`, and nothing is run."""

    folder: str
    faults: list[str] = field(default_factory=list)
    on: bool = False

    def start(self) -> None:
        sys.addaudithook(self._seen)

    def _seen(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "open":
            path, mode, flags = arguments
            written = any(letter in (mode or "") for letter in "wax+") or (
                isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            )
            if written and not isinstance(path, int):
                self._place(event, path)
        elif event in WRITES:
            path, folder = WRITES[event]
            self._place(event, arguments[path], -1 if folder is None else arguments[folder])
        elif event in RUN and not self._known(event, arguments):
            self.faults.append(f"ran {event} {arguments!r:.200}")

    def _known(self, event: str, arguments: tuple[Any, ...]) -> bool:
        return event == "subprocess.Popen" and arguments[0] in KNOWN

    def _place(self, event: str, path: Any, folder: int = -1) -> None:
        base = Path(f"/proc/self/fd/{folder}").readlink() if folder > 2 else Path.cwd()  # as shutil.rmtree names files
        place = os.path.realpath(base / os.fsdecode(path))
        if not place.startswith((self.folder, "/dev/null")):
            self.faults.append(f"wrote outside: {event} {place}")


def listing(folder: Path, but: str) -> dict[str, tuple[int, int]]:
    """Every file under a folder with size and time, but under one of its folders."""
    found = {}
    for path in folder.rglob("*"):
        if but not in path.parts and path.is_file():
            told = path.stat()
            found[str(path)] = (told.st_size, told.st_mtime_ns)
    return found


def seeds(sandbox: Path, reader: Reader) -> Path:
    """Where a worker keeps a reader's sound files."""
    return sandbox / "seeds" / reader.name.replace(" ", "-")


def damaged(reader: Reader, seed: Path, folder: Path, number: int) -> str:
    """Write the reader's files into `folder` with one of them damaged; says which."""
    random = Random(f"{reader.name} {number}")
    target = random.choice(reader.targets)
    place = reader.place if random.random() < 0.7 else (0.0, 1.0)
    data = mutated((seed / target).read_bytes(), random, reader.text(target), place)
    if folder.exists():
        shutil.rmtree(folder)
    shutil.copytree(seed, folder)
    (folder / target).write_bytes(data)
    reader.mend(folder)
    return target


def outcomes(reader: Reader, numbers: range, sandbox: Path, watch: Watch) -> Iterator[Outcome]:
    """Each input read. Files of the reader lie in `sandbox`/input; what it writes elsewhere is a failure."""
    from builder.errors import SynthmirError

    seed, folder = seeds(sandbox, reader), sandbox / "input"
    if not seed.exists():
        reader.seed(seed)
    before = listing(sandbox, "input")
    for number in numbers:
        damaged(reader, seed, folder, number)
        rest = _forget_peak()
        watch.faults.clear()
        clock = time.process_time()  # a busy machine is no hang
        watch.on = True
        try:
            faults = reader.read(folder)
            kind, told = ("refused", str(faults)[:300]) if faults else ("accepted", "")
        except SynthmirError as error:
            kind, told = "refused", str(error)[:300]
        except BaseException:
            kind, told = "crash", traceback.format_exc()
        watch.on = False
        seconds = time.process_time() - clock
        if watch.faults:
            kind, told = ("ran" if watch.faults[0].startswith("ran") else "outside"), "; ".join(watch.faults[:5])
        yield Outcome(reader.name, number, kind, told, seconds, _told("VmHWM") - rest)
    after = listing(sandbox, "input")
    if changed := [name for name in after if after[name] != before.get(name)] + [n for n in before if n not in after]:
        yield Outcome(reader.name, numbers.start, "outside", f"changed between {numbers}: {changed[:5]}")


def serve(pipe: Connection, sandbox: Path) -> None:
    """A worker's life: (reader's place in READERS, first, last) in, "ready" and Outcomes out, None after a batch."""
    home = sandbox / "home"
    home.mkdir(parents=True, exist_ok=True)
    (sandbox / "cache").mkdir(exist_ok=True)
    os.environ.update(HOME=str(home), HF_HOME=str(sandbox / "cache"), HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1",
                      HF_DATASETS_DISABLE_PROGRESS_BARS="1", TMPDIR=str(sandbox / "input"))  # fmt: skip
    os.chdir(home)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.disable(logging.CRITICAL)
    with Path(os.devnull).open("w") as silence:  # libmpg123 speaks on the descriptor
        os.dup2(silence.fileno(), 1)
        os.dup2(silence.fileno(), 2)
    import matplotlib.font_manager  # noqa: F401 - writes its cache, before anything is watched
    import torch
    import transformers  # noqa: F401 - what readers import, before they are watched

    torch.set_num_threads(1)
    watch = Watch(str(sandbox / "input"))
    watch.start()
    warm: set[int] = set()
    while (task := pipe.recv()) is not None:
        place, first, last = task
        if place not in warm:  # an import by the first input is no fault of it
            try:
                _warm(READERS[place], sandbox)
            except BaseException:
                pipe.send(f"{READERS[place].name} does not read its own sound files:\n{traceback.format_exc()}")
                return
            warm.add(place)
        pipe.send("ready")
        for outcome in outcomes(READERS[place], range(first, last), sandbox, watch):
            pipe.send(outcome)
        pipe.send(None)


def _warm(reader: Reader, sandbox: Path) -> None:
    folder = sandbox / "input"
    shutil.rmtree(folder, ignore_errors=True)
    reader.seed(folder)
    reader.read(folder)


def _forget_peak() -> int:
    """Let the kernel count the most memory anew; what is held now, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return _told("VmRSS")


def _told(what: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) << 10
    return 0
