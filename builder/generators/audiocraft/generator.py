"""MusicGen checkpoints in audiocraft's format: loaded by audiocraft 1.3.0, decoded by synthmir's engine."""

from __future__ import annotations

import logging
import pickle
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig
from transformers.utils.hub import cached_file

from ...errors import BackendError
from ...io.untrusted import require_hub
from ..musicgen.checkpoint import (
    LICENSE,
    OPTIONAL,
    TOKENIZERS,
    Checkpoint,
    find_model_folder,
    hash_folder,
    loading_errors,
    read_license,
)
from ..musicgen.generator import MAX_TOKENS, MusicGen
from .weights import AudioCraftModel, convert_codec, convert_language_model

FILES = ("state_dict.bin", "compression_state_dict.bin")
WEIGHTS = ("model.safetensors", "pytorch_model.bin", "model.safetensors.index.json", "pytorch_model.bin.index.json")
SHORT = ("small", "medium", "large", "melody")  # audiocraft's old names of facebook/musicgen-...
SUPPORTED = "use facebook/musicgen-small, -medium, -large or one of -stereo-*"


class AudioCraft(MusicGen):
    """The generator `audiocraft`: text-to-music and stereo checkpoints of audiocraft.

    The documentation of `MusicGen` applies. For the same codes a clip is the one that audiocraft makes of its prompt
    alone. In a batch audiocraft also attends to the padding of the prompts; here there is none.
    """

    name = "audiocraft"

    @staticmethod
    def _load(name: str, revision: str | None, dtype: torch.dtype, device: torch.device) -> Checkpoint:
        return load_checkpoint(name, revision, dtype, device)


def load_checkpoint(name: str, revision: str | None, dtype: torch.dtype, device: torch.device) -> Checkpoint:
    """Load a checkpoint in audiocraft's format. No pickled code in it is run.

    Args:
        name: A Hub id, or a folder with `state_dict.bin` and `compression_state_dict.bin`.
        revision: A commit, tag or branch on the Hub.
        dtype: The data type of the decoder.
        device: Where to load it.

    Raises:
        BackendError: It is missing, cannot be reached, or is not a MusicGen that is conditioned on text only.
        RecipeError: A `revision` of a folder.
    """
    if find_spec("audiocraft") is None:
        raise _not_installed("audiocraft")
    folder, revision = _find_folder(name, revision)
    with loading_errors(name, revision), _name_checkpoint(name), _quiet():
        try:
            own = import_module("audiocraft.models").MusicGen
        except ImportError as error:
            raise _not_installed(error.name or str(error)) from error
        model, tokenizer = _parts(folder, own)
    model.decoder.to(dtype)
    return Checkpoint(
        model=cast(Any, model.to(device).eval()),
        tokenizer=tokenizer,
        revision=revision or hash_folder(folder),
        license=LICENSE if revision else read_license(folder),
    )


def _not_installed(package: str) -> BackendError:
    """The error for a missing package."""
    return BackendError(
        f"generator 'audiocraft' needs the package {package}, which is not installed",
        "uv sync --extra audiocraft   (in a checkout; pip alone cannot: audiocraft pins packages of 2023)",
    )


