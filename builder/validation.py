"""Pydantic's findings told the way a person can mend them: all faults at once, each with its key and what is valid."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import RecipeError

MAX_FAULTS = 20  # told at once
MAX_WORD = 100  # letters; no name is longer, and to look for one like it would take long


class Section(BaseModel):
    """A mapping read from YAML: unknown keys and loose types are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


Model = TypeVar("Model", bound=BaseModel)


def validate(model: type[Model], data: Any, where: str) -> Model:
    """`data` as a `model`. Raises RecipeError with one line a fault; `where` names the file."""
    found = try_validate(model, data)
    if isinstance(found, list):
        raise faults_error(where, found)
    return found


def try_validate(model: type[Model], data: Any) -> Model | list[str]:
    """`data` as a `model`, or its faults in words."""
    if not isinstance(data, dict):
        return [f"expected `key: value` lines, found {type(data).__name__}"]
    try:
        return model.model_validate(data)
    except ValidationError as error:
        found = error.errors(include_url=False)
        told = [_fault(model, item) for item in found[: MAX_FAULTS + 1]]
        return told + ["..."] * (len(found) - len(told))  # counted; to word a million takes minutes


def faults_error(where: str, faults: Sequence[str]) -> RecipeError:
    """The error that lists faults, one a line."""
    shown = [f"  - {fault}" for fault in faults[:MAX_FAULTS]]
    if len(faults) > MAX_FAULTS:
        shown.append(f"  ... and {len(faults) - MAX_FAULTS} more")
    return RecipeError("\n".join([f"{where}: {len(faults)} fault(s)", *shown]))


def suggest(name: object, known: Iterable[str]) -> str:
    """` (did you mean 'rock'?)`, or nothing where nothing is near."""
    text = str(name)
    if len(text) > MAX_WORD:
        return ""
    found = difflib.get_close_matches(text, list(known), n=1)
    return f" (did you mean {found[0]!r}?)" if found else ""


def _fault(model: type[BaseModel], item: Any) -> str:
    path = ".".join(str(part) for part in item["loc"]) or "(top)"
    if item["type"] == "extra_forbidden":
        known = _keys_at(model, item["loc"][:-1])
        return f"{path}: unknown key{suggest(item['loc'][-1], known)}. Known here: {', '.join(known)}"
    message = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "missing":
        return f"{path}: missing"
    value = reprlib.repr(item.get("input"))
    return f"{path}: {message[:1].lower()}{message[1:]} (found {value if len(value) < 60 else value[:57] + '...'})"


def _keys_at(model: type[BaseModel], loc: tuple[Any, ...]) -> list[str]:
    """The keys of the section that `loc` leads to."""
    for part in loc:
        field = model.model_fields.get(str(part))
        inner = field.annotation if field else None
        candidates = [inner, *getattr(inner, "__args__", ())]
        model = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), model)
    return sorted(model.model_fields)
