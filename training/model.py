"""The classifier of embeddings: its config, its layers, and a folder of it read back."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from builder.errors import DataError

CONFIG, WEIGHTS = "config.json", "model.safetensors"


class SynthmirConfig(PreTrainedConfig):
    """What a classifier is and what its input must be.

    `task` is the label column it learnt; `hidden` the widths of its dense layers, () for a linear probe; `embedder`
    the `name`, `weights`, `revision`, `dim`, `sampling_rate` (Hz) and `window_seconds` of what makes its input;
    `corpus` the fingerprint of the recipe that its training data was made from.
    """

    model_type = "synthmir"

    task: str = "genre"
    hidden: list[int] | tuple[int, ...] = (128,)
    embedder: dict[str, Any] | None = None
    corpus: str | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The label of each output."""
        names: dict[Any, str] = dict(self.id2label or {})
        return tuple(names[i] for i in range(len(names)))


class SynthmirClassifier(PreTrainedModel):
    """Standardisation, dense ReLU layers, one logit a label.

    The defaults are the classifier of Kroher, Cuesta and Pikrakis 2023 (arXiv 2311.09094): one layer of 128 units on
    a 768-dimensional embedding, then softmax (which is left to the loss).
    """

    config_class = SynthmirConfig
    main_input_name = "embeddings"
    mean: torch.Tensor  # float32 [dim], of the training set
    std: torch.Tensor  # float32 [dim]

    def __init__(self, config: SynthmirConfig) -> None:
        super().__init__(config)
        dim = (config.embedder or {}).get("dim", 768)
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))
        widths = (dim, *config.hidden)
        self.hidden = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(widths))
        self.output = nn.Linear(widths[-1], len(config.labels))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Layers keep the initialisation that torch gave them."""

    def standardise(self, embeddings: torch.Tensor) -> None:
        """Take mean and standard deviation from float32 [n, dim]; a dimension that never varies keeps its scale."""
        std, mean = torch.std_mean(embeddings, dim=0, correction=0)
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 1e-6, std, 1.0))

    def forward(
        self, embeddings: torch.Tensor, labels: torch.Tensor | None = None, **_: Any
    ) -> SequenceClassifierOutput:
        """float32 [batch, dim] -> logits [batch, labels]; with int64 labels [batch] also their mean cross-entropy."""
        x = (embeddings - self.mean) / self.std
        for layer in self.hidden:
            x = functional.relu(layer(x))
        logits = self.output(x)
        loss = None if labels is None else functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


AutoConfig.register(SynthmirConfig.model_type, SynthmirConfig)
AutoModel.register(SynthmirConfig, SynthmirClassifier)


def load_model(folder: Path | str) -> SynthmirClassifier:
    """The classifier in a model folder, ready to predict.

    Raises DataError for a folder that is none, whose config.json or model.safetensors is missing, damaged or of
    another kind of model, or whose weights do not fit its config.
    """
    folder = Path(folder)
    _check_kind(folder)
    try:
        model = SynthmirClassifier(SynthmirConfig.from_pretrained(folder))
    except (OSError, RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise DataError(f"{folder / CONFIG}: describes no model: {error}", "train again or copy it anew") from error
    try:
        model.load_state_dict(load_file(folder / WEIGHTS))
    except FileNotFoundError as error:
        raise DataError(f"{folder}: has no {WEIGHTS}", "give the folder that synthmir train --out wrote") from error
    except (SafetensorError, OSError) as error:
        raise DataError(f"{folder / WEIGHTS}: damaged: {error}", "train again or copy it anew") from error
    except RuntimeError as error:  # torch lists every tensor that is missing, spare or of another shape
        raise DataError(f"{folder / WEIGHTS}: does not fit {CONFIG}: {error}", "train again") from error
    return model.eval()


def is_model_folder(folder: Path) -> bool:
    """Whether `folder` holds the config of a classifier of ours."""
    try:
        _check_kind(folder)
    except DataError:
        return False
    return True


def _check_kind(folder: Path) -> None:
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such model folder", "train one: synthmir train CORPUS --out MODEL")
    try:
        kind = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["model_type"]
    except FileNotFoundError as error:
        raise DataError(
            f"{folder}: not a model folder (it has no {CONFIG})", "give the folder that synthmir train --out wrote"
        ) from error
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(f"{folder / CONFIG}: not the config of a model: {error!r}", "copy the folder anew") from error
    if kind != SynthmirConfig.model_type:
        raise DataError(
            f"{folder}: holds a model of type {kind!r}, not {SynthmirConfig.model_type!r}",
            "give the folder that synthmir train --out wrote",
        )
