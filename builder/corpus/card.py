"""The dataset card: README.md of a corpus, rendered from its own files alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from ..atomic import write_text
from ..resources import find
from .features import COLUMNS
from .folder import BUILD_RECORD, CARD, RECIPE, SHARD_FILE, embed_record

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10**7, "1M<n<10M"))
NON_COMMERCIAL = "Not for commercial use: the weights that made the clips are licensed so."
OPEN = "Name the corpus and synthmir when you use them."


def write_card(root: Path) -> None:
    """Write README.md of the corpus at `root` from its recipe, records and shards."""
    recipe = yaml.safe_load((root / RECIPE).read_text(encoding="utf-8"))
    record = json.loads((root / BUILD_RECORD).read_text(encoding="utf-8"))
    configs = {"default": "data"} | {
        folder.name: folder.name
        for folder in sorted(root.iterdir())
        if folder.name != "data" and any(folder.glob("*-of-*.parquet"))
    }
    infos = {name: _info(root, folder) for name, folder in configs.items()}
    table = pa.concat_tables(
        pq.read_table(path, columns=["genre", "prompt", "guidance", "loudness", "peak"]).append_column(
            "split", pa.array([path.name.split("-")[0]] * pq.read_metadata(path).num_rows)
        )
        for path in sorted((root / "data").glob("*.parquet"))
    )
    genres = infos["default"]["features"]["genre"].names
    details = record["details"]
    channels = "stereo" if recipe["generator"].get("stereo") else "mono"
    context = {
        "name": recipe["name"],
        "load_path": root.name,
        "recipe": recipe,
        "seconds": recipe["generator"]["seconds"],
        "generator": details["generator"],
        "licence_note": NON_COMMERCIAL if "-nc" in details["generator"]["license"] else OPEN,
        "genres": genres,
        "splits": _splits(table, genres),
        "columns": [
            {"name": name, "type": _type_name(kind), "about": COLUMNS[name].format(channels=channels)}
            for name, kind in infos["default"]["features"].items()
        ],
        "embedders": [_embedder(root, name, info) for name, info in infos.items() if name != "default"],
        "prompts": len(table["prompt"].unique()),
        "levels": _levels(table),
        "fingerprint": record["fingerprint"],
        "device": record["device"],
        "versions": record["versions"],
        "sampled": table["guidance"].null_count < len(table),
        "retried": details.get("retried", 0),
        **{key: details[key] for key in ("clips", "rejected", "workers", "worker_seconds", "audio_seconds")},
    }
    head = yaml.safe_dump(_metadata(recipe, details, configs, infos), sort_keys=False, allow_unicode=True)
    write_text(root / CARD, f"---\n{head}---\n\n{_template().render(context)}\n")


def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=False, autoescape=False)  # Markdown
    environment.filters["thousands"] = lambda value: f"{value:,}"
    environment.filters["number"] = lambda value: f"{value:.4g}"
    environment.filters["hours"] = lambda value: f"{value:.1f} h" if value >= 1 else f"{60 * value:.1f} min"
    return environment.from_string(find("dataset_card.md").read_text(encoding="utf-8"))


def _info(root: Path, folder: str) -> dict[str, Any]:
    """Features, splits and sizes of a config, from the shards' own metadata."""
    from datasets import Features

    paths = sorted((root / folder).glob("*.parquet"))
    splits: dict[str, dict[str, int]] = {}
    for path in paths:
        match = SHARD_FILE.match(path.name)
        metadata = pq.read_metadata(path)
        split = splits.setdefault(match["split"] if match else "train", {"num_examples": 0, "num_bytes": 0})
        split["num_examples"] += metadata.num_rows
        split["num_bytes"] += sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    return {
        "features": Features.from_arrow_schema(pq.read_schema(paths[0])),
        "splits": splits,
        "download_size": sum(path.stat().st_size for path in paths),
    }


def _metadata(
    recipe: dict[str, Any], details: dict[str, Any], configs: dict[str, str], infos: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """The YAML block that the Hub and `datasets` read."""
    from datasets import DatasetInfo
    from datasets.splits import SplitDict, SplitInfo

    dataset_info = []
    for name, info in infos.items():
        splits = SplitDict({split: SplitInfo(split, **sizes) for split, sizes in info["splits"].items()})
        described = DatasetInfo(
            config_name=name,
            features=info["features"],
            splits=splits,
            download_size=info["download_size"],
            dataset_size=sum(sizes["num_bytes"] for sizes in info["splits"].values()),
        )
        dataset_info.append({"config_name": name, **described._to_yaml_dict()})
    clips = details["clips"]
    return {
        "pretty_name": recipe["name"],
        "license": details["generator"]["license"],
        "language": ["en"],
        "tags": [
            "audio",
            "music",
            "synthetic",
            "music-information-retrieval",
            details["generator"]["name"],
            "synthmir",
        ],
        "task_categories": ["audio-classification", "text-to-audio"],
        "size_categories": [next((name for limit, name in SIZES if clips < limit), "10M<n<100M")],
        "source_datasets": ["original"],
        "annotations_creators": ["machine-generated"],
        "language_creators": ["machine-generated"],
        "configs": [
            {
                "config_name": name,
                "data_files": [{"split": split, "path": f"{folder}/{split}-*"} for split in infos[name]["splits"]],
                **({"default": True} if name == "default" else {}),
            }
            for name, folder in configs.items()
        ],
        "dataset_info": dataset_info,
    }


def _splits(table: pa.Table, genres: list[str]) -> list[dict[str, Any]]:
    frame = table.select(["split", "genre"]).to_pandas()
    return [
        {
            "name": name,
            "clips": len(part),
            "genres": {genre: int((part["genre"] == i).sum()) for i, genre in enumerate(genres)},
        }
        for name, part in frame.groupby("split", sort=True)
    ]


def _levels(table: pa.Table) -> list[dict[str, Any]]:
    found = []
    for column, name in (("loudness", "loudness (LUFS)"), ("peak", "peak (dBFS)")):
        if len(table):
            low, mid, high = np.percentile(table[column].to_numpy(), [5, 50, 95])
            found.append({"name": name, "low": low, "mid": mid, "high": high})
    return found


def _embedder(root: Path, name: str, info: dict[str, Any]) -> dict[str, Any]:
    details = json.loads((root / embed_record(name)).read_text(encoding="utf-8"))["details"]
    about = details["embedder"]["about"]
    if augment := details.get("augment"):
        about = (
            f"`{details['embedder']['name']}`, to train on: in the train split each clip also as it is after "
            f"{', '.join(augment)}, told apart by the column `damage` (empty: clean)."
        )
    return {
        "name": name,
        "variable": re.sub(r"\W", "_", name),
        "dim": info["features"]["embedding"].length,
        "rows": sum(split["num_examples"] for split in info["splits"].values()),
        "about": about,
    }


def _type_name(kind: Any) -> str:
    from datasets import Audio, ClassLabel, List

    if isinstance(kind, List):
        return f"list of {_type_name(kind.feature)}"
    if isinstance(kind, ClassLabel):
        return f"class label ({kind.num_classes})"
    if isinstance(kind, Audio):
        return "audio"
    return str(kind.dtype)
