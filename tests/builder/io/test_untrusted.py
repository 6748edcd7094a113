"""A Hub that cannot be reached: reported in seconds, with the address, by all that loads from it."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.utils import close_session

from builder.embedders.base import load_embedder
from builder.errors import BackendError
from builder.generators.musicgen.checkpoint import Checkpoint
from builder.io import untrusted
from builder.prompts.chat import ChatModel
from builder.settings import EmbedderSettings

CPU = torch.device("cpu")
LOADERS: dict[str, Callable[[], Any]] = {
    "musicgen": lambda: Checkpoint.load("no-such/model", None, torch.float32, CPU),
    "hf": lambda: load_embedder(EmbedderSettings(name="hf:no-such/model")),
    "chat": lambda: ChatModel("no-such/model"),
}


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    def point_to(address: str) -> None:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        close_session()

    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return point_to


def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.parametrize("name", LOADERS)
def test_no_connection_is_reported_at_once(endpoint: Callable[[str], None], name: str, capfd: Any) -> None:
    endpoint(address := closed_port())
    clock = time.monotonic()
    with pytest.raises(BackendError, match=rf"no-such/model: is not on this machine.* at {address}: ") as raised:
        LOADERS[name]()
    assert time.monotonic() - clock < 10  # no retries, which take 23 s
    assert "DIR, after: hf download no-such/model --local-dir DIR" in str(raised.value.fix)
    assert "Retrying" not in "".join(capfd.readouterr())


def test_a_hub_that_never_answers_is_given_up(
    endpoint: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert untrusted.CONNECT_SECONDS + untrusted.ANSWER_SECONDS < 10
    monkeypatch.setattr(untrusted, "ANSWER_SECONDS", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        endpoint(f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(BackendError, match=r"cannot be reached at .*: timed out"):
            untrusted.require_hub("no-such/model", "model: {}")


def test_nothing_is_asked_for_folders_for_what_is_cached_and_offline(
    endpoint: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint(closed_port())
    untrusted.require_hub(str(tmp_path), "model: {}")
    kept = tmp_path / "hub/models--me--tiny"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs/main").write_text("0" * 40)
    (kept / "snapshots" / ("0" * 40)).mkdir(parents=True)
    (kept / "snapshots" / ("0" * 40) / "config.json").write_text("{}")
    untrusted.require_hub("me/tiny", "model: {}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    untrusted.require_hub("no-such/model", "model: {}")
