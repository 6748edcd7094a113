"""Format scores, ablations, robustness and strategies as text tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from builder.names import format_count

from ..rendering.text_table import align_columns
from ..results.ablation import OWN, Ablation
from ..results.robustness import Robustness
from ..results.scores import (
    HEADLINES,
    MULTI,
    SECOND,
    SHARES,
    SINGLE,
    LinearProbes,
    Quantity,
    Sampling,
    SeedScores,
    Worth,
)
from ..results.strategies import StrategyComparison
from ..statistics.probe_scores import describe_shots

LISTED = 5  # unreadable tracks that are named


def format_scores(scores: dict[str, Any]) -> str:
    """Format the contents of scores.json.

    Args:
        scores: What `evaluate_model` returns.

    Returns:
        Lines with the scores of each benchmark and their 95 % intervals, remarks, and comparisons with other models.
    """
    names = HEADLINES[scores["model"]["problem"]]
    head = (
        "on",
        "n",
        "skipped",
        *(name[0].lower() + name[1:] if name[1].islower() else name for name in names.values()),
    )
    rows = [
        (entry["name"], str(entry["n"]), str(entry["skipped"]), *(format_score(key, entry[key]) for key in names))
        for entry in scores["benchmarks"]
    ]
    remarks = [line for entry in scores["benchmarks"] for line in _remarks(entry)]
    return "\n".join([*align_columns([head, *rows]), *remarks, *_compared(scores)])


def format_score(metric: str, figure: dict[str, Any] | None, signed: bool = False) -> str:
    """Format a score with its interval: "84.6% [82.0%, 87.1%]" or "6.10 [5.20, 7.40]".

    Args:
        metric: The metric's key in scores.json.
        figure: Its value, low and high bound; None is formatted as "-".
        signed: Whether it is a difference: "+2.1 pp [-0.4 pp, +4.5 pp]", in percentage points.
    """
    if figure is None:
        return "-"

    def format_value(value: float) -> str:
        if metric not in SHARES:
            return f"{value:+.2f}" if signed else f"{value:.2f}"
        return f"{100 * value:+.1f} pp" if signed else f"{value:.1%}"

    value, *bounds = (figure[key] for key in ("value", "low", "high"))
    return format_value(value) if None in bounds else f"{format_value(value)} [{', '.join(map(format_value, bounds))}]"


def format_ablation(ablation: Ablation) -> str:
    """Format an ablation: a block for each split or benchmark, a line for each cell."""
    lines = []
    for place in ablation.places:
        figures = ablation.cells[0].scores[place]
        key = shown_metric(ablation.problem, figures, ablation.metric)
        second = _second(ablation.problem, key, figures)
        rows = [("cell", "rows", *_score_heads(ablation.problem, key, second), "difference", "p (Holm)")]
        for cell in ablation.cells:
            score = cell.scores[place]
            test = next(
                (d for d in ablation.differences if (d.cell, d.benchmark, d.metric) == (cell.name, place, key)), None
            )
            step = ("", "") if test is None else (f"{test.difference.value:+.3f}", f"{test.p_holm:.3f}")
            rows.append((cell.name, str(cell.train_rows), *_cells(score[key], score.get(second or "")), *step))
        sampling = ablation.sampling.get(place)
        lines += [f"{place}" + ("" if place == OWN else f", n = {figures[key].mean.n}{_over(sampling)}")]
        lines += [*align_columns(rows), ""]
    for one in ablation.probes:
        lines += [f"linear probes on real tracks of {one.benchmark}, {one.embedder}"]
        lines += [*_format_probes(one.probes, ablation.problem), ""]
    return "\n".join([*lines, *ablation.notes]).rstrip()


def format_robustness(robustness: Robustness) -> str:
    """Format robustness: the first score of the clean tracks, then at each level of each damage."""
    key = next(key for key in HEADLINES[robustness.problem] if robustness.clean.get(key) is not None)
    rows = [
        ("damage", HEADLINES[robustness.problem][key], "difference", "p (Holm)"),
        ("clean", _amount(key, robustness.clean[key])),
    ]
    for level in robustness.levels:
        drop = next((entry for entry in level.drops if entry.metric == key), None)
        more = ("", "") if drop is None else (_amount(key, drop.difference, signed=True), f"{drop.p_holm:.3f}")
        rows.append((f"{level.kind} {level.level:g} {level.unit}", _amount(key, level.figures[key]), *more))
    return "\n".join(
        [f"{robustness.benchmark}, n = {robustness.n}, {len(robustness.skips)} skipped", *align_columns(rows)]
    )


def format_strategies(comparison: StrategyComparison) -> str:
    """Format training strategies, the best first: the first score, and its difference to the next strategy."""
    key = comparison.metric
    second = _second(comparison.problem, key, comparison.strategies[0].figures)
    rows = [("strategy", *_score_heads(comparison.problem, key, second), "minus next", "p (Holm)")]
    steps = {(one.strategy, one.other): one for one in comparison.differences}
    for place, one in enumerate(comparison.strategies):
        following = comparison.strategies[place + 1].name if place + 1 < len(comparison.strategies) else ""
        step = steps.get((one.name, following))
        last = ("", "") if step is None else (f"{step.difference.value:+.3f}", f"{step.p_holm:.3f}")
        rows.append((one.name, *_cells(one.figures[key], one.figures.get(second or "")), *last))
    shots = "" if comparison.shots is None else f", {format_count(comparison.shots, 'real track')} for each label"
    runs = format_count(len(comparison.seeds), "training run")
    head = f"test part of {comparison.target}, n = {comparison.n}{_over(comparison.sampling)}, {runs} each{shots}"
    return "\n".join([head, *align_columns(rows), *comparison.notes])


def _format_probes(probes: LinearProbes, problem: str) -> list[str]:
    """Return a line for each number of real tracks: balanced accuracy and accuracy."""
    key = SECOND[problem]
    second = _second(problem, key, probes.points[0].scores)
    rows = [("tracks a label", "tracks", *_score_heads(problem, key, second))]
    for point in probes.points:
        cells = _cells(point.scores[key], point.scores.get(second or ""))
        rows.append((str(point.shots), f"{point.rows:.0f}", *cells))
    return align_columns(rows)


def shown_metric(problem: str, figures: Mapping[str, SeedScores], wanted: str | None = None) -> str:
    """Return the metric to show: the one that is wanted if it is there, else the first of the problem."""
    return next(key for key in (wanted or "", *HEADLINES[problem]) if key in figures)


def _second(problem: str, shown: str, figures: Mapping[str, SeedScores]) -> str | None:
    """Return the metric that is shown beside another: balanced accuracy, or accuracy beside it."""
    keys = (SECOND.get(problem), next(iter(HEADLINES[problem])) if shown in SECOND.values() else None)
    return next((key for key in keys if key != shown and key in figures), None)


def _score_heads(problem: str, key: str, second: str | None) -> tuple[str, ...]:
    """Return the heads of the columns that `_cells` fills."""
    names = HEADLINES[problem]
    return (names[key], "95 % interval", "sd of seeds", *([names[second], "95 % interval"] if second else ()))


def _over(sampling: Sampling | None) -> str:
    """Return over what intervals are, where that is artists."""
    return f", intervals over {sampling.describe()}" if sampling and sampling.over == "artists" else ""


def _remarks(entry: dict[str, Any]) -> list[str]:
    """Return remarks on a benchmark: its most common error, what was left out, and what was skipped."""
    skips = [f"skipped {skip['id']}: {skip['reason']}" for skip in entry["skips"][:LISTED]]
    if (more := len(entry["skips"]) - LISTED) > 0:
        skips.append(f"skipped {more} more; all are in scores.json")
    weakest = _weakest(entry)
    lines = [*([weakest] if weakest else []), *_sampling(entry), *_probed(entry), *entry["notes"], *skips]
    return [f"\n{entry['name']}", *(f"  {line}" for line in lines)] if lines else []


def _sampling(entry: dict[str, Any]) -> list[str]:
    """Return remarks on the intervals: that they are over artists, and which are exact."""
    sampling = Sampling.model_validate(entry["sampling"])
    names = [name.lower() for key, name in HEADLINES[entry["problem"]].items() if key in sampling.exact]
    exact = [f"Clopper-Pearson intervals, as no resample changes them: {', '.join(names)}"] if names else []
    return [*([f"intervals over {sampling.describe()}"] if sampling.over == "artists" else []), *exact]


def _probed(entry: dict[str, Any]) -> list[str]:
    """Return remarks on linear probes: their scores, and how many real tracks give the model's score."""
    probes = entry.get("probes")
    if probes is None:
        return []
    key = SECOND[SINGLE]
    name = HEADLINES[SINGLE][key].lower()
    lines = [
        f"{describe_shots(point['shots'])}: {name} {format_score(key, point['scores'][key]['mean'])}"
        for point in probes["points"]
    ]
    if probes["worth"] is not None:
        tracks = Worth.model_validate(probes["worth"]).describe()
        lines.append(f"worth {tracks} real tracks of each label: a linear probe on them has the same {name}")
    return lines


