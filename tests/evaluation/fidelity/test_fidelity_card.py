"""Fidelity in a corpus's card, as the command writes it."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import synthmir.cli
from builder.corpus.building.build import build
from builder.corpus.card.fidelity import FIDELITY, read_fidelity
from builder.corpus.corpus import Corpus
from builder.corpus.verify import verify
from builder.embedders.embed_corpus import embed_corpus
from builder.errors import DataError
from builder.estimators.annotate_corpus import annotate_corpus
from builder.settings import EmbedderSettings
from evaluation.fidelity.copies import count_annotated
from evaluation.results.fidelity import Fidelity

from ... import markdown as page
from ...builder import fakes

fakes.register()


def test_the_card_has_the_measured_values(tmp_path: Path) -> None:
    corpus, out = tmp_path / "corpus", tmp_path / "out"
    build(fakes.small_recipe(tmp_path, per_genre=10), corpus, clips_per_shard=40, workers=1)
    embed_corpus(corpus, EmbedderSettings(name="levels"))
    command = ["fidelity", str(corpus), "--against", "validation", "--out", str(out)]
    result = CliRunner().invoke(synthmir.cli.app, command, catch_exceptions=False)
    assert result.exit_code == 0 and f"card  {corpus / 'README.md'}" in result.output

    fidelity, (stored,) = Fidelity.read(out / "fidelity.json"), read_fidelity(corpus)
    pairs = [
        (stored.frechet.distance, fidelity.frechet.distance),
        (stored.kernel.rbf, fidelity.kernel.rbf),
        (stored.manifold and stored.manifold.coverage, fidelity.manifold and fidelity.manifold.coverage),
        (stored.two_sample and stored.two_sample.accuracy, fidelity.two_sample and fidelity.two_sample.accuracy),
        (stored.adherence and stored.adherence.accuracy, fidelity.adherence and fidelity.adherence.accuracy),
        *((short.adherence, full.adherence) for short, full in zip(stored.genres, fidelity.genres, strict=True)),
    ]
    for short, full in pairs:
        assert (short is None) == (full is None)
        if short is not None and full is not None:
            assert short.value == float(f"{full.value:.6g}") and short.n == full.n
    assert stored.adherence is not None and stored.held_out and str(tmp_path) not in (corpus / FIDELITY).read_text()

    text = (corpus / "README.md").read_text()
    values = {
        row[0]: row[1] for table in page.tables(text[text.index("### Compared with its own") :]) for row in table
    }
    assert values["Fréchet distance"] == f"{fidelity.frechet.distance.value:.4g}"
    assert values["prompt adherence"].startswith(f"{100 * stored.adherence.accuracy.value:.1f} % [")
    assert str(tmp_path) not in text and not page.ragged(text) and not verify(corpus).faults

    before = json.loads((corpus / FIDELITY).read_text()), (corpus / "SHA256SUMS").stat().st_mtime_ns
    result = CliRunner().invoke(synthmir.cli.app, command, catch_exceptions=False)
    assert result.exit_code == 0 and "card  " not in result.output
    assert before == (json.loads((corpus / FIDELITY).read_text()), (corpus / "SHA256SUMS").stat().st_mtime_ns)


def test_annotated_copies_are_counted(tmp_path: Path) -> None:
    root, music = tmp_path / "corpus", tmp_path / "music"
    build(fakes.small_recipe(tmp_path, per_genre=2), root, clips_per_shard=40, workers=1)
    assert count_annotated(root) is None
    first, second = pq.read_table(root / Corpus.open(root).shards()[0], columns=["id", "audio"]).to_pylist()[:2]
    music.mkdir()
    (music / "known.flac").write_bytes(first["audio"]["bytes"])
    (music / "other.wav").write_text("no audio")
    with_copies = [f"copies:{music}"]
    record = annotate_corpus(root, with_copies)
    assert record.details["estimators"][0]["about"].endswith("1 file could not be read.")
    counted = count_annotated(root)
    assert counted is not None and (counted.n, counted.copies) == (10, 1)
    assert [(one.clip, one.recording) for one in counted.listed] == [(first["id"], "known.flac")]

    (music / "other.wav").unlink()
    annotate_corpus(root, with_copies)  # what cannot be read is no part of the version
    (music / "more.flac").write_bytes(second["audio"]["bytes"])
    with pytest.raises(DataError, match=r"estimates of 'copies' are of revision 2-\w+, this is 2-\w+"):
        annotate_corpus(root, with_copies)
    assert count_annotated(root) == counted
    annotate_corpus(root, with_copies, overwrite=True)
    again = count_annotated(root)
    assert again is not None and {one.recording for one in again.listed} == {"known.flac", "more.flac"}
