from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib

import jsonschema
import pytest
import yaml

from .commands import ROOT, start_synthmir, synthmir


def test_help_and_package_import_nothing_heavy():
    code = "import sys, synthmir.cli, builder, evaluation; print(sorted(m for m in sys.modules if '.' not in m))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for heavy in ("torch", "datasets", "transformers", "numpy", "pyarrow", "scipy", "matplotlib", "pydantic"):
        assert f"'{heavy}'" not in loaded
    assert "classify" in start_synthmir("--help").stdout


def test_the_version_is_printed(tmp_path):
    """Of the installed package; of a source tree that is not installed, by its pyproject.toml."""
    expected = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert synthmir("--version").stdout == f"synthmir {expected}\n"
    tree = (
        "import sys, importlib.metadata as m\ndef none(name): raise m.PackageNotFoundError(name)\nm.version = none\n"
    )
    code = tree + "import synthmir.cli\nsys.argv = ['synthmir', '--version']\nsynthmir.cli.main()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == (f"synthmir {expected}\n", 0), done.stderr


def test_a_shipped_recipe_is_found_beside_a_folder_of_its_name(tmp_path):
    (tmp_path / "demo").mkdir()
    done = synthmir("prompts", "demo", "--limit", 1, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (tmp_path / "elsewhere").mkdir()
    done = synthmir("prompts", "elsewhere", cwd=tmp_path)
    assert done.returncode == 2 and "elsewhere: Is a directory" in done.stderr


def test_every_extra_that_is_named_exists():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    texts = [*ROOT.glob("*.py"), *ROOT.glob("*.md"), ROOT / "Makefile"]
    for folder in ("builder", "training", "evaluation", "docs", "perf"):
        texts += [path for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".md", ".jinja", ".html")]
    named = {
        name.strip()
        for path in texts
        for found in re.findall(r"--extra ([\w{}-]+)|synthmir\[([^\]]+)\]", path.read_text(encoding="utf-8"))
        for name in "".join(found).split(",")
    }
    assert {"ray", "onnx"} <= named <= set(extras), named - set(extras)


