"""Find a model of diffusers on the Hub or in a folder, check its files, and load its pipeline."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from logging import ERROR, getLogger
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCard, hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, HfHubHTTPError
from transformers import GPT2LMHeadModel

from ...errors import BackendError
from ...io.safe_files import read_json
from ...io.storage import is_folder
from ...io.untrusted import refuse_code, require_hub
from ..musicgen.checkpoint import find_model_folder, hash_folder, loading_errors
from .pipelines import PIPELINES, Configs, Limits, PipelineKind

INDEX = "model_index.json"
CONFIG_FILES = ("config.json", "scheduler_config.json", "tokenizer_config.json", "preprocessor_config.json")
CONFIGS = (INDEX, "README.md", "*/*.json")  # downloaded first: all checks need these alone
LIBRARIES = ("diffusers", "transformers", "stable_audio", "stable_audio_3", "ace_step", "audioldm2")  # no remote code
NO_WEIGHTS = ("tokenizer", "tokenizer_2", "scheduler", "feature_extractor")
IDENTITY = (INDEX, "*/*.safetensors", "*/*.json", "*/*.txt", "*/*.model")  # the files that a folder's revision hashes


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model whose config files are checked and whose weights are not loaded."""

    name: str  # as the recipe has it
    folder: Path
    commit: str | None  # on the Hub; None for a folder
    kind: PipelineKind
    class_name: str
    limits: Limits
    license: str
    components: tuple[str, ...]  # those that the model has

    @classmethod
    def find(cls, name: str, revision: str | None) -> ModelFolder:
        """Find a model and read its config files.

        Args:
            name: A Hub id or a folder.
            revision: A commit, tag or branch on the Hub.

        Raises:
            BackendError: It does not exist, cannot be reached, is no audio pipeline, or lacks a component.
            RecipeError: A `revision` of a folder.
        """
        folder, commit = find_model_folder(name, revision), None
        if folder is None:
            with hub_errors(name, revision):
                require_hub(name, "generator.model: {}", revision, INDEX)
                commit = Path(hf_hub_download(name, INDEX, revision=revision)).parent.name
                folder = Path(snapshot_download(name, revision=commit, allow_patterns=list(CONFIGS)))
        index = _read_config(folder / INDEX, name)
        class_name, kind = _find_kind(index, name)
        components = tuple(part for part in _read_components(index, name) if part in kind.components)
        if missing := [part for part in kind.components if part not in components]:
            raise BackendError(f"{name}: {INDEX} lists no {', '.join(missing)}", _download_again(name))
        configs = {part: _read_component(folder, part, name) for part in components}
        return cls(
            name=name,
            folder=folder,
            commit=commit,
            kind=kind,
            class_name=class_name,
            limits=_read_limits(kind, configs, name),
            license=_read_license(folder),
            components=components,
        )

    @property
    def revision(self) -> str:
        """The Hub's commit, or a hash of a folder's content."""
        return self.commit or hash_folder(self.folder, IDENTITY)

    def load(self, dtype: torch.dtype) -> Any:
        """Load the pipeline to the CPU, from safetensors alone.

        Raises:
            BackendError: A file is missing or damaged.
        """
        if self.commit:
            patterns = [
                f"{part}/*.{end}" for part in self.components for end in ("safetensors", "json", "txt", "model")
            ]
            with hub_errors(self.name, self.commit):
                snapshot_download(
                    self.name,
                    revision=self.commit,
                    allow_patterns=patterns,
                    ignore_patterns=["*.fp16.*", "*.fp16-*", "*.bf16.*"],
                )
        for part in self.components:
            if part not in NO_WEIGHTS and not any((self.folder / part).glob("*.safetensors")):
                raise BackendError(
                    f"{self.name}: {part} has no safetensors; weights in other formats can run code",
                    f"convert them to safetensors, or {_download_again(self.name)}",
                )
        with loading_errors(self.name, self.commit), quiet_diffusers():
            import diffusers

            options: dict[str, Any] = {"dtype": dtype, "use_safetensors": True, "local_files_only": True}
            parts = {}
            if "language_model" in self.components:  # AudioLDM 2 names GPT2Model, which no longer generates
                parts["language_model"] = GPT2LMHeadModel.from_pretrained(self.folder / "language_model", **options)
            pipeline = getattr(diffusers, self.class_name).from_pretrained(str(self.folder), **options, **parts)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline


