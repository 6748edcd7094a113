from __future__ import annotations

import datasets
import numpy as np
import pytest
import soundfile

from builder.corpus.building.build import build
from builder.corpus.hf_builder import MusicGenCorpus
from builder.corpus.load import load_corpus
from builder.errors import DataError

from ...commands import run_alone

CODE = """
import io, sys
import soundfile
from datasets import Audio, load_dataset
for streaming in (False, True):
    corpus = load_dataset(sys.argv[1], streaming=streaming)
    rows = list(corpus["validation"].cast_column("audio", Audio(decode=False)))
    samples, rate = soundfile.read(io.BytesIO(rows[0]["audio"]["bytes"]))
    print(len(rows), rate, len(samples), corpus["train"].features["genre"].names)
assert not {"builder", "training", "evaluation", "synthmir"} & set(sys.modules)
"""


@pytest.fixture
def corpus(recipe, tmp_path):
    build(recipe(), tmp_path / "corpus", clips_per_shard=10, workers=1)
    return tmp_path / "corpus"


def test_load_dataset_needs_nothing_of_ours(corpus, tmp_path):
    environ = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    line = "5 32000 32000 ['electronica', 'funk', 'orchestral', 'pop', 'rock']"
    assert run_alone(CODE, corpus, cwd=tmp_path, environ=environ) == [line, line]


@pytest.mark.ffmpeg
def test_audio_decodes_through_torchcodec(corpus, tmp_path):
    row = datasets.load_dataset(str(corpus), split="validation", cache_dir=str(tmp_path / "cache"))[0]
    samples = row["audio"]["array"]
    assert samples.shape == (32_000,) and row["audio"]["sampling_rate"] == 32_000
    assert 0.05 < np.abs(samples).max() <= 1


@pytest.mark.parametrize("streaming", [False, True])
def test_load_corpus_decodes_without_ffmpeg(corpus, streaming):
    row = next(iter(load_corpus(corpus, split="train", streaming=streaming)))
    assert row["audio"]["array"].shape == (32_000,) and row["audio"]["sampling_rate"] == 32_000
    assert row["audio"]["path"] == f"{row['id']}.flac"


def test_load_corpus_gives_every_split_and_raw_bytes(corpus):
    splits = load_corpus(corpus, decode_audio=False)
    assert {name: len(part) for name, part in splits.items()} == {"train": 25, "validation": 5}
    assert splits["train"][0]["audio"]["bytes"][:4] == b"fLaC"


def test_load_corpus_refuses_other_folders(tmp_path):
    with pytest.raises(DataError, match="not a synthmir corpus"):
        load_corpus(tmp_path)


def test_the_builder_builds_resumes_and_streams(recipe, corpus, tmp_path):
    recipe()
    settings = {"recipe": str(tmp_path / "small.yaml"), "folder": str(corpus), "workers": 1}
    builder = MusicGenCorpus(cache_dir=str(tmp_path / "cache"), **settings)
    builder.download_and_prepare()
    made = builder.as_dataset()
    assert {name: part.num_rows for name, part in made.items()} == {"train": 25, "validation": 5}
    assert builder.info.license == "cc-by-4.0"
    stored = load_corpus(corpus, split="train", decode_audio=False)
    raw = made["train"].cast_column("audio", datasets.Audio(decode=False))
    assert [row["audio"]["bytes"] for row in raw] == [row["audio"]["bytes"] for row in stored]
    streamed = builder.as_streaming_dataset(split="validation").cast_column("audio", datasets.Audio(decode=False))
    assert len(list(streamed)) == 5


def test_the_shipped_recipes_are_the_builders_configs():
    assert {"demo", "paper", "gtzan-synth"} <= set(MusicGenCorpus.builder_configs)


def test_the_audio_is_flac_that_any_player_reads(corpus, tmp_path):
    row = load_corpus(corpus, split="train", decode_audio=False)[0]
    (tmp_path / "clip.flac").write_bytes(row["audio"]["bytes"])
    info = soundfile.info(tmp_path / "clip.flac")
    assert (info.format, info.subtype, info.channels, info.samplerate) == ("FLAC", "PCM_16", 1, 32_000)
