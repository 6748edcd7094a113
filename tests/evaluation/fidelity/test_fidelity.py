"""A corpus compared with real music, from the files to the page; and sets that cannot be compared."""

from __future__ import annotations

import io
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from datasets import ClassLabel, Features, List, Value, load_dataset
from pydantic import ValidationError

from builder.corpus.corpus import write_sums
from builder.corpus.shards import write_shard
from builder.embedders.embed_dataset import embed_dataset
from builder.errors import DataError, RecipeError
from builder.records import RunRecord
from builder.settings import EmbedderSettings
from evaluation.fidelity.measure import measure_fidelity
from evaluation.fidelity.page import format_table, render_section, write_page
from evaluation.results import fidelity as results
from evaluation.results.fidelity import Fidelity, Figure
from synthmir.cli import app

from ...builder.estimators.clap_checkpoint import clap_checkpoint
from ..conftest import GENRES, NASTY, sound

SCHEMA = Path(results.__file__).with_name("fidelity.schema.json")
DIM = 12


def write_embeddings(
    root: Path, vectors: np.ndarray, genres: np.ndarray, revision: str = "1", name: str = "melstats", prefix: str = "c"
) -> Path:
    """Write a finished corpus that has embeddings and no audio; genre -1 is none."""
    features = Features(
        {
            "id": Value("string"),
            "embedding": List(Value("float32"), length=vectors.shape[1]),
            "genre": ClassLabel(names=list(GENRES)),
            "prompt_group": Value("string"),
        }
    )
    rows = [
        {"id": f"{prefix}{i}", "embedding": row, "genre": int(genre), "prompt_group": f"{prefix}{i // 2}"}
        for i, (row, genre) in enumerate(zip(vectors.astype(np.float32), genres, strict=True))
    ]
    cut = len(rows) // 2
    for split, part in (("train", rows[:cut]), ("validation", rows[cut:])):
        write_shard(root / name / f"{split}-00000-of-00001.parquet", [part], features, {"shard": split})
    embedder = {"name": name, "revision": revision, "dim": vectors.shape[1]}
    RunRecord("embed", "f" * 16, details={"embedder": embedder}).write(root / f"records/embed-{name}.json")
    RunRecord("build", "f" * 16).write(root / "records/build.json")
    write_sums(root, {})
    return root


