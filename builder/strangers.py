"""Checkpoints of anybody's: what their files may not name is code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .errors import BackendError

IMPLEMENTATIONS = tuple(
    f"{before}{what}_implementation{after}"
    for what in ("attn", "experts")
    for before in ("", "_")
    for after in ("", "_internal")
)
ELSEWHERE = ("configuration_files", "custom_pipelines")
MAX_NODES = 1_000_000


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
