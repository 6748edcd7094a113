"""The form of a clip: which parts play in which bars."""

from __future__ import annotations

from collections.abc import Sequence

from ..score import Passage
from ..style import PARTS, FormSection


def lay_out_form(sections: Sequence[FormSection], bars: int) -> list[Passage]:
    """Divide bars among the sections of a form, at least one bar each.

    With fewer bars than sections there is one passage, in which all parts play.
    """
    if bars < len(sections):
        return [Passage(0, bars, frozenset(PARTS))]
    total = sum(section.share for section in sections)
    passages, first, share = [], 0, 0.0
    for number, section in enumerate(sections):
        share += section.share
        left = len(sections) - number - 1
        last = bars if left == 0 else min(max(round(bars * share / total), first + 1), bars - left)
        passages.append(Passage(first, last, frozenset(section.parts)))
        first = last
    return passages
