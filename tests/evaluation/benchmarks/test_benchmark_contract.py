"""What every registered benchmark must do, on its miniature. A new one adds its line to MINIATURES."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from datasets import Audio, ClassLabel, List, Value, load_dataset, load_from_disk

from builder.audio import load_audio
from builder.embedders.embed_dataset import embed_dataset
from builder.errors import DataError, RecipeError
from builder.settings import EmbedderSettings
from builder.taxonomy import Taxonomy
from evaluation.benchmarks.base import BENCHMARKS, Benchmark, load_benchmark
from evaluation.benchmarks.catalogue import check_files, list_benchmarks
from evaluation.benchmarks.published import _all
from evaluation.evaluate import evaluate_model
from synthmir.cli import main

from . import miniatures, mirdata_miniatures

MINIATURES: dict[str, tuple[Callable[[Path], Path], str]] = {  # what makes it, and what stands behind its path
    "folder": (miniatures.folder, ""),
    "gtzan": (miniatures.gtzan, ""),
    "fma": (miniatures.fma, ""),
    "magnatagatune": (miniatures.magnatagatune, ""),
    "jamendo": (miniatures.jamendo, ""),
    "nsynth": (miniatures.nsynth, ""),
    "hub": (miniatures.audiofolder, "?label=genre"),
    "mirdata": (mirdata_miniatures.gtzan_genre, ""),
}
BEFORE_PATH = {"mirdata": "mirdata:gtzan_genre"}  # where it is not the benchmark's name alone
NAMES = sorted(BENCHMARKS)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("miniatures with spaces")
    return {name: f"{_before(name)}:{make(root / name)}{options}" for name, (make, options) in MINIATURES.items()}


def _before(name: str) -> str:
    return BEFORE_PATH.get(name, name)


def test_every_benchmark_has_a_miniature() -> None:
    assert set(MINIATURES) == set(BENCHMARKS)


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_describes_itself(name: str) -> None:
    kind = BENCHMARKS.load(name)
    assert issubclass(kind, Benchmark) and all(
        getattr(kind, key) for key in ("title", "about", "licence", "how_to_get")
    )
    assert {"licence", "citation"} <= vars(kind).keys()
    assert kind.__doc__.startswith(f"`{name}")
    assert any(line.startswith(f"{name}: {kind.title}") for line in list_benchmarks())


@pytest.mark.parametrize("name", NAMES)
def test_one_data_set_of_the_same_columns(name: str, specs: dict[str, str]) -> None:
    bench = load_benchmark(specs[name], None)
    data = bench.dataset()
    label = "labels" if bench.multi_label else "label"
    assert data.column_names == ["id", "audio", label, "split", "artist"]
    kind = ClassLabel(names=bench.own_labels)
    assert data.features["audio"] == Audio(decode=False) and data.features[label] == (
        List(kind) if bench.multi_label else kind
    )
    assert data.features["id"] == data.features["split"] == data.features["artist"] == Value("string")
    assert len(set(zip(data["id"], data["split"], strict=True))) == len(data) > 0
    assert set(data["split"]) <= (set(bench.parts) if bench.parts != ("all",) else {"train"})
    for row in data.select(range(0, len(data), 7)):
        audio = row["audio"]["bytes"] or row["audio"]["path"]
        assert isinstance(audio, bytes) or Path(audio).is_absolute()
        assert len(load_audio(audio, 16_000)) > 1_000


@pytest.mark.parametrize("name", NAMES)
def test_a_model_of_its_own_labels(name: str, specs: dict[str, str]) -> None:
    whole = load_benchmark(specs[name], None)
    labels = sorted(whole.own_labels, reverse=True)
    spec = specs[name].replace("jamendo:", "jamendo@genre:")
    bench = load_benchmark(spec, labels, "labels" if whole.multi_label else "label")
    assert bench.problem == ("multi_label_classification" if whole.multi_label else "single_label_classification")
    recordings = {one.id: one for one in whole.part(bench.default_part)}
    assert [track.id for track in bench.tracks] == list(recordings)
    for track in bench.tracks:
        truth = track.label if isinstance(track.label, tuple) else (track.label,)
        assert {labels[int(one)] for one in truth} == set(recordings[track.id].labels)
        assert track.artist == recordings[track.id].artist is None or isinstance(track.artist, str)
    assert bench.left_out == {} and bench.covered == tuple(range(len(labels)))
    assert bench.protocol.endswith(".") and "\n" not in bench.protocol and bench.source


@pytest.mark.parametrize("name", [name for name in NAMES if not BENCHMARKS.load(name).multi_label])
def test_every_recording_is_a_track_or_noted(name: str, specs: dict[str, str]) -> None:
    whole = load_benchmark(specs[name], None)
    labels = [*dict.fromkeys(one.labels[0] for one in whole.part(whole.default_part))][:2]
    bench = load_benchmark(specs[name], labels)
    assert len(bench.tracks) + sum(bench.left_out.values()) == len(whole.part(whole.default_part))
    assert sum(int(note.split()[2]) for note in bench.notes if "the model has no such label" in note) == sum(
        bench.left_out.values()
    )


@pytest.mark.parametrize("name", NAMES)
def test_published_counts_and_counts_on_disk(name: str, specs: dict[str, str]) -> None:
    bench = load_benchmark(specs[name], None)
    counts = {count.split: count for count in bench.check()}
    assert list(counts) == list(bench.parts) and all(
        bench.part_sizes[part] == counts[part].published for part in counts
    )
    assert sum(count.on_disk for count in counts.values()) >= len(bench.part("all")) > 0
    if bench.published_sizes:  # a miniature has fewer tracks than published
        assert all(count.differs for count in counts.values())
        with pytest.raises(DataError, match=r"has \d+ of [\d,]+ in"):
            list(check_files(bench))
    else:
        assert not any(count.differs for count in counts.values())
        assert any("usable tracks" in line for line in check_files(bench))


@pytest.mark.parametrize("name", NAMES)
def test_complete_data_passes_the_check(name: str, specs: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    kind = BENCHMARKS.load(name)
    sizes = {count.split: count.on_disk + count.known_faulty for count in load_benchmark(specs[name], None).check()}
    monkeypatch.setattr(kind, "published_sizes", property(lambda self: sizes))
    assert list(check_files(load_benchmark(specs[name], None)))
    monkeypatch.setattr(kind, "published_sizes", property(lambda self: {part: n + 1 + 6 for part, n in sizes.items()}))
    with pytest.raises(DataError, match="has "):
        list(check_files(load_benchmark(specs[name], None)))


@pytest.mark.parametrize("name", NAMES)
def test_published_scores(name: str, specs: dict[str, str]) -> None:
    for score in load_benchmark(specs[name], None).published:
        assert set(score) == {"name", "metric", "value", "source", "same_protocol", "note"}
        assert 0 < score["value"] < 1 and score["source"].startswith("https://")


def test_published_figures_are_of_benchmarks_that_there_are() -> None:
    for key in _all():
        name, _, variant = key.partition("@")
        assert name in BENCHMARKS and (not variant or variant in BENCHMARKS.load(name).variants), key


@pytest.mark.parametrize("name", NAMES)
def test_a_path_that_is_not_there(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        load_benchmark(f"{_before(name)}:{tmp_path}/nowhere", ["a", "b"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as raised:
        load_benchmark(f"{_before(name)}:{tmp_path}/empty", ["a", "b"])
    assert raised.value.fix
    for spec in (name, f"{name}:"):
        with pytest.raises(RecipeError, match=f"{name}:PATH"):
            load_benchmark(spec, ["a", "b"])


@pytest.mark.parametrize("name", [name for name in NAMES if name != "hub"])
def test_what_a_mac_leaves_in_archives_is_not_music(name: str, tmp_path: Path) -> None:
    root = MINIATURES[name][0](tmp_path / "data")
    before = load_benchmark(f"{_before(name)}:{root}", None)
    ids = {part: [one.id for one in before.part(part)] for part in before.parts}
    ignored_notes = [note for part in before.parts for note in before.ignored_notes(part)]
    for file in [file for file in root.rglob("*") if file.is_file()]:
        file.with_name(f"._{file.name}").write_bytes(b"Mac OS X")
        file.with_name(".DS_Store").write_bytes(b"Bud1")
    after = load_benchmark(f"{_before(name)}:{root}", None)
    assert {part: [one.id for one in after.part(part)] for part in after.parts} == ids
    assert [note for part in after.parts for note in after.ignored_notes(part)] == ignored_notes


@pytest.mark.parametrize("name", NAMES)
def test_a_relative_path_and_no_word_to_the_outside(
    name: str, specs: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Path(specs[name].removeprefix(f"{_before(name)}:").partition("?")[0])
    monkeypatch.chdir(place.parent)
    bench = load_benchmark(f"{_before(name)}:{place.name}{MINIATURES[name][1]}", None)
    assert len(bench.dataset()) == len(load_benchmark(specs[name], None).dataset())


@pytest.mark.parametrize(
    ("name", "labels", "task", "expected"),
    [
        ("fma", ["electronica", "orchestral", "pop", "rock"], "genre", {"electronica": 5, "pop": 5, "rock": 5}),
        ("hub", ["Hip-Hop", "ROCK"], "genre", {"Hip-Hop": 3, "ROCK": 4}),
        ("jamendo", ["flute", "piano"], "instruments", {(): 2, ("flute",): 1, ("piano",): 2}),
        ("magnatagatune", ["instrumental", "with-vocals"], "vocals", {"instrumental": 16, "with-vocals": 16}),
    ],
    ids=str,
)
def test_a_data_set_in_other_labels(
    name: str, labels: list[str], task: str, expected: dict[object, int], specs: dict[str, str]
) -> None:
    data = load_benchmark(specs[name], None, task).dataset(labels)
    if "labels" in data.features:
        found = [tuple(labels[number] for number in row) for row in data["labels"]]
    else:
        assert data.features["label"].names == labels
        found = [labels[number] for number in data["label"]]
    assert Counter(found) == expected and set(data["split"]) > {"train"}


def test_its_data_set_can_be_embedded(specs: dict[str, str], tmp_path: Path) -> None:
    bench = load_benchmark(specs["jamendo"], None)
    bench.dataset().save_to_disk(tmp_path / "tracks")
    record = embed_dataset(tmp_path / "tracks", EmbedderSettings(), tmp_path / "out")
    assert (record.rows, record.details["skipped"]) == (7, 0)
    data = load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert data.column_names == ["id", "embedding", "labels", "split", "artist"]
    assert data.features["labels"].feature.names == bench.own_labels


def test_on_the_command_line(
    specs: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["synthmir", "benchmarks", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        return int(stopped.value.code or 0)

    assert run() == 0
    assert "gtzan: GTZAN. 1,000 clips" in capsys.readouterr().out
    assert run(specs["folder"], "--out", str(tmp_path / "tracks")) == 0
    assert "2 usable tracks" in capsys.readouterr().out and (tmp_path / "tracks/state.json").exists()
    assert run(specs["gtzan"]) == 3
    out, err = capsys.readouterr()
    assert "test               290        20" in out and "20 of 290 in test" in err
    assert run("gtsan:nowhere") == 2
    assert run(specs["fma"], "--labels", "paper", "--out", str(tmp_path / "paper")) == 3
    assert load_from_disk(tmp_path / "paper").features["label"].names == Taxonomy.load("paper").genre_names
    assert run(specs["fma"], "--labels", "papre", "--out", str(tmp_path / "paper")) == 2
    assert "did you mean 'paper'" in capsys.readouterr().err


def test_the_list_needs_no_heavy_package() -> None:
    code = (
        "import sys; from evaluation.benchmarks.catalogue import list_benchmarks; "
        "print(sum(1 for _ in list_benchmarks())); "
        "assert not {'torch', 'datasets', 'transformers', 'sklearn'} & set(sys.modules), sorted(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_model_is_evaluated_on_benchmarks(model: Path, specs: dict[str, str], tmp_path: Path) -> None:
    """Electronica, Hip Hop and Rock: by the user's table on FMA, by name on a stream, by the shipped table on tags."""
    table = tmp_path / "mine.yaml"
    table.write_text("map: {Electronic: Electronica, Hip-Hop: hip hop, Rock: rock}\n")
    on = [f"{specs['fma']}?mapping={table}", specs["hub"]]
    scores = evaluate_model(model, on, tmp_path / "report")
    first, second = scores["benchmarks"]
    assert (first["n"], first["skipped"], second["n"], second["skipped"]) == (6, 0, 4, 0)
    assert first["left_out"] == dict.fromkeys(["Experimental", "Folk", "Instrumental", "International", "Pop"], 2)
    assert first["licence"] and first["citation"] and first["protocol"].startswith("The small subset")
    assert second["left_out"] == {} and first["published"][0]["value"] == 0.643


def test_damaged_files_in_the_middle_are_skipped_and_listed(model: Path, tmp_path: Path) -> None:
    root = miniatures.fma(tmp_path / "fma")
    (root / "fma_small/100/100033.mp3").write_bytes(b"\xff\xfb" + b"\0" * 5_000)
    (root / "fma_small/100/100074.mp3").write_bytes(b"")
    (tmp_path / "mine.yaml").write_text("map: {Electronic: Electronica, Hip-Hop: Hip Hop, Rock: Rock}\n")
    scores = evaluate_model(model, [f"fma:{root}?mapping={tmp_path / 'mine.yaml'}"], tmp_path / "report")
    [entry] = scores["benchmarks"]
    assert entry["n"] == 4 and {skip["id"] for skip in entry["skips"]} == {"100033", "100074"}
