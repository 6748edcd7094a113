"""C kernels beside the code, built by the machine's own compiler when they are first asked for."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

COMPILERS = ("cc", "gcc", "clang")
# No -ffast-math: not-a-numbers must stay what they are, and linking with it changes the whole process's rounding.
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fassociative-math", "-fno-signed-zeros")
BUILD_SECONDS = 60

POINTER, NUMBER = ctypes.c_void_p, ctypes.c_int64
FAULTS = (OSError, subprocess.SubprocessError)  # what `library` raises where it cannot build or load


@lru_cache
def library(source: Path, *definitions: str) -> ctypes.CDLL:
    """`source` compiled with `definitions` ("SIZE=64") and loaded. Raises one of FAULTS."""
    for compiler in COMPILERS:
        with tempfile.TemporaryDirectory() as folder:
            objects, out = Path(folder) / "kernel.o", Path(folder) / "kernel.so"
            options = [*FLAGS, "-fopenmp", "-fPIC", *(f"-D{definition}" for definition in definitions)]
            try:
                # OpenMP's functions are left open, to be found in the runtime that torch has loaded: a second pool of
                # threads would fight the first for the cores.
                for command in (
                    [compiler, *options, "-c", str(source), "-o", str(objects)],
                    [compiler, "-shared", str(objects), "-o", str(out)],
                ):
                    subprocess.run(command, check=True, capture_output=True, text=True, timeout=BUILD_SECONDS)
            except FileNotFoundError:
                continue
            return ctypes.CDLL(str(out))
    raise OSError(f"no C compiler found ({', '.join(COMPILERS)})")
