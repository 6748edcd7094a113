"""The classifier of embeddings: its config, its layers, and a folder of it read back."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from builder.embedders.weights import check_header
from builder.errors import DataError
from builder.io.safe_files import read_json
from builder.io.storage import is_folder
from builder.names import MODEL_TYPES

CONFIG, WEIGHTS = "config.json", "model.safetensors"
SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"
MAX_CONFIG = 8 << 20  # bytes of a config.json
MAX_NAME, MAX_LABELS, MAX_LAYERS, MAX_WIDTH = 200, 100_000, 100, 1 << 24
FRAME_TYPE = MODEL_TYPES[1]
NEVER = 1e-6  # the probability of what no neighbour is: its logarithm must be a number
Model = TypeVar("Model", bound=PreTrainedModel)


class SynthmirConfig(PreTrainedConfig):
    """What a classifier is and what its input must be.

    `task` is the label column it learnt; `problem_type` what a label is, in transformers' words; `hidden` the widths
    of its dense layers, () for a linear probe; `examples` and `neighbors` how many rows a k-NN classifier stores and
    asks, 0 for any other; `threshold` the probability from which a multi-label model names a label; `embedder` the
    `name`, `weights`, `revision`, `dim`, `sampling_rate` (Hz) and `window_seconds` of what makes its input; `corpus`
    the fingerprint of the recipe that its training data was made from; `calibration` the `method`, `source`,
    `recordings` and `windows` of what the statistics of its standardisation are from, None for the training set.
    """

    model_type = "synthmir"

    task: str = "genre"
    hidden: list[int] | tuple[int, ...] = (128,)
    examples: int = 0
    neighbors: int = 0
    threshold: float | None = None
    embedder: dict[str, Any] | None = None
    corpus: str | None = None
    calibration: dict[str, Any] | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The label of each output; of a regression, the one column that it predicts."""
        names: dict[Any, str] = dict(self.id2label or {})
        return tuple(names[i] for i in range(len(names)))

    @property
    def problem(self) -> str:
        """`problem_type`, one label of several where nothing is said."""
        return self.problem_type or SINGLE


