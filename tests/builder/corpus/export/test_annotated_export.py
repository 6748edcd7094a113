"""Exports with annotations and stems, opened by what they are for: jams, pretty_midi, mirdata, datasets, mir_eval."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import jams
import mir_eval
import mirdata
import mirdata.core
import mirdata.datasets.ballroom
import mirdata.datasets.beatles
import numpy as np
import pretty_midi
import pyarrow.parquet as pq
import pytest
import soundfile

from builder.annotations.annotation import STEMS, Annotation, annotation_features
from builder.annotations.jams import from_jams, read_jams
from builder.annotations.labs import read_beats, read_lab
from builder.corpus.building.build import build
from builder.corpus.export import export as exports
from builder.corpus.export.export import export_corpus
from builder.corpus.load import load_corpus
from builder.corpus.schema import stem_features
from builder.corpus.shards import write_shard
from builder.errors import DataError, RecipeError

from ... import fakes
from ...annotated import add_configs, to_flac
from ...annotations.test_jams import assert_close

fakes.register()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten clips of a second, without other configs."""
    root = tmp_path_factory.mktemp("plain")
    build(fakes.small_recipe(root, per_genre=2, batch_size=8), root / "corpus", clips_per_shard=4, workers=1)
    return root / "corpus"


@pytest.fixture(scope="module")
def corpus(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with `annotations` and `stems`."""
    root = tmp_path_factory.mktemp("annotated") / "corpus"
    shutil.copytree(plain, root)
    add_configs(root)
    return root


@pytest.fixture(scope="module")
def annotations(corpus: Path) -> dict[str, Annotation]:
    rows = [row for path in sorted((corpus / "annotations").iterdir()) for row in pq.read_table(path).to_pylist()]
    return {row["id"]: Annotation.from_row(row) for row in rows}


def listed(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "metadata.csv").open(newline="") as handle:
        return {row["track_id"]: row for row in csv.DictReader(handle)}


def test_jams_are_beside_the_audio(corpus: Path, annotations: dict[str, Annotation], tmp_path: Path) -> None:
    assert export_corpus(corpus, "jams", tmp_path / "out", audio="wav").clips == len(annotations)
    rows = listed(tmp_path / "out")
    assert rows.keys() == annotations.keys()
    for id, annotation in annotations.items():
        audio = tmp_path / "out" / rows[id]["file"]
        jam = jams.load(str(audio.with_suffix(".jams")), validate=True)
        assert_close(from_jams(jam, id=id), annotation)
        assert soundfile.info(audio).duration == pytest.approx(jam.file_metadata.duration)
        assert {part.annotation_metadata.data_source for part in jam.annotations} == {"score"}
        assert float(rows[id]["played_tempo_bpm"] or "nan") == pytest.approx(
            annotation.tempo_bpm or float("nan"), nan_ok=True
        )
        assert rows[id]["played_key"] in (annotation.key, "")


def test_midi_files_are_listed(corpus: Path, annotations: dict[str, Annotation], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has neither notes nor MIDI\n  fix: choose another layout: --to jams"):
        export_corpus(corpus, "midi", tmp_path / "out")
    single = tmp_path / "single"  # without the clip that has beats alone
    shutil.copytree(corpus, single)
    shard = sorted((single / "annotations").iterdir())[0]
    rows = pq.read_table(shard).to_pylist()
    rows[1]["notes"] = rows[0]["notes"]
    old = hashlib.sha256(shard.read_bytes()).hexdigest()
    write_shard(shard, [rows], annotation_features(), {})
    text = (single / "SHA256SUMS").read_text()
    (single / "SHA256SUMS").write_text(text.replace(old, hashlib.sha256(shard.read_bytes()).hexdigest()))
    export_corpus(single, "midi", tmp_path / "files")
    for row in listed(tmp_path / "files").values():
        midi = pretty_midi.PrettyMIDI(str(tmp_path / "files" / row["file"]))
        assert [note.pitch for track in midi.instruments for note in track.notes] == [57, 38]
    assert not list((tmp_path / "files").rglob("*.flac"))


class Track(mirdata.core.Track):  # type: ignore[misc]
    """A loader as mirdata's documentation describes one, of mirdata's own readers."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.audio_path = self.get_path("audio")

    @mirdata.core.cached_property  # type: ignore[untyped-decorator]
    def beats(self) -> Any:
        return mirdata.datasets.ballroom.load_beats(self.get_path("beats"))

    @mirdata.core.cached_property  # type: ignore[untyped-decorator]
    def chords(self) -> Any:
        return mirdata.datasets.beatles.load_chords(self.get_path("chords"))


def test_a_loader_of_mirdata_reads_the_folder(
    corpus: Path, annotations: dict[str, Annotation], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    _, index = export_corpus(corpus, "mirdata", out).tables

    class Index(mirdata.core.Index):  # type: ignore[misc]
        def get_path(self) -> str:
            return str(index)

    dataset = mirdata.core.Dataset(
        str(out), "1", "ours", Track, indexes={"default": "1", "1": Index(index.name)}, remotes={}
    )
    missing, invalid = dataset.validate(verbose=False)
    assert not any(missing.values()) and not any(invalid.values())
    tracks = dataset.load_tracks()
    assert tracks.keys() == annotations.keys()
    for id, track in tracks.items():
        annotation = annotations[id]
        np.testing.assert_allclose(track.beats.times, annotation.beats, atol=1e-6)
        assert track.beats.positions.tolist() == [1, 2, 3, 4]
        if annotation.chords is None:
            assert track.chords is None and track.get_path("midi") is None
        else:
            assert tuple(track.chords.labels) == annotation.chords.label
            assert len(pretty_midi.PrettyMIDI(track.get_path("midi")).instruments) == 2
            assert (annotation.sections is None) == (track.get_path("sections") is None)


def test_an_audiofolder_has_them_beside_the_audio(
    corpus: Path, annotations: dict[str, Annotation], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export_corpus(corpus, "audiofolder", out)
    loaded = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    rows = [row for part in loaded.values() for row in part.cast_column("audio", datasets.Audio(decode=False))]
    assert {row["id"] for row in rows} == set(annotations)
    for row in rows:
        annotation, audio = annotations[row["id"]], Path(row["audio"]["path"])
        assert annotation.beats is not None
        np.testing.assert_allclose(read_beats(audio.with_suffix(".beats"))[0], annotation.beats, atol=1e-6)
        assert row["played_tempo_bpm"] == annotation.tempo_bpm
        if annotation.chords is not None:
            assert read_lab(audio.with_suffix(".lab")).label == annotation.chords.label
            assert audio.with_suffix(".key").read_text() == "A minor\n"
            assert float(audio.with_suffix(".bpm").read_text()) == annotation.tempo_bpm
    assert "`.beats`: time in seconds" in (out / "README.md").read_text()


@pytest.mark.filterwarnings("ignore")  # mir_eval.separation is deprecated
def test_stems_are_in_the_folders_of_musdb(corpus: Path, annotations: dict[str, Annotation], tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_corpus(corpus, "musdb", out)
    names = {"mixture.wav", "drums.wav", "bass.wav", "other.wav", "vocals.wav"}
    clips = {folder.name: folder for split in ("train", "test") for folder in (out / split).iterdir()}
    assert clips.keys() == annotations.keys() and {row["split"] for row in listed(out).values()} == {
        "train", "validation"
    }  # fmt: skip
    for number, id in enumerate(annotations):
        folder = clips[id]
        assert {path.name for path in folder.iterdir()} == ({"mixture.wav", "drums.wav"} if number == 1 else names)
        read = {path.stem: soundfile.read(path, dtype="float64")[0] for path in folder.iterdir()}
        assert {samples.shape for samples in read.values()} == {(32_000, 2)}
        np.testing.assert_array_equal(sum(read[name] for name in read if name != "mixture"), read["mixture"])
    first = clips[next(iter(annotations))]
    stems = np.stack([soundfile.read(first / f"{name}.wav")[0][:4000, 0] for name in ("drums", "bass")])
    assert mir_eval.separation.bss_eval_sources(stems, stems)[0].min() > 100


def test_folders_do_not_grow_by_the_files_of_annotations(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "PER_FOLDER", 7)  # an audio file and six of its annotation
    export_corpus(corpus, "audiofolder", tmp_path / "out", splits=["train"])
    folders = [path for path in (tmp_path / "out/train").rglob("*") if path.is_dir()]
    assert max(sum(path.is_file() for path in folder.iterdir()) for folder in folders) == 7


def test_a_sum_of_stems_beyond_full_scale_is_kept(corpus: Path, tmp_path: Path) -> None:
    loud = tmp_path / "corpus"
    shutil.copytree(corpus, loud)
    for shard in (loud / "stems").iterdir():
        rows = pq.read_table(shard).to_pylist()
        ids = dict.fromkeys(row["id"] for row in rows)
        full = {"bytes": to_flac(np.full(32_000, 30_000, np.int16)), "path": "a.flac"}
        old = hashlib.sha256(shard.read_bytes()).hexdigest()
        rows = [{"id": id, "stem": STEMS.index(stem), "audio": full} for id in ids for stem in ("harmony", "melody")]
        write_shard(shard, [rows], stem_features(), {})
        text = (loud / "SHA256SUMS").read_text()
        (loud / "SHA256SUMS").write_text(text.replace(old, hashlib.sha256(shard.read_bytes()).hexdigest()))
    export_corpus(loud, "musdb", tmp_path / "out", splits=["validation"])
    for path in (tmp_path / "out/test").glob("*/other.wav"):
        samples, _ = soundfile.read(path)
        assert samples.shape == (32_000, 2) and np.all(samples == 2 * 30_000 / 32_768)


def test_what_a_build_writes_is_exported(tmp_path: Path) -> None:
    recipe = fakes.small_recipe(tmp_path, per_genre=2, generator="scored", annotations=True, stems=True)
    build(recipe, tmp_path / "corpus", workers=1)
    export_corpus(tmp_path / "corpus", "jams", tmp_path / "jams")
    for row in load_corpus(tmp_path / "corpus", "annotations", split="train"):
        (path,) = (tmp_path / "jams").rglob(f"{row['id']}.jams")
        assert_close(read_jams(path, id=row["id"]), replace(Annotation.from_row(row), midi=None))
    export_corpus(tmp_path / "corpus", "musdb", tmp_path / "musdb")
    assert len(list((tmp_path / "musdb").rglob("other.wav"))) == 10
    export_corpus(tmp_path / "corpus", "midi", tmp_path / "midi")
    assert len(list((tmp_path / "midi").rglob("*.mid"))) == 10


@pytest.mark.parametrize("layout", ["jams", "musdb", "mirdata"])
def test_again_nothing_is_written_and_damage_is_repaired(corpus: Path, tmp_path: Path, layout: str) -> None:
    out = tmp_path / "out"
    export_corpus(corpus, layout, out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert export_corpus(corpus, layout, out).kept == 10
    damaged = sorted(path for path in before if path.suffix in (".jams", ".wav", ".beats"))
    damaged[0].write_bytes(b"half")
    damaged[-1].unlink()
    assert export_corpus(corpus, layout, out).kept == 8
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(("layout", "config"), [("jams", "annotations"), ("midi", "annotations"), ("musdb", "stems")])
def test_a_missing_config_is_an_error_with_the_command(plain: Path, tmp_path: Path, layout: str, config: str) -> None:
    with pytest.raises(DataError) as caught:
        export_corpus(plain, layout, tmp_path / "out")
    assert f"has no {config}, which {layout} is made of" in caught.value.message and caught.value.fix
    assert caught.value.fix == f"set `{config}: true` in its recipe, and run: synthmir build RECIPE --out {plain}"
    assert not (tmp_path / "out").exists()


def test_a_misspelt_layout_is_suggested(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"layout 'jam': not known \(did you mean 'jams'\?\)\n.*mirdata, audiofolder"
    ):
        export_corpus(corpus, "jam", tmp_path)


def test_clips_of_a_part_without_a_score_are_exported_without_annotations(corpus: Path, tmp_path: Path) -> None:
    partly = tmp_path / "corpus"
    shutil.copytree(corpus, partly)
    gone = sorted((partly / "annotations").iterdir())[0]
    ids = set(pq.read_table(gone, columns=["id"])["id"].to_pylist())
    gone.unlink()
    text = (partly / "SHA256SUMS").read_text().splitlines(keepends=True)
    (partly / "SHA256SUMS").write_text("".join(line for line in text if f"annotations/{gone.name}" not in line))
    _, index = export_corpus(partly, "mirdata", tmp_path / "out").tables
    tracks = json.loads(index.read_text())["tracks"]
    assert {id for id, files in tracks.items() if files["beats"] == [None, None]} == ids
    rows = listed(tmp_path / "out")
    assert all(not rows[id]["played_tempo_bpm"] for id in ids) and any(
        row["played_tempo_bpm"] for row in rows.values()
    )
    with pytest.raises(DataError, match=f"has no annotations of data/{gone.name}, which jams is made of"):
        export_corpus(partly, "jams", tmp_path / "jams")


def test_configs_of_other_clips_and_damaged_ones_are_errors(corpus: Path, tmp_path: Path) -> None:
    odd = tmp_path / "corpus"
    shutil.copytree(corpus, odd)
    first, second = sorted((odd / "annotations").iterdir())[:2]
    first.write_bytes(second.read_bytes())
    with pytest.raises(DataError, match=rf"annotations/{first.name}: is of other clips"):
        export_corpus(odd, "jams", tmp_path / "out")
    shutil.copy(sorted((corpus / "annotations").iterdir())[0], first)
    stems = sorted((odd / "stems").iterdir())
    stems[0].write_bytes(stems[0].read_bytes() + b"more")
    with pytest.raises(DataError, match=rf"stems/{stems[0].name}: damaged or changed"):
        export_corpus(odd, "musdb", tmp_path / "stems")
    stems[0].unlink()
    with pytest.raises(DataError, match=f"has no stems of data/{stems[0].name}"):
        export_corpus(odd, "musdb", tmp_path / "others")
