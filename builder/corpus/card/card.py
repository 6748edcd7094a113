"""The dataset card of a corpus: README.md and its plots, rendered from the files of the corpus alone."""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from ...errors import DataError
from ...io.atomic import write_text
from ...io.markdown import FILTERS, format_front_matter
from ...io.safe_files import find_shipped, parse_json, read_yaml
from ...names import format_rate
from ..corpus import BUILD_RECORD, CARD, RECIPE, RECIPES, REJECTED, SUMS, Corpus, embed_record, list_parts
from ..estimates import read_entries
from ..schema import COLUMNS
from .fidelity import drop_stale_measurements
from .font_licences import list_font_licences
from .limitations import format_interval, format_percent, list_limitations
from .measurement import Measurement
from .metadata import describe_type, make_metadata, read_config_infos
from .plots import draw_plots
from .score_configs import describe_annotations, describe_stems
from .statistics import CorpusTable, count_labels, count_splits, list_examples, summarize_levels, summarize_tempo

NON_COMMERCIAL = "Not for commercial use, as the licence of the generator's weights requires."
OPEN = "Please cite the corpus and synthmir when you use them."
UNITS = {"tempo_bpm": "BPM", "duration": "s", "loudness": "LUFS", "peak": "dBFS"}


def write_card(root: Path) -> None:
    """Write the card of a corpus and its plots: README.md and `assets/`.

    Measurements in `fidelity.json` that are of an earlier state of the corpus are removed from it.

    Args:
        root: The corpus folder, with its recipe, records and shards.

    Raises:
        DataError: Records are missing or damaged.
    """
    from jinja2 import UndefinedError

    try:
        content = _render(root)
    except (LookupError, TypeError, ValueError, AttributeError, UndefinedError) as error:
        raise DataError(f"{root}: its records are not those of a corpus: {error!r:.200}", "copy it again") from error
    write_text(root / CARD, content)


def _render(root: Path) -> str:
    recipe = read_yaml(root / RECIPE)
    record = Corpus(root).record(BUILD_RECORD)
    configs = read_config_infos(root)
    features = configs["default"]["features"]
    table, rate = CorpusTable.read(root, features), features["audio"].sampling_rate
    embedded = {name: info for name, info in configs.items() if info["kind"] == "embeddings"}
    embedders = [_describe_embedder(root, name, info) for name, info in embedded.items()]
    measurements = drop_stale_measurements(root)
    known = Corpus(root).sums() if (root / SUMS).exists() else {}
    makings = _describe_parts(root, record)
    made_by = [making["generator"] for making in makings]
    generators = list({(generator["name"], generator["revision"]): generator for generator in made_by}.values())
    licence = record["details"]["generator"]["license"]  # of the whole corpus
    durations, clips = table.numbers("duration"), len(table)
    channels = _describe_channels(recipe, made_by)
    context: dict[str, Any] = {
        "name": recipe["name"],
        "load_path": root.name or root.resolve().name,
        "clips": clips,
        "lengths": sorted({float(durations.min()), float(durations.max())}),
        "channels": channels,
        "two_channels": channels != "mono",
        "sampling_rate": rate,
        "bandwidth": max(min(rate, one.get("made_sampling_rate", rate)) for one in made_by) / 2,
        "audio_seconds": float(durations.sum()),
        "prompts": pc.count_distinct(table.rows["prompt"]).as_py(),
        "generators": generators,
        "font_licences": list_font_licences(makings),
        "licence": licence,
        "licence_note": NON_COMMERCIAL if "-nc" in licence else OPEN,
        "genres": table.names("genre"),
        "splits": count_splits(table),
        "labels": count_labels(table),
        "tempo": summarize_tempo(table),
        "levels": summarize_levels(table),
        "examples": list_examples(table),
        "repeated": int((table.numbers("attempts") > 1).sum()),
        "columns": _describe_columns(features, channels, format_rate(rate)),
        "embedders": embedders,
        "estimators": [
            {"columns": sorted(entry.columns), "about": entry.about, "version": entry.version, "source": entry.source}
            for entry in read_entries(Corpus(root)).values()
        ],
        "annotations": describe_annotations(configs.get("annotations")),
        "stems": describe_stems(root, configs.get("stems")),
        "makings": makings,
        "sampled": table.rows["guidance"].null_count < len(table),
        "fidelity": measurements,
        "soundfonts": sorted(table.soundfonts.items(), key=lambda pair: (-pair[1], pair[0])),
        "rejected": record["details"]["rejected"],
        "faults": _count_faults(root),
        "plots": draw_plots(root, table, [one["name"] for one in embedders if not one["augment"]], known),
        "fingerprint": record["fingerprint"],
        "version": record["versions"].get("synthmir", ""),
    }
    context["adherence"] = _summarize_adherence(measurements, context["genres"])
    context["limitations"] = list_limitations(context, measurements)
    names = [generator["name"] for generator in generators]
    metadata = make_metadata(recipe["name"], licence, names, clips, configs)
    return f"{format_front_matter(metadata)}\n{_load_template().render(context).strip()}\n"


