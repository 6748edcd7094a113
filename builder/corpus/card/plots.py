"""Plots of a corpus, drawn from its shards into `assets/`. The same shards give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ...audio import decode_audio, to_mono
from ...io.atomic import write_bytes
from ...io.columns import read_matrix
from ...io.parquet_guard import check_parquet, parquet_errors
from ...io.storage import delete_file, hash_file, open_for_arrow
from ...plotting import COLOURS, SHAPES, log_mel, mel_ticks, project_embeddings
from ..schema import LONGEST
from .fidelity import digest_shards
from .statistics import CorpusTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ASSETS = "assets"
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "grid.color": "#d5dbe1",
    "text.parse_math": False,  # dollar signs in genres are text
    "svg.fonttype": "none",
    "svg.hashsalt": "synthmir",  # the same figure, the same bytes
}
MAX_GENRES = 12  # of which a spectrogram is drawn
HOP = 512  # samples between frames of a spectrogram
MIN_POINTS, MAX_POINTS = 50, 1_000  # clips in a map: fewer show nothing, more take minutes
STYLE_VERSION = "synthmir pictures 1,"  # in the files: another number draws all plots again


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot.

    Attributes:
        name: Name of the file, without its ending.
        caption: What it shows.
        of: Digest of the shards that it is drawn from.
        figure: Draws it.
    """

    name: str
    caption: str
    of: str
    figure: Callable[[], Figure]

    @property
    def path(self) -> str:
        """Its file, relative to the corpus."""
        return f"{ASSETS}/{self.name}.svg"


def draw_plots(root: Path, table: CorpusTable, embedders: Sequence[str], known: dict[str, str]) -> list[Plot]:
    """Draw the plots of a corpus, and delete those of embeddings or labels that it no longer has.

    A plot that is intact and of the same shards is kept, as a map takes seconds.

    Args:
        root: The corpus folder.
        table: Its labels.
        embedders: Names of its embedders.
        known: Hashes of its files, as SHA256SUMS lists them.

    Returns:
        All plots, in order.
    """
    import matplotlib

    plots = list(_list_plots(root, table, embedders))
    for plot in plots:
        path, mark = root / plot.path, f"{STYLE_VERSION} {plot.of}"
        if _is_current(path, mark, known.get(plot.path)):
            continue
        buffer = io.BytesIO()
        with matplotlib.rc_context(STYLE):
            plot.figure().savefig(buffer, format="svg", metadata={"Date": None, "Identifier": mark})
        write_bytes(path, buffer.getvalue())
    kept = {plot.path for plot in plots}
    for path in [*root.glob(f"{ASSETS}/map-*.svg"), *root.glob(f"{ASSETS}/tempo.svg")]:
        if f"{ASSETS}/{path.name}" not in kept:
            delete_file(path)
    return plots


def _is_current(path: Path, mark: str, digest: str | None) -> bool:
    return (
        digest is not None and path.exists() and hash_file(path) == digest and mark in path.read_text(encoding="utf-8")
    )


def _list_plots(root: Path, table: CorpusTable, embedders: Sequence[str]) -> Iterator[Plot]:
    clips = digest_shards(root, "data")
    yield Plot("clips", "Clips of each genre, by split", clips, lambda: _plot_clips(table))
    if table.rows["tempo_bpm"].null_count < len(table):
        caption = "Tempi that the prompts ask for, in beats per minute"
        yield Plot("tempo", caption, clips, lambda: _plot_tempo(table))
    caption = "One clip of each genre as a mel spectrogram, in dB relative to its maximum"
    yield Plot("spectrograms", caption, clips, lambda: _plot_spectrograms(root, table))
    for name in embedders:
        paths = sorted((root / name).glob("*.parquet"))
        total = sum(pq.read_metadata(open_for_arrow(path)).num_rows for path in paths)
        if total >= MIN_POINTS:
            caption = f"The {name} embeddings of {min(total, MAX_POINTS):,} clips (t-SNE)"
            yield Plot(
                f"map-{name}", caption, digest_shards(root, "data", name), partial(_plot_map, paths, total, table)
            )


def _plot_clips(table: CorpusTable) -> Figure:
    genres, splits = table.names("genre"), sorted(set(table.values("split")))
    figure, axes = _panel(6.4, 0.3 * len(genres) + 1.1)
    genre, split = np.array(table.values("genre")), np.array(table.values("split"))
    left = np.zeros(len(genres))
    for index, name in enumerate(splits):
        counts = np.array([int(((genre == one) & (split == name)).sum()) for one in genres])
        axes.barh(range(len(genres)), counts, 0.7, left=left, color=COLOURS[index], label=name)
        left += counts
    axes.set_yticks(range(len(genres)), genres)
    axes.set_ylim(len(genres) - 0.5, -0.5)
    axes.set_xlabel("clips")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    figure.legend(ncols=len(splits), loc="outside lower center")
    return figure


