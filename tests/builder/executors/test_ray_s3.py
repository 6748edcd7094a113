"""Workers on Ray that write to an object store: each node reads the credentials of its own environment."""

from __future__ import annotations

import pytest

from builder.corpus.building.build import build
from builder.corpus.corpus import Corpus
from builder.corpus.shards import WORK
from builder.corpus.verify import verify
from builder.embedders.embed_corpus import embed_corpus
from builder.errors import BackendError
from builder.executors import ExecutorSettings, choose_executor
from builder.io.storage import list_files, to_path
from builder.recipe import Recipe

from ..io.test_storage import bucket, server  # noqa: F401 - fixtures

ray = pytest.importorskip("ray")

from builder.executors import ray_cluster  # noqa: E402

RECIPE = "{name: two, prompts: {per_genre: 4}, generator: {seconds: 1}, split: {validation: 0.3}}"

pytestmark = pytest.mark.long  # it starts Ray twice, which takes minutes


@pytest.fixture
def scale(bucket):  # noqa: F811
    """Settings for a Ray of two cores that has the store's credentials and endpoint in its environment."""
    ray_cluster.connect(None, 2)
    yield ExecutorSettings("ray")
    ray.shutdown()


def shards(corpus) -> dict[str, bytes]:
    opened = Corpus.open(corpus)
    return {
        name: (opened.root / name).read_bytes() for config in ("data", "melstats") for name in opened.shards(config)
    }


def test_a_corpus_in_s3_made_on_ray_is_the_same_bytes_as_a_local_one(scale, bucket, tmp_path, monkeypatch):  # noqa: F811
    (tmp_path / "r.yaml").write_text(RECIPE)
    recipe, address = Recipe.load(tmp_path / "r.yaml"), f"{bucket}/corpus"
    monkeypatch.setattr(ray_cluster, "_started_here", False)  # so that every node is asked whether it sees the address
    for where, options in {tmp_path / "local": {"workers": 1}, address: {"workers": 2, "scale": scale}}.items():
        build(recipe, where, clips_per_shard=4, **options)
        embed_corpus(where, recipe.embedder, **options)
    assert shards(address) == shards(tmp_path / "local")
    report = verify(address)
    assert (report.faults, report.clips, report.embeddings) == ([], 20, {"melstats": 20})
    assert sorted(list_files(to_path(address))) == sorted(list_files(tmp_path / "local"))
    assert Corpus.open(address).record()["details"]["workers"] == 2


def test_a_node_without_credentials_is_reported_before_the_work(bucket, tmp_path, monkeypatch):  # noqa: F811
    with monkeypatch.context() as patch:
        for key in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
            patch.delenv(f"AWS_{key}")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        for name in ("SHARED_CREDENTIALS_FILE", "CONFIG_FILE"):  # instead of those in ~/.aws
            patch.setenv(f"AWS_{name}", str(tmp_path / "none"))
        ray_cluster.connect(None, 1)
    try:
        monkeypatch.setattr(ray_cluster, "_started_here", False)
        executor = choose_executor(ExecutorSettings("ray"), 1, one_core=True, place=to_path(f"{bucket}/corpus") / WORK)
        with pytest.raises(
            BackendError, match=r"node .*: Unable to locate credentials\n  fix: what reaches the store"
        ):
            list(executor.run(object, [1], lambda _: None))
    finally:
        ray.shutdown()
    assert list_files(to_path(f"{bucket}/corpus")) == []
