"""A prompt with its labels, and a clip to make from it."""

from __future__ import annotations

from dataclasses import dataclass

VOCALS = ("instrumental", "with-vocals", "unspecified")


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt and its labels: what the text asks for. What it does not mention is None or empty."""

    text: str  # the generator's input
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
    """One clip to make: a prompt, a seed and a place in the corpus."""

    id: str
    prompt: Prompt
    prompt_group: str
    seed: int  # 0 <= seed < 2**63
    split: str  # "train" or "validation"
