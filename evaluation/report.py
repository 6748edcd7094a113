"""report.html: one page on a run, rendered from its files alone."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from builder.atomic import write_bytes, write_text
from builder.audio import load_audio
from builder.corpus.folder import BUILD_RECORD, RECIPE, embed_record
from builder.errors import DataError

from . import gallery, plots
from .scores import BenchmarkScores, Scores

PAGE = "report.html"
ASSETS = "assets"
TEMPLATE = "report.html.jinja"
PICTURE_RATE = 32_000  # Hz


def write_report(out: Path, model: Path, corpus: Path | None = None) -> Path:
    """Render `out/report.html` and `out/assets/` from `out/scores.json`, a model folder and, if given, its corpus.

    A part whose files are not there is left out. The page opens from disk, asks nothing of a network and runs no
    script; every text on it is escaped. Returns the page's path. Raises DataError.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    out, model = Path(out), Path(model)
    corpus = Path(corpus) if corpus is not None else None
    scores = Scores.read(out / "scores.json")
    trained = _json(model / "training.json")
    built = _json(corpus / BUILD_RECORD) if corpus else {}
    details = trained.get("details", {})
    assets = _Assets(out)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"percent": _percent, "duration": _duration, "size": _size}
    page = environment.get_template(TEMPLATE).render(
        title=built.get("details", {}).get("identity", {}).get("name") or details.get("corpus_name") or model.name,
        model=scores.model,
        generator=built.get("details", {}).get("generator") or details.get("generator") or {},
        embedder=details.get("embedder") or scores.model.embedder,
        details=details,
        clips=built.get("details", {}).get("clips"),
        rejected=built.get("details", {}).get("rejected", 0),
        audio_seconds=built.get("details", {}).get("audio_seconds"),
        stages=list(_stages(scores, trained, built, corpus)),
        benchmarks=[_benchmark(entry, number, assets) for number, entry in enumerate(scores.benchmarks, 1)],
        on_real_music=any(entry.name != "validation" for entry in scores.benchmarks),
        curve=_curve(details, assets),
        map=_map(scores, corpus, assets),
        examples=_examples(scores, out, corpus, assets),
        commands=_commands(scores, out, model, corpus),
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


def _benchmark(entry: BenchmarkScores, number: int, assets: _Assets) -> dict[str, Any]:
    per_class = [row.model_dump() for row in entry.per_class]
    return {
        "scores": entry,
        "confusion": assets.put(
            f"confusion-{number}.svg",
            plots.confusion_matrix(entry.confusion_matrix, entry.labels, "Who is taken for whom"),
        ),
        "bars": assets.put(f"classes-{number}.svg", plots.genre_bars(per_class)),
        # The accuracy at which no error in n tracks would be seen one time in twenty (exact binomial, one-sided).
        "no_error_bound": 0.05 ** (1 / entry.n) if entry.accuracy.value == 1.0 else None,
    }


def _curve(details: dict[str, Any], assets: _Assets) -> str | None:
    curve = details.get("curve")
    return assets.put("training.svg", plots.training_curve(curve, details.get("best_epoch"))) if curve else None


def _map(scores: Scores, corpus: Path | None, assets: _Assets) -> dict[str, Any] | None:
    """The validation split's embeddings in two dimensions; None without them or with too few to lay out."""
    if corpus is None or not (corpus / scores.model.embedder["name"]).is_dir():
        return None
    from training.features import load_features

    features = load_features(corpus, scores.model.embedder["name"], scores.model.task)
    split = features.validation
    if len(split) < 3:
        return None
    title = f"{len(split)} validation clips by {features.embedder}"
    picture = plots.embedding_map(split.embeddings.numpy(), split.labels.numpy(), features.names, title=title)
    return {
        "file": assets.put("map.svg", picture),
        "n": min(len(split), plots.MAP_POINTS),
        "embedder": features.embedder,
    }


def _examples(scores: Scores, out: Path, corpus: Path | None, assets: _Assets) -> dict[str, list[dict[str, Any]]]:
    """Clips by genre, each with its picture and its player."""
    if corpus is None:
        return {}
    judged = {}
    for entry in scores.benchmarks:
        if entry.name == "validation" and (out / entry.predictions).exists():
            rows = map(json.loads, (out / entry.predictions).read_text(encoding="utf-8").splitlines())
            judged = {row["id"]: (row["label"], row["predicted"]) for row in rows}
    by_genre: dict[str, list[dict[str, Any]]] = {}
    for number, example in enumerate(gallery.pick(corpus, judged), 1):
        samples = load_audio(example.audio, PICTURE_RATE)
        by_genre.setdefault(example.genre, []).append(
            {
                "clip": example,
                "audio": assets.put(f"clip-{number:02d}.flac", example.audio),
                "picture": assets.put(f"clip-{number:02d}.png", plots.spectrogram(samples, PICTURE_RATE)),
            }
        )
    return by_genre


def _commands(scores: Scores, out: Path, model: Path, corpus: Path | None) -> list[str]:
    """What makes this again, as one would type it."""
    commands = []
    if corpus is not None and (corpus / RECIPE).exists():
        commands += [
            ["synthmir", "build", str(corpus / RECIPE), "--out", str(corpus)],
            ["synthmir", "embed", str(corpus), "--embedder", scores.model.embedder["name"]],
            ["synthmir", "train", str(corpus), "--out", str(model)],
        ]
    on = [word for entry in scores.benchmarks for word in ("--on", entry.name)]
    at = ["--corpus", str(corpus)] if corpus is not None else []
    commands.append(["synthmir", "evaluate", str(model), *on, *at, "--out", str(out)])
    return [shlex.join(command) for command in commands]


def _json(path: Path) -> dict[str, Any]:
    """A JSON object, {} if the file is not there. Raises DataError if it is none."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: not a JSON object: {error}", "run the stage that writes it again") from error


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


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
