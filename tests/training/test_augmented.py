"""Training on clean and damaged copies: the genres of the corpus are pitches, and the damage is noise."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from builder.audio import decode_audio
from builder.clip import Clip
from builder.corpus.building.build import build
from builder.corpus.corpus import Corpus
from builder.degradations import Damage
from builder.embedders.base import load_embedder
from builder.embedders.embed_corpus import embed_corpus
from builder.errors import DataError
from builder.recipe import Recipe
from builder.registry import GENERATORS
from builder.settings import EmbedderSettings, GeneratorSettings, TrainingSettings
from builder.taxonomy import Taxonomy
from tests.builder.fakes import Tone
from training.data.features import Features, Split, load_features
from training.data.subset import draw_subset
from training.models.classifier import load_model
from training.settings import choose_settings
from training.trainer import load_training_data, train

AUGMENT = ("noise:10", "noise:0")
PLAIN, NOISY = EmbedderSettings(), EmbedderSettings(augment=AUGMENT)
QUICK = TrainingSettings(hidden=(), epochs=60, patience=60, lr=0.01, batch_size=16)
RECIPE = """
name: pitches
prompts: {per_genre: 12}
generator: {name: pitches, seconds: 1}
split: {validation: 0.25}
embedder: {augment: [noise:10, noise:0]}
training: {hidden: [], epochs: 60, patience: 60, lr: 0.01, batch_size: 16}
"""


class Pitches(Tone):
    """A generator of sines with faint noise; the genre determines the pitch."""

    name = "pitches"

    def __init__(self, settings: GeneratorSettings, taxonomy: Taxonomy) -> None:
        super().__init__(settings, taxonomy)
        self.hertz = {genre: 300 * 1.5**place for place, genre in enumerate(taxonomy.genre_names)}

    def generate(self, rows: Sequence[Clip]) -> list[np.ndarray]:
        return [self._tone(row) for row in rows]

    def _tone(self, row: Clip) -> np.ndarray:
        draw = np.random.default_rng(row.seed)
        time = np.arange(round(self.seconds * self.sampling_rate)) / self.sampling_rate
        hertz = self.hertz[row.prompt.genre] * draw.uniform(0.95, 1.05)
        tone = draw.uniform(0.1, 0.3) * np.sin(2 * np.pi * hertz * time) + 1e-3 * draw.standard_normal(len(time))
        return np.asarray(tone, np.float32)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """The corpus with both configs, and a model of each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(GENERATORS, "pitches", f"{__name__}:Pitches")
        root = tmp_path_factory.mktemp("augmented")
        (root / "pitches.yaml").write_text(RECIPE)
        recipe = Recipe.load(root / "pitches.yaml")
        build(recipe, root / "corpus", clips_per_shard=20, workers=1)
        embed_corpus(root / "corpus", recipe.embedder)
        records = {
            name: train(root / "corpus", root / name, QUICK, embedder)
            for name, embedder in (("clean", PLAIN), ("noisy", recipe.embedder))
        }
        yield SimpleNamespace(root=root, corpus=root / "corpus", records=records)


def accuracy(model: Path, corpus: Path, damage: Damage | None) -> float:
    """Return the accuracy on the validation clips, damaged with seeds that training did not use."""
    shards = [corpus / name for name in Corpus(corpus).shards() if "/validation-" in name]
    clips = [clip for shard in shards for clip in pq.read_table(shard).to_pylist()]
    waveforms = []
    for number, clip in enumerate(clips):
        samples, rate = decode_audio(clip["audio"]["bytes"])
        waveforms.append((damage(samples, rate, seed=1_000 + number) if damage else samples)[:, 0])
    embeddings = torch.from_numpy(load_embedder(PLAIN).embed(np.stack(waveforms)))
    loaded = load_model(model)
    names = load_features(corpus, "melstats", "genre").names
    assert list(loaded.config.labels) == list(names) and len(names) == 5
    with torch.inference_mode():
        predicted = loaded(embeddings).logits.argmax(1).numpy()
    return float((predicted == np.array([clip["genre"] for clip in clips])).mean())


@pytest.mark.parametrize("level", ["noise:10", "noise:5"])
def test_training_with_noise_improves_the_accuracy_on_noise(place: SimpleNamespace, level: str) -> None:
    clean, noisy = (accuracy(place.root / name, place.corpus, Damage.parse(level)) for name in ("clean", "noisy"))
    assert noisy > 0.85 and noisy >= clean + 0.25


def test_training_with_noise_keeps_the_accuracy_on_clean_clips(place: SimpleNamespace) -> None:
    assert accuracy(place.root / "clean", place.corpus, None) == 1.0
    assert accuracy(place.root / "noisy", place.corpus, None) > 0.9


