"""report.html: one page on a run, rendered from its files alone."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from builder.audio import load_audio
from builder.corpus.corpus import BUILD_RECORD, RECIPE, embed_record
from builder.corpus.schema import LONGEST
from builder.errors import DataError
from builder.io.atomic import write_bytes, write_text
from builder.io.safe_files import parse_json, read_record
from training.metrics import is_within

from ..fidelity.page import render_section
from ..inference.evaluated_model import read_validation
from ..rendering.html_page import html_environment
from ..results.fidelity import FILE as FIDELITY_FILE
from ..results.fidelity import Fidelity
from ..results.robustness import FILE as ROBUSTNESS
from ..results.robustness import Robustness
from ..results.scores import (
    HEADLINES,
    MULTI,
    REGRESSION,
    SHARES,
    SINGLE,
    AnyScores,
    Calibration,
    Comparison,
    MultiLabelScores,
    RegressionScores,
    Scores,
    SingleLabelScores,
)
from . import example_clips as gallery
from . import plots
from .result_plots import plot_robustness

PAGE = "report.html"
ASSETS = "assets"
FIDELITY = "fidelity"  # the folder of that stage, beside the page
TEMPLATE = "report.html.jinja"
PICTURE_RATE = 32_000  # Hz


def write_report(out: Path, model: Path, corpus: Path | None = None) -> Path:
    """Render `out/report.html` and `out/assets/` from `out/scores.json`, a model folder and, if given, its corpus.

    `out/robustness.json` and `out/fidelity/fidelity.json` become parts of the page. A part whose files are not there
    is left out. The page opens from disk, asks nothing of a network and runs no script; every text on it is escaped.
    Returns the page's path. Raises DataError.
    """
    out, model = Path(out), Path(model)
    corpus = Path(corpus) if corpus is not None else None
    scores = Scores.read(out / "scores.json")
    trained = _json(model / "training.json")
    built = _json(corpus / BUILD_RECORD) if corpus else {}
    details = trained.get("details", {})
    assets = _Assets(out)
    damaged = Robustness.read(out / ROBUSTNESS) if (out / ROBUSTNESS).exists() else None
    far = Fidelity.read(out / FIDELITY / FIDELITY_FILE) if (out / FIDELITY / FIDELITY_FILE).exists() else None
    environment = html_environment(Path(__file__).parent)
    environment.filters |= {
        "percent": _percent,
        "duration": _duration,
        "size": _size,
        "figure": _figure,
        "difference": _difference,
        "metric": _metric,
    }
    page = environment.get_template(TEMPLATE).render(
        title=built.get("details", {}).get("identity", {}).get("name") or details.get("corpus_name") or model.name,
        model=scores.model,
        generator=built.get("details", {}).get("generator") or details.get("generator") or {},
        embedder=details.get("embedder") or scores.model.embedder,
        details=details,
        clips=built.get("details", {}).get("clips"),
        rejected=built.get("details", {}).get("rejected", 0),
        audio_seconds=built.get("details", {}).get("audio_seconds"),
        stages=[*_stages(scores, trained, built, corpus), *(part.record for part in (damaged, far) if part)],
        benchmarks=[_benchmark(entry, number, out, assets) for number, entry in enumerate(scores.benchmarks, 1)],
        headlines=HEADLINES[scores.model.problem],
        comparisons=_compared(scores),
        on_real_music=any(entry.name != "validation" for entry in scores.benchmarks),
        damaged=_damaged(damaged, assets),
        fidelity=_far(far, out),
        curve=_curve(details, assets),
        map=_map(scores, corpus, details, assets),
        examples=_examples(scores, out, corpus, assets),
        commands=[*_commands(scores, details, out, model, corpus), *_more(damaged, far, out, model, corpus)],
    )
    write_text(out / PAGE, page)
    return out / PAGE


class _Assets:
    """Files beside the page. Their names are ours, whatever clips and labels are called."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def put(self, name: str, data: bytes) -> str:
        """Write a file; its address as the page gives it."""
        write_bytes(self.out / ASSETS / name, data)
        return f"{ASSETS}/{name}"


def _stages(
    scores: Scores, trained: dict[str, Any], built: dict[str, Any], corpus: Path | None
) -> Iterator[dict[str, Any]]:
    """The run records that there are, in the order of the work."""
    embedded = _json(corpus / embed_record(scores.model.embedder["name"])) if corpus else {}
    yield from (record for record in (built, embedded, trained, scores.record) if record)


def _benchmark(entry: AnyScores, number: int, out: Path, assets: _Assets) -> dict[str, Any]:
    """One set of recordings: its scores, and its pictures as (address, alternative text, caption)."""
    draw = {SINGLE: _class_pictures, MULTI: _tag_pictures, REGRESSION: _number_pictures}[entry.problem]
    certain = isinstance(entry, SingleLabelScores) and entry.accuracy.value == 1.0
    return {
        "scores": entry,
        "headlines": [(name, getattr(entry, key), key) for key, name in HEADLINES[entry.problem].items()],
        "pictures": [
            (assets.put(f"{name}-{number}.svg", picture), alt, caption)
            for name, picture, alt, caption in draw(entry, out)  # type: ignore[operator]
        ],
        # The accuracy at which no error in that many units would be seen one time in twenty (binomial, one-sided).
        "no_error_bound": 0.05 ** (1 / entry.sampling.units) if certain else None,
        "published": sorted(entry.published, key=lambda row: (not row.same_protocol, row.metric, -row.value)),
    }