@cache
def _load_template() -> Any:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= FILTERS
    environment.filters["thousands"] = lambda value: f"{value:,}"
    environment.filters["number"] = lambda value: f"{value:.4g}"
    environment.filters["percent"] = format_percent
    environment.filters["share"] = lambda figure: format_interval(figure) if figure else ""
    environment.filters["hours"] = _format_duration
    environment.filters["quoted"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment.from_string(find_shipped("dataset_card.md").read_text(encoding="utf-8"))


def _format_duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def _describe_channels(recipe: dict[str, Any], made_by: list[dict[str, Any]]) -> str:
    """Name the channels: "mono", "stereo", or "mono in two equal channels" where no generator made stereo."""
    if ((recipe.get("audio") or {}).get("channels") or 1 + bool(recipe["generator"].get("stereo"))) == 1:
        return "mono"
    return "mono in two equal channels" if all(one.get("made_channels") == 1 for one in made_by) else "stereo"


def _describe_columns(features: Any, channels: str, rate: str) -> list[dict[str, str]]:
    return [
        {
            "name": name,
            "type": describe_type(kind),
            "unit": rate if name == "audio" else UNITS.get(name, ""),
            "about": COLUMNS[name].format(channels=channels, rate=rate),
        }
        for name, kind in features.items()
    ]


def _describe_parts(root: Path, record: dict[str, Any]) -> list[dict[str, Any]]:
    """How each part was made: its recipe, and what the record states."""
    parts = []
    for part in list_parts(record):
        kept = f"{RECIPES}/{part['fingerprint']}/{RECIPE}"
        recipe = kept if (root / kept).exists() else RECIPE
        parts.append({"retried": 0, **part, "recipe": recipe, "settings": read_yaml(root / recipe)})
    return parts


def _describe_embedder(root: Path, name: str, info: dict[str, Any]) -> dict[str, Any]:
    record = Corpus(root).record(embed_record(name))
    details = record["details"]
    embedder, damages = details["embedder"], details.get("augment") or []
    return {
        "name": name,
        "variable": re.sub(r"\W", "_", name),
        "dim": info["features"]["embedding"].length,
        "rows": sum(split["num_examples"] for split in info["splits"].values()),
        "about": embedder.get("about", ""),
        "revision": embedder.get("revision", ""),
        "of": embedder["name"],
        "augment": damages,
        "command": " ".join(
            ["synthmir embed corpus --embedder", embedder["name"], *(f"--augment {damage}" for damage in damages)]
        ),
        "seconds": details.get("seconds"),
        "device": record.get("device", ""),
    }


def _count_faults(root: Path) -> list[tuple[str, int]]:
    """Kinds of faults of rejected clips and how many clips have them, most frequent first."""
    path = root / REJECTED
    if not path.exists():
        return []
    try:
        rows = [parse_json(row) for row in path.read_text(encoding="utf-8").splitlines()]
        kinds = Counter(kind for row in rows for kind in {fault.partition(":")[0] for fault in row["faults"]})
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not a list of rejected clips: {error!r:.200}", "copy the corpus again") from error
    return sorted(kinds.items(), key=lambda pair: (-pair[1], pair[0]))


def _summarize_adherence(measurements: list[Measurement], genres: list[str]) -> dict[str, Any] | None:
    """Prompt adherence by genre, from a probe trained on real music where there is one, else on the corpus itself."""
    measurement = next((measurement for measurement in measurements if measurement.adherence), None)
    if measurement is None or measurement.adherence is None:
        return None
    rows = {row.genre: row.adherence for row in measurement.genres if row.adherence}
    return {
        "of": measurement,
        "probe": measurement.adherence,
        "rows": [{"genre": genre, "figure": rows[genre]} for genre in genres if genre in rows],
    }
