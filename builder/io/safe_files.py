"""Files that ship with the package, and readers of YAML and JSON with limits for untrusted files."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any, ClassVar

import yaml

from ..errors import DataError, RecipeError

PACKAGE = Path(__file__).parents[1]
MAX_YAML_BYTES = 2 << 20
MAX_JSON_BYTES = 64 << 20  # of a record or a config; the record of a training lists the ids of its rows
MAX_DEPTH = 50
MAX_NODES = 250_000  # values in one YAML file, which take some seconds
MAX_DIGITS = 100


def find_shipped(name: str) -> Path:
    """Find a file or folder that ships with synthmir: in the package, or at the root of a checkout.

    The package is searched first: beside an installed package, another one may have a folder of that name.
    """
    for place in (PACKAGE, PACKAGE.parent):
        if (path := place / name).exists():
            return path
    raise FileNotFoundError(f"synthmir ships no {name}")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Safe YAML without repeated keys, and without numbers of so many digits that reading them takes minutes."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be text or a number", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is there twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_number(self, node: Any) -> Any:
        """Read an integer or a float of at most `MAX_DIGITS` characters."""
        if len(node.value) > MAX_DIGITS:
            raise yaml.constructor.ConstructorError(None, None, "a number of too many digits", node.start_mark)
        whole = node.tag.endswith(":int")
        return self.construct_yaml_int(node) if whole else self.construct_yaml_float(node)


for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.construct_number)


class _TextLoader(_Loader):
    """The same, but every scalar is text: `no`, `1990` and `null` are strings."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}


def parse_yaml(text: str, words: bool = False) -> Any:
    """Parse YAML. Aliases are refused, as they expand a few bytes to gigabytes; so are deep and long documents.

    Args:
        text: The YAML.
        words: Whether every scalar is text, for files of names, of which one may be `no` or `1990`.

    Raises:
        yaml.YAMLError: With the line.
        ValueError: For a value that its type cannot have, such as the date 2000-13-01.
    """
    depth = 0
    for number, event in enumerate(yaml.parse(text, Loader=_Loader)):
        if isinstance(event, yaml.events.AliasEvent):
            raise _refused("aliases (*name) are not accepted", event)
        depth += isinstance(event, yaml.events.CollectionStartEvent)
        depth -= isinstance(event, yaml.events.CollectionEndEvent)
        if depth > MAX_DEPTH or number > MAX_NODES:
            why = f"nested {MAX_DEPTH} deep" if depth > MAX_DEPTH else f"more than {MAX_NODES:,} values"
            raise _refused(why, event)
    return yaml.load(text, Loader=_TextLoader if words else _Loader)  # noqa: S506 - a SafeLoader


def _refused(why: str, event: Any) -> yaml.YAMLError:
    return yaml.composer.ComposerError(None, None, why, event.start_mark)


def read_yaml(path: Path, words: bool = False) -> Any:
    """Read a YAML file; see `parse_yaml`. Raises RecipeError with the file and the line."""
    try:
        return parse_yaml(read_text(path, MAX_YAML_BYTES), words)
    except FileTooLargeError as error:
        raise RecipeError(f"{path}: {error}: is not a file of settings") from error
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror or error}", "check the path") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 text (byte {error.start})", "save it as UTF-8") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        text = str(error).replace("<unicode string>", path.name)
        raise RecipeError(f"{path}: not valid YAML: {text}", "correct the line that it names") from error


def parse_json(text: str | bytes) -> Any:
    """Parse JSON. Raises ValueError, also for what is nested too deep."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def read_json(path: Path, limit: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """Read the object in a JSON file.

    Args:
        path: The file.
        limit: The largest size that is read, in bytes.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it does not hold a JSON object, or is too large.
    """
    content = parse_json(read_text(path, limit))
    if not isinstance(content, dict):
        raise ValueError(f"expected a JSON object, found {type(content).__name__}")
    return content


def read_record(
    path: Path, fix: str, *, origin: str | None = None, fault: str = "cannot be read as JSON"
) -> dict[str, Any]:
    """Read a JSON file that a stage wrote.

    Args:
        path: The file.
        fix: What to do if it is damaged, for the message.
        origin: The command that writes the file, for the message if it is missing. Default: a missing file is {}.
        fault: What is wrong with a damaged file, for the message.

    Raises:
        DataError: If it is damaged, or missing and `origin` is given.
    """
    try:
        return read_json(path)
    except FileNotFoundError as error:
        if origin is None:
            return {}
        raise DataError(f"{path}: there is no such file", origin) from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {fault}: {error}", fix) from error


class FileTooLargeError(ValueError):
    """The file is larger than the limit."""


def read_text(path: Path, limit: int = MAX_JSON_BYTES) -> str:
    """Read a file of at most `limit` bytes as UTF-8.

    Pipes and devices are refused, as they may never end.

    Raises:
        OSError: If it cannot be read, or is not a file.
        FileTooLargeError: If it is larger.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):  # reading a folder raises
        raise OSError(None, "not a file")
    if status.st_size > limit:
        raise FileTooLargeError(f"larger than {limit >> 20} MiB")
    return path.read_text(encoding="utf-8")
