"""Cards on the Hub: with the address of their repository, and of the model or the dataset that belongs to it.

The files of the folder are not changed. The published files differ in README.md, in paths of this machine, which are
removed, and for a corpus in the lines of SHA256SUMS for these files, so that a downloaded folder can be verified.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from ..corpus.corpus import SUMS
from ..errors import DataError
from ..io.markdown import FRONT, parse_front_matter
from ..io.safe_files import parse_yaml
from ..records import find_machine_path, strip_paths
from .client import CHANGE_CARD

HEADING = "## On the Hub"
LOAD = re.compile(r'(load_dataset\(\s*)"(?:[^"\\\n]|\\.)*"')
OWN = re.compile(r"(@misc\{synthmir-[^\n]*,\n {2}title = [^\n]*,\n)")  # the citation of the corpus
SUM = re.compile(r"^[0-9a-f]{64}  (?P<path>\S.*)$", re.MULTILINE)
LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*")  # the form of all identifiers that the Hub lists
TEXT_FILES = (
    ".json",
    ".jsonl",
    ".yaml",
    ".yml",
    ".md",
    ".csv",
    ".txt",
    ".svg",
    ".html",
    ".css",
    ".js",
    ".py",
    ".toml",
)
TEXTS = ("license", "language", "tags", "task_categories", "size_categories", "pretty_name", "datasets", "metrics")


def adapt_dataset_card(text: str, repo: str, model: tuple[str, str] | None) -> str:
    """Adapt the card of a corpus to its repository.

    Args:
        text: The card.
        repo: The repository, which the code in the card will load from.
        model: Repository and address of a classifier that was trained on the corpus.

    Returns:
        The card to publish.
    """
    lines = [f'The corpus is `{repo}`: `load_dataset("{repo}")`.']
    if model is not None:
        lines.append(f"A classifier that was trained on it: [{model[0]}]({model[1]}).")
    text = LOAD.sub(lambda call: f'{call[1]}"{repo}"', text)
    text = OWN.sub(lambda entry: f"{entry[1]}  howpublished = {{Hugging Face Hub, {repo}}},\n", text, count=1)
    return _insert_section(text, lines)


def adapt_model_card(text: str, repo: str, dataset: tuple[str, str] | None) -> str:
    """Adapt the card of a model to its repository.

    Args:
        text: The card.
        repo: The repository, which the code in the card will load from.
        dataset: Repository and address of its corpus.

    Returns:
        The card to publish.
    """
    text = text.replace('"MODEL"', f'"{repo}"')
    if dataset is not None:
        text = update_metadata(text, {"datasets": [dataset[0]]})
    lines = [f"The model is `{repo}`."]
    if dataset is not None:
        lines.append(f"The corpus that it was trained on: [{dataset[0]}]({dataset[1]}).")
    return _insert_section(text, lines)


def remove_machine_paths(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Remove paths of this machine from the files of a folder.

    Records, recipes and cards are cleaned, see `strip_paths`. Files that must not change are only searched: code, the
    metadata of shards and weights, and descriptions, whose hash is in the fingerprint of the corpus.

    Args:
        folder: The folder.
        names: Its files, relative to it.

    Returns:
        The new content of the files that change, SHA256SUMS included.

    Raises:
        DataError: A file cannot be cleaned; the message names it, and the key or the line.
    """
    names, changed = list(names), {}
    for name in names:
        path = folder / name
        if path.suffix == ".parquet":
            _search_metadata(path, folder, _footer(path))
        elif path.suffix == ".safetensors":
            _search_metadata(path, folder, _weights_metadata(path))
        elif path.suffix in TEXT_FILES and (text := _text(path)) is not None:
            if (cleaned := _cleaned(path, text, folder)) != text:
                changed[name] = cleaned
            if (found := find_machine_path(cleaned, folder)) is not None:
                line = cleaned[: cleaned.index(found)].count("\n") + 1
                raise DataError(f"{path}, line {line}: names a path of this machine: {found}", "write it without")
    for name in names:
        place = name.removesuffix(SUMS)
        if name.endswith(SUMS) and any(other.startswith(place) for other in changed):
            inner = {other.removeprefix(place): text for other, text in changed.items() if other.startswith(place)}
            changed[name] = update_sums((folder / name).read_text(encoding="utf-8"), inner)
    return changed


def _cleaned(path: Path, text: str, folder: Path) -> str:
    """The text of a file without paths, if it may be changed."""
    if path.name.startswith("descriptions."):
        return text
    if path.suffix == ".md":
        return str(strip_paths(f"{text}\n", folder))[:-1]
    try:
        if path.suffix == ".json":
            data = json.loads(text)
            cleaned = _clean_config(data, folder) if path.name == "config.json" else strip_paths(data, folder)
            return text if cleaned == data else json.dumps(cleaned, indent=2, ensure_ascii=False) + "\n"
        if path.suffix == ".jsonl":
            rows = [(line, json.loads(line)) for line in text.splitlines()]
            pairs = [(line, row, strip_paths(row, folder)) for line, row in rows]
            lines = [line if row == clean else json.dumps(clean, ensure_ascii=False) for line, row, clean in pairs]
            return text if all(row == clean for _, row, clean in pairs) else "\n".join(lines) + "\n"
        if path.suffix in (".yaml", ".yml"):
            data = parse_yaml(text)
            cleaned = strip_paths(data, folder)
            return text if cleaned == data else yaml.safe_dump(cleaned, sort_keys=False, allow_unicode=True)
    except (ValueError, yaml.YAMLError, RecursionError):
        return text  # not what its name says, so it is searched as text
    return text


