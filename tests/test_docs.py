"""The documentation: its tutorials run, and the paths and options that it names exist."""

from __future__ import annotations

import json
import re
import shlex
from contextlib import chdir
from pathlib import Path

import pytest
import typer.main
import yaml

from synthmir import read_recipe
from synthmir.cli import app

from .commands import ROOT

TUTORIALS = ROOT / "docs" / "tutorials"
SCRIPTS = sorted(TUTORIALS.glob("*.py"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SMALLER = {"CLIPS_PER_GENRE = 20": "CLIPS_PER_GENRE = 5", "SECONDS = 5.0": "SECONDS = 1.0"}
SMALLER |= {"CLIPS_PER_GENRE = 8": "CLIPS_PER_GENRE = 2", '"seconds": 5.0': '"seconds": 1.0'}


def test_the_tutorials_run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """One after the other in one folder, as a reader would, but with fewer and shorter clips, in one process."""
    monkeypatch.setattr("builder.executors.count_cores", lambda: 1)
    with chdir(tmp_path):
        for name in ("five_minutes", "own_recordings"):
            source = (TUTORIALS / f"{name}.py").read_text(encoding="utf-8")
            changed = [text for text in SMALLER if text in source]
            assert len(changed) == 2
            for text in changed:
                source = source.replace(text, SMALLER[text])
            exec(compile(source, name, "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out
    assert "25 clips" in printed and "folder:music: " in printed and "noise 10.0" in printed
    assert (tmp_path / "first-report" / "report.html").is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_files_that_a_page_names_exist(page: Path):
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`((?:builder|training|evaluation|synthmir|tests|recipes|perf|docs|\.ci)/[\w./-]*)`", text)
    assert [path for path in named if "NAME" not in path and not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", [*PAGES, *SCRIPTS], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_links_of_a_page_lead_to_files_of_the_repository(page: Path):
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md", "docs/guides/build.md"])
def test_the_recipes_that_a_page_shows_are_complete(page: str):
    blocks = re.findall(
        r"^```yaml\n(name: .*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    assert [read_recipe(yaml.safe_load(block)).name for block in blocks] == ["first"]


def test_the_taxonomy_that_the_guide_shows_can_be_used(tmp_path: Path):
    text = (ROOT / "docs" / "guides" / "build.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```yaml\n(# mine.yaml.*?)^```", text, re.DOTALL | re.MULTILINE)
    (tmp_path / "mine.yaml").write_text(block, encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(
        "name: first\ntaxonomy: mine.yaml\nprompts: {per_genre: 1}\n", encoding="utf-8"
    )
    assert sorted(read_recipe(tmp_path / "recipe.yaml").labels.genres) == ["hiphop", "jazz", "rock"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_commands_that_a_page_shows_are_valid(page: Path):
    """Every `synthmir COMMAND --option` in a code block: the command exists and has the option."""
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    shell = "\n".join(text for language, text in blocks if language in ("", "bash"))
    lines = [line for line in shell.replace("\\\n", " ").splitlines() if re.match(r"(\w+ .*)?synthmir ", line.strip())]
    for line in lines:
        parts = shlex.split(line, comments=True)
        name, *rest = parts[parts.index("synthmir") + 1 :]
        assert name in commands, line
        options = {option for parameter in commands[name].params for option in parameter.opts}
        assert {word for word in rest if word.startswith("--")} <= options, line


def test_the_numbers_of_the_readme_are_in_the_files_that_it_names():
    rows = re.findall(
        r"^\|(.*)\| \[\w+\]\((perf/results/\w+\.json)\) \|$", (ROOT / "README.md").read_text(), re.MULTILINE
    )
    assert len(rows) == 4
    for cells, file in rows:
        measured = json.loads((ROOT / file).read_text(encoding="utf-8"))["rows"]
        ours, peer, ratio = cells.split("|")[1:4]
        shown = [float(number) for cell in (ours, peer.split("(")[0], ratio) for number in re.findall(r"[\d.]+", cell)]
        keys = ("ours", "peer", "ratio", "ratio_low", "ratio_high")
        matching = [row for row in measured if [row[key] for key in keys] == pytest.approx(shown, rel=0.01)]
        assert len(matching) == 1, cells