class SynthmirClassifier(PreTrainedModel):
    """Standardisation, dense ReLU layers, one logit a label; or one number, or a vote of stored neighbours.

    The defaults are the classifier of Kroher, Cuesta and Pikrakis 2023 (arXiv 2311.09094): one layer of 128 units on
    a 768-dimensional embedding, then softmax (which is left to the loss).
    """

    config_class = SynthmirConfig
    main_input_name = "embeddings"
    mean: torch.Tensor  # float32 [dim], of the training set, or of the recordings that it is calibrated on
    std: torch.Tensor  # float32 [dim]
    label_mean: torch.Tensor  # float32 [1], of a regression's training labels
    label_std: torch.Tensor  # float32 [1]

    def __init__(self, config: SynthmirConfig) -> None:
        super().__init__(config)
        dim = (config.embedder or {}).get("dim", 768)
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))
        if config.problem == REGRESSION:
            self.register_buffer("label_mean", torch.zeros(1))
            self.register_buffer("label_std", torch.ones(1))
        widths = (dim, *config.hidden)
        self.hidden = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(widths))
        self.output: nn.Module = (
            Neighbours(config, widths[-1]) if config.examples else nn.Linear(widths[-1], len(config.labels))
        )
        self.post_init()

    @property
    def device(self) -> torch.device:
        """Where the model is. transformers asks the first parameter, and a k-NN classifier has none."""
        return self.mean.device

    @property
    def dtype(self) -> torch.dtype:
        """The type of its numbers."""
        return self.mean.dtype

    def _init_weights(self, module: nn.Module) -> None:
        """Layers keep the initialisation that torch gave them."""

    def standardise(self, embeddings: torch.Tensor, labels: torch.Tensor | None = None) -> None:
        """Take mean and standard deviation from float32 [n, dim], of a regression also from its labels [n].

        A dimension that never varies keeps its scale.
        """
        self.standardise_by(compute_statistics(embeddings), labels)

    def standardise_by(
        self, statistics: tuple[torch.Tensor, torch.Tensor], labels: torch.Tensor | None = None
    ) -> None:
        """Take mean and standard deviation, float32 [dim] each; of a regression those of its labels [n], too."""
        self.mean.copy_(statistics[0])
        self.std.copy_(statistics[1])
        if labels is not None and self.config.problem == REGRESSION:
            std, mean = torch.std_mean(labels.double(), dim=0, correction=0)
            self.label_mean.fill_(mean)
            self.label_std.fill_(std if std > 1e-6 else 1.0)

    def represent(self, embeddings: torch.Tensor, standardised: bool = False) -> torch.Tensor:
        """float32 [batch, dim] -> the last hidden layer [batch, width]; without one, the standardised embedding."""
        x = embeddings if standardised else (embeddings - self.mean) / self.std
        for layer in self.hidden:
            x = functional.relu(layer(x))
        return x

    def forward(
        self,
        embeddings: torch.Tensor,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool = False,
        standardised: bool = False,
        return_dict: bool | None = True,
        **_: Any,
    ) -> SequenceClassifierOutput:
        """Classify embeddings.

        Args:
            embeddings: float32 [batch, dim].
            labels: int64 [batch], or float32 [batch, labels] with any number of labels, or float32 [batch] of a
                regression. With labels their mean loss is computed: cross-entropy, binary cross-entropy, or the square
                of the error in standard deviations of the training labels.
            output_hidden_states: Whether to return what `represent` gives.
            standardised: Whether the embeddings are standardised already.
            return_dict: Whether to return an output object. False: a tuple of loss, logits and hidden states, without
                those that were not asked for.

        Returns:
            The logits, float32 [batch, labels], of a regression [batch, 1] in its label's own unit; and what was asked
            for.
        """
        hidden = self.represent(embeddings, standardised)
        logits = self.output(hidden)
        if self.config.problem == REGRESSION:
            logits = logits * self.label_std + self.label_mean
        loss = None if labels is None else self._loss(logits, labels)
        states = (hidden,) if output_hidden_states else None
        if return_dict is False:
            plain: Any = tuple(part for part in (loss, logits, states) if part is not None)
            return plain
        return SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=states)

    def _loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        if self.config.problem == SINGLE:
            return functional.cross_entropy(logits, labels)
        if self.config.problem == MULTI:
            return functional.binary_cross_entropy_with_logits(logits, labels.float())
        return (((logits[:, 0] - labels) / self.label_std) ** 2).mean()


class Neighbours(nn.Module):
    """k nearest neighbours by cosine among stored examples: their shares of votes, as log-probabilities or log-odds.

    A regression gets the mean of the neighbours' values, which are stored in standard deviations like any output.
    """

    vectors: torch.Tensor  # float32 [examples, width], of length one
    votes: torch.Tensor  # float32 [examples, labels]: one-hot, 0/1, or a value
    at_once = 256  # rows; 0: all

    def __init__(self, config: SynthmirConfig, width: int) -> None:
        super().__init__()
        self.k, self.problem = config.neighbors, config.problem
        self.register_buffer("vectors", torch.zeros(config.examples, width))
        self.register_buffer("votes", torch.zeros(config.examples, len(config.labels)))

    def store(self, start: int, x: torch.Tensor, votes: torch.Tensor) -> None:
        """Store examples, normalised to length one.

        Args:
            start: The place of the first example.
            x: float32 [n, width], their representations.
            votes: float32 [n, labels]: one-hot, 0/1, or a value in standard deviations.
        """
        self.vectors[start : start + len(x)] = functional.normalize(x, dim=1)
        self.votes[start : start + len(x)] = votes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """float32 [batch, width] -> [batch, labels]."""
        x = functional.normalize(x, dim=1)
        # A few rows at a time: the similarities of many with all examples would not fit in memory.
        parts = x.split(self.at_once) if self.at_once else (x,)
        nearest = torch.cat([(rows @ self.vectors.T).topk(self.k, dim=1).indices for rows in parts])
        shares = self.votes[nearest].mean(dim=1)
        if self.problem == SINGLE:
            return shares.clamp(min=NEVER).log()
        return shares.logit(eps=NEVER) if self.problem == MULTI else shares


