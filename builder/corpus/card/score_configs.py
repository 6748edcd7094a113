"""What a card says of the annotations and stems of a corpus."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from ...annotations.annotation import STEMS
from ...io.parquet_guard import check_parquet, parquet_errors
from ...io.storage import open_for_arrow
from ..corpus import Corpus
from .metadata import describe_type

# Columns of the config `annotations`, and how exact they are.
ANNOTATIONS = {
    "duration": ("length of the clip in seconds", "exact"),
    "tempo_bpm": ("quarter notes a minute, also where the prompt names no tempo", "exact"),
    "time_signature": ("as played", "exact"),
    "key": ("as played, tonic:mode", "exact: the key that the notes are composed in"),
    "beats": ("time, position in the bar (1: downbeat)", "the score's grid; players are ahead of it or behind"),
    "chords": ("start, end, label in Harte syntax", "what the harmony plays; melodies pass other notes too"),
    "sections": ("start, end, label", "exact"),
    "melody": ("f0 every 10 ms in Hz, 0 where unvoiced", "the pitch that is played, with its slides and vibrato"),
    "notes": (
        "onset, offset, pitch, velocity, program, is_drum, track",
        "as in MIDI: attacks of samples, releases and echoes are not part of a note",
    ),
    "instruments_active": ("track, instrument, program, is_drum, stem, intervals", "from the notes of each track"),
    "midi": ("a MIDI file of type 1", "the notes, on a tempo map that follows the beats"),
}


def describe_annotations(info: dict[str, Any] | None) -> dict[str, Any] | None:
    """Describe the config `annotations`: its clips, bytes and columns.

    Args:
        info: As `read_config_infos` returns it; None for a corpus without it.
    """
    if info is None:
        return None
    return {
        **_measure_size(info),
        "columns": [
            {"name": name, "type": describe_type(kind), "about": about, "exactness": exactness}
            for name, kind in info["features"].items()
            for about, exactness in [ANNOTATIONS.get(name, ("", ""))]
            if name != "id"
        ],
    }


def describe_stems(root: Path, info: dict[str, Any] | None) -> dict[str, Any] | None:
    """Describe the config `stems`: its rows, bytes, and how many clips have each stem.

    Args:
        root: The corpus folder.
        info: As `read_config_infos` returns it; None for a corpus without it.
    """
    if info is None:
        return None
    counts: Counter[int] = Counter()
    for name in Corpus(root).shards("stems"):
        check_parquet(root / name, ["stem"])
        with parquet_errors(root / name):
            counts.update(pq.read_table(open_for_arrow(root / name), columns=["stem"])["stem"].to_pylist())
    return {**_measure_size(info), "clips": [(name, counts[number]) for number, name in enumerate(STEMS)]}


def _measure_size(info: dict[str, Any]) -> dict[str, Any]:
    return {
        "rows": sum(split["num_examples"] for split in info["splits"].values()),
        "megabytes": info["download_size"] / 1e6,
    }
