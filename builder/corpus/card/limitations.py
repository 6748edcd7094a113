"""What a corpus lacks, in sentences of Markdown: each stands on a number, and is left out where there is none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...io.markdown import escape_text
from ..schema import SAMPLING_RATE
from .measurement import Figure, Measurement


def list_limitations(context: dict[str, Any], found: Sequence[Measurement]) -> list[str]:
    """The known gaps of a corpus, from the card's own figures and from what was measured."""
    real = [one for one in found if one.real]
    sentences = [sentence for one in real for sentence in _against(one)]
    if not real:
        sentences.append(
            "**How far it is from recordings is not measured.** No figure here tells how a model trained on it does "
            "on real music."
        )
    return [*sentences, *_of_labels(context), *_of_sound(context)]


def format_percent(share: float) -> str:
    """ "84.6 %"."""
    return f"{100 * share:.1f} %"


def format_interval(figure: Figure) -> str:
    """A share with its 95 % interval where one is known: "84.6 % [82.0, 87.1]"."""
    if figure.low is None or figure.high is None:
        return format_percent(figure.value)
    return f"{format_percent(figure.value)} [{100 * figure.low:.1f}, {100 * figure.high:.1f}]"


def _against(one: Measurement) -> Iterator[str]:
    name = f"{escape_text(one.reference.name)} ({one.reference.n:,} recordings)"
    if one.manifold:
        reached = one.manifold.coverage
        yield (
            f"**Music that it does not reach.** Of {name}, {format_interval(reached)} have a clip in their "
            f"neighbourhood; {format_percent(1 - reached.value)} have none."
        )
    if one.two_sample:
        yield (
            f"**It does not pass for {escape_text(one.reference.name)}.** A linear classifier tells clip from "
            f"recording in {format_interval(one.two_sample.accuracy)} of cases (50 % is chance, "
            f"p = {one.two_sample.p_value:.2g})."
        )
    ratio = one.diversity.corpus / one.diversity.reference if one.diversity.reference else 0.0
    if ratio:
        yield (
            f"**Diversity.** {one.diversity.n:,} clips are worth {one.diversity.corpus:.4g} different ones (Vendi "
            f"score), as many of {escape_text(one.reference.name)} {one.diversity.reference:.4g}: {ratio:.2f} times."
        )
    if one.against.clips:
        yield (
            f"**Copies.** {one.against.clips:,} of {one.against.n:,} clips are near-duplicates of a recording of "
            f"{escape_text(one.reference.name)}."
        )


def _of_labels(context: dict[str, Any]) -> Iterator[str]:
    clips, prompts, tempo = context["clips"], context["prompts"], context["tempo"]
    by_name = {row["name"]: row for row in context["labels"]}
    voices = by_name["vocals"]["counts"].get("with-vocals", 0)
    yield (
        f"**Voices.** {voices:,} of {clips:,} prompts ask for vocals"
        + ("; whether somebody sings was not checked." if voices else ": where one hears voices, no label tells.")
    )
    yield (
        "**Labels.** A label says what the prompt asked for, which no one has checked by ear: expect clips that do "
        "not comply."
        + (f" {tempo['clips']:,} of {clips:,} prompts give a tempo." if tempo else " No prompt gives a tempo.")
    )
    rare = [
        f"{row['rare']:,} of {row['used']:,} values of `{row['name']}`"
        for row in (by_name["subgenre"], by_name["mood"], by_name["instruments"])
        if row["rare"]
    ]
    if rare:
        yield f"**The long tail.** Fewer than ten clips bear {', '.join(rare)}."
    if prompts < clips:
        yield f"**Prompts.** {clips:,} clips are of {prompts:,} distinct prompts."


def _of_sound(context: dict[str, Any]) -> Iterator[str]:
    channels = "two channels" if context["stereo"] else "one channel, no stereo image"
    yield (
        f"**Form and band.** No clip lasts longer than {context['lengths'][-1]:.4g} s, so there is no form beyond "
        f"that; {SAMPLING_RATE // 1000} kHz, so nothing over {SAMPLING_RATE // 2000} kHz; {channels}."
    )
    for level in context["levels"]:
        if level["column"] == "loudness":
            yield (
                f"**Dynamics.** 90 % of the clips lie between {level['low']:.1f} and {level['high']:.1f} LUFS, "
                f"{level['high'] - level['low']:.1f} LU apart."
            )
    makers = len(context["generators"])
    yield (
        f"**{'One maker' if makers == 1 else 'Few makers'}.** All of it is by {makers} "
        f"generator{'s' if makers > 1 else ''}: a model may learn the ways of {'those' if makers > 1 else 'that one'} "
        "rather than music's."
    )
