"""Where corpora are opened from: folders, object stores, the Hub; and what is refused."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from builder.errors import DataError, HubError, RecipeError
from evaluation.explorer.clip_table import Clips

from ...builder.hub.loopback_hub import LoopbackHub
from ..conftest import FINGERPRINT
from .explored import SHARDS, rewrite


def test_the_model_of_a_run_and_beside_a_corpus(corpus: Path, model: Path, tmp_path: Path):
    run = tmp_path / "my run"
    shutil.copytree(corpus, run / "corpus")
    assert Clips.open(run).model_folder is None and not Clips.open(run).summary.has_model
    shutil.copytree(model, run / "model")
    for place in (run, run / "corpus"):
        clips = Clips.open(place)
        assert clips.model_folder == run / "model" and clips.summary.has_model and clips.summary.name == "my run"
    with pytest.raises(RecipeError):
        _ = clips.recipe  # its recipe.yaml is not a recipe


def test_a_corpus_in_an_object_store(corpus: Path, rows: list[dict[str, Any]]):
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.put(str(corpus), "/bucket/my run/corpus", recursive=True)
    clips = Clips.open("memory://bucket/my run")
    assert clips.summary.name == "my run" and clips.table.equals(Clips.open(corpus).table)
    assert clips.read_audio(20)[0] == rows[20]["audio"]["bytes"] and clips.embeddings is not None
    memory.rm("/bucket", recursive=True)


def test_a_corpus_that_has_grown(corpus_copy: Path):
    for config in ("data", "melstats"):
        (corpus_copy / config / "train-p01-00000-of-00001.parquet").write_bytes(
            (corpus_copy / config / "validation-00000-of-00001.parquet").read_bytes()
        )
        (corpus_copy / config / "validation-00000-of-00001.parquet").unlink()
    clips = Clips.open(corpus_copy)
    assert clips.table["split"].tolist() == ["train"] * 27 and clips.embeddings is not None


@pytest.mark.parametrize("case", ["absent", "empty", "unfinished", "model", "file", "name", "torn", "lost"])
def test_what_is_not_a_corpus_is_refused(case: str, corpus_copy: Path, model: Path, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    place, message = {
        "absent": (str(tmp_path / "nowhere"), "there is no such folder"),
        "empty": (str(tmp_path / "empty"), "not a synthmir corpus"),
        "unfinished": (str(corpus_copy), "not finished"),
        "model": (str(model), "is a model, not a corpus"),
        "file": (str(corpus_copy / "recipe.yaml"), "is a file"),
        "name": ("not a name", "not the name of a repository on the Hub"),
        "torn": (str(corpus_copy), "not a readable Parquet file"),
        "lost": (str(corpus_copy), r"data/train: 1 shard\(s\) of \[2\]"),
    }[case]
    if case == "unfinished":
        (corpus_copy / ".work").mkdir()
        (corpus_copy / ".work/state.json").write_text("{}")
    elif case == "torn":
        (corpus_copy / SHARDS[0]).write_bytes((corpus_copy / SHARDS[0]).read_bytes()[:5_000])
    elif case == "lost":
        (corpus_copy / SHARDS[0]).rename(corpus_copy / "data/train-00001-of-00002.parquet")
    with pytest.raises(DataError, match=message):
        Clips.open(place)


def test_the_path_in_an_audio_cell_is_not_opened(corpus_copy: Path):
    secret = corpus_copy.parent / "secret.flac"
    secret.write_bytes(b"secret")

    def change(table: pa.Table) -> pa.Table:
        rows = table["audio"].to_pylist()
        rows[0] = {"bytes": None, "path": str(secret)}
        rows[1] = {"bytes": rows[1]["bytes"], "path": "../../x.<b>"}
        at = table.schema.get_field_index("audio")
        return table.set_column(at, table.schema.field(at), pa.array(rows, table.schema.field(at).type))

    rewrite(corpus_copy / SHARDS[0], change)
    clips = Clips.open(corpus_copy)
    with pytest.raises(DataError, match="holds no audio"):
        clips.read_audio(0)


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_repository_is_opened_without_downloading_audio(corpus: Path, hub: LoopbackHub, rows: list[dict[str, Any]]):
    hub.add_repo("dataset", "org/mini", files_of(corpus))
    clips, local = Clips.open("org/mini"), Clips.open(corpus)
    assert clips.table.equals(local.table) and clips.facets() == local.facets()
    assert clips.summary.kind == "hub" and clips.summary.fingerprint == FINGERPRINT and not clips.summary.has_model
    assert [place for place, _ in clips.find_neighbours(3)] == [place for place, _ in local.find_neighbours(3)]
    served = sum(hub.served[shard] for shard in SHARDS)
    audio = sum(len(row["audio"]["bytes"]) for row in rows)
    assert served < 0.25 * audio
    assert clips.read_audio(20) == local.read_audio(20) and clips.read_audio(0) == local.read_audio(0)
    assert sum(hub.served[shard] for shard in SHARDS) > served
    hub.push(hub.repos["dataset", "org/mini"], {SHARDS[0]: b"changed meanwhile"})
    assert clips.read_audio(17) == local.read_audio(17)  # still the commit that was opened


def test_the_model_that_a_card_links_is_downloaded(corpus: Path, model: Path, hub: LoopbackHub):
    card = "# mini\n\nA classifier that was trained on it: [org/mini-genre](https://hub/org/mini-genre).\n"
    hub.add_repo("dataset", "org/mini", files_of(corpus) | {"README.md": card.encode()})
    hub.add_repo("model", "org/mini-genre", files_of(model))
    clips = Clips.open("org/mini")
    assert clips.summary.has_model
    assert clips.model_folder is not None
    assert (clips.model_folder / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()


def test_an_unreachable_hub_is_an_error(corpus: Path, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch):
    hub.add_repo("dataset", "org/mini", files_of(corpus))
    clips = Clips.open("org/mini")
    hub.stop()
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with pytest.raises(HubError, match="read org/mini/data"):
        clips.read_audio(0)


def test_a_missing_repository_is_an_error(hub: LoopbackHub):
    hub.add_repo("dataset", "org/other", {"readme.txt": b"words"})
    with pytest.raises(HubError, match="404"):
        Clips.open("org/absent")
    with pytest.raises(DataError, match="not a corpus"):
        Clips.open("org/other")
