"""A corpus folder: which files it holds, their hashes, and whether it is finished."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from ..errors import DataError
from ..io.atomic import write_text
from ..io.safe_files import parse_json
from ..io.storage import is_folder, list_files, storage_errors, to_path
from ..names import SPLITS
from ..records import find_wrong_type
from .shards import WORK, digest

PathOrName = TypeVar("PathOrName", Path, str)

SUMS = "SHA256SUMS"
RECIPE = "recipe.yaml"
RECIPES = (
    "recipes"  # of the parts that a grown corpus had before its newest, each in a folder named by its fingerprint
)
REJECTED = "rejected.jsonl"
CARD = "README.md"
STATE = "state.json"  # in the work folder while a build is under way
GROWTH = "growth"  # in the work folder: what the corpus, finished and whole beside it, is being extended by
BUILD_RECORD = "records/build.json"
SHARD_FILE = re.compile(r"^(?P<split>[a-z]+)-(p(?P<part>\d\d)-)?(?P<index>\d{5})-of-(?P<total>\d{5,})\.parquet$")


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
        root = to_path(path)
        if not is_folder(root):
            raise DataError(f"{root}: there is no such folder", "build one: synthmir build RECIPE --out DIR")
        with storage_errors(root):
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

    def behind(self) -> dict[str, int]:
        """The configs of embeddings that lack a part of the corpus, and which: it has grown since they were made."""
        parts = {part_number(name) for name in self.shards()}
        lacking = {name: parts - {part_number(shard) for shard in self.shards(name)} for name in self.embeddings()}
        return {name: min(part) for name, part in lacking.items() if part}

    def embed_command(self, config: str) -> str:
        """What makes a config of embeddings that the corpus has, or what of it lacks."""
        details = self.record(embed_record(config)).get("details", {})
        damages = "".join(f" --augment {damage}" for damage in details.get("augment", ()))
        return f"synthmir embed {self.root} --embedder {details.get('embedder', {}).get('name', config)}{damages}"

    def sums(self) -> dict[str, str]:
        """SHA256SUMS as {file: hash}. Raises DataError for a line that is none."""
        try:
            lines = (self.root / SUMS).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{self.root / SUMS}: cannot be read: {error}", "copy the corpus anew") from error
        pairs = [re.fullmatch(r"([0-9a-f]{64})  (\S.*)", line) for line in lines]
        if bad := [n for n, pair in enumerate(pairs, 1) if pair is None]:
            raise DataError(f"{self.root / SUMS}: line {bad[0]} is not `hash  file`")
        for number, pair in enumerate(pairs, 1):
            if pair and (pair[2].startswith("/") or ".." in pair[2].split("/")):
                raise DataError(f"{self.root / SUMS}: line {number} names a file that is outside of the corpus")
        return {pair[2]: pair[1] for pair in pairs if pair}

    def record(self, name: str = BUILD_RECORD) -> dict[str, Any]:
        """A run record of the corpus, {} if it has none of that name."""
        path = self.root / name
        try:
            found = parse_json(path.read_text(encoding="utf-8")) if path.exists() else {}
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: not JSON: {error}") from error
        if not isinstance(found, dict) or (odd := find_wrong_type(found)) is not None:
            why = f": {odd}" if isinstance(found, dict) else ""
            raise DataError(f"{path}: not a run record{why}", "copy the corpus anew")
        return found

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the recipe that the corpus was made from; of a grown one, a digest of its parts'."""
        return str(self.record().get("fingerprint"))

    def parts(self) -> list[dict[str, Any]]:
        """What the record tells of each part, oldest first. A corpus that never grew is one part."""
        return list_parts(self.record())


def list_parts(record: dict[str, Any]) -> list[dict[str, Any]]:
    """What a build's record tells of each part."""
    details = dict(record.get("details", {}))
    if "parts" in details:
        return list(details["parts"])
    own = {key: record.get(key) for key in ("fingerprint", "started", "wall_seconds", "device", "versions")}
    return [{**details.pop("identity", {}), **details, **own}]


def part_number(name: str) -> int:
    """The number of the part that a shard belongs to, by its name; 0 for what the corpus began with."""
    match = SHARD_FILE.match(name.rpartition("/")[2])
    return int(match["part"] or 0) if match else 0


def group_shards(shards: Iterable[str], where: str, fix: str) -> dict[str, list[str]]:
    """Group the names of a config's shards by split: train, validation and test first, and each in order.

    A corpus that has grown has several parts. The shards of each part have their own numbers.

    Raises:
        DataError: Shards of a split are missing.
    """
    grouped: dict[str, list[str]] = {}
    totals: dict[tuple[str, int], list[int]] = {}
    for name in sorted(shards):
        if match := SHARD_FILE.match(name.rpartition("/")[2]):
            grouped.setdefault(match["split"], []).append(name)
            totals.setdefault((match["split"], int(match["part"] or 0)), []).append(int(match["total"]))
    for (split, _), counts in totals.items():
        if set(counts) != {len(counts)}:
            raise DataError(f"{where}/{split}: {len(counts)} shard(s) of {sorted(set(counts))}", fix)
    order = sorted(grouped, key=lambda split: (SPLITS.index(split) if split in SPLITS else len(SPLITS), split))
    return {split: grouped[split] for split in order}


def newest_shard(shards: Iterable[PathOrName]) -> PathOrName:
    """The shard of the newest part: its label columns have every name that older shards have, and more after them."""
    return max(shards, key=lambda shard: part_number(shard if isinstance(shard, str) else shard.name))


def list_corpus_files(root: Path) -> list[str]:
    """Every file of a corpus but its sums and what is hidden, relative to the root, sorted."""
    found = (PurePosixPath(name) for name in list_files(root))
    return sorted(p.as_posix() for p in found if p.name != SUMS and not any(part.startswith(".") for part in p.parts))


def write_sums(root: Path, known: dict[str, str]) -> None:
    """Write SHA256SUMS over all files; hashes that are known already are not computed again."""
    lines = [f"{known.get(name) or digest(root / name)}  {name}\n" for name in list_corpus_files(root)]
    write_text(root / SUMS, "".join(lines))
