"""The loopback Hub itself: the library's own calls pass through it unharmed, and what no Hub takes is noticed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

from .loopback_hub import LoopbackHub

TOKEN = {"Authorization": "Bearer hf_test"}
BATCH = {"operation": "upload", "transfers": ["basic"], "hash_algo": "sha256"}


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[LoopbackHub]:
    """A Hub whose problems the test reads itself, with a repository on it."""
    (tmp_path / "strict").mkdir()
    server = LoopbackHub(tmp_path / "strict")
    server.add_repo("model", "org/it")
    yield server
    server.stop()


def test_the_librarys_own_round_trip(hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    api = HfApi(hub.endpoint, token="hf_test")
    folder = tmp_path / "folder"
    (folder / "a b" / "c").mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    (folder / "a b" / "c" / "ü.bin").write_bytes(bytes(range(256)) * 9000)
    (folder / "empty.txt").write_bytes(b"")
    api.create_repo("org/it")
    first = api.upload_folder(repo_id="org/it", folder_path=folder)
    assert api.upload_folder(repo_id="org/it", folder_path=folder).oid == first.oid
    api.create_tag("org/it", tag="v1")
    place = Path(api.snapshot_download("org/it", revision="v1", local_dir=tmp_path / "back"))
    for path in ("README.md", "a b/c/ü.bin", "empty.txt"):
        assert (place / path).read_bytes() == (folder / path).read_bytes()
    assert [file.path for file in api.get_paths_info("org/it", ["a b/c/ü.bin", "none"])] == ["a b/c/ü.bin"]
    with pytest.raises(EntryNotFoundError):
        api.hf_hub_download("org/it", "none.txt", cache_dir=tmp_path / "cache")
    with pytest.raises(RevisionNotFoundError):
        api.repo_info("org/it", revision="v9")
    with pytest.raises(RepositoryNotFoundError):
        api.repo_info("org/none")


def test_unknown_routes_and_repositories(strict: LoopbackHub) -> None:
    assert httpx2.get(f"{strict.endpoint}/api/nothing").status_code == 404
    assert httpx2.get(f"{strict.endpoint}/api/models/org/it", headers=TOKEN).json()["id"] == "org/it"
    assert httpx2.get(f"{strict.endpoint}/api/models/org/no", headers=TOKEN).headers["X-Error-Code"] == "RepoNotFound"
    assert strict.problems == ["unknown route: GET /api/nothing"]


def test_content_that_is_not_what_was_announced(strict: LoopbackHub) -> None:
    oid = hashlib.sha256(b"right").hexdigest()
    asked = {**BATCH, "objects": [{"oid": oid, "size": 5}]}
    kind = {"Content-Type": "application/vnd.git-lfs+json", **TOKEN}
    place = f"{strict.endpoint}/org/it.git/info/lfs/objects/batch"
    reply = httpx2.post(place, content=json.dumps(asked), headers=kind).json()["objects"][0]
    href = reply["actions"]["upload"]["href"]
    assert httpx2.put(href, content=b"wrong").status_code == 400
    assert httpx2.put(href, content=b"right", headers=TOKEN).status_code == 200
    assert httpx2.put(f"{strict.endpoint}/lfs/{oid}?size=5", content=b"right").status_code == 200
    assert [problem.split(":")[0] for problem in strict.problems] == [
        f"put {oid}",
        "put",
        "put to an address that was not given out",
    ]
    again = httpx2.post(place, content=json.dumps(asked), headers=kind).json()["objects"][0]
    assert "actions" not in again


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([("file", {"path": "a", "content": "", "encoding": "base64"})], "the header does not stand first"),
        ([("header", {"summary": "x"}), ("header", {"summary": "y"})], "the header does not stand first"),
        ([("header", {"summary": "x"}), ("lfsFile", {"path": "a", "oid": "0" * 64, "size": 1})], "was never sent"),
        ([("header", {"summary": "x"}), ("deletedFile", {"path": "../a"})], "a bad path"),
    ],
    ids=["no header", "two headers", "unknown content", "bad path"],
)
def test_commits_that_no_hub_takes(
    strict: LoopbackHub, lines: list[tuple[str, dict[str, object]]], words: str
) -> None:
    body = "\n".join(json.dumps({"key": key, "value": {"summary": "x"} | value}) for key, value in lines)
    place = f"{strict.endpoint}/api/models/org/it/commit/main"
    httpx2.post(place, content=body, headers={"Content-Type": "application/x-ndjson", **TOKEN})
    assert any(words in problem for problem in strict.problems), strict.problems


def test_writing_needs_rights(strict: LoopbackHub) -> None:
    place = f"{strict.endpoint}/api/models/org/it/tag/main"
    for token, status in ((None, 401), ("hf_none", 401), ("hf_reader", 403), ("hf_other", 403), ("hf_test", 200)):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        assert httpx2.post(place, json={"tag": "v1"}, headers=headers).status_code == status
    assert not strict.problems
