"""The dataset card: README.md of a corpus with its pictures, rendered from its own files alone."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from ...errors import DataError
from ...io.atomic import write_text
from ...io.markdown import FILTERS, format_front_matter
from ...io.safe_files import find_shipped, parse_json, read_yaml
from ..corpus import BUILD_RECORD, CARD, RECIPE, RECIPES, REJECTED, SUMS, Corpus, embed_record, list_parts
from ..schema import COLUMNS
from . import plots as pictures
from . import statistics as counts
from .fidelity import drop_stale_measurements
from .limitations import format_interval, format_percent, list_limitations
from .measurement import Measurement
from .metadata import describe_type, make_metadata, read_config_infos
from .statistics import CorpusTable

NON_COMMERCIAL = "Not for commercial use: the weights that made the clips are licensed so."
OPEN = "Name the corpus and synthmir when you use them."
UNITS = {"tempo_bpm": "BPM", "duration": "s", "loudness": "LUFS", "peak": "dBFS", "audio": "32 kHz"}


def write_card(root: Path) -> None:
    """Write README.md and `assets/` of the corpus at `root` from its recipe, records, shards and figures.

    Figures in `fidelity.json` that are of other audio or embeddings than the corpus has now are dropped from it.
    Raises DataError for records that do not tell what they must, of a corpus that others made.
    """
    from jinja2 import UndefinedError

    try:
        content = _content(root)
    except (LookupError, TypeError, ValueError, AttributeError, UndefinedError) as error:
        raise DataError(f"{root}: its records are not those of a corpus: {error!r:.200}", "copy it anew") from error
    write_text(root / CARD, content)


def _content(root: Path) -> str:
    recipe = read_yaml(root / RECIPE)
    record = Corpus(root).record(BUILD_RECORD)
    configs, stereo = read_config_infos(root), bool(recipe["generator"].get("stereo"))
    table = CorpusTable.read(root, configs["default"]["features"])
    embedders = [_embedder(root, name, info) for name, info in configs.items() if name != "default"]
    found = drop_stale_measurements(root)
    known = Corpus(root).sums() if (root / SUMS).exists() else {}
    makings = _makings(root, record)
    generators = list(
        {(made["generator"]["name"], made["generator"]["revision"]): made["generator"] for made in makings}.values()
    )
    licence = record["details"]["generator"]["license"]  # of the whole
    durations, clips = table.numbers("duration"), len(table)
    context: dict[str, Any] = {
        "name": recipe["name"],
        "load_path": root.name or root.resolve().name,
        "clips": clips,
        "lengths": sorted({float(durations.min()), float(durations.max())}),
        "stereo": stereo,
        "audio_seconds": float(durations.sum()),
        "prompts": pc.count_distinct(table.rows["prompt"]).as_py(),
        "generators": generators,
        "licence": licence,
        "licence_note": NON_COMMERCIAL if "-nc" in licence else OPEN,
        "genres": table.names("genre"),
        "splits": counts.count_splits(table),
        "labels": counts.count_labels(table),
        "tempo": counts.summarize_tempo(table),
        "levels": counts.summarize_levels(table),
        "examples": counts.list_examples(table),
        "again": int((table.numbers("attempts") > 1).sum()),
        "columns": _columns(configs["default"]["features"], stereo),
        "embedders": embedders,
        "makings": makings,
        "sampled": table.rows["guidance"].null_count < len(table),
        "fidelity": found,
        "rejected": record["details"]["rejected"],
        "faults": _faults(root),
        "pictures": pictures.draw_plots(root, table, [one["name"] for one in embedders if not one["augment"]], known),
        "fingerprint": record["fingerprint"],
        "version": record["versions"].get("synthmir", ""),
    }
    context["heard"] = _heard(found, context["genres"])
    context["gaps"] = list_limitations(context, found)
    names = [one["name"] for one in generators]
    told = make_metadata(recipe["name"], licence, names, clips, configs)
    return f"{format_front_matter(told)}\n{_template().render(context).strip()}\n"


def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= FILTERS
    environment.filters["thousands"] = lambda value: f"{value:,}"
    environment.filters["number"] = lambda value: f"{value:.4g}"
    environment.filters["percent"] = format_percent
    environment.filters["share"] = lambda figure: format_interval(figure) if figure else ""
    environment.filters["hours"] = _hours
    environment.filters["quoted"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment.from_string(find_shipped("dataset_card.md").read_text(encoding="utf-8"))


def _hours(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def _columns(features: Any, stereo: bool) -> list[dict[str, str]]:
    channels = "stereo" if stereo else "mono"
    return [
        {
            "name": name,
            "type": describe_type(kind),
            "unit": UNITS.get(name, ""),
            "about": COLUMNS[name].format(channels=channels),
        }
        for name, kind in features.items()
    ]


def _makings(root: Path, record: dict[str, Any]) -> list[dict[str, Any]]:
    """How the clips came to be, part by part: the recipe and what the record tells of it."""
    told = []
    for part in list_parts(record):
        kept = f"{RECIPES}/{part['fingerprint']}/{RECIPE}"
        recipe = kept if (root / kept).exists() else RECIPE
        told.append({"retried": 0, **part, "recipe": recipe, "settings": read_yaml(root / recipe)})
    return told


def _embedder(root: Path, name: str, info: dict[str, Any]) -> dict[str, Any]:
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


def _faults(root: Path) -> list[tuple[str, int]]:
    """Why clips were rejected: the kind of fault, and how many have it, most frequent first."""
    path = root / REJECTED
    if not path.exists():
        return []
    try:
        rows = [parse_json(row) for row in path.read_text(encoding="utf-8").splitlines()]
        kinds = Counter(kind for row in rows for kind in {fault.partition(":")[0] for fault in row["faults"]})
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not a list of rejected clips: {error!r:.200}", "copy the corpus anew") from error
    return sorted(kinds.items(), key=lambda pair: (-pair[1], pair[0]))


def _heard(found: list[Measurement], genres: list[str]) -> dict[str, Any] | None:
    """How often a probe hears each genre, by the measurement that says most: real music's before the corpus's own."""
    one = next((one for one in found if one.adherence), None)
    if one is None or one.adherence is None:
        return None
    rows = {row.genre: row.adherence for row in one.genres if row.adherence}
    return {
        "of": one,
        "probe": one.adherence,
        "rows": [{"genre": genre, "figure": rows[genre]} for genre in genres if genre in rows],
    }
