"""Load MusicGen's published checkpoints with transformers, from a Hub id or a folder."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCard, is_offline_mode
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from transformers import (
    AutoTokenizer,
    MusicgenForConditionalGeneration,
    MusicgenMelodyForConditionalGeneration,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)
from transformers.utils.hub import cached_file

from ...errors import BackendError, RecipeError
from ...io.hf_progress import quiet_transformers
from ...io.storage import is_folder
from ...io.untrusted import refuse_code, require_hub

LICENSE = "cc-by-nc-4.0"  # of Meta's weights (facebookresearch/audiocraft, LICENSE_weights)
KINDS: dict[str, Any] = {
    "musicgen": MusicgenForConditionalGeneration,
    "musicgen_melody": MusicgenMelodyForConditionalGeneration,
}
TOKENIZERS = ("tokenizer.json", "spiece.model")
OPTIONAL: dict[str, Any] = {"_raise_exceptions_for_missing_entries": False}  # cached_file: None for a missing file
IDENTITY = ("*.safetensors", "*.bin", "config.json", *TOKENIZERS)  # the files that a folder's revision is a hash of


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A loaded MusicGen: the decoder in the chosen data type, T5 and EnCodec in float32."""

    model: MusicgenForConditionalGeneration | MusicgenMelodyForConditionalGeneration
    tokenizer: PreTrainedTokenizerBase
    revision: str  # the Hub's commit, or a hash of a folder's weights and settings
    license: str

    @property
    def channels(self) -> int:
        """Audio channels of the model: 1 or 2."""
        config: Any = self.model.config
        return int(config.decoder.audio_channels)

    @classmethod
    def load(cls, name: str, revision: str | None, dtype: torch.dtype, device: torch.device) -> Checkpoint:
        """Load a checkpoint.

        Args:
            name: A Hub id or a folder.
            revision: A commit, tag or branch on the Hub.
            dtype: The data type of the decoder.
            device: Where to load it.

        Raises:
            BackendError: It does not exist, cannot be reached or is not MusicGen.
            RecipeError: A `revision` of a folder.
        """
        local = find_model_folder(name, revision)
        source = str(local or name)
        with loading_errors(name, revision):
            require_hub(source, "generator.model: {}", revision)
            config_file = cached_file(source, "config.json", revision=revision)
            kind = PreTrainedConfig.get_config_dict(source, revision=revision)[0].get("model_type")
            if kind not in KINDS:
                raise BackendError(
                    f"{name}: is {f'a {kind}' if kind else 'no'} model, not MusicGen ({' or '.join(KINDS)})",
                    "generator.model: facebook/musicgen-small, or a folder saved by transformers",
                )
            if not local:  # the commit of the branch or tag, for all files
                revision = Path(str(config_file)).parent.name
            files = (cached_file(source, file, revision=revision, **OPTIONAL) for file in TOKENIZERS)
            if not any(files):  # transformers would make an empty tokenizer, for which all prompts are equal
                raise BackendError(f"{name}: has no tokenizer", f"add {' or '.join(TOKENIZERS)}")
            refuse_code(source, revision)
            tokenizer = AutoTokenizer.from_pretrained(source, revision=revision, trust_remote_code=False)
            card = cached_file(source, "README.md", revision=revision, **OPTIONAL)
            model: Any = KINDS[kind].from_pretrained(source, revision=revision or "main", dtype=torch.float32)
        model.decoder.to(dtype)
        return cls(
            model=model.to(device).eval(),
            tokenizer=tokenizer,
            revision=hash_folder(local) if local else str(revision),
            license=read_license(Path(card).parent) if card else LICENSE,
        )


def find_model_folder(name: str, revision: str | None) -> Path | None:
    """Find the folder that a model's name is; None for an id on the Hub.

    Raises:
        BackendError: A path where there is no folder.
        RecipeError: A `revision` of a folder.
    """
    folder = Path(name).expanduser()
    if not is_folder(folder):
        if re.match(r"[./~]", name):
            raise BackendError(f"{name}: there is no such folder", "generator.model: a Hub id or a folder that exists")
        return None
    if revision is not None:
        raise RecipeError(f"generator.revision: {name} is a folder, which has no revisions", "leave revision out")
    return folder


@contextmanager
def loading_errors(name: str, revision: str | None) -> Iterator[None]:
    """Silence transformers while it loads, and turn its errors into BackendError."""
    try:
        with quiet_transformers(logging.ERROR):
            yield
    except BackendError:
        raise
    except Exception as error:  # damaged files raise errors of four libraries without a common type
        raise _describe_error(name, revision, error) from error


def _describe_error(name: str, revision: str | None, error: Exception) -> BackendError:
    """The error for a user. The cause is found in the chain, as transformers wraps the Hub's errors."""
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and cause not in causes:
        causes.append(cause)

    def any_is(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    at = f" at revision {revision}" if revision else ""
    by_folder = f"generator.model: DIR, after: hf download {name} --local-dir DIR"
    if any_is(GatedRepoError):
        return BackendError(
            f"{name}: access on the Hub is restricted", "ask for access on the model's page; then: hf auth login"
        )
    if any_is(RepositoryNotFoundError):
        return BackendError(
            f"{name}: the Hub has no such model, or it is private",
            "generator.model: a Hub id (facebook/musicgen-small) or a folder; hf auth login, if it is private",
        )
    if any_is(RevisionNotFoundError):
        return BackendError(
            f"{name}: has no revision {revision!r}",
            "generator.revision: a commit, tag or branch; without one, the newest is taken and recorded",
        )
    if any_is(OfflineModeIsEnabled) or (any_is(LocalEntryNotFoundError) and is_offline_mode()):
        return BackendError(
            f"{name}{at}: is not on this machine, and HF_HUB_OFFLINE is set",
            f"unset HF_HUB_OFFLINE; or on a machine with a network, {by_folder}",
        )
    if any_is(LocalEntryNotFoundError, ConnectionError, HfHubHTTPError):
        return BackendError(
            f"{name}{at}: is not on this machine, and the Hub cannot be reached",
            f"check the connection and run the same command again; or on a machine with a network, {by_folder}",
        )
    if any_is(HFValidationError):
        return BackendError(f"{name}: is not a folder or a Hub id", "generator.model: a folder, or OWNER/NAME")
    again = f"ID --local-dir {name}" if Path(name).expanduser().is_dir() else f"{name} --force-download"
    return BackendError(
        f"{name}{at}: cannot be loaded: {(str(error).strip() or type(error).__name__).splitlines()[0]}",
        f"if the copy is damaged or incomplete, download it again: hf download {again}",
    )


def hash_folder(folder: Path, patterns: tuple[str, ...] = IDENTITY) -> str:
    """12 hex digits of the content of a checkpoint folder."""
    digest = hashlib.sha256()
    for pattern in patterns:
        for path in sorted(folder.glob(pattern)):
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


def read_license(folder: Path) -> str:
    """The licence in a folder's model card, else that of Meta's weights, which fine-tuned weights inherit."""
    card = folder / "README.md"
    return str(ModelCard.load(card).data.get("license") or LICENSE) if card.is_file() else LICENSE
