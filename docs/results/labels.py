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
VARIED: dict[str, list[Any]] = {  # musicnn has no tag that means orchestral, so that no estimate compares that genre
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
    text = json.dumps(ablation.model_dump(mode="json", by_alias=True))
    for private, public in ((real, "folder:recordings"), (f"{work.resolve()}/", ""), (f"{work}/", "")):
        text = text.replace(private, public)  # the places of files are those of one machine
    (root,) = (work / "corpora").iterdir()
    return {"clips": TRAINED, "kept": count_kept(root), "ablation": json.loads(text)}


def count_kept(root: Path) -> dict[str, dict[str, int]]:
    """How many training clips of each genre an expression keeps."""
    from builder.estimators.agreement import iterate_compared_rows
    from builder.estimators.where import Where

    wheres = [Where.parse(text) for text in VARIED["training.where"] if text is not None]
    kept: dict[str, dict[str, int]] = {where.text: {} for where in wheres}
    for row in iterate_compared_rows(root):
        if row["split"] == "train":
            for where in wheres:
                counts, genre = kept[where.text], row["asked"]["genre"]
                counts[genre] = counts.get(genre, 0) + where.matches(row)
    return {text: dict(sorted(counts.items())) for text, counts in kept.items()}


def format_page(figures: dict[str, Any]) -> str:
    """The page, from the figures alone."""
    lines = ["# Labels", "", *_format_planted(figures["planted"])]
    if figures.get("filtered"):
        lines += ["", *_format_filtered(figures["filtered"])]
    return "\n".join(lines) + "\n"


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


def _format_filtered(filtered: dict[str, Any]) -> Iterator[str]:
    ablation = filtered["ablation"]
    yield (
        "## Filtered and weighed against all clips\n\nEvery model is trained on as many clips of one corpus of the "
        f"arranger ({filtered['clips']} of 900), drawn by label from those that `where` keeps, by logistic regression "
        f"on musicnn embeddings; {ablation['seeds']} draws of each. `agrees` asks musicnn's tags, too. It has no "
        "tag for orchestral music, so that all clips of that genre may stay. In brackets: 95 % intervals over "
        "tracks or "
        "artists; differences to the first line are on the same tracks, p by Holm over all comparisons. "
        f"Machine: {ablation['record']['device']}.\n"
    )
    for place in ablation["places"]:
        if place == "own validation":
            continue  # all cells have one corpus, and one validation split
        first = ablation["cells"][0]["scores"][place]["balanced_accuracy"]["mean"]
        yield f"{_name_place(place)}, n = {first['n']}:\n"
        yield "| where | weight | balanced accuracy | difference | p |"
        yield "|---|---|---|---|---:|"
        for cell in ablation["cells"]:
            score = cell["scores"][place]["balanced_accuracy"]["mean"]
            found = [
                one
                for one in ablation["differences"]
                if (one["cell"], one["benchmark"], one["metric"]) == (cell["name"], place, "balanced_accuracy")
            ]
            more = ("", "")
            if found:
                step = found[0]["difference"]
                more = (
                    f"{100 * step['value']:+.1f} [{100 * step['low']:+.1f}, {100 * step['high']:+.1f}]",
                    f"{found[0]['p_holm']:.3f}",
                )
            where, weight = (cell["values"][f"training.{key}"] for key in ("where", "weight"))
            yield f"| {f'`{where}`' if where else '–'} | {weight or '–'} | {_share(score)} | {more[0]} | {more[1]} |"
        yield ""
    steps = [one for one in ablation["differences"] if one["metric"] == "balanced_accuracy"]
    clear = [one for one in steps if one["difference"]["low"] > 0 or one["difference"]["high"] < 0]
    better = [one for one in clear if one["difference"]["low"] > 0]
    yield (
        f"Of {len(steps)} differences {len(clear)} have an interval without 0, {len(better)} of them for the better. "
        "A filter also changes how many clips of each genre are left, and few of the real recordings are funk, so "
        "that the scores of a filter are uncertain. The arranger plays the tempo and the key that a prompt asks for: "
        "a tagger that disagrees may be the one that errs. For a neural generator measure it again: "
        "`synthmir ablate RECIPE --vary training.where=null,'\"agrees.genre\"'`.\n"
    )
    genres = list(next(iter(filtered["kept"].values())))
    yield f"| training clips that are kept | {' | '.join(genres)} |"
    yield f"|---|{'---:|' * len(genres)}"
    for where, counts in filtered["kept"].items():
        yield f"| `{where}` | {' | '.join(str(counts[genre]) for genre in genres)} |"


def _name_place(place: str) -> str:
    """What a place of an ablation is called, without the folder of the recordings."""
    return "Real recordings" if place.startswith("folder:") else "Validation clips"


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
