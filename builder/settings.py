"""The sections of a recipe: settings of prompts, generator, embedder, training and evaluation."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    model_validator,
)

from . import soundfonts
from .annotations.tasks import FRAME_TASKS, LABEL_TASKS
from .errors import BackendError, RecipeError
from .validation import Section, suggest

GUIDANCE = 3.0  # of MusicGen, and the default of recipes of 0.1
Seed = Annotated[int, Field(ge=0, lt=2**63)]
VERSIONS = {
    "arranger": ("1", "2")
}  # of generators whose own versions a recipe may name, oldest first; 1 is that of 0.1

T = TypeVar("T")


def _as_shares(values: tuple[Any, ...]) -> Any:
    """Refuse an empty list, and a value that is given twice. A list of one value is that value."""
    if not values:
        raise ValueError("expected at least 1 value")
    if len(set(values)) < len(values):
        raise ValueError("a value is given twice: each of them gets an equal share")
    return values if len(values) > 1 else values[0]


_Shares = Annotated[tuple[T, ...], Field(strict=False, json_schema_extra={"minItems": 1}), AfterValidator(_as_shares)]
# One value, or several that get equal shares of each genre's clips. The tags are "" so that errors name the key alone.
OneOrMore = Annotated[
    Annotated[T, Tag("")] | Annotated[_Shares[T], Tag(" ")],
    Discriminator(lambda value: " " if isinstance(value, list | tuple) else ""),
]


class RecipeSection(Section):
    """A part of a recipe. The text below each key is its description in the JSON schema and in the documentation."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class SourceSettings(RecipeSection):
    """Where descriptions come from: the grammar, a file of `genre,description`, or a local chat model."""

    kind: Literal["grammar", "file", "chat"] = "grammar"
    """`grammar`: made by rules from the taxonomy. `file`: read from a file. `chat`: written by a local chat model."""
    path: str | None = None
    """Of `file`, the CSV or JSONL file to read. Of `chat`, the JSONL file that keeps the model's answers."""
    model: str | None = None
    """Of `chat`, a Hub id or a folder."""
    revision: str | None = None
    """Of `chat`, the model's revision. Default: the newest."""
    on_conflict: Literal["columns", "text", "empty", "error"] = "columns"
    """What counts where a row's text names another tempo, key or instruments than its columns: `columns`, `text` (no
    label where it is unclear) or `empty` (no label), each with a warning; `error` refuses the row."""

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


class PromptSettings(RecipeSection):
    """How prompts are worded, and how many there are: `per_genre` or `total`, one of the two."""

    strategy: OneOrMore[Literal["template", "repeat", "tags"]] = "template"
    """`template`: "A {genre} track. {description}". `repeat`: the genre twice in front. `tags`: a list of tags.
    Several in a list: each for an equal share of the clips."""
    per_genre: int | None = Field(default=None, ge=1, le=10_000_000)
    """Prompts for each genre. Give this or `total`."""
    total: int | None = Field(default=None, ge=1, le=100_000_000)
    """Prompts in all. Give this or `per_genre`."""
    seed: Seed = 0
    """The seed of the prompts: the same seed makes the same prompts on every machine."""
    vocals: OneOrMore[Literal["unspecified", "instrumental", "with-vocals"]] = "unspecified"
    """What every prompt asks for: vocals, none, or nothing said. Several in a list: each for an equal share."""
    instrumentation: OneOrMore[bool] = True
    """Whether prompts name instruments: `on` or `off`. `[on, off]`: each for an equal share."""
    source: SourceSettings = SourceSettings()
    """Where descriptions come from."""

    def audible(self) -> dict[str, Any]:
        """Return what changes the prompts and their labels.

        `on_conflict` is left out at its default: recipes of 0.1 did not have it, and keep their fingerprint.
        """
        unset = {"on_conflict"} if self.source.on_conflict == "columns" else set()
        return self.model_dump(mode="json", exclude={"source": {"path"} | unset})

    @model_validator(mode="after")
    def _one_count(self) -> PromptSettings:
        if (self.per_genre is None) == (self.total is None):
            raise ValueError("give either per_genre or total")
        if isinstance(self.instrumentation, tuple) and self.source.kind != "grammar":
            raise ValueError(f"instrumentation must be on or off: texts of source kind {self.source.kind!r} are fixed")
        return self