@contextmanager
def hub_errors(name: str, revision: str | None) -> Iterator[None]:
    """Turn the Hub's errors into BackendError; a licence that is not accepted has a message of its own."""
    with loading_errors(name, revision):
        try:
            yield
        except GatedRepoError as error:
            raise _not_accepted(name) from error
        except EntryNotFoundError as error:
            raise BackendError(f"{name}: has no {INDEX}, so it is no model of diffusers", _USE) from error
        except HfHubHTTPError as error:
            if error.response is not None and error.response.status_code == 403:
                raise _not_accepted(name) from error
            raise


def _not_accepted(name: str) -> BackendError:
    return BackendError(
        f"{name}: a licence must be accepted on the page of {name} on the Hub",
        "accept it there, and log in as the one who did: hf auth login",
    )


@contextmanager
def quiet_diffusers() -> Iterator[None]:
    """Hide the log lines, warnings and progress bars of diffusers, except errors, within the block."""
    xformers = getLogger(
        "xformers"
    )  # if it is installed and does not fit torch, it says so when diffusers asks for it
    xformers.setLevel(ERROR)
    from diffusers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torchsde about rounding, and of deprecations between libraries
            yield
    finally:
        logging.set_verbosity(before)
        logging.enable_progress_bar()


_USE = (
    "generator.model: a model of Stable Audio, Stable Audio 3, ACE-Step 1.5 or AudioLDM 2 in the format of diffusers"
)


def _download_again(name: str) -> str:
    return f"download it again: hf download ID --local-dir {name}" if is_folder(Path(name)) else "name another model"


def _read_config(path: Path, name: str) -> dict[str, Any]:
    """Read a config file. Raises BackendError."""
    where = path.name if path.name == INDEX else f"{path.parent.name}/{path.name}"
    try:
        return read_json(path)
    except FileNotFoundError as error:
        raise BackendError(f"{name}: has no {where}", _USE if path.name == INDEX else _download_again(name)) from error
    except (OSError, ValueError) as error:
        raise BackendError(f"{name}: {where} cannot be read: {error}", _download_again(name)) from error


def _find_kind(index: Mapping[str, Any], name: str) -> tuple[str, PipelineKind]:
    """The pipeline class that a model names. Raises BackendError for other classes."""
    class_name = index.get("_class_name")
    if not isinstance(class_name, str) or class_name not in PIPELINES:
        found = str(class_name)[:80]
        raise BackendError(f"{name}: is a {found}, not one of the pipelines {', '.join(PIPELINES)}", _USE)
    return class_name, PIPELINES[class_name]


def _read_components(index: Mapping[str, Any], name: str) -> list[str]:
    """The components that a model has. Raises BackendError for one of a library that would be loaded as code."""
    present = []
    for part, value in index.items():
        if part.startswith("_") or not isinstance(value, list) or value == [None, None]:
            continue
        if len(value) != 2 or value[0] not in LIBRARIES or not isinstance(value[1], str):
            raise BackendError(
                f"{name}: {INDEX} takes {part[:80]} from {str(value)[:80]}, not from diffusers or transformers",
                "name a model without code of its own",
            )
        present.append(part)
    return present


def _read_component(folder: Path, part: str, name: str) -> Mapping[str, Any]:
    """The config of a component. Raises BackendError if the component is missing or names code to load."""
    file = next((folder / part / file for file in CONFIG_FILES if (folder / part / file).is_file()), None)
    if file is None:
        raise BackendError(f"{name}: the component {part} is missing", _download_again(name))
    if file.name == "config.json":
        refuse_code(str(folder / part))
    return _read_config(file, name)


def _read_limits(kind: PipelineKind, configs: Configs, name: str) -> Limits:
    try:
        return kind.read_limits(configs)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise BackendError(f"{name}: its config files lack {error}", _download_again(name)) from error


def _read_license(folder: Path) -> str:
    """The licence in the model's card; "other" where it names none."""
    card = folder / "README.md"
    return str(ModelCard.load(card).data.get("license") or "other").lower() if card.is_file() else "other"
