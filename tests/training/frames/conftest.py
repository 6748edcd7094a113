"""A small corpus with annotations, and a model of all tasks that was trained on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.annotations.tasks import FRAME_TASKS
from training.trainer import train

from .planted import choose, write_corpus


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("frames") / "corpus")


@pytest.fixture(scope="session")
def folder(corpus: Path) -> Path:
    """A model of all tasks, trained for two epochs."""
    record = train(corpus, corpus.parent / "model", choose(",".join(FRAME_TASKS), epochs=2, damages=["noise:20"]))
    assert record is not None and record.details["tasks"] == list(FRAME_TASKS)
    return corpus.parent / "model"
