"""What scores.json holds, as lines for a terminal."""

from __future__ import annotations

from typing import Any

from ..rendering.text_table import align_columns
from ..results.scores import HEADLINES, MULTI, SHARES, SINGLE

LISTED = 5  # tracks that could not be read


def score_table(scores: dict[str, Any]) -> str:
    """Each benchmark's figures with their 95 % intervals, what they leave out, and how other models compare."""
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
    remarks = [line for entry in scores["benchmarks"] for line in _remarks(entry)]
    return "\n".join([*align_columns([head, *rows]), *remarks, *_compared(scores)])


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


def _remarks(entry: dict[str, Any]) -> list[str]:
    """Lines on one benchmark, where there is something to say: its weakest place, what was left out and skipped."""
    skips = [f"skipped {skip['id']}: {skip['reason']}" for skip in entry["skips"][:LISTED]]
    if (more := len(entry["skips"]) - LISTED) > 0:
        skips.append(f"skipped {more} more, which scores.json lists")
    weakest = _weakest(entry)
    lines = [*([weakest] if weakest else []), *_exact(entry), *entry["notes"], *skips]
    return [f"\n{entry['name']}", *(f"  {line}" for line in lines)] if lines else []


def _exact(entry: dict[str, Any]) -> list[str]:
    """Which headline figures have exact intervals, as no resample changes them."""
    exact = entry["sampling"].get("exact", {})
    names = [name.lower() for key, name in HEADLINES[entry["problem"]].items() if key in exact]
    return [f"no resample changes {', '.join(names)}: Clopper-Pearson intervals"] if names else []


def _weakest(entry: dict[str, Any]) -> str | None:
    """What a benchmark shows to be hardest."""
    if entry["problem"] == SINGLE:
        pair = entry["worst_pair"]
        return pair and (
            f"most often mixed up: {pair['truth']} taken for {pair['predicted']}, {pair['count']} track(s), "
            f"{pair['share']:.0%} of them"
        )
    if entry["problem"] == MULTI:
        judged = [tag for tag in entry["per_tag"] if tag["average_precision"]]
        worst = min(judged, key=lambda tag: tag["average_precision"]["value"])
        least = worst["average_precision"]["value"]
        return f"lowest average precision: {worst['label']}, {least:.1%}"
    octaves = entry["octaves"]
    return octaves and (f"{octaves['double']} track(s) taken for twice their tempo, {octaves['half']} for half of it")


def _compared(scores: dict[str, Any]) -> list[str]:
    if not scores["comparisons"]:
        return []
    names = HEADLINES[scores["model"]["problem"]]
    head = ("on", "against", "figure", "difference", "p", "p (Holm)")
    return [
        "",
        *align_columns(
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
