"""Add a measurement of fidelity to a corpus, so that its card shows it wherever the corpus is copied."""

from __future__ import annotations

from pathlib import Path

from ...errors import DataError
from ...io.atomic import write_text
from ...io.locks import lock_folder
from ...io.storage import hash_file
from ..corpus import CARD, Corpus, embed_record, write_sums
from ..shards import WORK
from .card import write_card
from .fidelity import FIDELITY, digest_shards, format_fidelity, read_fidelity
from .measurement import MEASURE_AGAIN, Measurement, read_measurement


def add_fidelity(path: str | Path, measured: Path) -> bool:
    """Add what `synthmir fidelity` wrote to a corpus: to its `fidelity.json`, its card and its sums.

    A measurement of the same reference and embedder is replaced. Measurements of embeddings that are gone are dropped.

    Args:
        path: The corpus folder.
        measured: The file that `synthmir fidelity` wrote.

    Returns:
        Whether the corpus was changed.

    Raises:
        DataError: The measurement is of another corpus, or of another state of this one.
    """
    corpus = Corpus.open(path)
    if not corpus.shards():  # embeddings alone: the card is where the audio is
        return False
    measurement = read_measurement(measured)
    _refuse_other_corpus(corpus, measurement, measured)
    root = corpus.root
    with lock_folder(root / WORK):
        measurement = measurement.model_copy(update={"of": digest_shards(root, "data", measurement.embedder.name)})
        others = [other for other in read_fidelity(root) if other.key != measurement.key]
        content = format_fidelity([*others, measurement])
        if _has_content(corpus, content):
            return False
        write_text(root / FIDELITY, content)
        write_card(root)
        write_sums(root, {name: digest for name, digest in corpus.sums().items() if name.endswith(".parquet")})
    return True


def _has_content(corpus: Corpus, content: str) -> bool:
    """Whether `fidelity.json` has this content and the sums match, which a stopped run may not have done."""
    path, sums = corpus.root / FIDELITY, corpus.sums()
    return (
        path.exists()
        and path.read_text(encoding="utf-8") == content
        and all(sums.get(name) == hash_file(corpus.root / name) for name in (FIDELITY, CARD))
    )


def _refuse_other_corpus(corpus: Corpus, measurement: Measurement, measured: Path) -> None:
    name = measurement.embedder.name
    stored = corpus.record(embed_record(name)).get("details", {}).get("embedder", {})
    if measurement.corpus.fingerprint != corpus.fingerprint:
        other = f"a corpus of the recipe {measurement.corpus.fingerprint}, this one is of {corpus.fingerprint}"
    elif name not in corpus.embedders():
        other = f"{name!r} embeddings, which are not in the corpus"
    elif stored.get("revision", measurement.embedder.revision) != measurement.embedder.revision:
        other = f"revision {measurement.embedder.revision} of {name!r}, the corpus has {stored['revision']}"
    else:
        return
    raise DataError(f"{measured}: its figures are of {other}", MEASURE_AGAIN)