def read_version(generator: str, revision: str) -> str | None:
    """Return the version of a generator from its revision in rows ("2-6f1c..."), None where it has no versions."""
    versions, version = VERSIONS.get(generator), revision.partition("-")[0]
    if versions is None:
        return None
    return version if version in versions else versions[0]


class GeneratorSettings(RecipeSection):
    """What makes the sound. A generator refuses settings that it cannot use."""

    name: str = "arranger"
    """`arranger`, `musicgen`, `audiocraft`, `diffusers`, or another registered generator."""
    model: str | None = None
    """A Hub id or a folder with the weights. `arranger` has none."""
    revision: Annotated[str | None, BeforeValidator(lambda value: str(value) if type(value) is int else value)] = None
    """The revision of the weights; of `arranger`, the version of its sound: `1` (that of 0.1) or `2`. Default: the
    newest. It is written into every row."""
    soundfont: Annotated[
        tuple[str, ...],
        BeforeValidator(lambda value: (value,) if isinstance(value, str) else value),
        Field(min_length=1, max_length=32),
    ] = Field(default=(soundfonts.DEFAULT,), strict=False)
    """Of `arranger`, the sound fonts that clips are played with, one drawn for each clip by its seed: `TimGM6mb`,
    `FluidR3_GM`, `MuseScore_General`, or paths of SF2 and SF3 files."""
    seconds: float = Field(default=10.0, ge=1.0, le=30.0, strict=False)
    """The length of a clip."""
    guidance: float | None = Field(default=None, ge=1.0, le=50.0, strict=False)
    """The weight of classifier-free guidance. Default: 3; of `diffusers`, what suits the model."""
    temperature: float = Field(default=1.0, gt=0.0, le=10.0, strict=False)
    """The sampling temperature."""
    top_k: int = Field(default=250, ge=0)
    """Sample from the `top_k` most likely tokens. 0: from all."""
    top_p: float = Field(default=1.0, gt=0.0, le=1.0, strict=False)
    """Sample from the most likely tokens that have this probability together. 1: from all."""
    stereo: bool = False
    """Make stereo clips: `arranger` from version 2 on, and stereo models, whose channels are averaged otherwise."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """The data type of the weights. `auto`: what suits the machine."""
    batch_size: int | None = Field(default=None, ge=1)
    """Clips in each batch. Default: what suits the machine. No clip depends on it."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, ..."""
    steps: int | None = Field(default=None, ge=1, le=1000)
    """Of `diffusers`, the denoising steps. Default: what suits the model."""
    negative_prompt: str | None = Field(default=None, min_length=1, max_length=2000)
    """Of `diffusers`, what the sound is steered away from: "low quality". It needs guidance above 1."""
    offload: bool = False
    """Of `diffusers` on a GPU, keep only the part of the model that computes in the GPU's memory."""

    @model_validator(mode="before")
    @classmethod
    def _fill_guidance(cls, values: Any) -> Any:
        """Only the models of diffusers have a guidance of their own."""
        if isinstance(values, dict) and values.get("name") != "diffusers" and values.get("guidance") is None:
            return {**values, "guidance": GUIDANCE}
        return values

    @property
    def channels(self) -> int:
        """The channels of a clip: 1, or 2 in stereo."""
        return 2 if self.stereo else 1

    @property
    def version(self) -> str | None:
        """The revision that is asked for. A generator with versions has its newest where none is named."""
        versions = VERSIONS.get(self.name)
        return versions[-1] if versions and self.revision is None else self.revision

    def audible(self) -> dict[str, Any]:
        """Return what changes the audio, without the defaults of settings that recipes of 0.1 did not have.

        Recipes of 0.1 could not name a version, so version 1 is null, and they keep their fingerprint. A sound font
        is identified by its digest. Raises BackendError if that is not known, because the font is not installed.
        """
        later = ("top_p", "stereo", "steps", "negative_prompt")
        unset = {key for key in later if getattr(self, key) == type(self).model_fields[key].default}
        first = VERSIONS.get(self.name, (None,))[0]
        version = None if self.version == first else self.version
        changing = self.model_dump(mode="json", exclude={"batch_size", "device", "offload", "soundfont"} | unset)
        if self.soundfont != type(self).model_fields["soundfont"].default:
            changing["soundfont"] = [soundfonts.identify_font(font) for font in self.soundfont]
        return changing | {"revision": version}


