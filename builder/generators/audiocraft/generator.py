"""MusicGen in audiocraft's own form: loaded by audiocraft 1.3.0, played by our decode engine and codec."""

from __future__ import annotations

import logging
import pickle
import re
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

from ...errors import BackendError, RecipeError
from ...io.untrusted import require_hub
from ..musicgen.checkpoint import LICENSE, TOKENIZERS, Checkpoint, _hash, _license, _told
from ..musicgen.generator import MAX_TOKENS, MusicGen
from .weights import Parts, codec, language_model

FILES = ("state_dict.bin", "compression_state_dict.bin")
WEIGHTS = ("model.safetensors", "pytorch_model.bin", "model.safetensors.index.json", "pytorch_model.bin.index.json")
SHORT = ("small", "medium", "large", "melody")  # audiocraft's old names of facebook/musicgen-...
PLAYED = "facebook/musicgen-small, -medium, -large or one of -stereo-* is"


class AudioCraft(MusicGen):
    """The generator `audiocraft`: text-to-music and stereo checkpoints of audiocraft.

    All that is said of `musicgen` holds here too. With the same codes chosen a clip is the one that audiocraft makes
    of its prompt alone. In a batch audiocraft pads the prompts and lets the padding be heard; here a clip has none.
    """

    name = "audiocraft"

    @staticmethod
    def _load(name: str, revision: str | None, dtype: torch.dtype, device: torch.device) -> Checkpoint:
        return load(name, revision, dtype, device)


def load(name: str, revision: str | None, dtype: torch.dtype, device: torch.device) -> Checkpoint:
    """Load `name`, a Hub id or a folder with `state_dict.bin` and `compression_state_dict.bin`.

    Raises BackendError for what is missing, cannot be reached or is no MusicGen told by text alone, and RecipeError
    for a folder with a `revision`. Nothing that is pickled is executed.
    """
    if find_spec("audiocraft") is None:
        raise _not_installed("audiocraft")
    folder, revision = _found(name, revision)
    with _told(name, revision), _named(name), _quiet():
        try:
            own = import_module("audiocraft.models").MusicGen
        except ImportError as error:
            raise _not_installed(error.name or str(error)) from error
        model, tokenizer = _parts(folder, own)
    model.decoder.to(dtype)
    return Checkpoint(
        model=cast(Any, model.to(device).eval()),
        tokenizer=tokenizer,
        revision=revision or _hash(folder),
        license=LICENSE if revision else _license(folder),
    )


def _not_installed(package: str) -> BackendError:
    return BackendError(
        f"generator 'audiocraft' needs the package {package}, which is not installed",
        "uv sync --extra audiocraft   (in a checkout; pip alone cannot: audiocraft pins packages of 2023)",
    )


