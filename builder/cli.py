"""The builder's commands: prompts, build, plan, verify, embed, annotate, convert. They call `builder.api`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import api
from .errors import DataError
from .io.storage import to_path
from .names import format_count

app = typer.Typer()

RecipeArgument = Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped one: demo, paper, ...")]
CorpusArgument = Annotated[
    Path, typer.Argument(help="A corpus folder, or its address: s3://bucket/corpus.", parser=to_path, metavar="CORPUS")
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Processes that make clips. Default: what suits the generator.")
]
Executor = Annotated[str, typer.Option("--executor", help="Where workers run: local, on this machine, or ray.")]
Address = Annotated[
    str | None, typer.Option(help="A Ray cluster: auto or HOST:PORT. Default: Ray is started here for this run.")
]
GpusPerWorker = Annotated[float, typer.Option(min=0, help="With ray: GPUs of each worker, or a share of one.")]
ShardTimeout = Annotated[
    float | None, typer.Option(help="Seconds that a shard may take before its worker is killed. Default: no limit.")
]


@app.command(rich_help_panel="Corpus")
def prompts(
    recipe: RecipeArgument,
    limit: Annotated[int | None, typer.Option(min=1, help="The most prompts to show.")] = None,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="One JSON object a line instead of a table.")] = False,
) -> None:
    """Show a recipe's prompts and their labels. With a chat model as source, ask it first and keep its answers."""
    from .prompts.table import format_prompts

    for line in format_prompts(api.prompts(recipe, limit=limit), jsonl):
        print(line)


@app.command(rich_help_panel="Corpus")
def build(
    recipe: RecipeArgument,
    out: Annotated[
        Path,
        typer.Option(
            help="The corpus folder to make or to finish; or an address: s3://bucket/corpus.",
            parser=to_path,
            metavar="PATH",
        ),
    ],
    workers: Workers = None,
    clips_per_shard: Annotated[
        int | None, typer.Option(min=1, help="Clips in each Parquet file. No clip depends on it.")
    ] = None,
    extend: Annotated[
        bool, typer.Option("--extend", help="Add what the recipe asks for and the finished corpus does not have.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Estimate what it would take; write nothing.")] = False,
    executor: Executor = "local",
    address: Address = None,
    gpus_per_worker: GpusPerWorker = 0.0,
    shard_timeout: ShardTimeout = None,
) -> None:
    """Build a corpus. If it is stopped, the same command resumes."""
    if dry_run:
        estimate = api.estimate(recipe, workers=workers, corpus=out if extend else None)
        print(
            f"{estimate.clips:,} clips, {estimate.prompts:,} distinct prompts, {estimate.audio_hours:.1f} h of music"
        )
        print(f"{estimate.shards} shards, about {estimate.flac_bytes / 1e9:.2f} GB of FLAC")
        if estimate.score_bytes:
            print(f"about {estimate.score_bytes / 1e9:.2f} GB of annotations and stems")
        duration = _format_duration(3600 * estimate.build_hours)
        print(f"about {duration} with {estimate.workers} worker(s), from a probe on this machine: {estimate.probe}")
        return
    corpus = api.build(
        recipe, out, workers=workers, clips_per_shard=clips_per_shard, extend=extend, executor=executor,
        address=address, gpus_per_worker=gpus_per_worker, shard_timeout=shard_timeout,
    )  # fmt: skip
    print("\n".join(api.describe_corpus(corpus)))


@app.command(rich_help_panel="Corpus")
def plan(
    recipe: RecipeArgument = "demo",
    at: Annotated[
        int | None, typer.Option(min=100, help="The number of clips. Default: what the recipe asks for.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Show the hours of so many workers. Default: of several numbers.")
    ] = None,
    clips_per_hour: Annotated[
        float | None, typer.Option(min=0.001, help="Of one worker. Default: the generator is timed here.")
    ] = None,
    clips_per_shard: Annotated[int | None, typer.Option(min=1, help="As in `build`.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the figures to this file, too.")] = None,
) -> None:
    """Calculate what a corpus of any size takes: files, bytes, commits, hours, against the Hub's limits."""
    from json import dumps

    from .corpus.building.capacity import format_capacity
    from .io.atomic import write_text

    capacity = api.plan(
        recipe, at=at, workers=workers, clips_per_hour=clips_per_hour, clips_per_shard=clips_per_shard
    )  # fmt: skip
    for line in format_capacity(capacity):
        print(line)
    if json is not None:
        write_text(json, dumps(capacity.to_dict(), indent=2) + "\n")


@app.command(rich_help_panel="Corpus")
def verify(corpus: CorpusArgument) -> None:
    """Check a corpus: every file's hash, every shard's rows and ids, every clip decoded."""
    findings = api.verify(corpus)
    print(f"{findings.files} files, {findings.shards} shards, {findings.clips:,} clips decoded")
    for embedder, rows in findings.embeddings.items():
        print(f"{rows:,} {embedder} embeddings")
    for config in ("annotations", "stems", "estimates"):
        if rows := getattr(findings, config):
            print(f"{rows:,} {config}")
    if findings.faults:
        listed = "\n".join(f"  - {fault}" for fault in findings.faults[:50])
        more = f"\n  ... and {len(findings.faults) - 50} more" if len(findings.faults) > 50 else ""
        raise DataError(
            f"{corpus}: {format_count(len(findings.faults), 'problem')}\n{listed}{more}",
            "delete what is foreign; lost or damaged shards are made again by: "
            f"synthmir build {corpus}/recipe.yaml --out {corpus}",
        )
    print("no problems found")


