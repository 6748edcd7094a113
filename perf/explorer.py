"""The explorer on 5,000 clips: time until the page is served, peak memory, and how much audio is read by then.

uv run perf/explorer.py [--quick] [--json FILE]

Each start is a new process, timed from its start to the page's last byte. The corpus is a tone of one second, copied:
the start depends on labels, embeddings and the number of clips, and not on the audio. Reading the labels is compared
with `load_dataset` of the folder, followed by a table of all columns but the audio.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import table

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

RECIPE = "{name: perf, prompts: {per_genre: 40}, generator: {name: tone, seconds: 1}, split: {validation: 0.1}}"
SHARD = 1_000  # clips


def make_corpus(place: Path, clips: int) -> Path:
    """Write a corpus of `clips` clips: copies of 180 clips with new ids, and embeddings with a little noise."""
    import numpy as np
    import pyarrow.parquet as pq
    from datasets import Features

    from builder.corpus.building.build import build
    from builder.corpus.card.card import write_card
    from builder.corpus.corpus import write_sums
    from builder.corpus.shards import read_footer, write_shard
    from builder.embedders.embed_corpus import embed_corpus
    from builder.recipe import Recipe
    from builder.settings import EmbedderSettings
    from tests.builder import fakes

    fakes.register()
    (place / "perf.yaml").write_text(RECIPE)
    corpus, random = place / "corpus", np.random.default_rng(0)
    build(Recipe.load(place / "perf.yaml"), corpus, clips_per_shard=SHARD, workers=1)
    embed_corpus(corpus, EmbedderSettings())
    for config in ("data", "melstats"):
        small = corpus / config / "train-00000-of-00001.parquet"
        footer, schema = read_footer(small), pq.read_schema(small)
        rows = pq.read_table(small).to_pylist()
        total = -(-clips // SHARD)
        for shard in range(total):
            chosen = [
                rows[n % len(rows)] | {"id": f"clip-{n:06d}"}
                for n in range(shard * SHARD, min(clips, (shard + 1) * SHARD))
            ]
            for row in chosen:
                if config == "data":  # bytes after the last frame, so that Parquet does not store equal clips once
                    row["audio"] = row["audio"] | {"bytes": row["audio"]["bytes"] + row["id"].encode()}
                else:
                    row["embedding"] = row["embedding"] + random.standard_normal(len(row["embedding"]))
            name = small.with_name(f"train-{shard:05d}-of-{total:05d}.parquet")
            write_shard(name, [chosen], Features.from_arrow_schema(schema), footer)
        small.unlink()
    write_card(corpus)
    write_sums(corpus, {})
    return corpus


def measure_start(corpus: Path) -> tuple[float, float, float]:
    """Serve the page once: seconds until it is complete, seconds of processor time, and peak MB of the process."""
    begun = time.perf_counter()
    command = [sys.executable, "-m", "synthmir", "explore", str(corpus), "--no-browser", "--port", "0"]
    page = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert page.stderr is not None
        line = next(line for line in iter(page.stderr.readline, "") if " at http://" in line)
        with urllib.request.urlopen(line.split(" at ")[1].split()[0]) as answer:
            answer.read()
        seconds = time.perf_counter() - begun
        status = Path(f"/proc/{page.pid}/status").read_text()
        ticks = Path(f"/proc/{page.pid}/stat").read_text().rpartition(") ")[2].split()[11:13]  # user and system time
        busy = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
        return seconds, busy, 1024 * int(status.partition("VmHWM:")[2].split()[0]) / 1e6
    finally:
        page.terminate()
        page.wait()


def measure_audio_read(corpus: Path) -> tuple[int, int]:
    """Return how many bytes of the audio column are read when the corpus is opened, and how many there are."""
    import pyarrow.parquet as pq

    from evaluation.explorer.clip_table import Clips
    from evaluation.explorer.corpus_source import CorpusFolder

    parts: list[tuple[str, int, int]] = []

    class CountingFile(io.FileIO):
        def read(self, size: int = -1) -> bytes:
            start, data = self.seek(0, io.SEEK_CUR), super().read(size)
            parts.append((str(self.name), start, start + len(data)))
            return data

    @contextmanager
    def open_counting(self: CorpusFolder, name: str) -> Iterator[Any]:
        with CountingFile(str(self.root / name), "rb") as handle:
            yield handle

    CorpusFolder.open = open_counting  # type: ignore[method-assign]
    clips = Clips.open(corpus)
    clips.facets(), clips.summary, clips.filter(text="guitar")
    read = total = 0
    for path in sorted((corpus / "data").glob("*.parquet")):
        footer = pq.read_metadata(path)
        for group in (footer.row_group(n) for n in range(footer.num_row_groups)):
            chunk = next(c for c in map(group.column, range(group.num_columns)) if c.path_in_schema == "audio.bytes")
            begin = chunk.dictionary_page_offset or chunk.data_page_offset
            end = begin + chunk.total_compressed_size
            total += end - begin
            read += sum(max(0, min(end, high) - max(begin, low)) for name, low, high in parts if name == str(path))
    return read, total


def time_labels(corpus: Path, cache: Path, ours: bool) -> float:
    """Return the seconds until all labels are in a table: by the explorer, or by `datasets` without a cache."""
    import datasets

    from evaluation.explorer.clip_table import Clips

    begun = time.perf_counter()
    if ours:
        rows = len(Clips.open(corpus).table)
    else:
        loaded = datasets.load_dataset(str(corpus), cache_dir=str(cache), split="train")
        rows = len(loaded.remove_columns("audio").to_pandas())
    seconds = time.perf_counter() - begun
    shutil.rmtree(cache, ignore_errors=True)
    assert rows
    return seconds


def main() -> None:
    options = table.arguments(__doc__)
    clips, rounds = (5_000, 2) if options.quick else (5_000, 5)
    with tempfile.TemporaryDirectory() as place:
        corpus = make_corpus(Path(place), clips)
        starts = [measure_start(corpus) for _ in range(rounds)]
        pairs = [
            [time_labels(corpus, Path(place) / "cache", ours) for ours in (True, False)] for _ in range(rounds)
        ]  # fmt: skip
        read, total = measure_audio_read(corpus)
    ours, peers = zip(*pairs, strict=True)
    note = f"{clips:,} clips, {total / 1e6:.0f} MB of audio"
    rows = [
        table.row(
            "start until the page is served", "s", median(one[0] for one in starts), 3.0, "the limit", rounds, note
        ),
        table.row("processor time until then", "s", median(one[1] for one in starts), n=rounds, note=note),
        table.row("peak memory until then", "MB", median(one[2] for one in starts), n=rounds, note=note),
        table.row("audio read until then", "bytes", read, n=1, note=note),
        table.paired("labels in a table", "s", ours, peers, "load_dataset, first time", note),
    ]
    table.finish("explorer", rows, options)


if __name__ == "__main__":
    main()
