"""A corpus held against real music, from the files to the page; and what cannot be held."""

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

import evaluation.fidelity
from builder.corpus.corpus import write_sums
from builder.corpus.shards import write_shard
from builder.embedders.embed_dataset import embed_dataset
from builder.errors import DataError, RecipeError
from builder.recipe import EmbedderSettings
from builder.records import RunRecord
from evaluation.fidelity.figures import Fidelity, Figure
from evaluation.fidelity.measure import measure
from evaluation.fidelity.page import section, table, write_page
from synthmir.cli import app

from ..conftest import GENRES, NASTY, sound
from .test_fidelity_probes import clap_checkpoint

HERE = Path(evaluation.fidelity.__file__).parent
DIM = 12


def vectors_only(
    root: Path, vectors: np.ndarray, genres: np.ndarray, revision: str = "1", name: str = "melstats", prefix: str = "c"
) -> Path:
    """A finished corpus of which only the embeddings are left; genre -1 is none."""
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
    """Three genres apart in space, all of them `shift` away along one axis."""
    rng = np.random.default_rng(seed)
    genres = np.arange(n) % 3
    return rng.normal(size=(n, DIM)) + 4 * np.eye(DIM)[genres] + shift * np.eye(DIM)[5], genres


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Fidelity]:
    """300 clips, three of them copies: of two recordings, and of another clip; 240 recordings 1.5 units away."""
    place = tmp_path_factory.mktemp("fidelity")
    (mine, genres), (other, borne) = clouds(300, 1, 1.5), clouds(240, 2)
    mine[7], mine[8], mine[9] = other[30], other[31], mine[100]
    corpus = vectors_only(place / "corpus", mine, genres)
    reference = vectors_only(place / "real", other, borne, prefix="r")
    return place / "out", measure(corpus, str(reference), place / "out")


@pytest.fixture
def unmapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """No t-SNE, which takes longer than all the rest, where the pictures are not the question."""
    monkeypatch.setattr("evaluation.fidelity.pictures.two_worlds", lambda *_: None)


def test_the_figures_are_what_the_sets_are(judged: tuple[Path, Fidelity]) -> None:
    out, found = judged
    assert (found.corpus.n, found.reference.n, found.dim, found.constant_dims) == (300, 240, DIM, 0)
    assert found.corpus.labels == dict.fromkeys(GENRES, 100) and found.corpus.fingerprint == "f" * 16
    limit = found.frechet.both_infinite
    assert limit is not None and limit.value == pytest.approx(1.5**2, abs=0.5)  # apart in one mean, else the same
    assert found.frechet.corpus_infinite is not None and found.frechet.corpus_infinite.straight
    assert found.frechet.reference_halves is not None and found.frechet.reference_halves < found.frechet.distance.value
    assert found.kernel.rbf.low is not None and found.kernel.rbf.low > 0
    assert found.two_sample is not None and 0.65 < found.two_sample.accuracy.value < 0.85
    assert found.two_sample.p_value < 0.01
    assert found.manifold is not None and found.manifold.precision.n == found.manifold.precision.n_reference == 240
    assert found.adherence is not None and found.adherence.probe == "reference"
    assert found.adherence.accuracy.value > 0.9 and sum(map(sum, found.adherence.confusion_matrix)) == 300
    assert found.diversity.n == 240 and 1 < found.diversity.corpus < DIM
    assert [(row.genre, row.n, row.n_reference) for row in found.genres] == [(name, 100, 80) for name in GENRES]
    for row in found.genres:
        assert row.kernel and row.frechet and row.coverage and row.two_sample and row.adherence and row.vendi
    assert found.left_out == [] and found.text_audio is None
    assert found.record["command"] == "fidelity" and found.record["rows"] == 540
    assert found == Fidelity.read(out / "fidelity.json")


def test_copies_are_listed_with_their_ids(judged: tuple[Path, Fidelity]) -> None:
    out, found = judged
    assert [(pair.left, pair.right) for pair in found.within.listed] == [("c9", "c100")]
    assert {(pair.left, pair.right) for pair in found.against.listed} == {("c7", "r30"), ("c8", "r31")}
    assert (found.within.pairs, found.within.clips, found.within.spare, found.within.largest_group) == (1, 2, 1, 2)
    assert (found.against.pairs, found.against.clips, found.against.spare) == (2, 2, None)
    assert sum(row.duplicates for row in found.genres) == 2
    lines = [json.loads(line) for line in (out / "duplicates-reference.jsonl").read_text().splitlines()]
    assert [line["left"] for line in lines] == [pair.left for pair in found.against.listed]
    assert lines[0]["similarity"] == pytest.approx(1)


