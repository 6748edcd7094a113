"""Recipe: everything that defines a run, validated, hashable."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, model_validator

from .errors import BackendError, RecipeError
from .io.safe_files import find_shipped, read_yaml
from .io.storage import is_file, path_exists, storage_errors, to_path
from .registry import EMBEDDERS, GENERATORS
from .taxonomy import SHIPPED, Taxonomy, find_taxonomy
from .validation import Section, faults_error, suggest, try_validate

Seed = Annotated[int, Field(ge=0, lt=2**63)]
PARTS = ("generator", "embedder")  # sections that name a class of a registry
Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=96)]


class SourceSettings(Section):
    """Where descriptions come from: the grammar, a file of `genre,description`, or a local chat model."""

    kind: Literal["grammar", "file", "chat"] = "grammar"
    path: str | None = None  # file: CSV or JSONL to read. chat: JSONL that its answers are written to
    model: str | None = None  # chat: a Hub id or a folder
    revision: str | None = None
    # What is believed where a row's text names another tempo, key or instruments than its columns: the `columns`, the
    # `text` (no label where it is unclear), neither (`empty`: no label), each with a warning; `error`: it is refused.
    on_conflict: Literal["columns", "text", "empty", "error"] = "columns"

    @model_validator(mode="after")
    def _complete(self) -> SourceSettings:
        needs = {"grammar": (), "file": ("path",), "chat": ("path", "model")}[self.kind]
        missing = [key for key in needs if getattr(self, key) is None]
        if missing:
            raise ValueError(f"source kind {self.kind!r} also needs {' and '.join(missing)}")
        spare = [key for key in ("path", "model", "revision") if getattr(self, key) is not None]
        allowed = {"grammar": (), "file": ("path",), "chat": ("path", "model", "revision")}[self.kind]
        if unused := [key for key in spare if key not in allowed]:
            raise ValueError(f"source kind {self.kind!r} does not use {' and '.join(unused)}")
        if self.kind == "grammar" and self.on_conflict != "columns":
            raise ValueError("source kind 'grammar' does not use on_conflict: its texts and labels agree")
        if self.kind == "chat" and ((path := PurePath(self.path or "")).is_absolute() or ".." in path.parts):
            raise ValueError(
                f"path must be within the recipe's folder: answers are written to it, found {self.path!r}"
            )
        return self


class PromptSettings(Section):
    """How prompts are worded, and how many there are: `per_genre` or `total`, one of the two."""

    strategy: Literal["template", "repeat", "tags"] = "template"
    per_genre: int | None = Field(default=None, ge=1, le=10_000_000)
    total: int | None = Field(default=None, ge=1, le=100_000_000)
    seed: Seed = 0
    vocals: Literal["unspecified", "instrumental", "with-vocals"] = "unspecified"
    instrumentation: bool = True  # YAML: on | off
    source: SourceSettings = SourceSettings()

    def audible(self) -> dict[str, Any]:
        """What changes the prompts and their labels. `on_conflict` is younger: left out where it changes nothing."""
        unset = {"on_conflict"} if self.source.on_conflict == "columns" else set()
        return self.model_dump(mode="json", exclude={"source": {"path"} | unset})

    @model_validator(mode="after")
    def _one_count(self) -> PromptSettings:
        if (self.per_genre is None) == (self.total is None):
            raise ValueError("give either per_genre or total")
        return self


class GeneratorSettings(Section):
    """What makes the sound. Numbers a back end has no use for are refused by it, not ignored."""

    name: str = "arranger"
    model: str | None = None
    revision: str | None = None
    seconds: float = Field(default=10.0, ge=1.0, le=30.0, strict=False)
    guidance: float = Field(default=3.0, ge=1.0, le=50.0, strict=False)
    temperature: float = Field(default=1.0, gt=0.0, le=10.0, strict=False)
    top_k: int = Field(default=250, ge=0)  # 0: all tokens
    top_p: float = Field(default=1.0, gt=0.0, le=1.0, strict=False)  # 1: all tokens
    stereo: bool = False  # keep the two channels of a model that plays in stereo; else they are averaged
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    batch_size: int | None = Field(default=None, ge=1)
    device: str = "auto"

    @property
    def channels(self) -> int:
        """Of every clip: 1, or 2 in stereo."""
        return 2 if self.stereo else 1

    def audible(self) -> dict[str, Any]:
        """What changes the audio. Settings that recipes did not always have are left out where they change nothing."""
        unset = {key for key in ("top_p", "stereo") if getattr(self, key) == type(self).model_fields[key].default}
        return self.model_dump(mode="json", exclude={"batch_size", "device"} | unset)


class QualitySettings(Section):
    """What a clip must satisfy, how often it is tried, and how many may be given up."""

    attempts: int = Field(default=4, ge=1, le=127)
    max_rejected: float = Field(default=0.01, ge=0.0, le=1.0, strict=False)  # share of the clips
    min_loudness: float = Field(default=-45.0, ge=-70.0, le=0.0, strict=False)  # LUFS
    max_silence: float = Field(default=0.5, ge=0.0, le=1.0, strict=False)  # share of 50 ms frames under -60 dBFS
    max_clipped: float = Field(default=0.001, ge=0.0, le=1.0, strict=False)  # share of samples at full scale
    max_dc: float = Field(default=0.02, ge=0.0, le=1.0, strict=False)  # |mean| of the samples


class SplitSettings(Section):
    """Train and validation, divided by prompt group."""

    validation: float = Field(default=0.1, gt=0.0, lt=1.0, strict=False)
    seed: Seed = 0


def _damage(text: str) -> str:
    """A damage as it is written, in one way of several: noise:20.0 is noise:20."""
    from .degradations import Damage

    try:
        return str(Damage.parse(text))
    except RecipeError as error:
        raise ValueError(f"{error.message}; {error.fix}") from None


Augment = Annotated[
    tuple[Annotated[str, AfterValidator(_damage)], ...], AfterValidator(lambda found: tuple(dict.fromkeys(found)))
]


class EmbedderSettings(Section):
    """What turns audio into vectors."""

    name: str = "melstats"
    weights: str | None = None  # a file, or a folder with one
    arch: str | None = None  # of embedders that come in several
    layer: int | None = None  # hf: which hidden states, from 0; negative from the end
    dtype: Literal["float32", "bfloat16"] = "float32"
    device: str = "auto"  # "cuda" if there is one, else "cpu"; "mps" only where it is named
    batch_size: int = Field(default=16, ge=1)
    augment: Augment = Field(default=(), strict=False)  # noise:20, mp3:64, ...: clips to train on are damaged too

    def refuse(self, *keys: str) -> None:
        """Raise RecipeError if one of these is set: for embedders that have no use for it."""
        for key in keys:
            if (value := getattr(self, key)) != type(self).model_fields[key].default:
                raise RecipeError(
                    f"embedder.{key}: {self.name} has no use for it, found {value!r}", f"remove embedder.{key}"
                )

    def torch_device(self) -> str:
        """The device to compute on, as torch names it. Raises BackendError where it is not there."""
        import torch

        if self.device == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        try:
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise BackendError(f"embedder.device: {self.device!r} cannot be used: {reason}", "use cpu") from error
        return self.device


class AdaptationSettings(Section):
    """What the strategy `adapt` adds to the loss: see training/optim/domain_adaptation.py."""

    loss: Literal["coral", "mmd", "dann", "supcon", "ccsa"] = "mmd"
    weight: float | None = Field(default=None, gt=0.0, strict=False)  # beside the classifier's own loss; None: by loss
    temperature: float = Field(default=0.1, gt=0.0, strict=False)  # supcon
    margin: float = Field(default=2.0, gt=0.0, strict=False)  # ccsa: a distance of representations


class TrainingSettings(Section):
    """The classifier. The defaults are the 2023 paper's: one dense layer of 128 ReLU units, then softmax."""

    task: Annotated[str, BeforeValidator(lambda name: "tempo_bpm" if name == "tempo" else name)] = "genre"
    label_column: str | None = None  # where it is not called as the task is
    embedding_column: str = "embedding"
    problem: Literal["single_label_classification", "multi_label_classification", "regression"] | None = None
    head: Literal["mlp", "linear", "logistic", "knn"] = "mlp"
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(128,), strict=False)  # mlp
    neighbors: int = Field(default=10, ge=1)  # knn
    epochs: int = Field(default=200, ge=1)
    patience: int = Field(default=5, ge=1)
    class_weights: bool = True
    clips: int | None = Field(default=None, ge=2)  # train on so many, drawn label by label; None: on all
    imbalance: float = Field(default=1.0, ge=1.0, strict=False)  # most over fewest clips a label; 1: as they are
    lr: float = Field(default=1e-3, gt=0.0, strict=False)
    batch_size: int | None = Field(default=None, ge=1)  # None: a 32nd of the training rows, from 16 to 512
    accumulate: int = Field(default=1, ge=1)  # batches a step
    precision: Literal["no", "bf16", "fp16"] | None = None  # mixed precision; None: what `accelerate launch` says
    tracker: Literal["none", "tensorboard", "trackio"] = "none"
    seed: Seed = 0
    strategy: Literal["synthetic", "real", "joint", "transfer", "finetune", "adapt"] = "synthetic"
    target: str | None = None  # real music: a corpus folder, a folder of `synthmir embed --out`, a data set on disk
    shots: int | None = Field(default=None, ge=1)  # labelled real tracks a class; None: all that there are
    mix: float | None = Field(default=None, gt=0.0, lt=1.0, strict=False)  # the share of the loss that real rows get
    finetune_lr: float = Field(default=1e-4, gt=0.0, strict=False)  # the 2024 paper's
    adaptation: AdaptationSettings = AdaptationSettings()

    @model_validator(mode="after")
    def _target(self) -> TrainingSettings:
        if self.strategy != "synthetic" and self.target is None:
            raise ValueError(f"strategy {self.strategy!r} needs a target: real music to learn from")
        return self


