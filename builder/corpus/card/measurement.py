"""How far a corpus is from other music: the form of one measurement, as `synthmir fidelity` writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...errors import DataError
from ...io.safe_files import read_record

DIGITS = 6  # significant digits that are kept, so that sums in another order do not change the file
MEASURE_AGAIN = "write it again: synthmir fidelity CORPUS --against MUSIC"
Count = Annotated[int, Field(ge=0)]
T = TypeVar("T", bound=BaseModel)


class Section(BaseModel):
    """A section of the file. Keys that the card does not use are dropped."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class Figure(Section):
    """A value with its 95 % interval, where one is known.

    Attributes:
        n: Clips of the corpus that it is computed over.
        n_reference: Clips of the reference, where it needs those.
    """

    value: float
    low: float | None = None
    high: float | None = None
    n: Count
    n_reference: Count | None = None


class Side(Section):
    """One of the two sets of clips."""

    name: str
    kind: Literal["corpus", "embeddings", "audio", "benchmark"]
    n: Count
    fingerprint: str | None = None


class Embedder(Section):
    """The embedder that all figures are computed with."""

    name: str
    revision: str | None = None


class Frechet(Section):
    """Fréchet distance, and the distance between two halves of the reference."""

    distance: Figure
    reference_halves: float | None = None
    reference_halves_n: Count | None = None


class Kernel(Section):
    """Squared maximum mean discrepancy with a Gaussian kernel."""

    rbf: Figure


class Manifold(Section):
    """Precision, recall, density and coverage, from distances to the k-th nearest neighbour."""

    precision: Figure
    recall: Figure
    density: Figure
    coverage: Figure


class Diversity(Section):
    """Vendi scores of `n` clips of each side."""

    corpus: float
    reference: float
    n: Count


class Duplicates(Section):
    """How many of `n` clips have a near-duplicate."""

    clips: Count
    n: Count


class AnnotatedCopies(Section):
    """How many of `n` clips the config `estimates` calls copies."""

    copies: Count
    n: Count


class Copies(Section):
    """How many of the clips that are nearest to a recording repeat it."""

    searched: Count
    copies: Count
    annotated: AnnotatedCopies | None = None


class TwoSample(Section):
    """Accuracy of a classifier that separates clips from recordings; 0.5 is chance."""

    accuracy: Figure
    p_value: float


class Adherence(Section):
    """How often a linear probe predicts the genre that the prompt asked for."""

    probe: Literal["reference", "corpus"]
    accuracy: Figure
    probe_accuracy: Figure


class TextAudio(Section):
    """Cosine similarity of prompts and clips."""

    checkpoint: str
    similarity: Figure
    shuffled: Figure
    own_wins: Figure


class Genre(Section):
    """The figures of one genre."""

    genre: str
    n: Count
    n_reference: Count
    coverage: Figure | None = None
    two_sample: Figure | None = None
    adherence: Figure | None = None
    duplicates: Count = 0


class Measurement(Section):
    """A corpus compared with one reference by one embedder.

    Attributes:
        of: State of the corpus that was measured, as `fidelity.digest_shards` gives it.
        held_out: Whether the reference is the corpus's own validation split.
    """

    of: str = ""
    held_out: bool = False
    corpus: Side
    reference: Side
    embedder: Embedder
    frechet: Frechet
    kernel: Kernel
    manifold: Manifold | None
    diversity: Diversity
    within: Duplicates
    against: Duplicates
    copies: Copies | None = None
    two_sample: TwoSample | None
    adherence: Adherence | None
    text_audio: TextAudio | None
    genres: list[Genre]

    @property
    def key(self) -> tuple[bool, str, str]:
        """Identifies reference and embedder; a measurement replaces one of the same key. Real music sorts first."""
        return self.held_out, self.reference.name, self.embedder.name

    @property
    def real(self) -> bool:
        """Whether the reference is not known to be generated."""
        return self.reference.kind != "corpus"


class Measurements(Section):
    """The measurements of one corpus: the content of `fidelity.json`."""

    version: Literal[1] = Field(alias="schema")
    measurements: list[Measurement]


def read_measurement(path: Path) -> Measurement:
    """Read what `synthmir fidelity` wrote, without the paths of the machine that it ran on.

    Args:
        path: The JSON file.

    Returns:
        The measurement, with names in place of paths and figures of six significant digits.

    Raises:
        DataError: The file is missing, damaged or not of this form.
    """
    content = read_fidelity_json(path)
    details = content.get("record", {}).get("details", {}) if isinstance(content.get("record"), dict) else {}
    content = _round_floats(content) | {"held_out": details.get("held_out") is True, "of": ""}
    measurement = validate(Measurement, content, path)
    spec = str(details.get("spec") or measurement.reference.name)
    text_audio = measurement.text_audio
    return measurement.model_copy(
        update={
            "corpus": measurement.corpus.model_copy(update={"name": "corpus"}),
            "reference": measurement.reference.model_copy(update={"name": _name_reference(measurement, spec)}),
            "text_audio": text_audio
            and text_audio.model_copy(update={"checkpoint": _name_checkpoint(text_audio.checkpoint)}),
        }
    )


def read_fidelity_json(path: Path) -> dict[str, Any]:
    """Read a JSON object that `synthmir fidelity` wrote. Raises DataError."""
    return read_record(path, MEASURE_AGAIN, origin="synthmir fidelity writes it")


def validate(model: type[T], content: dict[str, Any], path: Path) -> T:
    """Check the content of a fidelity file against a model.

    Args:
        model: The pydantic model.
        content: The JSON object in the file.
        path: The file, for the error message.

    Returns:
        The content as an object of the model.

    Raises:
        DataError: The content does not match the model. The message names the file and the first wrong key.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "(top)"
        raise DataError(f"{path}: not a fidelity file: {where}: {first['msg']}", MEASURE_AGAIN) from None


def _name_reference(measurement: Measurement, spec: str) -> str:
    """The name of a reference in a card, from the option that named it."""
    if measurement.held_out:
        return "its own validation split"
    if measurement.reference.kind == "benchmark":
        head, _, rest = spec.partition(":")
        return Path(rest).name if head.partition("@")[0] == "folder" and rest else head
    return Path(spec).name or spec


def _name_checkpoint(checkpoint: str) -> str:
    """A repository `org/name` as it is, a folder by its name."""
    return checkpoint if checkpoint.count("/") == 1 and checkpoint[0] not in "/.~" else Path(checkpoint).name


def _round_floats(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: _round_floats(item) for key, item in value.items()}
    return [_round_floats(item) for item in value] if isinstance(value, list) else value
