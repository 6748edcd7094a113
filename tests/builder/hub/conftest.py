"""A run to publish, made once, and a Hub on this machine to publish it to."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import _http

from builder.corpus.building.build import build
from builder.corpus.card import card, plots
from builder.embedders.embed_corpus import embed_corpus
from builder.hub import client
from builder.hub.publish import Target, publish
from builder.recipe import Recipe
from builder.settings import EmbedderSettings, TrainingSettings

from .. import fakes
from .loopback_hub import LoopbackHub

fakes.register()

RECIPE = """
name: small
taxonomy: paper
prompts: {per_genre: 6, seed: 0}
generator: {name: tone, seconds: 1}
split: {validation: 0.2}
"""


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run: corpus/ of 4 shards and as many of embeddings, model/."""
    from training.trainer import train

    root = tmp_path_factory.mktemp("made") / "run"
    recipe = root.parent / "small.yaml"
    recipe.write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(card, "draw_plots", plots.draw_plots)  # they are published too
        build(Recipe.load(recipe), root / "corpus", clips_per_shard=10, workers=1)
        embed_corpus(root / "corpus", EmbedderSettings())
    train(root / "corpus", root / "model", TrainingSettings(hidden=(8,), epochs=5), EmbedderSettings())
    return root


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(made, tmp_path / "run"))


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LoopbackHub]:
    """An empty Hub; the test fails if a client did what the Hub would not take."""
    (tmp_path / "hub").mkdir()
    server = LoopbackHub(tmp_path / "hub")
    yield server
    server.stop()
    assert not server.problems, server.problems


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clients' pauses, not waited for."""
    waited: list[float] = []
    clock = SimpleNamespace(**{**vars(time), "sleep": waited.append})  # of the clients, not of the server
    monkeypatch.setattr(_http, "time", clock)
    monkeypatch.setattr(client, "time", clock)
    return waited


@pytest.fixture
def notices() -> list[str]:
    """What `publish` said of its pauses."""
    return []


@pytest.fixture
def send(
    hub: LoopbackHub, made: Path, monkeypatch: pytest.MonkeyPatch, pauses: list[float], notices: list[str]
) -> Callable[..., list[Target]]:
    """Publishes the run (or another folder) to the loopback Hub as org/small, with the token hf_test."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setenv("HF_TOKEN", "hf_test")

    def call(run: Path = made, repo: str = "org/small", **options: object) -> list[Target]:
        return publish(run, repo, endpoint=hub.endpoint, notice=notices.append, **options)  # type: ignore[arg-type]

    return call