def test_prompts_are_shown_as_jsonl():
    done = synthmir("prompts", "demo", "--limit", 3, "--jsonl")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 3
    assert all(row["text"] and row["genre"] for row in rows)


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("name: x\nprompts: {per_genre: 5}\ngenerater: {}\n", ["generater: unknown key", "did you mean 'generator'"]),
        ("name: x\nprompts: {per_genre: -5}\n", ["prompts.per_genre", "greater than or equal to 1", "found -5"]),
        ("name: x\nprompts: {per_genre: five}\n", ["prompts.per_genre", "valid integer"]),
        ("name: x\n", ["1 problem\n", "prompts: missing. Write, for example, `prompts: {per_genre: 100}`"]),
        ("name: x\nprompts: {}\n", ["give either per_genre or total"]),
        ("name: x\nprompts: [\n", ["not valid YAML", 'in "bad.yaml", line']),
        ("name: x\nname: y\nprompts: {per_genre: 1}\n", ["'name' is there twice"]),
        ("a: &a [1]\nb: *a\n", ["aliases"]),
        ("", ["the file is empty"]),
        ("name: x\nprompts: {per_genre: 5}\ngenres: [rock]\n", ["genres: unknown key. ", "`taxonomy: FILE`"]),
        ("just words", ["expected `key: value` lines"]),
        ("name: x\ntaxonomy: klingon\nprompts: {per_genre: 5}\n", ["klingon"]),
        ("name: x\nprompts: {per_genre: 5}\ngenerator: {name: theremin}\n", ["no generator called 'theremin'"]),
        (
            "name: x\nprompts: {per_genre: -5}\ngenerator: {name: musicgan}\nembedder: {name: past, layer: a}\n",
            [
                "4 problems",
                "generator.name: there is no generator called 'musicgan' (did you mean 'musicgen'?)",
                "embedder.name: there is no embedder called 'past' (did you mean 'passt'?). Known: hf, ",
                "prompts.per_genre",
                "embedder.layer",
            ],
        ),
    ],
)
def test_a_bad_recipe_is_an_error_that_names_every_key(tmp_path, text, messages):
    (tmp_path / "bad.yaml").write_text(text)
    done = synthmir("build", tmp_path / "bad.yaml", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert all(message in done.stderr for message in messages), done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_all_faults_are_listed_together(tmp_path):
    (tmp_path / "bad.yaml").write_text("name: X Y\nprompts: {per_genre: 0, sead: 3}\ngenerator: {seconds: 99}\n")
    done = synthmir("prompts", tmp_path / "bad.yaml")
    assert done.returncode == 2
    for key in ("name", "prompts.per_genre", "prompts.sead", "generator.seconds"):
        assert f"- {key}:" in done.stderr


def test_the_recipes_schema_is_current_and_named_in_every_shipped_recipe():
    """An editor that reads the first line completes keys and marks unknown ones."""
    schema = (ROOT / "recipes" / "recipe.schema.json").read_text(encoding="utf-8")
    current = synthmir("recipe", "--schema").stdout == schema
    assert current, "write it again: synthmir recipe --schema > recipes/recipe.schema.json"
    validator = jsonschema.Draft202012Validator(json.loads(schema))
    for path in (ROOT / "recipes").glob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        assert text.startswith("# yaml-language-server: $schema=recipe.schema.json\n"), path
        assert validator.is_valid(yaml.safe_load(text)), path
    faults = [error.message for error in validator.iter_errors({"name": "x", "prompts": {"per_genre": 0}, "a": 1})]
    assert len(faults) == 2
    sections = [validator.schema, *validator.schema["$defs"].values()]
    fields = {key: field for section in sections for key, field in section["properties"].items()}
    assert [key for key, field in fields.items() if "description" not in field] == []


def test_a_recipe_is_printed_with_its_defaults(tmp_path):
    printed = synthmir("recipe", "demo").stdout
    (tmp_path / "again.yaml").write_text(printed)
    assert "guidance: 3.0" in printed and synthmir("recipe", tmp_path / "again.yaml").stdout == printed
    assert "gtzan-synth" in synthmir("recipe").stdout.splitlines()


def test_a_missing_recipe_names_the_shipped_ones():
    done = synthmir("prompts", "nonsense")
    assert done.returncode == 2 and "demo" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "name", "code"),
    [
        (["verify", "NONE"], "DataError", 3),
        (["prompts", "none"], "RecipeError", 2),
        (["publish", "none", "--repo", "a b"], "HubError", 5),
    ],
)
def test_debug_shows_where_and_keeps_the_exit_code(tmp_path, arguments, name, code):
    (tmp_path / "none").mkdir()
    for file in ("config.json", "model.safetensors", "training.json", "README.md"):
        (tmp_path / "none" / file).touch()
    done = synthmir("--debug", *arguments, cwd=tmp_path)
    assert "Traceback" in done.stderr and f"errors.{name}: " in done.stderr
    assert done.returncode == code


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["verify", "NONE"], 3),
        (["embed", "NONE"], 3),
        (["embed", "NONE", "--out", "e", "--executor", "ray"], 2),
        (["train", "NONE", "--out", "model"], 3),
        (["classify", "NONE", "a.wav"], 3),
        (["build", "demo"], 2),
        (["bild"], 2),
    ],
)
def test_exit_codes(tmp_path, arguments, code):
    done = synthmir(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


def test_a_process_exits_with_the_code_and_prints_the_error(tmp_path):
    done = start_synthmir("verify", "NONE", cwd=tmp_path)
    assert done.returncode == 3 and done.stderr == synthmir("verify", "NONE", cwd=tmp_path).stderr != ""


def test_a_dry_run_prints_an_estimate_and_writes_nothing(tmp_path):
    done = synthmir("build", "demo", "--out", tmp_path / "out", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "500 clips" in done.stdout and "1.4 h of music" in done.stdout and "GB of FLAC" in done.stdout
    assert not list(tmp_path.iterdir())
