"""The whole pipeline as a user runs it: one run with the defaults that need no download, then audio files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from .commands import synthmir
from .warm import WarmProcess

EAGER = "for (const image of document.images) { image.loading = 'eager'; image.src = image.src; }"
WIDTHS = "return [...document.images].map(image => image.complete ? image.naturalWidth : 0)"
PLAY = """
const done = arguments[arguments.length - 1], player = document.querySelector("audio");
player.ontimeupdate = () => { if (player.currentTime > 0.2) done(player.currentTime); };
player.onerror = () => done(-1);
player.play().catch(error => done(String(error)));
"""
RECIPE = """
name: tiny
prompts: {per_genre: 12, seed: 3}
generator: {name: arranger, seconds: 2}
split: {validation: 0.25}
estimates: [tempo, key, silence]
training: {epochs: 30}
evaluation:
  benchmarks: [validation]
  bootstrap: 100
  robustness: {damages: [ogg:2, noise:0]}
  fidelity: {against: validation}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("run")
    (place / "tiny.yaml").write_text(RECIPE)
    done = WarmProcess(
        "import synthmir.cli; synthmir.cli.main()", "run", place / "tiny.yaml", "--out", place / "out", "--workers", 2,
        folder=place,
    )  # fmt: skip
    assert done.wait() == 0, done.err.read_text()
    printed = done.out.read_text()
    assert "report.html" in printed and "accuracy" in printed
    assert "noise 0 dB" in printed and "Fréchet distance" in printed and "the estimate agrees" in printed
    return place / "out"


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that no generator made: several formats, sampling rates, numbers of channels, and broken ones."""
    root = tmp_path_factory.mktemp("music")
    noise = np.random.default_rng(0)
    shapes = [
        ("Rock", "Motörhead – live (1981).wav", 44_100, 2, "PCM_U8", 3.0),
        ("Rock", "a 24 bit take.wav", 96_000, 6, "PCM_24", 2.0),
        ("Pop", "long.ogg", 44_100, 2, "VORBIS", 31.0),
        ("Pop", "short.flac", 48_000, 1, "PCM_16", 0.4),
        ("funk", "groove.mp3", 44_100, 2, "MPEG_LAYER_III", 5.0),
        ("orchestral", "old.au", 22_050, 1, "PCM_16", 12.0),
    ]
    for genre, name, rate, channels, subtype, seconds in shapes:
        (root / genre).mkdir(exist_ok=True)
        soundfile.write(
            root / genre / name, 0.1 * noise.standard_normal((round(seconds * rate), channels)), rate, subtype=subtype
        )
    (root / "Pop" / "notes.wav").write_text("these are words")
    (root / "Rock" / "torn.mp3").write_bytes((root / "funk" / "groove.mp3").read_bytes()[:100])
    soundfile.write(root / "Rock" / "nothing.wav", np.zeros(0), 44_100)
    (root / "gamelan").mkdir()
    return root


def test_every_expected_file_exists(run: Path):
    for file in (
        "corpus/README.md",
        "corpus/SHA256SUMS",
        "corpus/recipe.yaml",
        "corpus/records/build.json",
        "corpus/records/embed-melstats.json",
        "corpus/melstats/train-00000-of-00001.parquet",
        "model/config.json",
        "model/model.safetensors",
        "model/training.json",
        "model/README.md",
        "report/report.html",
        "report/scores.json",
        "corpus/estimates/train-00000-of-00001.parquet",
        "report/agreement/agreement.json",
    ):
        assert (run / file).is_file(), file
    assert not [path for path in run.rglob("*") if path.suffix in (".pkl", ".pickle", ".bin", ".pt")]


def test_the_corpus_is_intact_and_the_scores_are_those_of_its_validation_split(run: Path):
    assert synthmir("verify", run / "corpus").returncode == 0
    scores = json.loads((run / "report" / "scores.json").read_text())
    assert [(bench["name"], bench["n"]) for bench in scores["benchmarks"]] == [("validation", 15)]
    card = (run / "model" / "README.md").read_text()
    assert f"{scores['benchmarks'][0]['accuracy']['value']:.3f}" in card or "model-index" in card


def test_running_again_with_recordings_remakes_nothing_of_the_corpus(run: Path, music: Path):
    def list_files() -> dict[Path, int]:
        files = [*(run / "corpus").rglob("*.parquet"), *(run / "corpus" / "records").iterdir()]
        return {path: path.stat().st_mtime_ns for path in [*files, run / "corpus" / "recipe.yaml"]}

    before = list_files()
    done = synthmir("run", run.parent / "tiny.yaml", "--out", run, "--on", f"folder:{music}")
    assert done.returncode == 0, done.stderr
    assert list_files() == before and str(music) not in (run / "corpus" / "recipe.yaml").read_text()
    scores = json.loads((run / "report" / "scores.json").read_text())
    assert [bench["name"] for bench in scores["benchmarks"]] == ["validation", f"folder:{music}"]
    fidelity = json.loads((run / "report" / "fidelity" / "fidelity.json").read_text())
    assert fidelity["reference"]["kind"] == "benchmark" and fidelity["reference"]["n"] == 6


def test_real_files_are_scored_and_those_that_cannot_be_read_are_counted(run: Path, music: Path, tmp_path: Path):
    done = synthmir(
        "evaluate", run / "model", "--on", "validation", "--on", f"folder:{music}", "--out", tmp_path / "r"
    )
    assert done.returncode == 0, done.stderr
    scores = json.loads((tmp_path / "r" / "scores.json").read_text())
    folder = scores["benchmarks"][1]
    assert (folder["n"], folder["skipped"]) == (6, 3)
    assert {Path(skip["id"]).name for skip in folder["skips"]} == {"notes.wav", "torn.mp3", "nothing.wav"}
    assert any("gamelan" in note for note in folder["notes"])
    page = (tmp_path / "r" / "report.html").read_text()
    assert "torn.mp3" in page


def test_files_are_classified_and_one_that_cannot_be_read_is_exit_code_3(run: Path, music: Path):
    done = synthmir("classify", run / "model", music / "funk" / "groove.mp3", music / "Pop" / "notes.wav", "--jsonl")
    assert done.returncode == 3
    assert "1 of 2 files cannot be read" in done.stderr and "notes.wav: cannot be read" in done.stderr
    good, bad = (json.loads(line) for line in done.stdout.splitlines())
    assert len(good["labels"]) == 3 and sum(good["labels"].values()) <= 1 + 1e-6
    assert "cannot be read" in bad["error"]
    assert synthmir("classify", run / "model", music / "Pop" / "notes.wav").returncode == 3


def test_the_model_opens_with_transformers_alone(run: Path, tmp_path: Path):
    code = "import sys; assert 'training' not in sys.modules; import training; from transformers import AutoModel; "
    code += "print(AutoModel.from_pretrained(sys.argv[1]).config.task)"
    assert WarmProcess(code, run / "model", folder=tmp_path).wait_for_line() == "genre"


def test_ctrl_c_ends_the_build_leaves_no_process_and_loses_nothing(tmp_path: Path):
    (tmp_path / "r.yaml").write_text("{name: stopped, prompts: {per_genre: 16}, generator: {seconds: 2}}")
    command = ["build", tmp_path / "r.yaml", "--out", tmp_path / "c", "--clips-per-shard", "4"]
    program = [sys.executable, "-m", "synthmir"]
    build = subprocess.Popen(
        [*program, *command, "--workers", "2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    ledger = tmp_path / "c" / ".work" / "ledger.jsonl"
    while build.poll() is None and not (ledger.exists() and ledger.stat().st_size):
        time.sleep(0.05)
    group = os.getpgid(build.pid)
    os.killpg(group, signal.SIGINT)
    _, printed = build.communicate()
    assert build.returncode == 130, printed
    assert b"resumes from here" in printed and b"Traceback" not in printed
    with pytest.raises(ProcessLookupError):
        while True:  # until its last process has ended; the suite's timeout limits it
            os.killpg(group, 0)
            time.sleep(0.1)
    names = [json.loads(line)["name"] for line in ledger.read_text().splitlines()]
    assert len(names) < 20  # of 80 clips in shards of 4: it stopped before the end
    made = {name: (tmp_path / "c" / ".work" / name).stat().st_mtime_ns for name in names}  # finished shards are kept
    assert synthmir(*command, "--workers", "1").returncode == 0
    assert made and all((tmp_path / "c" / name).stat().st_mtime_ns == when for name, when in made.items())


@pytest.mark.chromium
def test_the_report_shows_its_pictures_and_plays_its_clips(run: Path, browser: Any):
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get((run / "report" / "report.html").as_uri())
    browser.execute_script(EAGER)
    wait = WebDriverWait(browser, 120)
    assert len(wait.until(lambda page: (w := page.execute_script(WIDTHS)) and min(w) > 0 and w)) >= 4
    assert browser.execute_async_script(PLAY) > 0.2
    assert len(browser.execute_script("return [...document.querySelectorAll('audio')]")) >= 5
    assert browser.get_log("browser") == []
    browser.set_window_size(420, 900)
    overflow = browser.execute_script("return document.documentElement.scrollWidth - innerWidth")
    assert overflow <= 0