def _weakest(entry: dict[str, Any]) -> str | None:
    """Return a remark on the most common error."""
    if entry["problem"] == SINGLE:
        pair = entry["worst_pair"]
        return pair and (
            f"most common confusion: {pair['truth']} predicted as {pair['predicted']}, "
            f"{format_count(pair['count'], 'track')}, {pair['share']:.0%} of them"
        )
    if entry["problem"] == MULTI:
        tags = [tag for tag in entry["per_tag"] if tag["average_precision"]]
        worst = min(tags, key=lambda tag: tag["average_precision"]["value"])
        least = worst["average_precision"]["value"]
        return f"lowest average precision: {worst['label']}, {least:.1%}"
    octaves = entry["octaves"]
    return octaves and (
        f"predicted at twice the true tempo: {format_count(octaves['double'], 'track')}; "
        f"at half of it: {octaves['half']}"
    )


def _compared(scores: dict[str, Any]) -> list[str]:
    if not scores["comparisons"]:
        return []
    names = HEADLINES[scores["model"]["problem"]]
    head = ("on", "against", "metric", "difference", "p", "p (Holm)")
    return [
        "",
        *align_columns(
            [
                head,
                *(
                    (
                        *(entry["benchmark"], entry["against"], names[entry["metric"]]),
                        format_score(entry["metric"], entry["difference"], signed=True),
                        *(f"{entry[key]:.2g}" for key in ("p", "p_holm")),
                    )
                    for entry in scores["comparisons"]
                ),
            ]
        ),
    ]


def _cells(figure: SeedScores, second: SeedScores | None) -> tuple[str, ...]:
    """Return cells of a table: mean, 95 % interval, spread over trainings; the second score's mean and interval."""
    spread = f"{np.std(figure.seeds, ddof=1):.3f}" if len(figure.seeds) > 1 else "-"
    more = () if second is None else (f"{second.mean.value:.3f}", _interval(second))
    return f"{figure.mean.value:.3f}", _interval(figure), spread, *more


def _interval(figure: SeedScores) -> str:
    return "-" if figure.mean.low is None else f"[{figure.mean.low:.3f}, {figure.mean.high:.3f}]"


def _amount(key: str, figure: Quantity | None, signed: bool = False) -> str:
    return format_score(key, None if figure is None else figure.model_dump(), signed)
