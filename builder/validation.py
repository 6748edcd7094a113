"""Pydantic's findings in words that mend: every fault at once, each with its key and what is valid."""

from __future__ import annotations

import difflib
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import RecipeError


class Section(BaseModel):
    """A mapping read from YAML: unknown keys and loose types are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


Model = TypeVar("Model", bound=BaseModel)


def validate(model: type[Model], data: Any, where: str) -> Model:
    """`data` as a `model`. Raises RecipeError with one line a fault; `where` names the file."""
    if not isinstance(data, dict):
        raise RecipeError(f"{where}: expected `key: value` lines, found {type(data).__name__}")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        faults = [_fault(model, item) for item in error.errors(include_url=False)]
        raise RecipeError(
            f"{where}: {len(faults)} fault(s)\n" + "\n".join(f"  - {fault}" for fault in faults)
        ) from None


def _fault(model: type[BaseModel], item: Any) -> str:
    path = ".".join(str(part) for part in item["loc"]) or "(top)"
    if item["type"] == "extra_forbidden":
        known = _keys_at(model, item["loc"][:-1])
        near = difflib.get_close_matches(str(item["loc"][-1]), known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        return f"{path}: unknown key. {hint}Known here: {', '.join(known)}"
    message = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "missing":
        return f"{path}: missing"
    value = repr(item.get("input"))
    return f"{path}: {message[:1].lower()}{message[1:]} (found {value if len(value) < 60 else value[:57] + '...'})"


def _keys_at(model: type[BaseModel], loc: tuple[Any, ...]) -> list[str]:
    """The keys of the section that `loc` leads to."""
    for part in loc:
        field = model.model_fields.get(str(part))
        inner = field.annotation if field else None
        candidates = [inner, *getattr(inner, "__args__", ())]
        model = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), model)
    return sorted(model.model_fields)