class AudioSettings(RecipeSection):
    """The sampling rate and the channels of the clips, whatever the generator's own are."""

    sampling_rate: Literal[16000, 22050, 32000, 44100, 48000] = 32000
    """In Hz. Clips are resampled once, from the rate that the generator plays at."""
    channels: Literal[1, 2] | None = None
    """`1`: mono; stereo is averaged. `2`: stereo where the generator can play it; of one that cannot, both channels
    are equal. Default: as `generator.stereo` says."""


class QualitySettings(RecipeSection):
    """What a clip must satisfy, how often it is generated again, and how many may be rejected."""

    attempts: int = Field(default=4, ge=1, le=127)
    """How often a clip that fails is generated, each time with another seed."""
    max_rejected: float = Field(default=0.01, ge=0.0, le=1.0, strict=False)
    """The share of clips that may be rejected before the build fails."""
    min_loudness: float = Field(default=-45.0, ge=-70.0, le=0.0, strict=False)
    """The least integrated loudness, in LUFS."""
    max_silence: float = Field(default=0.5, ge=0.0, le=1.0, strict=False)
    """The largest share of 50 ms frames below -60 dBFS."""
    max_clipped: float = Field(default=0.001, ge=0.0, le=1.0, strict=False)
    """The largest share of samples at full scale."""
    max_dc: float = Field(default=0.02, ge=0.0, le=1.0, strict=False)
    """The largest absolute mean of the samples."""


class SelectSettings(RecipeSection):
    """The build makes more clips than `prompts` asks for, measures them by `estimates`, and keeps the best.

    Of each genre those are kept whose labels agree most with the estimates, then those with the higher `clap`, then a
    draw by the id.
    """

    where: str | None = None
    """Only clips of which this is true are kept: `clap > 0.3 and agrees.genre`. Default: the best of all."""
    oversample: float = Field(default=1.25, gt=1.0, le=100.0, strict=False)
    """How many times the clips that `prompts` asks for are made."""


class SplitSettings(RecipeSection):
    """Train and validation, divided by prompt group."""

    validation: float = Field(default=0.1, gt=0.0, lt=1.0, strict=False)
    """The share of clips in the validation split. Clips of one description are never divided."""
    seed: Seed = 0
    """The seed of the split."""


def _shorten_degradation(text: str) -> str:
    """Write a degradation in its shortest form: noise:20.0 is noise:20."""
    from .degradations import Damage

    try:
        return str(Damage.parse(text))
    except RecipeError as error:
        raise ValueError(f"{error.message}; {error.fix}") from None


Augment = Annotated[
    tuple[Annotated[str, AfterValidator(_shorten_degradation)], ...],
    AfterValidator(lambda texts: tuple(dict.fromkeys(texts))),
]


class EmbedderSettings(RecipeSection):
    """What turns audio into vectors."""

    name: str = "melstats"
    """`melstats`, `musicnn`, `passt`, or `hf:ID`: an audio model of transformers, by its Hub id or folder."""
    weights: str | None = None
    """A file of weights, or a folder with one. Default: the released weights."""
    arch: str | None = None
    """The architecture, of embedders that come in several."""
    layer: int | None = None
    """Of `hf:ID`, which hidden states: from 0, or negative from the end."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """The data type of the computation."""
    device: str = "auto"
    """`auto`: CUDA if there is a GPU, otherwise the CPU. `mps` only where it is named."""
    batch_size: int = Field(default=16, ge=1)
    """Windows in each batch."""
    augment: Augment = Field(default=(), strict=False)
    """Degradations for the training clips: `noise:20`, `mp3:64`, ..."""

    def refuse(self, *keys: str) -> None:
        """Raise RecipeError if one of these settings is not at its default: the embedder cannot use it."""
        for key in keys:
            if (value := getattr(self, key)) != type(self).model_fields[key].default:
                raise RecipeError(
                    f"embedder.{key}: {self.name} does not use it, found {value!r}", f"remove embedder.{key}"
                )

    def torch_device(self) -> str:
        """Return torch's name of the device to compute on. Raises BackendError if this machine does not have it."""
        import torch

        if self.device == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        try:
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise BackendError(f"embedder.device: {self.device!r} cannot be used: {reason}", "use cpu") from error
        return self.device


