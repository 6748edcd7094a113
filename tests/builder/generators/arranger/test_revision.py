"""The sound of each version of the arranger stays: version 1 is that of 0.1 (ten rows of the demo), version 2 (five).

When the sound of version 2 changes on purpose before it is released, `python -m
tests.builder.generators.arranger.test_revision` writes its rows again. A released sound stays, and a different one is
the next version: see `revision.py`.
"""

from __future__ import annotations

import hashlib
import json
import os
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builder.corpus.building.plan import plan_clips
from builder.corpus.building.shard_builder import load_recipe_generator
from builder.generators.arranger import Arranger
from builder.generators.arranger.revision import continue_sha256
from builder.recipe import Recipe

GOLDEN = Path(__file__).with_name("arranger_sound.json")
GOLDEN_2 = Path(__file__).with_name("arranger_sound_2.json")
SEGMENTS = 10
STEP = 1499  # samples
RECIPE = Recipe.load("demo").with_values({"generator.revision": "1"})
RECIPE_2 = Recipe.load("demo").with_values({"generator.revision": "2"})


def describe(arranger: Arranger, row: Any) -> dict[str, Any]:
    """The notes of a row as a hash, and its sound: level in dB and spectral centroid in Hz of each tenth."""
    score = arranger.compose(row)
    notes = [[track.program, track.is_drum, note.start, note.duration, note.pitch, note.velocity]
             for track in score.tracks for note in track.notes]  # fmt: skip
    sound = arranger.render(score).astype(np.float64)
    parts = np.array_split(sound, SEGMENTS)
    spectra = [np.abs(np.fft.rfft(part)) ** 2 for part in parts]
    return {
        "id": row.id,
        "tempo": score.tempo,
        "notes": hashlib.sha256(json.dumps(notes).encode()).hexdigest()[:16],
        "level": [round(10 * np.log10(np.mean(part**2) + 1e-12), 3) for part in parts],
        "samples": sound[::STEP] * 32_767,
        "centroid": [round(float(p @ np.linspace(0, 16_000, len(p)) / p.sum()), 1) for p in spectra],
    }


def list_rows(recipe: Recipe, count: int) -> tuple[Arranger, list[Any]]:
    rows = sorted(plan_clips(recipe), key=lambda row: row.id)
    arranger = load_recipe_generator(recipe)
    assert isinstance(arranger, Arranger)
    return arranger, rows[:: len(rows) // count][:count]


def test_revision_is_that_of_0_1():
    assert load_recipe_generator(RECIPE).revision == "645dbca73ec3"  # as it is in corpora that 0.1 made
    assert RECIPE.fingerprint() == "c1b25bee656484a0"


@pytest.mark.parametrize("number", range(10))
def test_sound_is_that_of_0_1(number: int):
    arranger, rows = list_rows(RECIPE, 10)
    description, golden = describe(arranger, rows[number]), json.loads(GOLDEN.read_text())[number]
    for key in ("id", "tempo", "notes"):
        assert description[key] == golden[key]
    # To one step of 16 bits: processors and versions of numpy differ in the last bit of float32.
    np.testing.assert_allclose(description["samples"], golden["samples"], atol=1.5)
    np.testing.assert_allclose(description["level"], golden["level"], atol=0.02)
    np.testing.assert_allclose(description["centroid"], golden["centroid"], rtol=5e-3)


def describe_version_2() -> dict[str, Any]:
    arranger, rows = list_rows(RECIPE_2, 5)
    return {"revision": arranger.revision, "rows": [describe(arranger, row) for row in rows]}


def test_sound_of_version_2_changes_with_its_revision_alone():
    description, golden = describe_version_2(), json.loads(GOLDEN_2.read_text())
    assert description["revision"] == golden["revision"], "write the rows again, as the module's docstring says"
    for row, expected in zip(description["rows"], golden["rows"], strict=True):
        for key in ("id", "tempo", "notes"):
            assert row[key] == expected[key]
        # The codec rounds, so that a last bit can change some frames by more than a step of 16 bits.
        assert np.mean(np.abs(row["samples"] - expected["samples"]) > 1.5) <= 0.05
        np.testing.assert_allclose(row["level"], expected["level"], atol=0.02)
        np.testing.assert_allclose(row["centroid"], expected["centroid"], rtol=5e-3)


@pytest.mark.parametrize("size", [0, 1, 55, 56, 63, 64, 65, 1_000])
def test_continued_hash_is_sha_256(size: int):
    primes = [n for n in range(2, 20) if all(n % k for k in range(2, isqrt(n) + 1))]
    start = tuple(isqrt(prime << 64) & 0xFFFFFFFF for prime in primes)
    data = os.urandom(size)
    assert continue_sha256(start, 0, b"", data) == hashlib.sha256(data).digest()
    half = size % 64 // 2
    assert continue_sha256(start, half, data[:half], data[half:]) == hashlib.sha256(data).digest()


if __name__ == "__main__":
    written = describe_version_2()
    lines = [json.dumps(row | {"samples": np.round(row["samples"]).astype(int).tolist()}) for row in written["rows"]]
    GOLDEN_2.write_text(f'{{"revision": "{written["revision"]}", "rows": [\n' + ",\n".join(lines) + "\n]}\n")
