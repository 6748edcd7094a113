"""Which layer of musicnn's models is the embedding: synthetic clips alone, scored on real recordings.

uv run perf/musicnn_layers.py REAL [--clips 250] [--quick] [--work FILE] [--json FILE] [--markdown FILE]

REAL is a folder of recordings `<genre>/*` with a table SOURCE.tsv (columns: file, artist). The clips are those of the
demo's recipe. A logistic regression on a layer's means over windows, standardised, is trained ten times on 80 % of the
clips each; intervals are over artists. The ceiling is the same classifier trained on the recordings, ten-fold, with no
artist on both sides. Only the first 15 seconds of a recording are read.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import table
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from builder.audio import load_audio
from builder.corpus.building.plan import plan_clips
from builder.embedders.musicnn import MUSICNN_MODELS, MUSICNN_WINDOW, Musicnn
from builder.embedders.windows import cut_windows
from builder.generators.base import load_generator
from builder.recipe import Recipe
from builder.resampling import resample
from builder.settings import EmbedderSettings

ROOT = Path(__file__).parents[1]
RATE = Musicnn.sampling_rate
SECONDS = 15  # of a recording
LAYERS = {  # name: the vectors that are concatenated
    "penultimate": ("penultimate",),
    "mean pool": ("mean_pool",),
    "max pool": ("max_pool",),
    "mean and max pool": ("mean_pool", "max_pool"),
    "last pool": ("embedding",),
    "tags (logits)": ("logits",),
}
STATISTICS = "target's statistics"
FEW = 10  # recordings: a genre with fewer is left out of the second score
Features = dict[str, np.ndarray]


def make_clips(count: int) -> Iterator[tuple[np.ndarray, str, str]]:
    """Render clips of the demo's recipe, equally many of each genre: audio at 16 kHz, genre and id."""
    recipe = Recipe.load(ROOT / "recipes" / "demo.yaml")
    genres: dict[str, list[Any]] = {}
    for clip in plan_clips(recipe):
        genres.setdefault(clip.prompt.genre, []).append(clip)
    generator = load_generator(recipe.generator, recipe.labels)
    turns = [clip for clip in chain.from_iterable(zip_longest(*genres.values())) if clip is not None]
    for clip in turns[:count]:
        audio = generator.generate([clip])[0]
        yield (
            resample(audio if audio.ndim == 1 else audio.mean(axis=1), generator.sampling_rate, RATE),
            clip.prompt.genre,
            clip.id,
        )


def read_recordings(folder: Path) -> Iterator[tuple[np.ndarray, str, str]]:
    """The recordings: audio at 16 kHz, genre and artist."""
    with (folder / "SOURCE.tsv").open(encoding="utf-8", newline="") as handle:
        for line in csv.DictReader(handle, delimiter="\t"):
            audio = load_audio(folder / line["file"], RATE)[: SECONDS * RATE]
            yield audio, Path(line["file"]).parts[0], line["artist"] or line["file"]


def compute_features(clips: Iterator[tuple[np.ndarray, str, str]], models: dict[str, Musicnn]) -> Features:
    """The means over windows of every model's vectors by "MODEL/LAYER", with "genre" and "group" (id or artist)."""
    found: dict[str, list[Any]] = {}
    for audio, genre, group in clips:
        windows = [np.resize(window, MUSICNN_WINDOW) for window in cut_windows([audio], MUSICNN_WINDOW)]
        for arch, model in models.items():
            layers = [model.layers(torch.from_numpy(window)) for window in windows]
            for name in (name for name, layer in layers[0].items() if layer.ndim == 1):
                mean = torch.stack([window[name] for window in layers]).mean(dim=0)
                found.setdefault(f"{arch}/{name}", []).append(mean.numpy())
        found.setdefault("genre", []).append(genre)
        found.setdefault("group", []).append(group)
    return {name: np.array(values) for name, values in found.items()}


def balanced_accuracy(predicted: np.ndarray, genre: np.ndarray, genres: list[str]) -> float:
    """The mean of the genres' recalls."""
    return float(np.mean([(predicted[genre == one] == one).mean() for one in genres if (genre == one).any()]))