class AdaptationSettings(RecipeSection):
    """What the strategy `adapt` adds to the loss (training/optim/domain_adaptation.py)."""

    loss: Literal["statistics", "coral", "mmd", "dann", "supcon", "ccsa"] = "mmd"
    """What pulls synthetic and real representations together, beside the standardisation of both by their own
    statistics; `statistics`: nothing."""
    weight: float | None = Field(default=None, gt=0.0, strict=False)
    """Its weight beside the classification loss. Default: depends on the loss."""
    temperature: float = Field(default=0.1, gt=0.0, strict=False)
    """Of `supcon`."""
    margin: float = Field(default=2.0, gt=0.0, strict=False)
    """Of `ccsa`: a distance between representations."""


def _refuse_moving(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse degradations that move what is annotated."""
    if moving := [text for text in texts if text.partition(":")[0] in ("pitch", "speed")]:
        raise ValueError(f"{moving[0]} moves what is annotated: use pitch_shift and time_stretch, which move it too")
    return texts


class FrameSettings(RecipeSection):
    """The network that learns from audio and its annotations: beats, chords, key, melody, notes, ...

    `patience`, `weight_decay`, `accumulate`, `precision`, `tracker` and `seed` are those of the training.
    """

    chords: Literal["majmin", "sevenths"] = "majmin"
    """The chord classes: major and minor (25 classes), or also their sevenths (61 classes)."""
    width: int = Field(default=64, ge=8, le=1024)
    """Channels of the network's trunk."""
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0, strict=False)
    """The share of channels that are left out while it learns."""
    seconds: float = Field(default=10.0, ge=1.0, le=60.0, strict=False)
    """Longer clips are cut into windows of this length, to train and to predict."""
    epochs: int = Field(default=30, ge=1)
    """The most epochs. The learning rate falls to zero at the last one."""
    lr: float = Field(default=2e-3, gt=0.0, strict=False)
    """The highest learning rate."""
    batch_size: int = Field(default=8, ge=1)
    """Windows in each batch."""
    pitch_shift: int = Field(default=3, ge=0, le=11)
    """Each window is shifted by up to so many semitones, its chords, key, melody and notes with it. 0: none is."""
    time_stretch: float = Field(default=0.15, ge=0.0, le=1.0, strict=False)
    """Each window is played slower or faster by up to this share, and what is annotated moves with it. 0: none is."""
    damages: Annotated[Augment, AfterValidator(_refuse_moving)] = Field(
        default=("noise:20", "reverb:0.3", "lowpass:4000", "mp3:64"), strict=False
    )
    """Degradations: of each training window there is a copy with one of them, drawn by the seed, beside the clean one.
    `[]`: no copies."""
    memory: float = Field(default=2.0, ge=0.0, strict=False)
    """The most memory for the spectrograms, in GB. Larger ones are kept in a file beside the model while it trains."""


def _join_tasks(task: Any) -> Any:
    """Write a list of tasks as text: beats,chords."""
    if isinstance(task, list | tuple) and task and all(isinstance(name, str) for name in task):
        task = ",".join(task)
    if not isinstance(task, str):
        return task
    names = ["tempo_bpm" if name.strip() == "tempo" else name.strip() for name in task.split(",")]
    return ",".join(dict.fromkeys(names))


