"""Any data set that mirdata has a loader of: as annotated tracks, and as a benchmark of labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from builder.annotations.annotation import Annotation
from builder.errors import DataError, RecipeError
from builder.names import match_split

from .annotated import AnnotatedTrack, AnnotatedTracks
from .annotated_values import ConversionError, measure_seconds
from .base import NUMBER_TASKS, Benchmark
from .mirdata_reader import MirdataReader, option_names, split_target
from .mirdata_values import CONVERTERS, Converted
from .text import printable
from .track import Recording

OPTIONS = tuple(option_names())
KINDS = {"downbeats": "beats"}  # tasks that another kind of annotation holds
LABELLED = ("key", "time_signature")  # annotations that a classifier can predict: one label a track


class MirdataTracks(AnnotatedTracks):
    """`mirdata:DATASET:PATH[?index=FILE&version=V&split=S&level=L&audio=A&chords=A...]`.

    PATH is mirdata's `data_home`. An option with the name of a kind of annotation says which attribute of mirdata's
    track holds it: `?chords=inferred_chords`, `?melody=melody1`.
    """

    options = OPTIONS

    def open(self) -> None:
        """Open the data set. Nothing is downloaded."""
        name, home = split_target(self.spec.target, self.spec.text)
        self.reader = MirdataReader(name, home, self.spec.options)
        self.licence, self.citation = self.reader.licence, self.reader.citation
        wanted = dict.fromkeys(KINDS.get(task, task) for task in self.tasks) or dict.fromkeys(CONVERTERS)
        self.kinds = [kind for kind in wanted if kind in CONVERTERS]
        if not self.kinds:
            raise RecipeError(
                f"{self.name}: no data set of mirdata has an annotation of {' or '.join(wanted)}",
                f"evaluate a model of one of: {', '.join(CONVERTERS)}",
            )

    def __len__(self) -> int:
        """Count the tracks in the index."""
        return len(self.reader.ids)

    @property
    def source(self) -> str:
        """The folder."""
        return printable(str(self.reader.home))

    @property
    def protocol(self) -> str:
        """Which attributes are read."""
        split = self.spec.options.get("split")
        part = f" of its part {split}" if split else ""
        return f"Every {self.reader.level}{part} that is annotated, as mirdata's loader {self.reader.name} reads it."

    def read(self) -> Iterator[AnnotatedTrack]:
        """Yield the tracks whose audio is there, with every asked annotation that can be read."""
        wanted, parts = self.spec.options.get("split"), Counter[str]()
        for identity in self.reader.ids:
            try:
                track = self.reader.open_track(identity)
            except ConversionError as error:
                self.leave_out(identity, f"that mirdata cannot open ({error})")
                continue
            split = self.reader.split(track)
            parts[str(split)] += 1
            if wanted is not None and split != wanted:
                continue
            if (found := self._read_track(identity, track, split)) is not None:
                yield found
        if wanted is not None and wanted not in parts:
            raise RecipeError(
                f"{self.name}: has no part {wanted!r}", f"write split= one of {', '.join(sorted(parts))}"
            )

    def _read_track(self, identity: str, track: Any, split: str | None) -> AnnotatedTrack | None:
        """Read one track, or count why it is left out."""
        path = self.reader.find_audio(track)
        if path is None or not path.is_file():
            self.leave_out(
                identity, "whose audio is not on disk" if path is not None else "without audio in the data set"
            )
            return None
        try:
            duration = measure_seconds(path)
        except DataError:
            self.leave_out(identity, "whose audio cannot be read")
            return None
        fields: dict[str, Any] = {}
        faults: list[str] = []
        remarks: list[str] = []
        for kind in self.kinds:
            try:
                converted = self.reader.read_annotation(track, kind, duration)
            except ConversionError as error:
                faults.append(str(error))
                continue
            fields.update(converted)
            remarks += converted.remarks
        if faults and not fields:
            self.leave_out(identity, f"whose annotation cannot be read ({faults[0]})")
            return None
        for what in (*dict.fromkeys(remarks), *(f"an annotation cannot be read ({fault})" for fault in faults)):
            self.remark(identity, what)
        annotation = Annotation(printable(identity), duration, **fields)
        return AnnotatedTrack(annotation.id, self.reader.artist(track), path, annotation, split)


class Mirdata(Benchmark):
    """`mirdata:DATASET:PATH[?label=ATTRIBUTE&index=FILE&version=V&split=S]`.

    DATASET is a loader of mirdata and PATH its `data_home`. The labels are the genre, or what the model predicts: key,
    time signature, tempo, instruments.
    """

    title = "mirdata"
    about = "any data set of mirdata with audio: beats, tempo, chords, keys, notes, melodies or genres"
    licence = "that of the data set"
    citation = (
        "R. M. Bittner, M. Fuentes, D. Rubinstein, A. Jansson, K. Choi, T. Kell: mirdata: Software for reproducible "
        "usage of datasets. ISMIR 2019."
    )
    homepage = "https://mirdata.readthedocs.io"
    how_to_get = (
        "PATH is mirdata's data_home: the data set as its authors unpack it, and mirdata's index of it (a JSON file) "
        "in it or in mirdata's package; mirdata.initialize(DATASET, PATH).download() gets both where that is allowed"
    )
    options = ("mapping", *OPTIONS)
    parts: tuple[str, ...] = ("all",)
    default_part = "all"

    @property
    def source(self) -> str:
        """The folder."""
        return printable(str(self.reader.home))

    @property
    def protocol(self) -> str:
        """Every labelled track counts."""
        return f"Every labelled track of the evaluated part, as mirdata's loader {self.reader.name} reads it."

    @property
    def own_labels(self) -> list[str]:
        """The labels that there are, sorted."""
        found = {name for one in self._recordings for name in one.labels}
        return sorted(found)

    @property
    def mapping_names(self) -> tuple[str, ...]:
        """The shipped table of GTZAN for GTZAN; otherwise labels are mapped by name."""
        return ("gtzan",) if self.reader.name == "gtzan_genre" else ()

    def open(self) -> None:
        """Read every track's label, artist and part."""
        name, home = split_target(self.spec.target, self.spec.text)
        self.reader = MirdataReader(name, home, self.spec.options)
        self.licence = self.reader.licence or self.licence  # type: ignore[misc]
        self.citation = self.reader.citation or self.citation  # type: ignore[misc]
        self.title = name  # type: ignore[misc]
        self._recordings = [self._read_recording(identity) for identity in self.reader.ids]
        if parts := {one.split for one in self._recordings if one.split is not None}:
            self.parts = tuple(sorted(parts))
            named = {match_split(part): part for part in self.parts}
            self.default_part = named.get("test") or self.parts[-1]
            self._recordings = [one for one in self._recordings if one.split is not None]

    def no_tracks_error(self) -> DataError:
        """Return the error for a data set without labels of this task."""
        problems = "; ".join(["", *self.notes])
        return DataError(
            f"{self.name}: no track of its part {self.evaluated_split} has audio and a {self.task}{problems}",
            "name the attribute of mirdata's track with the label: ?label=ATTRIBUTE; beats, chords, melody and notes "
            "are for models that annotate",
        )

    def read(self, part: str) -> list[Recording]:
        """Return the tracks of a part."""
        return [one for one in self._recordings if part == "all" or one.split == part]

    def _read_recording(self, identity: str) -> Recording:
        """Read one track's label. A track that cannot be read is damaged, one without a label unlabelled."""
        name = printable(identity)
        try:
            track = self.reader.open_track(identity)
        except ConversionError as error:
            return Recording(name, None, (), fault=f"that mirdata cannot open ({error})")
        split, artist, path = self.reader.split(track), self.reader.artist(track), self.reader.find_audio(track)
        if path is not None and not path.is_file():
            path = None
        try:
            labels, value = self._read_label(track)
        except ConversionError as error:
            return Recording(name, path, (), split, artist, f"whose label cannot be read ({error})")
        return Recording(name, path, labels, split, artist, value=value)

    def _read_label(self, track: Any) -> tuple[tuple[str, ...], float | None]:
        """Return the labels of a track, and its number where the model predicts one. Raises ConversionError."""
        if self.spec.options.get("label") is None:
            if self.task in NUMBER_TASKS:
                return (), self._convert(track, "tempo").get("tempo_bpm")
            if self.task in LABELLED:
                value = self._convert(track, self.task).get(self.task)
                return (value,) if value else (), None
        return self.reader.read_labels(track, self.task), None

    def _convert(self, track: Any, kind: str) -> Converted:
        return self.reader.read_annotation(track, kind, 0.0)
