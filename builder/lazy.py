"""Exports of a package that are imported when they are used, so that importing the package stays light."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_exports(package: str, modules: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make a package's `__getattr__` and `__dir__` (PEP 562).

    Args:
        package: The package's `__name__`.
        modules: By the name of each export, the module that defines it.

    Returns:
        The two functions, for `__getattr__, __dir__ = lazy_exports(__name__, ...)`.
    """

    def import_export(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(modules[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    def list_exports() -> list[str]:
        return list(sys.modules[package].__all__)

    return import_export, list_exports
