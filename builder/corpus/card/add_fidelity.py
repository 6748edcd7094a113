"""Figures of fidelity taken over into a corpus, so that its card tells them wherever the corpus goes."""

from __future__ import annotations

from pathlib import Path

from ...errors import DataError
from ...io.atomic import write_text
from ...io.storage import sha256
from ..corpus import CARD, Corpus, embed_record, write_sums
from ..shards import WORK, locked
from .card import write_card
from .fidelity import FILE, MEND, Measurement, measurements, read_measurement, state, told


def add_fidelity(path: str | Path, measured: Path) -> bool:
    """Take what `synthmir fidelity` wrote to the file `measured` over into the corpus at `path`; was there news?

    Writes `fidelity.json`, the card and the sums; figures of the same reference and embedder are replaced, those of
    embeddings that are gone are dropped. Raises DataError for figures of another corpus or state of it.
    """
    corpus = Corpus.open(path)
    if not corpus.shards():  # the audio is elsewhere, and the card with it
        return False
    found = read_measurement(measured)
    _refuse_other(corpus, found, measured)
    root = corpus.root
    with locked(root / WORK):
        found = found.model_copy(update={"of": state(root, "data", found.embedder.name)})
        content = told([*(one for one in measurements(root) if one.key != found.key), found])
        if news := not _is_so(corpus, content):
            write_text(root / FILE, content)
            write_card(root)
            write_sums(root, {name: digest for name, digest in corpus.sums().items() if name.endswith(".parquet")})
    return news


def _is_so(corpus: Corpus, content: str) -> bool:
    """Whether the figures are there already, and the sums tell so: a run that was stopped in between is finished."""
    path, sums = corpus.root / FILE, corpus.sums()
    return (
        path.exists()
        and path.read_text(encoding="utf-8") == content
        and all(sums.get(name) == sha256(corpus.root / name) for name in (FILE, CARD))
    )


def _refuse_other(corpus: Corpus, found: Measurement, measured: Path) -> None:
    name = found.embedder.name
    stored = corpus.record(embed_record(name)).get("details", {}).get("embedder", {})
    if found.corpus.fingerprint != corpus.fingerprint:
        other = f"a corpus of the recipe {found.corpus.fingerprint}, this one is of {corpus.fingerprint}"
    elif name not in corpus.embedders():
        other = f"{name!r} embeddings, which are not in the corpus"
    elif stored.get("revision", found.embedder.revision) != found.embedder.revision:
        other = f"revision {found.embedder.revision} of {name!r}, the corpus has {stored['revision']}"
    else:
        return
    raise DataError(f"{measured}: its figures are of {other}", MEND)
