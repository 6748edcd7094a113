from __future__ import annotations

import json
from uuid import uuid4

import pytest
import torch

from builder.corpus.corpus import write_sums
from builder.errors import DataError
from builder.io.atomic import write_bytes
from builder.io.storage import list_files, to_path
from builder.settings import EmbedderSettings, EvaluationSettings, TrainingSettings
from evaluation.evaluate import evaluate_model
from training.data.features import load_features
from training.trainer import train


@pytest.fixture
def address(corpus) -> str:
    """A copy of the corpus in a store."""
    there = f"memory://{uuid4().hex}"
    for name in list_files(corpus):
        write_bytes(to_path(there) / name, (corpus / name).read_bytes())
    write_sums(to_path(there), {})
    return there


def test_corpus_in_a_store_gives_the_features_of_the_local_one(corpus, address):
    local, far = (load_features(where, "melstats", "genre") for where in (corpus, address))
    assert far.names == local.names
    for one, other in ((local.train, far.train), (local.validation, far.validation)):
        assert one.ids == other.ids
        assert torch.equal(one.embeddings, other.embeddings) and torch.equal(one.labels, other.labels)


def test_model_trained_on_an_address_is_evaluated_on_it(address, tmp_path):
    train(address, tmp_path / "model", TrainingSettings(hidden=(8,), epochs=3), EmbedderSettings())
    details = json.loads((tmp_path / "model" / "training.json").read_text())["details"]
    assert details["corpus"] == address
    scores = evaluate_model(
        tmp_path / "model", ["validation"], tmp_path / "report", None, EvaluationSettings(bootstrap=100)
    )
    (benchmark,) = scores["benchmarks"]
    assert (benchmark["n"], benchmark["source"]) == (60, address)


def test_address_without_a_corpus_is_refused(address):
    with pytest.raises(DataError, match="no such folder"):
        load_features(f"memory://{uuid4().hex}", "melstats", "genre")
    write_bytes(to_path(address.replace("memory://", "memory://other")) / "clip.wav", b"RIFF")
    with pytest.raises(DataError, match="not a corpus that has embeddings"):
        load_features(address.replace("memory://", "memory://other"), "melstats", "genre")
