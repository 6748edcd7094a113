"""report.html: one page about a run, rendered from its files alone."""

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

from ..agreement.page import render_section as render_agreement
from ..fidelity.page import render_section
from ..inference.evaluated_model import read_validation
from ..label_noise.page import render_section as render_label_noise
from ..rendering.html_page import html_environment
from ..rendering.piano_roll import describe_annotation, render_piano_roll
from ..results.agreement import FILE as AGREEMENT_FILE
from ..results.agreement import Agreement
from ..results.annotation_scores import FILE as ANNOTATION_SCORES
from ..results.fidelity import FILE as FIDELITY_FILE
from ..results.fidelity import Fidelity
from ..results.label_noise import FILE as LABEL_NOISE_FILE
from ..results.label_noise import LabelNoise
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
from . import plots
from .annotation_report import render_annotation_section
from .example_clips import Prediction, choose_examples
from .result_plots import plot_robustness

PAGE = "report.html"
ASSETS = "assets"
FIDELITY, AGREEMENT, LABEL_NOISE = (
    "fidelity",
    "agreement",
    "label_noise",
)  # folders beside the page
TEMPLATE = "report.html.jinja"
PICTURE_RATE = 32_000  # Hz


def write_report(out: Path, model: Path, corpus: Path | None = None) -> Path:
    """Render `out/report.html` and `out/assets/`.

    The page opens from disk, needs no network and runs no script. Every text on it is escaped. Parts whose files are
    missing are left out.

    Args:
        out: The folder of results. `scores.json` must be there; `robustness.json`, `annotation_scores.json`,
            `fidelity/fidelity.json`, `agreement/agreement.json` and `label_noise/label_noise.json` become sections
            of the page.
        model: The folder of the model that was evaluated.
        corpus: The corpus that it was trained on, for the map and the example clips.

    Returns:
        The path of the page.

    Raises:
        DataError: A file is damaged.
    """
    out, model = Path(out), Path(model)
    corpus = Path(corpus) if corpus is not None else None
    scores = Scores.read(out / "scores.json")
    trained = _json(model / "training.json")
    built = _json(corpus / BUILD_RECORD) if corpus else {}
    details = trained.get("details", {})
    recordings = sum(entry.name != "validation" for entry in scores.benchmarks)
    ordered = sorted(scores.benchmarks, key=lambda entry: entry.name == "validation")  # recordings first
    overview = scores.model.problem == SINGLE and 0 < recordings < len(ordered)
    assets = _Assets(out)
    robustness = Robustness.read(out / ROBUSTNESS) if (out / ROBUSTNESS).exists() else None
    fidelity = Fidelity.read(out / FIDELITY / FIDELITY_FILE) if (out / FIDELITY / FIDELITY_FILE).exists() else None
    measured = out / AGREEMENT / AGREEMENT_FILE
    agreement = Agreement.read(measured) if measured.exists() else None
    doubted = out / LABEL_NOISE / LABEL_NOISE_FILE
    noise = LabelNoise.read(doubted) if doubted.exists() else None
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
        stages=[
            *_stages(scores, trained, built, corpus),
            *(part.record for part in (robustness, fidelity, agreement, noise) if part),
        ],
        benchmarks=[_benchmark(entry, number, out, assets) for number, entry in enumerate(ordered, 1)],
        overview=overview,
        headlines=HEADLINES[scores.model.problem],
        comparisons=_group_comparisons(scores),
        on_real_music=recordings > 0,
        recordings=recordings,
        own_split=recordings < len(scores.benchmarks),
        damaged=_robustness_section(robustness, assets),
        annotations=render_annotation_section(out) if (out / ANNOTATION_SCORES).exists() else None,
        fidelity=_fidelity_section(fidelity, out),
        agreement=agreement and render_agreement(out / AGREEMENT, f"{AGREEMENT}/"),
        label_noise=noise and render_label_noise(out / LABEL_NOISE, f"{LABEL_NOISE}/"),
        curve=_curve(details, assets),
        map=_map(scores, corpus, details, assets),
        examples=_examples(scores, out, corpus, assets),
        commands=[
            *_commands(scores, details, out, model, corpus),
            *_other_commands(robustness, fidelity, out, model, corpus),
        ],
    )
    write_text(out / PAGE, page)
    return out / PAGE