def test_the_file_fits_its_schema_and_the_schema_its_code(judged: tuple[Path, Fidelity]) -> None:
    out, _ = judged
    shipped = (HERE / "fidelity.schema.json").read_text()
    assert shipped == Fidelity.json_schema()
    content = json.loads((out / "fidelity.json").read_text())
    schema = json.loads(shipped)
    assert set(schema["required"]) <= set(content) <= set(schema["properties"])
    with pytest.raises(ValidationError):
        Fidelity.model_validate_json(json.dumps(content | {"spare": 1}))


def test_the_page_tells_the_figures_and_the_section_stands_alone(judged: tuple[Path, Fidelity]) -> None:
    out, found = judged
    page = write_page(out).read_text(encoding="utf-8")
    assert found.two_sample is not None
    for told in (f"{found.two_sample.accuracy.value:.1%}", "assets/map.svg", "assets/genres.svg", "r30", *GENRES):
        assert told in page
    assert "<script" not in page and "http" not in page.split("</style>")[1]
    for picture in found.pictures.values():
        assert (out / picture).read_bytes().startswith(b"<?xml")
    context = section(out, "../fidelity/")
    assert context["prefix"] == "../fidelity/" and len(context["rows"]) >= 12
    text = table(found)
    assert "Fréchet distance" in text and "near-duplicates with the reference: 2 pair(s), 2 of 300 clips" in text


def test_all_of_it_on_audio(corpus: Path, tmp_path: Path) -> None:
    """The miniature corpus against a folder that holds two of its clips a bit softer, one file broken, one hostile."""
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
    found = measure(corpus, str(real), out, clap=str(clap_checkpoint(tmp_path)))
    assert found.reference.kind == "audio" and found.reference.n == 26
    assert "1 clip(s) could not be read" in found.reference.notes[0]
    ids = {(pair.left, pair.right) for pair in found.against.listed}
    assert ids == {("Electronica-0", "copies/<b>copy & paste.wav"), ("Rock-1", "copies/copy.wav")}
    for pair in found.against.listed:
        assert pair.audio is not None
        lengths = [soundfile.info(out / file).duration for file in pair.audio]
        assert lengths == pytest.approx([1.0, 1.0], abs=0.01)
    assert found.text_audio is not None and found.text_audio.similarity.n == 27
    assert all(row.text_audio is not None and row.text_audio.n == 9 for row in found.genres)
    assert any("copies (2)" in note for note in found.left_out)
    page = write_page(out).read_text(encoding="utf-8")
    assert "<b>copy" not in page and "&lt;b&gt;copy &amp; paste" in page and "<audio" in page
    assert NASTY not in page
    before = (out / "fidelity.json").read_text()
    again = measure(corpus, str(real), out, clap=str(clap_checkpoint(tmp_path)))
    kept = json.loads(before)
    for name in ("frechet", "kernel", "two_sample", "within", "against", "adherence", "text_audio", "genres"):
        assert json.loads(again.model_dump_json())[name] == kept[name], name


@pytest.mark.usefixtures("unmapped")
def test_a_folder_of_embeddings_and_a_benchmark_say_the_same(corpus: Path, music: Path, tmp_path: Path) -> None:
    embed_dataset(music, EmbedderSettings(), tmp_path / "embedded")
    written = measure(corpus, str(tmp_path / "embedded"), tmp_path / "a")
    spec = measure(corpus, f"folder:{music}", tmp_path / "b")
    assert (written.reference.kind, spec.reference.kind) == ("embeddings", "benchmark")
    assert written.reference.n == spec.reference.n == 6
    assert written.frechet.distance.value == pytest.approx(spec.frechet.distance.value, rel=1e-6)
    assert [row.n_reference for row in written.genres] == [row.n_reference for row in spec.genres] == [2, 2, 2]
    assert written.manifold is None and written.two_sample is None
    assert sum("it takes" in note or "they take" in note for note in written.left_out) >= 3


