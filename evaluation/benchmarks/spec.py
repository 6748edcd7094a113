"""Parse the spec of a benchmark: `NAME[@VARIANT]:TARGET[?OPTION=VALUE&...]`."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote_plus

from builder.errors import RecipeError
from builder.validation import suggest

_OPTIONS = re.compile(r"\?(\w+=[^&]*(?:&\w+=[^&]*)*)$")


@dataclass(frozen=True, slots=True)
class Spec:
    """A parsed spec. `text` is the spec as it was written."""

    text: str
    name: str
    variant: str = ""
    target: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Spec:
        """Parse a spec. A `?` that no `word=` follows belongs to the target. Raises RecipeError."""
        head, _, target = text.partition(":")
        name, _, variant = head.partition("@")
        options: dict[str, str] = {}
        if match := _OPTIONS.search(target):
            target = target[: match.start()]
            for pair in match[1].split("&"):
                key, _, value = pair.partition("=")
                if key in options:
                    raise RecipeError(f"{text}: option {key} is given twice", "write it once")
                options[key] = unquote_plus(value)
        return cls(text, name, variant, target, options)

    def only(self, known: Collection[str]) -> None:
        """Raise RecipeError for an option that is not in `known`, and for one without a value."""
        for key, value in self.options.items():
            if key not in known:
                raise RecipeError(
                    f"{self.text}: {self.name} has no option {key!r}{suggest(key, known)}",
                    f"its options: {', '.join(sorted(known))}",
                )
            if not value:
                raise RecipeError(f"{self.text}: option {key} is empty", f"write {key}=VALUE, or leave it out")