def _parts(folder: Path, own: Any) -> tuple[AudioCraftModel, Any]:
    """Load the model and its tokenizer on the CPU, where audiocraft keeps float32."""
    language, sound = (_read_file(folder / file) for file in FILES)
    settings = _settings(language)
    channels = _channels(settings)
    _check_text(settings)
    if (shared := sound.get("pretrained")) is not None:
        _check_named("codec", str(shared), "encodec")
    made = own.get_pretrained(
        str(folder.resolve()), device="cpu"
    )  # absolute, so that it is not one of audiocraft's short names
    _check_pattern(made.lm.pattern_provider, [book // channels for book in range(made.lm.n_q)])
    inner = made.compression_model.model if channels == 2 else made.compression_model
    audio_encoder = inner.model if shared else convert_codec(inner, _section(_settings(sound), "seanet"))
    encoder, projection, tokenizer = _split_text_encoder(made.lm.condition_provider.conditioners["description"])
    return AudioCraftModel(
        encoder.float(), projection.float(), convert_language_model(made.lm, channels), audio_encoder
    ), tokenizer


# what a checkpoint is made of


def _find_folder(name: str, revision: str | None) -> tuple[Path, str | None]:
    """The folder with both files, and for a Hub id, whose files are downloaded, the commit."""
    if (local := find_model_folder(name, revision)) is not None:
        if missing := [file for file in FILES if not (local / file).is_file()]:
            raise BackendError(
                f"{name}: has no {' and no '.join(missing)}: not a checkpoint as audiocraft exports it",
                "generator.name: musicgen reads folders that transformers saved",
            )
        return local, None
    source = f"facebook/musicgen-{name}" if name in SHORT else name
    with loading_errors(source, revision):
        require_hub(source, "generator.model: {}", revision, FILES[0])
        folder = Path(str(cached_file(source, FILES[0], revision=revision))).parent
        cached_file(source, FILES[1], revision=folder.name)  # of the same commit
    return folder, folder.name


def _read_file(path: Path) -> dict[str, Any]:
    """Read a file with its tensors left on disk, to check that audiocraft can load it safely."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise BackendError(
            f"{path.name} holds other objects than weights; none was loaded",
            "use a checkpoint that audiocraft.utils.export wrote",
        ) from error
    if not isinstance(content, dict) or not ({"xp.cfg", "best_state"} <= content.keys() or "pretrained" in content):
        raise BackendError(
            f"{path.name} is not in the format that audiocraft exports",
            "use a file that audiocraft.utils.export wrote",
        )
    return content


def _settings(content: dict[str, Any]) -> Any:
    """The settings that a file was trained with."""
    return import_module("omegaconf").OmegaConf.create(content["xp.cfg"])


def _section(settings: Any, name: str) -> dict[str, Any]:
    """A section of the settings with its references resolved; {} if there is none."""
    section = settings.get(name)
    return {} if section is None else import_module("omegaconf").OmegaConf.to_container(section, resolve=True)


def _channels(settings: Any) -> int:
    """The audio channels of a checkpoint. Raises BackendError for an unsupported kind of stereo."""
    stereo = _section(settings, "interleave_stereo_codebooks")
    if stereo.get("use") and stereo.get("per_timestep"):
        raise BackendError("its left and right channel alternate in time, not in codebooks", SUPPORTED)
    return 2 if stereo.get("use") else 1


def _check_text(settings: Any) -> None:
    """Raise BackendError for other conditions than one text, and for text encoders that are not supported."""
    conditioners = _section(settings, "conditioners")
    conditioners.pop("args", None)
    fuser = _section(settings, "fuser")
    fused = {way: names for way, names in fuser.items() if isinstance(names, list) and names}
    if (
        set(conditioners) != {"description"}
        or fused != {"cross": ["description"]}
        or fuser.get("cross_attention_pos_emb")
    ):
        raise BackendError(
            f"it has the conditions {' and '.join(sorted(conditioners)) or 'none'}, not cross-attention to one text",
            f"{SUPPORTED}; with generator.name: musicgen melody checkpoints play from the text",
        )
    kind = conditioners["description"]["model"]
    reader = conditioners["description"].get(kind, {})
    if kind not in ("t5", "lut") or reader.get("normalize_text") or reader.get("tokenizer", "noop") != "noop":
        # audiocraft would install spaCy's English model with pip while it loads.
        raise BackendError("its prompts are neither read by T5 unchanged nor looked up as one token", SUPPORTED)
    if kind == "t5":
        _check_named("text encoder", str(reader["name"]), "t5")


def _check_named(part: str, name: str, kind: str) -> None:
    """Raise BackendError if a part that the checkpoint refers to by name is not complete on this machine."""
    try:
        with loading_errors(name, None):
            actual = PreTrainedConfig.get_config_dict(name)[0].get("model_type")
            if actual != kind:
                raise BackendError(f"{name}: is {f'a {actual}' if actual else 'no'} model, not {kind}")
            if not any(_exists(name, file) for file in WEIGHTS):
                raise BackendError(f"{name}: has no weights")
            if kind == "t5" and not any(_exists(name, file) for file in TOKENIZERS):
                # transformers would make an empty tokenizer, for which all prompts are equal
                raise BackendError(f"{name}: has no tokenizer")
    except BackendError as error:
        raise BackendError(f"its {part} {error.message}", f"where there is a network: hf download {name}") from error


def _exists(name: str, file: str) -> bool:
    """Whether a checkpoint has a file."""
    return cached_file(name, file, **OPTIONAL) is not None


def _check_pattern(pattern: Any, delays: list[int]) -> None:
    """Raise BackendError if the codebooks are not delayed as in MusicGen."""
    actual = [getattr(pattern, key, None) for key in ("delays", "flatten_first", "empty_initial")]
    if actual != [delays, 0, 0]:
        raise BackendError(f"its codebooks are not delayed by {delays} steps, as in MusicGen", SUPPORTED)


# the text


class LookupEncoder(nn.Module):
    """A text encoder that is an embedding table."""

    def __init__(self, embed: nn.Module) -> None:
        super().__init__()
        self.embed = embed

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        """[batch, length] -> `last_hidden_state` [batch, length, width]."""
        return SimpleNamespace(last_hidden_state=self.embed(input_ids))


class WholePromptTokenizer:
    """A tokenizer for which a prompt is one token, with the interface of transformers' tokenizers."""

    model_max_length, pad_token_id = MAX_TOKENS, 0

    def __init__(self, number: Any) -> None:
        self._number = number

    def __call__(self, texts: Sequence[str], **options: Any) -> SimpleNamespace:
        """Look up texts: `input_ids` of one token each, never truncated."""
        ids, _ = self._number(list(texts))
        return SimpleNamespace(input_ids=ids.tolist())


def _split_text_encoder(conditioner: Any) -> tuple[nn.Module, nn.Module, Any]:
    """Split audiocraft's conditioner into text encoder, projection to the decoder's width, and tokenizer."""
    if hasattr(conditioner, "t5"):
        return conditioner.t5.eval(), conditioner.output_proj, conditioner.t5_tokenizer
    return LookupEncoder(conditioner.embed), conditioner.output_proj, WholePromptTokenizer(conditioner.tokenizer)


@contextmanager
def _name_checkpoint(name: str) -> Iterator[None]:
    """Put the checkpoint's name in front of errors."""
    try:
        yield
    except BackendError as error:
        raise BackendError(f"{name}: {error.message}", error.fix) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence audiocraft's deprecation warnings and xformers' log about its kernels, which are not used here."""
    xformers = logging.getLogger("xformers")
    level = xformers.level
    xformers.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        xformers.setLevel(level)
