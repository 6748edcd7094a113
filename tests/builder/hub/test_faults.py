"""Everything that a network and a Hub can do to a client, and what is there afterwards: each file, once."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub.utils import _http

from builder.errors import HubError
from builder.hub.publish import Target

from .loopback_hub import LoopbackHub

Send = Callable[..., list[Target]]
ROUTES = (
    "whoami",
    "info",
    "create",
    "preupload",
    "batch",
    "put",
    "lfs-verify",
    "validate",
    "commit",
    "tree",
    "refs",
    "tag",
)
LARGE = 9  # files of the run that are sent by themselves: 4 + 4 shards, 1 model
MODEL = 6  # files of the model


def check(hub: LoopbackHub, twice: int = 0) -> None:
    """All is there and tagged; each large file came whole once; `twice` of them may have been begun again."""
    sums = hub.content("dataset", "org/small", "SHA256SUMS").decode().splitlines()
    listed = {line.split("  ", 1)[1] for line in sums} | {"SHA256SUMS", ".gitattributes"}
    assert set(hub.repos["dataset", "org/small"].files) == listed
    assert len(hub.repos["model", "org/small-genre"].files) == MODEL + 1
    assert all(repo.tags == {"v1": repo.refs["main"]} for repo in hub.repos.values()) and len(hub.repos) == 2
    assert len(hub.whole) == LARGE and set(hub.whole.values()) == {1}
    assert sum(hub.begun.values()) <= LARGE + twice


CASES = [(route, (429, 500, 503)[i % 3]) for i, route in enumerate(ROUTES)]
CASES += [(route, status) for route in ("put", "commit") for status in (429, 500, 503) if (route, status) not in CASES]


@pytest.mark.parametrize(("route", "status"), CASES)
def test_what_passes_is_waited_for(hub: LoopbackHub, send: Send, pauses: list[float], route: str, status: int) -> None:
    hub.fail(route, status, times=2, headers={"Retry-After": "7"})
    send(revision="v1")
    check(hub, twice=2 if route == "put" else 0)
    assert pauses in ([7.0, 7.0], [8.0, 8.0])  # ours; or the client's own, which adds a second


@pytest.mark.parametrize("status", [409, 412])
def test_a_commit_that_conflicts_is_made_again(
    hub: LoopbackHub, send: Send, pauses: list[float], notices: list[str], status: int
) -> None:
    hub.fail("commit", status, times=3)
    send(revision="v1")
    check(hub)
    assert pauses == [1.0, 2.0, 4.0] and notices[0] == f"the Hub answers {status}; trying again in 1 s"


@pytest.mark.parametrize("route", ["preupload", "batch", "put", "commit"])
@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, r"cannot .*401 \(ordered fault\)\n  fix: log in again: hf auth login"),
        (403, r"cannot .*403 \(ordered fault\)\n  fix: use a name in your namespace"),
        (404, r"cannot .*404 \(ordered fault\)\n  fix: check the name"),
    ],
    ids=["401", "403", "404"],
)
def test_permanent_errors_are_not_repeated(
    hub: LoopbackHub, send: Send, pauses: list[float], route: str, status: int, words: str
) -> None:
    hub.fail(route, status, times=-1)
    with pytest.raises(HubError, match=words):
        send(revision="v1")
    assert not pauses and not any(repo.tags for repo in hub.repos.values())
    hub.faults.clear()
    send(revision="v1")
    check(hub, twice=1 if route == "put" else 0)


@pytest.mark.parametrize(("status", "fix"), [(429, "wait 9 s"), (503, "same command again"), (412, "someone else")])
def test_patience_ends(hub: LoopbackHub, send: Send, pauses: list[float], status: int, fix: str) -> None:
    hub.fail("commit", status, times=-1, headers={"Retry-After": "9"} if status == 429 else {})
    with pytest.raises(HubError, match=fix):
        send(revision="v1")
    assert len(pauses) == 6 and sum(pauses) < 120
    hub.faults.clear()
    send(revision="v1")
    check(hub)


@pytest.mark.parametrize("every", [2, 3, 5])
@pytest.mark.parametrize("pull_request", [False, True])
def test_a_hub_that_is_overloaded(
    hub: LoopbackHub, send: Send, pauses: list[float], every: int, pull_request: bool
) -> None:
    """Each n-th request is answered 503: that request is repeated, and no other."""

    def publish() -> int:
        for store in (hub.repos, hub.sizes, hub.begun, hub.whole, hub.handled, hub.log):
            store.clear()
        if pull_request:
            hub.add_repo("dataset", "org/small")
        send(what="corpus", pull_request=pull_request)
        return len(hub.log)

    needed = publish()
    hub.every = (every, 503)
    sent = publish()
    assert sent - sent // every == needed and pauses
    assert set(hub.whole.values()) == set(hub.handled.values()) == {1} and len(hub.whole) == 8
    repo = hub.repos["dataset", "org/small"]
    assert len(repo.pulls) == pull_request and len(repo.commits) == 2


def test_a_conflict_sends_no_file_again(hub: LoopbackHub, send: Send, pauses: list[float]) -> None:
    hub.fail("commit", 412, times=3)
    send(what="corpus")
    assert pauses == [1.0, 2.0, 4.0] and set(hub.handled.values()) == {1}


@pytest.mark.parametrize(("route", "skip"), [("info", 1), ("tree", 0), ("tree", 1), ("refs", 0), ("tag", 0)])
def test_a_replica_that_lags_behind_is_waited_for(
    hub: LoopbackHub, send: Send, pauses: list[float], route: str, skip: int
) -> None:
    """What was just made or written answers 404 for a while."""
    hub.fail(route, 404, times=2, skip=skip, headers={"X-Error-Code": "RevisionNotFound"})
    if route == "info":  # the first asks whether the repository exists
        hub.add_repo("dataset", "org/small")
    send(what="corpus", revision="v1")
    assert pauses == [1.0, 2.0] and hub.repos["dataset", "org/small"].tags


def test_too_long_a_wait_is_not_begun(hub: LoopbackHub, send: Send, pauses: list[float]) -> None:
    hub.fail("commit", 429, headers={"Retry-After": "86400"})
    with pytest.raises(HubError, match="wait 86400 s"):
        send()
    assert not pauses


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"RateLimit": '"api";r=0;t=55'}, 55.0), ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0)],
    ids=["rate-limit", "date"],
)
def test_the_wait_follows_the_headers(
    hub: LoopbackHub, send: Send, pauses: list[float], headers: dict[str, str], seconds: float
) -> None:
    hub.fail("commit", 429, headers=headers)
    send(what="corpus")
    assert pauses == [seconds]


@pytest.mark.parametrize("route", ["validate", "info", "commit"])
def test_a_proxys_page_is_no_answer(hub: LoopbackHub, send: Send, pauses: list[float], route: str) -> None:
    hub.fail(route, 502, page=b"<html>Bad gateway</html>")
    send(revision="v1")
    check(hub)
    assert pauses == [1.0]


def test_a_put_that_is_cut_is_sent_again(hub: LoopbackHub, send: Send) -> None:
    hub.fail("put", skip=3, cut=10_000)
    send(revision="v1")
    check(hub, twice=1)


@pytest.mark.parametrize("route", ["whoami", "create", "preupload", "batch", "commit", "tag", "tree"])
def test_an_answer_that_is_lost_does_not_do_it_twice(hub: LoopbackHub, send: Send, route: str) -> None:
    hub.fail(route, unsaid=True)
    send(revision="v1")
    check(hub)
    assert [len(repo.commits) for repo in hub.repos.values()] == [2, 2]


def test_a_pull_request_whose_answer_is_lost_is_found(hub: LoopbackHub, send: Send) -> None:
    hub.add_repo("dataset", "org/small")
    hub.fail("commit", unsaid=True)
    (target,) = send(what="corpus", pull_request=True)
    repo = hub.repos["dataset", "org/small"]
    assert len(repo.pulls) == 1 and str(target.pull_url).endswith("/discussions/1")


def test_a_server_that_dies_and_comes_back_in_time(
    hub: LoopbackHub, send: Send, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.fail("put", skip=4, cut=5_000, action=hub.stop)

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            hub.start()

    monkeypatch.setattr(_http, "time", SimpleNamespace(**{**vars(time), "sleep": sleep}))
    send(revision="v1")
    assert len(pauses) == 3
    check(hub, twice=1)


@pytest.mark.parametrize("route", ["put", "commit", "tree"])
def test_a_server_that_dies_and_comes_back_later(hub: LoopbackHub, send: Send, route: str) -> None:
    hub.fail(route, skip=4 if route == "put" else 0, cut=5_000, action=hub.stop)
    with pytest.raises(HubError, match=r"cannot .*\n  fix: check the network and HF_ENDPOINT, then run the same"):
        send(revision="v1")
    hub.start()
    send(revision="v1")
    check(hub, twice=1 if route == "put" else 0)


def test_slow_answers_are_waited_for(hub: LoopbackHub, send: Send, pauses: list[float]) -> None:
    for route in ("whoami", "put", "commit"):
        hub.fail(route, delay=0.2)
    send(revision="v1")
    check(hub)
    assert not pauses


def test_others_may_write_beside_us(hub: LoopbackHub, send: Send) -> None:
    repo = hub.add_repo("dataset", "org/small")
    hub.fail("commit", action=lambda: hub.push(repo, {"LICENSE": b"theirs"}))
    send(revision="v1", what="corpus")
    assert {"LICENSE", "SHA256SUMS"} <= set(repo.files) and set(hub.whole.values()) == {1}


def test_what_others_wrote_meanwhile_is_not_written_over(hub: LoopbackHub, send: Send) -> None:
    repo = hub.add_repo("dataset", "org/small")
    hub.fail("commit", action=lambda: hub.push(repo, {"README.md": b"theirs"}))
    with pytest.raises(HubError, match=r"changed by someone else while .*: README.md\n  fix: look at http"):
        send(revision="v1", what="corpus")
    assert hub.content("dataset", "org/small", "README.md") == b"theirs" and not repo.tags
    send(revision="v1", what="corpus")
    assert set(hub.whole.values()) == {1} and repo.tags


def test_what_arrives_otherwise_is_not_tagged(hub: LoopbackHub, send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    store = hub.store
    monkeypatch.setattr(hub, "store", lambda content: store(content.replace(b"small", b"SMALL")))
    with pytest.raises(HubError, match="did not arrive as it was sent"):
        send(revision="v1")
    assert not any(repo.tags for repo in hub.repos.values())


def test_nobody_there(send: Send, hub: LoopbackHub, pauses: list[float], made: Path) -> None:
    hub.stop()
    words = rf"cannot log in: {hub.endpoint}: .*refused.*\n  fix: check the network and HF_ENDPOINT"
    with pytest.raises(HubError, match=words):
        send()
    assert not pauses
