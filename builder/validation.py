"""Checking data with pydantic: every fault is reported at once, with its key and what is valid there."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from .errors import RecipeError
from .names import format_count

MAX_FAULTS = 20  # in one message
MAX_NAME = 100  # characters of a name that is compared with others; comparing takes long
MAX_VALUE = 60  # characters of a value in a message
MAPPING = "expected `key: value` lines"
_MAPPING_FAULTS = ("model_type", "model_attributes_type", "dict_type", "mapping_type")
_KINDS = {list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
_pattern_texts: dict[str, str] = {}  # the text of each pattern, for messages


class Section(BaseModel):
    """A mapping read from YAML. Unknown keys and values of another type are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    misplaced: ClassVar[dict[str, str]] = {}  # keys that belong elsewhere, with what to write instead


Model = TypeVar("Model", bound=BaseModel)


def match_pattern(pattern: str, text: str) -> StringConstraints:
    """Return the constraint that text matches a regular expression.

    Args:
        pattern: The regular expression.
        text: What it allows, for messages: "lower-case letters and digits".
    """
    _pattern_texts[pattern] = text
    return StringConstraints(pattern=pattern)


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
        if data is None:
            return [f"the file is empty: {MAPPING}"]
        return [f"{MAPPING}, found {_KINDS.get(type(data), 'something else')}"]
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
    return RecipeError("\n".join([f"{where}: {format_count(len(faults), 'problem')}", *lines]))


def suggest(name: object, known: Iterable[str]) -> str:
    """Return " (did you mean 'rock'?)" for a misspelt name, nothing where no known name is similar."""
    text = str(name)
    if len(text) > MAX_NAME:
        return ""
    similar = difflib.get_close_matches(text, list(known), n=1)
    return f" (did you mean {similar[0]!r}?)" if similar else ""


def _describe_fault(model: type[BaseModel], fault: Any) -> str:
    """Return one of pydantic's faults as a line of text."""
    # A part that is blank is the tag of a union.
    path = ".".join(str(part) for part in fault["loc"] if str(part).strip()) or "(top)"
    kind, key = fault["type"], fault["loc"][-1] if fault["loc"] else ""
    section = _find_section(model, fault["loc"][:-1])
    if kind == "extra_forbidden":
        if (advice := getattr(section, "misplaced", {}).get(str(key))) is not None:
            return f"{path}: unknown key. {advice}"
        known = sorted(section.model_fields)
        return f"{path}: unknown key{suggest(key, known)}. Known here: {', '.join(known)}"
    if kind == "missing":
        return f"{path}: missing{_describe_missing(section, str(key))}"
    message = str(fault["msg"]).removeprefix("Value error, ")
    if kind in _MAPPING_FAULTS:
        message = MAPPING
    elif kind == "string_pattern_mismatch":
        pattern = fault["ctx"]["pattern"]
        message = f"expected {_pattern_texts.get(pattern, f'text that matches {pattern!r}')}"
    elif kind == "tuple_type":
        message = "expected a list"
    elif kind == "too_short":
        message = f"expected at least {fault['ctx']['min_length']}"
    value = reprlib.repr(fault.get("input"))
    value = value if len(value) < MAX_VALUE else f"{value[: MAX_VALUE - 3]}..."
    return f"{path}: {message[:1].lower()}{message[1:]} (found {value})"


def _describe_missing(section: type[BaseModel], key: str) -> str:
    """Return what to write for a key that is missing: an example of the field, else its description."""
    field = section.model_fields.get(key)
    if field is None:
        return ""
    if field.examples:
        example = yaml.safe_dump({key: field.examples[0]}, default_flow_style=None).strip()
        return f". Write, for example, `{example}`"
    return f". {field.description}" if field.description else ""


def _find_section(model: type[BaseModel], loc: tuple[Any, ...]) -> type[BaseModel]:
    """Return the section that a path of keys leads to."""
    for part in loc:
        field = model.model_fields.get(str(part))
        inner = field.annotation if field else None
        candidates = [inner, *getattr(inner, "__args__", ())]
        model = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), model)
    return model
