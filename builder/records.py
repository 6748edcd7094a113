"""Run records: what a stage did, with what, and how long it took. Cards and reports are made from these files."""

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
_TYPES: dict[str, Any] = {
    "command": str,
    "fingerprint": str | None,
    "wall_seconds": int | float,
    "rows": int,
    "versions": dict,
    "details": dict,
}
_DETAILS: dict[str, Any] = {"embedder": dict | None, "generator": dict | None, "augment": list}

_SPEC = re.compile(r"(?P<scheme>(?:[A-Za-z][\w+.-]+:)?(?://(?=/))?)(?P<path>.*)", re.DOTALL)  # gtzan:PATH, file://PATH
_ROOTS = frozenset(  # where paths begin on other machines too; a label such as /m/04rlf is not a path
    [
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
    ]
)
_END = r"[^\s\"'`,;()<>\[\]{}|]*"  # the rest of a path within text


@dataclass
class RunRecord:
    """The run of one stage, as it is stored in JSON.

    Args:
        command: "build", "embed", "train" or "evaluate".
        fingerprint: Of the recipe, if there is one.
        started: When, in UTC, as ISO 8601.
        wall_seconds: How long all of its sessions took.
        rows: How many clips, or rows.
        peak_memory_bytes: Of the main process and its largest child.
        device: The machine, as text.
        versions: Of the packages that the result depends on.
        details: What else the stage records, such as a learning curve.
    """

    command: str
    fingerprint: str | None = None
    started: str = ""
    wall_seconds: float = 0.0
    rows: int = 0
    peak_memory_bytes: int = 0
    device: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write the record as JSON, atomically."""
        write_text(path, json.dumps(asdict(self), indent=2, sort_keys=True, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> RunRecord:
        """Read a record.

        Raises:
            OSError: If the file cannot be read.
            ValueError: If it does not hold a record.
        """
        content = read_json(path)
        if (fault := find_wrong_type(content)) is not None:
            raise ValueError(fault)
        try:
            return cls(**content)
        except TypeError as error:
            raise ValueError(error) from error

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> RunRecord:
        """Make a record from checked JSON. Keys that another version may have added are left out."""
        known = {key.name: content[key.name] for key in fields(cls) if key.name in content}
        return cls(**{"command": ""} | known)


def find_wrong_type(content: dict[str, Any]) -> str | None:
    """Describe the first value of a record that has a wrong type; None if there is none."""
    for types, values, prefix in ((_TYPES, content, ""), (_DETAILS, content.get("details", {}), "details.")):
        for name, expected in types.items():
            if name in values and not isinstance(values[name], expected):
                return f"{prefix}{name} is {type(values[name]).__name__}"
    return None


@contextmanager
def record_run(command: str, fingerprint: str | None = None) -> Iterator[RunRecord]:
    """Measure a stage: time, memory, device, versions. Set `rows` and `details` in the block, then call `write`."""
    record = RunRecord(command, fingerprint, datetime.now(UTC).isoformat(timespec="seconds"))
    clock = time.monotonic()
    yield record
    record.wall_seconds = round(record.wall_seconds + time.monotonic() - clock, 3)
    record.peak_memory_bytes = measure_peak_memory()
    record.device = record.device or describe_device()
    record.versions = package_versions()


def measure_peak_memory() -> int:
    """Return the largest memory of this process, plus that of the largest child that has ended, in bytes."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows, which does not keep it for processes that have ended
        memory = psutil.Process().memory_info()
        return int(getattr(memory, "peak_wset", memory.rss))
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def package_versions() -> dict[str, str]:
    """Return the versions of Python, of synthmir, and of the packages that the results depend on."""
    installed = {"python": platform.python_version()}
    for name in ("synthmir", *_PACKAGES):
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed


def describe_device() -> str:
    """Describe this machine: processor, cores, and the GPU if torch is loaded and can use one."""
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
    """Shorten the paths of a record, so that it can be published: of each only the last part is left, as `./NAME`.

    Args:
        value: What JSON or YAML holds.
        folder: Where the record is. Its parent is known to be of this machine too.

    Returns:
        The value with shortened paths. Relative paths are kept, but those that climb past `..` become `../NAME`.
    """
    if isinstance(value, dict):
        return {strip_paths(key, folder): strip_paths(inner, folder) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [strip_paths(inner, folder) for inner in value]
    if not isinstance(value, str) or not ("/" in value or "\\" in value):
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
    """Find the first path in a text that begins at the `folder`, the home or the temporary folder."""
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
    """Return the pattern of this machine's paths in text, and of paths that begin at one of `roots`."""
    return _pattern(folder, Path.home(), Path(tempfile.gettempdir()), roots)


@lru_cache(maxsize=32)
def _pattern(folder: Path, home: Path, temporary: Path, roots: frozenset[str]) -> re.Pattern[str]:
    own = {home, folder.absolute().parent, folder.resolve().parent}
    known = [rf"{re.escape(str(path))}(?![\w.-])(?:/{_END})?" for path in own if len(path.parts) > 1]
    known.append(rf"{re.escape(str(temporary))}/(?!ray/){_END}")  # synthmir's messages say where Ray writes
    known += [rf"(?<!/)/{root}/{_END}" for root in roots]
    return re.compile(rf"(?<![\w.~-])(?:{'|'.join(sorted(known, key=len, reverse=True))})")