class TrainingSettings(RecipeSection):
    """The classifier. The defaults are the 2023 paper's: one dense layer of 128 ReLU units, then softmax."""

    task: Annotated[
        str,
        BeforeValidator(_join_tasks),
        WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
    ] = "genre"
    """The label to predict: `genre`, `subgenre`, `mood`, `vocals`, `instruments`, `tempo`, `key`, or a column. Or what
    is annotated, one or several: `beats`, `[beats, chords, key, time_signature, melody, notes, instruments]`."""
    label_column: str | None = None
    """The column of the labels, where it is not named as the task."""
    embedding_column: str = "embedding"
    """The column of the embeddings."""
    problem: Literal["single_label_classification", "multi_label_classification", "regression"] | None = None
    """The kind of problem. Default: what the column's type says."""
    head: Literal["mlp", "linear", "logistic", "knn", "frames"] = "mlp"
    """The kind of classifier. `frames`: the network on audio that learns from annotations, whose tasks need not say so
    unless it is `key` or `instruments` alone, which are labels of prompts, too."""
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(128,), strict=False)
    """Of `mlp`, the units of each hidden layer."""
    neighbors: int = Field(default=10, ge=1)
    """Of `knn`, the number of neighbours."""
    epochs: int = Field(default=200, ge=1)
    """The most epochs; of tasks that learn from annotations it is `frames.epochs`."""
    patience: int = Field(default=5, ge=1)
    """Stop after so many epochs without a better validation loss."""
    class_weights: bool = True
    """Weight classes by the inverse of their frequency."""
    clips: int | None = Field(default=None, ge=2)
    """Train on so many clips, drawn by label. Default: on all."""
    where: str | None = None
    """Train on the clips of which this is true, by the config `estimates`: `clap > 0.3 and agrees.genre`."""
    weight: Literal["agreement"] | None = None
    """`agreement`: a clip counts by the share of its labels that estimates agree with. Default: all count alike."""
    imbalance: float = Field(default=1.0, ge=1.0, strict=False)
    """The most frequent label has so many times the clips of the rarest one. 1: as they are."""
    lr: float = Field(default=1e-3, gt=0.0, strict=False)
    """The learning rate."""
    weight_decay: float = Field(default=0.01, ge=0.0, strict=False)
    """AdamW's weight decay."""
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=1.0, strict=False)
    """Of one label of several: the share of the target distribution that is spread over all labels."""
    mixup: float = Field(default=0.0, ge=0.0, strict=False)
    """Train on mixtures of two rows, with shares drawn from Beta(`mixup`, `mixup`). 0, and with a loss of `adapt`: on
    the rows themselves."""
    batch_size: int | None = Field(default=None, ge=1)
    """Rows in each batch. Default: a 32nd of the training rows, from 16 to 512."""
    accumulate: int = Field(default=1, ge=1)
    """Batches for each step of the optimizer."""
    precision: Literal["no", "bf16", "fp16"] | None = None
    """Mixed precision. Default: what `accelerate launch` says."""
    tracker: Literal["none", "tensorboard", "trackio"] = "none"
    """Where the training curve is logged, too."""
    seed: Seed = 0
    """The seed of the training."""
    strategy: Literal["synthetic", "real", "joint", "transfer", "finetune", "adapt"] = "synthetic"
    """How real music is used; all but `synthetic` need a `target`."""
    target: str | None = None
    """Real music: a corpus, what `synthmir embed --out` wrote, a data set on disk, or NAME:PATH of a benchmark."""
    shots: int | None = Field(default=None, ge=1)
    """Labelled real tracks for each class. Default: all."""
    mix: float | None = Field(default=None, gt=0.0, lt=1.0, strict=False)
    """The share of the loss that real rows get. Default: the best of some on the target's validation part."""
    finetune_lr: float = Field(default=1e-3, gt=0.0, strict=False)
    """The learning rate of fine-tuning. The 2024 paper's is 1e-4, with a `warm_start` of 1."""
    warm_start: float = Field(default=0.25, ge=0.0, le=1.0, strict=False)
    """The share of the trained weights that fine-tuning starts from; the rest are new weights."""
    adaptation: AdaptationSettings = AdaptationSettings()
    """Of the strategy `adapt`."""
    frames: FrameSettings = FrameSettings()
    """Of the tasks that learn from annotations."""

    @property
    def frame_tasks(self) -> tuple[str, ...]:
        """The tasks of a network on audio and annotations; () of a classifier of embeddings."""
        names = tuple(self.task.split(","))
        annotated = len(names) > 1 or (names[0] in FRAME_TASKS and names[0] not in LABEL_TASKS)
        return names if self.head == "frames" or (annotated and self.label_column is None) else ()

    @model_validator(mode="after")
    def _frame_tasks(self) -> TrainingSettings:
        if unknown := [name for name in self.frame_tasks if name not in FRAME_TASKS]:
            raise ValueError(
                f"task {unknown[0]!r} is not annotated{suggest(unknown[0], FRAME_TASKS)}: "
                f"use one or several of {', '.join(FRAME_TASKS)}"
            )
        if self.frame_tasks and self.strategy != "synthetic":
            raise ValueError(f"strategy {self.strategy!r} needs embeddings: {self.task} is learnt from audio")
        if self.frame_tasks and (self.where or self.weight):
            raise ValueError(f"where and weight are of classifiers of embeddings: {self.task} is learnt from audio")
        for name in ("epochs", "lr", "batch_size") if self.frame_tasks else ():
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} is of classifiers of embeddings: of {self.task} it is frames.{name}")
        return self

    @model_validator(mode="after")
    def _target(self) -> TrainingSettings:
        if self.strategy != "synthetic" and self.target is None:
            raise ValueError(f"strategy {self.strategy!r} needs a target: real music to learn from")
        return self


