"""Figures of fidelity on their way into a corpus' card, as the command line takes them."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

import synthmir.cli
from builder.corpus.building.build import build
from builder.corpus.card.fidelity import FIDELITY, read_fidelity
from builder.corpus.verify import verify
from builder.embedders.embed_corpus import embed_corpus
from builder.recipe import EmbedderSettings
from evaluation.fidelity.figures import Fidelity

from ... import markdown as page
from ...builder import fakes

fakes.register()


def test_what_is_measured_stands_in_the_card(tmp_path: Path) -> None:
    corpus, out = tmp_path / "corpus", tmp_path / "out"
    build(fakes.small_recipe(tmp_path, per_genre=10), corpus, clips_per_shard=40, workers=1)
    embed_corpus(corpus, EmbedderSettings(name="levels"))
    command = ["fidelity", str(corpus), "--against", "validation", "--out", str(out)]
    done = CliRunner().invoke(synthmir.cli.app, command, catch_exceptions=False)
    assert done.exit_code == 0 and f"card  {corpus / 'README.md'}" in done.output

    found, (kept,) = Fidelity.read(out / "fidelity.json"), read_fidelity(corpus)
    pairs = [
        (kept.frechet.distance, found.frechet.distance),
        (kept.kernel.rbf, found.kernel.rbf),
        (kept.manifold and kept.manifold.coverage, found.manifold and found.manifold.coverage),
        (kept.two_sample and kept.two_sample.accuracy, found.two_sample and found.two_sample.accuracy),
        (kept.adherence and kept.adherence.accuracy, found.adherence and found.adherence.accuracy),
        *((mine.adherence, theirs.adherence) for mine, theirs in zip(kept.genres, found.genres, strict=True)),
    ]
    for mine, theirs in pairs:
        assert (mine is None) == (theirs is None)
        if mine is not None and theirs is not None:
            assert mine.value == float(f"{theirs.value:.6g}") and mine.n == theirs.n
    assert kept.adherence is not None and kept.held_out and str(tmp_path) not in (corpus / FIDELITY).read_text()

    text = (corpus / "README.md").read_text()
    values = {row[0]: row[1] for table in page.tables(text[text.index("### Against its own") :]) for row in table}
    assert values["Fréchet distance"] == f"{found.frechet.distance.value:.4g}"
    assert values["heard as asked"].startswith(f"{100 * kept.adherence.accuracy.value:.1f} % [")
    assert str(tmp_path) not in text and not page.ragged(text) and not verify(corpus).faults

    before = json.loads((corpus / FIDELITY).read_text()), (corpus / "SHA256SUMS").stat().st_mtime_ns
    done = CliRunner().invoke(synthmir.cli.app, command, catch_exceptions=False)
    assert done.exit_code == 0 and "card  " not in done.output
    assert before == (json.loads((corpus / FIDELITY).read_text()), (corpus / "SHA256SUMS").stat().st_mtime_ns)
