"""The wheel holds every data file, and the installed package finds them."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("builder", "training", "evaluation", "synthmir")
CHECK = """
import sys
sys.path[:0] = [sys.argv[1]]
from builder.taxonomy import Taxonomy
from builder.recipe import Recipe
from builder.io.safe_files import find_shipped
from evaluation.metrics import FOLDER
import builder
assert builder.__file__.startswith(sys.argv[1]), builder.__file__
assert find_shipped("dataset_card.md").is_file() and (FOLDER / "genre_report/README.md").is_file()
for recipe in find_shipped("recipes").glob("*.yaml"):
    Recipe.load(recipe.stem)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (file,) = folder.glob("*.whl")
    return file


def test_the_wheel_holds_every_file(wheel: Path):
    inside = set(zipfile.ZipFile(wheel).namelist())
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*") if file.is_file()]
    expected = {file.relative_to(ROOT).as_posix() for file in files if "__pycache__" not in file.parts}
    expected |= {f"builder/recipes/{file.name}" for file in (ROOT / "recipes").glob("*.yaml")}
    expected |= {"builder/dataset_card.md"}
    assert expected - inside == set()
    kinds = {Path(name).suffix for name in expected}
    assert {".yaml", ".jinja", ".json", ".csv", ".c", ".js", ".css", ".md", ".txt"} <= kinds
    assert not [name for name in inside if name.startswith(("tests/", "perf/"))]


def test_the_installed_package_finds_its_files(wheel: Path, tmp_path: Path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = [sys.executable, "-I", "-c", CHECK, str(tmp_path / "site")]
    result = subprocess.run(code, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
