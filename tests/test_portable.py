"""Past `import` and through a small run where Python lacks the modules that only Unix has."""

from __future__ import annotations

from pathlib import Path

from .warm import WarmProcess

ELSEWHERE = """
import importlib, os, pkgutil, signal, sys
import huggingface_hub.utils._terminal, psutil  # which choose by the system, not by what can be imported
for name in list(sys.modules):
    if name.partition(".")[0] in ("builder", "training", "evaluation", "synthmir"):
        del sys.modules[name]  # so that ours are imported again
sys.modules |= dict.fromkeys(("fcntl", "resource", "termios", "pwd", "grp"))  # importing them raises
for name in ("sched_getaffinity", "sysconf", "geteuid"):
    delattr(os, name)
del signal.pthread_kill

import builder, evaluation, synthmir, training
for stage in (builder, training, evaluation):
    for module in pkgutil.walk_packages(stage.__path__, stage.__name__ + "."):
        # What is copied to a Space, and the scripts that `evaluate` loads.
        if module.name != "builder.hub.metric_page" and not module.name.startswith("evaluation.metrics."):
            importlib.import_module(module.name)

from pathlib import Path
from builder.corpus.building.build import build
from builder.corpus.shards import WORK
from builder.io.locks import lock_folder
from builder.corpus.verify import verify
from builder.errors import DataError
from builder.records import measure_peak_memory
from tests.builder import fakes

fakes.register()
here = Path(sys.argv[1])
build(fakes.small_recipe(here, per_genre=2), here / "corpus", clips_per_shard=4, workers=1)
assert verify(here / "corpus").faults == [] and not (here / "corpus" / WORK).exists()
with lock_folder(here / "one" / WORK):
    try:
        with lock_folder(here / "one" / WORK):
            raise AssertionError("two at work")
    except DataError as error:
        assert "another run is at work" in str(error), error
assert measure_peak_memory() > 1 << 20
print("ran")
"""


def test_every_module_imports_and_a_corpus_is_built_without_what_only_unix_has(tmp_path: Path):
    process = WarmProcess(ELSEWHERE, tmp_path, folder=tmp_path)
    assert process.wait() == 0 and process.out.read_text().splitlines()[-1:] == ["ran"], process.err.read_text()
