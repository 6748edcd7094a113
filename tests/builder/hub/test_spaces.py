"""Metrics and explorers as Spaces: what arrives, what is refused, and what a later publishing leaves behind."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from builder.errors import DataError, HubError
from builder.hub.console import format_targets
from builder.hub.publish import Target
from evaluation.metrics import FOLDER

from .loopback_hub import LoopbackHub

Send = Callable[..., list[Target]]
NAMES = [
    *("beat_report", "chord_report", "genre_report", "key_report"),
    *("melody_report", "note_report", "tagging_report", "tempo_report"),
]
HEAD = {"title": "Small", "sdk": "gradio", "sdk_version": "6.31.0", "app_file": "app.py", "license": "apache-2.0"}


def head(text: str) -> dict[str, Any]:
    return dict(yaml.safe_load(text.split("---\n")[1]))


@pytest.fixture
def space(tmp_path: Path) -> Path:
    """What `synthmir explore RUN --export DIR` writes: card, app, requirements, data; and litter of trying it out."""
    folder = tmp_path / "space"
    for name, content in {
        "app.py": "print(1)\n",
        "requirements.txt": "gradio\n",
        "data/clips.parquet": "PAR1",
        "data/audio/a.flac": "fLaC",
        "data/corpus/SHA256SUMS": "0  x\n",
        "assets/map.json": "{}",
        "__pycache__/app.cpython-311.pyc": "no",
        ".gradio/flagged.csv": "no",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    card(folder)
    return folder


def card(folder: Path, **changed: object) -> None:
    metadata = {key: value for key, value in (HEAD | changed).items() if value is not None}
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump(metadata)}---\n\n# Small\n")


def test_all_metrics_become_spaces_by_their_names(hub: LoopbackHub, send: Send) -> None:
    targets = send(Path("all"), "org", what="metrics", metrics=FOLDER, revision="v1")
    assert [target.repo for target in targets] == [f"org/{name}" for name in NAMES]
    for target in targets:
        repo = hub.repos["space", target.repo]
        assert repo.sdk == "gradio" and repo.tags == {"v1": target.head}
        name = target.folder.name
        assert set(repo.files) == {".gitattributes", "README.md", "app.py", "requirements.txt", f"{name}.py"}
        for path in ("requirements.txt", f"{name}.py"):
            assert hub.content("space", target.repo, path) == (FOLDER / name / path).read_bytes()
        text = hub.content("space", target.repo, "README.md").decode()
        assert f'evaluate.load("org/{name}")' in text and "path/to" not in text
        data = head(text)
        assert (data["sdk"], data["app_file"]) == ("gradio", "app.py") and {"evaluate", "metric"} <= set(data["tags"])
        assert f'NAME = "{name}"' in hub.content("space", target.repo, "app.py").decode()
    assert "\n".join(format_targets(targets)).count("import evaluate") == len(NAMES)
    hub.log.clear()
    send(Path("all"), "org", what="metrics", metrics=FOLDER, revision="v1")
    assert not hub.requests("commit") and not hub.requests("put") and not hub.requests("create")


@pytest.mark.parametrize("repo", ["org", "org/genre_report"])
def test_one_metric_by_name_or_folder(hub: LoopbackHub, send: Send, repo: str) -> None:
    (named,) = send(Path("genre_report"), repo, what="metrics", metrics=FOLDER, dry_run=True)
    (target,) = send(FOLDER / "genre_report", repo, what="metrics")
    (plain,) = send(FOLDER / "genre_report", "org/genre_report")
    assert named.repo == target.repo == plain.repo == "org/genre_report" and list(hub.repos) == [("space", plain.repo)]
    assert target.lines[1] == 'report = evaluate.load("org/genre_report")'


def test_a_metric_of_ones_own_with_its_own_page(hub: LoopbackHub, send: Send, tmp_path: Path) -> None:
    own = shutil.copytree(FOLDER / "tempo_report", tmp_path / "my_tempo")
    (own / "tempo_report.py").rename(own / "my_tempo.py")
    (own / "app.py").write_text("print('mine')\n")
    send(own, "me", what="metrics")
    assert hub.content("space", "me/my_tempo", "app.py") == b"print('mine')\n"


def spoil(folder: Path, name: str, text: str | None) -> Path:
    if text is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(text)
    return folder


METRICS: dict[str, tuple[str, str | None, str]] = {
    "syntax": ("tempo_report.py", "def (", "tempo_report.py: not Python"),
    "requirements": ("requirements.txt", None, "not a complete metric, requirements.txt is missing"),
    "card": ("README.md", "# no head\n", "has no YAML"),
    "pickle": ("weights.pkl", "x", "a pickle may run code"),
}


@pytest.mark.parametrize("how", sorted(METRICS))
def test_metrics_that_are_not_whole(hub: LoopbackHub, send: Send, tmp_path: Path, how: str) -> None:
    name, text, words = METRICS[how]
    folder = spoil(shutil.copytree(FOLDER / "tempo_report", tmp_path / "tempo_report"), name, text)
    with pytest.raises(DataError, match=words) as error:
        send(folder, "org", what="metrics")
    assert error.value.fix and not hub.log


@pytest.mark.parametrize(
    ("run", "repo", "kind", "words"),
    [
        ("f1", "org", DataError, r"f1: has no metric, .*\n  fix: .*genre_report, .*, tempo_report, all"),
        ("all", "org/genre_report", HubError, r"several metrics.*\n  fix: --repo org"),
        ("genre_report", "org/report", HubError, r"evaluate looks for report.py.*\n  fix: --repo org/genre_report"),
        ("genre_report", "or g", HubError, "NAMESPACE/NAME"),
    ],
    ids=["unknown", "several", "renamed", "malformed"],
)
def test_names_of_metrics(
    hub: LoopbackHub, send: Send, run: str, repo: str, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        send(Path(run), repo, what="metrics", metrics=FOLDER)
    assert not hub.log


def test_a_space_arrives_whole_with_its_sums(hub: LoopbackHub, send: Send, space: Path) -> None:
    (target,) = send(space, "org/explorer", what="space", revision="v1")
    repo = hub.repos["space", "org/explorer"]
    sent = {"README.md", "app.py", "requirements.txt", "assets/map.json"}
    sent |= {"data/clips.parquet", "data/audio/a.flac", "data/corpus/SHA256SUMS"}
    assert set(repo.files) == sent | {"SHA256SUMS", ".gitattributes"}
    sums = hub.content("space", "org/explorer", "SHA256SUMS").decode()
    for name in sent:
        content = hub.content("space", "org/explorer", name)
        assert content == (space / name).read_bytes() and f"{hashlib.sha256(content).hexdigest()}  {name}\n" in sums
    assert repo.sdk == "gradio" and repo.tags == {"v1": target.head} and target.lines == []
    assert list(format_targets([target])) == [f"space  {hub.endpoint}/spaces/org/explorer  (v1)"]
    hub.log.clear()
    assert send(space, "org/explorer")[0].head == target.head and not hub.requests("commit")


def test_a_static_space(hub: LoopbackHub, send: Send, space: Path) -> None:
    spoil(space, "index.html", "<p>music</p>")
    card(space, sdk="static", app_file=None)
    send(space.parent, "org/page", what="space")
    assert hub.repos["space", "org/page"].sdk == "static"


def test_what_an_older_export_held_goes_and_what_others_added_stays(hub: LoopbackHub, send: Send, space: Path) -> None:
    send(space, "org/explorer", what="space")
    repo = hub.repos["space", "org/explorer"]
    hub.push(repo, {"theirs.txt": b"x", "theirs/too.txt": b"x"})
    (space / "data/audio/a.flac").rename(space / "data/audio/b.flac")
    (target,) = send(space, "org/explorer", what="space", dry_run=True)
    assert target.delete == ["data/audio/a.flac"]
    send(space, "org/explorer", what="space")
    assert {"data/audio/b.flac", "theirs.txt", "theirs/too.txt"} <= set(repo.files)
    assert "data/audio/a.flac" not in repo.files


def test_a_space_of_somebody_else_is_not_written_over(hub: LoopbackHub, send: Send, space: Path) -> None:
    repo = hub.add_repo("space", "org/explorer", {"app.py": b"theirs", "model.safetensors": b"theirs"})
    with pytest.raises(HubError, match=r"is taken, as it has other files \(model.safetensors\)"):
        send(space, "org/explorer", what="space")
    hub.add_repo("model", "org/model")
    with pytest.raises(HubError, match="is a model on the Hub, not a space"):
        send(space, "org/model", what="space")
    assert hub.content("space", "org/explorer", "app.py") == b"theirs" and len(repo.commits) == 2


SPACES: dict[str, tuple[dict[str, object], str, str | None, str]] = {
    "no sdk": ({"sdk": None}, "app.py", "x", r"is not a Space, .*\n  fix: write one: synthmir explore RUN --export"),
    "docker": ({"sdk": "docker"}, "app.py", "x", "sdk: docker is not supported"),
    "no app": ({}, "app.py", None, "its page app.py is missing"),
    "no index": ({"sdk": "static", "app_file": None}, "app.py", "x", "its page index.html is missing"),
    "climbs": ({"app_file": "../space/app.py"}, "app.py", "x", "its page ../space/app.py is missing"),
    "pickle": ({}, "data/x.pt", "x", "a pickle may run code"),
}


@pytest.mark.parametrize("how", sorted(SPACES))
def test_spaces_that_are_not_whole(hub: LoopbackHub, send: Send, space: Path, how: str) -> None:
    changed, name, text, words = SPACES[how]
    card(space, **changed)
    spoil(space, name, text)
    with pytest.raises(DataError, match=words) as error:
        send(space, "org/explorer", what="space")
    assert error.value.fix and not hub.log


@pytest.mark.parametrize(
    ("route", "status"), [("create", 503), ("commit", 409), ("commit", 412), ("put", 500), ("tag", 429)]
)
def test_a_space_is_sent_with_the_same_patience(
    hub: LoopbackHub, send: Send, space: Path, pauses: list[float], route: str, status: int
) -> None:
    hub.fail(route, status, times=2)
    send(space, "org/explorer", what="space", revision="v1")
    assert len(pauses) == 2 and set(hub.whole.values()) == {1}
    assert hub.repos["space", "org/explorer"].tags


def test_a_space_goes_on_where_it_was_stopped(hub: LoopbackHub, send: Send, space: Path) -> None:
    hub.fail("commit", 403, times=-1)
    with pytest.raises(HubError, match="403"):
        send(space, "org/explorer", what="space", revision="v1")
    assert not hub.repos["space", "org/explorer"].tags
    hub.faults.clear()
    send(space, "org/explorer", what="space", revision="v1")
    assert set(hub.whole.values()) == set(hub.begun.values()) == {1} and hub.repos["space", "org/explorer"].tags
