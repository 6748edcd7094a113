"""The state of a training in one safetensors file: a killed training resumes and ends with the same result."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from builder.io.atomic import write_file

SECONDS = 5.0  # between two checkpoints: an epoch may be shorter than the writing of one
PROGRESS_KEY = "told"  # as version 0.1 wrote it
_log = logging.getLogger(__name__)


def digest(*parts: Any) -> str:
    """Hash tensors and JSON values into 32 hex digits."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, torch.Tensor):
            found.update(f"{part.dtype} {tuple(part.shape)}".encode())
            found.update(part.detach().cpu().contiguous().numpy().data)
        else:
            found.update(json.dumps(part, sort_keys=True, default=str).encode())
    return found.hexdigest()[:32]


class Checkpoint:
    """The state of modules, an optimizer and generators after an epoch, in `path`; nothing at all where it is None.

    `identity` stands for all that the outcome depends on: the file of another training is ignored.
    """

    def __init__(
        self,
        path: Path | None,
        identity: str,
        modules: dict[str, torch.nn.Module],
        optimizer: Any,
        generators: dict[str, torch.Generator],
        scaler: Any = None,
    ) -> None:
        self.path, self.identity, self.modules = path, identity, modules
        self.optimizer, self.generators, self.scaler = optimizer, generators, scaler
        self._saved = monotonic()

    def due(self) -> bool:
        """Whether enough has been done since the last saving."""
        return self.path is not None and monotonic() - self._saved >= SECONDS

    def save(self, best: dict[str, torch.Tensor], progress: dict[str, Any]) -> None:
        """Write everything atomically. Raises DataError."""
        if self.path is None:
            return
        state = self.optimizer.state_dict()
        tensors = {f"best/{key}": value for key, value in best.items()}
        for name, module in self.modules.items():
            tensors |= {f"module/{name}/{key}": value for key, value in module.state_dict().items()}
        for index, values in state["state"].items():
            tensors |= {f"optimizer/{index}/{key}": value for key, value in values.items()}
        tensors |= {f"generator/{name}": each.get_state() for name, each in self.generators.items()}
        scaler = self.scaler.state_dict() if self.scaler else {}
        text = {"identity": self.identity, PROGRESS_KEY: json.dumps(progress), "scaler": json.dumps(scaler)}
        clones = {key: value.detach().cpu().clone() for key, value in tensors.items()}  # none may share its memory
        write_file(self.path, lambda part: save_file(clones, part, metadata=text))
        self._saved = monotonic()

    def restore(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        """Restore everything; returns the best weights and the progress, or None without a checkpoint."""
        if self.path is None or not self.path.exists():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                text = file.metadata() or {}
                if text.get("identity") != self.identity:
                    _log.info("%s: of another training, ignored", self.path)
                    return None
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError):
            _log.warning("%s: damaged, ignored", self.path)
            return None
        for name, module in self.modules.items():
            module.load_state_dict(_under(f"module/{name}/", tensors))
        state = self.optimizer.state_dict()
        found: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in _under("optimizer/", tensors).items():
            index, _, name = key.partition("/")
            found.setdefault(int(index), {})[name] = value
        self.optimizer.load_state_dict({**state, "state": found})
        for name, each in self.generators.items():
            each.set_state(tensors[f"generator/{name}"])
        if self.scaler:
            self.scaler.load_state_dict(json.loads(text["scaler"]))
        return _under("best/", tensors), json.loads(text[PROGRESS_KEY])


def _under(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def hash_modules(modules: Iterable[torch.nn.Module]) -> list[str]:
    """A digest of each module's weights."""
    return [digest(*module.state_dict().values()) for module in modules]