def _plot_tempo(table: CorpusTable) -> Figure:
    genres = table.names("genre")
    figure, axes = _panel(6.4, 2.6)
    pairs = [(genre, bpm) for genre, bpm in zip(table.values("genre"), table.values("tempo_bpm"), strict=True) if bpm]
    low, high = min(bpm for _, bpm in pairs), max(bpm for _, bpm in pairs)
    bins = np.arange(low // 5 * 5, high + 6, 5)
    axes.hist(
        [[bpm for name, bpm in pairs if name == genre] for genre in genres], bins.tolist(), stacked=True, label=genres,
        color=[COLOURS[index % len(COLOURS)] for index in range(len(genres))],
    )  # fmt: skip
    axes.set(xlabel="beats per minute", ylabel="clips")
    axes.grid(axis="y")
    figure.legend(loc="outside right upper")
    return figure


def _plot_spectrograms(root: Path, table: CorpusTable) -> Figure:
    from matplotlib.figure import Figure

    clips = _read_clip_of_each_genre(root, table)
    columns = min(3, len(clips))
    rows = -(-len(clips) // columns)
    width, height = 2.5 * columns + 0.6, 1.45 * rows + 0.35  # inches
    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(0.55 / width, 0.42 / height, 1 - 0.1 / width, 1 - 0.25 / height, 0.08, 0.5)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, (genre, audio) in zip(panels, clips, strict=False):
        samples, rate = decode_audio(audio, LONGEST)
        axes.imshow(
            log_mel(to_mono(samples), rate, HOP), origin="lower", aspect="auto", cmap="magma", vmin=-70, vmax=0,
            extent=(0, len(samples) / rate, 0, 1),
        )  # fmt: skip
        axes.set_yticks(*mel_ticks((100, 1_000, 5_000), rate))
        axes.set_title(genre)
        axes.tick_params(length=2, labelsize=7)
    for axes in panels[len(clips) :]:
        axes.set_visible(False)
    for axes in panels[max(0, len(clips) - columns) : len(clips)]:  # the lowest panel of each column
        axes.tick_params(labelbottom=True)
    figure.supxlabel("seconds", fontsize=8)
    return figure


def _read_clip_of_each_genre(root: Path, table: CorpusTable) -> list[tuple[str, bytes]]:
    """The first clip of each genre. Only row groups that hold one are read."""
    codes = table.rows["genre"].combine_chunks()
    wanted: dict[int, str] = {}
    for code, genre in enumerate(table.names("genre")):
        if len(wanted) < MAX_GENRES and (place := pc.index(codes, code).as_py()) >= 0:
            wanted[place] = genre
    clips, start = [], 0
    for path in sorted((root / "data").glob("*.parquet")):
        with parquet_errors(path):
            file = pq.ParquetFile(open_for_arrow(path))
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                inside = [place - start for place in wanted if start <= place < start + rows]
                if inside:
                    audio = file.read_row_group(group, columns=["audio.bytes"])["audio"].combine_chunks()
                    clips += [(wanted[start + place], audio.field("bytes")[place].as_py()) for place in inside]
                start += rows
    return sorted(clips, key=lambda pair: table.names("genre").index(pair[0]))


def _plot_map(paths: Sequence[Path], total: int, table: CorpusTable) -> Figure:
    """t-SNE of the standardised embeddings, in one thread so that sums have one order."""
    chosen = np.linspace(0, total - 1, min(total, MAX_POINTS)).astype(int)  # evenly over all genres
    vectors, codes = _read_embeddings(paths, chosen)
    points = project_embeddings(vectors, threads=1)
    figure, axes = _panel(6.4, 4.4)
    for code, genre in enumerate(table.names("genre")):
        mine = points[codes == code]
        colour, shape = COLOURS[code % len(COLOURS)], SHAPES[(code + code // len(COLOURS)) % len(SHAPES)]
        axes.plot(mine[:, 0], mine[:, 1], shape, ms=4, color=colour, mec="white", mew=0.3, label=genre)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    figure.legend(loc="outside right upper", handletextpad=0.2)
    return figure


def _read_embeddings(paths: Sequence[Path], chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float32 [n, dim] embeddings and genre numbers [n] of the rows `chosen`, with one shard in memory at a time."""
    vectors, codes, start = [], [], 0
    for path in paths:
        check_parquet(path, ("embedding", "genre"))
        with parquet_errors(path):
            part = pq.read_table(open_for_arrow(path), columns=["embedding", "genre"])
        mine = pa.array(chosen[(chosen >= start) & (chosen < start + len(part))] - start)
        part, start = part.take(mine), start + len(part)
        if len(part):
            vectors.append(read_matrix([part["embedding"]], len(part), str(path), lambda row: f"row {row}"))
            codes.append(part["genre"].to_numpy())
    return np.concatenate(vectors), np.concatenate(codes)


def _panel(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()