def fit(x: np.ndarray, genre: np.ndarray, **more: Any) -> Any:
    """A logistic regression on standardised features."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500, **more)).fit(x, genre)


def find_interval(predictions: list[np.ndarray], real: Features, genres: list[str]) -> tuple[float, float]:
    """The 95 % interval of the score: a bootstrap over artists."""
    rng, artists = np.random.default_rng(0), [np.flatnonzero(real["group"] == one) for one in np.unique(real["group"])]
    scores = []
    for _ in range(300):
        rows = np.concatenate([artists[i] for i in rng.integers(0, len(artists), len(artists))])
        scores.append(np.mean([balanced_accuracy(p[rows], real["genre"][rows], genres) for p in predictions]))
    low, high = np.quantile(scores, (0.025, 0.975))
    return float(low), float(high)


def score_layer(names: list[str], synthetic: Features, real: Features, seeds: int) -> dict[str, Any]:
    """The scores of one layer or several together."""
    x, y = (np.concatenate([part[name] for name in names], axis=1) for part in (synthetic, real))
    genres = [str(genre) for genre in np.unique(real["genre"])]
    many = [genre for genre in genres if (real["genre"] == genre).sum() >= FEW]
    predictions, aligned, ceilings = [], [], []
    own = (y - y.mean(axis=0)) / (y.std(axis=0) + 1e-9)
    for seed in range(seeds):
        rows = np.random.default_rng(seed).permutation(len(x))[: round(0.8 * len(x))]
        model = fit(x[rows], synthetic["genre"][rows])
        predictions.append(model.predict(y))
        aligned.append(model[-1].predict(own))
    for seed in range(min(seeds, 3)):
        predicted = np.empty_like(real["genre"])
        folds = StratifiedGroupKFold(10, shuffle=True, random_state=seed)
        for train, test in folds.split(y, real["genre"], real["group"]):
            predicted[test] = fit(y[train], real["genre"][train], class_weight="balanced").predict(y[test])
        ceilings.append(predicted)

    def score(predictions: list[np.ndarray], genres: list[str]) -> float:
        return float(np.mean([balanced_accuracy(one, real["genre"], genres) for one in predictions]))

    return {
        "dimension": x.shape[1],
        "synthetic": score(predictions, genres),
        "interval": find_interval(predictions, real, genres),
        "synthetic, genres with many": score(predictions, many),
        STATISTICS: score(aligned, genres),
        f"{STATISTICS}, genres with many": score(aligned, many),
        "ceiling": score(ceilings, genres),
        "ceiling, genres with many": score(ceilings, many),
    }


def write_markdown(file: Path, scores: list[dict[str, Any]], synthetic: Features, real: Features) -> None:
    """Write the table."""
    names, counts = np.unique(real["genre"], return_counts=True)
    recordings = ", ".join(f"{name} {count}" for name, count in zip(names, counts, strict=True))
    few = [str(name) for name, count in zip(names, counts, strict=True) if count < FEW]
    lines = [
        "# Which layer of musicnn is the embedding",
        "",
        f"Balanced accuracy on {len(real['genre'])} recordings ({recordings}) of a logistic regression, trained on "
        f"{len(synthetic['genre'])} clips of the arranger and no recording. In brackets: "
        "a 95 % interval over artists. "
        + (f"After the semicolon: without {', '.join(few)}, of which there are fewer than {FEW}. " if few else "")
        + "The last column is trained on the recordings themselves, ten-fold, with no artist on both sides. "
        "Written by `perf/musicnn_layers.py REAL --markdown FILE`.",
        "",
        "| model | layer | dimension | synthetic only | with the target's statistics | trained on the recordings |",
        "|---|---|---:|---|---|---|",
    ]
    for one in scores:
        low, high = one["interval"]
        cells = [f"{one['synthetic']:.3f} [{low:.2f}, {high:.2f}]", f"{one[STATISTICS]:.3f}", f"{one['ceiling']:.3f}"]
        if few:
            others = [one[f"{key}, genres with many"] for key in ("synthetic", STATISTICS, "ceiling")]
            cells = [f"{cell}; {other:.3f}" for cell, other in zip(cells, others, strict=True)]
        lines.append(f"| {' | '.join([one['model'], one['layer'], str(one['dimension']), *cells])} |")
    file.write_text("\n".join([*lines, "", table.described(), ""]), encoding="utf-8")


def main() -> None:
    parser = table.make_parser(__doc__)
    parser.add_argument("real", type=Path, metavar="REAL")
    parser.add_argument("--clips", type=int, default=250)
    parser.add_argument(
        "--work", type=Path, metavar="FILE", help="keep the features there (.npz), and read them again"
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write a table there")
    options = parser.parse_args()
    count, seeds = (20, 2) if options.quick else (options.clips, 10)
    if options.work is not None and options.work.is_file():
        kept = np.load(options.work, allow_pickle=False)
        synthetic, real = ({k[2:]: kept[k] for k in kept if k.startswith(side)} for side in ("s/", "r/"))
    else:
        if not (options.real / "SOURCE.tsv").is_file():
            parser.error(f"{options.real}: has no table SOURCE.tsv")
        torch.set_num_threads(1)
        models = {arch: Musicnn(EmbedderSettings(name="musicnn", arch=arch, device="cpu")) for arch in MUSICNN_MODELS}
        real = compute_features(read_recordings(options.real), models)
        synthetic = compute_features(make_clips(count), models)
        if options.work is not None:
            parts = {f"s/{k}": v for k, v in synthetic.items()} | {f"r/{k}": v for k, v in real.items()}
            np.savez(options.work, allow_pickle=False, **parts)
    scores = []
    for arch in MUSICNN_MODELS:
        for layer, parts in LAYERS.items():
            if names := [name for part in parts if (name := f"{arch}/{part}") in real]:
                scores.append({"model": arch, "layer": layer, **score_layer(names, synthetic, real, seeds)})
                print(json.dumps(scores[-1]), flush=True)
    if options.json is not None:
        table.save(options.json, "musicnn_layers", scores)
    if options.markdown is not None:
        write_markdown(options.markdown, scores, synthetic, real)


if __name__ == "__main__":
    main()
