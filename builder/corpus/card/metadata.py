"""The YAML block of a dataset card, which the Hub and `datasets` read."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from ...configs import AUDIO
from ...io.hf_features import features_from_schema
from ...io.storage import open_for_arrow
from ..corpus import SHARD_FILE, Corpus, part_number

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10**7, "1M<n<10M"))

TASK_TAGS = {  # tasks that a config is for, by its kind
    "annotations": ("beat-tracking", "chord-recognition", "music-transcription"),
    "stems": ("music-source-separation",),
}


def read_config_infos(root: Path) -> dict[str, dict[str, Any]]:
    """Read kind, folder, features, splits, sizes and a digest of each config, `default` first, from its shards."""
    folders = {AUDIO: "audio"} | Corpus(root).configs()
    return {
        "default" if folder == AUDIO else folder: {"kind": kind, **_read_config_info(root, folder)}
        for folder, kind in folders.items()
    }


def _read_config_info(root: Path, folder: str) -> dict[str, Any]:
    paths = sorted((root / folder).glob("*.parquet"))
    newest = max(paths, key=lambda path: part_number(path.name))  # has the labels of all older parts
    splits: dict[str, dict[str, int]] = {}
    digest = hashlib.sha256()
    for path in paths:
        match = SHARD_FILE.match(path.name)
        metadata = pq.read_metadata(open_for_arrow(path))
        digest.update(repr([path.name, path.stat().st_size, sorted((metadata.metadata or {}).items())]).encode())
        split = splits.setdefault(match["split"] if match else "train", {"num_examples": 0, "num_bytes": 0})
        split["num_examples"] += metadata.num_rows
        split["num_bytes"] += sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    return {
        "folder": folder,
        "features": features_from_schema(pq.read_schema(open_for_arrow(newest)), newest),
        "splits": splits,
        "digest": digest.hexdigest()[:16],
        "download_size": sum(path.stat().st_size for path in paths),
    }


def make_metadata(
    name: str, licence: str, generators: list[str], clips: int, configs: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """Make the YAML block of a corpus.

    Args:
        name: Name of the corpus.
        licence: Its licence, as the Hub writes it.
        generators: Names of its generators.
        clips: Number of clips.
        configs: As `read_config_infos` returns them.
    """
    return {
        "pretty_name": name,
        "license": licence,
        "language": ["en"],
        "tags": [
            *("audio", "music", "synthetic", "music-information-retrieval", "music-generation"),
            *("music-genre-classification", "music-tagging", "text-to-music"),
            *dict.fromkeys(generators),
            *(config for config, info in configs.items() if info["kind"] == "embeddings"),
            *(tag for info in configs.values() for tag in TASK_TAGS.get(info["kind"], ())),
            "synthmir",
        ],
        "task_categories": ["audio-classification", "text-to-audio"],
        "size_categories": [next((size for limit, size in SIZES if clips < limit), "10M<n<100M")],
        "source_datasets": ["original"],
        "annotations_creators": ["machine-generated"],
        "language_creators": ["machine-generated"],
        "configs": [
            {
                "config_name": config,
                "data_files": [{"split": split, "path": f"{info['folder']}/{split}-*"} for split in info["splits"]],
                # `datasets` caches a local folder by its card: a corpus with other rows must have another card.
                "description": f"digest {info['digest']}",
                **({"default": True} if config == "default" else {}),
            }
            for config, info in configs.items()
        ],
        "dataset_info": [
            {"config_name": config, **_make_dataset_info(config, info)} for config, info in configs.items()
        ],
    }


def _make_dataset_info(config: str, info: dict[str, Any]) -> dict[str, Any]:
    from datasets import DatasetInfo
    from datasets.splits import SplitDict, SplitInfo

    block: dict[str, Any] = DatasetInfo(
        config_name=config,
        features=info["features"],
        splits=SplitDict({split: SplitInfo(split, **sizes) for split, sizes in info["splits"].items()}),
        download_size=info["download_size"],
        dataset_size=sum(sizes["num_bytes"] for sizes in info["splits"].values()),
    )._to_yaml_dict()
    return block


def describe_type(kind: Any) -> str:
    """Describe the type of a column, as "list of class label (12)"."""
    from datasets import Audio, ClassLabel, List

    if isinstance(kind, dict):
        return f"{{{', '.join(f'{name}: {describe_type(part)}' for name, part in kind.items())}}}"
    if isinstance(kind, List):
        return f"list of {describe_type(kind.feature)}"
    if isinstance(kind, ClassLabel):
        return f"class label ({kind.num_classes})"
    if isinstance(kind, Audio):
        return "audio"
    return str(kind.dtype)
