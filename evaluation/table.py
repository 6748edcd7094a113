"""What scores.json holds, as lines for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .scores import HEADLINES, MULTI, SHARES, SINGLE


def score_table(scores: dict[str, Any]) -> str:
    """Each benchmark's figures with their 95 % intervals, what is mixed up most, and how other models compare."""
    names = HEADLINES[scores["model"]["problem"]]
    head = (
        "on",
        "n",
        "skipped",
        *(name[0].lower() + name[1:] if name[1].islower() else name for name in names.values()),
    )
    rows = [
        (entry["name"], str(entry["n"]), str(entry["skipped"]), *(told(key, entry[key]) for key in names))
        for entry in scores["benchmarks"]
    ]
    remarks = [remark for entry in scores["benchmarks"] if (remark := _remark(entry))]
    return "\n".join([*_aligned([head, *rows]), *remarks, *_compared(scores)])


def told(metric: str, figure: dict[str, Any] | None, signed: bool = False) -> str:
    """A figure in words: "84.6% [82.0%, 87.1%]" or "6.10 [5.20, 7.40]"; "-" where there is none.

    `signed` is for differences: "+2.1 pp [-0.4 pp, +4.5 pp]", in percentage points.
    """
    if figure is None:
        return "-"

    def words(value: float) -> str:
        if metric not in SHARES:
            return f"{value:+.2f}" if signed else f"{value:.2f}"
        return f"{100 * value:+.1f} pp" if signed else f"{value:.1%}"

    value, *bounds = (figure[key] for key in ("value", "low", "high"))
    return words(value) if None in bounds else f"{words(value)} [{', '.join(map(words, bounds))}]"


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _remark(entry: dict[str, Any]) -> str | None:
    """A line on one benchmark, where there is something to say."""
    if entry["problem"] == SINGLE:
        pair = entry["worst_pair"]
        return pair and (
            f"{entry['name']}: most often mixed up: {pair['truth']} taken for {pair['predicted']}, "
            f"{pair['count']} track(s), {pair['share']:.0%} of them"
        )
    if entry["problem"] == MULTI:
        judged = [tag for tag in entry["per_tag"] if tag["average_precision"]]
        worst = min(judged, key=lambda tag: tag["average_precision"]["value"])
        least = worst["average_precision"]["value"]
        return f"{entry['name']}: lowest average precision: {worst['label']}, {least:.1%}"
    octaves = entry["octaves"]
    return octaves and (
        f"{entry['name']}: {octaves['double']} track(s) taken for twice their tempo, {octaves['half']} for half of it"
    )


def _compared(scores: dict[str, Any]) -> list[str]:
    if not scores["comparisons"]:
        return []
    names = HEADLINES[scores["model"]["problem"]]
    head = ("on", "against", "figure", "difference", "p", "p (Holm)")
    return [
        "",
        *_aligned(
            [
                head,
                *(
                    (
                        *(entry["benchmark"], entry["against"], names[entry["metric"]]),
                        told(entry["metric"], entry["difference"], signed=True),
                        *(f"{entry[key]:.2g}" for key in ("p", "p_holm")),
                    )
                    for entry in scores["comparisons"]
                ),
            ]
        ),
    ]
