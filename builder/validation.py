"""Checking data with pydantic: every fault is reported at once, with its key and what is valid there."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import RecipeError

MAX_FAULTS = 20  # in one message
MAX_NAME = 100  # characters of a name that is compared with others; comparing takes long
MAX_VALUE = 60  # characters of a value in a message


class Section(BaseModel):
    """A mapping read from YAML. Unknown keys and values of another type are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


Model = TypeVar("Model", bound=BaseModel)


def validate(model: type[Model], data: Any, where: str) -> Model:
    """Make a model from data.

    Args:
        model: The class.
        data: What YAML or JSON holds.
        where: The name of the file, for the message.

    Raises:
        RecipeError: With one line for each fault.
    """
    result = try_validate(model, data)
    if isinstance(result, list):
        raise faults_error(where, result)
    return result


def try_validate(model: type[Model], data: Any) -> Model | list[str]:
    """Make a model from data, or return its faults as text."""
    if not isinstance(data, dict):
        return [f"expected `key: value` lines, found {type(data).__name__}"]
    try:
        return model.model_validate(data)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        lines = [_describe_fault(model, fault) for fault in faults[: MAX_FAULTS + 1]]
        return lines + ["..."] * (len(faults) - len(lines))  # the others are only counted


def faults_error(where: str, faults: Sequence[str]) -> RecipeError:
    """Return the error that lists faults, one on each line."""
    lines = [f"  - {fault}" for fault in faults[:MAX_FAULTS]]
    if len(faults) > MAX_FAULTS:
        lines.append(f"  ... and {len(faults) - MAX_FAULTS} more")
    return RecipeError("\n".join([f"{where}: {len(faults)} fault(s)", *lines]))


def suggest(name: object, known: Iterable[str]) -> str:
    """Return " (did you mean 'rock'?)" for a misspelt name, nothing where no known name is similar."""
    text = str(name)
    if len(text) > MAX_NAME:
        return ""
    similar = difflib.get_close_matches(text, list(known), n=1)
    return f" (did you mean {similar[0]!r}?)" if similar else ""


def _describe_fault(model: type[BaseModel], fault: Any) -> str:
    """Return one of pydantic's faults as a line of text."""
    path = ".".join(str(part) for part in fault["loc"]) or "(top)"
    if fault["type"] == "extra_forbidden":
        known = _list_keys(model, fault["loc"][:-1])
        return f"{path}: unknown key{suggest(fault['loc'][-1], known)}. Known here: {', '.join(known)}"
    message = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "missing":
        return f"{path}: missing"
    value = reprlib.repr(fault.get("input"))
    value = value if len(value) < MAX_VALUE else f"{value[: MAX_VALUE - 3]}..."
    return f"{path}: {message[:1].lower()}{message[1:]} (found {value})"


def _list_keys(model: type[BaseModel], loc: tuple[Any, ...]) -> list[str]:
    """Return the keys of the section that a path of keys leads to."""
    for part in loc:
        field = model.model_fields.get(str(part))
        inner = field.annotation if field else None
        candidates = [inner, *getattr(inner, "__args__", ())]
        model = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), model)
    return sorted(model.model_fields)
