"""Run records: what a stage did, on what, in what time. Cards and reports are rendered from these files alone."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from functools import lru_cache
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

import psutil

from .io.atomic import write_text
from .io.safe_files import read_json

_PACKAGES = ("datasets", "torch", "transformers", "soundfile", "hear21passt", "accelerate", "numpy")
_KINDS: dict[str, Any] = {
    "command": str,
    "fingerprint": str | None,
    "wall_seconds": int | float,
    "rows": int,
    "versions": dict,
    "details": dict,
}
_DETAILS: dict[str, Any] = {"embedder": dict | None, "generator": dict | None, "augment": list}

_SPEC = re.compile(r"(?P<scheme>(?:[A-Za-z][\w+.-]+:)?(?://(?=/))?)(?P<path>.*)", re.DOTALL)  # gtzan:PATH, file://PATH
_ROOTS = frozenset(  # where paths begin on other machines too; labels such as /m/04rlf are none
    (
        "home",
        "Users",
        "root",
        "tmp",
        "private",
        "var",
        "mnt",
        "media",
        "data",
        "srv",
        "opt",
        "usr",
        "scratch",
        "Volumes",
    )
)
_END = r"[^\s\"'`,;()<>\[\]{}|]*"  # the rest of a path inside of text


@dataclass
class RunRecord:
    """One stage's run. `rows` counts clips or rows; `details` is the stage's own (a learning curve, say)."""

    command: str  # "build", "embed", "train", "evaluate"
    fingerprint: str | None = None  # of the recipe, where there is one
    started: str = ""  # UTC, ISO 8601
    wall_seconds: float = 0.0  # of all the sessions that it took
    rows: int = 0
    peak_memory_bytes: int = 0  # of the main process and its largest child
    device: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write the record as JSON, whole or not at all."""
        write_text(path, json.dumps(asdict(self), indent=2, sort_keys=True, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> RunRecord:
        """Read a record that `write` wrote. Raises OSError, or ValueError for a file that is none."""
        told = read_json(path)
        if (odd := find_wrong_type(told)) is not None:
            raise ValueError(odd)
        try:
            return cls(**told)
        except TypeError as error:
            raise ValueError(error) from error

    @classmethod
    def of(cls, told: dict[str, Any]) -> RunRecord:
        """What has no `misfit`, as a record; what another version may have added is left out."""
        return cls(**{"command": ""} | {one.name: told[one.name] for one in fields(cls) if one.name in told})


def find_wrong_type(told: dict[str, Any]) -> str | None:
    """What in a record's content is of another kind than a record holds, None if nothing is."""
    for known, within, before in ((_KINDS, told, ""), (_DETAILS, told.get("details", {}), "details.")):
        for name, kinds in known.items():
            if name in within and not isinstance(within[name], kinds):
                return f"{before}{name} is {type(within[name]).__name__}"
    return None


@contextmanager
def record_run(command: str, fingerprint: str | None = None) -> Iterator[RunRecord]:
    """Times a stage: fill `rows` and `details` inside, call `write` after."""
    record = RunRecord(command, fingerprint, datetime.now(UTC).isoformat(timespec="seconds"))
    clock = time.monotonic()
    yield record
    record.wall_seconds = round(record.wall_seconds + time.monotonic() - clock, 3)
    record.peak_memory_bytes = measure_peak_memory()
    record.device = record.device or describe_device()
    record.versions = package_versions()


def measure_peak_memory() -> int:
    """The most memory that this process has held, plus the most that one of its ended children has, in bytes."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows, which keeps no such figure of processes that have ended
        memory = psutil.Process().memory_info()
        return int(getattr(memory, "peak_wset", memory.rss))
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def package_versions() -> dict[str, str]:
    """Versions of Python, of synthmir and of the packages that decide what comes out."""
    found = {"python": platform.python_version()}
    for name in ("synthmir", *_PACKAGES):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def describe_device() -> str:
    """The machine in words: processor, cores, memory, and the GPU if torch is loaded and sees one."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(errors="replace").splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    text = f"{name}, {cores} cores"
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        text += f", {torch.cuda.get_device_name(0)}"
    return text


def strip_paths(value: Any, folder: Path) -> Any:
    """A record's content as it may be published: of a path only its last part is left, as `./NAME`.

    Args:
        value: What JSON or YAML holds.
        folder: Where the record is. Its parent is known to be of this machine too.

    Returns:
        The same, of the same kinds. Relative paths stay, but those that climb past `..` become `../NAME`.
    """
    if isinstance(value, dict):
        return {strip_paths(key, folder): strip_paths(inner, folder) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [strip_paths(inner, folder) for inner in value]
    if not isinstance(value, str):
        return value
    spec = _SPEC.fullmatch(value)
    scheme, path = (spec["scheme"], spec["path"]) if spec else ("", value)
    parts = PurePosixPath(path.replace("\\", "/")).parts
    if re.match(r"[A-Za-z]:[\\/]", value):
        scheme, parts = "", PurePosixPath(value.replace("\\", "/")).parts
    if "\n" not in value and _is_of_machine(parts):
        return f"{scheme.removesuffix('//')}{'..' if parts[0] == '..' else '.'}/{parts[-1]}"
    return _machine_path(folder, _ROOTS).sub(lambda match: f"./{PurePosixPath(match[0]).name}", value)


def find_machine_path(text: str, folder: Path) -> str | None:
    """The first path in a text that begins at its `folder`, the home or the temporary folder; None without one."""
    match = _machine_path(folder).search(text)
    return match[0] if match else None


def _is_of_machine(parts: tuple[str, ...]) -> bool:
    if len(parts) < 2:
        return False
    if parts[0] == "/":
        return parts[1] in _ROOTS or parts[1] in _top_folders()
    return parts[0].startswith("~") or re.fullmatch("[A-Za-z]:", parts[0]) is not None or parts[:2] == ("..", "..")


@lru_cache(maxsize=1)
def _top_folders() -> frozenset[str]:
    return frozenset(path.name for path in Path("/").iterdir() if path.is_dir())


def _machine_path(folder: Path, roots: frozenset[str] = frozenset()) -> re.Pattern[str]:
    """What a path of this machine looks like inside of text; with `roots` one that begins at these of any machine."""
    return _pattern(folder, Path.home(), Path(tempfile.gettempdir()), roots)


@lru_cache(maxsize=32)
def _pattern(folder: Path, home: Path, temporary: Path, roots: frozenset[str]) -> re.Pattern[str]:
    own = {home, folder.absolute().parent, folder.resolve().parent}
    known = [rf"{re.escape(str(path))}(?![\w.-])(?:/{_END})?" for path in own if len(path.parts) > 1]
    known.append(rf"{re.escape(str(temporary))}/(?!ray/){_END}")  # where Ray writes is in our own messages
    known += [rf"(?<!/)/{root}/{_END}" for root in roots]
    return re.compile(rf"(?<![\w.~-])(?:{'|'.join(sorted(known, key=len, reverse=True))})")
