"""Read the tracks of a mirdata data set: their audio, annotations, labels, artists and parts."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from builder.errors import DataError, RecipeError
from builder.io.safe_files import read_text
from builder.validation import suggest

from .annotated_values import ConversionError
from .mirdata_index import open_mirdata, quiet
from .mirdata_values import CONVERTERS, Converted, convert_value
from .text import printable

# Where a track has several attributes of a kind, the first of these that it has counts. All others are found by the
# type that they are declared with.
PREFERRED: dict[str, tuple[str, ...]] = {
    "beats": ("beats", "beat"),
    "tempo": ("tempo_v2", "tempo"),  # GiantSteps' corrected tempi before those of 2015
    "chords": ("chords", "leadsheet_chords", "chords_full"),
    "key": ("key", "key_mode", "keys"),
    "sections": ("sections", "sections_uppercase", "named_sections"),
    "melody": ("melody", "melody2", "f0_corrected", "f0_manual_lrx", "pitch_post_processed", "f0", "pitch"),
    "notes": ("notes_all", "midi", "notes", "notes_a1", "midinote"),
    "time_signature": ("time_signature",),
}
TYPES = {  # the class of mirdata.annotations that holds each kind
    "beats": "BeatData",
    "tempo": "TempoData",
    "chords": "ChordData",
    "key": "KeyData",
    "sections": "SectionData",
    "melody": "F0Data",
    "notes": "NoteData",
}
NO_ANNOTATIONS = ("pyin", "crepe", "automatic", "onsets", "sama", "note_name")  # estimates, strokes, downbeats only
LABELS: dict[str, tuple[str, ...]] = {  # attributes with the names of a clip's labels, by a model's task
    "genre": ("genre", "genres", "broad_genre", "style"),
    "instruments": ("instruments", "instrument", "predominant_instrument", "instrument_full"),
}
ARTISTS = (
    "artist", "artists", "artist_id", "performance_artist", "bandleader", "musician", "player_id", "singer_id",
    "singer", "drummer",
)  # fmt: skip
AUDIO = ("audio_path", "mix_path", "audio_mic_path", "audio_mix_path", "audio_path_mono", "audio_stm_path")
SPLITS = ("split", "subset")
LEVELS = ("track", "multitrack")


class MirdataReader:
    """The tracks of one data set.

    Args:
        dataset: The name of its mirdata loader.
        home: The folder of the data.
        options: `index`, `version`, `level`, `audio`, and of each kind of annotation the attribute to read it from.

    Raises:
        RecipeError, DataError, BackendError: As `open_mirdata`; also where the data set has no audio.
    """

    def __init__(self, dataset: str, home: Path, options: Mapping[str, str]) -> None:
        index = options.get("index")
        self.name, self.home, self.options = dataset, home, options
        self.data = open_mirdata(dataset, home, options.get("version"), Path(index).expanduser() if index else None)
        self.level = self._choose_level()
        part = self.data._index["multitracks" if self.level == "multitrack" else "tracks"]
        self.ids = sorted(part)
        self.kind = self.data._multitrack_class if self.level == "multitrack" else self.data._track_class
        if not self.ids:
            raise DataError(f"mirdata:{dataset}: its index lists no tracks", "give another index: ?index=FILE")
        self.errors: dict[tuple[str, str], str] = {}  # the first message of each kind of error

    @property
    def licence(self) -> str:
        """The licence of the data set, as mirdata states it, in one line."""
        return " ".join(str(self.data._license_info or "").split())

    @property
    def citation(self) -> str:
        """BibTeX, in one line."""
        return " ".join(str(self.data.bibtex or "").split())

    def open_track(self, identity: str) -> Any:
        """Open a track. Raises ConversionError where mirdata cannot."""
        try:
            with quiet():
                return getattr(self.data, self.level)(identity)
        except Exception as error:  # of any class: the loader's code, and files of anyone
            raise ConversionError(self._describe("track", error)) from error

    def find_audio(self, track: Any) -> Path | None:
        """Find the audio of a track: the first file that is there, else the first that should be.

        Returns:
            A path that may not exist; None where the data set has no audio of the track.
        """
        chosen = self.options.get("audio")
        names = [chosen] if chosen else [*AUDIO, *(name for name in sorted(vars(track)) if _is_audio(name))]
        paths: list[Path] = []
        for name in dict.fromkeys(names):
            value = self._read(track, name)
            found = [value] if isinstance(value, str) else value if isinstance(value, list) and len(value) == 1 else []
            paths += [Path(one) for one in found if isinstance(one, str) and one]
        return next((path for path in paths if path.is_file()), paths[0] if paths else None)

    def read_annotation(self, track: Any, task: str, duration: float) -> Converted:
        """Read one kind of annotation of a track.

        Args:
            track: What `open_track` returns.
            task: Of `PREFERRED`.
            duration: Seconds of audio.

        Returns:
            Fields of an `Annotation`; empty where nothing is annotated.

        Raises:
            ConversionError: None of the attributes of this kind can be read.
        """
        fault: ConversionError | None = None
        for name in self.attributes(task):
            try:
                with quiet():
                    value = getattr(track, name, None)
                if task == "key" and isinstance(value, str) and self.name == "fma_keys":
                    value = f"{value}:{track.mode}"
                with quiet():
                    if converted := convert_value(task, value, duration):
                        return converted
            except ConversionError as error:
                fault = fault or error
            except Exception as error:  # of any class: the loader's code, and files of anyone
                if task == "tempo" and (bpm := _read_number(getattr(track, "tempo_path", None))) is not None:
                    return convert_value(task, bpm, duration)
                fault = fault or ConversionError(self._describe(task, error))
        if fault is not None:
            raise fault
        return Converted()

    def attributes(self, task: str) -> list[str]:
        """Return the attributes that may hold a kind of annotation, the preferred ones first."""
        if chosen := self.options.get(task):
            return [chosen]
        return find_attributes(self.kind, task)

    def read_labels(self, track: Any, task: str) -> tuple[str, ...]:
        """Return the names of a track's labels; empty where it has none. Raises ConversionError."""
        chosen = self.options.get("label")
        for name in [chosen] if chosen else LABELS.get(task, LABELS["genre"]):
            if labels := _names_in(self._read(track, name)):
                return labels
        return ()

    def artist(self, track: Any) -> str | None:
        """Return who plays a track, None where the data set does not say."""
        for name in ARTISTS:
            if names := _names_in(self._read(track, name)):
                return ", ".join(names)
        return None

    def split(self, track: Any) -> str | None:
        """Return the part of the data set that a track is in, None where it has no parts."""
        return next((value for name in SPLITS if isinstance(value := self._read(track, name), str) and value), None)

    def _read(self, track: Any, name: str) -> Any:
        """Read an attribute; None where there is none, or it cannot be read: what it says is not needed."""
        try:
            with quiet():
                return getattr(track, name, None)
        except Exception:  # of any class: the loader's code, and files of anyone
            return None

    def _describe(self, what: str, error: Exception) -> str:
        """Describe an error, in the words of the first of its kind, so that tracks can be counted by it."""
        text = printable(" ".join(str(error).split()))[:160]
        file = getattr(error, "filename", None) or getattr(error.__context__, "filename", None)
        if isinstance(error, FileNotFoundError) and file:  # mirdata raises its own without the name
            text = f"no such file: {printable(str(file))}"
        else:
            text = f"{type(error).__name__}: {text}"
        return self.errors.setdefault((what, type(error).__name__), f"{what}: {text}")

    def _choose_level(self) -> str:
        """Tracks, or the mixes of multitracks where there are any with audio."""
        index = self.data._index
        chosen = self.options.get("level")
        if chosen is not None:
            if chosen not in LEVELS or not index.get(f"{chosen}s"):
                raise RecipeError(
                    f"mirdata:{self.name}: has no level {chosen!r}{suggest(chosen, LEVELS)}",
                    f"write level= one of {', '.join(level for level in LEVELS if index.get(f'{level}s'))}",
                )
            return chosen
        mixes = list(index.get("multitracks") or {})[:1]  # all have the same kinds of files
        mixed = any(name == "mix" or "audio" in name for mix in mixes for name in index["multitracks"][mix])
        return "multitrack" if mixed or not index.get("tracks") else "track"


