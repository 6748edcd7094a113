"""The sound fonts of a corpus with their licences, for its card."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...soundfonts import DEFAULT, KNOWN, name_font, split_font


def list_font_licences(parts: Iterable[dict[str, Any]]) -> list[dict[str, str]]:
    """List the sound fonts of the arranger's parts, each once: name, digest, author and licence.

    Args:
        parts: The parts of a corpus, with their recipes as `settings`. The default font has no digest in them.
    """
    recipes = [part["settings"]["generator"] for part in parts]
    texts = [
        text for recipe in recipes if recipe["name"] == "arranger" for text in recipe.get("soundfont") or [DEFAULT]
    ]
    fonts = []
    for text in dict.fromkeys(map(str, texts)):
        name, known = name_font(text), KNOWN.get(name_font(text))
        by, licence = (known.by, known.licence) if known else ("", "that of the font; not recorded")
        fonts.append({"name": name, "digest": split_font(text)[1] or "", "by": by, "licence": licence})
    return fonts
