"""What is refused before anything is sent: unsound folders, names, tokens; and no message has a token."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants

from builder.errors import DataError, HubError, RecipeError, SynthmirError
from builder.hub.cards import update_metadata
from builder.hub.publish import Target

from .loopback_hub import LoopbackHub

Send = Callable[..., list[Target]]
ROOT = Path(__file__).parents[3]


def refused(hub: LoopbackHub, send: Send, kind: type[SynthmirError], words: str, **options: object) -> None:
    """Sending ends in this error, and nothing was written."""
    before = {key: dict(repo.refs) for key, repo in hub.repos.items()}
    with pytest.raises(kind, match=words) as error:
        send(**options)
    assert error.value.fix and "hf_test" not in str(error.value)
    assert {key: dict(repo.refs) for key, repo in hub.repos.items()} == before
    assert not hub.begun and not hub.requests("create")


@pytest.mark.parametrize("name", ["small", "a/b/c", "org/", "org/sm all", "org/small.git", "../x", "org/--x"])
def test_malformed_names(hub: LoopbackHub, send: Send, name: str) -> None:
    refused(hub, send, HubError, "NAMESPACE/", repo=name)
    assert not hub.log


def test_no_token(hub: LoopbackHub, send: Send, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    refused(hub, send, HubError, r"no token for http.*\n  fix: log in: hf auth login, or set HF_TOKEN")
    assert not hub.log


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("hf_reader", r"the token of me can only read\n  fix: make one with write access: http"),
        ("hf_unknown", r"401.*\n  fix: log in again"),
    ],
)
def test_tokens_that_do_not_do(
    hub: LoopbackHub, send: Send, monkeypatch: pytest.MonkeyPatch, token: str, words: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    refused(hub, send, HubError, words)
    assert hub.requests("whoami") and not hub.requests("info")


def test_a_namespace_of_others(hub: LoopbackHub, send: Send) -> None:
    with pytest.raises(HubError, match=r"403 \(You don't have the rights .*\n  fix: use a name in your namespace"):
        send(repo="others/small")
    assert not hub.repos and not hub.begun


def test_a_pull_request_is_proposed_where_there_is_a_repository(hub: LoopbackHub, send: Send) -> None:
    with pytest.raises(HubError) as error:
        send(repo="others/small")
    assert "--pr" not in str(error.value)
    hub.add_repo("dataset", "others/small")
    with pytest.raises(HubError, match=r"403 .*\n  fix: .*or a pull request: --pr"):
        send(repo="others/small", what="corpus")


@pytest.mark.parametrize(("route", "options"), [("whoami", {}), ("info", {"dry_run": True})])
def test_a_page_that_is_no_hub(
    hub: LoopbackHub, send: Send, monkeypatch: pytest.MonkeyPatch, route: str, options: dict[str, bool]
) -> None:
    hub.fail(route, 404, times=-1, page=b"<html>nothing here</html>")
    if options:
        monkeypatch.delenv("HF_TOKEN")
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nowhere")
    words = (
        rf"{hub.endpoint} answers 404 \(Not Found\)\n  fix: check HF_ENDPOINT, which is {hub.endpoint}: .* no Hugging"
    )
    refused(hub, send, HubError, words, **options)


def test_a_name_that_is_taken(hub: LoopbackHub, send: Send) -> None:
    hub.add_repo("dataset", "org/small", {"train.csv": b"a,b\n"})
    refused(hub, send, HubError, r"is taken, as it has other files \(train.csv\)\n  fix: choose another name")


def test_a_repository_of_another_type(hub: LoopbackHub, send: Send) -> None:
    hub.add_repo("model", "org/small")
    refused(hub, send, HubError, r"org/small: is a model on the Hub, not a dataset\n  fix: choose another name")


def test_private_asked_of_a_public_one(hub: LoopbackHub, send: Send) -> None:
    hub.add_repo("dataset", "org/small")
    refused(hub, send, HubError, "exists, and is public", private=True)


def test_a_tag_for_another_state(hub: LoopbackHub, send: Send) -> None:
    repo = hub.add_repo("dataset", "org/small")
    repo.tags["v1"] = repo.refs["main"]
    refused(hub, send, HubError, "the tag v1 is of another state already", revision="v1")


@pytest.mark.parametrize("tag", ["", "a..b", "-x y", "v1.lock", "/v1", "v1/", "a//b", "v~1"])
def test_no_names_for_tags(hub: LoopbackHub, send: Send, tag: str) -> None:
    refused(hub, send, RecipeError, "not a name for a tag", revision=tag)


def test_options_that_do_not_go_together(hub: LoopbackHub, send: Send) -> None:
    refused(hub, send, RecipeError, "cannot be tagged", revision="v1", pull_request=True)
    with pytest.raises(RecipeError, match="not one of corpus, model, both"):
        send(what="all")


def test_offline(hub: LoopbackHub, send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refused(hub, send, HubError, r"offline mode is on\n  fix: unset HF_HUB_OFFLINE")


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_card_that_the_hub_does_not_take(hub: LoopbackHub, send: Send, run: Path, dry_run: bool) -> None:
    """It is validated before anything is sent, and with --dry-run."""
    set_in_card(run / "model", license="gpl-9.0")
    words = r'model/README\.md: the Hub does not accept its YAML: "license" must be one of .*\n  fix: change that key'
    refused(hub, send, HubError, words, run=run, dry_run=dry_run)
    hub.fail("validate", 400, times=-1, page=b'{"error": "not a card"}')
    refused(hub, send, HubError, "its YAML: not a card", dry_run=dry_run)


def test_a_card_is_validated_once(hub: LoopbackHub, send: Send) -> None:
    send(revision="v1")
    assert len(hub.requests("validate")) == len(hub.repos) == 2


def set_in_card(folder: Path, **changed: object) -> None:
    text = (folder / "README.md").read_text(encoding="utf-8")
    (folder / "README.md").write_text(update_metadata(text, changed), encoding="utf-8")


CARDS: list[tuple[str, dict[str, object], str]] = [
    ("model", {"license": "CC BY 4.0"}, "license: 'CC BY 4.0' is not an identifier"),
    ("model", {"tags": ["music", 2026]}, "tags: 2026 is not text"),
    ("model", {"model-index": [{"name": "x"}]}, "model-index: "),
    ("corpus", {"license": None}, "license: None is not text"),
    ("corpus", {"language": ["english"]}, "language: 'english' is not an ISO 639 code"),
    ("corpus", {"size_categories": ["30"]}, r"size_categories: '30' is not one of .*n<1K"),
    ("corpus", {"task_categories": [{"audio": 1}]}, "task_categories: {'audio': 1} is not text"),
    ("corpus", {"configs": [{"data_files": "data/*"}]}, "configs: .*config_name"),
    ("corpus", {"configs": [{"config_name": "a", "data_files": 5}]}, "configs: .*data_files"),
    ("corpus", {"dataset_info": [{"features": [{"name": "id", "dtype": "strin"}]}]}, "dataset_info: .*Strin"),
]


@pytest.mark.parametrize(("part", "changed", "words"), CARDS)
def test_cards_that_no_hub_takes(
    hub: LoopbackHub, send: Send, run: Path, part: str, changed: dict[str, object], words: str
) -> None:
    """What the client libraries know is wrong needs no Hub."""
    set_in_card(run / part, **changed)
    refused(hub, send, DataError, f"{part}/README.md: its YAML is not valid on the Hub: {words}", run=run)
    assert {line.split()[0] for line in hub.log} == {"whoami"}


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "damaged": (lambda run: _flip(run / "corpus/data/train-00001-of-00003.parquet"), r"1 problem, so it is not pub"),
    "foreign": (lambda run: (run / "corpus/notes.txt").write_text("x"), "notes.txt: not listed"),
    "unfinished": (
        lambda run: ((run / "corpus/.work").mkdir(), (run / "corpus/.work/state.json").write_text("{}")),
        "is not finished",
    ),
    "no sums": (lambda run: (run / "corpus/SHA256SUMS").unlink(), "not a synthmir corpus"),
    "no model": (lambda run: shutil.rmtree(run / "model"), r"has no model\n  fix: make one: synthmir train"),
    "no corpus": (lambda run: shutil.rmtree(run / "corpus"), r"has no corpus\n  fix: make one: synthmir build"),
    "no card": (lambda run: (run / "model/README.md").unlink(), r"README.md is missing"),
    "pickle": (lambda run: (run / "model/optimizer.pt").write_bytes(b"x"), "a pickle may run code"),
    "weights": (lambda run: (run / "model/model.safetensors").write_bytes(b"x" * 50), "safetensors: cannot be read"),
    "config": (lambda run: (run / "model/config.json").write_text("{"), "config.json: cannot be read"),
    "other": (lambda run: (run / "model/config.json").write_text('{"model_type": "bert"}'), "not a model of synthmir"),
    "nothing": (lambda run: shutil.rmtree(run), "there is no such folder"),
}


@pytest.mark.parametrize("how", sorted(SPOILT))
def test_folders_that_are_not_sound(hub: LoopbackHub, send: Send, run: Path, how: str) -> None:
    spoil, words = SPOILT[how]
    spoil(run)
    refused(hub, send, DataError, words, run=run, revision="v1")


def cli(hub: LoopbackHub, home: Path, *arguments: object, xet: bool = False) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": os.environ["PATH"], "HF_HUB_DISABLE_TELEMETRY": "1"}
    environ |= {
        "HF_ENDPOINT": f"{hub.endpoint}/",
        "HF_HOME": str(home),
        "HF_TOKEN": "hf_test",
        "NO_PROXY": "127.0.0.1",
    }
    environ |= {"HF_HUB_DISABLE_XET": str(int(not xet)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "synthmir", *map(str, arguments)]
    return subprocess.run(command, env=environ, capture_output=True, text=True)


def test_the_command_prints_addresses_and_how_to_load(hub: LoopbackHub, made: Path, tmp_path: Path) -> None:
    done = cli(hub, tmp_path, "publish", made, "--repo", "org/small", "--revision", "v1.0")
    assert done.returncode == 0, done.stderr
    first, *rest = done.stdout.splitlines()
    assert first == f"corpus  {hub.endpoint}/datasets/org/small  (v1.0)"
    assert rest[1] == '    corpus = load_dataset("org/small", revision="v1.0")'
    assert f"model  {hub.endpoint}/org/small-genre  (v1.0)" in rest
    assert "hf_test" not in done.stdout + done.stderr
    bars = {line.partition(":")[0].strip() for line in re.split(r"[\r\n]+", done.stderr) if "%|" in line}
    assert bars == {"verify", "publish"} and "LFS" not in done.stderr  # the client's own are silent


@pytest.mark.parametrize("debug", [(), ("--debug",)], ids=["plain", "debug"])
def test_no_token_in_any_output(hub: LoopbackHub, made: Path, tmp_path: Path, debug: tuple[str, ...]) -> None:
    hub.fail("commit", 503, headers={"Retry-After": "0"}, message="hf_test may not")
    hub.fail("preupload", 400, skip=4, times=-1, message="bad header: Bearer hf_test")
    done = cli(hub, tmp_path, *debug, "publish", made, "--repo", "org/small")
    assert "bad header: Bearer hf_***" in done.stderr
    assert "hf_test" not in done.stdout + done.stderr
    assert ("Traceback" in done.stderr) == bool(debug) and done.returncode == 5


def test_a_hub_without_xet_storage(hub: LoopbackHub, made: Path, tmp_path: Path) -> None:
    done = cli(hub, tmp_path, "publish", made, "--repo", "org/small", xet=True)
    assert done.returncode == 5 and "fix: this Hub has no Xet storage" in done.stderr, done.stderr
    assert "set HF_HUB_DISABLE_XET=1" in done.stderr and not hub.begun
