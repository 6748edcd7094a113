"""Data sets that synthmir did not write, opened in one way: what `datasets` saved, Parquet, a folder, or a Hub id."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DataError
from .parquet_guard import check_parquet
from .safe_files import read_json
from .storage import path_exists

if TYPE_CHECKING:
    from datasets import Dataset

SAVED_DICT = "dataset_dict.json"
SAVED = (SAVED_DICT, "dataset_info.json", "state.json")


def is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` wrote a folder."""
    return any((folder / name).exists() for name in SAVED)


def load_splits(source: Path | str, config: str | None = None) -> dict[str, Dataset]:
    """Open every split of a data set. Audio stays as it is stored.

    Args:
        source: What `save_to_disk` wrote, a Parquet file, a folder that `datasets` loads, or an id on the Hub.
        config: The config to load where the data set has several.

    Returns:
        The splits by name; a data set without splits is called "train".

    Raises:
        DataError: `datasets` cannot load it, a Parquet file would unpack to far more than its size, or there are
            several configs and none is called `config`.
    """
    place = Path(source)
    local = path_exists(place)
    if local and place.is_file() and place.suffix != ".parquet":
        raise DataError(
            f"{place}: not a folder and not a Parquet file", "give a data set on disk, or a folder of audio"
        )
    if local and place.is_dir() and not any(place.iterdir()):
        raise DataError(f"{place}: the folder is empty", "give a data set on disk")
    try:
        if local:
            for file in (place,) if place.is_file() else place.rglob("*.parquet"):
                check_parquet(file)
        return _load(str(source), config)
    except DataError:
        raise
    except Exception as error:  # whatever a data set's files make `datasets` raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise DataError(
            f"{source}: cannot be loaded as a data set: {reason}", "check the path, or the id on the Hub"
        ) from error


def _load(source: str, config: str | None) -> dict[str, Dataset]:
    from datasets import get_dataset_config_names

    from .hf_audio import load_dataset, load_from_disk

    place = Path(source)
    if (place / SAVED_DICT).is_file():
        return {name: _load_saved_split(place / name) for name in read_json(place / SAVED_DICT)["splits"]}
    if is_saved(place):
        return _splits(load_from_disk(place))
    if place.is_file():
        return _splits(load_dataset("parquet", data_files=source))
    names = get_dataset_config_names(source) if config is not None else []
    if len(names) > 1 and config not in names:
        raise DataError(f"{source}: has no config {config!r} (there: {', '.join(names)})", "name one: --embedder NAME")
    return _splits(load_dataset(source, config if config in names else None))


def _splits(data: Any) -> dict[str, Dataset]:
    from datasets import Dataset

    return {"train": data} if isinstance(data, Dataset) else dict(data)


def _load_saved_split(folder: Path) -> Dataset:
    """One split that `save_to_disk` wrote. `datasets` cannot load one without rows: an empty one stands for it."""
    from datasets import Dataset, DatasetInfo, Features

    from .hf_audio import load_from_disk

    if read_json(folder / "state.json")["_data_files"]:
        split: Dataset = load_from_disk(folder)
        return split
    features = DatasetInfo.from_directory(str(folder)).features or Features()
    return Dataset.from_dict({name: [] for name in features}, features=features)