def _clean_config(data: Any, folder: Path) -> Any:
    """Clean the config of a model, but for its labels, which may look like paths."""
    if not isinstance(data, dict) or "embedder" not in data:
        return data
    return data | {"embedder": strip_paths(data["embedder"], folder)}


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def _footer(path: Path) -> dict[str, str]:
    """The metadata of a Parquet file without the schema of Arrow."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        found = pq.read_metadata(path).metadata or {}
    except (OSError, pa.ArrowException):
        return {}  # `check_folder` refuses it
    texts = {key.decode("utf-8", "replace"): value.decode("utf-8", "replace") for key, value in found.items()}
    return {key: text for key, text in texts.items() if key != "ARROW:schema"}


def _weights_metadata(path: Path) -> dict[str, str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as weights:
            return dict(weights.metadata() or {})
    except (SafetensorError, OSError):
        return {}  # `check_folder` refuses it


def _search_metadata(path: Path, folder: Path, metadata: dict[str, str]) -> None:
    for key, text in metadata.items():
        try:
            data = json.loads(text)
        except ValueError:
            data = text
        for place, value in _strings(data, key):
            if strip_paths(value, folder) != value:
                raise DataError(
                    f"{path}: its metadata names a path of this machine: {place}: {value}",
                    "it cannot be changed there: make the file again with this version, which keeps only the name",
                )


def _strings(data: Any, key: str) -> Iterator[tuple[str, str]]:
    """Every text in a JSON value, with its keys."""
    if isinstance(data, str):
        yield key, data
    elif isinstance(data, dict | list):
        for name, inner in data.items() if isinstance(data, dict) else enumerate(data):
            yield from _strings(inner, f"{key}.{name}")


def update_sums(sums: str, changed: Mapping[str, str]) -> str:
    """Update the content of SHA256SUMS with the hashes of files whose new text is given by path."""

    def line(match: re.Match[str]) -> str:
        text = changed.get(match["path"])
        return match[0] if text is None else f"{hashlib.sha256(text.encode()).hexdigest()}  {match['path']}"

    return SUM.sub(line, sums)


def check_card(text: str, kind: str, path: str) -> None:
    """Check the YAML of a card by the rules of the client libraries, which need no Hub.

    Args:
        text: The card as it will be published.
        kind: "dataset", "model" or "space".
        path: Its file, for the message.

    Raises:
        DataError: A value that the Hub or `datasets` would refuse; the message names its key.
    """
    for key, fault in _faults(parse_front_matter(text), kind):
        raise DataError(f"{path}: its YAML is not valid on the Hub: {key}: {fault}", CHANGE_CARD)


def _faults(data: dict[str, Any], kind: str) -> Iterator[tuple[str, str]]:
    values = {key: data[key] if isinstance(data[key], list) else [data[key]] for key in TEXTS if key in data}
    for key, found in values.items():
        yield from ((key, f"{value!r} is not text") for value in found if not isinstance(value, str))
    for value in values.get("license", ()):
        if not LICENSE.fullmatch(value):
            yield "license", f"{value!r} is not an identifier such as cc-by-4.0"
    if "language" in values:
        known = {*_list_known("languages"), "code", "multilingual"}
        yield from (("language", f"{v!r} is not an ISO 639 code") for v in values["language"] if v not in known)
    if kind == "dataset":
        known = {*_list_known("size_categories"), "other"}
        for value in values.get("size_categories", ()):
            if value not in known:
                yield "size_categories", f"{value!r} is not one of {', '.join(sorted(known))}"
        yield from _data_faults(data)
    elif kind == "model":
        from huggingface_hub import ModelCardData

        try:
            ModelCardData(**data)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            yield "model-index", str(error)


def _data_faults(data: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Faults in the configs and columns that `datasets` would read."""
    from datasets.info import DatasetInfosDict
    from datasets.utils.metadata import MetadataConfigs
    from huggingface_hub import DatasetCardData

    for key, read in (
        ("configs", lambda card: MetadataConfigs.from_dataset_card_data(card).get_default_config_name()),
        ("dataset_info", DatasetInfosDict.from_dataset_card_data),
    ):
        try:
            read(DatasetCardData(**{key: data[key]} if key in data else {}))
        except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            yield key, " ".join(str(error).split())


def _list_known(name: str) -> list[str]:
    """Values that `datasets` lists as known."""
    return list(json.loads((resources.files("datasets.utils.resources") / f"{name}.json").read_text("utf-8")))


def _insert_section(text: str, lines: list[str]) -> str:
    """Insert the section about the Hub before the first section of a card."""
    section = f"{HEADING}\n\n" + "\n".join(lines) + "\n\n"
    start = text.find("\n## ") + 1
    return text[:start] + section + text[start:] if start else f"{text.rstrip()}\n\n{section.rstrip()}\n"


def update_metadata(text: str, more: dict[str, Any]) -> str:
    """Change keys in the YAML of a card. Raises DataError for a card without YAML."""
    data = {**parse_front_matter(text), **more}
    match = FRONT.match(text)
    assert match is not None, "front has seen it"
    return f"---\n{yaml.safe_dump(data, sort_keys=False, allow_unicode=True)}---\n{match['body']}"
