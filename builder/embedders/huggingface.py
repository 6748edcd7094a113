"""`hf:<id or folder>`: any audio model of transformers with hidden states, as an embedder."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..cpu_kernels import tune_allocator
from ..errors import BackendError, RecipeError
from ..io.hf_progress import quiet_transformers
from ..io.storage import is_folder
from ..io.untrusted import refuse_code, require_hub
from .base import config_name
from .weights import folder_revision

if TYPE_CHECKING:
    from ..settings import EmbedderSettings

UNUSED = ("masked_spec_embed", "pooler")  # weights that may be missing: only training and classification use them
SHORTEST = 0.1  # seconds that the models' first layers need


class HuggingFace:
    """Hidden states of a transformers model, averaged over time: AST, Wav2Vec2, HuBERT, WavLM, CLAP's audio tower, ...

    `hf:<id or folder>` names a checkpoint as `from_pretrained` takes it, with its feature extractor. A window has ten
    seconds. Two-dimensional states (CLAP) are averaged over time and frequency. Audio shorter than 0.1 s is padded
    with zeros. Code from a checkpoint's repository is not run.

    Settings:
        layer: Takes `hidden_states[layer]`; 0 is the input of the first layer, negative counts from the last.
            Default: the model's last hidden state.
        dtype: float32 or bfloat16.
        device: "auto" takes a GPU if there is one.
    """

    window_seconds = 10.0

    def __init__(self, settings: EmbedderSettings) -> None:
        settings.refuse("weights", "arch")
        source = settings.name.partition(":")[2]
        if not source:
            raise RecipeError("embedder.name: hf needs a checkpoint", "write hf:<id on the Hub, or a folder>")
        self.name = config_name(settings)
        self._layer = settings.layer
        self._device, self._dtype = torch.device(settings.torch_device()), getattr(torch, settings.dtype)
        self._extractor, self._model = _load(source, self._dtype, self._device)
        self.sampling_rate = int(self._extractor.sampling_rate)
        parts = [_revision(source, self._model), "last" if self._layer is None else str(self._layer)]
        self.revision = "-".join([*parts, *([settings.dtype] if settings.dtype != "float32" else [])])
        if self._device.type == "cpu":
            tune_allocator()
        self.dim = self.embed(np.zeros((1, self.sampling_rate), np.float32)).shape[1]
        layer = "last hidden states" if self._layer is None else f"hidden states {self._layer}"
        kind = self._model.config.model_type
        self.about = f"The {layer} of the transformers model {Path(source).name} ({kind}), averaged over time."

    def embed(self, audio: np.ndarray) -> np.ndarray:
        """Embed float32 [batch, samples] in [-1, 1] at `sampling_rate`, up to ten seconds: float32 [batch, dim]."""
        short = max(0, round(SHORTEST * self.sampling_rate) - audio.shape[1])
        clips = list(np.pad(audio, ((0, 0), (0, short))))
        with torch.inference_mode(), _quietly():
            inputs = self._extractor(clips, sampling_rate=self.sampling_rate, return_tensors="pt")
            if "is_longer" in inputs:  # CLAP's extractor picks a random clip as longer where none is
                inputs["is_longer"] = torch.zeros_like(torch.as_tensor(inputs["is_longer"]))
            inputs = {key: self._move(value) for key, value in inputs.items()}
            output = self._model(**inputs, output_hidden_states=self._layer is not None)
        states = output.last_hidden_state if self._layer is None else self._pick_layer(output.hidden_states)
        vectors: np.ndarray = _average(states.float()).cpu().numpy()
        return vectors

    def _move(self, value: Tensor) -> Tensor:
        """To the device, and floats to the data type."""
        return value.to(self._device, self._dtype if value.is_floating_point() else None)

    def _pick_layer(self, states: tuple[Tensor, ...] | None) -> Tensor:
        """The hidden states of the layer that the settings name. Raises RecipeError if there is none."""
        count, layer = len(states or ()), self._layer or 0
        if states is None or not -count <= layer < count:
            raise RecipeError(
                f"embedder.layer: {self.name} has hidden states 0 to {count - 1}, found {layer}",
                f"use a number from {-count} to {count - 1}" if count else "remove embedder.layer",
            )
        return states[layer]


def _average(states: Tensor) -> Tensor:
    """The mean of [batch, time, dim] or [batch, dim, frequency, time]: [batch, dim]."""
    return states.mean(dim=1) if states.ndim == 3 else states.flatten(2).mean(dim=2)


def _load(source: str, dtype: torch.dtype, device: torch.device) -> tuple[Any, Any]:
    """The feature extractor and the audio part of the model. Raises BackendError."""
    from transformers import AutoFeatureExtractor, AutoModel

    where = f"embedder 'hf:{source}'"
    if source.startswith((".", "/", "~")) and not is_folder(Path(source).expanduser()):
        raise BackendError(f"{where}: there is no such folder", "give what save_pretrained wrote, or a Hub id")
    path = str(Path(source).expanduser())
    try:
        with _quietly():
            require_hub(path, "embedder.name: hf:{}")
            refuse_code(path)
            options: dict[str, Any] = {"trust_remote_code": False}  # unset, transformers would ask on the terminal
            extractor = AutoFeatureExtractor.from_pretrained(path, **options)
            model, report = AutoModel.from_pretrained(path, dtype=dtype, output_loading_info=True, **options)
    except BackendError:
        raise
    except ImportError as error:
        raise BackendError(f"{where}: {_first_line(error)}") from error
    except Exception as error:  # transformers raises many types for damaged checkpoints
        hint = (
            "check the id, connect once (it is cached), or give a folder with config, weights and preprocessor_config"
        )
        if "trust_remote_code" in str(error):
            hint = "it needs code from its repository, which synthmir does not run: use a model that needs none"
        raise BackendError(f"{where} cannot be loaded: {_first_line(error)}", hint) from error
    tower = getattr(model, "audio_model", None)
    if tower is None:
        tower = model.get_encoder() if getattr(model.config, "is_encoder_decoder", False) else model
    missing = sorted(name for name in report["missing_keys"] if not any(part in name for part in UNUSED))
    if tower is not model:
        missing = [name for name in missing if not name.startswith(("text_model", "decoder"))]
    if missing or report["mismatched_keys"]:
        names = [*missing, *(str(key[0] if isinstance(key, tuple) else key) for key in report["mismatched_keys"])]
        raise BackendError(
            f"{where}: {len(names)} of its weights are missing or of another shape: {', '.join(names[:8])}",
            "give a complete checkpoint: transformers would draw the missing weights at random",
        )
    if not hasattr(extractor, "sampling_rate"):
        raise BackendError(f"{where}: its feature extractor ({type(extractor).__name__}) is not one for audio")
    return extractor, tower.to(device).eval()


def _revision(source: str, model: Any) -> str:
    """16 hex digits: of the commit on the Hub, or of the folder's files."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder_revision(folder)
    return str(getattr(model.config, "_commit_hash", None) or "unknown")[:16]


def _first_line(error: Exception) -> str:
    """The first line of an error's message, or its type."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep transformers from logging, warning and showing progress, and restore numpy's global random state."""
    state = np.random.get_state()
    try:
        with quiet_transformers(logging.CRITICAL), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        np.random.set_state(state)