Picture = tuple[str, bytes, str, str]


def _class_pictures(entry: SingleLabelScores, out: Path) -> Iterator[Picture]:
    matrix = plots.confusion_matrix(entry.confusion_matrix, entry.labels, "Who is taken for whom")
    yield (
        *("confusion", matrix),
        f"Confusion matrix on {entry.name}: rows are true labels, columns predicted ones; the same counts are in the "
        "table below.",
        "Counts of tracks; the shade is their share of the true label's.",
    )
    yield (
        *("classes", plots.genre_bars([row.model_dump() for row in entry.per_class])),
        f"Bars of precision, recall and F1 of each label on {entry.name}; the same figures are in the table below.",
        "Precision: how many of those called so are so. Recall: how many of those that are so are called so.",
    )
    yield _calibration(entry.calibration, entry.name)


def _tag_pictures(entry: MultiLabelScores, out: Path) -> Iterator[Picture]:
    rows = [row.model_dump() for row in entry.per_tag if row.average_precision]
    yield (
        *("tags", plots.tag_dots(rows, entry.n)),
        f"Average precision of each label on {entry.name}; the same figures are in the table below.",
        "In brackets: tracks that bear the label. A label told by chance has the average precision of its share.",
    )
    yield _calibration(entry.calibration, entry.name)


def _number_pictures(entry: RegressionScores, out: Path) -> Iterator[Picture]:
    if (out / entry.predictions).exists():
        rows = _lines(out / entry.predictions)
        truth, estimate = (np.array([row[key] for row in rows], np.float64) for key in ("label", "predicted"))
        yield (
            *("scatter", plots.number_scatter(truth, estimate, entry.unit)),
            f"Each track of {entry.name}: what the model told over what is true.",
            "One point a track." + (" On the dashed line it is taken for twice its tempo." if entry.unit else ""),
        )


def _calibration(found: Calibration, name: str) -> Picture:
    return (
        *("calibration", plots.reliability([row.model_dump() for row in found.equal_width])),
        f"Reliability diagram on {name}: the share of claims that came true, by the model's confidence.",
        f"Expected calibration error {_percent(found.ece.value)}; by bins of equal mass "
        f"{_percent(found.ece_equal_mass.value)}. Bars over the dotted line: more often right than sure of it.",
    )


def _compared(scores: Scores) -> dict[tuple[str, str], list[Comparison]]:
    """The comparisons by benchmark and other model."""
    found: dict[tuple[str, str], list[Comparison]] = {}
    for row in scores.comparisons:
        found.setdefault((row.benchmark, row.against), []).append(row)
    return found


def _damaged(found: Robustness | None, assets: _Assets) -> dict[str, Any] | None:
    """The first figure of the problem at every level, with its drop."""
    if found is None:
        return None
    key = next(key for key in HEADLINES[found.problem] if found.clean.get(key) is not None)
    drops = [next((drop for drop in level.drops if drop.metric == key), None) for level in found.levels]
    return {
        "key": key,
        "name": HEADLINES[found.problem][key],
        "n": found.n,
        "benchmark": found.benchmark,
        "notes": found.notes,
        "skips": found.skips,
        "clean": found.clean[key],
        "picture": assets.put("robustness.svg", plot_robustness(found)),
        "levels": [(level, level.figures[key], drop) for level, drop in zip(found.levels, drops, strict=True)],
    }


def _far(found: Fidelity | None, out: Path) -> dict[str, Any] | None:
    """The page of fidelity as a part of this one."""
    if found is None:
        return None
    from markupsafe import Markup

    html = render_section(out / FIDELITY, f"{FIDELITY}/")
    return {"section": Markup(html), "floor": found.record["details"]["held_out"]}


def _more(
    damaged: Robustness | None, far: Fidelity | None, out: Path, model: Path, corpus: Path | None
) -> Iterator[str]:
    """The commands of the parts that other stages wrote."""
    if damaged is not None:
        chosen = [word for level in damaged.levels for word in ("--damage", f"{level.kind}:{level.level:g}")]
        at = ["--corpus", str(corpus)] if corpus is not None else []
        yield shlex.join(
            ["synthmir", "robustness", str(model), "--on", damaged.benchmark, *chosen, *at, "--out", str(out)]
        )
    if far is not None and corpus is not None:
        against = far.record["details"]["spec"]
        yield shlex.join(["synthmir", "fidelity", str(corpus), "--against", against, "--out", str(out / FIDELITY)])


def _curve(details: dict[str, Any], assets: _Assets) -> str | None:
    curve = details.get("curve")
    return assets.put("training.svg", plots.training_curve(curve, details.get("best_epoch"))) if curve else None


