"""JSON files with a schema: how they are written, read and described."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from builder.errors import DataError
from builder.io.atomic import write_text


class Part(BaseModel):
    """An object inside a JSON file. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Document(Part):
    """A JSON file."""

    holds: ClassVar[str]  # such as "scores"
    command: ClassVar[str]  # that writes it, such as "synthmir evaluate"

    def write(self, path: Path) -> None:
        """Write the file atomically."""
        text = json.dumps(self.model_dump(mode="json", by_alias=True), indent=2, ensure_ascii=False, allow_nan=False)
        write_text(path, text + "\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file that `write` wrote.

        Raises:
            DataError: The file is missing, or does not follow the schema.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror}", f"{cls.command} writes it") from error
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "(top)"
            raise DataError(
                f"{path}: not a file of {cls.holds}: {where}: {first['msg']}", f"write it again: {cls.command}"
            ) from None

    @classmethod
    def json_schema(cls) -> str:
        """Return the JSON Schema of the file, which is kept beside the code as NAME.schema.json."""
        return json.dumps(cls.model_json_schema(by_alias=True), indent=2) + "\n"
