"""MusicGen's published form: a Hub id or a folder, loaded by transformers, with its revision and its licence."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCard
from transformers import AutoTokenizer, MusicgenForConditionalGeneration, PreTrainedConfig
from transformers.utils import logging as transformers_logging
from transformers.utils.hub import cached_file

from ..errors import BackendError, RecipeError

LICENSE = "cc-by-nc-4.0"  # of Meta's weights (facebookresearch/audiocraft, LICENSE_weights)
KINDS = ("musicgen",)
TOKENIZERS = ("tokenizer.json", "spiece.model")
IDENTITY = ("*.safetensors", "*.bin", "config.json", *TOKENIZERS)  # what a folder's revision is made of


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A loaded MusicGen: its decoder in the data type asked for, the small rest (T5, EnCodec) in float32."""

    model: MusicgenForConditionalGeneration
    tokenizer: Any
    revision: str  # the Hub's commit, or a hash of a folder's weights and settings
    license: str

    @classmethod
    def load(cls, name: str, revision: str | None, dtype: torch.dtype, device: torch.device) -> Checkpoint:
        """Load `name`, a Hub id or a folder.

        Raises BackendError for what is not there, cannot be reached or is not MusicGen, and RecipeError for a folder
        with a `revision`.
        """
        folder = Path(name).expanduser()
        if not (local := folder.is_dir()) and re.match(r"[./~]", name):
            raise BackendError(f"{name}: there is no such folder", "generator.model: a Hub id or a folder that exists")
        if local and revision is not None:
            raise RecipeError(f"generator.revision: {name} is a folder, which has no revisions", "leave revision out")
        source = str(folder) if local else name
        with _told(name, revision):
            config_file = cached_file(source, "config.json", revision=revision)
            kind = PreTrainedConfig.get_config_dict(source, revision=revision)[0].get("model_type")
            if kind not in KINDS:
                raise BackendError(
                    f"{name}: is {kind or 'no'} model, not MusicGen ({' or '.join(KINDS)})",
                    "generator.model: facebook/musicgen-small, or a folder saved by transformers",
                )
            if not local:  # from here on, what the branch or tag meant now
                revision = Path(str(config_file)).parent.name
            found = [
                cached_file(source, file, revision=revision, _raise_exceptions_for_missing_entries=False)
                for file in TOKENIZERS
            ]
            if not any(found):  # transformers would make an empty one, and every prompt would mean the same
                raise BackendError(f"{name}: has no tokenizer", f"one of {' or '.join(TOKENIZERS)} belongs there")
            tokenizer = AutoTokenizer.from_pretrained(source, revision=revision)
            model: Any = MusicgenForConditionalGeneration.from_pretrained(
                source, revision=revision or "main", dtype=torch.float32
            )
        model.decoder.to(dtype)
        return cls(
            model=model.to(device).eval(),
            tokenizer=tokenizer,
            revision=_hash(folder) if local else str(revision),
            license=_license(folder) if local else LICENSE,
        )


@contextmanager
def _told(name: str, revision: str | None) -> Iterator[None]:
    """Loads quietly; what goes wrong is told in our words."""
    bars, verbosity = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        yield
    except BackendError:
        raise
    except Exception as error:  # what damaged files raise in four libraries has no common type
        at = f" at revision {revision}" if revision else ""
        raise BackendError(
            f"{name}{at}: cannot be loaded: {str(error).strip().splitlines()[0]}",
            "check generator.model and generator.revision, and that the Hub can be reached; without a network, name a "
            "folder, or download first: hf download " + name,
        ) from error
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


def _hash(folder: Path) -> str:
    """12 hex digits for the content of a checkpoint folder."""
    whole = hashlib.sha256()
    for pattern in IDENTITY:
        for path in sorted(folder.glob(pattern)):
            with path.open("rb") as file:
                whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()[:12]


def _license(folder: Path) -> str:
    """What the folder's model card says, else that of Meta's weights: who trains on with them inherits it."""
    card = folder / "README.md"
    return str(ModelCard.load(card).data.get("license") or LICENSE) if card.is_file() else LICENSE