@app.command(rich_help_panel="Corpus")
def embed(
    source: Annotated[
        str, typer.Argument(help="A corpus, folder or address; with --out any audio data set or folder of audio.")
    ],
    embedder: Annotated[
        str | None,
        typer.Option(
            help="melstats, musicnn, passt, or hf:<id or folder>. Default: the recipe's; with --out melstats."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the embeddings here, not into the corpus.")] = None,
    column: Annotated[str, typer.Option(help="With --out: the column that holds the audio.")] = "audio",
    weights: Annotated[str | None, typer.Option(help="Its weights: a file or a folder.")] = None,
    arch: Annotated[str | None, typer.Option(help="Its architecture, where there are several.")] = None,
    layer: Annotated[int | None, typer.Option(help="hf: which hidden states.")] = None,
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda.")] = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Windows in each batch.")] = 16,
    augment: Annotated[
        list[str] | None,
        typer.Option(
            help="noise:20, mp3:64, ... Adds NAME-augmented to train on: each clip also degraded. Can be repeated."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace embeddings of another revision.")] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Without --out: processes that embed. Default: one, with many threads.")
    ] = None,
    executor: Executor = "local",
    address: Address = None,
    gpus_per_worker: GpusPerWorker = 0.0,
    shard_timeout: ShardTimeout = None,
) -> None:
    """Add embeddings to a corpus as a config of their own, joined by `id`; or embed any audio with --out."""
    record = api.embed(
        source, embedder, out=out, column=column, weights=weights, arch=arch, layer=layer, dtype=dtype, device=device,
        batch_size=batch_size, augment=augment or (), overwrite=overwrite, workers=workers, executor=executor,
        address=address, gpus_per_worker=gpus_per_worker, shard_timeout=shard_timeout,
    )  # fmt: skip
    if out is None:
        name = record.details["embedder"]["name"] + ("-augmented" if record.details.get("augment") else "")
        print(f"embeddings {to_path(source) / name}: {record.rows:,} rows")
        return
    print(f"embeddings {out}: {record.rows:,} rows, {record.details['skipped']} skipped")
    for note in record.details.get("notes", ()):
        print(f"  {note}")


@app.command(rich_help_panel="Corpus")
def annotate(
    corpus: CorpusArgument,
    estimators: Annotated[
        str,
        typer.Option(
            "--with",
            help="What to measure: tempo,key,silence,... and clap:ID. Default: what the corpus has or its recipe "
            "names, else all that needs no download.",
        ),
    ] = "",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace estimates of another version.")] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that estimate. Default: one, with many threads.")
    ] = None,
    executor: Executor = "local",
    address: Address = None,
    gpus_per_worker: GpusPerWorker = 0.0,
    shard_timeout: ShardTimeout = None,
) -> None:
    """Measure the sound of each clip, as the config `estimates`, joined by `id`. If it is stopped, it resumes."""
    record = api.annotate(
        corpus, estimators, device=device, overwrite=overwrite, workers=workers, executor=executor, address=address,
        gpus_per_worker=gpus_per_worker, shard_timeout=shard_timeout,
    )  # fmt: skip
    print(f"estimates {corpus / 'estimates'}: {record.rows:,} rows")
    for entry in record.details["estimators"]:
        print(f"  {entry['name']}: {', '.join(entry['columns'])}")
        if entry["name"] == "copies":  # how many recordings were searched, and how many could not be read
            print(f"    {entry['about']}")


@app.command(rich_help_panel="Corpus")
def select(
    corpus: CorpusArgument,
    out: Annotated[Path, typer.Option(help="The folder of the new corpus.")],
    where: Annotated[
        str | None, typer.Option(help="Keep clips of which this is true: 'clap > 0.3 and agrees.genre'.")
    ] = None,
    keep: Annotated[
        float | None,
        typer.Option(help="Of each genre, keep this share: those whose labels agree most with their estimates."),
    ] = None,
) -> None:
    """Write a corpus of the chosen clips, in every config, by their estimates. If it is stopped, it resumes."""
    selection = api.select(corpus, out, where=where, keep=keep)
    print(f"corpus {out}: {sum(selection.kept.values()):,} clips, {sum(selection.left_out.values()):,} left out")
    for genre, count in selection.kept.items():
        print(f"  {genre}: {count:,} of {count + selection.left_out.get(genre, 0):,}")


@app.command(rich_help_panel="Corpus")
def convert(
    corpus: CorpusArgument,
    to: Annotated[
        str,
        typer.Option(
            help="mirdata: index, metadata.csv, audio. audiofolder: metadata.csv and audio, split by split. jams: a "
            "JAMS file beside each clip. midi: MIDI files. musdb: the stems, in MUSDB's folders."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The folder to write or to finish.")],
    format: Annotated[
        str, typer.Option(help="flac: as they are. wav: the same samples. musdb is always WAV.")
    ] = "flac",
    split: Annotated[list[str] | None, typer.Option(help="train, validation. Default: all. Can be repeated.")] = None,
) -> None:
    """Write a corpus as files beside a table, for tools that cannot read Parquet. Resumes if it is stopped.

    (`export` writes a model as ONNX.)
    """
    result = api.convert(corpus, to, out, format=format, split=split or ())
    kept = f", {result.kept:,} of them there already" if result.kept else ""
    print(f"{to} {out}: {result.clips:,} clips{kept}")
    for table in result.tables:
        print(f"  {table}")


def _format_duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
