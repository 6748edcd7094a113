"""Files of figures: how they are written, read back, and described for others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from builder.errors import DataError
from builder.io.atomic import write_text


class Part(BaseModel):
    """A piece of a file: nothing unknown in it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Document(Part):
    """A whole file."""

    holds: ClassVar[str]  # "scores"
    command: ClassVar[str]  # that writes it: "synthmir evaluate"

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        text = json.dumps(self.model_dump(mode="json", by_alias=True), indent=2, ensure_ascii=False, allow_nan=False)
        write_text(path, text + "\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote. Raises DataError."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror}", f"{cls.command} writes it") from error
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "(top)"
            raise DataError(
                f"{path}: not a file of {cls.holds}: {where}: {first['msg']}", f"write it anew: {cls.command}"
            ) from None

    @classmethod
    def json_schema(cls) -> str:
        """Its JSON Schema, which stands beside the code as NAME.schema.json."""
        return json.dumps(cls.model_json_schema(by_alias=True), indent=2) + "\n"
