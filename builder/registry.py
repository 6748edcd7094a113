"""Names of parts -> the classes behind them, imported only when one is used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .errors import BackendError


class Registry(dict[str, str]):
    """A table of `name: "module:Class"`. `load` imports the class; an unknown name tells the known ones."""

    def __init__(self, kind: str, **parts: str) -> None:
        super().__init__(parts)
        self.kind = kind

    def load(self, name: str) -> Any:
        """The class called `name`. Raises BackendError if there is none or its package is not installed."""
        if name not in self:
            raise BackendError(
                f"there is no {self.kind} called {name!r} in this version of synthmir",
                f"use one of: {', '.join(sorted(self))}",
            )
        module, _, attribute = self[name].partition(":")
        try:
            return getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            raise BackendError(
                f"{self.kind} {name!r} needs the package {error.name!r}, which is not installed",
                f"pip install {error.name}",
            ) from error
