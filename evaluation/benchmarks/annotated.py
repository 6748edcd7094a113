"""Tracks with annotations: clips of a corpus, and recordings of data sets, to score what a model predicts of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from builder.annotations.annotation import Annotation
from builder.errors import DataError, RecipeError
from builder.names import format_count
from builder.registry import Registry
from builder.validation import suggest

from .spec import Spec
from .text import join_names, printable

VALIDATION = "validation"
_HERE = "evaluation.benchmarks"
SOURCES = Registry(
    "source of annotated tracks",
    corpus=f"{_HERE}.annotated_corpus:AnnotatedCorpus",
    folder=f"{_HERE}.annotated_folder:AnnotatedFolder",
    mirdata=f"{_HERE}.mirdata:MirdataTracks",
)
HAS_TASK: dict[str, Callable[[Annotation], bool]] = {
    "beats": lambda one: one.beats is not None,
    "downbeats": lambda one: one.positions is not None,
    "tempo": lambda one: one.tempo_bpm is not None,
    "time_signature": lambda one: one.time_signature is not None,
    "chords": lambda one: one.chords is not None,
    "key": lambda one: one.key is not None,
    "sections": lambda one: one.sections is not None,
    "melody": lambda one: one.melody is not None,
    "notes": lambda one: one.notes is not None,
    "instruments": lambda one: bool(one.tracks),
}


@dataclass(frozen=True, slots=True)
class AnnotatedTrack:
    """One clip or recording with its annotation."""

    id: str
    group: str | None  # the artist, where it is known
    audio: Path | bytes  # a file, or encoded audio
    annotation: Annotation
    split: str | None = None


class AnnotatedTracks(ABC):
    """The annotated tracks of one source, which are read one by one.

    A track without any of the asked annotations is left out, and so is one that cannot be read. `left_out` and
    `notes` account for them after a loop over the tracks.

    Example:
        >>> tracks = load_annotated("mirdata:ballroom:/data/ballroom", ["beats"])
        >>> for track in tracks:
        ...     print(track.id, track.annotation.beats)
        >>> tracks.notes
        ['left out 13 tracks without beats: ...']
    """

    options: ClassVar[tuple[str, ...]] = ()
    licence: str = ""
    citation: str = ""

    def __init__(self, spec: Spec, tasks: Sequence[str] = ()) -> None:
        """Open the source, without reading a track.

        Args:
            spec: The source as it is written on the command line.
            tasks: The annotations to read, of `HAS_TASK`. Empty: all that there are.

        Raises:
            RecipeError: The spec or a task is not valid.
            DataError: The source cannot be used.
        """
        for task in tasks:
            if task not in HAS_TASK:
                raise RecipeError(
                    f"no annotation is called {task!r}{suggest(task, HAS_TASK)}", f"use one of: {', '.join(HAS_TASK)}"
                )
        spec.only(self.options)
        self.spec, self.tasks = spec, tuple(tasks)
        self.name = printable(spec.text)  # as in scores.json
        self.left_out: dict[str, list[str]] = {}  # ids of tracks that are not read, by the reason
        self.without: dict[str, list[str]] = {}  # ids of tracks that lack one of several tasks, by the task
        self.remarks: dict[str, list[str]] = {}  # ids of tracks whose annotation was changed, by what was done
        self.open()

    @abstractmethod
    def open(self) -> None:
        """Find the data. Raises DataError where it is missing."""

    @abstractmethod
    def __len__(self) -> int:
        """Count the tracks, also those that a loop will leave out."""

    @abstractmethod
    def read(self) -> Iterator[AnnotatedTrack]:
        """Yield every track that can be read, and call `leave_out` for the others."""

    @property
    def source(self) -> str:
        """The origin of the tracks: the path."""
        return printable(self.spec.target)

    @property
    def protocol(self) -> str:
        """One sentence: which tracks are scored."""
        return "Every track that is annotated."

    def __iter__(self) -> Iterator[AnnotatedTrack]:
        """Yield the tracks that have at least one of the asked annotations."""
        for counts in (self.left_out, self.without, self.remarks):
            counts.clear()
        for track in self.read():
            missing = [task for task in self.tasks if not HAS_TASK[task](track.annotation)]
            if self.tasks and len(missing) == len(self.tasks):
                self.leave_out(track.id, f"without {' or '.join(missing)}")
                continue
            for task in missing:
                self.without.setdefault(task, []).append(track.id)
            yield track

    def leave_out(self, identity: str, reason: str) -> None:
        """Count a track that is not read."""
        self.left_out.setdefault(reason, []).append(printable(identity))

    def remark(self, identity: str, what: str) -> None:
        """Count a track whose annotation was changed, or is read in part."""
        self.remarks.setdefault(what, []).append(printable(identity))

    @property
    def notes(self) -> list[str]:
        """Sentences about what was left out and why; complete after a loop over the tracks."""
        return [
            *(f"left out {_list_tracks(ids)} {reason}: {join_names(ids, 3)}" for reason, ids in self.left_out.items()),
            *(f"{_list_tracks(ids)} without {task}: {join_names(ids, 3)}" for task, ids in self.without.items()),
            *(f"{_list_tracks(ids)}: {what}: {join_names(ids, 3)}" for what, ids in self.remarks.items()),
        ]

    def no_tracks_error(self) -> DataError:
        """Return the error for a source that no track is left of."""
        wanted = f" with {' or '.join(self.tasks)}" if self.tasks else ""
        reasons = "; ".join(["", *self.notes])
        return DataError(
            f"{self.name}: has no usable track{wanted}{reasons}", "evaluate on another data set, or another task"
        )


def load_annotated(spec: str, tasks: Sequence[str] = (), corpus: str | Path | None = None) -> AnnotatedTracks:
    """Open annotated tracks.

    Args:
        spec: `mirdata:DATASET:PATH`; `folder:PATH`, with files of annotations beside the audio;
            `corpus:PATH[?split=SPLIT]`; or "validation": that split of `corpus`.
        tasks: The annotations to read: "beats", "downbeats", "tempo", "time_signature", "chords", "key", "sections",
            "melody", "notes", "instruments". Empty: all that there are. Tracks without any of them are left out.
        corpus: The corpus of "validation".

    Returns:
        The tracks, which are read while they are iterated.

    Raises:
        RecipeError: The spec is not valid.
        DataError: The data cannot be used.
        BackendError: A package is missing.

    Example:
        >>> tracks = load_annotated("mirdata:beatles:/data/beatles", ["chords"])
        >>> next(iter(tracks)).annotation.chords.label[:3]
        ('N', 'E:maj', 'A:maj')
    """
    if spec == VALIDATION:
        if corpus is None:
            raise RecipeError("validation: of which corpus?", "give the corpus: --corpus PATH")
        parsed = Spec(spec, "corpus", target=str(corpus), options={"split": VALIDATION})
    else:
        parsed = Spec.parse(spec)
    if parsed.name not in SOURCES:
        known = ", ".join([VALIDATION, *(f"{name}:PATH" for name in sorted(SOURCES))])
        raise RecipeError(
            f"{printable(spec)}: has no annotated tracks{suggest(parsed.name, SOURCES)}",
            f"use one of: {known}; mirdata takes mirdata:DATASET:PATH",
        )
    if not parsed.target:
        raise RecipeError(f"{printable(spec)}: names no data", f"write {parsed.name}:PATH")
    tracks: AnnotatedTracks = SOURCES.load(parsed.name)(parsed, tasks)
    return tracks


def _list_tracks(ids: Sequence[str]) -> str:
    return format_count(len(ids), "track")
