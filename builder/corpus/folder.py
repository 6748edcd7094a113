"""A corpus folder: which files it holds, their hashes, and whether it is finished."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..atomic import write_text
from ..errors import DataError
from .shards import WORK, sha256

SUMS = "SHA256SUMS"
RECIPE = "recipe.yaml"
REJECTED = "rejected.jsonl"
CARD = "README.md"
STATE = "state.json"  # in the work folder while a build is under way
BUILD_RECORD = "records/build.json"
SHARD_FILE = re.compile(r"^(?P<split>[a-z]+)-(?P<index>\d{5})-of-(?P<total>\d{5,})\.parquet$")


def embed_record(embedder: str) -> str:
    """Where an embedding run is recorded."""
    return f"records/embed-{embedder}.json"


@dataclass(frozen=True, slots=True)
class Corpus:
    """A finished corpus on disk. `open` checks that it is one."""

    root: Path

    @classmethod
    def open(cls, path: str | Path) -> Corpus:
        """The corpus at `path`. Raises DataError for a folder that is none, or that is not finished."""
        root = Path(path)
        if not root.is_dir():
            raise DataError(f"{root}: there is no such folder", "build one: synthmir build RECIPE --out DIR")
        begun = (root / WORK / STATE).exists()
        if begun or not (root / SUMS).exists():
            if begun:
                raise DataError(f"{root}: this corpus is not finished", "run the command that builds it again")
            inner = [p.parent for p in root.glob(f"*/{SUMS}")]
            raise DataError(
                f"{root}: not a synthmir corpus (it has no {SUMS})",
                f"did you mean {inner[0]}?" if inner else "give the folder that `synthmir build --out` wrote",
            )
        return cls(root)

    def shards(self, config: str = "data") -> list[str]:
        """Names of a config's shards ("data" or an embedder), relative to the root, in order of split and number."""
        return sorted(f"{config}/{p.name}" for p in (self.root / config).glob("*.parquet"))

    def embeddings(self) -> list[str]:
        """The configs of embeddings that the corpus has: its embedders', and those with damaged copies."""
        found = [p.name for p in self.root.iterdir() if p.is_dir() and any(p.glob("*-of-*.parquet"))]
        return sorted(name for name in found if name != "data")

    def embedders(self) -> list[str]:
        """The embedders whose own configs the corpus has."""
        details = {name: self.record(embed_record(name)).get("details", {}) for name in self.embeddings()}
        return [name for name, told in details.items() if not told.get("augment")]

    def sums(self) -> dict[str, str]:
        """SHA256SUMS as {file: hash}. Raises DataError for a line that is none."""
        lines = (self.root / SUMS).read_text(encoding="utf-8").splitlines()
        pairs = [re.fullmatch(r"([0-9a-f]{64})  (\S.*)", line) for line in lines]
        if bad := [n for n, pair in enumerate(pairs, 1) if pair is None]:
            raise DataError(f"{self.root / SUMS}: line {bad[0]} is not `hash  file`")
        return {pair[2]: pair[1] for pair in pairs if pair}

    def record(self, name: str = BUILD_RECORD) -> dict[str, Any]:
        """A run record of the corpus, {} if it has none of that name."""
        path = self.root / name
        try:
            return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}
        except ValueError as error:
            raise DataError(f"{path}: not JSON: {error}") from error

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the recipe that the corpus was made from."""
        return str(self.record().get("fingerprint"))


def files(root: Path) -> list[str]:
    """Every file of a corpus but its sums and what is hidden, relative to the root, sorted."""
    found = (p.relative_to(root) for p in root.rglob("*") if p.is_file())
    return sorted(p.as_posix() for p in found if p.name != SUMS and not any(part.startswith(".") for part in p.parts))


def write_sums(root: Path, known: dict[str, str]) -> None:
    """Write SHA256SUMS over all files; hashes that are known already are not computed again."""
    lines = [f"{known.get(name) or sha256(root / name)}  {name}\n" for name in files(root)]
    write_text(root / SUMS, "".join(lines))
