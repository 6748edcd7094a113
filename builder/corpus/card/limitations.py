"""The limitations of a corpus, as sentences of Markdown. Each is based on a figure, and left out without one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...io.markdown import escape_text
from ...names import format_rate
from .measurement import Figure, Measurement


def list_limitations(context: dict[str, Any], measurements: Sequence[Measurement]) -> list[str]:
    """List the limitations of a corpus.

    Args:
        context: The figures of its card.
        measurements: Its measurements of fidelity.

    Returns:
        One paragraph of Markdown each.
    """
    real = [measurement for measurement in measurements if measurement.real]
    sentences = [sentence for measurement in real for sentence in _compare_with_real_music(measurement)]
    if not real:
        sentences.append(
            "**The distance from recordings is not measured.** No figure here shows how a model trained on the corpus "
            "works on real music."
        )
    return [*sentences, *_describe_labels(context), *_describe_audio(context)]


def format_percent(share: float) -> str:
    """Format a share in [0, 1] as "84.6 %"."""
    return f"{100 * share:.1f} %"


def format_interval(figure: Figure) -> str:
    """Format a share with its 95 % interval, where one is known, as "84.6 % [82.0, 87.1]"."""
    if figure.low is None or figure.high is None:
        return format_percent(figure.value)
    return f"{format_percent(figure.value)} [{100 * figure.low:.1f}, {100 * figure.high:.1f}]"


def _compare_with_real_music(one: Measurement) -> Iterator[str]:
    name = f"{escape_text(one.reference.name)} ({one.reference.n:,} recordings)"
    if one.manifold:
        reached = one.manifold.coverage
        yield (
            f"**Music that is not covered.** Of {name}, {format_interval(reached)} have a clip in their "
            f"neighbourhood; {format_percent(1 - reached.value)} have none."
        )
    if one.two_sample:
        yield (
            f"**It differs from {escape_text(one.reference.name)}.** A linear classifier separates clips from "
            f"recordings with an accuracy of {format_interval(one.two_sample.accuracy)} (50 % is chance, "
            f"p = {one.two_sample.p_value:.2g})."
        )
    ratio = one.diversity.corpus / one.diversity.reference if one.diversity.reference else 0.0
    if ratio:
        yield (
            f"**Diversity.** {one.diversity.n:,} clips are equivalent to {one.diversity.corpus:.4g} different ones "
            f"(Vendi score), as many of {escape_text(one.reference.name)} to {one.diversity.reference:.4g}: a ratio "
            f"of {ratio:.2f}."
        )
    if one.against.clips:
        yield (
            f"**Copies.** {one.against.clips:,} of {one.against.n:,} clips are near-duplicates of a recording of "
            f"{escape_text(one.reference.name)}."
        )
    if one.copies and one.copies.searched:
        yield (
            f"**Copies as sound.** Of the {one.copies.searched:,} clips nearest to a recording of "
            f"{escape_text(one.reference.name)}, {one.copies.copies:,} repeat it (landmarks, Wang 2003)."
        )
    if one.copies and (all_clips := one.copies.annotated):
        yield (
            f"**Copies of known recordings.** {all_clips.copies:,} of {all_clips.n:,} clips by the estimates `copies`."
        )


def _describe_labels(context: dict[str, Any]) -> Iterator[str]:
    clips, prompts, tempo = context["clips"], context["prompts"], context["tempo"]
    by_name = {row["name"]: row for row in context["labels"]}
    voices = by_name["vocals"]["counts"].get("with-vocals", 0)
    yield (
        f"**Vocals.** {voices:,} of {clips:,} prompts ask for vocals"
        + ("; whether the clips have them was not checked." if voices else ". Clips with vocals are not labelled.")
    )
    yield (
        "**Labels.** Labels are what the prompts asked for. Nobody has checked them by listening: expect clips that "
        "differ."
        + (f" {tempo['clips']:,} of {clips:,} prompts give a tempo." if tempo else " No prompt gives a tempo.")
    )
    rare = [
        f"{row['rare']:,} of the {row['used']:,} values of `{row['name']}`"
        for row in (by_name["subgenre"], by_name["mood"], by_name["instruments"])
        if row["rare"]
    ]
    if rare:
        yield f"**Rare labels.** Too rare to learn from, with fewer than ten clips each: {', '.join(rare)}."
    if prompts < clips:
        yield f"**Prompts.** {clips:,} clips are made from {prompts:,} distinct prompts."


def _describe_audio(context: dict[str, Any]) -> Iterator[str]:
    channels = {
        "stereo": "two channels",
        "mono": "one channel, no stereo image",
        "mono in two equal channels": "two equal channels, no stereo image",
    }[context["channels"]]
    yield (
        f"**Length and bandwidth.** No clip is longer than {context['lengths'][-1]:.4g} s, so there is no longer "
        f"musical form. The sampling rate is {format_rate(context['sampling_rate'])}, with nothing over "
        f"{format_rate(context['bandwidth'])}; {channels}."
    )
    for level in context["levels"]:
        if level["column"] == "loudness":
            yield (
                f"**Dynamics.** 90 % of the clips are between {level['low']:.1f} and {level['high']:.1f} LUFS, "
                f"{level['high'] - level['low']:.1f} LU apart."
            )
    makers = len(context["generators"])
    yield (
        f"**{'One generator' if makers == 1 else 'Few generators'}.** All clips are made by "
        f"{'one generator' if makers == 1 else f'{makers} generators'}: a model may learn the properties of "
        f"{'those' if makers > 1 else 'it'} rather than those of music."
    )
