"""The code in a model folder: it gives the same scores without synthmir, and synthmir itself never runs it."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import soundfile
from transformers import AutoConfig, AutoModelForAudioClassification, pipeline

from builder.registry import EMBEDDERS
from builder.settings import EmbedderSettings
from training.models.classifier import MULTI, load_model
from training.models.remote_code import MODULE, PREPROCESSOR, Cutting, add_remote_code, remote_code

from ...builder.embedders.embedder_checkpoints import TINY, tiny_passt, transformers_model
from ..model_folders import make_model_folder, make_sound

WITHOUT_SYNTHMIR = """
import gc, json, shutil, sys

gc.set_threshold(50_000, 20, 20)

class Absent:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("builder", "training", "evaluation", "synthmir", "hear21passt"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
assert shutil.which("ffmpeg") is None
from transformers import AutoModel, pipeline

model, *folders = sys.argv[1:-1]
for folder in (model, *folders):
    classifier = pipeline("audio-classification", model=folder, trust_remote_code=True)
    print(json.dumps([classifier(sys.argv[-1]), classifier([sys.argv[-1]] * 2, batch_size=2, top_k=1)]))
assert type(AutoModel.from_pretrained(model, trust_remote_code=True)).__name__ == "SynthmirClassifier"
try:
    pipeline("audio-classification", model=model, trust_remote_code=False)
except ValueError as error:
    print(json.dumps(str(error)))
"""


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("music") / "song.flac"
    soundfile.write(file, make_sound(13.0, 44_100), 44_100)
    return file


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One model on each kind of embedder; one of them with many labels a track."""
    root = tmp_path_factory.mktemp("models")
    passt = make_model_folder(
        root / "on-passt", EmbedderSettings(name="passt", arch=TINY, weights=str(tiny_passt(root)))
    )
    code = passt / f"{MODULE}.py"
    code.write_text(code.read_text().replace("ARCHS = {", f'ARCHS = {{\n    "{TINY}": Arch("none", depth=1),', 1))
    checkpoint = transformers_model("wav2vec2", root / "wav2vec2")
    other = make_model_folder(root / "on transformers.v2", EmbedderSettings(name=f"hf:{checkpoint}"))
    return [make_model_folder(root / "on-melstats", problem=MULTI), passt, other]


def test_model_folder_gives_the_same_scores_without_synthmir(folders: list[Path], music: Path, tmp_path: Path) -> None:
    environ = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "PATH": "/nowhere", "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, "-I", "-c", WITHOUT_SYNTHMIR, *map(str, folders), str(music)]
    done = subprocess.run(arguments, env=environ, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *answers, refusal = map(json.loads, done.stdout.splitlines())
    assert "trust_remote_code=True" in refusal
    for folder, (alone, batch) in zip(folders, answers, strict=True):
        here = pipeline("audio-classification", model=str(folder))(str(music))
        assert [one["label"] for one in alone] == [one["label"] for one in here]
        assert [one["score"] for one in alone] == pytest.approx([one["score"] for one in here], abs=1e-6)
        assert batch == [alone[:1]] * 2


@pytest.mark.parametrize("embedder", sorted(EMBEDDERS))
def test_code_needs_no_synthmir_and_defines_each_name_once(embedder: str) -> None:
    tree = ast.parse(remote_code(embedder))
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = {alias.name for node in imported if isinstance(node, ast.Import) for alias in node.names}
    modules |= {str(node.module) for node in imported if isinstance(node, ast.ImportFrom)}
    assert not {module.partition(".")[0] for module in modules} & {"builder", "training", "evaluation", "synthmir"}
    assert all(node.level == 0 for node in imported if isinstance(node, ast.ImportFrom))
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assert len(names) == len(set(names))
    assert EMBEDDERS[embedder].partition(":")[2] in names and not {"Recipe", "encode_flac", "load_model"} & set(names)


def test_two_objects_of_one_name_are_refused() -> None:
    cutting = Cutting({})
    cutting.take("builder.embedders.melstats", "HOP")
    with pytest.raises(ValueError, match="there is another 'HOP' from"):
        cutting.take("evaluation.inference.predict", "HOP")


@pytest.fixture
def trap(folders: list[Path], tmp_path: Path) -> Path:
    """A folder whose code writes a file when it is run."""
    folder = Path(shutil.copytree(folders[0], tmp_path / "trap"))
    (folder / f"{MODULE}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n{remote_code('melstats')}")
    return folder


@pytest.mark.parametrize("trust", [None, True])
def test_synthmir_never_runs_the_code_of_a_folder(trap: Path, tmp_path: Path, trust: Any) -> None:
    load_model(trap)
    AutoConfig.from_pretrained(trap, trust_remote_code=trust)
    AutoModelForAudioClassification.from_pretrained(trap, trust_remote_code=trust)
    classifier = pipeline("audio-classification", model=str(trap), trust_remote_code=trust)
    assert type(classifier.model).__module__ == "training.models.audio_classifier"
    assert not (tmp_path / "ran").exists()


def test_trained_folder_has_the_code(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    assert config["auto_map"]["AutoModelForAudioClassification"] == f"{MODULE}.SynthmirForAudioClassification"
    assert json.loads((model / PREPROCESSOR).read_text())["sampling_rate"] == 32_000
    assert (model / f"{MODULE}.py").read_text() == remote_code("melstats")


@pytest.mark.parametrize("embedder", [None, {"name": "unknown", "dim": 4}])
def test_a_model_on_unknown_embeddings_is_left_as_it_is(tmp_path: Path, embedder: Any) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"embedder": embedder}))
    add_remote_code(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    assert json.loads((tmp_path / "config.json").read_text()) == {"embedder": embedder}
