"""The row on its way: a prompt with what it asks for, and a clip to be made of it."""

from __future__ import annotations

from dataclasses import dataclass

VOCALS = ("instrumental", "with-vocals", "unspecified")


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt and its labels. A label is what the text asks for; what the text leaves open is None or empty."""

    text: str  # what a generator is given
    description: str  # the text without genre tags; clips that share it share a `prompt_group`
    genre: str
    subgenre: str | None = None
    mood: str | None = None
    instruments: tuple[str, ...] = ()
    tempo_bpm: int | None = None
    key: str | None = None  # "A minor", "Eb major"
    vocals: str = "unspecified"  # one of VOCALS


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip to be made: a prompt, a seed and a place in the corpus."""

    id: str
    prompt: Prompt
    prompt_group: str
    seed: int  # 0 <= seed < 2**63
    split: str  # "train" or "validation"
