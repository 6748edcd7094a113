"""Cards as they stand on the Hub: with their own address, and with that of the model or the data set they go with.

The folder's files are left as they are. What is published differs from them in README.md alone and, for a corpus, in
the line of SHA256SUMS that tells its hash: a folder that is downloaded is as sound as the one that was sent.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

import yaml

from ..markdown import FRONT, front

HEADING = "## On the Hub"
LOAD = re.compile(r'(load_dataset\(\s*)"(?:[^"\\\n]|\\.)*"')
OWN = re.compile(r"(@misc\{synthmir-[^\n]*,\n {2}title = [^\n]*,\n)")  # how the corpus itself is cited
SUM = re.compile(r"^[0-9a-f]{64}(?=  README\.md$)", re.MULTILINE)


def dataset_card(text: str, repo: str, model: tuple[str, str] | None) -> str:
    """A corpus' card for `repo`: its snippets load from there. `model`: (repo, address) of a classifier."""
    lines = [f'The corpus is `{repo}`: `load_dataset("{repo}")`.']
    if model is not None:
        lines.append(f"A classifier that was trained on it: [{model[0]}]({model[1]}).")
    text = LOAD.sub(lambda call: f'{call[1]}"{repo}"', text)
    text = OWN.sub(lambda entry: f"{entry[1]}  howpublished = {{Hugging Face Hub, {repo}}},\n", text, count=1)
    return _with_section(text, lines)


def model_card(text: str, repo: str, dataset: tuple[str, str] | None) -> str:
    """A model's card for `repo`: its snippets open it from there. `dataset`: (repo, address) of its corpus."""
    text = text.replace('"MODEL"', f'"{repo}"')
    if dataset is not None:
        text = with_data(text, {"datasets": [dataset[0]]})
    lines = [f"The model is `{repo}`."]
    if dataset is not None:
        lines.append(f"The corpus that it was trained on: [{dataset[0]}]({dataset[1]}).")
    return _with_section(text, lines)


def sums_with(sums: str, card: str) -> str:
    """SHA256SUMS with the hash of another README.md."""
    return SUM.sub(hashlib.sha256(card.encode()).hexdigest(), sums)


def _with_section(text: str, lines: list[str]) -> str:
    """The section in front of the card's first one."""
    section = f"{HEADING}\n\n" + "\n".join(lines) + "\n\n"
    start = text.find("\n## ") + 1
    return text[:start] + section + text[start:] if start else f"{text.rstrip()}\n\n{section.rstrip()}\n"


def with_data(text: str, more: dict[str, Any]) -> str:
    """The card with other YAML in its head. Raises DataError for one without."""
    data = {**front(text), **more}
    match = FRONT.match(text)
    assert match is not None, "front has seen it"
    return f"---\n{yaml.safe_dump(data, sort_keys=False, allow_unicode=True)}---\n{match['body']}"
