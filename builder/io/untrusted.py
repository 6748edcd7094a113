"""Untrusted checkpoints: their files must not name code to run."""

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
CONNECT_SECONDS, ANSWER_SECONDS = 4.0, 5.0  # for the Hub to accept a connection, and to answer


def refuse_code(source: str, revision: str | None = None) -> None:
    """Refuse a checkpoint whose config.json names code to load.

    transformers asks before it runs Python code of a repository. A kernel that a config names (`_attn_implementation:
    "user/kernel"`) is machine code; it is downloaded and run without a question if the package `kernels` is installed.

    Args:
        source: A folder, or an id on the Hub.
        revision: Of the Hub's repository.

    Raises:
        BackendError: If it names code.
    """
    from transformers import PreTrainedConfig

    config, _ = PreTrainedConfig.get_config_dict(source, revision=revision, trust_remote_code=False)
    for key, value in _list_items(config):
        if key in ELSEWHERE or (key in IMPLEMENTATIONS and "/" in str(value)):
            raise BackendError(
                f"{source}: its config.json names code to be loaded: {key}: {str(value)[:80]}",
                "use a checkpoint without it, or delete the line from its config.json",
            )


def require_hub(source: str, setting: str, revision: str | None = None, file: str = "config.json") -> None:
    """Check that the Hub answers, before huggingface_hub tries each file for 23 s and longer and prints every try.

    The Hub is not asked for a folder, for what is in the cache, or if HF_HUB_OFFLINE is set. Any answer counts, also
    an error.

    Args:
        source: An id on the Hub, or a folder.
        setting: The setting that may name a folder instead, for the message: "model: {}".
        revision: Of the Hub's repository.
        file: A file that the cache has if it has the repository.

    Raises:
        BackendError: If the Hub is needed and does not answer within 9 s.
    """
    import httpx2
    from huggingface_hub import constants, get_session, is_offline_mode, try_to_load_from_cache

    if is_folder(Path(source)) or is_offline_mode():
        return
    if isinstance(try_to_load_from_cache(source, file, revision=revision), str):
        return
    try:
        get_session().head(constants.ENDPOINT, timeout=httpx2.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS))
    except (httpx2.TransportError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BackendError(
            f"{source}: is not on this machine, and the Hub cannot be reached at {constants.ENDPOINT}: {reason}",
            "check the network and HF_ENDPOINT, and run the same command again; or on a machine with a network, "
            f"{setting.format('DIR')}, after: hf download {source} --local-dir DIR",
        ) from error


def _list_items(document: Any) -> Iterator[tuple[str, Any]]:
    """Yield every key of a JSON document with its value."""
    waiting = [document]
    for _ in range(MAX_NODES):
        if not waiting:
            return
        node = waiting.pop()
        if isinstance(node, dict):
            yield from node.items()
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node
