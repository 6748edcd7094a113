"""Files that ship with the package (recipes, taxonomies, card templates), and YAML read with care."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from .errors import RecipeError

PACKAGE = Path(__file__).parent
MAX_YAML_BYTES = 4 << 20


def find(name: str) -> Path:
    """The shipped file or folder `name`: in a checkout it lies at the root, in a wheel inside the package."""
    for place in (PACKAGE.parent, PACKAGE):
        if (path := place / name).exists():
            return path
    raise FileNotFoundError(f"synthmir ships no {name}")


class _Loader(yaml.SafeLoader):
    """Safe YAML without aliases (they can blow a few bytes up to gigabytes) and without doubled keys."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not accepted", event.start_mark)
        return super().compose_node(parent, index)

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


def read_yaml(path: Path) -> Any:
    """The content of a YAML file. Raises RecipeError that names the file and the line."""
    try:
        if path.stat().st_size > MAX_YAML_BYTES:
            raise RecipeError(f"{path}: larger than {MAX_YAML_BYTES >> 20} MiB: not a file of settings")
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror or error}", "check the path") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 text (byte {error.start})", "save it as UTF-8") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise RecipeError(f"{path}: not valid YAML: {error}", "mend the line that it names") from error
