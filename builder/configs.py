"""The configs of a corpus, each a folder of shards, and what a config holds by its name."""

from __future__ import annotations

from typing import Literal, get_args

ConfigKind = Literal["audio", "embeddings", "annotations", "stems", "estimates"]
AUDIO = "data"  # folder of the config `default`: the clips and their labels
GENERATED: tuple[ConfigKind, ...] = ("annotations", "stems")  # by the generator, shard by shard as the clips
_RESERVED: dict[str, ConfigKind] = {kind: kind for kind in get_args(ConfigKind) if kind not in ("audio", "embeddings")}


def find_kind(folder: str) -> ConfigKind:
    """The kind of a config by its folder. A folder that has no name of its own kind holds embeddings."""
    return "audio" if folder == AUDIO else _RESERVED.get(folder, "embeddings")


def config_folder(config: str) -> str:
    """The folder of a config, by the name that `datasets` knows it by."""
    return AUDIO if config == "default" else config
