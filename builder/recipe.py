"""Recipes: everything that defines a run."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar

import yaml
from pydantic import Field, PrivateAttr, model_validator

from .configs import GENERATED, ConfigKind
from .errors import RecipeError
from .io.safe_files import find_shipped, parse_json, read_yaml
from .io.storage import is_file, path_exists, storage_errors, to_path
from .registry import EMBEDDERS, ESTIMATORS, GENERATORS
from .settings import (
    VERSIONS,
    AblationSettings,
    AudioSettings,
    EmbedderSettings,
    EvaluationSettings,
    GeneratorSettings,
    PromptSettings,
    QualitySettings,
    RecipeSection,
    SelectSettings,
    SplitSettings,
    TrainingSettings,
)
from .soundfonts import pin_font, resolve_font
from .taxonomy import SHIPPED, Taxonomy, find_taxonomy
from .validation import faults_error, match_pattern, suggest, try_validate

PARTS = ("generator", "embedder")  # sections that name a class of a registry
Slug = Annotated[
    str,
    match_pattern(r"^[a-z0-9][a-z0-9._-]*$", "lower-case letters, digits, `.`, `_`, `-`, a letter or digit first"),
    Field(max_length=96),
]


def _unknown_parts(data: Any, parts: Collection[str]) -> Iterator[str]:
    """Describe each of `parts` whose name is not registered. Names that are not text are refused by pydantic."""
    for part, registry in zip(PARTS, (GENERATORS, EMBEDDERS), strict=True):
        section = data.get(part) if part in parts and isinstance(data, dict) else None
        name = section.get("name") if isinstance(section, dict) else None
        if not isinstance(name, str) or name in registry or (part == "embedder" and name.startswith("hf:")):
            continue
        known = ", ".join([*sorted(registry), *(["hf:ID"] if part == "embedder" else [])])
        yield f"{part}.name: there is no {part} called {name!r:.60}{suggest(name, registry)}. Known: {known}"


def _unknown_estimators(data: Any) -> Iterator[str]:
    """Describe each estimator that is not registered."""
    listed = data.get("estimates") if isinstance(data, dict) else None
    for text in listed if isinstance(listed, list | tuple) else ():
        if isinstance(text, str) and (name := text.partition(":")[0]) not in ESTIMATORS:
            known = ", ".join(sorted(ESTIMATORS))
            yield f"estimates: there is no estimator called {name!r:.60}{suggest(name, ESTIMATORS)}. Known: {known}"


def list_recipes() -> list[str]:
    """Return the names of the shipped recipes."""
    return sorted(path.stem for path in find_shipped("recipes").glob("*.yaml"))


class Recipe(RecipeSection):
    """All settings of a run. `Recipe.load` reads a file; recipes with the same `fingerprint()` make the same audio."""

    misplaced: ClassVar[dict[str, str]] = {
        "genres": "Genres are in a taxonomy. Write `taxonomy: FILE`, and `genres:` in that file",
    }
    name: Slug = Field(examples=["my-corpus"])
    """The corpus's name: lower-case letters, digits, `.`, `_`, `-`."""
    taxonomy: str = "paper"
    """The genres and their words: a shipped taxonomy (`paper`, `gtzan`, ...) or a YAML file."""
    prompts: PromptSettings = Field(examples=[{"per_genre": 100}])
    """Which prompts, and how many."""
    generator: GeneratorSettings = GeneratorSettings()
    """What makes the sound."""
    audio: AudioSettings = AudioSettings()
    """The sampling rate and the channels of the clips."""
    quality: QualitySettings = QualitySettings()
    """What a clip must satisfy."""
    split: SplitSettings = SplitSettings()
    """Train and validation."""
    annotations: bool = False
    """Whether the corpus gets the config `annotations`: the exact beats, chords, key, sections, melody and notes of
    each clip, from a generator that has a score, as `arranger`."""
    stems: bool = False
    """Whether the corpus gets the config `stems`: drums, bass, harmony, melody, vocals and other parts of each clip,
    which add up to it, from a generator that has a score, as `arranger`."""
    estimates: tuple[str, ...] = Field(default=(), strict=False)
    """Estimators that measure the sound of each clip, as `synthmir annotate` does: `[tempo, key, silence]`."""
    select: SelectSettings | None = None
    """Make more clips and keep those whose estimates are best. Default: all clips are kept."""
    embedder: EmbedderSettings = EmbedderSettings()
    """Which embedder turns the audio into vectors, and how."""
    training: TrainingSettings = TrainingSettings()
    """The classifier."""
    evaluation: EvaluationSettings = EvaluationSettings()
    """What the classifier is evaluated on."""
    ablation: AblationSettings = AblationSettings()
    """What `synthmir ablate` varies."""
    _folder: Path = PrivateAttr(default_factory=Path.cwd)

    @classmethod
    def load(cls, path: str | Path, *, kept: bool = False) -> Recipe:
        """Read a recipe.

        Args:
            path: A file, an address, or the name of a shipped recipe, also where a folder has that name.
            kept: Whether the recipe is that of a finished corpus, whose generator and embedder need not be registered.

        Raises:
            RecipeError: That lists every fault.
        """
        file = to_path(path)
        with storage_errors(file):
            if file.name == str(path) and not file.suffix and not is_file(file):
                shipped = list_recipes()
                if str(path) in shipped:
                    file = find_shipped(f"recipes/{path}.yaml")
                elif not path_exists(file):
                    raise RecipeError(f"no file and no shipped recipe {path!r}", f"shipped: {', '.join(shipped)}")
            recipe = cls._validated(read_yaml(file), str(file), () if kept else PARTS)
            folder = file.resolve().parent
            fonts = tuple(resolve_font(font, folder) for font in recipe.generator.soundfont)
            if fonts != recipe.generator.soundfont:
                generator = recipe.generator.model_copy(update={"soundfont": fonts})
                recipe = recipe.model_copy(update={"generator": generator})
            recipe._folder = folder
            return recipe._match_corpus()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Recipe:
        """Check a recipe given as a dictionary. Relative paths start at the current folder. Raises RecipeError."""
        return cls._validated(dict(data), "recipe", PARTS)

    @classmethod
    def _validated(cls, data: Any, where: str, parts: Collection[str]) -> Recipe:
        """Make a recipe whose `parts` ("generator", "embedder") are registered. Raises RecipeError."""
        result = try_validate(cls, data)
        faults = [
            *_unknown_parts(data, parts),
            *(_unknown_estimators(data) if parts else ()),
            *(result if isinstance(result, list) else ()),
        ]
        if faults or isinstance(result, list):
            raise faults_error(where, faults)
        return result

    @classmethod
    def json_schema(cls) -> str:
        """Return the JSON Schema of a recipe file, which editors use to complete and check keys."""
        return json.dumps(cls.model_json_schema(), indent=2, ensure_ascii=False) + "\n"

    def with_options(self, options: dict[str, Any]) -> Recipe:
        """Return a checked copy with some values changed, by dotted keys ("training.seed"). None changes nothing."""
        return self.with_values({key: value for key, value in options.items() if value is not None})

    def with_values(self, values: dict[str, Any]) -> Recipe:
        """Return a checked copy with some values changed, by dotted keys; None is a value too."""
        data = self.model_dump(mode="json")
        for key, value in values.items():
            *sections, last = key.split(".")
            part = data
            for section in sections:
                part = part[section]
            part[last] = value
        changed_parts = [part for part in PARTS if f"{part}.name" in values]
        recipe = self._validated(data, "options", changed_parts)
        recipe._folder = self._folder
        return recipe

    @model_validator(mode="after")
    def _select_by_estimates(self) -> Recipe:
        if self.select is not None and not self.estimates:
            raise ValueError("select: needs estimates to choose by: add `estimates: [tempo, key]` at the top")
        return self

    def enlarged(self) -> Recipe:
        """Return the recipe of all clips that are made where `select` keeps some; unchanged without `select`."""
        if self.select is None:
            return self
        key = "per_genre" if self.prompts.per_genre is not None else "total"
        asked = getattr(self.prompts, key)
        return self.with_values({"select": None, f"prompts.{key}": math.ceil(asked * self.select.oversample)})

    @cached_property
    def labels(self) -> Taxonomy:
        """The taxonomy that the recipe names: the labels that clips can have."""
        return Taxonomy.load(self.taxonomy, self.folder)

    @property
    def folder(self) -> Path:
        """Where the recipe's relative paths start: its own folder, or the current one."""
        return self._folder

    @property
    def generated_configs(self) -> tuple[ConfigKind, ...]:
        """The configs that it asks for beside the clips: "annotations", "stems"."""
        return tuple(config for config in GENERATED if getattr(self, config))

    @property
    def channels(self) -> int:
        """The channels of the clips: 1 or 2."""
        return self.audio.channels or self.generator.channels

    def fingerprint(self) -> str:
        """Hash what changes the audio: taxonomy, prompts, generator, audio, quality, and the file of descriptions.

        Batch size and device are left out: a clip depends only on its row. So is `audio` at its defaults, which
        recipes of 0.1 did not have.

        Returns:
            16 hexadecimal digits.
        """
        parts: dict[str, Any] = {
            "name": self.name,
            "taxonomy": self.labels.model_dump(mode="json"),
            "prompts": self.prompts.audible(),
            "source": self.source_hash(),
            "generator": self.generator.audible(),
            "quality": self.quality.model_dump(mode="json", exclude={"max_rejected"}),
        }
        if self.select is not None:
            parts |= {"select": self.select.model_dump(mode="json"), "estimates": sorted(self.estimates)}
        if audio := self.audio.model_dump(mode="json", exclude_defaults=True):
            parts["audio"] = audio
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def match_version(self, fingerprint: str) -> Recipe:
        """Return the recipe with the version of the generator that made a corpus.

        A recipe that names no version asks for the newest, and is also that of corpora of older versions.

        Args:
            fingerprint: That of the corpus, or of a part of it.

        Returns:
            The recipe with the version that gives it this fingerprint; unchanged where there is none.
        """
        versions = VERSIONS.get(self.generator.name, ()) if self.generator.revision is None else ()
        named = (self.with_values({"generator.revision": version}) for version in reversed(versions[:-1]))
        return next((recipe for recipe in (self, *named) if recipe.fingerprint() == fingerprint), self)

    def _match_corpus(self) -> Recipe:
        """The recipe with the version of the generator that made the corpus in whose folder its file is.

        Corpora of 0.1 name no version in their recipes; their records have the fingerprint.
        """
        if self.generator.name not in VERSIONS or self.generator.revision is not None:
            return self
        if self.folder.parent.name == "recipes":  # of an older part of the corpus
            return self.match_version(self.folder.name)
        try:
            record = parse_json((self.folder / "records" / "build.json").read_text(encoding="utf-8"))
            return self.match_version(str(record["details"]["identity"]["fingerprint"]))
        except (OSError, ValueError, LookupError, TypeError):  # not in a corpus, or in a damaged one
            return self

    def source_file(self) -> Path | None:
        """Return the file of descriptions, None if the recipe names none. Raises RecipeError if it does not exist."""
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
        """Return the SHA-256 of the file of descriptions, None if the recipe names none."""
        path = self.source_file()
        return None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()

    def portable(self) -> dict[str, bytes]:
        """Return the recipe and the files that it names, as {file name: content}, to be written to another folder.

        A generator's own version is named, so that the recipe keeps its meaning when there is a newer one.
        """
        data, files = self.model_dump(mode="json"), {}
        data["generator"]["revision"] = self.generator.version
        if self.audio == AudioSettings():
            del data["audio"]
        if "soundfont" in self.generator.audible():
            data["generator"]["soundfont"] = [pin_font(font) for font in self.generator.soundfont]
        if not (taxonomy := find_taxonomy(self.taxonomy, self.folder)).is_relative_to(SHIPPED):
            files["taxonomy.yaml"] = taxonomy.read_bytes()
            data["taxonomy"] = "taxonomy.yaml"
        if (source := self.source_file()) is not None:
            name = f"descriptions{source.suffix}"
            files[name] = source.read_bytes()
            data["prompts"]["source"]["path"] = name
        files["recipe.yaml"] = yaml.safe_dump(data, sort_keys=False, allow_unicode=True).encode()
        return files

    def to_yaml(self) -> str:
        """Return the recipe as YAML, with all its defaults."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