class _Assets:
    """Files beside the page. Their names do not depend on names of clips and labels."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def put(self, name: str, data: bytes) -> str:
        """Write a file and return its address on the page."""
        write_bytes(self.out / ASSETS / name, data)
        return f"{ASSETS}/{name}"


def _stages(
    scores: Scores, trained: dict[str, Any], built: dict[str, Any], corpus: Path | None
) -> Iterator[dict[str, Any]]:
    """Return the run records that there are, in the order of the pipeline."""
    embedded = _json(corpus / embed_record(scores.model.embedder["name"])) if corpus else {}
    yield from (record for record in (built, embedded, trained, scores.record) if record)


def _benchmark(entry: AnyScores, number: int, out: Path, assets: _Assets) -> dict[str, Any]:
    """Return the scores of one benchmark, with its plots as (address, alternative text, caption)."""
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
    matrix = plots.plot_confusion(entry.confusion_matrix, entry.labels, f"{_short_name(entry.name)}, n = {entry.n}")
    yield (
        *("confusion", matrix),
        f"Confusion matrix on {entry.name}: rows are true labels, columns predicted ones; the same counts are in the "
        "table below.",
        f"Confusion matrix on {entry.name}: counts of tracks; the shade is their share of the true label's.",
    )
    yield (
        *("classes", plots.plot_label_scores([row.model_dump() for row in entry.per_class])),
        f"Bars of precision, recall and F1 of each label on {entry.name}; the same scores are in the table below.",
        "Precision: share of predictions of a label that are correct. Recall: share of its tracks that are found.",
    )
    yield _calibration(entry.calibration, entry.name)
    if entry.probes and entry.probes.worth:
        labels = sum(row.support > 0 for row in entry.per_class)
        yield (
            *("probes", plots.plot_probes(entry.probes.model_dump(), entry.balanced_accuracy.model_dump(), labels)),
            f"Balanced accuracy on {entry.name} of linear probes trained on real tracks, beside this model; the "
            "scores are in the table of comparisons.",
            "Logistic regressions on the same embeddings, each trained on real tracks of artists that it is not "
            f"tested on. This model is worth {entry.probes.worth.describe()} real tracks of each label.",
        )


def _short_name(name: str) -> str:
    """Return a benchmark's name for the title of a plot, without the folders of its path."""
    kind, colon, path = name.partition(":")
    return "Validation clips" if name == "validation" else f"{kind}{colon}{path.rstrip('/').rpartition('/')[2]}"[:40]


def _tag_pictures(entry: MultiLabelScores, out: Path) -> Iterator[Picture]:
    rows = [row.model_dump() for row in entry.per_tag if row.average_precision]
    yield (
        *("tags", plots.plot_average_precision(rows, entry.n)),
        f"Average precision of each label on {entry.name}; the same scores are in the table below.",
        "In brackets: tracks with the label. At chance level, average precision is the label's share of the tracks.",
    )
    yield _calibration(entry.calibration, entry.name)


def _number_pictures(entry: RegressionScores, out: Path) -> Iterator[Picture]:
    if (out / entry.predictions).exists():
        rows = _lines(out / entry.predictions)
        truth, estimate = (np.array([row[key] for row in rows], np.float64) for key in ("label", "predicted"))
        yield (
            *("scatter", plots.plot_numbers(truth, estimate, entry.unit)),
            f"Each track of {entry.name}: predicted over true value.",
            "One point for each track."
            + (" On the dashed line a track is predicted at twice its tempo." if entry.unit else ""),
        )


def _calibration(calibration: Calibration, name: str) -> Picture:
    return (
        *("calibration", plots.plot_reliability([row.model_dump() for row in calibration.equal_width])),
        f"Reliability diagram on {name}: the share of predictions that are correct, by the model's confidence.",
        f"Expected calibration error {_percent(calibration.ece.value)} with bins of equal width, "
        f"{_percent(calibration.ece_equal_mass.value)} with bins that hold equally many predictions. "
        "Bars above the dotted line: the model is underconfident.",
    )


