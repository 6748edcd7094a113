"""Every loader of mirdata that has audio and annotations, on one track in its own format."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluation.benchmarks.annotated import load_annotated

from .mirdata_samples import ALL_LOADERS, MADE_BY_HAND, SAMPLES, WITHOUT, make_sample

FIELDS = {"tempo": "tempo_bpm"}


def test_every_loader_is_accounted_for() -> None:
    assert sorted([*SAMPLES, *MADE_BY_HAND, *(name for names in WITHOUT.values() for name in names)]) == ALL_LOADERS


@pytest.mark.parametrize("name", SAMPLES)
def test_a_loader(name: str, tmp_path: Path) -> None:
    tracks = load_annotated(make_sample(name, tmp_path))
    found = list(tracks)
    assert len(found) == 1, tracks.notes
    kinds = SAMPLES[name].kinds.split()
    annotation = found[0].annotation
    for kind in ("beats", "tempo", "chords", "key", "sections", "melody", "notes", "time_signature"):
        value = getattr(annotation, FIELDS.get(kind, kind))
        assert (value is not None) == (kind in kinds), (kind, value, tracks.notes)
    if "beats" in kinds:
        assert 0.2 <= annotation.beats[0] < 0.6 or name == "jtd"
    if "melody" in kinds:
        assert annotation.melody[150] == pytest.approx(220, rel=1e-4) and annotation.melody.shape == (200,)
    if "notes" in kinds:
        assert annotation.notes.pitch[0] in (57, 60, 69)
    if "chords" in kinds:
        assert annotation.chords.label == ("C:maj", "A:min")
    assert not [note for note in tracks.notes if "cannot be read" in note], tracks.notes