def _parts(folder: Path, own: Any) -> tuple[Parts, Any]:
    """A checkpoint's parts and its tokenizer, on the CPU: there audiocraft keeps to float32, elsewhere it rounds."""
    language, sound = (_content(folder / file) for file in FILES)
    settings = _settings(language)
    channels = _channels(settings)
    _check_text(settings)
    if (shared := sound.get("pretrained")) is not None:
        _check_named("codec", str(shared), "encodec")
    made = own.get_pretrained(str(folder.resolve()), device="cpu")  # a path in full, which is none of its short names
    _check_pattern(made.lm.pattern_provider, [book // channels for book in range(made.lm.n_q)])
    inner = made.compression_model.model if channels == 2 else made.compression_model
    audio_encoder = inner.model if shared else codec(inner, _section(_settings(sound), "seanet"))
    encoder, projection, tokenizer = _reader(made.lm.condition_provider.conditioners["description"])
    return Parts(encoder.float(), projection.float(), language_model(made.lm, channels), audio_encoder), tokenizer


# what a checkpoint is made of


def _found(name: str, revision: str | None) -> tuple[Path, str | None]:
    """The folder that holds both files, fetched where `name` is a Hub id, and the commit that it is then of."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise RecipeError(f"generator.revision: {name} is a folder, which has no revisions", "leave revision out")
        if missing := [file for file in FILES if not (folder / file).is_file()]:
            raise BackendError(
                f"{name}: has no {' and no '.join(missing)}: not a checkpoint as audiocraft exports it",
                "generator.name: musicgen reads folders that transformers saved",
            )
        return folder, None
    if re.match(r"[./~]", name):
        raise BackendError(f"{name}: there is no such folder", "generator.model: a Hub id or a folder that exists")
    source = f"facebook/musicgen-{name}" if name in SHORT else name
    with _told(source, revision):
        require_hub(source, "generator.model: {}", revision, FILES[0])
        folder = Path(str(cached_file(source, FILES[0], revision=revision))).parent
        cached_file(source, FILES[1], revision=folder.name)  # of the same commit, whatever the branch is by now
    return folder, folder.name


def _content(path: Path) -> dict[str, Any]:
    """A file's content, its tensors left on disk. audiocraft reads it again; here it is seen that it may."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise BackendError(
            f"{path.name} holds objects that are no weights; none of it was executed",
            "a checkpoint as audiocraft.utils.export writes it",
        ) from error
    if not isinstance(content, dict) or not ({"xp.cfg", "best_state"} <= content.keys() or "pretrained" in content):
        raise BackendError(f"{path.name} is not what audiocraft exports", "a file that audiocraft.utils.export wrote")
    return content


def _settings(content: dict[str, Any]) -> Any:
    return import_module("omegaconf").OmegaConf.create(content["xp.cfg"])


def _section(settings: Any, name: str) -> dict[str, Any]:
    """A section with its references to others resolved; {} where there is none."""
    section = settings.get(name)
    return {} if section is None else import_module("omegaconf").OmegaConf.to_container(section, resolve=True)


def _channels(settings: Any) -> int:
    stereo = _section(settings, "interleave_stereo_codebooks")
    if stereo.get("use") and stereo.get("per_timestep"):
        raise BackendError("its left and right take turns in time, not in codebooks", f"{PLAYED} played")
    return 2 if stereo.get("use") else 1


def _check_text(settings: Any) -> None:
    """Refuse what is told by more than a text, or by a text that this cannot read as audiocraft does."""
    told = _section(settings, "conditioners")
    told.pop("args", None)
    ways = {way: whom for way, whom in _section(settings, "fuser").items() if isinstance(whom, list) and whom}
    positions = _section(settings, "fuser").get("cross_attention_pos_emb")
    if set(told) != {"description"} or ways != {"cross": ["description"]} or positions:
        raise BackendError(
            f"it is told by {' and '.join(sorted(told)) or 'nothing'}, not by cross-attention to a text alone",
            f"{PLAYED} played; generator.name: musicgen plays melody checkpoints by their text",
        )
    kind = told["description"]["model"]
    reader = told["description"].get(kind, {})
    if kind not in ("t5", "lut") or reader.get("normalize_text") or reader.get("tokenizer", "noop") != "noop":
        # audiocraft would fetch spaCy's English with pip while it loads.
        raise BackendError("its prompts are not read by T5 as they stand, nor looked up whole", f"{PLAYED} played")
    if kind == "t5":
        _check_named("text encoder", str(reader["name"]), "t5")


def _check_named(part: str, name: str, kind: str) -> None:
    """Refuse a part that the checkpoint does not hold but names, if it is not there whole."""
    try:
        with _told(name, None):
            found = PreTrainedConfig.get_config_dict(name)[0].get("model_type")
            if found != kind:
                raise BackendError(f"{name}: is {f'a {found}' if found else 'no'} model, not {kind}")
            if not any(_there(name, file) for file in WEIGHTS):
                raise BackendError(f"{name}: has no weights")
            if kind == "t5" and not any(_there(name, file) for file in TOKENIZERS):
                # transformers would make an empty one, and every prompt would mean the same
                raise BackendError(f"{name}: has no tokenizer")
    except BackendError as error:
        raise BackendError(f"its {part} {error.message}", f"where there is a network: hf download {name}") from error


def _there(name: str, file: str) -> bool:
    return cached_file(name, file, _raise_exceptions_for_missing_entries=False) is not None


def _check_pattern(pattern: Any, delays: list[int]) -> None:
    found = [getattr(pattern, key, None) for key in ("delays", "flatten_first", "empty_initial")]
    if found != [delays, 0, 0]:
        raise BackendError(f"its codebooks do not begin {delays} steps late, as MusicGen's do", f"{PLAYED} played")


# the text


class Table(nn.Module):
    """A text encoder that looks its tokens up."""

    def __init__(self, embed: nn.Module) -> None:
        super().__init__()
        self.embed = embed

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        """[batch, length] -> `last_hidden_state` [batch, length, width]."""
        return SimpleNamespace(last_hidden_state=self.embed(input_ids))


class Whole:
    """A tokenizer for which a prompt is one token, called as transformers' are."""

    model_max_length, pad_token_id = MAX_TOKENS, 0

    def __init__(self, number: Any) -> None:
        self._number = number

    def __call__(self, texts: Sequence[str], **options: Any) -> SimpleNamespace:
        """Texts -> `input_ids`, one each; there is nothing to truncate."""
        ids, _ = self._number(list(texts))
        return SimpleNamespace(input_ids=ids.tolist())


def _reader(conditioner: Any) -> tuple[nn.Module, nn.Module, Any]:
    """What reads prompts: encoder, projection to the decoder's width, tokenizer."""
    if hasattr(conditioner, "t5"):
        return conditioner.t5.eval(), conditioner.output_proj, conditioner.t5_tokenizer
    return Table(conditioner.embed), conditioner.output_proj, Whole(conditioner.tokenizer)


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Says of which checkpoint a fault is."""
    try:
        yield
    except BackendError as error:
        raise BackendError(f"{name}: {error.message}", error.fix) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """No word of what is deprecated in audiocraft, nor of xformers' kernels, which only its own decoding uses."""
    xformers = logging.getLogger("xformers")
    level = xformers.level
    xformers.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        xformers.setLevel(level)
