"""Prompts as text: a table for people, JSONL for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict

from ..clip import Prompt

_COLUMNS = (("genre", 12), ("subgenre", 22), ("mood", 12), ("bpm", 4), ("key", 9))


def format_prompts(prompts: Iterable[Prompt], jsonl: bool = False) -> Iterator[str]:
    """Format prompts, one on each line.

    Args:
        prompts: What to format.
        jsonl: Write each as a JSON object of all its fields. Default: columns with a heading, the text last.
    """
    if jsonl:
        for prompt in prompts:
            yield json.dumps(asdict(prompt), ensure_ascii=False)
        return
    yield "".join(f"{name:<{width}} " for name, width in _COLUMNS) + "prompt"
    for prompt in prompts:
        values = (prompt.genre, prompt.subgenre, prompt.mood, prompt.tempo_bpm, prompt.key)
        cells = ("-" if value is None else str(value) for value in values)
        yield "".join(f"{cell:<{width}} " for cell, (_, width) in zip(cells, _COLUMNS, strict=True)) + prompt.text
