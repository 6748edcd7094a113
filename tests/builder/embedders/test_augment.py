"""Damaged copies of the training clips: their config, and that they do not depend on the shards."""

from __future__ import annotations

import shutil
import signal
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import Features, load_dataset
from hypothesis import given
from hypothesis import strategies as st

from builder.audio import decode_audio, encode_flac, resample
from builder.corpus.building.build import build
from builder.corpus.corpus import Corpus, write_sums
from builder.corpus.shards import read_footer, write_shard
from builder.corpus.verify import verify
from builder.degradations import Damage
from builder.embedders import shard_embedder as shard
from builder.embedders.augment import augmented_config_name, read_damaged, repeat_for_damages, settings_of_config
from builder.embedders.embed_corpus import embed_corpus
from builder.embedders.embed_dataset import embed_dataset
from builder.errors import BackendError, DataError, RecipeError
from builder.recipe import Recipe
from builder.settings import EmbedderSettings

from ...warm import WarmProcess
from ..fakes import Levels

PLAIN = EmbedderSettings(name="levels", batch_size=3)
DAMAGES = ("noise:10", "gain:-12")
NOISY = PLAIN.model_copy(update={"augment": DAMAGES})
NAME = "levels-augmented"


@pytest.fixture
def corpus(recipe, tmp_path):
    build(recipe(), tmp_path / "corpus", clips_per_shard=10, workers=1)
    return Corpus.open(tmp_path / "corpus")


def rows(corpus, config=NAME, split=""):
    return [row for name in corpus.shards(config) for row in pq.read_table(corpus.root / name).to_pylist()
            if name.startswith(f"{config}/{split}")]  # fmt: skip


def test_train_split_has_clean_and_damaged_clips_and_validation_only_clean(corpus):
    clips = len(rows(corpus, "data", "train"))
    record = embed_corpus(corpus.root, NOISY)
    train, validation = rows(corpus, split="train"), rows(corpus, split="validation")
    assert [row["damage"] for row in train] == ["", *DAMAGES] * clips
    assert [row["id"] for row in train] == [row["id"] for row in rows(corpus, "data", "train") for _ in range(3)]
    assert {row["damage"] for row in validation} == {""}
    assert record.rows == len(train) + len(validation) == 30 + 2 * clips
    assert record.details["augment"] == list(DAMAGES) and record.details["embedder"]["name"] == "levels"
    clean = [{key: value for key, value in row.items() if key != "damage"} for row in train if not row["damage"]]
    assert clean == rows(corpus, "levels", "train")
    for row, copy in zip(train[::3], train[1::3], strict=True):
        assert {key: row[key] for key in ("genre", "prompt_group", "tempo_bpm")} == {
            key: copy[key] for key in ("genre", "prompt_group", "tempo_bpm")
        }


def test_a_copy_is_the_embedding_of_the_damaged_audio(corpus):
    embed_corpus(corpus.root, NOISY)
    audio = {row["id"]: decode_audio(row["audio"]["bytes"]) for row in rows(corpus, "data", "train")}
    made = Levels(PLAIN)
    for row in rows(corpus, split="train"):
        if row["damage"] == "gain:-12":
            samples, rate = audio[row["id"]]
            quieter = Damage.parse("gain:-12")(samples, rate)
            np.testing.assert_allclose(row["embedding"], made.embed(resample(quieter[:, 0], rate, 16_000)[None])[0])
        if (
            row["damage"] == "noise:10"
        ):  # a tenth of the power, part of it above 8 kHz, which the embedder does not get
            samples, _ = audio[row["id"]]
            power = float(np.mean(samples**2))
            assert 1.05 * power < row["embedding"][0] < 1.11 * power


def test_noise_depends_on_the_clip_only(recipe, tmp_path):
    embeddings = []
    for name, clips, batch in (("few", 30, 16), ("many", 4, 2)):
        build(recipe(), tmp_path / name, clips_per_shard=clips, workers=1)
        embed_corpus(tmp_path / name, NOISY.model_copy(update={"batch_size": batch}))
        table = rows(Corpus.open(tmp_path / name), split="train")
        embeddings.append({(row["id"], row["damage"]): row["embedding"] for row in table})
    assert embeddings[0] == embeddings[1]
    noises = [tuple(vector) for (_, damage), vector in embeddings[0].items() if damage == "noise:10"]
    assert len(set(noises)) == len(noises)