def _group_comparisons(scores: Scores) -> dict[tuple[str, str], list[Comparison]]:
    """Group the comparisons by benchmark and other model."""
    groups: dict[tuple[str, str], list[Comparison]] = {}
    for row in scores.comparisons:
        groups.setdefault((row.benchmark, row.against), []).append(row)
    return groups


def _robustness_section(robustness: Robustness | None, assets: _Assets) -> dict[str, Any] | None:
    """Return the first score of the problem at every level, with its difference to the clean tracks."""
    if robustness is None:
        return None
    key = next(key for key in HEADLINES[robustness.problem] if robustness.clean.get(key) is not None)
    drops = [next((drop for drop in level.drops if drop.metric == key), None) for level in robustness.levels]
    return {
        "key": key,
        "name": HEADLINES[robustness.problem][key],
        "n": robustness.n,
        "benchmark": robustness.benchmark,
        "notes": robustness.notes,
        "skips": robustness.skips,
        "clean": robustness.clean[key],
        "picture": assets.put("robustness.svg", plot_robustness(robustness)),
        "levels": [(level, level.figures[key], drop) for level, drop in zip(robustness.levels, drops, strict=True)],
    }


def _fidelity_section(fidelity: Fidelity | None, out: Path) -> dict[str, Any] | None:
    """Return the fidelity page as a section of this one."""
    if fidelity is None:
        return None
    from markupsafe import Markup

    html = render_section(out / FIDELITY, f"{FIDELITY}/")
    return {"section": Markup(html), "floor": fidelity.record["details"]["held_out"]}


def _other_commands(
    robustness: Robustness | None, fidelity: Fidelity | None, out: Path, model: Path, corpus: Path | None
) -> Iterator[str]:
    """Return the commands that wrote the sections of robustness, fidelity and agreement."""
    if robustness is not None:
        chosen = [word for level in robustness.levels for word in ("--damage", f"{level.kind}:{level.level:g}")]
        at = ["--corpus", str(corpus)] if corpus is not None else []
        yield shlex.join(
            ["synthmir", "robustness", str(model), "--on", robustness.benchmark, *chosen, *at, "--out", str(out)]
        )
    if fidelity is not None and corpus is not None:
        against = fidelity.record["details"]["spec"]
        yield shlex.join(["synthmir", "fidelity", str(corpus), "--against", against, "--out", str(out / FIDELITY)])
    if (out / AGREEMENT / AGREEMENT_FILE).exists() and corpus is not None:
        yield shlex.join(["synthmir", "agreement", str(corpus), "--out", str(out / AGREEMENT)])


def _curve(details: dict[str, Any], assets: _Assets) -> str | None:
    curve = details.get("curve")
    return assets.put("training.svg", plots.plot_training(curve, details.get("best_epoch"))) if curve else None


def _map(scores: Scores, corpus: Path | None, details: dict[str, Any], assets: _Assets) -> dict[str, Any] | None:
    """Return the map of the validation split's embeddings; None without them, or with fewer than three."""
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
    picture = plots.plot_embeddings(rows.embeddings.numpy(), codes.numpy(), names, title=title)
    return {
        "file": assets.put("map.svg", picture),
        "n": min(len(rows), plots.MAP_POINTS),
        "embedder": embedder,
    }


def _examples(scores: Scores, out: Path, corpus: Path | None, assets: _Assets) -> dict[str, list[dict[str, Any]]]:
    """Return example clips by genre, each with its spectrogram and its audio file."""
    if corpus is None:
        return {}
    predictions = {}
    for entry in scores.benchmarks:
        if entry.name == "validation" and (out / entry.predictions).exists():
            predictions = {row["id"]: _prediction(entry, row) for row in _lines(out / entry.predictions)}
    by_genre: dict[str, list[dict[str, Any]]] = {}
    for number, example in enumerate(choose_examples(corpus, predictions), 1):
        samples = load_audio(example.audio, PICTURE_RATE, LONGEST)
        roll = None if example.annotation is None else render_piano_roll(example.annotation).encode()
        by_genre.setdefault(example.genre, []).append(
            {
                "clip": example,
                "roll": roll and assets.put(f"clip-{number:02d}.svg", roll),
                "played": example.annotation and describe_annotation(example.annotation),
                "audio": assets.put(f"clip-{number:02d}.flac", example.audio),
                "picture": assets.put(f"clip-{number:02d}.png", plots.plot_spectrogram(samples, PICTURE_RATE)),
            }
        )
    return by_genre


