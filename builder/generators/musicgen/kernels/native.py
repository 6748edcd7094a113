"""Build C kernels with the machine's compiler at their first use."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

COMPILERS = ("cc", "gcc", "clang")
# Not -ffast-math: NaN must stay NaN, and linking with it changes the rounding of the whole process.
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fassociative-math", "-fno-signed-zeros")
BUILD_SECONDS = 60

POINTER, NUMBER = ctypes.c_void_p, ctypes.c_int64
FAULTS = (OSError, subprocess.SubprocessError)  # raised by `load_library`


@lru_cache
def load_library(source: Path, *definitions: str) -> ctypes.CDLL:
    """Compile `source` with `definitions` ("SIZE=64") and load it. Raises one of FAULTS."""
    for compiler in COMPILERS:
        with tempfile.TemporaryDirectory() as folder:
            objects, out = Path(folder) / "kernel.o", Path(folder) / "kernel.so"
            options = [*FLAGS, "-fopenmp", "-fPIC", *(f"-D{definition}" for definition in definitions)]
            try:
                # OpenMP is not linked: its functions are found in the runtime that torch has loaded. A second pool of
                # threads would compete for the cores.
                for command in (
                    [compiler, *options, "-c", str(source), "-o", str(objects)],
                    [compiler, "-shared", str(objects), "-o", str(out)],
                ):
                    subprocess.run(command, check=True, capture_output=True, text=True, timeout=BUILD_SECONDS)
            except FileNotFoundError:
                continue
            return ctypes.CDLL(str(out))
    raise OSError(f"no C compiler found ({', '.join(COMPILERS)})")
