"""Any Hugging Face data set with audio and a column of labels: on the Hub, streamed, or on disk."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from builder.errors import DataError, HubError, RecipeError
from builder.io.hf_splits import is_saved, load_splits
from builder.io.storage import path_exists
from builder.validation import suggest

from .base import ALL, NUMBER_TASKS, Benchmark
from .table import recordings_to_dataset
from .text import printable
from .track import Label, Recording, Track

if TYPE_CHECKING:
    from datasets import Dataset, Features, IterableDataset

_SLICE = re.compile(r"(.*)\[(\d*):(\d*)\]$")
_WHOLE = "what cannot be streamed can be downloaded: stream=no"
GUESSES = {"label": ("label", "genre", "labels", "genres"), "id": ("id",), "artist": ("artist", "artist_id")}


class Hub(Benchmark):
    """`hub:ID_OR_FOLDER?label=COLUMN&audio=COLUMN&split=test`; also id, artist, config, revision and stream=no.

    The data set is read twice, the first time without audio where it is Parquet. Nothing is kept on disk unless
    `stream=no` downloads it first. `split=test[:100]` is its first hundred rows.
    """

    title = "A Hugging Face data set"
    about = "any data set on the Hub or on disk that has audio and a column of labels"
    licence = "see the data set's card"
    citation = ""
    how_to_get = "ID_OR_FOLDER is a data set on the Hub (organisation/name) or a folder that `datasets` can load"
    options = ("mapping", "split", "label", "audio", "id", "artist", "config", "revision", "stream")

    @property
    def source(self) -> str:
        """The data set's page, or the folder."""
        target = printable(self.spec.target)
        return target if self.local else f"https://huggingface.co/datasets/{target}"

    @property
    def protocol(self) -> str:
        """The rows that are evaluated, and the column of their labels."""
        return f"Every row of its split {self.evaluated_split!r}, by its column {self.label!r}."

    @property
    def evaluated_split(self) -> str:
        """The option `split`, which may hold a slice of rows: "test[:100]"."""
        chosen = self.spec.options.get("split", self.default_part)
        if chosen != ALL and _slice(chosen)[0] not in self.parts:
            raise RecipeError(
                f"{self.name}: has no part {chosen!r}",
                f"write split= one of {', '.join((*self.parts, ALL))}, or some rows of one: {self.parts[0]}[:100]",
            )
        return chosen

    @property
    def own_labels(self) -> list[str]:
        """The names of the column; without names, the values of the rows that were read, sorted. None for numbers."""
        if self.numeric:
            return []
        if names := getattr(self._kind, "names", None):
            return list(names)
        self.part(self.evaluated_split)
        return sorted(
            {
                name
                for part_recordings in self._sieves.values()
                for one in part_recordings.usable
                for name in one.labels
            }
        )

    def open(self) -> None:
        """Find the splits and the columns. Raises DataError, HubError or RecipeError."""
        place = Path(self.spec.target).expanduser()
        self.local = path_exists(place)
        if not self.local and self.spec.target.startswith((".", "/", "~")):
            raise DataError(
                f"{printable(self.spec.target)}: does not exist", "check the path, or give an id on the Hub"
            )
        self.stream = self.spec.options.get("stream", "yes")
        if self.stream not in ("yes", "no"):
            raise RecipeError(f"{self.name}: stream is {self.stream!r}", "write stream=yes or stream=no")
        self.place = str(place) if self.local else self.spec.target
        streams = self._load()
        self.parts = tuple(streams)
        if "split" not in self.spec.options and "test" not in self.parts:
            if len(self.parts) > 1:
                raise RecipeError(
                    f"{self.name}: has no split 'test'; its splits are {', '.join(self.parts)}", "add ?split=NAME"
                )
            self.default_part = self.parts[0]
        self.features = _features(streams[self.parts[0]])
        self.audio = self._audio_column()
        self.label = self._column("label", (self.task, *GUESSES["label"]))
        if not self.label:
            raise RecipeError(
                f"{self.name}: which column has the labels? There are {', '.join(self.features)}", "add ?label=NAME"
            )
        self.identity, self.artist = (self._column(key, GUESSES[key]) for key in ("id", "artist"))
        self.multi_label = isinstance(self.features[self.label], list) or hasattr(self.features[self.label], "feature")
        dtype = getattr(self._kind, "dtype", "")
        whole = self.task in NUMBER_TASKS and "int" in dtype and not hasattr(self._kind, "names")
        self.numeric = "float" in dtype or whole

    def read(self, part: str) -> list[Recording]:
        """Return the rows of one split without their audio."""
        split, first, last = _slice(part)
        wanted = [name for name in dict.fromkeys((self.label, self.identity, self.artist)) if name]
        with self._readable_errors():
            rows = list(islice(self._stream(split, wanted).skip(first), last and max(0, last - first)))
        recordings = []
        for number, row in enumerate(rows, first):
            value = row[self.label]
            known = self.numeric and value is not None and isfinite(value)
            identity = str(row[self.identity]) if self.identity else f"{split}/{number}"
            who = row[self.artist] if self.artist else None
            recordings.append(
                Recording(
                    identity,
                    None,
                    () if self.numeric else self._names(value),
                    split,
                    None if who is None else str(who),
                    value=float(value) if known else None,
                    row=number,
                )
            )
        return recordings

    def make_tracks(self, pairs: list[tuple[Recording, Label]]) -> Sequence[Track]:
        """Return tracks whose audio is fetched on access, in the order of the data set."""
        return Streamed(self, sorted(pairs, key=lambda pair: (self.parts.index(pair[0].split or ""), pair[0].row)))

    def dataset(self, labels: Sequence[str] | None = None) -> Dataset:
        """Return all splits as every benchmark does. Unlike evaluation, this downloads the data set."""
        from datasets import Dataset, concatenate_datasets
        from datasets.table import InMemoryTable

        kept, names, multi_label = self.rows(labels)
        whole, pieces = self._load(streaming=False), []
        for part in self.parts:
            if recordings := sorted((one for one in kept if one.split == part), key=lambda one: one.row or 0):
                rows = whole[part].select_columns([self.audio]).select([one.row for one in recordings])
                audio = rows.flatten_indices().data.column(self.audio)  # mapped, not in memory
                labelled = recordings_to_dataset(recordings, names, multi_label)
                table = labelled.data.table
                table = table.set_column(table.schema.get_field_index("audio"), table.schema.field("audio"), audio)
                pieces.append(Dataset(InMemoryTable(table)))
        if not pieces:
            raise self.no_tracks_error()
        joined: Dataset = concatenate_datasets(pieces)
        return joined

    @property
    def _kind(self) -> Any:
        """The feature of one label."""
        feature = self.features[self.label]
        return feature[0] if isinstance(feature, list) else getattr(feature, "feature", feature)

    def _names(self, value: Any) -> tuple[str, ...]:
        """Return the names of a row's labels; none for null and for -1, which is how `datasets` writes null."""
        values = value if isinstance(value, list) else [value]
        names = getattr(self._kind, "names", None)
        if names:
            return tuple(names[one] for one in values if one is not None and 0 <= one < len(names))
        return tuple(str(one) for one in values if one is not None and str(one).strip())

    def _audio_column(self) -> str:
        from datasets import Audio

        if chosen := self._column("audio", ()):
            return chosen
        columns = [name for name, kind in self.features.items() if isinstance(kind, Audio)]
        if len(columns) != 1:
            problem = f"has several columns of audio: {', '.join(columns)}" if columns else "has no column of audio"
            raise RecipeError(
                f"{self.name}: {problem}; its columns are {', '.join(self.features)}", "say which: ?audio=NAME"
            )
        return columns[0]

    def _column(self, key: str, guesses: Sequence[str]) -> str:
        """Return the column that the option `key` names, else the first guess that exists, else none."""
        chosen = self.spec.options.get(key)
        if chosen is None:
            return next((name for name in guesses if name in self.features), "")
        if chosen not in self.features:
            raise RecipeError(
                f"{self.name}: has no column {chosen!r}{suggest(chosen, self.features)}",
                f"its columns are {', '.join(self.features)}",
            )
        return chosen

    def _load(self, streaming: bool = True, **options: Any) -> dict[str, Any]:
        """Load every split. Raises HubError where the Hub does not give it, DataError for a folder."""
        from builder.io.hf_audio import load_dataset

        place = Path(self.place)
        lazily = streaming and self.stream == "yes"
        with self._readable_errors():
            if self.local and is_saved(place):
                saved = load_splits(place)
                return {name: one.to_iterable_dataset() if streaming else one for name, one in saved.items()}
            if self.local and place.is_file():
                options["data_files"] = self.place
            kind = place.suffix.lstrip(".").replace("jsonl", "json") if "data_files" in options else self.place
            config, revision = self.spec.options.get("config"), self.spec.options.get("revision")
            loaded = dict(load_dataset(kind, config, revision=revision, streaming=lazily, **options))
            return {
                name: one.to_iterable_dataset() if streaming and not lazily else one for name, one in loaded.items()
            }

    def _stream(self, part: str, wanted: list[str]) -> IterableDataset:
        """Load some columns of one split. Of Parquet files only these are read."""
        try:
            return self._load(columns=wanted)[part]
        except (DataError, HubError, KeyError):  # no Parquet
            return self._load()[part].select_columns(wanted)

    @contextmanager
    def _readable_errors(self) -> Iterator[None]:
        """Turn any error of `datasets` into a DataError or a HubError."""
        try:
            yield
        except (DataError, HubError, RecipeError):
            raise
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
            if self.local:
                raise DataError(
                    f"{self.name}: cannot be loaded as a data set: {reason}", f"check that {self.how_to_get}; {_WHOLE}"
                ) from error
            raise HubError(
                f"{self.name}: cannot be loaded from the Hub: {reason}",
                f"check the id, the network, and `hf auth login` for a private or gated data set; {_WHOLE}",
            ) from error


