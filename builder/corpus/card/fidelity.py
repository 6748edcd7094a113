"""`fidelity.json` of a corpus: how far it is from other music, and of which state of the corpus that was measured."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...errors import DataError
from ...io.atomic import write_text
from ...io.safe_files import read_record
from ...io.storage import delete, readable
from ..shards import read_footer

FILE = "fidelity.json"
DIGITS = 6  # significant: the order of sums on another day is no news
Count = Annotated[int, Field(ge=0)]
MEND = "write it anew: synthmir fidelity CORPUS --against MUSIC"
T = TypeVar("T", bound=BaseModel)


class Part(BaseModel):
    """A piece of the file. What the card does not tell is not kept."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class Figure(Part):
    """A figure, its 95 % interval where one is known, and over how many clips of both sides it runs."""

    value: float
    low: float | None = None
    high: float | None = None
    n: Count
    n_reference: Count | None = None


class Side(Part):
    """One of the two sets."""

    name: str
    kind: Literal["corpus", "embeddings", "audio", "benchmark"]
    n: Count
    fingerprint: str | None = None


class Embedder(Part):
    """What described the clips."""

    name: str
    revision: str | None = None


class Frechet(Part):
    """The Fréchet distance."""

    distance: Figure
    reference_halves: float | None = None
    reference_halves_n: Count | None = None


class Kernel(Part):
    """Squared maximum mean discrepancy, Gaussian kernel."""

    rbf: Figure


class Manifold(Part):
    """By balls that reach to the k-th neighbour."""

    precision: Figure
    recall: Figure
    density: Figure
    coverage: Figure


class Diversity(Part):
    """Vendi scores of as many clips of both sides."""

    corpus: float
    reference: float
    n: Count


class Duplicates(Part):
    """Clips that have a near-duplicate."""

    clips: Count
    n: Count


class TwoSample(Part):
    """How often a classifier tells a clip from a recording: 0.5 is not at all."""

    accuracy: Figure
    p_value: float


class Adherence(Part):
    """How often a probe hears the genre that was asked for."""

    probe: Literal["reference", "corpus"]
    accuracy: Figure
    probe_accuracy: Figure


class TextAudio(Part):
    """Cosines of prompts and clips."""

    checkpoint: str
    similarity: Figure
    shuffled: Figure
    own_wins: Figure


class Genre(Part):
    """One genre."""

    genre: str
    n: Count
    n_reference: Count
    coverage: Figure | None = None
    two_sample: Figure | None = None
    adherence: Figure | None = None
    duplicates: Count = 0


class Measurement(Part):
    """A corpus held against one reference, by one embedder. `of` names the state of the corpus that was measured."""

    of: str = ""
    held_out: bool = False  # the reference is the corpus's own validation split
    corpus: Side
    reference: Side
    embedder: Embedder
    frechet: Frechet
    kernel: Kernel
    manifold: Manifold | None
    diversity: Diversity
    within: Duplicates
    against: Duplicates
    two_sample: TwoSample | None
    adherence: Adherence | None
    text_audio: TextAudio | None
    genres: list[Genre]

    @property
    def key(self) -> tuple[bool, str, str]:
        """A later measurement of the same key takes the place of this one. Real music comes first."""
        return self.held_out, self.reference.name, self.embedder.name

    @property
    def real(self) -> bool:
        """Whether the reference is no generated corpus, as far as is known."""
        return self.reference.kind != "corpus"


class Measurements(Part):
    """The whole file."""

    version: Literal[1] = Field(alias="schema")
    measurements: list[Measurement]


def measurements(root: Path) -> list[Measurement]:
    """Those of a corpus that still hold: of its audio and embeddings as they are. Raises DataError."""
    path = root / FILE
    if not path.exists():
        return []
    try:
        found = _validated(Measurements, _json(path), path).measurements
    except DataError as error:
        raise DataError(error.message, f"delete {path}, then measure anew: synthmir fidelity") from None
    found = sorted(found, key=lambda one: one.key)
    states = {name: state(root, "data", name) for name in {one.embedder.name for one in found}}
    return [one for one in found if one.of == states[one.embedder.name]]


def drop_stale(root: Path) -> list[Measurement]:
    """As `measurements`; what no longer holds goes from the file."""
    found, path = measurements(root), root / FILE
    if not found:
        delete(path)
    elif (content := told(found)) != path.read_text(encoding="utf-8"):
        write_text(path, content)
    return found


def told(found: list[Measurement]) -> str:
    """The file's content."""
    rows = [one.model_dump(mode="json") for one in sorted(found, key=lambda one: one.key)]
    document = {"schema": 1, "measurements": rows}
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_measurement(path: Path) -> Measurement:
    """What `synthmir fidelity` wrote to `path`, without paths of the machine that it ran on. Raises DataError."""
    content = _json(path)
    details = content.get("record", {}).get("details", {}) if isinstance(content.get("record"), dict) else {}
    content = _rounded(content) | {"held_out": details.get("held_out") is True, "of": ""}
    found = _validated(Measurement, content, path)
    spec = str(details.get("spec") or found.reference.name)
    sides = {
        "corpus": found.corpus.model_copy(update={"name": "corpus"}),
        "reference": found.reference.model_copy(update={"name": _title(found, spec)}),
        "text_audio": found.text_audio
        and found.text_audio.model_copy(update={"checkpoint": _hub_id(found.text_audio.checkpoint)}),
    }
    return found.model_copy(update=sides)


def state(root: Path, *configs: str) -> str:
    """What follows from the shards of these folders ("data", an embedder's) changes with it. "" if one has none."""
    parts: list[Any] = []
    for config in configs:
        paths = sorted((root / config).glob("*.parquet"))
        if not paths:
            return ""
        for path in paths:
            footer, rows = read_footer(path), pq.read_metadata(readable(path)).num_rows
            origin = [footer.get(key) for key in ("fingerprint", "source_sha256", "revision")]
            parts.append([config, path.name, rows, *origin])
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _title(found: Measurement, spec: str) -> str:
    if found.held_out:
        return "its own validation split"
    if found.reference.kind == "benchmark":
        head, _, rest = spec.partition(":")
        return Path(rest).name if head.partition("@")[0] == "folder" and rest else head
    return Path(spec).name or spec


def _hub_id(checkpoint: str) -> str:
    """`org/name` as it is; of a folder its name."""
    return checkpoint if checkpoint.count("/") == 1 and checkpoint[0] not in "/.~" else Path(checkpoint).name


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list) else value


def _json(path: Path) -> dict[str, Any]:
    return read_record(path, MEND, origin="synthmir fidelity writes it")


def _validated(kind: type[T], content: dict[str, Any], path: Path) -> T:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "(top)"
        raise DataError(f"{path}: not a file of fidelity: {where}: {first['msg']}", MEND) from None
