"""The command line without the seconds that a Python process takes to import torch."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import traceback
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

from synthmir.cli import main

ROOT = Path(__file__).parents[1]
DONE = "all of it has run"
ABORTED = "terminate called without an active exception"


def synthmir(*arguments: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a command in this process: what it prints, and the code that it exits with."""
    command, out, err, code = ["synthmir", *map(str, arguments)], io.StringIO(), io.StringIO(), 0
    with patch.object(sys, "argv", command), chdir(cwd), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        except Exception:
            code = 1
            traceback.print_exc()
    return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())


def run_alone(code: str, *arguments: object, cwd: Path, environ: dict[str, str]) -> list[str]:
    """Run code in an interpreter of its own, and return the lines that it prints.

    Where it has streamed Parquet through `datasets`, Arrow may drop the file in a thread of its own after the
    interpreter has begun to end, which aborts a process that has done all its work (apache/arrow#45214).
    """
    # Garbage is looked for as seldom as by `synthmir.cli.main`.
    code = f"import gc\ngc.set_threshold(50_000, 20, 20)\n{code}\nprint({DONE!r}, flush=True)"
    command = [sys.executable, "-I", "-c", code, *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True)
    *lines, last = done.stdout.splitlines() or [""]
    ended = done.returncode == 0 or (done.returncode == -signal.SIGABRT and done.stderr.strip() == ABORTED)
    assert ended and last == DONE, done.stderr
    return lines


def start_synthmir(*arguments: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, as a shell does."""
    command = [sys.executable, "-m", "synthmir", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)