class FidelitySettings(Section):
    """How far the corpus is from real music, as `synthmir fidelity` tells it."""

    against: str  # what `--against` takes, or `validation`: held-out clips, a floor that tells nothing of real music
    clap: str | None = None  # a CLAP checkpoint, id or folder


class RobustnessSettings(Section):
    """The classifier on damaged tracks, as `synthmir robustness` tells it."""

    benchmark: str = "validation"
    damages: tuple[str, ...] = Field(default=(), strict=False)  # mp3, noise:10, ... none named: all
    limit: int = Field(default=500, ge=1)  # tracks, each once clean and once a level


class EvaluationSettings(Section):
    """What the classifier is judged on: `validation`, `folder:PATH`, ..."""

    benchmarks: tuple[str, ...] = Field(default=("validation",), min_length=1, strict=False)
    aggregate: Literal["mean", "logits", "max", "median", "vote"] = "mean"  # a track's windows -> its one answer
    interval: Literal["bca", "percentile"] = "bca"  # how resamples become 95 % intervals
    bootstrap: int = Field(default=1000, ge=100)
    seed: Seed = 0
    fidelity: FidelitySettings | None = None
    robustness: RobustnessSettings | None = None


class AblationSettings(Section):
    """What `synthmir ablate` varies: dotted keys with their values, the first of each as the baseline."""

    vary: dict[str, Annotated[tuple[Any, ...], Field(min_length=1, strict=False)]] = {}
    seeds: int = Field(default=5, ge=1)  # trainings a cell