def test_a_corpus_against_itself_is_no_distance_away(corpus: Path, tmp_path: Path) -> None:
    found = measure(corpus, str(corpus), tmp_path / "out")
    spread = np.square(found.frechet.reference_halves or 1)
    assert found.frechet.distance.value == pytest.approx(0, abs=1e-8 * spread)
    assert found.kernel.rbf.value <= 0
    assert found.manifold is not None and found.manifold.precision.value == found.manifold.coverage.value == 1
    assert found.against.clips == 27 and found.within.pairs == 0
    assert "which revision" in found.corpus.notes[0]


@pytest.mark.usefixtures("unmapped")
def test_labels_that_are_missing_or_few_are_left_out_and_said(tmp_path: Path) -> None:
    mine, genres = clouds(60, 1)
    genres = genres.copy()
    genres[genres == 2] = -1
    genres[2] = 2  # the only clip of its genre
    other, _ = clouds(50, 2)
    corpus = vectors_only(tmp_path / "corpus", mine, genres)
    bare = vectors_only(tmp_path / "bare", other, np.full(50, -1), prefix="r")
    found = measure(corpus, str(bare), tmp_path / "out")
    assert found.corpus.unlabelled == 19 and found.reference.unlabelled == 50
    assert found.left_out[0] == "distances by genre: the reference has no labels"
    assert [row.kernel for row in found.genres] == [None] * 3 and found.genres[0].vendi is not None
    assert found.genres[2].vendi is None
    assert found.adherence is None and any(note.startswith("prompt adherence") for note in found.left_out)
    labelled = vectors_only(tmp_path / "labelled", other, np.arange(50) % 3, prefix="r")
    found = measure(corpus, str(labelled), tmp_path / "out2")
    assert any(note.startswith("distances of Rock: 1 clip(s) in the corpus, 16") for note in found.left_out)
    assert found.genres[2].kernel is None and found.genres[0].kernel is not None
    assert found.adherence is not None and found.adherence.probe == "reference"
    itself = vectors_only(tmp_path / "itself", *clouds(60, 1))
    found = measure(itself, str(bare), tmp_path / "out3")
    assert found.adherence is not None and found.adherence.probe == "corpus" and found.adherence.accuracy.value > 0.8


def test_text_that_is_said_to_be_numbered_is_read_as_text(tmp_path: Path) -> None:
    mine, genres = clouds(40, 1)
    corpus = vectors_only(tmp_path / "corpus", mine, genres)
    for shard in (corpus / "melstats").iterdir():
        table = pq.read_table(shard)
        texts = pa.array([GENRES[code] for code in table["genre"].to_pylist()])
        at = table.schema.get_field_index("genre")
        pq.write_table(table.set_column(at, "genre", texts), shard)
    write_sums(corpus, {})
    found = measure(corpus, str(corpus), tmp_path / "out")
    assert found.corpus.unlabelled == 0 and found.corpus.labels == Counter(GENRES[code] for code in genres)


@pytest.mark.usefixtures("unmapped")
def test_constant_dimensions_are_counted_and_do_no_harm(tmp_path: Path) -> None:
    (mine, genres), (other, borne) = clouds(40, 1), clouds(40, 2)
    mine[:, 3], other[:, 3], other[:, 4] = 5, 5, 0
    found = measure(
        vectors_only(tmp_path / "a", mine, genres), str(vectors_only(tmp_path / "b", other, borne)), tmp_path / "out"
    )
    assert found.constant_dims == 2
    assert np.isfinite(found.frechet.distance.value)


@pytest.mark.usefixtures("unmapped")
def test_what_is_drawn_is_drawn_by_the_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluation.fidelity.measure.SAMPLE", 50)
    a, b = vectors_only(tmp_path / "a", *clouds(120, 1)), vectors_only(tmp_path / "b", *clouds(90, 2), prefix="r")
    first, same, other = (measure(a, str(b), tmp_path / "out", seed=seed).kernel.rbf for seed in (0, 0, 1))
    assert first == same != other and first.n == first.n_reference == 50


