"""Plant wrong labels and find them; train on filtered and on unfiltered clips and score both on real recordings.

python docs/results/labels.py [--corpus DIR] [--real folder:PATH]
python docs/results/labels.py --page      # writes the page again from the figures

The corpus is `demo` with 200 clips in each genre. What is missing of it is built.
Nothing of the real recordings is copied: the results hold scores.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

RECIPE: dict[str, Any] = {
    "name": "demo",
    "prompts": {"strategy": "template", "per_genre": 200, "seed": 1},
    "generator": {"name": "arranger", "seconds": 10},
    "embedder": {"name": "musicnn"},
    "training": {"task": "genre", "head": "logistic"},
    "estimates": ["tempo", "key", "silence", "tags"],
}
PLANTED = (0.05, 0.1, 0.2)
DRAWS = 20
CLIPS = 500  # of the corpus, evenly from all genres, that wrong labels are planted in
TRAINED = 540  # clips of each training: as many as the strictest filter keeps
SEEDS = 3
VARIED: dict[str, list[Any]] = {  # musicnn has no tag that means orchestral, so that no estimate can judge that genre
    "training.where": [
        None,
        "agrees.genre or genre == 'orchestral'",
        "agrees.genre_rank <= 2 or genre == 'orchestral'",
    ],
    "training.weight": [None, "agreement"],
}


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=Path("runs/labels/corpus"), help="the corpus")
    parser.add_argument("--real", help="folder:PATH, real recordings to score on; default: plant wrong labels alone")
    parser.add_argument("--out", type=Path, default=HERE, help="figures and page")
    parser.add_argument("--page", action="store_true", help="write the page again, measure nothing")
    return parser.parse_args(arguments)


def make_corpus(root: Path) -> None:
    """Build and embed the corpus, or what is missing of it."""
    import synthmir

    synthmir.build(RECIPE, root, workers=1, progress=False)
    synthmir.embed(root, progress=False)


def plant_labels(root: Path) -> dict[str, Any]:
    """Plant wrong genres in clips of a corpus, and find them."""
    from builder.embedders.embedded_dataset import open_dataset
    from builder.records import record_run
    from evaluation.label_noise.folds import assign_folds, predict_out_of_fold
    from evaluation.label_noise.measure import find_noisy_labels

    dataset = open_dataset(root, "musicnn")
    rows = dataset.rows()
    column = dataset.labels("genre", rows)
    names = sorted(set(column.by_name()))
    labels = np.array([names.index(name) for name in column.by_name()])
    groups = [group or identity for group, identity in zip(dataset.groups(rows), dataset.ids(rows), strict=True)]
    rng = np.random.default_rng(0)
    each = CLIPS // len(names)
    chosen = np.sort(
        np.concatenate([rng.permutation(np.flatnonzero(labels == code))[:each] for code in range(len(names))])
    )
    embeddings, truth = dataset.embeddings(rows)[chosen], labels[chosen]
    groups = [groups[row] for row in chosen]

    def find(given: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
        folds = assign_folds(given, groups, 5, seed)
        probabilities = predict_out_of_fold(embeddings, given, folds, len(names))
        found = find_noisy_labels(given, probabilities)
        return found.order, np.flatnonzero(probabilities.argmax(axis=1) != given), float(1 - np.trace(found.joint))

    with record_run("label-noise") as record:
        order, other, noise = find(truth, 0)
        before = set(order.tolist())
        unplanted = {"doubtful": len(order), "mispredicted": len(other), "noise": noise}
        levels = []
        for share in PLANTED:
            draws = []
            for draw in range(DRAWS):
                rng = np.random.default_rng(draw)
                wrong = rng.permutation(len(truth))[: round(share * len(truth))]
                given = truth.copy()
                given[wrong] = (truth[wrong] + rng.integers(1, len(names), len(wrong))) % len(names)
                order, other, noise = find(given, draw)
                draws.append({
                    "precision": _hits(order, wrong) / max(1, len(order)),
                    "precision_of_new": _hits(order, wrong) / max(1, len(set(order.tolist()) - (before - set(wrong)))),
                    "recall": _hits(order, wrong) / len(wrong),
                    "precision_of_first": _hits(order[: len(wrong)], wrong) / len(wrong),
                    "doubtful": len(order),
                    "mispredicted_precision": _hits(other, wrong) / max(1, len(other)),
                    "mispredicted_recall": _hits(other, wrong) / len(wrong),
                    "noise": noise,
                })  # fmt: skip
            means = {key: _spread([draw[key] for draw in draws]) for key in draws[0]}
            levels.append({"planted": share, "wrong": round(share * len(truth)), "draws": DRAWS, **means})
        record.rows = len(truth)
    return {"clips": len(truth), "unplanted": unplanted, "levels": levels, "device": record.device}


def _hits(found: np.ndarray, wrong: np.ndarray) -> int:
    return len(set(found.tolist()) & set(wrong.tolist()))


def _spread(values: list[float]) -> dict[str, float]:
    """The mean of draws, and the range of 95 % of them."""
    low, high = np.percentile(values, [2.5, 97.5])
    return {"value": float(np.mean(values)), "low": float(low), "high": float(high)}


def compare_filters(real: str, work: Path) -> dict[str, Any]:
    """Train on clips that each filter keeps, at equal size, and score all models on the same real recordings."""
    import synthmir

    recipe = {**RECIPE, "training": {**RECIPE["training"], "clips": TRAINED}}
    ablation = synthmir.ablate(recipe, work, vary=VARIED, seeds=SEEDS, on=[real], metric="balanced_accuracy",
                               workers=1, progress=False)  # fmt: skip
    return {"clips": TRAINED, "ablation": ablation.model_dump(mode="json", by_alias=True)}


def format_page(figures: dict[str, Any]) -> str:
    """The page, from the figures alone."""
    return "\n".join(["# Labels", "", *_format_planted(figures["planted"])]) + "\n"


def _share(figure: dict[str, float]) -> str:
    return f"{figure['value']:.1%} [{100 * figure['low']:.1f}, {100 * figure['high']:.1f}]"


def _format_planted(planted: dict[str, Any]) -> Iterator[str]:
    unplanted = planted["unplanted"]
    yield (
        f"## Wrong labels, planted and found\n\n{planted['clips']} clips of the arranger, five genres, musicnn "
        "embeddings. "
        f"Some clips get the genre of another one, and `synthmir label-noise` looks for them; mean of {DRAWS} draws, "
        "in brackets the range of 95 % of them. "
        f"Before anything is planted, {unplanted['doubtful']} clips are doubtful and the noise is estimated as "
        f"{unplanted['noise']:.1%}: these sound like another genre, and count as false alarms here, which bounds the "
        "precision. The classifiers' penalty was chosen on one draw of 10 % in clips of the same recipe. "
        f" Machine: {planted['device']}. Written by `docs/results/labels.py`.\n"
    )
    yield (
        "| planted | precision | without those doubtful before | recall | of as many clips as were planted, "
        "the most doubtful: wrong | doubtful clips "
        "| estimated noise |"
    )
    yield "|---|---|---|---|---|---:|---|"
    for level in planted["levels"]:
        cells = [_share(level[key]) for key in ("precision", "precision_of_new", "recall", "precision_of_first")]
        yield (
            f"| {level['planted']:.0%} ({level['wrong']} clips) | {' | '.join(cells)} | "
            f"{level['doubtful']['value']:.0f} | {_share(level['noise'])} |"
        )
    yield (
        "\nBeside it, the clips that out-of-fold predictions call something else, without confident learning:\n\n"
        "| planted | precision | recall |\n|---|---|---|"
    )
    for level in planted["levels"]:
        cells = [_share(level[key]) for key in ("mispredicted_precision", "mispredicted_recall")]
        yield f"| {level['planted']:.0%} | {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write labels.json and labels.md."""
    options = parse_options(arguments)
    file = options.out / "labels.json"
    figures: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if not options.page:
        make_corpus(options.corpus)
        figures["planted"] = plant_labels(options.corpus)
        file.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        if options.real is not None:
            figures["filtered"] = compare_filters(options.real, options.corpus.parent / "filtered")
            file.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (options.out / "labels.md").write_text(format_page(figures), encoding="utf-8")
    print(options.out / "labels.md")


if __name__ == "__main__":
    main()