class FidelitySettings(RecipeSection):
    """How far the corpus is from real music, as `synthmir fidelity` measures it."""

    against: str
    """What `synthmir fidelity --against` takes: real music, or `validation`, held-out clips as a floor."""
    clap: str | None = None
    """A CLAP checkpoint, id or folder, which compares clips with their prompts."""


class RobustnessSettings(RecipeSection):
    """The classifier on degraded tracks, as `synthmir robustness` evaluates it."""

    benchmark: str = "validation"
    """`validation`, `folder:PATH`, `gtzan:PATH`, ..."""
    damages: tuple[str, ...] = Field(default=(), strict=False)
    """Degradations: `mp3` (all its levels) or `noise:10`. Default: all."""
    limit: int = Field(default=500, ge=1)
    """The most tracks. Each is predicted once clean and once for each level."""


class EvaluationSettings(RecipeSection):
    """What the classifier is evaluated on, and how."""

    benchmarks: tuple[str, ...] = Field(default=("validation",), min_length=1, strict=False)
    """What the classifier is evaluated on: `validation`, `folder:PATH`, `gtzan:PATH`, ..."""
    aggregate: Literal["mean", "logits", "max", "median", "vote"] = "mean"
    """How the predictions of a track's windows become one."""
    calibrate: str | None = None
    """Recordings without labels, 20 or more, by whose statistics embeddings are standardised: a folder or a data set;
    `benchmark`: each benchmark's own."""
    interval: Literal["bca", "percentile"] = "bca"
    """How resamples become 95 % intervals."""
    bootstrap: int = Field(default=1000, ge=100)
    """The number of resamples."""
    seed: Seed = 0
    """The seed of the resamples, and of linear probes."""
    probe: tuple[Annotated[int, Field(ge=1)] | Literal["all"], ...] = Field(default=(), strict=False)
    """Compare the classifier with linear probes trained on so many real tracks of each label: `[8]`, `[1, 8, all]`."""
    fidelity: FidelitySettings | None = None
    """Measure how far the corpus is from real music, as `synthmir fidelity` does."""
    robustness: RobustnessSettings | None = None
    """Evaluate on degraded tracks, as `synthmir robustness` does."""


class AblationSettings(RecipeSection):
    """What `synthmir ablate` varies: dotted keys with their values, the first of each as the baseline."""

    vary: dict[str, Annotated[tuple[Any, ...], Field(min_length=1, strict=False)]] = {}
    """Dotted keys with their values; the first value of each is the baseline."""
    seeds: int = Field(default=5, ge=1)
    """Trainings for each combination."""
