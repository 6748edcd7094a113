"""The benchmark of GPUs runs through without one, on the smallest models."""

import json
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "perf" / "gpu.py"


@pytest.fixture(autouse=True)
def perf_on_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:  # `table`, `musicgen`: names that are too plain to stay
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(SCRIPT.parent)):
            del sys.modules[name]


def test_every_check_passes_and_every_row_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "gpu.json"
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--device", "cpu", "--tiny", "--json", str(file)])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
    checks = [row for row in rows if row["name"].startswith("check: ")]
    assert len(checks) == 7 and all("passed" in row["note"] for row in checks)
    for part in ("whole clips", "EnCodec", "PaSST", "musicnn", "decode bfloat16", "decode float16"):
        assert any(row["name"].startswith(part) and row["ours"] > 0 for row in rows), part


def test_a_check_that_fails_ends_it_with_an_error_and_late_timings_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import gpu

    monkeypatch.setattr(sys, "argv", ["gpu.py", "--device", "cpu", "--tiny", "--seconds", "-1"])
    monkeypatch.setattr(gpu, "CHECKS", (lambda bench: bench.check("planted", float("nan"), 0.0),))
    monkeypatch.setattr(gpu, "TIMINGS", (lambda bench: iter(["EnCodec"]),))
    monkeypatch.setattr(gpu, "build_tiny_model", lambda: None)
    with pytest.raises(SystemExit, match="FAILED: planted"):
        gpu.main()
    assert "not measured" in (out := capsys.readouterr().out) and "EnCodec" in out