def test_config_of_the_model_names_the_plain_embedder(place: SimpleNamespace) -> None:
    clean, noisy = (json.loads((place.root / name / "config.json").read_text()) for name in ("clean", "noisy"))
    assert noisy["embedder"] == clean["embedder"]
    assert noisy["embedder"]["name"] == noisy["embedder"]["settings"]["name"] == "melstats"
    assert "augment" not in noisy["embedder"]["settings"]


def test_record_and_card_describe_the_augmentation(place: SimpleNamespace) -> None:
    clean, noisy = place.records["clean"].details, place.records["noisy"].details
    assert clean["augmentation"] is None
    assert noisy["augmentation"] == {"clips": clean["rows"]["train"], "damages": list(AUGMENT)}
    assert noisy["rows"] == {"train": 3 * clean["rows"]["train"], "validation": clean["rows"]["validation"]}
    description = "45 clips of the corpus, each clean and after noise:10, noise:0; validation is clean"
    card = (place.root / "noisy" / "README.md").read_text()
    assert description in card and "--task genre --embedder melstats-augmented\n" in card
    assert "| augmentation |" not in (place.root / "clean" / "README.md").read_text()


def test_validation_clips_are_clean(place: SimpleNamespace) -> None:
    plain, augmented = (load_features(place.corpus, name, "genre") for name in ("melstats", "melstats-augmented"))
    assert augmented.validation.ids == plain.validation.ids
    assert torch.equal(augmented.validation.embeddings, plain.validation.embeddings)
    clean = [row for row, damage in enumerate(augmented.train.damages or ()) if not damage]
    assert torch.equal(augmented.train.embeddings[clean], plain.train.embeddings)
    assert set(augmented.train.ids).isdisjoint(augmented.validation.ids)


def test_recipe_and_config_name_select_the_augmented_embeddings(place: SimpleNamespace) -> None:
    assert choose_settings(place.corpus, None, None, {}).embedder == NOISY
    assert choose_settings(place.corpus, None, "melstats-augmented", {}).embedder == NOISY
    assert choose_settings(place.corpus, None, "melstats", {}).embedder == PLAIN
    named = load_training_data(place.corpus, QUICK, EmbedderSettings(name="melstats-augmented"))
    assert named.identity == load_training_data(place.corpus, QUICK, NOISY).identity
    assert named.embedder["name"] == named.features.embedder == "melstats"


def test_damages_that_the_corpus_lacks_are_refused(place: SimpleNamespace) -> None:
    with pytest.raises(DataError, match=r"made with noise:10, noise:0, embedder.augment is mp3:64\n.*--overwrite"):
        load_training_data(place.corpus, QUICK, EmbedderSettings(augment=("mp3:64",)))


def test_copies_of_another_revision_than_the_clean_clips_are_refused(place: SimpleNamespace, tmp_path: Path) -> None:
    other = Path(shutil.copytree(place.corpus, tmp_path / "corpus"))
    record = other / "records/embed-melstats.json"
    record.write_text(record.read_text().replace('"revision": "2"', '"revision": "0"'))
    with pytest.raises(DataError, match=r"melstats-augmented is of revision 2, melstats of 0\n.*--overwrite"):
        load_training_data(other, QUICK, NOISY)


def test_a_corpus_without_copies_reports_how_to_make_them(corpus: Path) -> None:
    with pytest.raises(DataError, match=r"no embeddings of 'melstats-augmented'.*\n.*--embedder melstats --augment"):
        load_training_data(corpus, QUICK, NOISY)


@pytest.mark.parametrize("options", [{"clips": 20}, {"imbalance": 3.0}, {"clips": 15, "imbalance": 2.0}], ids=str)
def test_a_subset_keeps_the_copies_of_its_clips(place: SimpleNamespace, options: dict[str, Any]) -> None:
    plain, augmented = (load_features(place.corpus, name, "genre") for name in ("melstats", "melstats-augmented"))
    wanted = TrainingSettings(**options)
    few, many = draw_subset(plain, wanted).train, draw_subset(augmented, wanted).train
    assert many.ids == tuple(identity for identity in few.ids for _ in range(3))
    assert many.damages == ("", *AUGMENT) * len(few)
    assert torch.equal(many.embeddings[::3], few.embeddings)


def test_rows_without_a_label_are_dropped_with_their_copies(place: SimpleNamespace) -> None:
    features: Features = load_features(place.corpus, "melstats-augmented", "tempo_bpm")
    rows: Split = features.train
    assert features.dropped["train"] % 3 == 0 and rows.damages == ("", *AUGMENT) * (len(rows) // 3)