def compute_statistics(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute mean and standard deviation of each column of float32 [n, dim]; no copy of the whole is made.

    Returns:
        float32 [dim] each. The deviation of a column that never varies is 1.
    """
    parts = rows.split(1024)
    mean = torch.stack([part.sum(0) for part in parts]).double().sum(0) / len(rows)
    near = mean.float()
    square = torch.stack([(part - near).square_().sum(0) for part in parts]).double().sum(0) / len(rows)
    std = square.sqrt().float()
    return near, torch.where(std > 1e-6, std, 1.0)


AutoConfig.register(SynthmirConfig.model_type, SynthmirConfig)
AutoModel.register(SynthmirConfig, SynthmirClassifier)


class _CalibrationFields(BaseModel):
    """What config.json says about a calibration."""

    method: Literal["statistics"]
    source: str = Field(max_length=MAX_NAME)
    recordings: int = Field(ge=1)
    windows: int = Field(ge=1)


class _ConfigFields(BaseModel):
    """The fields that are read from a config.json: known data only, nothing that names code or kernels to load."""

    model_config = ConfigDict(extra="ignore")

    task: str = Field(default="genre", max_length=MAX_NAME)
    hidden: tuple[Annotated[int, Field(ge=1, le=MAX_WIDTH)], ...] = Field(default=(128,), max_length=MAX_LAYERS)
    examples: int = Field(default=0, ge=0, le=MAX_WIDTH)
    neighbors: int = Field(default=0, ge=0, le=MAX_WIDTH)
    threshold: float | None = None
    embedder: dict[str, Any] | None = None
    corpus: str | None = None
    calibration: _CalibrationFields | None = None
    id2label: dict[int, str] | None = Field(default=None, max_length=MAX_LABELS)
    label2id: dict[str, int] | None = None
    problem_type: Literal["single_label_classification", "multi_label_classification", "regression"] | None = None
    dtype: Literal["float32", "float16", "bfloat16", "float64"] | None = None
    architectures: list[str] | None = None
    transformers_version: str | None = None

    @field_validator("embedder")
    @classmethod
    def _check_embedder(cls, embedder: dict[str, Any] | None) -> dict[str, Any] | None:
        settings = (embedder or {}).get("settings")
        if not isinstance((embedder or {}).get("name", ""), str) or not isinstance(settings, dict | None):
            raise ValueError("name must be a string, settings a mapping")
        dim = (embedder or {}).get("dim", 1)
        if not isinstance(dim, int) or not 1 <= dim <= MAX_WIDTH:
            raise ValueError(f"dim must be a whole number from 1 to {MAX_WIDTH:,}, found {dim!r:.40}")
        return embedder

    @model_validator(mode="after")
    def _numbered(self) -> _ConfigFields:
        if self.id2label is not None and set(self.id2label) != set(range(len(self.id2label))):
            raise ValueError("id2label must number the labels from 0 on")
        if self.examples and not 1 <= self.neighbors <= self.examples:
            raise ValueError(f"neighbors must be from 1 to the {self.examples} examples")
        return self


def load_model(folder: Path | str) -> SynthmirClassifier:
    """Load the classifier in a model folder, ready to predict. No code in the folder is run.

    Args:
        folder: What `synthmir train --out` wrote.

    Returns:
        The classifier, in evaluation mode on the CPU.

    Raises:
        DataError: There is no such folder, config.json or model.safetensors is missing, damaged or of another kind of
            model, or the weights do not fit the config.
    """
    return load_checked_model(folder, _ConfigFields, SynthmirClassifier)


def load_checked_model(folder: Path | str, fields: type[BaseModel], kind: type[Model]) -> Model:
    """Load the model in a model folder, ready to predict, from the fields of config.json that are known.

    Args:
        folder: The model folder.
        fields: The fields that are read.
        kind: The class of the model.

    Raises:
        DataError: There is no such folder, or its files are missing, damaged, of another kind of model, or do not fit.
    """
    folder, config_class = Path(folder), kind.config_class
    assert config_class is not None  # of the base class of transformers alone
    content = read_model_config(folder, config_class.model_type)
    try:
        config = config_class(**fields.model_validate(content).model_dump(exclude_unset=True))
        with torch.device("meta"):  # only shapes, no memory
            wanted = {name: tuple(value.shape) for name, value in kind(config).state_dict().items()}
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(
            f"{folder / CONFIG}: describes no model: {where[:99]}: {first['msg']}", "train again or copy it again"
        ) from error
    except (OSError, RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise DataError(f"{folder / CONFIG}: describes no model: {reason}", "train again or copy it again") from error
    return load_weights(lambda: kind(config), folder, wanted)


def load_weights(make: Callable[[], Model], folder: Path, wanted: dict[str, tuple[int, ...]]) -> Model:
    """Make a model, with the weights of a model folder, ready to predict.

    Args:
        make: Makes the model. It is called once the shapes are known to be right.
        folder: The model folder.
        wanted: The shapes of the model's tensors by name.

    Raises:
        DataError: They are missing or damaged, or do not fit the model.
    """
    weights = folder / WEIGHTS
    try:
        _check_shapes(weights, wanted)
        model = make()
        model.load_state_dict(load_file(weights))
    except FileNotFoundError as error:
        raise DataError(f"{folder}: has no {WEIGHTS}", "give the folder that synthmir train --out wrote") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"{weights}: damaged: {error}", "train again or copy it again") from error
    except RuntimeError as error:
        raise DataError(f"{weights}: does not fit {CONFIG}: {error}", "train again") from error
    return model.eval()


def _check_shapes(weights: Path, wanted: dict[str, tuple[int, ...]]) -> None:
    """Raise RuntimeError where a file's tensors are not those of the model. Only its header is read."""
    check_header(weights)
    with safe_open(weights, "pt") as file:
        found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping
    names = [*wanted, *sorted(found.keys() - wanted.keys())]
    faults = [
        f"{name[:99]}: {found.get(name, 'missing')}, not {wanted.get(name, 'there')}"
        for name in names
        if found.get(name) != wanted.get(name)
    ]
    if faults:
        raise RuntimeError("; ".join(faults[:8]))


def is_model_folder(folder: Path) -> bool:
    """Whether a folder holds the config of a synthmir classifier or frame model."""
    try:
        read_model_config(folder)
    except DataError:
        return False
    return True


def is_frame_folder(folder: Path | str) -> bool:
    """Whether a folder holds the config of a frame model, see `training.frames`."""
    try:
        return bool(read_model_config(Path(folder))["model_type"] == FRAME_TYPE)
    except DataError:
        return False


def read_model_config(folder: Path, kind: str | None = None) -> dict[str, Any]:
    """Read config.json of a model folder.

    Args:
        folder: The model folder.
        kind: The `model_type` that it must have. Default: any of synthmir's.

    Raises:
        DataError: It is missing, damaged, or that of another kind of model.
    """
    if not is_folder(folder):
        raise DataError(f"{folder}: there is no such model folder", "train one: synthmir train CORPUS --out MODEL")
    try:
        content = read_json(folder / CONFIG, MAX_CONFIG)
        found = content["model_type"]
    except FileNotFoundError as error:
        raise DataError(
            f"{folder}: not a model folder (it has no {CONFIG})", "give the folder that synthmir train --out wrote"
        ) from error
    except (OSError, ValueError, LookupError) as error:
        raise DataError(f"{folder / CONFIG}: not the config of a model: {error!r}", "copy the folder again") from error
    if found not in ((kind,) if kind else MODEL_TYPES):
        fix = "give the folder that synthmir train --out wrote"
        if found in MODEL_TYPES:
            other = "a model of beats, chords, ..." if found == FRAME_TYPE else "a classifier of embeddings"
            fix = f"this is {other}: give one of the other kind"
        raise DataError(
            f"{folder}: holds a model of type {found!r:.60}, not {kind or SynthmirConfig.model_type!r}", fix
        )
    return content
