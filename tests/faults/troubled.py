"""A generator in trouble, for as long as a file is there, and what carries it into the processes that make shards."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from builder.clip import Clip
from builder.corpus.building.shard_builder import ShardBuilder
from builder.registry import GENERATORS
from tests.builder.fakes import Tone

HUGE = 1 << 46  # numbers: more than any machine has room for


class Troubled(Tone):
    """Makes tones; where `TROUBLE` says "KIND FILE", a call that makes the clip named in the file is in trouble."""

    name = "troubled"

    def generate(self, rows: Sequence[Clip]) -> list[np.ndarray]:
        made = super().generate(rows)
        kind, _, file = os.environ.get("TROUBLE", "").partition(" ")
        mark = Path(file)
        if not kind or not mark.exists() or mark.read_text() not in [row.id for row in rows]:
            return made
        match kind:
            case "nan":
                return [samples * np.float32("nan") for samples in made]
            case "short":
                return [samples[:-1] for samples in made]
            case "few":
                return made[1:]
            case "memory":
                return [np.zeros(HUGE) for _ in made]
            case "hang-once":
                mark.unlink()
                time.sleep(600)
        raise AssertionError(kind)


class TroubledBuilder(ShardBuilder):
    """One that brings this module, and with it the generator, into another process."""


def register() -> None:
    """Make it known to this process."""
    GENERATORS["troubled"] = "tests.faults.troubled:Troubled"


register()
