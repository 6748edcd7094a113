"""The clips of a corpus that has the config `annotations`, as annotated tracks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from builder.annotations.annotation import Annotation
from builder.corpus.corpus import Corpus, group_shards
from builder.errors import DataError, RecipeError
from builder.io.parquet_guard import check_parquet, parquet_errors, read_batches
from builder.io.storage import storage_errors
from builder.names import match_split

from .annotated import VALIDATION, AnnotatedTrack, AnnotatedTracks

CONFIG = "annotations"
ROWS = 64  # in memory at a time
REBUILD = "build the corpus again with `annotations: true` in its recipe: the clips stay as they are"


class AnnotatedCorpus(AnnotatedTracks):
    """`corpus:PATH[?split=SPLIT]`: the clips of a split, by default of the validation split, and what is played."""

    options = ("split",)

    def open(self) -> None:
        """Find the shards of the split. Raises DataError where the corpus has no annotations of it."""
        corpus = Corpus.open(self.spec.target)
        chosen = self.spec.options.get("split", VALIDATION)
        split = match_split(chosen) or chosen
        with storage_errors(corpus.root):
            names = corpus.shards(CONFIG)
            if not names:
                raise DataError(f"{corpus.root}: has no annotations", REBUILD)
            annotated = group_shards(names, f"{corpus.root}: {CONFIG}", REBUILD)
            clips = group_shards(corpus.shards(), f"{corpus.root}: data", "synthmir verify shows what is missing")
        if split not in clips:
            raise RecipeError(f"{self.name}: has no split {chosen!r}", f"write split= one of {', '.join(clips)}")
        lacking = {_file_name(name) for name in clips[split]} - {_file_name(name) for name in annotated.get(split, ())}
        if lacking:
            raise DataError(f"{corpus.root}: {min(lacking)} has no annotations", REBUILD)
        self.split, self.corpus = split, corpus
        self.files = [(corpus.root / name, corpus.root / CONFIG / _file_name(name)) for name in clips[split]]

    def __len__(self) -> int:
        """Count the clips of the split, by the footers of its shards."""
        import pyarrow.parquet as pq

        total = 0
        for clips, _ in self.files:
            with parquet_errors(clips), clips.open("rb") as file:
                total += pq.ParquetFile(file).metadata.num_rows
        return total

    @property
    def protocol(self) -> str:
        """The split."""
        return f"The clips of the corpus's split {self.split}, beside what its generator played."

    def read(self) -> Iterator[AnnotatedTrack]:
        """Yield the clips with their annotations.

        Raises:
            DataError: A shard is damaged, or the two configs do not have the same clips.
        """
        for clips, played in self.files:
            columns = _audio_columns(clips)
            check_parquet(clips, columns)
            check_parquet(played)
            with parquet_errors(clips):
                yield from self._read_shard(clips, played, columns)

    def _read_shard(self, clips: Path, annotations: Path, columns: list[str]) -> Iterator[AnnotatedTrack]:
        """Yield the clips of one shard. Both files have the same clips in the same order."""
        played = _read_rows(annotations, None)
        for clip in _read_rows(clips, columns):
            row = next(played, None)
            if row is None or row.get("id") != clip["id"]:
                found = "no more rows" if row is None else repr(row.get("id"))
                raise DataError(f"{annotations}: has {found} where {clips.name} has the clip {clip['id']!r}", REBUILD)
            audio = (clip.get("audio") or {}).get("bytes")
            if not audio:
                self.leave_out(str(clip["id"]), "without audio")
                continue
            try:
                annotation = Annotation.from_row(row)
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(
                    f"{annotations}: clip {clip['id']!r}: not an annotation: {error!r:.200}", REBUILD
                ) from error
            yield AnnotatedTrack(str(clip["id"]), None, audio, annotation, self.split)
        if next(played, None) is not None:
            raise DataError(f"{annotations}: has more rows than {clips.name}", REBUILD)


def _file_name(shard: str) -> str:
    return shard.rpartition("/")[2]


def _audio_columns(clips: Path) -> list[str]:
    """The columns to read. Raises DataError where the clips have no audio."""
    import pyarrow.parquet as pq

    with parquet_errors(clips), clips.open("rb") as file:
        names = pq.ParquetFile(file).schema_arrow.names
    if not {"id", "audio"} <= set(names):
        raise DataError(f"{clips}: has no columns id and audio", "build the corpus again: it holds no clips")
    return ["id", "audio"]


def _read_rows(path: Path, columns: list[str] | None) -> Iterator[dict[str, Any]]:
    for batch in read_batches(path, ROWS, columns):
        yield from batch.to_pylist()