def test_both_configs_load_and_verify_finds_no_fault(corpus, tmp_path):
    embed_corpus(corpus.root, PLAIN)
    before = load_dataset(str(corpus.root), "levels", cache_dir=str(tmp_path / "before"))
    embed_corpus(corpus.root, NOISY)
    after = load_dataset(str(corpus.root), "levels", cache_dir=str(tmp_path / "after"))
    for split in ("train", "validation"):
        assert after[split].features == before[split].features and after[split][:] == before[split][:]
    augmented = load_dataset(str(corpus.root), NAME, cache_dir=str(tmp_path / "after"))
    assert augmented["train"].features == Features(
        {**before["train"].features, "damage": augmented["train"].features["damage"]}
    )
    assert len(augmented["train"]) == 3 * len(before["train"]) and len(augmented["validation"]) == len(
        before["validation"]
    )
    report = verify(corpus.root)
    assert report.faults == []
    assert report.embeddings == {"levels": 30, NAME: 30 + 2 * len(before["train"])}
    assert corpus.embedders() == ["levels"] and corpus.embeddings() == ["levels", NAME]
    card = (corpus.root / "README.md").read_text()
    assert "each clip also after noise:10, gain:-12" in card
    assert f'levels_augmented = load_dataset("corpus", "{NAME}")' in card


def test_stopped_run_resumes_without_repeating_shards(corpus, monkeypatch):
    made = []
    original = shard._embed_shard

    def counting(source, target, *rest, stop_at):
        if len(made) == stop_at:
            raise KeyboardInterrupt
        original(source, target, *rest)
        made.append(target.relative_to(target.parents[1]).as_posix())

    shards = len(corpus.shards())
    for stop_at in (1, shards + 2):  # among the clean ones, and among the damaged
        monkeypatch.setattr(shard, "_embed_shard", lambda *given, n=stop_at: counting(*given, stop_at=n))
        with pytest.raises(KeyboardInterrupt):
            embed_corpus(corpus.root, NOISY)
        assert NAME not in corpus.embeddings()
    assert corpus.embeddings() == ["levels"]
    monkeypatch.setattr(shard, "_embed_shard", lambda *given: counting(*given, stop_at=None))
    embed_corpus(corpus.root, NOISY)
    wanted = [name.replace("data/", f"{config}/") for config in ("levels", NAME) for name in corpus.shards()]
    assert sorted(made) == sorted(wanted)
    embed_corpus(corpus.root, NOISY)
    assert len(made) == 2 * shards and verify(corpus.root).faults == []


KILLED = """
import os, signal, sys
from builder.embedders.embed_corpus import embed_corpus
from builder.settings import EmbedderSettings
from tests.builder import fakes
fakes.register()
settings = EmbedderSettings(name="levels", batch_size=3, augment=sys.argv[2:])
embed_corpus(sys.argv[1], settings, progress=lambda done, total: done > 45 and os.kill(os.getpid(), signal.SIGKILL))
"""


def test_run_killed_within_a_shard_gives_the_same_files(corpus, tmp_path):
    shutil.copytree(corpus.root, tmp_path / "other")
    embed_corpus(tmp_path / "other", NOISY)
    killed = WarmProcess(KILLED, corpus.root, *DAMAGES, folder=tmp_path)
    assert killed.wait() == -signal.SIGKILL and corpus.embeddings() == ["levels"]
    reports = []
    embed_corpus(corpus.root, NOISY, progress=lambda done, total: reports.append((done, total)))
    whole = 30 + 2 * len(rows(corpus, "data", "train"))
    assert 30 <= reports[0][0] < whole and reports[-1] == (whole, whole) == (reports[-1][0], reports[0][1])
    for name in corpus.shards(NAME):
        assert (corpus.root / name).read_bytes() == (tmp_path / "other" / name).read_bytes()
    assert verify(corpus.root).faults == [] and not (corpus.root / ".work").exists()


