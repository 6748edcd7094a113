"""The model's code for those who have transformers and not synthmir: one file, cut out of this package's own source.

`trust_remote_code=True` runs it from the model folder. It holds the folder's own embedder and the classifier:
the definitions that they need from every module of synthmir, and no more.
"""

from __future__ import annotations

import ast
import json
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.util import find_spec, resolve_name
from pathlib import Path
from typing import Any

from builder.annotations.tasks import CLIP_TASKS
from builder.io.atomic import write_text
from builder.records import package_versions
from builder.registry import EMBEDDERS

from .audio_classifier import RATE
from .classifier import CONFIG, FRAME_TYPE

MODULE = "modeling_synthmir"
PREPROCESSOR = "preprocessor_config.json"
ENTRY = "training.models.audio_classifier"
STARTS_WITH = ("SynthmirFeatureExtractor", "SynthmirForAudioClassification", "register_pipeline")
CLASSES = {
    "AutoConfig": "SynthmirConfig",
    "AutoModel": "SynthmirClassifier",
    "AutoModelForAudioClassification": "SynthmirForAudioClassification",
}
EXTRACTOR = "SynthmirFeatureExtractor"
FRAMES_ENTRY = "training.frames.clip_model"
FRAMES_STARTS_WITH = ("SynthmirFeatureExtractor", "FrameModelForAudioClassification", "register_pipeline")
FRAMES_CLASSES = {"AutoConfig": "FrameConfig", "AutoModel": "FrameModel"}
FRAMES_CLIP_CLASS = {"AutoModelForAudioClassification": "FrameModelForAudioClassification"}  # of a key, say
STAGES = ("builder", "training")
HEAD = '''# Apache-2.0. Cut out of the source of synthmir {version} when this model was saved; changes belong there.
"""This model's embedder and classifier, for transformers' `trust_remote_code=True`.

    from transformers import pipeline

    classify = pipeline("audio-classification", model="this folder or repository", trust_remote_code=True)
    classify("song.mp3")
"""

from __future__ import annotations
'''


def add_remote_code(folder: Path) -> None:
    """Let transformers open a model folder: its feature extractor's settings, and the code for those without synthmir.

    Writes modeling_synthmir.py and preprocessor_config.json, and names their classes in config.json. A model on
    embeddings of an embedder unknown here cannot take audio, and is left unchanged.
    """
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    if config.get("model_type") == FRAME_TYPE:
        answers_clips = any(task in config["tasks"] for task in CLIP_TASKS)
        classes = FRAMES_CLASSES | (FRAMES_CLIP_CLASS if answers_clips else {})
        _write_code(folder, config, classes, frames_code(), config["sampling_rate"])
        return
    embedder = config.get("embedder") or {}
    settings = embedder.get("settings") or embedder
    if (key := _key(settings.get("name", ""))) in EMBEDDERS:
        _write_code(folder, config, CLASSES, remote_code(key), embedder.get("sampling_rate") or RATE)


def _write_code(folder: Path, config: dict[str, Any], classes: dict[str, str], code: str, sampling_rate: int) -> None:
    config["architectures"] = [list(classes.values())[-1]]
    config["auto_map"] = {auto: f"{MODULE}.{name}" for auto, name in classes.items()}
    extractor = {
        "auto_map": {"AutoFeatureExtractor": f"{MODULE}.{EXTRACTOR}"},
        "feature_extractor_type": EXTRACTOR,
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": True,
        "sampling_rate": sampling_rate,
    }
    write_text(folder / f"{MODULE}.py", code)
    write_text(folder / PREPROCESSOR, json.dumps(extractor, indent=2, sort_keys=True) + "\n")
    write_text(folder / CONFIG, json.dumps(config, indent=2, sort_keys=True) + "\n")


def _key(name: str) -> str:
    """The embedder's name in the registry: "hf:facebook/hubert-base-ls960" is "hf"."""
    return "hf" if name.startswith("hf:") else name


@cache
def remote_code(embedder: str) -> str:
    """The source of modeling_synthmir.py for models on this embedder, by its name in the registry."""
    module, _, name = EMBEDDERS[embedder].partition(":")
    cutting = Cutting({("builder.embedders.base", "load_embedder"): (LOADER.format(name=name), module, name)})
    for start in STARTS_WITH:
        cutting.take(ENTRY, start)
    head = HEAD.format(version=package_versions().get("synthmir", ""))
    return f"{head}\n{cutting.imports()}\n\n{cutting.body().strip()}\n\n\nregister_pipeline()\n"


@cache
def frames_code() -> str:
    """The source of modeling_synthmir.py for frame models."""
    cutting = Cutting({})
    for start in FRAMES_STARTS_WITH:
        cutting.take(FRAMES_ENTRY, start)
    head = HEAD.format(version=package_versions().get("synthmir", ""))
    return f"{head}\n{cutting.imports()}\n\n{cutting.body().strip()}\n\n\nregister_pipeline()\n"


LOADER = '''def load_embedder(settings: EmbedderSettings) -> EmbedderBackend:
    """The embedder that the model was trained on. Raises BackendError."""
    return {name}(settings)'''


