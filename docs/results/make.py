"""Measure models of synthetic clips on real recordings, and write the page of results: figures, pictures and text.

python docs/results/make.py REAL [--work DIR] [--only STEP ...] [--quick]
python docs/results/make.py            # writes the page again from the figures

REAL is a folder of recordings, REAL/<genre>/*, with a table of their artists (docs/guides/own_recordings.md). Nothing
of it is copied: the results hold numbers alone. Corpora, embeddings and models are kept in the folder --work, so that
a run that was stopped resumes.

Steps: `embedders` (each with and without the target's statistics, beside linear probes on real tracks), `strategies`
(the six ways to use real tracks), `ablations` (prompts, vocals, instruments) and `sizes` (the learning curve).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

METRIC, PLACE = "balanced_accuracy", "real recordings"
SHOTS = (1, 2, 4, 8, 16, "all")
ABLATIONS = {
    "prompts.strategy": ["template", "repeat", "tags"],
    "prompts.vocals": ["unspecified", "instrumental", "with-vocals"],
    "prompts.instrumentation": [True, False],
}
VALIDATION_SHARE = 0.1
Figures = dict[str, Any]


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("real", nargs="?", type=Path, help="the folder of recordings; without it only the page")
    parser.add_argument("--work", type=Path, default=Path("runs/results"), help="corpora, embeddings and models")
    parser.add_argument("--out", type=Path, default=HERE, help="figures, pictures and page")
    parser.add_argument("--only", nargs="+", choices=list(STEPS), default=list(STEPS), help="these steps")
    parser.add_argument("--recipe", default="demo")
    parser.add_argument("--embedders", nargs="+", default=["melstats", "musicnn"])
    parser.add_argument("--seeds", type=int, default=10, help="trainings of each model")
    parser.add_argument("--sizes", nargs="+", type=int, default=[100, 300, 1_000, 3_000], help="clips, up to 10000")
    parser.add_argument("--quick", action="store_true", help="few short clips and 2 seeds: to try this script")
    options = parser.parse_args(arguments)
    if options.quick:
        options.seeds, options.sizes = min(options.seeds, 2), [15, 30, 60]
    return options


def load_recipe(options: argparse.Namespace, **values: Any) -> Any:
    """Return the recipe that every step starts from, with some values changed (`prompts__per_genre` for a dot)."""
    from builder.api import read_recipe

    quick = {"prompts.per_genre": 16, "generator.seconds": 3, "evaluation.bootstrap": 200} if options.quick else {}
    return read_recipe(options.recipe).with_values(
        quick | {key.replace("__", "."): value for key, value in values.items()}
    )


def run_ablation(options: argparse.Namespace, step: str, recipe: Any, vary: dict[str, Sequence[Any]]) -> Any:
    """Run an ablation on the recordings, with the corpora and the embedded recordings of all steps."""
    import synthmir
    from evaluation.results.ablation import Ablation

    folder = options.work / step
    for shared in ("corpora", "benchmarks"):
        (options.work / shared).mkdir(parents=True, exist_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / shared).exists():
            (folder / shared).symlink_to((options.work / shared).resolve())
    done: Ablation = synthmir.ablate(
        recipe, folder, vary=vary, seeds=options.seeds, on=[f"folder:{options.real}"], metric=METRIC
    )
    return _rename_place(done)


def _rename_place(ablation: Any) -> Any:
    """An ablation with its scores on the recordings alone, without their path."""
    real = ablation.places[-1]
    cells = [cell.model_copy(update={"scores": {PLACE: cell.scores[real]}}) for cell in ablation.cells]
    differences = [
        one.model_copy(update={"benchmark": PLACE}) for one in ablation.differences if one.benchmark == real
    ]
    probes = [one.model_copy(update={"benchmark": PLACE}) for one in ablation.probes]
    sampling = {PLACE: ablation.sampling[real]}
    update = {"places": [PLACE], "cells": cells, "differences": differences, "probes": probes, "sampling": sampling}
    return ablation.model_copy(update={**update, "notes": []})


def describe_ablation(ablation: Any, command: str) -> Figures:
    """Return the figures of an ablation."""
    differences = {(one.cell, one.metric): one for one in ablation.differences}
    rows = [
        {
            "name": cell.name,
            "values": cell.values,
            "clips": cell.train_rows,
            "scores": {key: score.model_dump(mode="json") for key, score in cell.scores[PLACE].items()},
            "difference": _describe_difference(differences.get((cell.name, METRIC))),
        }
        for cell in ablation.cells
    ]
    probes = {
        one.embedder: {
            "points": [point.model_dump(mode="json") for point in one.probes.points],
            "draws": one.probes.draws,
            "folds": one.probes.folds,
        }
        for one in ablation.probes
    }
    return _describe_run(ablation.record, command) | {
        "n": ablation.cells[0].scores[PLACE][METRIC].mean.n,
        "intervals": ablation.sampling[PLACE].describe(),
        "seeds": ablation.seeds,
        "rows": rows,
        "probes": probes,
    }


def describe_strategies(comparison: Any, command: str) -> Figures:
    """Return the figures of a comparison of strategies: its difference is to the next strategy."""
    order = [one.name for one in comparison.strategies]
    steps = {(one.strategy, one.other): one for one in comparison.differences}
    rows = [
        {
            "name": one.name,
            "rows": one.rows,
            "scores": {key: score.model_dump(mode="json") for key, score in one.figures.items()},
            "difference": _describe_difference(steps.get((one.name, following))),
        }
        for one, following in zip(comparison.strategies, [*order[1:], ""], strict=True)
    ]
    return _describe_run(comparison.record, command) | {
        "n": comparison.n,
        "intervals": comparison.sampling.describe(),
        "seeds": len(comparison.seeds),
        "rows": rows,
    }


def _describe_difference(one: Any) -> dict[str, Any] | None:
    return one and {**one.difference.model_dump(mode="json"), "p_holm": one.p_holm}


def _describe_run(record: dict[str, Any], command: str) -> Figures:
    kept = {key: record[key] for key in ("started", "wall_seconds", "device", "versions")}
    return {"command": command, **kept}


def measure_embedders(options: argparse.Namespace) -> Iterator[tuple[str, Figures]]:
    """Each embedder with and without calibration on the recordings, beside linear probes on real tracks."""
    from evaluation.reporting.plots import plot_probes
    from evaluation.reporting.result_plots import plot_ablation
    from evaluation.statistics.probe_scores import estimate_worth

    vary = {"embedder.name": options.embedders, "evaluation.calibrate": [None, "benchmark"]}
    ablation = run_ablation(options, "embedders", load_recipe(options, evaluation__probe=list(SHOTS)), vary)
    _write_picture(options, "embedders", plot_ablation(ablation))
    command = (
        f"synthmir ablate {options.recipe} --vary embedder.name={','.join(options.embedders)} "
        f"--vary evaluation.calibrate=null,benchmark --probe {','.join(map(str, SHOTS))}"
    )
    figures = describe_ablation(ablation, _complete(command, options))
    for embedder, probes in figures["probes"].items():
        labels = len(load_recipe(options).labels.genres)
        points = next(one.probes.points for one in ablation.probes if one.embedder == embedder)
        models = [row for row in figures["rows"] if row["values"]["embedder.name"] == embedder]
        for row in models:
            value = row["scores"][METRIC]["mean"]["value"]
            row["worth"] = estimate_worth([point.rows / labels for point in points], points, value).describe()
        best = max(models, key=lambda row: row["scores"][METRIC]["mean"]["value"])
        _write_picture(options, f"probes-{embedder}", plot_probes(probes, best["scores"][METRIC]["mean"], labels))
    yield "embedders", figures


def measure_strategies(options: argparse.Namespace) -> Iterator[tuple[str, Figures]]:
    """The six strategies, with each embedder."""
    import synthmir
    from evaluation.reporting.result_plots import plot_strategies

    for embedder in options.embedders:
        recipe = load_recipe(options, embedder__name=embedder)
        corpus = options.work / "corpora" / _corpus_name(recipe)
        synthmir.build(recipe, corpus)
        synthmir.embed(corpus, embedder)
        comparison = synthmir.compare(
            corpus, f"folder:{options.real}", options.work / f"strategies-{embedder}", seeds=range(options.seeds),
            metric=METRIC, embedder=embedder,
        ).model_copy(update={"target": PLACE})  # fmt: skip
        _write_picture(options, f"strategies-{embedder}", plot_strategies(comparison))
        command = (
            f"synthmir compare CORPUS --target folder:REAL --embedder {embedder} --metric {METRIC} "
            f"--seeds 0..{options.seeds - 1} --out DIR"
        )
        yield f"strategies-{embedder}", describe_strategies(comparison, command)


def _corpus_name(recipe: Any) -> str:
    """The name that an ablation gives a corpus, so that it is built once."""
    return f"{recipe.fingerprint()}-{recipe.split.validation:g}-{recipe.split.seed}"


def measure_ablations(options: argparse.Namespace) -> Iterator[tuple[str, Figures]]:
    """Prompts, vocals and instruments, with each embedder."""
    from evaluation.reporting.result_plots import plot_ablation

    for embedder in options.embedders:
        for key, values in ABLATIONS.items():
            name = f"{key.partition('.')[2]}-{embedder}"
            ablation = run_ablation(options, name, load_recipe(options, embedder__name=embedder), {key: values})
            _write_picture(options, name, plot_ablation(ablation))
            listed = ",".join(str(value).lower() for value in values)
            command = f"synthmir ablate {options.recipe} --vary {key}={listed}"
            yield name, describe_ablation(ablation, _complete(command, options, f"embedder.name: {embedder}"))


def measure_sizes(options: argparse.Namespace) -> Iterator[tuple[str, Figures]]:
    """The learning curve over the number of clips, with each embedder."""
    from evaluation.reporting.result_plots import plot_ablation

    labels = len(load_recipe(options).labels.genres)
    per_genre = -(-round(1.02 * max(options.sizes) / (1 - VALIDATION_SHARE)) // labels) + 1
    for embedder in options.embedders:
        name = f"sizes-{embedder}"
        recipe = load_recipe(
            options, embedder__name=embedder, prompts__per_genre=per_genre, split__validation=VALIDATION_SHARE
        )
        ablation = run_ablation(options, name, recipe, {"training.clips": options.sizes})
        _write_picture(options, name, plot_ablation(ablation))
        command = f"synthmir ablate {options.recipe} --vary training.clips={','.join(map(str, options.sizes))}"
        changed = f"embedder.name: {embedder}, prompts.per_genre: {per_genre}"
        yield name, describe_ablation(ablation, _complete(command, options, changed))


def _complete(command: str, options: argparse.Namespace, changed: str = "") -> str:
    """A command with the options that all ablations share, below the keys of the recipe that were changed for it."""
    comment = f"# {options.recipe} with {changed}\n" if changed else ""
    return f"{comment}{command} --on folder:REAL --metric {METRIC} --seeds {options.seeds} --out DIR"


def _write_picture(options: argparse.Namespace, name: str, picture: bytes) -> None:
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{name}.svg").write_bytes(picture)


STEPS: dict[str, Callable[[argparse.Namespace], Iterator[tuple[str, Figures]]]] = {
    "embedders": measure_embedders,
    "strategies": measure_strategies,
    "ablations": measure_ablations,
    "sizes": measure_sizes,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the steps that are asked for, and write the page from all figures that there are."""
    sys.path.insert(0, str(HERE))
    from page import render_page

    options = parse_options(arguments)
    for step in options.only if options.real else ():
        for name, figures in STEPS[step](options):
            text = json.dumps({"schema": 1, **figures}, indent=2, ensure_ascii=False)
            (options.out / f"{name}.json").write_text(f"{text}\n", encoding="utf-8")
            (options.out / "index.md").write_text(render_page(options.out), encoding="utf-8")
    (options.out / "index.md").write_text(render_page(options.out), encoding="utf-8")
    print(options.out / "index.md")


if __name__ == "__main__":
    main()
