"""The class `Embedder`: arrays, files and rows of data sets get the numbers that `synthmir embed` writes."""

from __future__ import annotations

import pickle
from pathlib import Path

import datasets
import numpy as np
import pytest
import soundfile
import torch
from datasets import Dataset, Features, Value
from datasets.fingerprint import Hasher

from builder.embedders import embedder as embedder_module
from builder.embedders.embed_dataset import embed_dataset
from builder.embedders.embedder import Embedder
from builder.errors import BackendError, DataError, RecipeError
from builder.settings import EmbedderSettings

from .embedder_checkpoints import TINY, tiny_passt

SHAPES = [(0.3, 44_100, 1), (1.7, 16_000, 2), (2.5, 8_000, 1), (1.0, 22_050, 2)]  # seconds, Hz, channels


@pytest.fixture(scope="module")
def clips() -> list[np.ndarray]:
    """float32 [channels, samples] or [samples], each at its rate of SHAPES."""
    rng = np.random.default_rng(0)
    made = [rng.uniform(-0.5, 0.5, (channels, round(seconds * rate))) for seconds, rate, channels in SHAPES]
    return [clip[0].astype(np.float32) if len(clip) == 1 else clip.astype(np.float32) for clip in made]


@pytest.fixture(scope="module")
def folder(clips: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clips as files of 32-bit floats."""
    root = tmp_path_factory.mktemp("music")
    for number, (clip, (_, rate, _)) in enumerate(zip(clips, SHAPES, strict=True)):
        soundfile.write(root / f"{number}.wav", clip.T, rate, subtype="FLOAT")
    return root


@pytest.fixture(scope="module")
def written(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """What `synthmir embed` writes for the folder: float32 [clips, 4]."""
    out = tmp_path_factory.mktemp("out") / "levels"
    embed_dataset(folder, EmbedderSettings(name="levels"), out)
    rows = datasets.load_dataset(str(out), split="train", cache_dir=str(out.parent / "cache"))
    assert rows["id"] == [f"{number}.wav" for number in range(len(SHAPES))]
    return np.array(rows["embedding"], np.float32)


def rows_of(folder: Path, kind: object = None) -> Dataset:
    """A data set of the files, its audio as paths; `kind` is the column's type, default `Audio()`."""
    paths = [{"bytes": None, "path": str(folder / f"{number}.wav")} for number in range(len(SHAPES))]
    features = Features({"song": {"bytes": Value("binary"), "path": Value("string")}, "genre": Value("string")})
    data = Dataset.from_dict({"song": paths, "genre": ["a", "b", "a", "b"]}, features=features)
    return data.cast_column("song", kind or datasets.Audio())


def test_arrays_get_the_numbers_of_synthmir_embed(clips: list[np.ndarray], written: np.ndarray) -> None:
    with Embedder("levels") as embedder:
        for clip, (_, rate, _), expected in zip(clips, SHAPES, written, strict=True):
            vector = embedder(clip, sampling_rate=rate)
            assert vector.shape == (4,) and vector.dtype == np.float32
            np.testing.assert_array_equal(vector, expected)


def test_files_bytes_and_lists(folder: Path, clips: list[np.ndarray], written: np.ndarray) -> None:
    embedder = Embedder("levels", batch_size=2)
    file = folder / "1.wav"
    as_datasets = {"array": clips[2].tolist(), "sampling_rate": SHAPES[2][1]}
    np.testing.assert_array_equal(embedder(file), written[1])
    np.testing.assert_array_equal(embedder(file.read_bytes()), written[1])
    np.testing.assert_array_equal(embedder({"array": clips[2], "sampling_rate": SHAPES[2][1]}), written[2])
    np.testing.assert_array_equal(embedder([str(folder / "0.wav"), file, as_datasets]), written[:3])
    np.testing.assert_array_equal(embedder([clips[0], clips[0]], sampling_rate=SHAPES[0][1]), written[[0, 0]])
    assert embedder([]).shape == (0, 4)


@pytest.mark.parametrize("name", ["melstats", "passt"])
def test_shipped_embedders_agree_with_synthmir_embed(name: str, folder: Path, tmp_path: Path) -> None:
    options = {"weights": str(tiny_passt(tmp_path)), "arch": TINY} if name == "passt" else {}
    embed_dataset(folder, EmbedderSettings(name=name, **options), tmp_path / "out")
    rows = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    with Embedder(name, device="cpu", **options) as embedder:
        vectors = rows_of(folder).map(embedder, batched=True, remove_columns="song")["embedding"]
    np.testing.assert_array_equal(np.array(vectors, np.float32), np.array(rows["embedding"], np.float32))


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("kind", [None, datasets.Audio(decode=False), datasets.Audio(sampling_rate=8_000)])
def test_map_finds_the_audio_column_and_reads_it_undecoded(
    kind: object, batched: bool, folder: Path, written: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(*_: object, **__: object) -> None:
        raise AssertionError("datasets decodes with torchcodec")

    monkeypatch.setattr(datasets.Audio, "decode_example", decode)
    data = rows_of(folder, kind)
    embedded = data.map(Embedder("levels"), batched=batched, batch_size=3)
    assert (
        embedded.column_names == ["song", "genre", "embedding"] and embedded.features["song"] == data.features["song"]
    )
    assert embedded.features["embedding"] == datasets.List(Value("float32"))
    np.testing.assert_array_equal(np.array(embedded["embedding"], np.float32), written)


def test_a_column_of_paths_is_named(folder: Path, written: np.ndarray) -> None:
    data = Dataset.from_dict({"file": [str(folder / f"{number}.wav") for number in range(len(SHAPES))]})
    with pytest.raises(DataError, match="no columns of audio among its columns file"):
        data.map(Embedder("levels"), batched=True)
    embedded = data.map(Embedder("levels", column="file"), batched=True)
    np.testing.assert_array_equal(np.array(embedded["embedding"], np.float32), written)


def test_a_stream_and_plain_dictionaries(folder: Path, written: np.ndarray) -> None:
    stream = rows_of(folder, datasets.Audio(decode=False)).to_iterable_dataset()
    vectors = [row["embedding"] for row in stream.map(Embedder("levels"), batched=True, batch_size=3)]
    np.testing.assert_array_equal(np.array(vectors, np.float32), written)
    row = {"song": {"bytes": (folder / "0.wav").read_bytes(), "path": None}}
    np.testing.assert_array_equal(Embedder("levels")(row)["embedding"], written[0])


@pytest.mark.ffmpeg
def test_rows_that_datasets_has_decoded(folder: Path, written: np.ndarray) -> None:
    for data in (rows_of(folder).to_iterable_dataset(), rows_of(folder).with_format("numpy")):
        vectors = [row["embedding"] for row in data.map(Embedder("levels"), batched=True)]
        np.testing.assert_array_equal(np.array(vectors, np.float32), written)


def test_processes_load_the_embedder_themselves(folder: Path, written: np.ndarray) -> None:
    with Embedder("levels") as embedder:
        embedded = rows_of(folder).map(embedder, batched=True, num_proc=2)
    np.testing.assert_array_equal(np.array(embedded["embedding"], np.float32), written)


def test_processes_do_not_wait_for_threads_of_the_parent(folder: Path) -> None:
    """torch's threads are not in a fork, where the same embedder would wait for them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for processes in (None, 2):
            assert len(rows_of(folder).map(Embedder("melstats"), batched=True, num_proc=processes)["embedding"]) > 1
    finally:
        torch.set_num_threads(threads)


def test_the_cache_is_found_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows_of(folder).save_to_disk(str(tmp_path / "saved"))
    first = datasets.load_from_disk(str(tmp_path / "saved")).map(Embedder("levels"), batched=True)
    monkeypatch.setattr(embedder_module, "load_embedder", None)  # a call of it would fail
    again = datasets.load_from_disk(str(tmp_path / "saved")).map(Embedder("levels"), batched=True)
    assert again.cache_files == first.cache_files and again["embedding"][:] == first["embedding"][:]


def test_the_hash_follows_from_arguments_and_weights(tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"one")
    used = Embedder("levels")
    hashes = [Hasher.hash(used), Hasher.hash(Embedder("levels", column="song")), Hasher.hash(Embedder("melstats"))]
    hashes.append(Hasher.hash(Embedder("levels", weights=weights)))
    weights.write_bytes(b"two")
    hashes.append(Hasher.hash(Embedder("levels", weights=weights)))
    assert len(set(hashes)) == len(hashes)
    used(np.zeros(100, np.float32), sampling_rate=8_000)
    assert Hasher.hash(used) == hashes[0] == Hasher.hash(pickle.loads(pickle.dumps(used)))  # noqa: S301


def test_rows_that_cannot_be_read(folder: Path, written: np.ndarray, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "nan.wav", np.full(100, np.nan, np.float32), 8_000, subtype="FLOAT")
    audio = [str(folder / "0.wav"), str(tmp_path / "nan.wav"), None, str(folder / "3.wav")]
    data = Dataset.from_dict({"id": list("abcd"), "audio": [{"bytes": None, "path": path} for path in audio]})
    with pytest.raises(DataError, match=r"row b: .*nan\.wav: .*NaN"):
        data.map(Embedder("levels"), batched=True)
    embedded = data.map(Embedder("levels", errors="report", batch_size=2), batched=True, batch_size=3)
    reasons, vectors = embedded["embedding_error"], np.array(embedded["embedding"], np.float32)
    assert reasons[0] == reasons[3] == "" and "nan.wav: has samples that are not finite" in reasons[1]
    assert reasons[2] == "there is no audio in this row"
    np.testing.assert_array_equal(vectors, np.stack([written[0], *np.full((2, 4), np.nan, np.float32), written[3]]))


@pytest.mark.parametrize(
    ("audio", "rate", "message"),
    [
        (np.zeros(100, np.int16), 8_000, r"the array holds int16 values\n.*array / 32768"),
        (np.zeros(100, np.float32), None, r"sampling rate of the array is missing\n.*sampling_rate="),
        (np.zeros(100, np.float32), 3, "sampling rate of the array is 3"),
        (np.zeros((64, 100), np.float32), 8_000, r"shape \[64, 100\].*\n.*a list of arrays"),
        (np.zeros(0, np.float32), 8_000, "the array holds no samples"),
        (np.full(9, np.inf, np.float32), 8_000, "the array holds NaN or infinite samples"),
        ([np.zeros(9), np.full(9, np.nan)], 8_000, "clip 1: the array holds NaN"),
        ("missing.wav", None, "missing.wav: cannot be read"),
        ({"genre": ["a"]}, None, "no columns of audio"),
        ({"one": [{"path": "a"}], "two": [{"path": "b"}]}, None, "2 columns of audio among its columns one, two"),
        ({"audio": [{"path": "a"}], "embedding": [[0.0]]}, None, "column 'embedding' already"),
    ],
)
def test_audio_that_is_refused(audio: object, rate: int | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Embedder("levels")(audio, rate)


def test_arguments_that_are_refused() -> None:
    with pytest.raises(DataError, match=r"no column 'sound'; its columns are audio\n.*column="):
        Embedder("levels", column="sound")({"audio": [{"path": "a"}]})
    with pytest.raises(RecipeError, match="errors='ignore'"):
        Embedder("levels", errors="ignore")
    with pytest.raises(RecipeError, match=r"Embedder\('levels'\): 1 problem.*\n.*batch_size"):
        Embedder("levels", batch_size=0)
    with pytest.raises(BackendError, match="no embedder called 'vggish'"):
        Embedder("vggish")
    assert repr(Embedder("levels", device="cpu")) == "Embedder('levels', device='cpu')"


def test_attributes_are_those_of_the_loaded_model() -> None:
    embedder = Embedder("levels", weights="7")
    assert (embedder.name, embedder.revision, embedder.dim, embedder.sampling_rate) == ("levels", "7", 4, 16_000)
