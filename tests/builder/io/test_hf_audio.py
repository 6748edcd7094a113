"""Audio goes through `datasets` with torchcodec absent, broken (as where FFmpeg is missing) and working."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from datasets import Audio, ClassLabel, Dataset, Features, Value

from builder.audio import decode_audio, encode_flac
from builder.errors import DataError
from builder.io.hf_audio import StoredAudio, load_dataset, load_from_disk, make_dataset, stored_audio

from ...warm import WarmProcess

RATE = 8_000
BROKEN = 'raise RuntimeError("Could not load libtorchcodec. Likely causes: FFmpeg is not properly installed")'
EVERYTHING = """
import importlib, sys
from pathlib import Path
import datasets
from builder.corpus.building.build import build
from builder.corpus.load import load_corpus
from builder.corpus.export.export import export_corpus
from builder.embedders.embed_dataset import embed_dataset
from builder.embedders.embed_corpus import embed_corpus
from builder.io.hf_audio import load_dataset
from builder.settings import EmbedderSettings
from evaluation.benchmarks.base import load_benchmark
from tests.builder import fakes

fakes.register()
levels = EmbedderSettings(name="levels")

def check(root):
    root.mkdir()
    build(fakes.small_recipe(root, per_genre=2), root / "corpus", workers=1)
    embed_corpus(root / "corpus", levels)

    clips = load_corpus(root / "corpus", split="train")
    assert clips[0]["audio"]["array"].shape == (32_000,)
    assert next(iter(load_corpus(root / "corpus", split="train", streaming=True)))["audio"]["array"].shape == (32_000,)
    assert next(iter(load_corpus(root / "corpus", task="genre", split="train")))["audio"].shape[1] == 32_000
    stored = load_corpus(root / "corpus", split="train", decode_audio=False)
    stored.save_to_disk(root / "saved")
    stored.map(lambda row: {"short": row["id"][:3]}).to_parquet(root / "mapped/data.parquet")
    twice = datasets.concatenate_datasets([stored, stored]).shuffle(seed=0)
    assert len(twice.filter(lambda row: True)) == 2 * len(stored)

    export_corpus(root / "corpus", "audiofolder", root / "folder")
    for number, source in enumerate(["saved", "mapped", "folder", "corpus"]):
        record = embed_dataset(root / source, levels, root / f"embedded-{number}")
        assert record.rows >= len(stored) and not record.details["skipped"], source
    rows = load_dataset("audiofolder", data_dir=str(root / "folder"), split="train", cache_dir=str(root / "cache"))
    assert sorted(rows["id"]) == sorted(clips["id"]) and rows[0]["audio"]["path"].endswith(".flac")
    streamed = load_dataset("audiofolder", data_dir=str(root / "folder"), split="train", streaming=True)
    assert sorted(row["id"] for row in streamed) == sorted(clips["id"])

    names = clips.features["genre"].names
    for place in (root / "mapped", root / "saved"):
        for stream in ("yes", "no"):
            found = load_benchmark(f"hub:{place}?label=genre&split=train&stream={stream}", names)
            assert len([track.data for track in found.tracks if track.data]) == len(stored)
    found.dataset(names).save_to_disk(root / "benchmark")
    assert embed_dataset(root / "benchmark", levels, root / "embedded").rows == len(stored)

for name in [name for name in sys.modules if name.partition(".")[0] == "torchcodec"]:
    del sys.modules[name]
sys.modules["torchcodec"], datasets.config.TORCHCODEC_AVAILABLE = None, False
check(Path(sys.argv[1], "absent"))
del sys.modules["torchcodec"]
sys.path.insert(0, sys.argv[2])
datasets.config.TORCHCODEC_AVAILABLE = True  # as `datasets` has it of any torchcodec that it finds
try:
    import torchcodec
except RuntimeError:
    check(Path(sys.argv[1], "broken"))
    print("done")
"""


def test_everything_works_without_torchcodec(tmp_path: Path):
    (tmp_path / "first/torchcodec").mkdir(parents=True)
    (tmp_path / "first/torchcodec/__init__.py").write_text(BROKEN)
    process = WarmProcess(EVERYTHING, tmp_path, tmp_path / "first", folder=tmp_path)
    assert process.wait() == 0, process.err.read_text()[-3_000:]
    assert process.out.read_text().splitlines()[-1] == "done"


@pytest.mark.ffmpeg
def test_users_still_decode_by_torchcodec(tmp_path: Path):
    wave = np.float32(0.5 * np.sin(np.arange(RATE) / 5))
    made = make_dataset({"audio": [encode_flac(wave, RATE)]}, Features({"audio": Audio()}))
    samples = made.cast_column("audio", Audio())[0]["audio"].get_all_samples()
    np.testing.assert_allclose(samples.data[0].numpy(), wave, atol=1e-4)


def test_each_form_of_audio_is_stored(tmp_path: Path):
    wave = np.float32(0.5 * np.sin(np.arange(RATE) / 5))
    values = ["a.wav", tmp_path / "b.wav", b"123", None, {"bytes": b"4", "path": "c.ogg"}]
    values += [
        {"array": wave, "sampling_rate": RATE, "path": "d.wav"},
        {"array": [wave, -wave], "sampling_rate": RATE},
    ]
    found = make_dataset({"audio": values}, Features({"audio": Audio(RATE)}))["audio"][:]
    assert found[:5] == [
        {"bytes": None, "path": "a.wav"}, {"bytes": None, "path": str(tmp_path / "b.wav")},
        {"bytes": b"123", "path": None}, None, {"bytes": b"4", "path": "c.ogg"},
    ]  # fmt: skip
    assert [row["path"] for row in found[5:]] == ["d.flac", "audio.flac"]
    np.testing.assert_allclose(decode_audio(found[5]["bytes"])[0][:, 0], wave, atol=1e-4)
    np.testing.assert_allclose(decode_audio(found[6]["bytes"])[0], np.stack([wave, -wave], axis=1), atol=1e-4)


@pytest.mark.parametrize("value", [{}, {"bytes": None, "path": None}, 5, [0.0]])
def test_what_is_not_audio_is_refused(value: object):
    with pytest.raises(DataError, match="not audio") as caught:
        StoredAudio().encode_example(value)
    assert "sampling_rate" in (caught.value.fix or "")


def test_saved_and_loaded_again_it_is_a_plain_audio_column(tmp_path: Path):
    columns = {"audio": [b"1", b"2"], "label": [0, 1]}
    made = make_dataset(columns, Features({"audio": Audio(RATE), "label": ClassLabel(names=["a", "b"])}))
    made.save_to_disk(tmp_path / "saved")
    made.to_parquet(tmp_path / "rows.parquet")
    for data in (
        Dataset.load_from_disk(str(tmp_path / "saved")),
        Dataset.from_parquet(str(tmp_path / "rows.parquet")),
    ):
        assert type(data.features["audio"]) is Audio and data.features["audio"].sampling_rate == RATE
    for data in (
        load_from_disk(tmp_path / "saved"),
        load_dataset("parquet", data_files=str(tmp_path / "rows.parquet"))["train"],
    ):
        assert isinstance(data.features["audio"], StoredAudio)
        assert data[1]["audio"] == {"bytes": b"2", "path": None} and data["label"][:] == [0, 1]


def test_other_columns_and_streams_without_features_are_left_alone():
    plain = Dataset.from_dict({"a": [1, 2]}, Features({"a": Value("int32")}))
    assert stored_audio(plain) is plain
    stream = plain.to_iterable_dataset().map(lambda row: row)
    assert next(iter(stored_audio(stream))) == {"a": 1}
