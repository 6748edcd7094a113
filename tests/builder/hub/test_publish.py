"""Publishing to a Hub that looks closely: what arrives, what is kept, and that nothing is sent twice."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from datasets import Features
from safetensors import safe_open
from safetensors.numpy import save_file

from builder.corpus.building.build import build
from builder.corpus.corpus import Corpus, write_sums
from builder.corpus.shards import read_footer, write_shard
from builder.corpus.verify import verify
from builder.errors import DataError, HubError
from builder.hub import upload
from builder.hub.console import format_targets
from builder.hub.publish import Target
from builder.records import RunRecord, strip_paths
from builder.settings import EmbedderSettings, TrainingSettings
from evaluation.inference.evaluated_model import corpus_of
from evaluation.metrics import FOLDER

from .. import fakes
from .loopback_hub import LoopbackHub
from .loopback_state import Repo, git_hash

Send = Callable[..., list[Target]]


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def download(hub: LoopbackHub, repo: Repo, to: Path) -> Path:
    for path in repo.files:
        if path != ".gitattributes":
            (to / path).parent.mkdir(parents=True, exist_ok=True)
            (to / path).write_bytes(hub.content(repo.kind, repo.id, path))
    return to


def once(hub: LoopbackHub) -> bool:
    """Whether every large file was sent, and once."""
    return bool(hub.whole) and set(hub.whole.values()) == set(hub.begun.values()) == {1}


def test_what_arrives_is_what_was_there(hub: LoopbackHub, send: Send, made: Path, tmp_path: Path) -> None:
    before = contents(made)
    corpus, model = send(revision="v1")
    assert contents(made) == before
    for target, own in ((corpus, {"README.md", "SHA256SUMS"}), (model, {"README.md"})):
        repo = hub.repos[target.kind, target.repo]
        arrived = contents(download(hub, repo, tmp_path / target.kind))
        sent = {name: data for name, data in contents(target.folder).items() if not name.startswith(".")}
        assert arrived.keys() == sent.keys()
        assert {name for name in sent if arrived[name] != sent[name]} == own
        assert repo.tags == {"v1": target.head} and repo.refs == {"main": target.head}
    assert once(hub)
    found = verify(tmp_path / "dataset")
    assert not found.faults and found.clips == 30


def test_the_hubs_hashes_are_gits(hub: LoopbackHub, send: Send, made: Path) -> None:
    """`echo -n hello | git hash-object --stdin` and `sha256sum` of what was sent."""
    assert git_hash(b"hello") == "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0"
    send(what="corpus")
    listed = hub.repos["dataset", "org/small"].files["data/train-00000-of-00003.parquet"].sha256
    assert listed == hashlib.sha256((made / "corpus/data/train-00000-of-00003.parquet").read_bytes()).hexdigest()


def test_the_cards_name_each_other_and_load_from_the_hub(hub: LoopbackHub, send: Send) -> None:
    corpus, model = send()
    card = hub.content("dataset", "org/small", "README.md").decode()
    assert f"[org/small-genre]({model.address})" in card
    calls = re.findall(r'load_dataset\("([^"]+)"', card)
    assert len(calls) >= 3 and set(calls) == {"org/small"}
    assert yaml.safe_load(card.split("---")[1])["configs"][0]["config_name"] == "default"
    card = hub.content("model", "org/small-genre", "README.md").decode()
    assert f"[org/small]({corpus.address})" in card
    assert 'model="org/small-genre"' in card and '"MODEL"' not in card
    assert yaml.safe_load(card.split("---")[1])["datasets"] == ["org/small"]


def test_again_nothing_is_sent(hub: LoopbackHub, send: Send) -> None:
    heads = [target.head for target in send(revision="v1")]
    hub.log.clear()
    assert [target.head for target in send(revision="v1")] == heads
    assert not hub.requests("put") and not hub.requests("commit") and not hub.requests("create") and once(hub)


def test_commits_keep_to_the_limits_and_the_card_comes_last(
    hub: LoopbackHub, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "COMMIT_FILES", 4)
    send(what="corpus")
    repo = hub.repos["dataset", "org/small"]
    states = list(repo.commits.values())
    added = [set(after) - set(before) for before, after in pairwise(states)]
    assert len(added) > 2 and max(map(len, added)) <= 4
    assert {"README.md", "SHA256SUMS"} <= added[-1] and not any("README.md" in part for part in added[:-1])
    assert once(hub)


@pytest.mark.parametrize("limit", ["COMMIT_BYTES", "INLINE_BYTES"])
def test_commits_keep_to_the_bytes(hub: LoopbackHub, send: Send, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(upload, limit, 1000)
    send(what="corpus")
    assert len(hub.repos["dataset", "org/small"].commits) > 3 and once(hub)


def test_stopped_half_way_it_goes_on(hub: LoopbackHub, send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "COMMIT_FILES", 3)
    hub.fail("put", 400, skip=5)
    with pytest.raises(HubError, match=r"cannot send .*parquet"):
        send(revision="v1")
    assert not hub.repos["dataset", "org/small"].tags and sum(hub.whole.values()) == 5
    send(revision="v1")
    assert set(hub.whole.values()) == {1} and sum(hub.whole.values()) == 9
    assert hub.repos["dataset", "org/small"].tags and hub.repos["model", "org/small-genre"].tags


def test_no_tag_before_both_are_there(hub: LoopbackHub, send: Send) -> None:
    hub.fail("put", 400, skip=8)  # the model's
    with pytest.raises(HubError):
        send(revision="v1")
    assert "SHA256SUMS" in hub.repos["dataset", "org/small"].files and not hub.repos["dataset", "org/small"].tags


def test_shards_of_another_division_go_and_what_others_added_stays(hub: LoopbackHub, send: Send) -> None:
    send(what="corpus")
    repo = hub.repos["dataset", "org/small"]
    hub.push(repo, {"data/train-00000-of-00009.parquet": b"old", "assets/cover.txt": b"theirs"})
    hub.fail("commit", 409)
    send(what="corpus")
    assert "data/train-00000-of-00009.parquet" not in repo.files and "assets/cover.txt" in repo.files


@pytest.mark.parametrize("token", ["hf_test", "hf_other"])
def test_a_pull_request_leaves_main_alone_and_is_gone_on_with(
    hub: LoopbackHub, send: Send, run: Path, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    send(what="corpus")
    repo = hub.repos["dataset", "org/small"]
    head = repo.refs["main"]
    card = run / "corpus" / "README.md"
    old, new = hashlib.sha256(card.read_bytes()).hexdigest(), card.read_text() + "\nMore words.\n"
    card.write_text(new)
    sums = run / "corpus" / "SHA256SUMS"
    sums.write_text(sums.read_text().replace(old, hashlib.sha256(new.encode()).hexdigest()))
    monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setattr(upload, "COMMIT_FILES", 2)
    for _ in range(2):
        (target,) = send(run, what="corpus", pull_request=True)
        assert target.pull_url == f"{target.address}/discussions/1"
    assert repo.refs["main"] == head and len(repo.pulls) == 1
    changed = repo.commits[repo.refs["refs/pr/1"]]
    assert {path for path in changed if changed[path] != repo.files[path]} == {"README.md", "SHA256SUMS"}


def test_private_is_private(hub: LoopbackHub, send: Send) -> None:
    send(private=True)
    assert all(repo.private for repo in hub.repos.values())
    send(private=True)


def test_a_dry_run_needs_no_token_and_sends_nothing(
    hub: LoopbackHub, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    text = "\n".join(format_targets(send(dry_run=True), dry_run=True))
    assert "a new repository" in text and "data/train-00000-of-00003.parquet" in text
    assert {line.split()[0] for line in hub.log} == {"info", "validate"} and not hub.repos
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    send(what="corpus")
    hub.push(hub.repos["dataset", "org/small"], {"data/train-00000-of-00009.parquet": b"old", "recipe.yaml": b"x"})
    text = "\n".join(format_targets(send(what="corpus", dry_run=True), dry_run=True))
    assert re.search(r"delete\s+data/train-00000-of-00009.parquet", text)
    assert re.search(r"1 file\(s\), [\d.]+ kB to send; \d+ there already; 1 to delete", text)


def test_folders_alone_and_links_by_name(hub: LoopbackHub, send: Send, made: Path) -> None:
    (corpus,) = send(made / "corpus", "org/alone", model_repo="me/listener")
    (model,) = send(made / "model", "me/listener", dataset_repo="org/alone")
    assert (corpus.kind, model.kind) == ("dataset", "model")
    assert b"me/listener" in hub.content("dataset", "org/alone", "README.md")
    assert b"datasets/org/alone" in hub.content("model", "me/listener", "README.md")


def test_progress_is_in_clips_and_bytes(hub: LoopbackHub, send: Send) -> None:
    calls: dict[str, list[tuple[int, int]]] = {}
    send(what="corpus", meter=lambda stage: lambda done, total: calls.setdefault(stage, []).append((done, total)))
    assert calls["verify"][-1] == (30, 30)
    steps = [done for done, _ in calls["publish"]]
    total = sum(entry.size for path, entry in hub.repos["dataset", "org/small"].files.items() if path[0] != ".")
    assert steps == sorted(steps) and steps[0] == 0 and calls["publish"][-1] == (total, total) and len(steps) > 8


def test_a_model_without_an_embedder_is_opened_with_synthmir(hub: LoopbackHub, send: Send, run: Path) -> None:
    config = json.loads((run / "model/config.json").read_text())
    del config["auto_map"]
    (run / "model/config.json").write_text(json.dumps(config))
    (target,) = send(run, what="model")
    assert target.lines[-1] == 'model = AutoModel.from_pretrained("org/small")'


@pytest.mark.parametrize("key", ["weights", "name"])
def test_weights_that_others_do_not_have_are_named(
    hub: LoopbackHub, send: Send, run: Path, notices: list[str], key: str
) -> None:
    config = json.loads((run / "model/config.json").read_text())
    config["embedder"]["settings"][key] = "/home/somebody/passt.pt" if key == "weights" else "hf:/home/somebody/hubert"
    (run / "model/config.json").write_text(json.dumps(config))
    send(run, what="model")
    assert len(notices) == 1 and "only on this machine: /home/somebody/" in notices[0]


def test_memory_does_not_grow_with_a_file(hub: LoopbackHub, send: Send, run: Path) -> None:
    """Python's own memory, of client and server together, while 64 MB of weights go."""
    weights = run / "model/model.safetensors"
    with safe_open(weights, "np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    save_file({**tensors, "more": np.zeros(16 << 20, np.float32)}, weights)
    del tensors
    tracemalloc.start()
    send(run, what="model")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20 and max(hub.sizes.values()) > 64 << 20


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")


@pytest.fixture
def trained_elsewhere(run: Path, tmp_path: Path) -> Path:
    """A run whose model learnt from a corpus and real music in other folders, its records as 0.1 wrote them."""
    from training.trainer import train

    elsewhere = shutil.copytree(run / "corpus", tmp_path / "their-music" / "deep" / "corpus")
    settings = TrainingSettings(hidden=(8,), epochs=2, strategy="joint", target=str(elsewhere))
    train(elsewhere, run / "model", settings, EmbedderSettings())
    weights = {"weights": str(tmp_path / "melstats.pt"), "name": "melstats"}
    edit(run / "model/config.json", lambda data: data["embedder"].update(settings=weights))
    corpus = run / "corpus"
    about = f"MusicGen ({tmp_path}/musicgen-small, float32), Copet et al. 2023"
    edit(corpus / "records/build.json", lambda data: data["details"]["generator"].update(about=about))
    recipe = yaml.safe_load((corpus / "recipe.yaml").read_text())
    recipe["generator"]["model"] = "/opt/models/musicgen-small"
    recipe["evaluation"]["benchmarks"] = ["validation", f"gtzan:{Path.home()}/gtzan", "folder:~/music"]
    (corpus / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    card = corpus / "README.md"
    card.write_text(card.read_text().replace("# small", f"# small\n\n{about}.", 1))
    write_sums(corpus, {})
    return run


ABSOLUTE = re.compile(rb"""(?<![\w.~>)/-])(?:~|[A-Za-z]:)?/(?:home|root|tmp|opt|usr|var|mnt|data|Users)/[\w.-]+""")


def test_nothing_that_is_published_names_a_path_of_this_machine(
    hub: LoopbackHub, send: Send, trained_elsewhere: Path, tmp_path: Path
) -> None:
    """Corpus, model, metrics and a Space with both inside; the folder keeps its paths, and what arrives is sound."""
    run = trained_elsewhere
    record, before = run / "model/training.json", contents(run)
    details = json.loads(record.read_text())["details"]
    assert details["settings"]["target"].startswith(str(tmp_path)) and "their-music" in details["corpus"]
    space = tmp_path / "space"
    shutil.copytree(run, space / "runs/small")
    (space / "app.py").write_text("print(1)\n")
    card = {"sdk": "gradio", "sdk_version": "6.31.0", "app_file": "app.py", "license": "apache-2.0"}
    (space / "README.md").write_text(f"---\n{yaml.safe_dump(card)}---\n\n# Small\n")
    send(run)
    send(Path("all"), "org", what="metrics", metrics=FOLDER)
    send(space, "org/explorer", what="space")
    metrics = list(FOLDER.glob("*/README.md"))
    assert contents(run) == before and len(hub.repos) == 3 + len(metrics)

    named = {
        str(tmp_path).encode(),
        str(Path.home()).encode() + b"/",
        b"their-music",
        str(Path(__file__).parents[3]).encode(),
    }
    for repo in hub.repos.values():
        for path in repo.files:
            content = hub.content(repo.kind, repo.id, path)
            if path.endswith(".parquet"):
                file = pq.ParquetFile(io.BytesIO(content))
                rows = [{k: v for k, v in row.items() if k != "audio"} for row in file.read().to_pylist()]
                content = json.dumps([str(file.metadata.metadata), rows]).encode()
            found = [text for text in named if text in content] + ABSOLUTE.findall(content)
            assert not found, (repo.id, path, found)

    published = json.loads(hub.content("model", "org/small-genre", "training.json"))["details"]
    assert published["settings"]["target"] == "./corpus" and published["corpus"] == "../corpus"
    assert {k: v for k, v in published.items() if k not in ("settings", "corpus")} == {
        k: v for k, v in details.items() if k not in ("settings", "corpus")
    }
    recipe = yaml.safe_load(hub.content("dataset", "org/small", "recipe.yaml"))
    assert recipe["generator"]["model"] == "./musicgen-small"
    assert recipe["evaluation"]["benchmarks"] == ["validation", "gtzan:./gtzan", "folder:./music"]
    arrived = download(hub, hub.repos["dataset", "org/small"], tmp_path / "arrived")
    inside = download(hub, hub.repos["space", "org/explorer"], tmp_path / "page") / "runs/small/corpus"
    assert not verify(arrived).faults and not verify(inside).faults


def test_a_model_is_evaluated_on_the_corpus_that_its_record_names(trained_elsewhere: Path) -> None:
    found = corpus_of(RunRecord.read(trained_elsewhere / "model/training.json"), trained_elsewhere / "model", None)
    assert found == trained_elsewhere.parent / "their-music/deep/corpus"


def test_paths_that_cannot_be_cleaned_are_refused(hub: LoopbackHub, send: Send, run: Path, tmp_path: Path) -> None:
    """In code and in metadata; each with its file, and the key or the line."""
    (run / "model/notes.txt").write_text(f"one\nsee {tmp_path}/log\n")
    with pytest.raises(
        DataError, match=rf"model/notes.txt, line 2: names a path of this machine: {tmp_path}/log\n  fix: "
    ):
        send(run)
    (run / "model/notes.txt").unlink()
    shard = run / "corpus/data/train-00001-of-00003.parquet"
    rows, footer = pq.read_table(shard).to_pylist(), read_footer(shard)
    footer["generator"]["about"] = f"MusicGen ({tmp_path}/musicgen-small, float32)"
    write_shard(shard, [rows], Features.from_arrow_schema(pq.read_schema(shard)), footer)
    write_sums(run / "corpus", {})
    words = (
        r"train-00001-of-00003.parquet: its metadata names a path of this machine: synthmir.generator.about: MusicGen"
    )
    with pytest.raises(DataError, match=words):
        send(run)
    assert not hub.repos


@pytest.mark.parametrize(
    ("value", "published"),
    [
        ("/home/me/a b/weights.pt", "./weights.pt"),
        ("gtzan:/data/GTZAN", "gtzan:./GTZAN"),
        ("C:\\Users\\me\\gtzan", "./gtzan"),
        ("file:///home/me/x.pt", "file:./x.pt"),
        ("../../../me/corpus", "../corpus"),
        ("Made from /mnt/models/small, in float32", "Made from ./small, in float32"),
        ("../corpus", "../corpus"),
        ("s3://bucket/corpus", "s3://bucket/corpus"),
        ("https://huggingface.co/home/x/y", "https://huggingface.co/home/x/y"),
        ("hf:facebook/hubert-base", "hf:facebook/hubert-base"),
        ("/m/04rlf", "/m/04rlf"),
        ("4/4", "4/4"),
    ],
)
def test_what_is_left_of_a_path(value: str, published: str, tmp_path: Path) -> None:
    assert strip_paths({"a": [value, 1, None]}, tmp_path / "run") == {"a": [published, 1, None]}


def test_annotations_that_a_corpus_gets_later_are_all_that_is_sent(
    hub: LoopbackHub, send: Send, tmp_path: Path
) -> None:
    build(fakes.small_recipe(tmp_path, generator="scored"), tmp_path / "scored", clips_per_shard=10)
    send(tmp_path / "scored", "org/scored", what="corpus")
    build(fakes.small_recipe(tmp_path, generator="scored", annotations=True), tmp_path / "scored")
    (corpus,) = send(tmp_path / "scored", "org/scored", what="corpus")
    shards = set(Corpus.open(tmp_path / "scored").shards("annotations"))
    sent = {item.path for item in corpus.send}
    assert shards <= sent and not any(path.startswith("data/") for path in sent) and not corpus.delete
    found = verify(download(hub, hub.repos["dataset", "org/scored"], tmp_path / "arrived"))
    assert not found.faults and found.annotations == 30