def test_other_damages_are_refused_without_overwrite(corpus):
    embed_corpus(corpus.root, NOISY)
    other = PLAIN.model_copy(update={"augment": ("noise:20",)})
    with pytest.raises(
        DataError, match=r"of revision 1 with noise:10, gain:-12, this is 1 with noise:20\n.*--overwrite"
    ):
        embed_corpus(corpus.root, other)
    untouched = [(corpus.root / name).stat().st_mtime_ns for name in corpus.shards("levels")]
    embed_corpus(corpus.root, other, overwrite=True)
    assert [(corpus.root / name).stat().st_mtime_ns for name in corpus.shards("levels")] == untouched
    assert {row["damage"] for row in rows(corpus)} == {"", "noise:20"}
    assert verify(corpus.root).faults == []
    embed_corpus(corpus.root, PLAIN.model_copy(update={"weights": "2"}), overwrite=True)
    with pytest.raises(DataError, match=r"of revision 1 with noise:20, this is 2 with noise:20"):
        embed_corpus(corpus.root, other.model_copy(update={"weights": "2"}))


def test_changed_audio_is_damaged_again(corpus):
    embed_corpus(corpus.root, NOISY)
    shard = corpus.root / "data" / "train-00001-of-00003.parquet"
    table = pq.read_table(shard).to_pylist()
    for row in table:
        row["prompt"] += " Louder."
    write_shard(shard, [table], Features.from_arrow_schema(pq.read_schema(shard)), read_footer(shard))
    write_sums(corpus.root, {})
    faults = verify(corpus.root).faults
    assert len(faults) == 2 and "--embedder levels --augment noise:10 --augment gain:-12" in faults[1]
    untouched = (corpus.root / NAME / "train-00000-of-00003.parquet").stat().st_mtime_ns
    embed_corpus(corpus.root, NOISY)
    assert verify(corpus.root).faults == []
    assert (corpus.root / NAME / "train-00000-of-00003.parquet").stat().st_mtime_ns == untouched


def test_verify_finds_missing_and_reordered_copies(corpus):
    embed_corpus(corpus.root, NOISY)
    shard = corpus.root / NAME / "train-00000-of-00003.parquet"
    table, features = pq.read_table(shard).to_pylist(), Features.from_arrow_schema(pq.read_schema(shard))
    write_shard(shard, [table[:-1]], features, read_footer(shard))
    write_sums(corpus.root, {})
    assert any("its ids are not those of data/train-00000" in fault for fault in verify(corpus.root).faults)
    table[0]["damage"], table[1]["damage"] = table[1]["damage"], table[0]["damage"]
    write_shard(shard, [table], features, read_footer(shard))
    write_sums(corpus.root, {})
    assert verify(corpus.root).faults == [
        f"{NAME}/train-00000-of-00003.parquet: its damages are not noise:10, gain:-12, each clip clean first"
    ]


def test_many_damages_and_codecs_keep_the_order(corpus):
    many = ("mp3:64", "ogg:0", "lowpass:2000", "reverb:0.3")  # more than the batch holds
    embed_corpus(corpus.root, PLAIN.model_copy(update={"augment": many}))
    assert [row["damage"] for row in rows(corpus, split="train")][:10] == ["", *many, "", *many]
    assert verify(corpus.root).faults == []


def test_error_names_the_clip_that_cannot_be_read(corpus):
    embed_corpus(corpus.root, PLAIN)
    shard = corpus.root / "data" / "train-00001-of-00003.parquet"
    table = pq.read_table(shard).to_pylist()
    table[3]["audio"]["bytes"] = b"no audio"
    write_shard(shard, [table], Features.from_arrow_schema(pq.read_schema(shard)), read_footer(shard))
    write_sums(corpus.root, {})
    with pytest.raises(DataError, match=f"clip {table[3]['id']}: audio bytes: cannot be read"):
        embed_corpus(corpus.root, NOISY)


