"""Scores, ablations, robustness and strategies as lines for a terminal."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..rendering.text_table import align_columns
from ..results.ablation import OWN, Ablation
from ..results.robustness import Robustness
from ..results.scores import HEADLINES, MULTI, SHARES, SINGLE, Quantity, SeedScores
from ..results.strategies import StrategyComparison

LISTED = 5  # tracks that could not be read


def format_scores(scores: dict[str, Any]) -> str:
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


def format_ablation(found: Ablation) -> str:
    """Lines for a terminal: a block a place, a line a cell; the first figure, its spread, and the difference."""
    lines = []
    for place in found.places:
        key, name = next((k, v) for k, v in HEADLINES[found.problem].items() if k in found.cells[0].scores[place])
        rows = [("cell", "rows", name, "95 % interval", "sd of seeds", "difference", "p (Holm)")]
        for cell in found.cells:
            score = cell.scores[place][key]
            test = next(
                (d for d in found.differences if (d.cell, d.benchmark, d.metric) == (cell.name, place, key)), None
            )
            step = ("", "") if test is None else (f"{test.difference.value:+.3f}", f"{test.p_holm:.3f}")
            rows.append((cell.name, str(cell.train_rows), *_cells(score), *step))
        first = found.cells[0].scores[place][key].mean.n
        lines += [f"{place}" + ("" if place == OWN else f", n = {first}")]
        lines += [*align_columns(rows), ""]
    return "\n".join([*lines, *found.notes]).rstrip()


def format_robustness(found: Robustness) -> str:
    """Lines for a terminal: the first figure clean, then at each level with its 95 % interval, difference and p."""
    key = next(key for key in HEADLINES[found.problem] if found.clean.get(key) is not None)
    rows = [
        ("damage", HEADLINES[found.problem][key], "difference", "p (Holm)"),
        ("clean", _amount(key, found.clean[key])),
    ]
    for level in found.levels:
        drop = next((entry for entry in level.drops if entry.metric == key), None)
        more = ("", "") if drop is None else (_amount(key, drop.difference, signed=True), f"{drop.p_holm:.3f}")
        rows.append((f"{level.kind} {level.level:g} {level.unit}", _amount(key, level.figures[key]), *more))
    return "\n".join([f"{found.benchmark}, n = {found.n}, {len(found.skips)} skipped", *align_columns(rows)])


def format_strategies(found: StrategyComparison) -> str:
    """Lines for a terminal: the strategies in order, the first figure with its interval, and the step to the next."""
    name = HEADLINES[found.problem][found.metric]
    rows = [("strategy", name, "95 % interval", "sd of seeds", "less the next", "p (Holm)")]
    steps = {(one.strategy, one.other): one for one in found.differences}
    for place, one in enumerate(found.strategies):
        following = found.strategies[place + 1].name if place + 1 < len(found.strategies) else ""
        step = steps.get((one.name, following))
        last = ("", "") if step is None else (f"{step.difference.value:+.3f}", f"{step.p_holm:.3f}")
        rows.append((one.name, *_cells(one.figures[found.metric]), *last))
    shots = "" if found.shots is None else f", {found.shots} real track(s) a label"
    head = f"test part of {found.target}, n = {found.n}, {len(found.seeds)} training(s) each{shots}"
    return "\n".join([head, *align_columns(rows), *found.notes])


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


def _cells(figure: SeedScores) -> tuple[str, str, str]:
    """Mean, 95 % interval and the spread of the trainings, for a table."""
    interval = "-" if figure.mean.low is None else f"[{figure.mean.low:.3f}, {figure.mean.high:.3f}]"
    spread = f"{np.std(figure.seeds, ddof=1):.3f}" if len(figure.seeds) > 1 else "-"
    return f"{figure.mean.value:.3f}", interval, spread


def _amount(key: str, figure: Quantity | None, signed: bool = False) -> str:
    return told(key, None if figure is None else figure.model_dump(), signed)
