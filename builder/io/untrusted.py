"""Checkpoints of anybody's: what their files may not name is code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import BackendError
from .storage import is_folder

IMPLEMENTATIONS = tuple(
    f"{before}{what}_implementation{after}"
    for what in ("attn", "experts")
    for before in ("", "_")
    for after in ("", "_internal")
)
ELSEWHERE = ("configuration_files", "custom_pipelines")
MAX_NODES = 1_000_000
CONNECT, ANSWER = 4.0, 5.0  # seconds that the Hub has to take a connection, and to answer


def refuse_code(source: str, revision: str | None = None) -> None:
    """Raise BackendError for a checkpoint (a folder, or an id on the Hub) whose config.json names code to load.

    transformers asks before it runs a repository's Python; a kernel that a config names (`_attn_implementation:
    "somebody/kernel"`) is machine code, fetched and run without a question where the package `kernels` is installed.
    """
    from transformers import PreTrainedConfig

    told, _ = PreTrainedConfig.get_config_dict(source, revision=revision, trust_remote_code=False)
    for key, value in _pairs(told):
        if key in ELSEWHERE or (key in IMPLEMENTATIONS and "/" in str(value)):
            raise BackendError(
                f"{source}: its config.json names code to be loaded: {key}: {str(value)[:80]}",
                "use a checkpoint without it, or take the line out of its config.json",
            )


def require_hub(source: str, setting: str, revision: str | None = None, file: str = "config.json") -> None:
    """Raise BackendError where `source`, an id on the Hub, is not in the cache and the Hub does not answer within 9 s.

    A refused connection takes no time; huggingface_hub itself tries each file again for 23 s and longer, and prints
    every try. Nothing is asked for a folder, for what is in the cache (known by its `file`), and with HF_HUB_OFFLINE.
    Any answer counts, also an error. `setting`, for the message: where a folder is named instead ("model: {}").
    """
    import httpx2
    from huggingface_hub import constants, get_session, is_offline_mode, try_to_load_from_cache

    if is_folder(Path(source)) or is_offline_mode():
        return
    if isinstance(try_to_load_from_cache(source, file, revision=revision), str):
        return
    try:
        get_session().head(constants.ENDPOINT, timeout=httpx2.Timeout(ANSWER, connect=CONNECT))
    except (httpx2.TransportError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BackendError(
            f"{source}: is not on this machine, and the Hub cannot be reached at {constants.ENDPOINT}: {reason}",
            "check the network and HF_ENDPOINT, and run the same command again; or on a machine with a network, "
            f"{setting.format('DIR')}, after: hf download {source} --local-dir DIR",
        ) from error


def _pairs(told: Any) -> Iterator[tuple[str, Any]]:
    """Every key of a JSON document with its value."""
    waiting = [told]
    for _ in range(MAX_NODES):
        if not waiting:
            return
        node = waiting.pop()
        if isinstance(node, dict):
            yield from node.items()
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node
