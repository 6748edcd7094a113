"""A corpus to look through: labels of all clips at once, the sound of one when it is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.errors import DataError
from builder.io.safe_files import parse_json

from .corpus_source import Place, find
from .labels import Sound, evenly, read_embeddings, read_labels, shards_of

if TYPE_CHECKING:
    import pandas as pd

    from builder.recipe import Recipe

    from .compare import Comparison

FACETS = ("genre", "subgenre", "mood", "instruments", "vocals", "split")
RANGES = {"tempo": "tempo_bpm", "loudness": "loudness", "peak": "peak", "duration": "duration", "attempts": "attempts"}
Range = tuple[float | None, float | None] | None


@dataclass(frozen=True, slots=True)
class Source:
    """What was opened, in short."""

    name: str
    kind: str  # "folder" or "hub"
    clips: int  # shown
    of: int  # in the corpus
    seconds: float  # of sound, 0 where the rows do not say
    genres: tuple[str, ...]
    has_model: bool
    generator: str
    fingerprint: str | None


class Clips:
    """The clips of a corpus: `table` has a row each; a clip's position in it is what the methods take."""

    def __init__(self, place: Place, limit: int | None = None) -> None:
        self.place = place
        table, self._names, shards = read_labels(place)
        self._sound, self.of = Sound(place, shards), len(table)
        self._rows = evenly(table["genre"].fillna("").tolist(), limit)
        self.table: pd.DataFrame = table.iloc[self._rows].reset_index(drop=True)
        self._lock = RLock()

    @classmethod
    def open(cls, run_or_repo: str | Path, *, limit: int | None = None) -> Clips:
        """A run (corpus/ and model/), a corpus folder, or NAMESPACE/NAME[@REVISION] on the Hub: there columns are
        read and no audio. `limit` clips at most, evenly from all genres. Raises DataError, HubError.
        """
        return cls(find(str(run_or_repo)), limit)

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def source(self) -> Source:
        """What was opened, in short."""
        place, generators = self.place, self.table["generator"].dropna().unique()
        linked: Any = getattr(place, "linked_model", None)
        return Source(
            name=place.name,
            kind=place.kind,
            clips=len(self),
            of=self.of,
            seconds=float(self.table["duration"].fillna(0).sum()),
            genres=tuple(self.facets()["genre"]),
            has_model=bool(linked() if linked else place.model()),
            generator=", ".join(map(str, generators)),
            fingerprint=self._record("records/build.json").get("fingerprint"),
        )

    def facets(self) -> dict[str, list[str]]:
        """The words that occur in the columns of words, in the taxonomy's order, or else sorted."""
        found = {}
        for column in FACETS:
            values: Iterable[Any] = self.table[column]
            if column == "instruments":
                values = (word for words in values for word in words)
            there = {str(value) for value in values if isinstance(value, str)}
            order = {name: at for at, name in enumerate(self._names.get(column, ("train", "validation")))}
            found[column] = sorted(there, key=lambda word: (order.get(word, len(order)), word))
        return found

    def filter(
        self,
        *,
        genre: str | Sequence[str] = (),
        subgenre: str | Sequence[str] = (),
        mood: str | Sequence[str] = (),
        instruments: str | Sequence[str] = (),
        vocals: str | Sequence[str] = (),
        split: str | Sequence[str] = (),
        tempo: Range = None,
        loudness: Range = None,
        peak: Range = None,
        duration: Range = None,
        attempts: Range = None,
        text: str = "",
    ) -> np.ndarray:
        """Positions of the clips that satisfy everything, int64, in the table's order.

        Of words one of those given must be there (of `instruments` too), () is no condition; a range is (lowest,
        highest), both included, None for no end, and leaves out clips without that number. `text`: words that all
        stand in prompt or id, in any spelling of case.
        """
        kept = np.ones(len(self), bool)
        chosen = {"genre": genre, "subgenre": subgenre, "mood": mood, "vocals": vocals, "split": split}
        for column, words in chosen.items():
            if wanted := _words(words):
                kept &= self.table[column].isin(wanted).to_numpy(bool)
        if played := set(_words(instruments)):
            kept &= np.fromiter((bool(played.intersection(one)) for one in self.table["instruments"]), bool, len(self))
        ranges = {"tempo": tempo, "loudness": loudness, "peak": peak, "duration": duration, "attempts": attempts}
        for name, limits in ranges.items():
            if limits is None or limits == (None, None):
                continue
            values = self.table[RANGES[name]].to_numpy(np.float64, na_value=np.nan)
            low, high = (
                end if end is not None else bound for end, bound in zip(limits, (-np.inf, np.inf), strict=True)
            )
            kept &= (values >= low) & (values <= high)
        for word in text.casefold().split():
            kept &= np.fromiter((word in line for line in self._searched), bool, len(self))
        return np.flatnonzero(kept)

    @cached_property
    def _searched(self) -> list[str]:
        prompts = self.table["prompt"].fillna("")
        return [f"{identity} {prompt}".casefold() for identity, prompt in zip(self.table["id"], prompts, strict=True)]

    def audio(self, position: int) -> tuple[bytes, str]:
        """A clip's stored bytes (FLAC) and their suffix. Only this clip's row group is read. Raises DataError."""
        return self._sound[int(self._rows[self._checked(position)])]

    def sounds(self) -> Iterator[tuple[bytes, str]]:
        """Every clip's bytes and suffix in the table's order, each row group read once."""
        return (found for _, found in self._sound.each(self._rows.tolist()))

    def samples(self, position: int) -> tuple[np.ndarray, int]:
        """float32 [samples], channels averaged, and Hz."""
        from builder.audio import decode, mono
        from builder.corpus.schema import LONGEST

        samples, rate = decode(self.audio(position)[0], LONGEST)
        return mono(samples), rate

    def spectrogram(self, position: int) -> bytes:
        """A PNG of the log-mel picture with its axes, on white: it reads on light and on dark."""
        from ..reporting.plots import spectrogram

        samples, rate = self.samples(position)
        return spectrogram(samples, rate, seconds=len(samples) / rate)

    def thumbnail(self, position: int) -> bytes:
        """The same without axes, dark by itself; made many times as fast, and small."""
        from .picture import thumbnail

        return thumbnail(*self.samples(position))

    @cached_property
    def why(self) -> str:
        """Why there is no map and no neighbour, in words; "" where there is."""
        if self.embeddings is not None:
            return ""
        if not self._configs:
            return f"{self.place.name} has no embeddings; synthmir embed CORPUS makes them"
        return (
            f"{self.place.name}: {self._configs[0]} has no embedding of some clips; synthmir embed CORPUS makes them"
        )

    @cached_property
    def _configs(self) -> list[str]:
        """Configs of embeddings, without those of damaged copies, sorted."""
        folders = sorted({name.rpartition("/")[0] for name in self.place.files() if name.endswith(".parquet")})
        names = [
            name for name in folders if name and "/" not in name and name != "data" and shards_of(self.place, name)
        ]
        told = {name: self._record(f"records/embed-{name}.json").get("details") or {} for name in names}
        return [name for name in names if not told[name].get("augment")]

    @property
    def embeddings(self) -> tuple[str, np.ndarray] | None:
        """The first embedder's name and float32 [n, dim] in the table's order; None where there are none."""
        with self._lock:
            return self._embeddings

    @cached_property
    def _embeddings(self) -> tuple[str, np.ndarray] | None:
        if not self._configs:
            return None
        name = self._configs[0]
        found = read_embeddings(self.place, name, self.table["id"].tolist())
        return None if found is None else (name, found)

    @cached_property
    def unit(self) -> np.ndarray | None:
        """Embeddings standardised and of length 1, float32 [n, dim]: what neighbours and duplicates are told by."""
        from ..fidelity.neighbours import unit

        if self.embeddings is None:
            return None
        vectors = self.embeddings[1]
        scale = vectors.std(axis=0, dtype=np.float64)
        return unit(vectors, vectors.mean(axis=0, dtype=np.float64), np.where(scale > 0, scale, 1.0))

    def map(self) -> np.ndarray | None:
        """float32 [n, 2] in [-1, 1]: t-SNE, the same each time and kept in the user's cache; None under 3 clips or
        without embeddings (`why` says it). Takes seconds the first time: nothing else here asks for it.
        """
        with self._lock:
            return self._map

    @cached_property
    def _map(self) -> np.ndarray | None:
        from .layout import lay_out, remembered

        if self.embeddings is None or len(self) < 3:
            return None
        vectors = np.ascontiguousarray(self.embeddings[1])
        return remembered(vectors, lambda: lay_out(vectors))

    def neighbours(self, position: int, k: int = 8) -> list[tuple[int, float]]:
        """The `k` nearest clips and their cosines, nearest first; [] without embeddings."""
        position = self._checked(position)
        with self._lock:
            rows = self.unit
        if rows is None or k < 1:
            return []
        cosines = rows @ rows[position]
        cosines[position] = -np.inf
        order = np.lexsort((np.arange(len(cosines)), -cosines))[: min(k, len(cosines) - 1)]
        return [(int(other), float(cosines[other])) for other in order]

    def duplicates(self, similarity: float | None = None) -> list[tuple[int, int, float]]:
        """Pairs of near-duplicates with their cosine, nearest first: as `synthmir fidelity` finds them."""
        from ..fidelity.duplicates import find_duplicates

        with self._lock:
            rows = self.unit
        if rows is None or len(rows) < 2:
            return []
        found = find_duplicates(rows, similarity=similarity)
        return [
            (int(left), int(right), float(cosine))
            for (left, right), cosine in zip(found.pairs, found.cosines, strict=True)
        ]

    def shares(self, column: str) -> dict[str, float]:
        """Of each word of a column the share of clips that have it."""
        values = self.table[column]
        words = (word for one in values for word in one) if column == "instruments" else values.dropna()
        return {str(word): count / len(self) for word, count in Counter(words).items()}

    def revision(self, embedder: str) -> str | None:
        """Which revision of an embedder made the embeddings, if the corpus's record says so."""
        details = self._record(f"records/embed-{embedder}.json").get("details") or {}
        return (details.get("embedder") or {}).get("revision")

    def compare(self, other: Clips) -> Comparison:
        """This corpus held against another: labels, levels, and embeddings where both are of one embedder."""
        from .compare import compare

        return compare(self, other)

    @property
    def model(self) -> Path | None:
        """The folder of the classifier that goes with the corpus; of a repository, the linked one is fetched."""
        return self.place.model()

    @cached_property
    def recipe(self) -> Recipe:
        """What the corpus was made from. Raises RecipeError where it cannot be read."""
        from builder.recipe import Recipe

        return Recipe.load(self.place.recipe_folder() / "recipe.yaml", kept=True)

    def _record(self, name: str) -> dict[str, Any]:
        try:
            found = parse_json(self.place.text(name) or "{}")
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def _checked(self, position: int) -> int:
        if not 0 <= int(position) < len(self):
            raise DataError(
                f"{self.place.name}: there is no clip {position}", f"positions go from 0 to {len(self) - 1}"
            )
        return int(position)


def _words(given: str | Sequence[str]) -> list[str]:
    return [given] if isinstance(given, str) and given else list(given or ())
