"""`evaluate` modules, loaded by path without a network."""

from __future__ import annotations

from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from builder.errors import BackendError

if TYPE_CHECKING:
    from evaluate import EvaluationModule

FOLDER = Path(__file__).parent


def load_metric(name: str) -> EvaluationModule:
    """The shipped metric `name`, ready to `compute`. Raises BackendError that names the known ones."""
    script = FOLDER / name / f"{name}.py"
    if not script.is_file():
        known = ", ".join(sorted(path.parent.name for path in FOLDER.glob("*/README.md")))
        raise BackendError(f"there is no metric called {name!r} in this version of synthmir", f"use one of: {known}")
    import evaluate

    # In memory: nothing is left in the cache, and parallel runs do not wait for one another's lock.
    return evaluate.load(str(script.parent), keep_in_memory=True)


@cache
def import_metric(name: str) -> ModuleType:
    """Import the file of a shipped metric, for its functions that score one track.

    Its folder is no package: it is published as it is, and `evaluate` wants one file.
    """
    spec = spec_from_file_location(f"{__name__}.{name}", FOLDER / name / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