def _map(scores: Scores, corpus: Path | None, details: dict[str, Any], assets: _Assets) -> dict[str, Any] | None:
    """The validation split's embeddings in two dimensions; None without them or with too few to lay out."""
    if corpus is None or scores.model.problem != SINGLE or not (corpus / scores.model.embedder["name"]).is_dir():
        return None
    embedder = scores.model.embedder["name"]
    validation = read_validation(corpus, embedder, scores.model.task, (), details)
    rows = validation.rows
    if len(rows) < 3:
        return None
    title = f"{len(rows)} validation clips by {embedder}"
    used, codes = rows.labels.unique(return_inverse=True)
    names = [validation.names[place] for place in used.tolist()]
    picture = plots.embedding_map(rows.embeddings.numpy(), codes.numpy(), names, title=title)
    return {
        "file": assets.put("map.svg", picture),
        "n": min(len(rows), plots.MAP_POINTS),
        "embedder": embedder,
    }


def _examples(scores: Scores, out: Path, corpus: Path | None, assets: _Assets) -> dict[str, list[dict[str, Any]]]:
    """Clips by genre, each with its picture and its player."""
    if corpus is None:
        return {}
    judged = {}
    for entry in scores.benchmarks:
        if entry.name == "validation" and (out / entry.predictions).exists():
            judged = {row["id"]: _verdict(entry, row) for row in _lines(out / entry.predictions)}
    by_genre: dict[str, list[dict[str, Any]]] = {}
    for number, example in enumerate(gallery.pick(corpus, judged), 1):
        samples = load_audio(example.audio, PICTURE_RATE, LONGEST)
        by_genre.setdefault(example.genre, []).append(
            {
                "clip": example,
                "audio": assets.put(f"clip-{number:02d}.flac", example.audio),
                "picture": assets.put(f"clip-{number:02d}.png", plots.spectrogram(samples, PICTURE_RATE)),
            }
        )
    return by_genre


def _verdict(entry: AnyScores, row: dict[str, Any]) -> gallery.Verdict:
    """A line of the predictions in words, and whether the model was right: a number within 4 %."""
    truth, predicted = row["labels" if isinstance(entry, MultiLabelScores) else "label"], row["predicted"]
    if isinstance(entry, RegressionScores):
        near = bool(is_within(np.array(truth), np.array(predicted)))
        return gallery.Verdict(f"{truth:.4g} {entry.unit}".rstrip(), f"{predicted:.4g} {entry.unit}".rstrip(), near)
    if isinstance(entry, MultiLabelScores):
        return gallery.Verdict(", ".join(truth) or "none", ", ".join(predicted) or "none", truth == predicted)
    return gallery.Verdict(truth, predicted, truth == predicted)


def _commands(scores: Scores, details: dict[str, Any], out: Path, model: Path, corpus: Path | None) -> list[str]:
    """What makes this again, as one would type it. `details` are of the training's record."""
    commands = []
    name, settings = scores.model.embedder["name"], details.get("settings") or {}
    damages = (details.get("augmentation") or {}).get("damages", [])
    taught = ("task", "head", "strategy", "target", "shots", "seed")
    told = ["--embedder", f"{name}-augmented" if damages else name]
    told += [word for key in taught if settings.get(key) is not None for word in (f"--{key}", str(settings[key]))]
    if corpus is not None and (corpus / RECIPE).exists():
        commands += [
            ["synthmir", "build", str(corpus / RECIPE), "--out", str(corpus)],
            ["synthmir", "embed", str(corpus), "--embedder", name, *(w for d in damages for w in ("--augment", d))],
            ["synthmir", "train", str(corpus), "--out", str(model), *told],
        ]
    on = [word for entry in scores.benchmarks for word in ("--on", entry.name)]
    on += [word for other in dict.fromkeys(row.against for row in scores.comparisons) for word in ("--against", other)]
    at = ["--corpus", str(corpus)] if corpus is not None else []
    commands.append(["synthmir", "evaluate", str(model), *on, *at, "--out", str(out)])
    return [shlex.join(command) for command in commands]


def _lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of predictions. Raises DataError."""
    try:
        return [parse_json(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a file of predictions: {error}", "write it anew: synthmir evaluate") from error


def _json(path: Path) -> dict[str, Any]:
    """A JSON object, {} if the file is not there. Raises DataError if it is none."""
    return read_record(path, "run the stage that writes it again", fault="not a JSON object")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _metric(name: str) -> str:
    """A published figure's metric as ours is called."""
    ours = {"roc_auc": "macro_roc_auc", "mean_average_precision": "map"}.get(name, name)
    return next((names[ours] for names in HEADLINES.values() if ours in names), name)


def _figure(value: float, key: str) -> str:
    """A figure as its kind is told: "84.6 %", or "5.24" of one that is no share."""
    return f"{100 * value:.1f} %" if key in SHARES else f"{value:.2f}"


def _difference(value: float, key: str) -> str:
    """As `_figure`, with its sign; of shares in percentage points."""
    return f"{100 * value:+.1f} pp" if key in SHARES else f"{value:+.2f}"


def _duration(seconds: float) -> str:
    """Seconds as people say them: "42 s", "3 min 20 s", "2 h 5 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _size(count: int) -> str:
    """Bytes as people say them."""
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
