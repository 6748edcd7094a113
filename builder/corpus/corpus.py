"""A corpus folder: which files it holds, their hashes, and whether it is finished."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from ..configs import AUDIO, ConfigKind, find_kind
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
GROWTH = "growth"  # in the work folder: an extension of the finished corpus beside it
BUILD_RECORD = "records/build.json"
SHARD_FILE = re.compile(r"^(?P<split>[a-z]+)-(p(?P<part>\d\d)-)?(?P<index>\d{5})-of-(?P<total>\d{5,})\.parquet$")


def embed_record(embedder: str) -> str:
    """Name of the record of an embedding run."""
    return f"records/embed-{embedder}.json"


@dataclass(frozen=True, slots=True)
class Corpus:
    """A finished corpus in a folder or a store, opened by `Corpus.open`.

    Attributes:
        root: The corpus folder.
    """

    root: Path

    @classmethod
    def open(cls, path: str | Path) -> Corpus:
        """Open a corpus.

        Args:
            path: Its folder, or its address in a store.

        Raises:
            DataError: There is no corpus, or it is not finished.
        """
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

    def shards(self, config: str = AUDIO) -> list[str]:
        """Names of the shards of a config, relative to the root, ordered by split and number.

        Args:
            config: Its folder: "data", "annotations", "stems" or the name of an embedder, say.
        """
        return sorted(f"{config}/{p.name}" for p in (self.root / config).glob("*.parquet"))

    def configs(self) -> dict[str, ConfigKind]:
        """The folders of its configs and their kinds: the audio first, then the others by name."""
        names = [p.name for p in self.root.iterdir() if p.is_dir() and any(p.glob("*-of-*.parquet"))]
        return {name: find_kind(name) for name in sorted(names, key=lambda name: (name != AUDIO, name))}

    def embeddings(self) -> list[str]:
        """Names of the configs of embeddings, those with augmented copies included."""
        return [name for name, kind in self.configs().items() if kind == "embeddings"]

    def embedders(self) -> list[str]:
        """Names of the embedders that the corpus has a config of, without augmented copies."""
        details = {name: self.record(embed_record(name)).get("details", {}) for name in self.embeddings()}
        return [name for name, detail in details.items() if not detail.get("augment")]

    def incomplete_embeddings(self) -> dict[str, int]:
        """Configs of embeddings that were not made for all parts of the corpus, and the first part that each lacks."""
        parts = {part_number(name) for name in self.shards()}
        missing = {name: parts - {part_number(shard) for shard in self.shards(name)} for name in self.embeddings()}
        return {name: min(part) for name, part in missing.items() if part}

    def embed_command(self, config: str) -> str:
        """The command that makes a config of embeddings, or completes it."""
        details = self.record(embed_record(config)).get("details", {})
        damages = "".join(f" --augment {damage}" for damage in details.get("augment", ()))
        return f"synthmir embed {self.root} --embedder {details.get('embedder', {}).get('name', config)}{damages}"

    def sums(self) -> dict[str, str]:
        """SHA256SUMS as {file: hash}. Raises DataError for a file that is damaged."""
        try:
            lines = (self.root / SUMS).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{self.root / SUMS}: cannot be read: {error}", "copy the corpus again") from error
        pairs = [re.fullmatch(r"([0-9a-f]{64})  (\S.*)", line) for line in lines]
        if bad := [n for n, pair in enumerate(pairs, 1) if pair is None]:
            raise DataError(f"{self.root / SUMS}: line {bad[0]} is not `hash  file`")
        for number, pair in enumerate(pairs, 1):
            if pair and (pair[2].startswith("/") or ".." in pair[2].split("/")):
                raise DataError(f"{self.root / SUMS}: line {number} names a file outside the corpus")
        return {pair[2]: pair[1] for pair in pairs if pair}

    def record(self, name: str = BUILD_RECORD) -> dict[str, Any]:
        """Read a run record of the corpus, {} if it has none of that name. Raises DataError."""
        path = self.root / name
        try:
            record = parse_json(path.read_text(encoding="utf-8")) if path.exists() else {}
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: not JSON: {error}") from error
        if not isinstance(record, dict) or (fault := find_wrong_type(record)) is not None:
            why = f": {fault}" if isinstance(record, dict) else ""
            raise DataError(f"{path}: not a run record{why}", "copy the corpus again")
        return record

    @property
    def fingerprint(self) -> str:
        """Fingerprint of its recipe; of an extended corpus, a digest of the fingerprints of its parts."""
        return str(self.record().get("fingerprint"))

    def parts(self) -> list[dict[str, Any]]:
        """The records of its parts, oldest first. A corpus that was never extended is one part."""
        return list_parts(self.record())


def list_parts(record: dict[str, Any]) -> list[dict[str, Any]]:
    """List the parts in the record of a build."""
    details = dict(record.get("details", {}))
    if "parts" in details:
        return list(details["parts"])
    own = {key: record.get(key) for key in ("fingerprint", "started", "wall_seconds", "device", "versions")}
    return [{**details.pop("identity", {}), **details, **own}]


def part_number(name: str) -> int:
    """The number of the part that a shard belongs to, by its name; 0 for the first part."""
    match = SHARD_FILE.match(name.rpartition("/")[2])
    return int(match["part"] or 0) if match else 0


def group_shards(shards: Iterable[str], where: str, fix: str) -> dict[str, list[str]]:
    """Group the names of a config's shards by split.

    A corpus that has grown has several parts. The shards of each part have their own numbers.

    Args:
        shards: File names, with or without folders, in any order. Names of other files are ignored.
        where: The corpus and config, for the error message.
        fix: What the error advises.

    Returns:
        The names of each split, in order. The splits begin with train, validation and test.

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
    """The shard of the newest part, whose label columns have the names of all older parts."""
    return max(shards, key=lambda shard: part_number(shard if isinstance(shard, str) else shard.name))


def list_corpus_files(root: Path) -> list[str]:
    """List the files of a corpus without hidden ones and SHA256SUMS, relative to the root, sorted."""
    paths = (PurePosixPath(name) for name in list_files(root))
    return sorted(p.as_posix() for p in paths if p.name != SUMS and not any(part.startswith(".") for part in p.parts))


def write_sums(root: Path, known: dict[str, str]) -> None:
    """Write SHA256SUMS of a corpus.

    Args:
        root: The corpus folder.
        known: Hashes by file, which are not computed again.
    """
    lines = [f"{known.get(name) or digest(root / name)}  {name}\n" for name in list_corpus_files(root)]
    write_text(root / SUMS, "".join(lines))
