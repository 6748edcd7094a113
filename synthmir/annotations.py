"""Annotations of clips and recordings, and what other tools make of them.

Functions take an `Annotation` or a row of the config `annotations`:

    import synthmir as sm
    from synthmir import annotations

    for row in sm.load_corpus("corpus", "annotations", split="train"):
        roll = annotations.piano_roll(row, rate=50)
        annotations.write_jams(row, f"{row['id']}.jams")

Names are imported when they are used.
"""

from typing import TYPE_CHECKING

from builder.lazy import lazy_exports

if TYPE_CHECKING:
    from builder.annotations.annotation import Annotation, Notes, Segments, TrackActivity
    from builder.annotations.arrays import ChordVectors, beat_activations, chord_vectors, piano_roll
    from builder.annotations.jams import from_jams, read_jams, to_jams, write_jams
    from builder.annotations.labs import read_beats, read_lab, write_beats, write_lab
    from builder.annotations.midi import to_pretty_midi, write_midi

_EXPORTS = {
    "builder.annotations.annotation": ("Annotation", "Notes", "Segments", "TrackActivity"),
    "builder.annotations.arrays": ("ChordVectors", "beat_activations", "chord_vectors", "piano_roll"),
    "builder.annotations.jams": ("from_jams", "read_jams", "to_jams", "write_jams"),
    "builder.annotations.labs": ("read_beats", "read_lab", "write_beats", "write_lab"),
    "builder.annotations.midi": ("to_pretty_midi", "write_midi"),
}
__all__ = [
    "Annotation",
    "ChordVectors",
    "Notes",
    "Segments",
    "TrackActivity",
    "beat_activations",
    "chord_vectors",
    "from_jams",
    "piano_roll",
    "read_beats",
    "read_jams",
    "read_lab",
    "to_jams",
    "to_pretty_midi",
    "write_beats",
    "write_jams",
    "write_lab",
    "write_midi",
]
__getattr__, __dir__ = lazy_exports(__name__, {name: module for module, names in _EXPORTS.items() for name in names})
