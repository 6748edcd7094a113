"""The explorer on 5,000 clips: how soon the page is there, in how much memory, and how much audio it has read by then.

uv run perf/explorer.py [--quick] [--json FILE]

Each start is a process of its own, timed from its beginning to the page's last byte. The corpus is a tone of a second,
copied: labels, embeddings and the number of clips make the start, the sound does not. What the labels take is paired
with what somebody would do without us: `load_dataset` of the folder, and its columns but the audio as a table.
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


def make(place: Path, clips: int) -> Path:
    """A corpus of `clips` clips, the sound of 180 under ids of their own; embeddings differ by a little noise."""
    import numpy as np
    import pyarrow.parquet as pq
    from datasets import Features

    from builder.corpus.building.build import build
    from builder.corpus.card.card import write_card
    from builder.corpus.corpus import write_sums
    from builder.corpus.shards import read_footer, write_shard
    from builder.embedders.embed_corpus import embed_corpus
    from builder.recipe import EmbedderSettings, Recipe
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
                if config == "data":  # a number behind the last frame keeps Parquet from storing equal ones once
                    row["audio"] = row["audio"] | {"bytes": row["audio"]["bytes"] + row["id"].encode()}
                else:
                    row["embedding"] = row["embedding"] + random.standard_normal(len(row["embedding"]))
            name = small.with_name(f"train-{shard:05d}-of-{total:05d}.parquet")
            write_shard(name, [chosen], Features.from_arrow_schema(schema), footer)
        small.unlink()
    write_card(corpus)
    write_sums(corpus, {})
    return corpus


def start(corpus: Path) -> tuple[float, float, float]:
    """From the command to the whole page: seconds, seconds of a processor, and MB at most of its process."""
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
        ticks = Path(f"/proc/{page.pid}/stat").read_text().rpartition(") ")[2].split()[11:13]  # of user and system
        busy = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
        return seconds, busy, 1024 * int(status.partition("VmHWM:")[2].split()[0]) / 1e6
    finally:
        page.terminate()
        page.wait()


def audio_read(corpus: Path) -> tuple[int, int]:
    """Bytes of the audio column that opening the corpus reads, and all that there are."""
    import pyarrow.parquet as pq

    from evaluation.explorer.clip_table import Clips
    from evaluation.explorer.corpus_source import Folder

    parts: list[tuple[str, int, int]] = []

    class Counting(io.FileIO):
        def read(self, size: int = -1) -> bytes:
            at, data = self.tell(), super().read(size)
            parts.append((str(self.name), at, at + len(data)))
            return data

    @contextmanager
    def counted(self: Folder, name: str) -> Iterator[Any]:
        with Counting(str(self.root / name), "rb") as handle:
            yield handle

    Folder.open = counted  # type: ignore[method-assign]
    clips = Clips.open(corpus)
    clips.facets(), clips.source, clips.filter(text="guitar")
    read = held = 0
    for path in sorted((corpus / "data").glob("*.parquet")):
        footer = pq.read_metadata(path)
        for group in (footer.row_group(n) for n in range(footer.num_row_groups)):
            chunk = next(c for c in map(group.column, range(group.num_columns)) if c.path_in_schema == "audio.bytes")
            begin = chunk.dictionary_page_offset or chunk.data_page_offset
            end = begin + chunk.total_compressed_size
            held += end - begin
            read += sum(max(0, min(end, high) - max(begin, low)) for name, low, high in parts if name == str(path))
    return read, held


def labels(corpus: Path, cache: Path, ours: bool) -> float:
    """Seconds until all labels are a table, of us or of `datasets` that sees the folder for the first time."""
    import datasets

    from evaluation.explorer.clip_table import Clips

    begun = time.perf_counter()
    if ours:
        found = len(Clips.open(corpus).table)
    else:
        loaded = datasets.load_dataset(str(corpus), cache_dir=str(cache), split="train")
        found = len(loaded.remove_columns("audio").to_pandas())
    seconds = time.perf_counter() - begun
    shutil.rmtree(cache, ignore_errors=True)
    assert found
    return seconds


def main() -> None:
    options = table.arguments(__doc__)
    clips, rounds = (5_000, 2) if options.quick else (5_000, 5)
    with tempfile.TemporaryDirectory() as place:
        corpus = make(Path(place), clips)
        starts = [start(corpus) for _ in range(rounds)]
        pairs = [
            [labels(corpus, Path(place) / "cache", ours) for ours in (True, False)] for _ in range(rounds)
        ]  # fmt: skip
        read, held = audio_read(corpus)
    ours, peers = zip(*pairs, strict=True)
    note = f"{clips:,} clips, {held / 1e6:.0f} MB of audio"
    rows = [
        table.row("start to a served page", "s", median(one[0] for one in starts), 3.0, "the limit", rounds, note),
        table.row("processor time of it", "s", median(one[1] for one in starts), n=rounds, note=note),
        table.row("peak memory of it", "MB", median(one[2] for one in starts), n=rounds, note=note),
        table.row("audio read by then", "bytes", read, n=1, note=note),
        table.paired("labels in a table", "s", ours, peers, "load_dataset, first time", note),
    ]
    table.finish("explorer", rows, options)


if __name__ == "__main__":
    main()
