"""The explorer as a Space: a folder that the Hub accepts, and that runs without synthmir installed."""

from __future__ import annotations

import ast
import shutil
import signal
import subprocess
import sys
import urllib.request
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from typer.testing import CliRunner

from builder.errors import BackendError, DataError, RecipeError
from builder.hub.spaces import check_space
from evaluation.explorer import export
from evaluation.explorer.clip_table import Clips
from evaluation.explorer.export import write_space
from synthmir.cli import app

ROOT = Path(__file__).parents[3]
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}  # that the Hub accepts
WITHOUT_SYNTHMIR = f"""
import runpy, sys

root = {str(ROOT)!r}
sys.path = [folder for folder in sys.path if folder != root]
runpy.run_path("app.py", run_name="__main__")
"""


@pytest.fixture
def run(corpus: Path, model: Path, tmp_path: Path) -> Path:
    """A run with the small corpus and its model."""
    shutil.copytree(corpus, tmp_path / "my run/corpus")
    shutil.copytree(model, tmp_path / "my run/model")
    return tmp_path / "my run"


def read_metadata(space: Path) -> dict[str, object]:
    _, front, _ = (space / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return dict(yaml.safe_load(front))


def test_a_space_is_accepted_by_the_hub(run: Path, tmp_path: Path):
    out = write_space(Clips.open(run), tmp_path / "space")
    head = read_metadata(out)
    assert head["sdk"] == "gradio" and head["sdk_version"] == metadata.version("gradio")
    assert (out / str(head["app_file"])).is_file() and head["python_version"] == "3.11"
    assert {head["colorFrom"], head["colorTo"]} <= COLOURS and len(str(head["short_description"])) <= 60
    assert "datasets" not in head and head["title"] == "my run explorer"
    requirements = [Requirement(line) for line in (out / "requirements.txt").read_text().splitlines()]
    names = {requirement.name for requirement in requirements}
    assert {"gradio", "numpy", "pandas", "pyarrow", "torch", "transformers", "huggingface-hub"} <= names
    assert "synthmir" not in names and all(requirement.marker is None for requirement in requirements)
    for requirement in requirements:
        assert requirement.specifier.contains(metadata.version(requirement.name), prereleases=True)
    copied = {p.relative_to(run).as_posix(): p.read_bytes() for p in run.rglob("*") if p.is_file()}
    copy = out / "runs/my-run"
    assert copied == {p.relative_to(copy).as_posix(): p.read_bytes() for p in copy.rglob("*") if p.is_file()}
    assert not list(out.rglob("__pycache__"))
    check_space(out)  # as `synthmir publish --what space` does


def test_a_space_that_reads_its_corpus_from_the_hub(run: Path, tmp_path: Path):
    out = write_space(Clips.open(run), tmp_path / "space", repo="org/mini", limit=10)
    assert read_metadata(out)["datasets"] == ["org/mini"] and not (out / "runs").exists()
    program = ast.parse((out / "app.py").read_text(encoding="utf-8"))
    (call,) = [n for n in ast.walk(program) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "serve"]
    assert ast.literal_eval(call.args[0]) == "org/mini"
    assert {k.arg: ast.unparse(k.value) for k in call.keywords}["limit"] == "10"
    with pytest.raises(RecipeError, match="not a name on the Hub"):
        write_space(Clips.open(run), tmp_path / "other", repo="https://hub/org/mini")


@pytest.mark.parametrize("name", ['a """quoted""" \\name', "it's {braces}\n%s", "…/.."])
def test_names_with_quotes_and_braces_give_a_valid_program(name: str, run: Path, tmp_path: Path):
    clips = Clips.open(run)
    clips.source.name = name
    out = write_space(clips, tmp_path / "space", against=clips)
    ast.parse((out / "app.py").read_text(encoding="utf-8"))
    assert read_metadata(out)["sdk"] == "gradio"
    assert all(".." not in p.name and p.is_dir() for p in (out / "runs").iterdir())


def test_the_app_runs_without_synthmir_installed(run: Path, tmp_path: Path):
    out = write_space(Clips.open(run), tmp_path / "space", against=Clips.open(run))
    assert sorted(p.name for p in (out / "runs").iterdir()) == ["my-run", "my-run-2"]
    environ = {"PORT": "0", "HOME": str(tmp_path), "PATH": "/nowhere", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", WITHOUT_SYNTHMIR],
        cwd=out,
        env=environ,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        line = next((line for line in lines if "http://" in line), "")
        assert "27 clips at http://127.0.0.1:" in line
        address = line.split(" at ")[1].split()[0]
        with urllib.request.urlopen(address) as page:
            assert page.status == 200 and b"gradio" in page.read()
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
    finally:
        process.kill()
        process.wait()


def test_a_corpus_larger_than_a_space_is_refused(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(export, "MAX_BYTES", 1000)
    with pytest.raises(DataError, match="a Space's own repository takes") as error:
        write_space(Clips.open(run), tmp_path / "space")
    assert "synthmir publish" in str(error.value) and not (tmp_path / "space").exists()
    write_space(Clips.open(run), tmp_path / "space", repo="org/mini")


def test_a_space_replaces_a_space_and_no_other_folder(run: Path, tmp_path: Path):
    clips = Clips.open(run)
    write_space(clips, tmp_path / "space", repo="org/one")
    write_space(clips, tmp_path / "space", repo="org/two")
    assert read_metadata(tmp_path / "space")["datasets"] == ["org/two"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/app.py").write_text("print('mine')")
    for folder in (tmp_path / "mine", run):
        with pytest.raises(DataError, match="is not empty, and does not hold an exported Space"):
            write_space(clips, folder, repo="org/one")


def test_without_gradio_the_error_names_the_extra(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(export.metadata, "version", absent)
    with pytest.raises(BackendError, match=r"synthmir\[explorer\]"):
        write_space(Clips.open(run), tmp_path / "space")


def test_the_command_writes_both_and_refuses_mistakes(run: Path, tmp_path: Path):
    invoke = CliRunner().invoke
    page, space = tmp_path / "page", tmp_path / "space"
    result = invoke(app, ["explore", str(run), "--static", str(page), "--export", str(space), "--limit", "3"])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [f"page  {page / 'index.html'}", f"space {space / 'app.py'}"]
    for arguments, kind, message in (
        ((run, "--static", page, "--against", run), RecipeError, "--static shows one corpus"),
        ((run, "--static", page, "--export", page), RecipeError, "give each its own folder"),
        ((run, "--repo", "org/mini"), RecipeError, "add --export DIR"),
        ((tmp_path / "nowhere", "--static", page), DataError, "there is no such folder"),
    ):
        result = invoke(app, ["explore", *map(str, arguments)])
        assert isinstance(result.exception, kind) and message in str(result.exception)