def _prediction(entry: AnyScores, row: dict[str, Any]) -> Prediction:
    """Return a row of the predictions as text, and whether it is correct; a number is within 4 %."""
    truth, predicted = row["labels" if isinstance(entry, MultiLabelScores) else "label"], row["predicted"]
    if isinstance(entry, RegressionScores):
        near, unit = bool(is_within(np.array(truth), np.array(predicted))), entry.unit.upper()
        return Prediction(f"{truth:.4g} {unit}".rstrip(), f"{predicted:.4g} {unit}".rstrip(), near)
    if isinstance(entry, MultiLabelScores):
        return Prediction(", ".join(truth) or "none", ", ".join(predicted) or "none", truth == predicted)
    return Prediction(truth, predicted, truth == predicted)


def _commands(scores: Scores, details: dict[str, Any], out: Path, model: Path, corpus: Path | None) -> list[str]:
    """Return the commands that reproduce the report. `details` are those of the training record."""
    commands = []
    name, settings = scores.model.embedder["name"], details.get("settings") or {}
    damages = (details.get("augmentation") or {}).get("damages", [])
    options = ("task", "head", "strategy", "target", "shots", "seed")
    training = ["--embedder", f"{name}-augmented" if damages else name]
    training += [word for key in options if settings.get(key) is not None for word in (f"--{key}", str(settings[key]))]
    if corpus is not None and (corpus / RECIPE).exists():
        commands += [
            ["synthmir", "build", str(corpus / RECIPE), "--out", str(corpus)],
            ["synthmir", "embed", str(corpus), "--embedder", name, *(w for d in damages for w in ("--augment", d))],
            ["synthmir", "train", str(corpus), "--out", str(model), *training],
        ]
    on = [word for entry in scores.benchmarks for word in ("--on", entry.name)]
    on += [word for other in dict.fromkeys(row.against for row in scores.comparisons) for word in ("--against", other)]
    at = ["--corpus", str(corpus)] if corpus is not None else []
    calibrate = (scores.record.get("details", {}).get("settings") or {}).get("calibrate")
    at += ["--calibrate", calibrate] if calibrate else []
    commands.append(["synthmir", "evaluate", str(model), *on, *at, "--out", str(out)])
    return [shlex.join(command) for command in commands]


def _lines(path: Path) -> list[dict[str, Any]]:
    """Read a file of predictions. Raises DataError."""
    try:
        return [parse_json(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a file of predictions: {error}", "write it again: synthmir evaluate") from error


def _json(path: Path) -> dict[str, Any]:
    """Read a JSON object; {} where there is no file. Raises DataError for anything else."""
    return read_record(path, "run the stage that writes it again", fault="not a JSON object")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _metric(name: str) -> str:
    """Return the name of a published score's metric as the report names its own."""
    key = {"roc_auc": "macro_roc_auc", "mean_average_precision": "map"}.get(name, name)
    return next((names[key] for names in HEADLINES.values() if key in names), name)


def _figure(value: float, key: str) -> str:
    """Format a score: "84.6 %", or "5.24" where it is no share."""
    return f"{100 * value:.1f} %" if key in SHARES else f"{value:.2f}"


def _difference(value: float, key: str) -> str:
    """Format a difference with its sign; of shares in percentage points."""
    return f"{100 * value:+.1f} pp" if key in SHARES else f"{value:+.2f}"


def _duration(seconds: float) -> str:
    """Format seconds: "42 s", "3 min 20 s", "2 h 5 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _size(count: int) -> str:
    """Format a number of bytes in MiB or GiB."""
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
