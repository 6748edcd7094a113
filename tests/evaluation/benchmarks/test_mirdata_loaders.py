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


def test_the_stems_of_a_multitrack(tmp_path: Path) -> None:
    (mix,) = load_annotated(make_sample("slakh", tmp_path / "slakh"))
    (stem,) = load_annotated(f"{make_sample('slakh', tmp_path / 'slakh')}&level=track")
    assert (mix.id, stem.id) == ("Track00001", "Track00001-S00")
    (singer,) = load_annotated(f"{make_sample('dagstuhl_choirset', tmp_path / 'choir')}&level=track", ["melody"])
    assert singer.audio.parent.name == "audio_lrx" and singer.annotation.melody[150] == pytest.approx(220, rel=1e-4)
    (soloist,) = load_annotated(make_sample("phenicx_anechoic", tmp_path / "phenicx"))  # its mixes have no audio
    assert soloist.id == "beethoven-flute"


def test_an_index_that_mirdata_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_sample("brid", tmp_path / "brid")
    index = (tmp_path / "brid/index.json").rename(tmp_path / "brid_full_index_1.0.json")
    monkeypatch.setattr("mirdata.core.Index.get_path", lambda entry: str(tmp_path / entry.filename))
    assert index.is_file() and len(list(load_annotated(f"mirdata:brid:{tmp_path / 'brid'}", ["beats"]))) == 1