class Streamed(Sequence[Track]):
    """Tracks in the order of the data set. Each iteration reads the audio again, and none is kept in memory."""

    def __init__(self, hub: Hub, pairs: list[tuple[Recording, Label]]) -> None:
        self.hub, self.pairs = hub, pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self) -> Iterator[Track]:
        return self._tracks(self.pairs)

    @overload
    def __getitem__(self, index: int) -> Track: ...
    @overload
    def __getitem__(self, index: slice) -> Streamed: ...
    def __getitem__(self, index: int | slice) -> Track | Streamed:
        if isinstance(index, slice):
            return Streamed(self.hub, self.pairs[index])
        return next(self._tracks([self.pairs[index]]))

    def _tracks(self, pairs: list[tuple[Recording, Label]]) -> Iterator[Track]:
        by_split: dict[str, dict[int, tuple[Recording, Label]]] = {}
        for one, label in pairs:
            by_split.setdefault(one.split or "", {})[one.row or 0] = (one, label)
        for split, wanted in by_split.items():
            first, last = min(wanted), max(wanted)
            with self.hub._readable_errors():
                rows = self.hub._stream(split, [self.hub.audio]).skip(first)
                for number, row in enumerate(rows, first):
                    if number in wanted:
                        one, label = wanted[number]
                        path, data = _where(row[self.hub.audio])
                        yield Track(one.id, path, label, one.split, one.artist, data)
                    if number == last:
                        break


def _slice(part: str) -> tuple[str, int, int | None]:
    """ "test[10:100]" -> ("test", 10, 100); without brackets all rows."""
    match = _SLICE.match(part)
    return (match[1], int(match[2] or 0), int(match[3]) if match[3] else None) if match else (part, 0, None)


def _where(value: Any) -> tuple[Path | None, bytes | None]:
    """Return a row's audio as a local file or as encoded bytes; two None where it has none."""
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return None, value
    if not isinstance(value, str):
        return None, None
    if Path(value).is_file():
        return Path(value), None
    from datasets.utils.file_utils import xopen

    try:
        with xopen(value, "rb") as file:  # inside an archive, or on the Hub
            return None, file.read()
    except OSError:
        return None, None


def _features(stream: IterableDataset) -> Features:
    """Return the columns; where the files do not describe them, from the first row."""
    from datasets import Dataset

    if stream.features is not None:
        return stream.features
    return Dataset.from_list(list(stream.take(1))).features