@pytest.mark.parametrize("fault", ["revision", "dim", "name", "nan", "length", "one", "none", "several", "unfinished"])
def test_sets_that_cannot_be_compared_are_told(fault: str, tmp_path: Path) -> None:
    vectors, genres = clouds(30, 1)
    corpus, real = tmp_path / "corpus", tmp_path / "real"
    vectors_only(corpus, vectors, genres)
    words = [str(real)]
    if fault == "revision":
        vectors_only(real, vectors, genres, revision="2")
        words += ["revision '2'", "'1'", "same embedder"]
    elif fault == "dim":
        vectors_only(real, vectors[:, :5], genres)
        words += ["5 numbers", "12"]
    elif fault == "name":
        vectors_only(real, vectors, genres, name="passt")
        words += ["no embeddings of 'melstats' (there: passt)", "synthmir embed"]
    elif fault == "nan":
        vectors[4, 2] = np.nan
        vectors_only(real, vectors, genres, prefix="r")
        words += ["'r4'", "NaN or infinite"]
    elif fault == "length":
        vectors_only(real, vectors, genres)
        shutil.copy(real / "melstats/train-00000-of-00001.parquet", tmp_path / "kept")
        vectors_only(real, vectors[:, :4], genres)
        shutil.copy(tmp_path / "kept", real / "melstats/train-00000-of-00001.parquet")
        words += ["has 4 numbers"]
    elif fault == "one":
        vectors_only(real, vectors[:1], genres[:1])
        words += ["1 clip(s)", "two at least"]
    elif fault == "none":
        vectors_only(real, vectors, genres)
        shutil.rmtree(corpus / "melstats")
        words = [str(corpus), "holds no embeddings", f"synthmir embed {corpus}"]
    elif fault == "several":
        vectors_only(real, vectors, genres)
        vectors_only(corpus, vectors, genres, name="passt")
        words = [str(corpus), "melstats, passt", "--embedder"]
    else:
        vectors_only(real, vectors, genres)
        (corpus / "SHA256SUMS").unlink()
        words = [str(corpus), "not a synthmir corpus"]
    with pytest.raises(DataError) as told:
        measure(corpus, str(real), tmp_path / "out")
    assert all(word in str(told.value) for word in words), told.value
    assert not (tmp_path / "out" / "fidelity.json").exists()


def test_audio_is_embedded_by_the_corpuss_own_embedder_or_not_at_all(
    music: Path, corpus: Path, tmp_path: Path
) -> None:
    vectors, genres = clouds(30, 1)
    other = vectors_only(tmp_path / "corpus", vectors, genres, revision="of another day")
    with pytest.raises(DataError, match=r"revision of another day; here melstats has revision"):
        measure(other, str(music), tmp_path / "out")
    assert not (tmp_path / "out").exists(), "nothing was embedded"
    with pytest.raises(RecipeError, match="melstats has no"):
        measure(corpus, str(music), tmp_path / "out", weights="some.pt")
    with pytest.raises(DataError, match="no such folder"):
        measure(corpus, "/nowhere/at/all", tmp_path / "out")
    with pytest.raises(DataError, match="does not exist"):
        measure(corpus, "folder:/nowhere/at/all", tmp_path / "out")
    with pytest.raises(RecipeError, match="did you mean 'gtzan'"):
        measure(corpus, "gtzann:/nowhere/at/all", tmp_path / "out")


def test_a_damaged_file_of_figures_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="synthmir fidelity writes it"):
        Fidelity.read(tmp_path / "fidelity.json")
    (tmp_path / "fidelity.json").write_text('{"schema": 1}')
    with pytest.raises(DataError, match="not a fidelity file: corpus"):
        Fidelity.read(tmp_path / "fidelity.json")
    with pytest.raises(ValueError, match="finite"):
        Figure(value=float("nan"), n=1)


def test_the_command_prints_the_table_and_where_the_page_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = vectors_only(tmp_path / "a", *clouds(60, 1)), vectors_only(tmp_path / "b", *clouds(60, 2), prefix="r")
    app(["fidelity", str(a), "--against", str(b), "--similarity", "0.999"], standalone_mode=False)
    told = capsys.readouterr().out
    assert "Fréchet distance" in told and f"page  {tmp_path / 'fidelity' / 'fidelity.html'}" in told
    assert "cosine of 0.999 or more" in (tmp_path / "fidelity" / "fidelity.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("unmapped")
def test_against_its_own_held_out_clips(tmp_path: Path) -> None:
    corpus = vectors_only(tmp_path / "corpus", *clouds(400, 3))
    found = measure(corpus, "validation", tmp_path / "out")
    assert (found.corpus.n, found.reference.n) == (200, 200)
    assert found.corpus.name.endswith("train split") and found.reference.name.endswith("validation split")
    assert any("no word on real music" in note for note in found.reference.notes)
    low, high = found.two_sample.accuracy.low, found.two_sample.accuracy.high
    assert low < 0.5 < high
