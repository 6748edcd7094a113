"""The command line without the seconds that a Python process takes to import torch."""

from __future__ import annotations

import io
import subprocess
import sys
import traceback
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

from synthmir import main

ROOT = Path(__file__).parents[1]


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


def start_synthmir(*arguments: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, as a shell does."""
    command = [sys.executable, str(ROOT / "synthmir.py"), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)