@pytest.mark.parametrize("settings", [PLAIN, NOISY], ids=["plain", "augmented"])
def test_damaged_shard_of_audio_is_an_error(corpus, settings):
    (corpus.root / "data" / "train-00001-of-00003.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(DataError, match=r"train-00001-of-00003\.parquet: not a readable Parquet file"):
        embed_corpus(corpus.root, settings)


def test_missing_package_is_reported_before_any_work(corpus, monkeypatch):
    monkeypatch.setitem(sys.modules, "pedalboard", None)
    with pytest.raises(BackendError, match="need the package 'pedalboard'"):
        embed_corpus(corpus.root, PLAIN.model_copy(update={"augment": ("noise:20", "pitch:1")}))
    assert corpus.embeddings() == [] and not (corpus.root / ".work").exists()


def test_run_reports_a_missing_package_before_it_builds(tmp_path, monkeypatch):
    import synthmir

    monkeypatch.setitem(sys.modules, "pedalboard", None)
    path = tmp_path / "recipe.yaml"
    path.write_text("name: small\nprompts: {per_genre: 2}\nembedder: {augment: [speed:80]}\n")
    with pytest.raises(BackendError, match="need the package 'pedalboard'"):
        synthmir.run(str(path), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@given(
    st.integers(1, 2), st.text(min_size=1, max_size=40), st.integers(1, 4_000), st.sampled_from(["noise:10", "side:2"])
)
def test_all_channels_are_damaged_at_the_stored_rate(channels, identity, samples, damage):
    """Both channels are damaged at the stored rate, and random damages depend on the id."""
    sound = 0.1 * np.random.default_rng(samples).standard_normal((samples, channels)).astype(np.float32)
    row = {"id": identity, "audio": {"bytes": encode_flac(sound, 32_000)}}
    (copy,) = repeat_for_damages([row], [Damage.parse(damage)])
    out, again, other = (
        np.concatenate(list(read_damaged(one, 32_000))) for one in (copy, copy, {**copy, "id": identity + "!"})
    )
    np.testing.assert_array_equal(out, again)
    stored = decode_audio(row["audio"]["bytes"])[0]
    assert out.dtype == np.float32 and out.shape == (samples,)
    if damage == "side:2":
        np.testing.assert_array_equal(out, other)
        np.testing.assert_allclose(
            out, stored[:, 0] if channels == 1 else (stored[:, 0] - stored[:, 1]) / 2, atol=1e-6
        )
    elif samples > 100:
        assert not np.array_equal(out, other)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("[echo:3]", "embedder.augment.0: there is no damage called 'echo'"),
        ("[noise:20, mp3]", "embedder.augment.1: damage 'mp3': the level of mp3 is kbit/s"),
        ("noise:20", "embedder.augment: "),
    ],
)
def test_unknown_damages_in_a_recipe_are_refused(tmp_path, written, message):
    path = tmp_path / "recipe.yaml"
    path.write_text(f"name: small\nprompts: {{per_genre: 2}}\nembedder: {{augment: {written}}}\n")
    with pytest.raises(RecipeError) as error:
        Recipe.load(path)
    assert message in str(error.value)


def test_spellings_of_a_damage_are_normalised(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("name: small\nprompts: {per_genre: 2}\nembedder: {augment: [noise:20.0, mp3:64, noise:20]}\n")
    loaded = Recipe.load(path)
    assert loaded.embedder.augment == ("noise:20", "mp3:64")
    again = tmp_path / "again.yaml"
    again.write_bytes(loaded.portable()["recipe.yaml"])
    assert Recipe.load(again).embedder == loaded.embedder
    assert Recipe.load(again).fingerprint() == loaded.with_options({"embedder.augment": []}).fingerprint()


def test_settings_of_a_config_name(corpus):
    embed_corpus(corpus.root, NOISY)
    own = EmbedderSettings(name="levels", augment=("noise:30",))
    assert augmented_config_name(own) == NAME and augmented_config_name(PLAIN) == "levels"
    assert (
        settings_of_config(NAME, own, corpus.root).augment == DAMAGES
        and settings_of_config(NAME, own, corpus.root).name == "levels"
    )
    assert settings_of_config("levels", own, corpus.root).augment == ()
    other = EmbedderSettings(name="hf:some/model", layer=3)
    assert settings_of_config("hf-some-model-layer3", other, corpus.root) == other
    assert (
        settings_of_config("melstats-augmented", own, corpus.root).name == "melstats-augmented"
    )  # which the corpus has not


def test_only_a_corpus_gets_damaged_copies(tmp_path):
    with pytest.raises(RecipeError, match="damaged copies are for a corpus only"):
        embed_dataset(tmp_path, NOISY, tmp_path / "out")