def clouds(n: int, seed: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of three genres in clusters, all shifted along one axis, and the genres."""
    rng = np.random.default_rng(seed)
    genres = np.arange(n) % 3
    return rng.normal(size=(n, DIM)) + 4 * np.eye(DIM)[genres] + shift * np.eye(DIM)[5], genres


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Fidelity]:
    """300 clips and 240 recordings 1.5 apart. Three clips are copies: of two recordings and of another clip."""
    folder = tmp_path_factory.mktemp("fidelity")
    (clips, genres), (recordings, labels) = clouds(300, 1, 1.5), clouds(240, 2)
    clips[7], clips[8], clips[9] = recordings[30], recordings[31], clips[100]
    corpus = write_embeddings(folder / "corpus", clips, genres)
    reference = write_embeddings(folder / "real", recordings, labels, prefix="r")
    return folder / "out", measure_fidelity(corpus, str(reference), folder / "out")


@pytest.fixture
def unmapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip t-SNE, which takes longer than the rest, in tests that do not need the map."""
    monkeypatch.setattr("evaluation.fidelity.plots.plot_map", lambda *_: None)


def test_metrics_of_sets_with_a_known_difference(compared: tuple[Path, Fidelity]) -> None:
    out, fidelity = compared
    assert (fidelity.corpus.n, fidelity.reference.n, fidelity.dim, fidelity.constant_dims) == (300, 240, DIM, 0)
    assert fidelity.corpus.labels == dict.fromkeys(GENRES, 100) and fidelity.corpus.fingerprint == "f" * 16
    limit = fidelity.frechet.both_infinite
    assert limit is not None and limit.value == pytest.approx(1.5**2, abs=0.5)  # equal but for one mean
    frechet, prdc = fidelity.frechet, fidelity.manifold
    assert frechet.corpus_infinite is not None and frechet.corpus_infinite.straight
    assert frechet.reference_halves is not None and frechet.reference_halves < frechet.distance.value
    assert fidelity.kernel.rbf.low is not None and fidelity.kernel.rbf.low > 0
    assert fidelity.two_sample is not None and 0.65 < fidelity.two_sample.accuracy.value < 0.85
    assert fidelity.two_sample.p_value < 0.01
    assert prdc is not None and prdc.precision.n == prdc.precision.n_reference == 240
    assert fidelity.adherence is not None and fidelity.adherence.probe == "reference"
    assert fidelity.adherence.accuracy.value > 0.9 and sum(map(sum, fidelity.adherence.confusion_matrix)) == 300
    assert fidelity.diversity.n == 240 and 1 < fidelity.diversity.corpus < DIM
    assert [(row.genre, row.n, row.n_reference) for row in fidelity.genres] == [(name, 100, 80) for name in GENRES]
    for row in fidelity.genres:
        assert row.kernel and row.frechet and row.coverage and row.two_sample and row.adherence and row.vendi
    assert fidelity.left_out == [] and fidelity.text_audio is None
    assert fidelity.record["command"] == "fidelity" and fidelity.record["rows"] == 540
    assert fidelity == Fidelity.read(out / "fidelity.json")


def test_duplicates_are_listed_by_id(compared: tuple[Path, Fidelity]) -> None:
    out, fidelity = compared
    assert [(pair.left, pair.right) for pair in fidelity.within.listed] == [("c9", "c100")]
    assert {(pair.left, pair.right) for pair in fidelity.against.listed} == {("c7", "r30"), ("c8", "r31")}
    within, against = fidelity.within, fidelity.against
    assert (within.pairs, within.clips, within.spare, within.largest_group) == (1, 2, 1, 2)
    assert (against.pairs, against.clips, against.spare) == (2, 2, None)
    assert sum(row.duplicates for row in fidelity.genres) == 2
    lines = [json.loads(line) for line in (out / "duplicates-reference.jsonl").read_text().splitlines()]
    assert [line["left"] for line in lines] == [pair.left for pair in fidelity.against.listed]
    assert lines[0]["similarity"] == pytest.approx(1)


def test_the_nearest_recording_of_every_clip_is_written(compared: tuple[Path, Fidelity]) -> None:
    out, fidelity = compared
    rows = [json.loads(line) for line in (out / "nearest-reference.jsonl").read_text().splitlines()]
    assert [row["clip"] for row in rows] == [f"c{number}" for number in range(300)]
    assert (rows[7]["recording"], rows[8]["recording"]) == ("r30", "r31")
    copies = fidelity.copies
    assert copies is not None and copies.searched == 0 and copies.annotated is None  # neither side has audio
    assert {pair.recording for pair in copies.nearest[:2]} == {"r30", "r31"} and copies.nearest[0].landmarks is None
    assert [round(pair.similarity, 7) for pair in copies.nearest] == sorted(
        (row["similarity"] for row in rows), reverse=True
    )[:50]


def test_the_schema_matches_the_file_and_the_code(compared: tuple[Path, Fidelity]) -> None:
    out, _ = compared
    shipped = SCHEMA.read_text()
    assert shipped == Fidelity.json_schema()
    content = json.loads((out / "fidelity.json").read_text())
    schema = json.loads(shipped)
    assert set(schema["required"]) <= set(content) <= set(schema["properties"])
    with pytest.raises(ValidationError):
        Fidelity.model_validate_json(json.dumps(content | {"spare": 1}))


def test_the_page_the_section_and_the_table(compared: tuple[Path, Fidelity]) -> None:
    out, fidelity = compared
    page = write_page(out).read_text(encoding="utf-8")
    assert fidelity.two_sample is not None
    for text in (f"{fidelity.two_sample.accuracy.value:.1%}", "assets/map.svg", "assets/genres.svg", "r30", *GENRES):
        assert text in page
    assert "<script" not in page and "http" not in page.split("</style>")[1]
    for picture in fidelity.pictures.values():
        assert (out / picture).read_bytes().startswith(b"<?xml")
    assert 'src="../fidelity/assets/map.svg"' in render_section(out, "../fidelity/")
    table = format_table(fidelity)
    assert "Fréchet distance" in table and "near-duplicates with the reference: 2 pairs, 2 of 300 clips" in table


@pytest.mark.usefixtures("unmapped")
def test_all_metrics_on_audio(corpus: Path, tmp_path: Path) -> None:
    """The small corpus and a folder with two of its clips a little softer, one damaged file and a name with HTML."""
    real = tmp_path / "real music"
    for genre, name in enumerate(GENRES):
        (real / name.lower()).mkdir(parents=True)
        for seed in range(30, 38):
            soundfile.write(real / name.lower() / f"{seed}.wav", sound(genre, seed, 1.5, 22_050), 22_050)
    clips = load_dataset("parquet", data_files=str(corpus / "data/train-*.parquet"), split="train")
    clips = clips.with_format("arrow")[:]["audio"].to_pylist()
    for number, name in ((0, "<b>copy & paste.wav"), (13, "copy.wav")):
        (real / "copies").mkdir(exist_ok=True)
        samples, rate = soundfile.read(io.BytesIO(clips[number]["bytes"]))
        soundfile.write(real / "copies" / name, 0.99 * samples, rate)
    (real / "copies" / "broken.wav").write_bytes(b"RIFF nothing")
    out = tmp_path / "out"
    fidelity = measure_fidelity(corpus, str(real), out, clap=str(clap_checkpoint(tmp_path)))
    assert fidelity.reference.kind == "audio" and fidelity.reference.n == 26
    assert "left out 1 clip that could not be read" in fidelity.reference.notes[0]
    ids = {(pair.left, pair.right) for pair in fidelity.against.listed}
    assert ids == {("Electronica-0", "copies/<b>copy & paste.wav"), ("Rock-1", "copies/copy.wav")}
    for pair in fidelity.against.listed:
        assert pair.audio is not None
        lengths = [soundfile.info(out / file).duration for file in pair.audio]
        assert lengths == pytest.approx([1.0, 1.0], abs=0.01)
    assert fidelity.copies is not None and fidelity.copies.searched == 27
    found = {pair.clip: pair for pair in fidelity.copies.nearest if pair.copy_found}
    assert found["Rock-1"].recording == "copies/copy.wav" and found["Rock-1"].speed == 1.0
    assert len(found) == fidelity.copies.copies < 5
    assert f"{fidelity.copies.copies} (from {fidelity.copies.threshold} landmarks" in format_table(fidelity)
    assert fidelity.text_audio is not None and fidelity.text_audio.similarity.n == 27
    assert all(row.text_audio is not None and row.text_audio.n == 9 for row in fidelity.genres)
    assert any("copies (2)" in note for note in fidelity.left_out)
    page = write_page(out).read_text(encoding="utf-8")
    assert "<b>copy" not in page and "&lt;b&gt;copy &amp; paste" in page and "<audio" in page
    assert NASTY not in page
    first = json.loads((out / "fidelity.json").read_text())
    repeated = measure_fidelity(corpus, str(real), out, clap=str(clap_checkpoint(tmp_path)))
    for name in ("frechet", "kernel", "two_sample", "within", "against", "adherence", "text_audio", "genres"):
        assert json.loads(repeated.model_dump_json())[name] == first[name], name


@pytest.mark.usefixtures("unmapped")
def test_a_folder_of_embeddings_and_a_benchmark_give_the_same_values(
    corpus: Path, music: Path, tmp_path: Path
) -> None:
    embed_dataset(music, EmbedderSettings(), tmp_path / "embedded")
    embedded = measure_fidelity(corpus, str(tmp_path / "embedded"), tmp_path / "a")
    benchmark = measure_fidelity(corpus, f"folder:{music}", tmp_path / "b")
    assert (embedded.reference.kind, benchmark.reference.kind) == ("embeddings", "benchmark")
    assert embedded.reference.n == benchmark.reference.n == 6
    assert embedded.frechet.distance.value == pytest.approx(benchmark.frechet.distance.value, rel=1e-6)
    assert [row.n_reference for row in embedded.genres] == [row.n_reference for row in benchmark.genres] == [2, 2, 2]
    assert embedded.manifold is None and embedded.two_sample is None
    assert sum("it needs" in note or "they need" in note for note in embedded.left_out) >= 3


@pytest.mark.usefixtures("unmapped")
def test_the_distance_of_a_corpus_to_itself_is_zero(corpus: Path, tmp_path: Path) -> None:
    fidelity = measure_fidelity(corpus, str(corpus), tmp_path / "out")
    spread = np.square(fidelity.frechet.reference_halves or 1)
    assert fidelity.frechet.distance.value == pytest.approx(0, abs=1e-8 * spread)
    assert fidelity.kernel.rbf.value <= 0
    assert fidelity.manifold is not None and fidelity.manifold.precision.value == fidelity.manifold.coverage.value == 1
    assert fidelity.against.clips == 27 and fidelity.within.pairs == 0
    assert "the revision" in fidelity.corpus.notes[0]


@pytest.mark.usefixtures("unmapped")
def test_missing_and_rare_labels_are_left_out_with_a_note(tmp_path: Path) -> None:
    clips, genres = clouds(60, 1)
    genres = genres.copy()
    genres[genres == 2] = -1
    genres[2] = 2  # the only clip of its genre
    other, _ = clouds(50, 2)
    corpus = write_embeddings(tmp_path / "corpus", clips, genres)
    bare = write_embeddings(tmp_path / "bare", other, np.full(50, -1), prefix="r")
    fidelity = measure_fidelity(corpus, str(bare), tmp_path / "out")
    assert fidelity.corpus.unlabelled == 19 and fidelity.reference.unlabelled == 50
    assert fidelity.left_out[0] == "distances by genre: the reference has no labels"
    assert [row.kernel for row in fidelity.genres] == [None] * 3 and fidelity.genres[0].vendi is not None
    assert fidelity.genres[2].vendi is None
    assert fidelity.adherence is None and any(note.startswith("prompt adherence") for note in fidelity.left_out)
    labelled = write_embeddings(tmp_path / "labelled", other, np.arange(50) % 3, prefix="r")
    fidelity = measure_fidelity(corpus, str(labelled), tmp_path / "out2")
    assert any(note.startswith("distances of Rock: 1 clip in the corpus and 16") for note in fidelity.left_out)
    assert fidelity.genres[2].kernel is None and fidelity.genres[0].kernel is not None
    assert fidelity.adherence is not None and fidelity.adherence.probe == "reference"
    itself = write_embeddings(tmp_path / "itself", *clouds(60, 1))
    fidelity = measure_fidelity(itself, str(bare), tmp_path / "out3")
    adherence = fidelity.adherence
    assert adherence is not None and adherence.probe == "corpus" and adherence.accuracy.value > 0.8


@pytest.mark.usefixtures("unmapped")
def test_text_labels_in_a_column_declared_as_classes(tmp_path: Path) -> None:
    clips, genres = clouds(40, 1)
    corpus = write_embeddings(tmp_path / "corpus", clips, genres)
    for shard in (corpus / "melstats").iterdir():
        table = pq.read_table(shard)
        texts = pa.array([GENRES[code] for code in table["genre"].to_pylist()])
        at = table.schema.get_field_index("genre")
        pq.write_table(table.set_column(at, "genre", texts), shard)
    write_sums(corpus, {})
    fidelity = measure_fidelity(corpus, str(corpus), tmp_path / "out")
    assert fidelity.corpus.unlabelled == 0 and fidelity.corpus.labels == Counter(GENRES[code] for code in genres)


@pytest.mark.usefixtures("unmapped")
def test_constant_dimensions_are_counted(tmp_path: Path) -> None:
    (clips, genres), (recordings, labels) = clouds(40, 1), clouds(40, 2)
    clips[:, 3], recordings[:, 3], recordings[:, 4] = 5, 5, 0
    fidelity = measure_fidelity(
        write_embeddings(tmp_path / "a", clips, genres),
        str(write_embeddings(tmp_path / "b", recordings, labels)),
        tmp_path / "out",
    )
    assert fidelity.constant_dims == 2
    assert np.isfinite(fidelity.frechet.distance.value)


@pytest.mark.usefixtures("unmapped")
def test_random_samples_depend_on_the_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluation.fidelity.measure.SAMPLE", 50)
    a = write_embeddings(tmp_path / "a", *clouds(120, 1))
    b = write_embeddings(tmp_path / "b", *clouds(90, 2), prefix="r")
    first, same, other = (measure_fidelity(a, str(b), tmp_path / "out", seed=seed).kernel.rbf for seed in (0, 0, 1))
    assert first == same != other and first.n == first.n_reference == 50


@pytest.mark.parametrize("fault", ["revision", "dim", "name", "nan", "length", "one", "none", "several", "unfinished"])
def test_sets_that_cannot_be_compared_are_errors(fault: str, tmp_path: Path) -> None:
    vectors, genres = clouds(30, 1)
    corpus, real = tmp_path / "corpus", tmp_path / "real"
    write_embeddings(corpus, vectors, genres)
    parts = [str(real)]
    if fault == "revision":
        write_embeddings(real, vectors, genres, revision="2")
        parts += ["revision '2'", "'1'", "same embedder"]
    elif fault == "dim":
        write_embeddings(real, vectors[:, :5], genres)
        parts += ["5 dimensions", "12"]
    elif fault == "name":
        write_embeddings(real, vectors, genres, name="passt")
        parts += ["no embeddings of 'melstats' (there: passt)", "synthmir embed"]
    elif fault == "nan":
        vectors[4, 2] = np.nan
        write_embeddings(real, vectors, genres, prefix="r")
        parts += ["'r4'", "NaN or infinite"]
    elif fault == "length":
        write_embeddings(real, vectors, genres)
        shutil.copy(real / "melstats/train-00000-of-00001.parquet", tmp_path / "kept")
        write_embeddings(real, vectors[:, :4], genres)
        shutil.copy(tmp_path / "kept", real / "melstats/train-00000-of-00001.parquet")
        parts += ["has 4 numbers"]
    elif fault == "one":
        write_embeddings(real, vectors[:1], genres[:1])
        parts += ["1 clip", "at least two"]
    elif fault == "none":
        write_embeddings(real, vectors, genres)
        shutil.rmtree(corpus / "melstats")
        parts = [str(corpus), "holds no embeddings", f"synthmir embed {corpus}"]
    elif fault == "several":
        write_embeddings(real, vectors, genres)
        write_embeddings(corpus, vectors, genres, name="passt")
        parts = [str(corpus), "melstats, passt", "--embedder"]
    else:
        write_embeddings(real, vectors, genres)
        (corpus / "SHA256SUMS").unlink()
        parts = [str(corpus), "not a synthmir corpus"]
    with pytest.raises(DataError) as error:
        measure_fidelity(corpus, str(real), tmp_path / "out")
    assert all(part in str(error.value) for part in parts), error.value
    assert not (tmp_path / "out" / "fidelity.json").exists()


def test_audio_is_embedded_by_the_embedder_of_the_corpus(music: Path, corpus: Path, tmp_path: Path) -> None:
    vectors, genres = clouds(30, 1)
    other = write_embeddings(tmp_path / "corpus", vectors, genres, revision="old")
    with pytest.raises(DataError, match=r"revision old; here melstats has revision"):
        measure_fidelity(other, str(music), tmp_path / "out")
    assert not (tmp_path / "out").exists(), "nothing was embedded"
    with pytest.raises(RecipeError, match="melstats has no"):
        measure_fidelity(corpus, str(music), tmp_path / "out", weights="some.pt")
    with pytest.raises(DataError, match="no such folder"):
        measure_fidelity(corpus, "/nowhere/at/all", tmp_path / "out")
    with pytest.raises(DataError, match="does not exist"):
        measure_fidelity(corpus, "folder:/nowhere/at/all", tmp_path / "out")
    with pytest.raises(RecipeError, match="did you mean 'gtzan'"):
        measure_fidelity(corpus, "gtzann:/nowhere/at/all", tmp_path / "out")


def test_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="synthmir fidelity writes it"):
        Fidelity.read(tmp_path / "fidelity.json")
    (tmp_path / "fidelity.json").write_text('{"schema": 1}')
    with pytest.raises(DataError, match="corpus: Field required"):
        Fidelity.read(tmp_path / "fidelity.json")
    with pytest.raises(ValueError, match="finite"):
        Figure(value=float("nan"), n=1)


@pytest.mark.usefixtures("unmapped")
def test_the_command_prints_the_table_and_where_the_page_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = write_embeddings(tmp_path / "a", *clouds(60, 1))
    b = write_embeddings(tmp_path / "b", *clouds(60, 2), prefix="r")
    app(["fidelity", str(a), "--against", str(b), "--similarity", "0.999"], standalone_mode=False)
    output = capsys.readouterr().out
    assert "Fréchet distance" in output and f"page  {tmp_path / 'fidelity' / 'fidelity.html'}" in output
    assert "cosine of 0.999 or more" in (tmp_path / "fidelity" / "fidelity.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("unmapped")
def test_the_validation_split_as_the_reference(tmp_path: Path) -> None:
    corpus = write_embeddings(tmp_path / "corpus", *clouds(400, 3))
    fidelity = measure_fidelity(corpus, "validation", tmp_path / "out")
    assert (fidelity.corpus.n, fidelity.reference.n) == (200, 200)
    assert fidelity.corpus.name.endswith("train split") and fidelity.reference.name.endswith("validation split")
    assert any("do not describe real music" in note for note in fidelity.reference.notes)
    low, high = fidelity.two_sample.accuracy.low, fidelity.two_sample.accuracy.high
    assert low < 0.5 < high
