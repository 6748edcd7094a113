"""Files that ship with the package (recipes, taxonomies, card templates), and YAML and JSON read with care."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any, ClassVar

import yaml

from ..errors import DataError, RecipeError

PACKAGE = Path(__file__).parents[1]
MAX_YAML_BYTES = 2 << 20
MAX_JSON_BYTES = 64 << 20  # of a record or a config; a run record lists its data's ids
MAX_DEPTH = 50
MAX_NODES = 250_000  # words in one YAML file, some seconds' work
MAX_DIGITS = 100


def find_shipped(name: str) -> Path:
    """The shipped file or folder `name`: in a wheel it is inside the package, in a checkout at the root.

    The package goes first: beside an installed one may be a folder of that name that another package brought.
    """
    for place in (PACKAGE, PACKAGE.parent):
        if (path := place / name).exists():
            return path
    raise FileNotFoundError(f"synthmir ships no {name}")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Safe YAML without doubled keys, and without numbers of as many digits as would take minutes."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a word", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_number(self, node: Any) -> Any:
        """An integer or a float, of a length that people write."""
        if len(node.value) > MAX_DIGITS:
            raise yaml.constructor.ConstructorError(None, None, "a number of too many digits", node.start_mark)
        whole = node.tag.endswith(":int")
        return self.construct_yaml_int(node) if whole else self.construct_yaml_float(node)


for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.construct_number)


class _TextLoader(_Loader):
    """The same, but every scalar is text as it is written: `no`, `1990` and `null` are words."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}


def parse_yaml(text: str, words: bool = False) -> Any:
    """The content of YAML text. Raises yaml.YAMLError that names the line, or ValueError for a value that is none.

    With `words` every scalar is text: for files of names, of which one may be `no` or `1990`. Aliases are refused
    (they blow a few bytes up to gigabytes), and what is deeper or longer than settings ever are.
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
    """The content of a YAML file, see `parse_yaml`. Raises RecipeError that names the file and the line."""
    try:
        return parse_yaml(read_text(path, MAX_YAML_BYTES), words)
    except FileTooLargeError as error:
        raise RecipeError(f"{path}: {error}: not a file of settings") from error
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror or error}", "check the path") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 text (byte {error.start})", "save it as UTF-8") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise RecipeError(f"{path}: not valid YAML: {error}", "mend the line that it names") from error


def parse_json(text: str | bytes) -> Any:
    """The content of JSON. Raises ValueError, also for what is nested too deep to be read."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def read_json(path: Path, limit: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """The object in a JSON file. Raises OSError where there is none, ValueError for one that is none or too large."""
    found = parse_json(read_text(path, limit))
    if not isinstance(found, dict):
        raise ValueError(f"expected a JSON object, found {type(found).__name__}")
    return found


def read_record(
    path: Path, mend: str, *, origin: str | None = None, fault: str = "cannot be read as JSON"
) -> dict[str, Any]:
    """As `read_json`, of a file that a stage wrote. One that is not there: {} if its `origin` is not named.

    Raises DataError, which tells `fault` and `mend` of a file that is damaged, `origin` of one that is not there.
    """
    try:
        return read_json(path)
    except FileNotFoundError as error:
        if origin is None:
            return {}
        raise DataError(f"{path}: there is no such file", origin) from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {fault}: {error}", mend) from error


class FileTooLargeError(ValueError):
    """A file of more bytes than such a file has."""


def read_text(path: Path, limit: int = MAX_JSON_BYTES) -> str:
    """A small file's text. Not of a pipe, which would be waited for, nor of a device, which may have no end."""
    told = path.stat()
    if not stat.S_ISREG(told.st_mode) and not stat.S_ISDIR(told.st_mode):  # to read a folder says so itself
        raise OSError(None, "not a file")
    if told.st_size > limit:
        raise FileTooLargeError(f"larger than {limit >> 20} MiB")
    return path.read_text(encoding="utf-8")
