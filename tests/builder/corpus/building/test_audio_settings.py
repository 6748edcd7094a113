"""Corpora at other sampling rates and with two channels, through all that reads them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from builder.audio import decode_audio, load_audio
from builder.corpus.building.build import build
from builder.corpus.corpus import Corpus
from builder.corpus.export.export import export_corpus
from builder.corpus.load import load_corpus
from builder.corpus.shards import read_footer
from builder.corpus.verify import verify
from builder.embedders.embed_corpus import embed_corpus
from builder.errors import DataError, RecipeError
from builder.estimators.annotate_corpus import annotate_corpus
from builder.io.safe_files import read_yaml
from builder.recipe import Recipe
from builder.settings import EmbedderSettings, TrainingSettings
from training.frames.data import load_frame_data

Make = Callable[..., Recipe]
KINDS = {"22050-2": (22_050, 2), "48000-1": (48_000, 1)}


@pytest.fixture(scope="module", params=sorted(KINDS))
def corpus(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A corpus with annotations and stems, and its rate and channels."""
    from tests.builder import fakes

    rate, channels = KINDS[request.param]
    folder = tmp_path_factory.mktemp("corpus")
    made = fakes.small_recipe(folder, per_genre=4, generator="scored", annotations=True, stems=True)
    made = made.with_values({"audio.sampling_rate": rate, "audio.channels": channels})
    build(made, folder / "corpus", clips_per_shard=10)
    return folder / "corpus", rate, channels


