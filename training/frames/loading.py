"""A frame model read back from its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from builder.annotations.annotation import STEMS

from ..models.classifier import MAX_LABELS, MAX_NAME, load_checked_model
from .model import FrameModel

Name = Annotated[str, Field(max_length=MAX_NAME)]


class FrameFields(BaseModel):
    """The fields that are read from a config.json: known data only, nothing that names code to load."""

    model_config = ConfigDict(extra="ignore")

    tasks: tuple[Literal["beats", "chords", "key", "time_signature", "melody", "notes", "instruments"], ...] = Field(
        min_length=1, max_length=7
    )
    vocabulary: Literal["majmin", "sevenths"] = "majmin"
    time_signatures: tuple[Name, ...] = Field(default=(), max_length=MAX_LABELS)
    instruments: tuple[Name, ...] = Field(default=(), max_length=MAX_LABELS)
    instrument_tracks: tuple[tuple[int, bool, Literal[STEMS]], ...] = ()  # type: ignore[valid-type]
    width: int = Field(default=64, ge=8, le=1024)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    window_seconds: float = Field(default=10.0, ge=1, le=60)
    sampling_rate: Literal[16_000] = 16_000
    frame_rate: Literal[50] = 50
    corpus: str | None = None
    id2label: dict[int, str] | None = Field(default=None, max_length=MAX_LABELS)
    label2id: dict[str, int] | None = None
    architectures: list[str] | None = None
    transformers_version: str | None = None

    @model_validator(mode="after")
    def _complete(self) -> FrameFields:
        if len(set(self.tasks)) < len(self.tasks):
            raise ValueError("tasks: one is named twice")
        if "instruments" in self.tasks and len(self.instrument_tracks) != len(self.instruments):
            raise ValueError("instrument_tracks: there must be one for each of the instruments")
        for task, names in (("instruments", self.instruments), ("time_signature", self.time_signatures)):
            if task in self.tasks and not names:
                raise ValueError(f"{task}: it has no classes")
        return self


def load_frame_model(folder: Path | str) -> FrameModel:
    """Load the frame model in a model folder, ready to predict, on the CPU. No code in the folder is run.

    Args:
        folder: What `synthmir train --task beats --out` wrote.

    Raises:
        DataError: There is no such folder, config.json or model.safetensors is missing, damaged or of another kind of
            model, or the weights do not fit the config.
    """
    return load_checked_model(folder, FrameFields, FrameModel)
