"""A build and an embedding in processes whose writes are refused on purpose, by what stands in shim.c.

`Host` is a process that is warm (everything imported, a corpus made) and forks for each fault, so that one costs a
fraction of a second. In a fork the command line itself runs: what a person would read, and the exit code. It can be
killed there instead. With `grow` a corpus is there already, and what is disturbed is that it is extended and embedded.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RECIPE = """
name: refused
prompts: {total: 12}
generator: {name: tone, seconds: 1}
split: {validation: 0.25}
quality: {max_rejected: 0.5, attempts: 1}
embedder: {name: levels}
"""
GROWN = RECIPE.replace("name: refused", "name: refused\ntaxonomy: grown.yaml").replace("total: 12", "total: 24")
TAXONOMY = "{name: grown, genres: [electronica, funk, orchestral, pop, rock, blues]}"
SILENT = "3"  # clips whose seed begins so are silent, and rejected
CLIPS_PER_SHARD = 3
PATIENCE = 60  # seconds, of a fork
TIMED = ("records/", "README.md", "SHA256SUMS")  # hold times


@dataclass
class Fault:
    """Which calls fail: the n-th below the corpus, or with `lasting` all from the n-th on. `clock`: seconds that the
    wall clock jumps there instead. `kill`: the process is, before the n-th of all calls in `Host.log`, and with `then`
    the run that comes after it too, before so many calls of its own."""

    nth: int
    lasting: bool = True
    error: int = errno.ENOSPC
    clock: int = 0
    kill: bool = False
    then: int = 0


@dataclass
class Outcome:
    """What a run with a fault said, and how the next one without it ended."""

    fault: Fault
    refused: str  # the first call that failed: its name and the file's, "" if none did
    code: int  # the exit code; negative: the signal
    words: str
    damaged: list[str]  # Parquet files that could be seen and are not what they should be
    code_after: int
    words_after: str
    differs: list[str]  # files of the finished corpus that are not as in an undisturbed one
    seen: list[str]  # what a reader of the corpus that grows could see and must not, after the fault
    again: int  # clips that were begun more than once


def compiled(folder: Path) -> Path:
    """The shim, as a library to preload. Raises FileNotFoundError where there is no C compiler."""
    library = folder / "shim.so"
    source = Path(__file__).with_name("shim.c")
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


@contextmanager
def host(folder: Path, pictures: bool = True, grow: bool = False) -> Iterator[Host]:
    """A warm process that works below `folder`. Without `pictures` the card's are empty, which is quicker."""
    options = [name for name, asked in (("pictures", pictures), ("grow", grow)) if asked]
    command = [sys.executable, "-m", "tests.faults.refused", str(folder), *options]
    environ = os.environ | {"LD_PRELOAD": str(compiled(folder)), "OMP_NUM_THREADS": "1", "TONE_FAULT": SILENT}
    environ |= {"TONE_LOG": str(folder / "made")}
    with (folder / "host.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        yield Host(process, folder / "host.log")
    finally:
        process.kill()
        process.communicate()


class Host:
    """The other end of the warm process. `log`: the calls of the undisturbed runs, their names and files; `calls`: how
    many of them may be refused, which those that remove something are not."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process, self._said = process, log
        self.log: list[str] = self._read()["log"]
        self.calls = sum(not re.match("unlink|rmdir", line) for line in self.log)

    def before(self, call: str, last: bool = False) -> int:
        """The number of the first or last call that a pattern matches. Raises IndexError where there is none."""
        return [number for number, line in enumerate(self.log, 1) if re.match(call, line)][-1 if last else 0]

    def run(self, fault: Fault) -> Outcome:
        """Build and embed with a fault, then again without."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps(asdict(fault)) + "\n")
        self._process.stdin.flush()
        return Outcome(fault, **self._read())

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process whose forks are disturbed has ended: {self._said.read_text()[-4000:]}")
        found: dict[str, Any] = json.loads(line)
        return found


def content(corpus: Path) -> dict[str, str]:
    """Every file of a corpus that holds no time, by its hash. What is left of work shows as well."""
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(corpus.rglob("*"))
        if path.is_file() and not (name := path.relative_to(corpus).as_posix()).startswith(TIMED)
    }