def read_rows(root: Path, config: str = "data") -> list[dict[str, Any]]:
    return [row for path in sorted((root / config).glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def test_every_clip_and_stem_has_the_rate_and_the_channels(corpus: Any) -> None:
    root, rate, channels = corpus
    for config in ("data", "stems"):
        for row in read_rows(root, config):
            about = soundfile.info(io.BytesIO(row["audio"]["bytes"]))
            assert (about.samplerate, about.channels, about.frames) == (rate, channels, rate)
    assert {row["duration"] for row in read_rows(root)} == {1.0}
    findings = verify(root)  # also that stems add up, and that annotations are as long as clips
    assert findings.faults == [] and findings.annotations == 20 and findings.stems > 20
    assert [len(rows) for rows in load_corpus(root).values()] == [15, 5]


def test_records_and_card_name_them(corpus: Any) -> None:
    root, rate, channels = corpus
    card = (root / "README.md").read_text()
    shown = {22_050: "22.05 kHz", 48_000: "48 kHz"}[rate]
    kind = {1: "mono", 2: "mono in two equal channels"}[channels]
    assert f"| `audio` | audio | {shown} | the clip: {kind}, {shown}, FLAC (16 bits) |" in card
    assert f"Made at 32 kHz, resampled to {shown}." in card and "generated** music" in card
    limits = {22_050: "nothing over 11.025 kHz; two equal channels", 48_000: "nothing over 16 kHz; one channel"}
    assert limits[rate] in card
    made_by = read_footer(next((root / "data").glob("*.parquet")))["generator"]
    assert made_by.get("made_sampling_rate") == (32_000 if rate == 48_000 else None)
    assert read_yaml(root / "recipe.yaml")["audio"] == {"sampling_rate": rate, "channels": channels}
    assert Recipe.load(root / "recipe.yaml").fingerprint() == Corpus.open(root).fingerprint


def test_what_reads_the_corpus_reads_its_own_rate(corpus: Any, tmp_path: Path) -> None:
    root, rate, channels = corpus
    (loaded,) = load_corpus(root, split="validation").select([0])
    assert loaded["audio"]["sampling_rate"] == rate and loaded["audio"]["array"].shape == (rate,)
    tensors = load_corpus(root, task="genre", split="validation", as_="tensors", num_channels=2)
    assert tensors.X.shape == (5, 2, rate)
    assert load_corpus(root, task="genre", split="validation", as_="tensors", sampling_rate=8_000).X.shape == (
        5,
        8_000,
    )
    embed_corpus(root, EmbedderSettings(name="levels"))
    clips = {row["id"]: row for row in read_rows(root)}
    for row in read_rows(root, "levels"):
        audio = load_audio(clips[row["id"]]["audio"]["bytes"], 16_000)
        assert np.allclose(row["embedding"][0], np.mean(audio**2), rtol=1e-4) and row["embedding"][3] == 1.0
    export_corpus(root, "audiofolder", tmp_path / "files", audio="wav")
    for path in (tmp_path / "files").rglob("*.wav"):
        samples, found = soundfile.read(path, always_2d=True)
        assert (found, samples.shape) == (rate, (rate, channels))
        assert np.array_equal(samples, decode_audio(clips[path.stem]["audio"]["bytes"])[0])
    assert len(list((tmp_path / "files").rglob("*.wav"))) == 20
    annotate_corpus(root, ["silence"], workers=1)
    assert len(read_rows(root, "estimates")) == 20 and verify(root).faults == []
    settings = TrainingSettings(task="beats", head="frames", frames={"seconds": 1.0, "damages": []})  # type: ignore[arg-type]
    data = load_frame_data(root, settings, tmp_path)
    assert len(data.train.ids) == 15 and set(data.train.lengths) == {50}


def test_batches_shards_and_interruptions_change_no_clip(recipe: Make, tmp_path: Path) -> None:
    def make(batch_size: int) -> Recipe:
        return recipe(per_genre=2, batch_size=batch_size).with_values({"audio.sampling_rate": 44_100})

    build(make(1), tmp_path / "a", clips_per_shard=3)

    def stop(done: int, total: int) -> None:
        if done > 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(make(16), tmp_path / "b", clips_per_shard=3, progress=stop)
    with pytest.raises(DataError, match="another recipe"):
        build(recipe(per_genre=2), tmp_path / "b")
    build(make(16), tmp_path / "b")
    assert read_rows(tmp_path / "a") == read_rows(tmp_path / "b")


def test_a_corpus_grows_at_its_own_rate_alone(recipe: Make, tmp_path: Path) -> None:
    values = {"audio.sampling_rate": 22_050, "audio.channels": 2}
    build(recipe(per_genre=2).with_values(values), tmp_path / "corpus", clips_per_shard=5)
    bigger = recipe(per_genre=3)
    for other, found in ({}, "32000 Hz, mono"), ({"audio.sampling_rate": 22_050}, "22050 Hz, mono"):
        with pytest.raises(
            DataError, match=f"22050 Hz, stereo; the recipe to extend it by asks for {found}"
        ) as caught:
            build(bigger.with_values(other), tmp_path / "corpus", extend=True)
        assert caught.value.fix == "audio: {sampling_rate: 22050, channels: 2}"
    assert len(read_rows(tmp_path / "corpus")) == 10 and verify(tmp_path / "corpus").faults == []
    build(bigger.with_values(values), tmp_path / "corpus", extend=True)
    assert len(read_rows(tmp_path / "corpus")) == 15 and verify(tmp_path / "corpus").faults == []


def test_a_clip_at_another_rate_is_found(corpus: Any, tmp_path: Path) -> None:
    import shutil

    from builder.audio import encode_flac
    from builder.corpus.corpus import write_sums
    from builder.corpus.shards import write_shard

    root, rate, channels = corpus
    shutil.copytree(root / "data", tmp_path / "data")
    shutil.copytree(root / "records", tmp_path / "records")
    for name in ("README.md", "recipe.yaml"):
        shutil.copy(root / name, tmp_path)
    shard = next((tmp_path / "data").glob("validation*"))
    footer, table = read_footer(shard), pq.read_table(shard)
    rows = table.to_pylist()
    rows[0]["audio"]["bytes"] = encode_flac(np.full(32_000, 0.1, np.float32), 32_000)
    from builder.io.hf_features import features_from_schema

    write_shard(shard, [rows], features_from_schema(pq.read_schema(shard), shard), footer)
    write_sums(tmp_path, {})
    kind = {1: "mono", 2: "stereo"}[channels]
    assert any(f"32000 Hz, 1 channel(s), not {rate} Hz {kind}" in fault for fault in verify(tmp_path).faults)


def test_the_defaults_change_neither_fingerprint_nor_recipe(recipe: Make) -> None:
    plain = recipe()
    named = plain.with_values({"audio.sampling_rate": 32_000})
    assert named.fingerprint() == plain.fingerprint() and named.portable() == plain.portable()
    assert b"audio" not in plain.portable()["recipe.yaml"]
    different = [{"sampling_rate": 16_000}, {"sampling_rate": 48_000}, {"channels": 1}, {"channels": 2}]
    assert len({plain.with_values({"audio": audio}).fingerprint() for audio in ({}, *different)}) == 5


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"sampling_rate": 8_000}, r"audio\.sampling_rate: .*16000, 22050, 32000, 44100 or 48000 \(found 8000\)"),
        ({"sampling_rate": "fast"}, r"audio\.sampling_rate: "),
        ({"channels": 3}, r"audio\.channels: .*1 or 2 \(found 3\)"),
        ({"rate": 44_100}, r"audio\.rate: unknown key"),
    ],
)
def test_invalid_values_are_refused(recipe: Make, values: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        recipe().with_values({"audio": values})
