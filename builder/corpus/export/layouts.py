"""The layouts of an export, and the files that each has of a clip."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...annotations.annotation import Annotation
from ...annotations.jams import to_jams
from ...annotations.labs import format_beats, format_lab
from ...annotations.midi import write_midi
from ...errors import DataError
from ...names import hide_split
from ..schema import LONGEST

ANNOTATIONS, STEMS = "annotations", "stems"  # configs of a corpus
MUSDB_SPLITS = {"validation": "test"}  # musdb reads `train` and `test` alone
MUSDB_STEMS = {"drums": "drums", "bass": "bass", "vocals": "vocals"}  # all others are "other"
SUFFIXES = {
    "beats": ".beats", "chords": ".lab", "sections": ".sections.lab", "key": ".key", "tempo": ".bpm", "midi": ".mid",
    "jams": ".jams",
}  # fmt: skip
SEE = "see: synthmir verify CORPUS"


@dataclass(frozen=True)
class Layout:
    """What an export writes.

    Attributes:
        files: Kinds of files of annotations that each clip has, where the corpus has annotations.
        about: For its README.
        needs: The config that it cannot do without.
        audio: Whether it has the audio of the clips; None where that is always WAV.
        by_split: Whether its folders are by split, as `datasets` reads them.
    """

    files: tuple[str, ...]
    about: str
    needs: str | None = None
    audio: bool | None = True
    by_split: bool = True


LAYOUTS = {
    "mirdata": Layout(
        ("beats", "chords", "sections", "key", "tempo", "midi"),
        "`{index}` is an index for mirdata's loaders: tracks, files, MD5. `metadata.csv` has the labels by "
        "`track_id`.",
        by_split=False,
    ),
    "audiofolder": Layout(
        ("beats", "chords", "sections", "key", "tempo", "midi"),
        'Each split has a `{table}`. Open it with `load_dataset("audiofolder", data_dir=...)` of datasets.',
    ),
    "jams": Layout(
        ("jams",),
        "Each clip has a JAMS file beside it: `jams.load(path)`. `metadata.csv` has the labels by `track_id`.",
        ANNOTATIONS,
    ),
    "midi": Layout(
        ("midi",), "Type-1 MIDI files. `metadata.csv` has the labels by `track_id`.", ANNOTATIONS, audio=False
    ),
    "musdb": Layout(
        (),
        "Stems in the folders of MUSDB18-HQ: `musdb.DB(root, is_wav=True)` reads them; split `validation` is `test`. "
        "`metadata.csv` has the labels by `track_id`.",
        STEMS,
        audio=None,
    ),
}
HOW_ANNOTATED = {
    "beats": "`.beats`: time in seconds and position in the bar",
    "chords": "`.lab`: start, end and chord",
    "sections": "`.sections.lab`: start, end and section",
    "key": "`.key`",
    "tempo": "`.bpm`: quarter notes a minute",
    "midi": "`.mid`: the notes",
    "jams": "`.jams`: all of it",
}


def choose_folder(name: str, split: str, genre: str) -> str:
    """The folder of the clips of a split and genre, whose names are safe."""
    if name == "musdb":
        return MUSDB_SPLITS.get(split, split)
    # A genre "test" would be read as a split.
    return f"{split}/{hide_split(genre)}" if LAYOUTS[name].by_split else f"audio/{genre}"


def name_file(name: str, folder: str, clip: str, audio: str) -> str:
    """The file of a clip in its folder: its audio, or what the layout has instead."""
    if name == "musdb":
        return f"{folder}/{clip}/mixture.wav"
    return f"{folder}/{clip}.{'mid' if name == 'midi' else audio}"


def make_files(
    name: str, file: str, audio: bytes, annotation: Mapping[str, Any] | None, stems: Sequence[Mapping[str, Any]]
) -> dict[str, tuple[str, bytes]]:
    """Make the files of a clip.

    Args:
        name: The layout.
        file: The path of the clip in the export.
        audio: Its audio as the layout has it.
        annotation: Its row of the config `annotations`, if it has one.
        stems: Its rows of the config `stems`, for "musdb".

    Returns:
        Path in the export, and content, by kind.
    """
    layout = LAYOUTS[name]
    files: dict[str, tuple[str, bytes]] = {} if layout.audio is False else {"audio": (file, audio)}
    if name == "musdb":
        return files | _make_stem_files(file.removesuffix("mixture.wav"), audio, stems)
    if annotation is not None:
        base = file.rpartition(".")[0]
        if name == "mirdata":
            base = f"annotations/{base.removeprefix('audio/')}"
        try:
            played = Annotation.from_row(annotation)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"{file}: its row of annotations cannot be read: {error!r}", SEE) from error
        contents = _format_annotation(played, layout.files)
        if not (files or contents):
            raise DataError(f"clip {annotation['id']}: has neither notes nor MIDI", "choose another layout: --to jams")
        files |= {kind: (base + SUFFIXES[kind], content) for kind, content in contents.items()}
    return files


def _format_annotation(annotation: Annotation, kinds: Sequence[str]) -> dict[str, bytes]:
    """The files of an annotation, without those of what is not annotated."""
    contents: dict[str, bytes] = {}
    if "beats" in kinds and annotation.beats is not None:
        contents["beats"] = format_beats(annotation.beats, annotation.positions).encode()
    for kind, segments in (("chords", annotation.chords), ("sections", annotation.sections)):
        if kind in kinds and segments is not None:
            contents[kind] = format_lab(segments).encode()
    if "key" in kinds and annotation.key is not None:
        contents["key"] = f"{annotation.key.replace(':', ' ')}\n".encode()
    if "tempo" in kinds and annotation.tempo_bpm is not None:
        contents["tempo"] = f"{annotation.tempo_bpm:.6f}\n".encode()
    if "midi" in kinds and (annotation.midi is not None or annotation.notes is not None):
        contents["midi"] = annotation.midi if annotation.midi is not None else write_midi(annotation)
    if "jams" in kinds:
        contents["jams"] = (to_jams(annotation, data_source="score").dumps() + "\n").encode()
    return contents


def convert_to_wav(flac: bytes, id: str, channels: int | None = None) -> bytes:
    """Make WAV with the same samples, read as integers: floats would be rounded.

    Args:
        flac: The audio.
        id: The clip, for messages.
        channels: 2: a mono clip gets two equal channels. Default: as it is.

    Raises:
        DataError: It is not audio, or too long.
    """
    samples, rate = _read_samples(flac, id, "int16")
    return _format_wav(_spread(samples, channels), rate, "PCM_16")


def _make_stem_files(folder: str, mixture: bytes, stems: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, bytes]]:
    """The stems of MUSDB, each as long as the mixture. A silent one is left out, as museval refuses silence."""
    whole, rate = _read_samples(mixture, folder, "float64")
    sums: dict[str, np.ndarray] = {}
    for stem in stems:
        samples, other_rate = _read_samples((stem["audio"] or {}).get("bytes") or b"", folder, "float64")
        samples = _spread(samples, whole.shape[1])
        if samples.shape != whole.shape or other_rate != rate:
            raise DataError(f"{folder}: its stem {stem['stem']} is not of the shape of the clip", SEE)
        name = MUSDB_STEMS.get(stem["stem"], "other")
        sums[name] = sums[name] + samples if name in sums else samples
    files = {}
    for name, samples in sums.items():
        if not samples.any():
            continue
        exact = np.abs(samples).max(initial=0.0) < 1  # a sum of stems beyond full scale would be clipped
        files[name] = (
            f"{folder}{name}.wav",
            _format_wav(np.rint(samples * 32768).astype(np.int16), rate, "PCM_16")
            if exact
            else _format_wav(samples.astype(np.float32), rate, "FLOAT"),
        )
    return files


def _read_samples(data: bytes, id: str, dtype: str) -> tuple[np.ndarray, int]:
    """Samples [samples, channels] of a clip that is not too long."""
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(data)) as audio:
            rate = audio.samplerate
            samples = audio.read(round(LONGEST * rate) + 1, dtype=dtype, always_2d=True)
    except (soundfile.SoundFileError, ValueError) as error:
        raise DataError(f"clip {id}: cannot be read as audio: {error}", SEE) from error
    if len(samples) > LONGEST * rate:
        raise DataError(f"clip {id}: is longer than {LONGEST:g} s", SEE)
    return samples, rate


def _spread(samples: np.ndarray, channels: int | None) -> np.ndarray:
    return np.repeat(samples, channels, axis=1) if channels and samples.shape[1] == 1 else samples


def _format_wav(samples: np.ndarray, rate: int, subtype: str) -> bytes:
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype=subtype)
    return buffer.getvalue()