def _unknown_parts(data: Any, parts: Collection[str]) -> Iterator[str]:
    """A fault for each of `parts` whose name nothing is registered by. What is no text is pydantic's to refuse."""
    for part, registry in zip(PARTS, (GENERATORS, EMBEDDERS), strict=True):
        section = data.get(part) if part in parts and isinstance(data, dict) else None
        name = section.get("name") if isinstance(section, dict) else None
        if not isinstance(name, str) or name in registry or (part == "embedder" and name.startswith("hf:")):
            continue
        known = ", ".join([*sorted(registry), *(["hf:ID"] if part == "embedder" else [])])
        yield f"{part}.name: there is no {part} called {name!r:.60}{suggest(name, registry)}. Known: {known}"


class Recipe(Section):
    """A run, whole. `Recipe.load` reads one; two recipes of one `fingerprint()` make the same audio."""

    name: Slug
    taxonomy: str = "paper"
    prompts: PromptSettings
    generator: GeneratorSettings = GeneratorSettings()
    quality: QualitySettings = QualitySettings()
    split: SplitSettings = SplitSettings()
    embedder: EmbedderSettings = EmbedderSettings()
    training: TrainingSettings = TrainingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    ablation: AblationSettings = AblationSettings()
    _folder: Path = PrivateAttr(default_factory=Path.cwd)

    @classmethod
    def load(cls, path: str | Path, *, kept: bool = False) -> Recipe:
        """Read a recipe file, or a shipped recipe by its name; a folder of that name does not hide it.

        `kept`: the recipe is a finished corpus's own, whose generator and embedder need not be known here.
        Raises RecipeError that lists every fault at once.
        """
        file = to_path(path)
        with storage_errors(file):
            if file.name == str(path) and not file.suffix and not is_file(file):
                shipped = sorted(p.stem for p in find_shipped("recipes").glob("*.yaml"))
                if str(path) in shipped:
                    file = find_shipped(f"recipes/{path}.yaml")
                elif not path_exists(file):
                    raise RecipeError(f"no file and no shipped recipe {path!r}", f"shipped: {', '.join(shipped)}")
            recipe = cls._validated(read_yaml(file), str(file), () if kept else PARTS)
            recipe._folder = file.resolve().parent
            return recipe

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Recipe:
        """Check a recipe given as a dictionary. Relative paths start at the current folder. Raises RecipeError."""
        return cls._validated(dict(data), "recipe", PARTS)

    @classmethod
    def _validated(cls, data: Any, where: str, parts: Collection[str]) -> Recipe:
        """`data` as a recipe whose `parts` ("generator", "embedder") are registered. Raises RecipeError."""
        found = try_validate(cls, data)
        faults = [*_unknown_parts(data, parts), *(found if isinstance(found, list) else ())]
        if faults or isinstance(found, list):
            raise faults_error(where, faults)
        return found

    def with_options(self, options: dict[str, Any]) -> Recipe:
        """A copy with dotted keys set ("training.seed": 3), checked as a file is. None leaves a key as it stands."""
        return self.with_values({key: value for key, value in options.items() if value is not None})

    def with_values(self, values: dict[str, Any]) -> Recipe:
        """The same, but None is a value like others."""
        data = self.model_dump(mode="json")
        for key, value in values.items():
            *sections, last = key.split(".")
            part = data
            for section in sections:
                part = part[section]
            part[last] = value
        given = [part for part in PARTS if f"{part}.name" in values]
        changed = self._validated(data, "options", given)
        changed._folder = self._folder
        return changed

    @cached_property
    def labels(self) -> Taxonomy:
        """The taxonomy that the recipe names, read and checked."""
        return Taxonomy.load(self.taxonomy, self.folder)

    @property
    def folder(self) -> Path:
        """Where the recipe's relative paths start: its own folder, or the current one."""
        return self._folder

    def fingerprint(self) -> str:
        """16 hex digits that stand for all that changes the audio: taxonomy, prompts, generator, quality.

        Batch size and device do not: a clip depends on its row alone. A file of descriptions counts by content.
        """
        parts = {
            "name": self.name,
            "taxonomy": self.labels.model_dump(mode="json"),
            "prompts": self.prompts.audible(),
            "source": self.source_hash(),
            "generator": self.generator.audible(),
            "quality": self.quality.model_dump(mode="json", exclude={"max_rejected"}),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def source_file(self) -> Path | None:
        """The file of descriptions, None where there is none. Raises RecipeError if it cannot be read."""
        source = self.prompts.source
        if source.path is None:
            return None
        path = self.folder / source.path
        if not is_file(path):
            raise RecipeError(
                f"prompts.source.path: there is no file {path}",
                "put the file of descriptions there"
                if source.kind == "file"
                else "ask the chat model first, its answers are kept there: synthmir prompts RECIPE",
            )
        return path

    def source_hash(self) -> str | None:
        """SHA-256 of the file of descriptions, None where there is none."""
        path = self.source_file()
        return None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()

    def portable(self) -> dict[str, bytes]:
        """The recipe with the files of its own that it needs, as {file name: content}, to stand in another folder."""
        data, files = self.model_dump(mode="json"), {}
        if not (taxonomy := find_taxonomy(self.taxonomy, self.folder)).is_relative_to(SHIPPED):
            files["taxonomy.yaml"] = taxonomy.read_bytes()
            data["taxonomy"] = "taxonomy.yaml"
        if (source := self.source_file()) is not None:
            name = f"descriptions{source.suffix}"
            files[name] = source.read_bytes()
            data["prompts"]["source"]["path"] = name
        files["recipe.yaml"] = yaml.safe_dump(data, sort_keys=False, allow_unicode=True).encode()
        return files
