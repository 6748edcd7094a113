"""Python processes for tests that kill or compare them: forked from one that has imported what takes seconds."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
from pathlib import Path
from time import sleep

ROOT = Path(__file__).parents[1]
PRELOADED = (
    "tests.without_gc",
    "torch",
    "transformers",
    "datasets",
    "synthmir.cli",
    "builder.corpus.building.build",
    "builder.embedders.embed_corpus",
)
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(list(PRELOADED))


class WarmProcess:
    """A program that runs in a fork. `out` and `err` are the files that hold what it has printed so far."""

    def __init__(self, code: str, *arguments: object, folder: Path, environ: dict[str, str] | None = None) -> None:
        self.out, self.err = folder / "warm-stdout", folder / "warm-stderr"
        self._process = _context.Process(
            target=_run, args=(code, [*map(str, arguments)], str(self.out), str(self.err), environ or {})
        )
        for file in (self.out, self.err):
            file.write_bytes(b"")
        self._process.start()

    def ended(self) -> bool:
        """Whether it has ended."""
        return self._process.exitcode is not None

    def kill(self) -> None:
        """Kill it, and wait for its end."""
        self._process.kill()
        self.wait()

    def wait(self) -> int:
        """Its exit code, negative for a signal, once it has ended."""
        self._process.join()
        code = self._process.exitcode
        assert code is not None
        return code

    def wait_for_line(self) -> str:
        """The first line that it prints. Raises AssertionError if it ends without one."""
        while not (lines := self.out.read_text().splitlines(keepends=True)) or not lines[0].endswith("\n"):
            assert not self.ended(), self.err.read_text()
            sleep(0.01)
        return lines[0].rstrip("\n")


def _run(code: str, arguments: list[str], out: str, err: str, environ: dict[str, str]) -> None:
    for path, descriptor in ((out, 1), (err, 2)):
        file = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, descriptor)
        os.close(file)
    os.environ.update(environ)
    gc.freeze()
    gc.enable()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(ROOT)
    sys.argv = ["-c", *arguments]
    exec(compile(code, "<warm>", "exec"), {"__name__": "__main__"})
