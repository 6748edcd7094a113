"""Runs readers on damaged files, in a process whose memory, writes and commands are watched."""

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

from builder.garbage import collect_garbage_rarely

from .hostile_readers import READERS, Reader
from .mutations import mutated

ADDRESS_SPACE = 24 << 30  # bytes: Arrow and torch map more than they use
KNOWN = ("uname",)  # the standard library runs it for the processor's name
RUN = {"os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "pickle.find_class", "socket.connect"}
WRITES = {  # by event: which argument is the path, and which the folder that it starts from
    "os.remove": (0, 1), "os.rmdir": (0, 1), "os.mkdir": (0, 2), "os.chmod": (0, 2), "os.rename": (1, 3),
    "os.link": (1, 3), "os.symlink": (1, 2), "os.truncate": (0, None),
}  # fmt: skip


@dataclass
class Outcome:
    """The result of one damaged input."""

    reader: str
    number: int
    kind: str  # accepted, refused, or a failure: crash, outside, ran
    message: str = ""
    seconds: float = 0.0
    memory: int = 0  # bytes: the peak, without what the process used before


@dataclass
class Watch:
    """An audit hook of Python: files may only be written in `folder`, and no program may run."""

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
            if written:
                self._place(event, path)
        elif event in WRITES:
            path, folder = WRITES[event]
            self._place(event, arguments[path], -1 if folder is None else arguments[folder])
        elif event in RUN and not self._known(event, arguments):
            self.faults.append(f"ran {event} {arguments!r:.200}")

    def _known(self, event: str, arguments: tuple[Any, ...]) -> bool:
        return event == "subprocess.Popen" and arguments[0] in KNOWN

    def _place(self, event: str, path: Any, folder: int = -1) -> None:
        if isinstance(path, int):  # an open file, which was seen as it was opened
            return
        base = Path(f"/proc/self/fd/{folder}").readlink() if folder > 2 else Path.cwd()  # as shutil.rmtree names files
        place = os.path.realpath(base / os.fsdecode(path))
        if not place.startswith((self.folder, "/dev/null")):
            self.faults.append(f"wrote outside: {event} {place}")


def listing(folder: Path, but: str) -> dict[str, tuple[int, int]]:
    """List every file below a folder with its size and time, except in folders of one name."""
    files = {}
    for path in folder.rglob("*"):
        if but not in path.parts and path.is_file():
            status = path.stat()
            files[str(path)] = (status.st_size, status.st_mtime_ns)
    return files


def seeds(sandbox: Path, reader: Reader) -> Path:
    """Return the folder with a reader's undamaged files."""
    return sandbox / "seeds" / reader.name.replace(" ", "-")


def damaged(reader: Reader, seed: Path, folder: Path, number: int) -> str:
    """Write the reader's files to a folder with one of them damaged; return which."""
    random = Random(f"{reader.name} {number}")
    target = random.choice(reader.targets)
    place = reader.place if random.random() < 0.7 else (0.0, 1.0)
    data = mutated((seed / target).read_bytes(), random, reader.text(target), place)
    if folder.exists():
        shutil.rmtree(folder)
    shutil.copytree(seed, folder)
    (folder / target).write_bytes(data)
    reader.repair(folder)
    return target


def outcomes(reader: Reader, numbers: range, sandbox: Path, watch: Watch) -> Iterator[Outcome]:
    """Read each input. The reader's files are in `sandbox`/input; writing elsewhere is a failure."""
    from builder.errors import SynthmirError

    seed, folder = seeds(sandbox, reader), sandbox / "input"
    if not seed.exists():
        reader.seed(seed)
    before = listing(sandbox, "input")
    for number in numbers:
        damaged(reader, seed, folder, number)
        rest = _forget_peak()
        watch.faults.clear()
        clock = time.process_time()  # so that a busy machine does not look like a hang
        watch.on = True
        try:
            faults = reader.read(folder)
            kind, message = ("refused", str(faults)[:300]) if faults else ("accepted", "")
        except SynthmirError as error:
            kind, message = "refused", str(error)[:300]
        except BaseException:
            kind, message = "crash", traceback.format_exc()
        watch.on = False
        seconds = time.process_time() - clock
        if watch.faults:
            kind, message = ("ran" if watch.faults[0].startswith("ran") else "outside"), "; ".join(watch.faults[:5])
        yield Outcome(reader.name, number, kind, message, seconds, _read_memory("VmHWM") - rest)
    after = listing(sandbox, "input")
    if changed := [name for name in after if after[name] != before.get(name)] + [n for n in before if n not in after]:
        yield Outcome(reader.name, numbers.start, "outside", f"changed between {numbers}: {changed[:5]}")


def serve(pipe: Connection, sandbox: Path) -> None:
    """Run batches. Receives (index in READERS, first, last); sends "ready", an Outcome for each input, then None."""
    collect_garbage_rarely()
    home = sandbox / "home"
    home.mkdir(parents=True, exist_ok=True)
    (sandbox / "cache").mkdir(exist_ok=True)
    os.environ.update(HOME=str(home), HF_HOME=str(sandbox / "cache"), HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1",
                      HF_DATASETS_DISABLE_PROGRESS_BARS="1", TMPDIR=str(sandbox / "input"))  # fmt: skip
    os.chdir(home)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.disable(logging.CRITICAL)
    with Path(os.devnull).open("w") as silence:  # libmpg123 writes to the descriptor
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
        if place not in warm:  # so that imports are not counted for the first input
            try:
                _warm(READERS[place], sandbox)
            except BaseException:
                pipe.send(f"{READERS[place].name} does not read its undamaged files:\n{traceback.format_exc()}")
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
    """Reset the kernel's peak of this process's memory; return the memory in use, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return _read_memory("VmRSS")


def _read_memory(what: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) << 10
    return 0
