"""The clips of a corpus: the labels of all in a table, the audio of one when it is needed, neighbours and map."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.configs import find_kind
from builder.embedders.tagger import TAGGER, load_tagger
from builder.errors import BackendError, DataError
from builder.io.safe_files import parse_json

from .clip_audio import ClipAudio
from .clip_configs import ClipConfigs
from .clip_labels import list_shards, read_clip_labels, read_embeddings, sample_evenly
from .corpus_source import CorpusSource, open_source

if TYPE_CHECKING:
    import pandas as pd

    from builder.annotations.annotation import Annotation
    from builder.recipe import Recipe

FACETS = ("genre", "subgenre", "mood", "instruments", "vocals", "split")
RANGES = {"tempo": "tempo_bpm", "loudness": "loudness", "peak": "peak", "duration": "duration", "attempts": "attempts"}
Range = tuple[float | None, float | None] | None


@dataclass(frozen=True, slots=True)
class CorpusSummary:
    """What was opened."""

    name: str
    kind: str  # "folder" or "hub"
    clips: int  # in the table
    total_clips: int  # in the corpus
    seconds: float  # duration of the clips in the table; 0 if their rows have none
    genres: tuple[str, ...]
    has_model: bool
    generator: str
    fingerprint: str | None


class Clips:
    """The clips of a corpus.

    `table` (a pandas DataFrame) has a row for each clip. Methods take a clip's position in it.
    """

    def __init__(self, source: CorpusSource, limit: int | None = None) -> None:
        self.source = source
        labels = read_clip_labels(source)
        self._names, self._audio, self.total_clips = labels.names, ClipAudio(source, labels.shards), len(labels.table)
        self._rows = sample_evenly(labels.table["genre"].fillna("").tolist(), limit)
        self.table: pd.DataFrame = labels.table.iloc[self._rows].reset_index(drop=True)
        self.configs = ClipConfigs(source, labels.shards)
        self._lock = RLock()

    @classmethod
    def open(cls, run_or_repo: str | Path, *, limit: int | None = None) -> Clips:
        """Open a corpus. Of one on the Hub the label columns are downloaded, and no audio.

        Args:
            run_or_repo: A run (a folder with corpus/ and model/), a corpus folder, or NAMESPACE/NAME[@REVISION].
            limit: How many clips at most, evenly from all genres.

        Raises:
            DataError: It is not a corpus, or cannot be read.
            HubError: The repository cannot be read.
        """
        return cls(open_source(str(run_or_repo)), limit)

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def summary(self) -> CorpusSummary:
        """Name, size and origin of the corpus."""
        return CorpusSummary(
            name=self.source.name,
            kind=self.source.kind,
            clips=len(self),
            total_clips=self.total_clips,
            seconds=float(self.table["duration"].fillna(0).sum()),
            genres=tuple(self.facets()["genre"]),
            has_model=self.source.has_model(),
            generator=", ".join(map(str, self.table["generator"].dropna().unique())),
            fingerprint=self._read_record("records/build.json").get("fingerprint"),
        )

    def facets(self) -> dict[str, list[str]]:
        """List the values that occur in each label column, in the taxonomy's order, or else sorted."""
        facets = {}
        for column in FACETS:
            values: Iterable[Any] = self.table[column]
            if column == "instruments":
                values = (name for names in values for name in names)
            present = {str(value) for value in values if isinstance(value, str)}
            order = {name: index for index, name in enumerate(self._names.get(column, ("train", "validation")))}
            facets[column] = sorted(present, key=lambda name: (order.get(name, len(order)), name))
        return facets

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
        """Find the clips that satisfy all conditions.

        Args:
            genre: Accepted values, as for `subgenre`, `mood`, `vocals` and `split`; () accepts all.
            instruments: Of these a clip has one or more; () accepts all.
            tempo: (lowest, highest) in bpm, both inclusive, None for no limit. As for the other ranges, clips without
                a value are left out. Loudness is in LUFS, peak in dBFS, duration in seconds.
            text: Words that all occur in the prompt or the id, ignoring case.

        Returns:
            int64 [matches], positions in ascending order.
        """
        matches = np.ones(len(self), bool)
        choices = {"genre": genre, "subgenre": subgenre, "mood": mood, "vocals": vocals, "split": split}
        for column, values in choices.items():
            if accepted := _as_list(values):
                matches &= self.table[column].isin(accepted).to_numpy(bool)
        if accepted := _as_list(instruments):
            played = (bool(set(accepted).intersection(names)) for names in self.table["instruments"])
            matches &= np.fromiter(played, bool, len(self))
        ranges = {"tempo": tempo, "loudness": loudness, "peak": peak, "duration": duration, "attempts": attempts}
        for name, limits in ranges.items():
            if limits is None or limits == (None, None):
                continue
            numbers = self.table[RANGES[name]].to_numpy(np.float64, na_value=np.nan)
            low, high = (-np.inf if limits[0] is None else limits[0]), (np.inf if limits[1] is None else limits[1])
            matches &= (numbers >= low) & (numbers <= high)
        for word in text.casefold().split():
            matches &= np.fromiter((word in searchable for searchable in self._searchable), bool, len(self))
        return np.flatnonzero(matches)

    @cached_property
    def _searchable(self) -> list[str]:
        prompts = self.table["prompt"].fillna("")
        return [f"{identity} {prompt}".casefold() for identity, prompt in zip(self.table["id"], prompts, strict=True)]

    def read_audio(self, position: int) -> tuple[bytes, str]:
        """Return a clip's stored bytes and their file suffix. Reads only its row group. Raises DataError."""
        return self._audio.read(int(self._rows[self._checked(position)]))

    def read_all_audio(self) -> Iterator[tuple[bytes, str]]:
        """Yield the stored bytes and file suffix of all clips in the table's order."""
        return self._audio.read_each(self._rows.tolist())

    def decode_audio(self, position: int) -> tuple[np.ndarray, int]:
        """Decode a clip: float32 [samples], the mean of its channels, and the sampling rate in Hz."""
        from builder.audio import decode_audio, to_mono
        from builder.corpus.schema import LONGEST

        samples, rate = decode_audio(self.read_audio(position)[0], LONGEST)
        return to_mono(samples), rate

    def render_thumbnail(self, position: int) -> bytes:
        """Draw a clip's log-mel spectrogram as a small PNG without axes."""
        from .thumbnail import render_thumbnail

        return render_thumbnail(*self.decode_audio(position))

    def read_annotation(self, position: int) -> Annotation | None:
        """Read what is played in a clip; None where the corpus does not say. Raises DataError."""
        return self.configs.read_annotation(*self._identify(position))

    def list_stems(self, position: int) -> tuple[str, ...]:
        """Name the stems of a clip; () without the config `stems`."""
        return self.configs.list_stems(*self._identify(position))

    def read_stem(self, position: int, stem: str) -> tuple[bytes, str]:
        """Read the bytes of a stem and their file suffix. Raises DataError."""
        return self.configs.read_stem(*self._identify(position), stem)

    def read_production(self, position: int) -> str:
        """Read how a clip was produced, as JSON; "" where the corpus does not say."""
        return self.configs.read_production(self._identify(position)[0])

    def _identify(self, position: int) -> tuple[int, str]:
        """A clip's row in the whole corpus, and its id."""
        position = self._checked(position)
        return int(self._rows[position]), str(self.table["id"].iloc[position])

    @cached_property
    def no_embeddings_reason(self) -> str:
        """Why there are no neighbours and no map; "" if there are."""
        if self.embeddings is not None:
            return ""
        if not self._configs:
            return f"{self.source.name} has no embeddings; synthmir embed CORPUS makes them"
        return (
            f"{self.source.name}: {self._configs[0]} has no embedding of some clips; synthmir embed CORPUS makes them"
        )

    @cached_property
    def _configs(self) -> list[str]:
        """The configs with embeddings, sorted; not those of degraded copies of the audio."""
        folders = sorted({name.rpartition("/")[0] for name in self.source.files() if name.endswith(".parquet")})
        names = [name for name in folders if name and "/" not in name and find_kind(name) == "embeddings"]
        names = [name for name in names if list_shards(self.source, name)]
        return [name for name in names if not self._embedding_details(name).get("augment")]

    def _embedding_details(self, config: str) -> dict[str, Any]:
        return self._read_record(f"records/embed-{config}.json").get("details") or {}

    @property
    def embeddings(self) -> tuple[str, np.ndarray] | None:
        """The first embedder's name and float32 [clips, dim] in the table's order; None if there are none."""
        with self._lock:
            return self._embeddings

    @cached_property
    def _embeddings(self) -> tuple[str, np.ndarray] | None:
        if not self._configs:
            return None
        vectors = read_embeddings(self.source, self._configs[0], self.table["id"].tolist())
        return None if vectors is None else (self._configs[0], vectors)

    @cached_property
    def unit_vectors(self) -> np.ndarray | None:
        """The embeddings standardised and scaled to length 1, float32 [clips, dim]; None if there are none."""
        from ..fidelity.neighbours import unit_vectors

        if self.embeddings is None:
            return None
        vectors = self.embeddings[1]
        scale = vectors.std(axis=0, dtype=np.float64)
        return unit_vectors(vectors, vectors.mean(axis=0, dtype=np.float64), np.where(scale > 0, scale, 1.0))

    def map_points(self) -> np.ndarray | None:
        """Place the clips in two dimensions with t-SNE. Takes seconds; the result is cached on disk.

        Returns:
            float32 [clips, 2] in [-1, 1], or None without embeddings or with fewer than three clips.
        """
        with self._lock:
            return self._map_points

    @cached_property
    def _map_points(self) -> np.ndarray | None:
        from .map_layout import compute_layout, load_or_compute_layout

        if self.embeddings is None or len(self) < 3:
            return None
        vectors = np.ascontiguousarray(self.embeddings[1])
        return load_or_compute_layout(vectors, lambda: compute_layout(vectors))

    def find_neighbours(self, position: int, k: int = 8) -> list[tuple[int, float]]:
        """Find the `k` nearest clips: (position, cosine), nearest first; [] without embeddings."""
        position = self._checked(position)
        with self._lock:
            vectors = self.unit_vectors
        if vectors is None or k < 1:
            return []
        cosines = vectors @ vectors[position]
        cosines[position] = -np.inf
        order = np.lexsort((np.arange(len(cosines)), -cosines))[: min(k, len(cosines) - 1)]
        return [(int(other), float(cosines[other])) for other in order]

    def find_duplicates(self, similarity: float | None = None) -> list[tuple[int, int, float]]:
        """Find near-duplicates as `synthmir fidelity` does.

        Args:
            similarity: The lowest cosine of a pair. Default: pairs closer than chance would put any two clips.

        Returns:
            (position, position, cosine), nearest pair first.
        """
        from ..fidelity.duplicates import find_duplicates

        with self._lock:
            vectors = self.unit_vectors
        if vectors is None or len(vectors) < 2:
            return []
        duplicates = find_duplicates(vectors, similarity=similarity)
        return [
            (int(left), int(right), float(cosine))
            for (left, right), cosine in zip(duplicates.pairs, duplicates.cosines, strict=True)
        ]

    def predict_tags(self, position: int, count: int = 6) -> tuple[tuple[str, float], ...]:
        """Return a clip's most probable tags by musicnn, from its embedding; () without such embeddings or weights."""
        from ..classify import rank_labels

        position = self._checked(position)
        with self._lock:
            found = self._tags
        return () if found is None else rank_labels(found[0], found[1][position], count)

    @cached_property
    def _tags(self) -> tuple[tuple[str, ...], np.ndarray] | None:
        """The names of the tags, and float32 [clips, tags]."""
        if TAGGER not in self._configs:
            return None
        if self._configs[0] == TAGGER:
            vectors = None if self._embeddings is None else self._embeddings[1]
        else:
            vectors = read_embeddings(self.source, TAGGER, self.table["id"].tolist())
        try:
            tagger = load_tagger(self._embedding_details(TAGGER).get("embedder") or {})
        except (BackendError, DataError):  # weights that are not here: the page goes without tags
            return None
        return None if vectors is None else (tagger.tag_names, tagger.predict_tags(vectors))

    def label_shares(self, column: str) -> dict[str, float]:
        """Return the share of clips that have each value of a label column."""
        values = self.table[column]
        names = (name for names in values for name in names) if column == "instruments" else values.dropna()
        return {str(name): count / len(self) for name, count in Counter(names).items()}

    def embedder_revision(self, embedder: str) -> str | None:
        """Return the revision of the embedder that made the embeddings, if the corpus's record has it."""
        return (self._embedding_details(embedder).get("embedder") or {}).get("revision")

    @property
    def model_folder(self) -> Path | None:
        """The folder of the classifier that belongs to the corpus. One on the Hub is downloaded."""
        return self.source.model_folder()

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe that the corpus was made from. Raises RecipeError if it cannot be read."""
        from builder.recipe import Recipe

        return Recipe.load(self.source.recipe_folder() / "recipe.yaml", kept=True)

    def _read_record(self, name: str) -> dict[str, Any]:
        """Read a JSON record; {} if it is missing or damaged."""
        try:
            record = parse_json(self.source.read_text(name) or "{}")
        except ValueError:
            return {}
        return record if isinstance(record, dict) else {}

    def _checked(self, position: int) -> int:
        if not 0 <= int(position) < len(self):
            raise DataError(f"{self.source.name}: there is no clip {position}", f"positions are 0 to {len(self) - 1}")
        return int(position)


def _as_list(values: str | Sequence[str]) -> list[str]:
    return [values] if isinstance(values, str) and values else list(values or ())