def _serve(folder: Path, grow: bool) -> None:
    from . import growing

    shim = ctypes.CDLL(None)
    shim.shim_refused_call.restype = ctypes.c_char_p
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    base, corpus, made = folder / "base", folder / "corpus", folder / "made"
    first, more = folder / "recipe.yaml", folder / "grown.recipe.yaml"
    first.write_text(RECIPE)
    more.write_text(GROWN)
    (folder / "grown.yaml").write_text(TAXONOMY)

    def fork(work: Callable[[], int], fault: Fault | None = None) -> tuple[int, str, str]:
        """Exit code, words, and what was refused."""
        child = os.fork()
        if not child:
            _disturbed(corpus, shim, fault, work)
        _, status = os.waitpid(child, 0)
        log = folder / "refused"
        refused = log.read_text() if log.exists() else ""
        log.unlink(missing_ok=True)
        return os.waitstatus_to_exitcode(status), (folder / "said").read_text(), refused

    def begin() -> None:
        shutil.rmtree(corpus, ignore_errors=True)
        made.unlink(missing_ok=True)
        if grow:
            shutil.copytree(base, corpus)

    def disturbed() -> int:
        return _commands(more if grow else first, corpus, grow)

    def print_damages() -> int:
        print(json.dumps(before.seen(corpus, grown)))
        return 0

    def look() -> list[str]:
        found: list[str] = json.loads(fork(print_damages)[1].splitlines()[-1]) if grow else []
        return found

    if grow:
        _commands(first, base)
    begin()
    disturbed()  # here: what is imported and cached is there for all
    whole, before, grown = content(corpus), growing.Before.of(base if grow else corpus), growing.clips(corpus)
    begin()
    code, words, calls = fork(disturbed)
    assert (code, content(corpus)) == (0, whole), words
    assert {name.partition("/")[0] for name in whole} >= {"data", "levels", "recipe.yaml", "rejected.jsonl"}, whole
    print(json.dumps({"log": calls.splitlines()}), file=answers, flush=True)
    hashes = {Path(name).name: {h for n, h in whole.items() if Path(n).name == Path(name).name} for name in whole}
    for line in sys.stdin:
        begin()
        fault = Fault(**json.loads(line))
        code, words, refused = fork(disturbed, fault)
        seen = {} if not corpus.exists() else content(corpus)
        damaged = [n for n, h in seen.items() if n.endswith(".parquet") and h not in hashes.get(Path(n).name, ())]
        damages = look()
        if fault.then:
            code, words, _ = fork(disturbed, Fault(fault.then, kill=True))
            damages += look()
        code_after, words_after, _ = fork(disturbed)
        there = content(corpus)
        differs = sorted(name for name in whole.keys() | there if whole.get(name) != there.get(name))
        begun = Counter(made.read_text().split())
        answer = {"refused": refused, "code": code, "words": words, "damaged": damaged, "code_after": code_after,
                  "words_after": words_after, "differs": differs, "seen": damages,
                  "again": begun.total() - len(begun)}  # fmt: skip
        print(json.dumps(answer), file=answers, flush=True)


def _disturbed(corpus: Path, shim: ctypes.CDLL, fault: Fault | None, work: Callable[[], int]) -> None:
    """A fork's life. Without a fault what it calls is noted."""
    code, folder = 99, corpus.parent
    try:
        words = os.open(folder / "said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number in (1, 2):
            os.dup2(words, number)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(PATIENCE)
        place = str(corpus).encode()
        if fault is None:
            shim.shim_note(os.open(folder / "refused", os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
            shim.shim_kill(place, ctypes.c_long(0))
        elif fault.kill:
            shim.shim_kill(place, ctypes.c_long(fault.nth))
        elif fault.clock:
            shim.shim_clock(place, ctypes.c_long(fault.nth), ctypes.c_long(fault.clock))
        else:
            shim.shim_arm(place, ctypes.c_long(fault.nth), int(fault.lasting), fault.error)
        code = work()
        if fault is not None:
            (folder / "refused").write_text(shim.shim_refused_call().decode())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _commands(recipe: Path, corpus: Path, extend: bool = False) -> int:
    """Build, embed, verify by the command line, here; the exit code of the first that fails."""
    import traceback

    import synthmir.cli
    from tests.builder import fakes

    fakes.register()
    build = ["build", recipe, "--out", corpus, "--workers", "1", "--clips-per-shard", CLIPS_PER_SHARD]
    build += ["--extend"] if extend else []
    for command in (build, ["embed", corpus, "--embedder", "levels"], ["verify", corpus]):
        sys.argv = ["synthmir", *map(str, command)]
        try:
            synthmir.cli.main()
        except SystemExit as end:
            if end.code:
                return int(end.code) if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc()
            return 98
    return 0


class _Blank:
    def savefig(self, file: Any, **_: object) -> None:
        file.write(b"<svg/>")


def blank(put: Callable[[Any, str, Any], None] = setattr) -> None:
    """Let the pictures of cards be empty, which is quicker."""
    from builder.corpus.card import plots as pictures

    drawn = pictures._list_plots

    def empty(*options: Any) -> Iterator[pictures.Plot]:
        yield from (replace(picture, figure=_Blank) for picture in drawn(*options))  # type: ignore[arg-type]

    put(pictures, "_list_plots", empty)


if __name__ == "__main__":
    if "pictures" not in sys.argv[2:]:
        blank()
    _serve(Path(sys.argv[1]), "grow" in sys.argv[2:])