@dataclass
class Module:
    """A module of synthmir, its top-level definitions by name."""

    name: str

    @cached_property
    def source(self) -> str:
        """Its text."""
        spec = find_spec(self.name)
        assert spec is not None and spec.origin is not None
        return Path(spec.origin).read_text(encoding="utf-8")

    @cached_property
    def package(self) -> str:
        """What its relative imports start from: itself, if it is a package's __init__.py."""
        spec = find_spec(self.name)
        return self.name if spec is not None and spec.submodule_search_locations else self.name.rpartition(".")[0]

    @cached_property
    def definitions(self) -> dict[str, ast.stmt]:
        """Functions, classes and constants."""
        found: dict[str, ast.stmt] = {}
        for node in ast.parse(self.source).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found[node.name] = node
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                found |= {
                    part.id: node for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)
                }
        return found

    @cached_property
    def imported(self) -> dict[str, tuple[str, str | None]]:
        """By the name that it has here: the module, and what of it (None for the module itself)."""
        found: dict[str, tuple[str, str | None]] = {}
        for node in ast.parse(self.source).body:  # what stands under `if TYPE_CHECKING` is not there when it runs
            found |= imported_names(node, self.package)
        return found

    def text(self, node: ast.stmt) -> str:
        """The lines of a top-level node with its decorators, and without imports from synthmir's modules."""
        first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))])
        lines = self.source.splitlines()
        for inner in ast.walk(node):
            if any(is_synthmir_module(module) for module, _ in imported_names(inner, self.package).values()):
                lines[inner.lineno - 1 : inner.end_lineno] = [""] * (inner.end_lineno - inner.lineno + 1)  # type: ignore[attr-defined]
        return "\n".join(lines[first - 1 : node.end_lineno])


@dataclass
class Cutting:
    """What has been cut out so far. `instead` holds own text for (module, name), and the one name that it needs."""

    instead: dict[tuple[str, str], tuple[str, str, str]]
    modules: dict[str, Module] = field(default_factory=dict)
    taken: dict[str, tuple[str, int]] = field(default_factory=dict)  # by name: its module and line
    order: list[str] = field(default_factory=list)  # definitions, each after all that it needs
    outside: dict[str, tuple[str, str | None]] = field(default_factory=dict)

    def take(self, module: str, name: str) -> None:
        """Add a definition and all that it needs. Raises ValueError if two definitions share a name."""
        here = self.modules.setdefault(module, Module(module))
        if name in here.imported:
            self._import(name, here.imported[name])
        if name not in here.definitions:
            return  # a builtin, or a local name
        node = here.definitions[name]
        if name in self.taken or name in self.outside:
            if self.taken.get(name) != (module, node.lineno):
                raise ValueError(f"{module}.{name}: there is another {name!r} from {self.taken.get(name)}")
            return
        bound = [other for other, statement in here.definitions.items() if statement is node]
        self.taken |= dict.fromkeys(bound, (module, node.lineno))
        if (module, name) in self.instead:
            text, *needs = self.instead[module, name]
            self.take(*needs)
            needed = names_in(ast.parse(text))
        else:
            text, needed = here.text(node), names_in(node)
            for inner in ast.walk(node):
                for alias, origin in imported_names(inner, here.package).items():
                    if is_synthmir_module(origin[0]):
                        self._import(alias, origin)
                        needed.discard(alias)
        for other in sorted(needed - {name}):
            self.take(module, other)
        self.order.append(text)

    def _import(self, alias: str, origin: tuple[str, str | None]) -> None:
        module, name = origin
        if is_synthmir_module(module):
            if name != alias:
                raise ValueError(f"import of {module}.{name} as {alias}: import synthmir's names unchanged")
            self.take(module, name)
        elif self.outside.setdefault(alias, origin) != origin or alias in self.taken:
            raise ValueError(f"{alias!r} stands for {origin} and for {self.outside[alias]}")

    def body(self) -> str:
        """The definitions, each after those that it needs; constants close together."""
        body, before = "", "\n"
        for text in self.order:
            text = text.strip("\n")
            body += "\n\n\n" if "\n" in text + before else "\n"
            body, before = body + text, text
        return body

    def imports(self) -> str:
        """The import statements for other packages."""
        lines, names = [], defaultdict(list)
        for alias, (module, name) in self.outside.items():
            renamed = f" as {alias}" if alias != (name or module) else ""
            if name:
                names[module].append(name + renamed)
            else:
                lines.append(f"import {module}{renamed}")
        return "\n".join(
            sorted(lines) + [f"from {module} import {', '.join(sorted(names[module]))}" for module in sorted(names)]
        )


def imported_names(node: ast.AST, package: str) -> dict[str, tuple[str, str | None]]:
    """What one import statement binds; nothing of any other node, nor of `from __future__`."""
    if isinstance(node, ast.Import):
        return {
            alias.asname or alias.name.partition(".")[0]: (
                alias.name if alias.asname else alias.name.partition(".")[0],
                None,
            )
            for alias in node.names
        }
    if isinstance(node, ast.ImportFrom) and node.module != "__future__":
        module = resolve_name("." * node.level + (node.module or ""), package) if node.level else str(node.module)
        return {alias.asname or alias.name: (module, alias.name) for alias in node.names}
    return {}


def is_synthmir_module(module: str) -> bool:
    """Whether it is of the stages that a model's code may come from."""
    return module.partition(".")[0] in STAGES


def names_in(node: ast.AST) -> set[str]:
    """Every name that stands in a piece of code, annotations included."""
    return {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
