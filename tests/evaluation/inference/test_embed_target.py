from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from datasets import Dataset
from typer.testing import CliRunner

from builder.embedders.embed_dataset import embed_dataset
from builder.embedders.embedded_dataset import open_dataset
from builder.errors import DataError, RecipeError
from builder.settings import EmbedderSettings
from evaluation.inference.embed_target import embed_target, is_benchmark
from synthmir.cli import app
from tests.training.model_folders import make_sound
from training.data.splits import split_target
from training.settings import ChosenSettings, choose_settings

OPTIONS = {"task": "genre", "label_column": "label", "strategy": "joint"}


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve tracks of each of two labels, a third of them of one that the source lacks."""
    root = tmp_path_factory.mktemp("audio") / "tracks"
    for number, label in enumerate(("hip-hop", "jazz", "polka")):
        (root / label).mkdir(parents=True)
        for track in range(12):
            samples = make_sound(0.3, 16_000, 100 * number + track)
            soundfile.write(root / label / f"{track}.wav", samples * (0.2 + number), 16_000)
    return root


@pytest.fixture(scope="module")
def source(audio: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same tracks of two labels, spelt otherwise, as `synthmir embed --out` writes them."""
    root = tmp_path_factory.mktemp("source")
    for old, new in (("hip-hop", "Hip Hop"), ("jazz", "Jazz")):
        (root / "audio" / new).mkdir(parents=True)
        for file in (audio / old).iterdir():
            (root / "audio" / new / file.name).symlink_to(file)
    embed_dataset(root / "audio", EmbedderSettings(), root / "embeddings")
    return root / "embeddings"


def asked(source: Path, target: str) -> ChosenSettings:
    return choose_settings(source, None, None, {**OPTIONS, "target": target})


def test_a_benchmark_is_embedded_as_the_source_is(source: Path, audio: Path, tmp_path: Path) -> None:
    found = embed_target(source, asked(source, f"folder:{audio}"), tmp_path)
    folder = Path(str(found.training.target))
    assert folder.parent == tmp_path / "real" and folder.name.startswith("folder-tracks-")
    (file,) = folder.glob("*.parquet")
    (before,) = source.glob("*.parquet")
    real, synthetic = pq.read_table(file), pq.read_table(before)
    assert len(real) == 24  # polka is none of the source's
    mine = sorted(map(tuple, real["embedding"].to_pylist()))
    np.testing.assert_allclose(mine, sorted(map(tuple, synthetic["embedding"].to_pylist())), atol=1e-4)
    written = file.stat().st_mtime_ns
    assert embed_target(source, asked(source, f"folder:{audio}"), tmp_path) == found
    assert file.stat().st_mtime_ns == written


def test_artists_of_a_table_are_those_of_the_split(source: Path, audio: Path, tmp_path: Path) -> None:
    music = tmp_path / "music"
    for label in ("hip-hop", "jazz"):
        (music / label).mkdir(parents=True)
        for file in (audio / label).iterdir():
            (music / label / file.name).symlink_to(file)
    target = f"folder:{music}"
    chosen = embed_target(source, asked(source, target), tmp_path)
    groups = open_dataset(Path(str(chosen.training.target)), "melstats").groups("train")
    assert groups == [None] * 24
    names = [f"{label}/{track}.wav" for label in ("hip-hop", "jazz") for track in range(12)]
    lines = [f"{name}\tartist {number // 4}" for number, name in enumerate(names)]
    (music / "SOURCE.tsv").write_text("\n".join(["file\tartist", *lines]) + "\n")
    chosen = embed_target(source, asked(source, target), tmp_path)
    found = split_target(open_dataset(Path(str(chosen.training.target)), "melstats"))
    assert (found.group_column, found.groups, found.shared_groups) == ("artist", 6, 0)


def test_the_commands_take_it(source: Path, audio: Path, tmp_path: Path) -> None:
    options = [str(source), "--target", f"folder:{audio}", "--task", "genre"]
    train = ["train", *options, "--label-column", "label", "--strategy", "real", "--head", "linear", "--seed", "1"]
    done = CliRunner().invoke(app, [*train, "--out", str(tmp_path / "model")])
    assert done.exit_code == 0, done.output
    strategy = json.loads((tmp_path / "model/training.json").read_text())["details"]["strategy"]
    assert sum(strategy["target"]["rows"].values()) == 24
    several = CliRunner().invoke(app, [*train, "--out", str(tmp_path / "seeds"), "--seeds", "0,1"])
    assert several.exit_code == 0 and (tmp_path / "seeds" / "real").is_dir(), several.output


def test_other_targets_stay_as_they_are(source: Path, tmp_path: Path) -> None:
    for target in (str(source), "nothing:there", str(tmp_path)):
        chosen = asked(source, target)
        assert embed_target(source, chosen, tmp_path) is chosen
    (tmp_path / "folder:here").mkdir()
    assert is_benchmark("folder:there") and not is_benchmark(str(tmp_path / "folder:here"))


def test_what_cannot_be_embedded(source: Path, audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {"embedding": [[float(i), 1.0] for i in range(40)], "label": ["jazz", "hip-hop"] * 20}
    Dataset.from_dict(rows).to_parquet(tmp_path / "music.parquet")
    with pytest.raises(DataError, match=r"music.parquet: has no record of its embedder"):
        embed_target(tmp_path / "music.parquet", asked(tmp_path / "music.parquet", f"folder:{audio}"), tmp_path)
    with pytest.raises(DataError, match="nowhere: does not exist"):
        embed_target(source, asked(source, "folder:nowhere"), tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RecipeError, match=r"(?s)embedded by one process.*synthmir benchmarks folder:.* --out LIST"):
        embed_target(source, asked(source, f"folder:{audio}"), tmp_path)
    assert not (tmp_path / "real").exists()


def test_a_strategy_without_real_music(source: Path) -> None:
    with pytest.raises(RecipeError, match=r"(?s)--strategy joint: needs a target.*--target gtzan:PATH"):
        choose_settings(source, None, None, OPTIONS)
