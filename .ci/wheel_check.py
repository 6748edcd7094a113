"""Build the wheel, install it with pip in a clean environment of every supported Python, and run a tiny recipe there.

The lock is not used: pip resolves as it does for a user. Interpreters that are missing on this machine are listed and
fail the check; --python names others. Each environment takes about 7 GB and is removed after its run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13")
RECIPE = """
name: tiny
taxonomy: paper
prompts: {per_genre: 10, seed: 0}
generator: {name: arranger, seconds: 2}
split: {validation: 0.2}
training: {epochs: 5}
"""
USE = """
import datasets, synthmir, sys
rows = synthmir.load_corpus(sys.argv[1], split="train")
assert rows[0]["audio"]["array"].shape == (64_000,), rows[0]["audio"]["array"].shape
assert len(datasets.load_dataset(sys.argv[1], "melstats", split="train")) == len(rows)
"""


def find_python(version: str) -> str:
    """Return the path of an interpreter that uv finds (it sets UV for what it runs), or one on the PATH."""
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        return shutil.which(f"python{version}") or ""
    result = subprocess.run([uv, "python", "find", version], capture_output=True, text=True, cwd="/", check=False)
    return result.stdout.strip()


def check_python(python: str, wheel: Path, folder: Path) -> str:
    """Install the wheel for one Python and run it. Returns what is wrong, or ""."""
    if not (interpreter := find_python(python)):
        return f"there is no Python {python} on this machine"
    environment, out = folder / "venv", folder / "out"
    (folder / "tiny.yaml").write_text(RECIPE)
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV", "UV_"))}
    bin = environment / ("Scripts" if os.name == "nt" else "bin")
    steps = [
        [interpreter, "-m", "venv", environment],
        [bin / "python", "-m", "pip", "install", "--quiet", wheel],
        [bin / "python", "-m", "pip", "check"],
        [bin / "synthmir", "run", folder / "tiny.yaml", "--out", out],
        [bin / "synthmir", "verify", out / "corpus"],
        [bin / "python", "-c", USE, out / "corpus"],
    ]
    for step in steps:
        result = subprocess.run(step, cwd=folder, env=bare, capture_output=True, text=True, check=False)
        if result.returncode:
            output = (result.stdout + result.stderr)[-3_000:]
            return f"{' '.join(map(str, step))[:200]}: exit {result.returncode}\n{output}"
    versions = subprocess.run([bin / "python", "-m", "pip", "freeze"], env=bare, capture_output=True, text=True).stdout
    shown = ("torch==", "torchaudio==", "torchvision==", "transformers==", "datasets==", "numpy==")
    print("  " + ", ".join(line for line in versions.splitlines() if line.startswith(shown)))
    return ""


def main() -> int:
    """Check each Python; exit 1 if one fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", action="append", help="3.12, say; default: all of them. Can be repeated.")
    chosen = parser.parse_args().python or PYTHONS
    failed = 0
    with tempfile.TemporaryDirectory() as dist:
        build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", dist]
        subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
        (wheel,) = Path(dist).glob("*.whl")
        for python in chosen:
            start = time.monotonic()
            with tempfile.TemporaryDirectory() as folder:
                fault = check_python(python, wheel, Path(folder))
            failed += bool(fault)
            print(f"Python {python}: {fault or 'passed'} ({time.monotonic() - start:.0f} s)", flush=True)
    print(f"{len(chosen) - failed} passed, {failed} failed")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