def find_attributes(kind: type, task: str) -> list[str]:
    """Return the attributes of a class of tracks that may hold a kind of annotation.

    Args:
        kind: A subclass of mirdata.core.Track.
        task: Of `PREFERRED`.

    Returns:
        Those of `PREFERRED`, then others that are declared with the type of the kind. Attributes that an instance sets
        are in no class: `PREFERRED` may name ones that are not there.
    """
    declared = [
        name
        for name in dir(kind)
        if TYPES.get(task, "-") in _declared_types(kind, name) and not any(word in name for word in NO_ANNOTATIONS)
    ]
    return list(dict.fromkeys([*PREFERRED[task], *declared]))


def _declared_types(kind: type, name: str) -> set[str]:
    """The names of the classes in the return type of a property, those inside Optional included."""
    member = inspect.getattr_static(kind, name)
    function = getattr(member, "func", None) or getattr(member, "fget", None)
    declared = getattr(function, "__annotations__", {}).get("return")
    names, open_types = set(), [declared]
    while open_types:
        one = open_types.pop()
        names.add(getattr(one, "__name__", ""))
        if typing.get_origin(one) is typing.Union:
            open_types += typing.get_args(one)
    return names


def _is_audio(name: str) -> bool:
    return "audio" in name and "path" in name and not name.startswith("_")


def _names_in(value: Any) -> tuple[str, ...]:
    """The names in text, a list of texts, {"genres": [...], "sub_genres": [...]} or {name: confidence}."""
    if isinstance(value, Mapping):
        if "genres" in value:
            value = value["genres"]
        elif all(isinstance(share, int | float) for share in value.values()):
            value = [name for name, share in value.items() if share > 0.5]
    if isinstance(value, str | int) and not isinstance(value, bool):
        value = [value]
    if not isinstance(value, Sequence):
        return ()
    return tuple(dict.fromkeys(text for one in value if isinstance(one, str | int) and (text := str(one).strip())))


def _read_number(path: str | None) -> float | None:
    """Read the number in a file: mirdata 1.0 cannot with NumPy 2.4, which GTZAN's tempi need."""
    try:
        return float(read_text(Path(path), 1 << 10)) if path else None
    except (OSError, ValueError):
        return None


def split_target(target: str, text: str) -> tuple[str, Path]:
    """Split `DATASET:PATH`. Raises RecipeError."""
    name, colon, path = target.partition(":")
    if not colon or not name or not path:
        raise RecipeError(
            f"{printable(text)}: names no data set, or no folder",
            "write mirdata:DATASET:PATH, with DATASET a loader of mirdata (gtzan_genre) and PATH its data_home",
        )
    return name, Path(path).expanduser()


def option_names() -> Iterator[str]:
    """Yield the options of a spec."""
    yield from ("index", "version", "level", "audio", "label", "split", *CONVERTERS)
