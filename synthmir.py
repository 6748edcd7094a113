"""The command line: one sub-command a stage, no logic of its own."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from builder.errors import DataError, RecipeError, SynthmirError
from builder.interrupts import handle_signals
from builder.io.storage import to_path

if TYPE_CHECKING:
    from builder.executors import ExecutorSettings
    from builder.recipe import Recipe

app = typer.Typer(
    help="Labelled music made by generative models, and honest proof of what a model trained on it does.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

RecipeArgument = Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped one: demo, paper, ...")]
CorpusArgument = Annotated[Path, typer.Argument(help="A corpus folder.")]
CorpusPlace = Annotated[
    Path, typer.Argument(help="A corpus folder, or its address: s3://bucket/corpus.", parser=to_path, metavar="CORPUS")
]
ModelArgument = Annotated[Path, typer.Argument(help="A model folder.")]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Processes that make clips. Default: what suits the generator.")
]
Workplace = Annotated[str, typer.Option("--executor", help="Where workers run: local, on this machine, or ray.")]
Address = Annotated[
    str | None, typer.Option(help="A Ray cluster: auto or HOST:PORT. Default: Ray is started here for this run.")
]
GpusPerWorker = Annotated[float, typer.Option(min=0, help="With ray: GPUs of each worker, or a share of one.")]
ShardTimeout = Annotated[
    float | None, typer.Option(help="Seconds that a shard may take, before its worker is killed. Default: no limit.")
]


def _print_version(wanted: bool) -> None:
    if not wanted:
        return
    from importlib import metadata

    try:
        version = metadata.version("synthmir")
    except metadata.PackageNotFoundError:  # a source tree that is not installed
        import tomllib

        project = tomllib.loads((Path(__file__).parent / "pyproject.toml").read_text(encoding="utf-8"))
        version = project["project"]["version"]
    print(f"synthmir {version}")
    raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of every command."""
    global _debug
    _debug = debug


_debug = False
INTERRUPTED = 130  # the exit code of Ctrl-C, which typer turns into SystemExit


@app.command()
def prompts(
    recipe: RecipeArgument,
    limit: Annotated[int | None, typer.Option(min=1, help="Show so many at most.")] = None,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="One JSON object a line instead of a table.")] = False,
) -> None:
    """Show a recipe's prompts and their labels. With a chat model as source, ask it first and keep its answers."""
    from itertools import islice

    from builder.prompts import make_prompts
    from builder.prompts.chat import ask_chat_model
    from builder.prompts.table import format_prompts

    loaded = _recipe(recipe)
    if loaded.prompts.source.kind == "chat":
        ask_chat_model(loaded)
    for line in format_prompts(islice(make_prompts(loaded), limit), jsonl):
        print(line)


@app.command()
def build(
    recipe: RecipeArgument,
    out: Annotated[
        Path,
        typer.Option(
            help="The corpus folder to make, or to go on with; or an address: s3://bucket/corpus.",
            parser=to_path,
            metavar="PATH",
        ),
    ],
    workers: Workers = None,
    clips_per_shard: Annotated[
        int | None, typer.Option(min=1, help="Clips a Parquet file. No clip depends on it.")
    ] = None,
    extend: Annotated[
        bool, typer.Option("--extend", help="Add what the recipe asks for and the finished corpus there has not.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what it would take, and write nothing.")] = False,
    executor: Workplace = "local",
    address: Address = None,
    gpus_per_worker: GpusPerWorker = 0.0,
    shard_timeout: ShardTimeout = None,
) -> None:
    """Make a corpus. Stopped anywhere, the same command goes on where it was."""
    loaded = _recipe(recipe)
    if dry_run:
        from builder.corpus.building.estimate import estimate

        found = estimate(loaded, workers, out if extend else None)
        print(f"{found.clips:,} clips, {found.prompts:,} distinct prompts, {found.audio_hours:.1f} h of music")
        print(f"{found.shards} shards, about {found.flac_bytes / 1e9:.2f} GB of FLAC")
        took = _duration(3600 * found.build_hours)
        print(f"about {took} with {found.workers} worker(s), from a probe on this machine: {found.probe}")
        return
    _build(loaded, out, workers, clips_per_shard, _scale(executor, address, gpus_per_worker, shard_timeout), extend)


@app.command()
def plan(
    recipe: RecipeArgument = "demo",
    at: Annotated[int | None, typer.Option(min=100, help="So many clips. Default: what the recipe asks for.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Tell the hours of so many. Default: of several.")] = None,
    clips_per_hour: Annotated[
        float | None, typer.Option(min=0.001, help="Of one worker. Default: the generator is tried here.")
    ] = None,
    clips_per_shard: Annotated[int | None, typer.Option(min=1, help="As `build` takes it.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the figures here too.")] = None,
) -> None:
    """Tell on paper what a corpus of any size takes: files, bytes, commits, hours, against the Hub's limits."""
    from json import dumps

    from builder.corpus.building.capacity import simulate, table
    from builder.io.atomic import write_text

    found = simulate(_recipe(recipe), at, workers, clips_per_hour, clips_per_shard)
    for line in table(found):
        print(line)
    if json is not None:
        write_text(json, dumps(found.told(), indent=2) + "\n")


@app.command()
def verify(corpus: CorpusPlace) -> None:
    """Check a corpus whole: every file's hash, every shard's rows and ids, every clip decoded."""
    from builder.corpus.verify import verify as check

    with _progress("verify") as progress:
        found = check(corpus, progress)
    print(f"{found.files} files, {found.shards} shards, {found.clips:,} clips decoded")
    for embedder, rows in found.embeddings.items():
        print(f"{rows:,} {embedder} embeddings")
    if found.faults:
        listed = "\n".join(f"  - {fault}" for fault in found.faults[:50])
        more = f"\n  ... and {len(found.faults) - 50} more" if len(found.faults) > 50 else ""
        raise DataError(
            f"{corpus}: {len(found.faults)} fault(s)\n{listed}{more}",
            "delete what is foreign; lost or damaged shards are made again by: "
            f"synthmir build {corpus}/recipe.yaml --out {corpus}",
        )
    print("sound")


@app.command()
def embed(
    source: Annotated[
        str, typer.Argument(help="A corpus, folder or address; with --out any audio data set or folder of audio.")
    ],
    embedder: Annotated[str, typer.Option(help="melstats, passt, or hf:<id or folder>.")] = "melstats",
    out: Annotated[Path | None, typer.Option(help="Write the embeddings here, not into the corpus.")] = None,
    column: Annotated[str, typer.Option(help="With --out: the column that holds the audio.")] = "audio",
    weights: Annotated[str | None, typer.Option(help="Its weights: a file or a folder.")] = None,
    arch: Annotated[str | None, typer.Option(help="Its architecture, where there are several.")] = None,
    layer: Annotated[int | None, typer.Option(help="hf: which hidden states.")] = None,
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda.")] = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Windows at once.")] = 16,
    augment: Annotated[
        list[str] | None,
        typer.Option(
            help="noise:20, mp3:64, ... Also NAME-augmented, to train on: each clip damaged too. Can be repeated."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace embeddings of another revision.")] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Without --out: processes that embed. Default: one, of many threads.")
    ] = None,
    executor: Workplace = "local",
    address: Address = None,
    gpus_per_worker: GpusPerWorker = 0.0,
    shard_timeout: ShardTimeout = None,
) -> None:
    """Add embeddings to a corpus as a config of their own, joined by `id`; or embed any audio with --out."""
    from builder.recipe import EmbedderSettings
    from builder.validation import validate

    options = {"name": embedder, "weights": weights, "arch": arch, "layer": layer, "dtype": dtype, "device": device}
    settings = validate(EmbedderSettings, options | {"batch_size": batch_size, "augment": augment or ()}, "options")
    if out is None:
        scale = _scale(executor, address, gpus_per_worker, shard_timeout)
        _embed(to_path(source), settings, overwrite, workers, scale)
        return
    if executor != "local" or workers or address or gpus_per_worker or shard_timeout:
        raise RecipeError("--out: is embedded by this process alone", "leave --executor and what goes with it out")
    from builder.embedders.embed_dataset import embed_dataset

    with _progress("embed") as progress:
        record = embed_dataset(source, settings, out, column=column, overwrite=overwrite, progress=progress)
    print(f"embeddings {out}: {record.rows:,} rows, {record.details['skipped']} skipped")
    for note in record.details.get("notes", ()):
        print(f"  {note}")


@app.command()
def train(
    corpus: Annotated[
        Path,
        typer.Argument(
            help="A corpus, folder or address, or any data set on disk that has embeddings and labels.",
            parser=to_path,
            metavar="CORPUS",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The model folder to write.")],
    recipe: Annotated[
        str | None, typer.Option(help="Take the settings from here. Default: the corpus' own recipe.")
    ] = None,
    embedder: Annotated[str | None, typer.Option(help="Train on these embeddings. Default: the recipe's.")] = None,
    task: Annotated[
        str | None, typer.Option(help="genre, subgenre, mood, vocals, instruments, tempo, ... Default: the recipe's.")
    ] = None,
    label_column: Annotated[str | None, typer.Option(help="The labels, if not in a column named as the task.")] = None,
    embedding_column: Annotated[str | None, typer.Option(help="Default: embedding.")] = None,
    problem: Annotated[
        str | None,
        typer.Option(
            help="single_label_classification, multi_label_classification, regression. Default: the column's."
        ),
    ] = None,
    head: Annotated[str | None, typer.Option(help="mlp, linear, logistic, knn. Default: the recipe's.")] = None,
    strategy: Annotated[
        str | None, typer.Option(help="synthetic, real, joint, transfer, finetune, adapt. Default: the recipe's.")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(help="Real music: gtzan:PATH or another benchmark, what `synthmir embed --out` wrote, a corpus."),
    ] = None,
    shots: Annotated[int | None, typer.Option(min=1, help="Labelled real tracks a class. Default: all.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Default: the recipe's.")] = None,
    seeds: Annotated[
        str | None,
        typer.Option(help="0..9 or 0,3,7: a model a seed in OUT/seed-N, mean and spread in OUT/seeds.json."),
    ] = None,
) -> None:
    """Train a classifier on embeddings. Stopped anywhere, the same command goes on. `accelerate launch` works too."""
    from training.settings import choose

    columns = {"label_column": label_column, "embedding_column": embedding_column, "problem": problem}
    real = {"strategy": strategy, "target": target, "shots": shots}
    options = {"task": task, **columns, "head": head, **real, "seed": seed}
    chosen = choose(corpus, recipe, embedder, options)
    if seeds is None:
        _train(corpus, out, chosen)
        return
    from training.seeds import parse_seeds, seed_table, train_seeds

    numbers = parse_seeds(seeds)
    chosen = _with_target(corpus, chosen, out)
    found = train_seeds(
        corpus, out, chosen.training, numbers, chosen.embedder,
        lambda number, _: print(f"model {out / f'seed-{number}'}"), split=chosen.split,
    )  # fmt: skip
    if found is not None:
        print(f"\n{seed_table(found)}\n\nseeds {out / 'seeds.json'}")


@app.command()
def evaluate(
    model: ModelArgument,
    on: Annotated[list[str], typer.Option(help="validation, folder:PATH, gtzan:PATH, ... Can be repeated.")],
    corpus: Annotated[
        Path | None, typer.Option(help="The corpus of `validation`. Default: what the model was trained on.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where report and scores go. Default: `report` beside the model.")
    ] = None,
    against: Annotated[
        list[Path] | None, typer.Option(help="Another model to compare with, on the same tracks. Can be repeated.")
    ] = None,
    aggregate: Annotated[
        str, typer.Option(help="How a track's windows become one answer: mean, logits, max, median, vote.")
    ] = "mean",
    bootstrap: Annotated[int, typer.Option(min=100, help="Resamples behind the 95 % intervals.")] = 1000,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that hear tracks. Default: one, of many threads.")
    ] = None,
    executor: Workplace = "local",
    address: Address = None,
    gpus_per_worker: GpusPerWorker = 0.0,
    shard_timeout: ShardTimeout = None,
) -> None:
    """Score a classifier with 95 % intervals; write report.html, scores.json and the model's card."""
    from builder.recipe import EvaluationSettings
    from builder.validation import validate

    options = {"benchmarks": on, "aggregate": aggregate, "bootstrap": bootstrap}
    settings = validate(EvaluationSettings, options, "options")
    scale = _scale(executor, address, gpus_per_worker, shard_timeout)
    _evaluate(model, out or model.resolve().parent / "report", corpus, settings, against or [], workers, scale)


@app.command()
def robustness(
    model: ModelArgument,
    on: Annotated[str, typer.Option(help="validation, folder:PATH, gtzan:PATH, ...")],
    damage: Annotated[list[str] | None, typer.Option(help="mp3, noise:10, ... Default: all. Can be repeated.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Tracks judged at most: each once clean and once a level.")] = 500,
    corpus: Annotated[
        Path | None, typer.Option(help="The corpus of `validation`. Default: what the model was trained on.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where figures and picture go. Default: `report` beside the model.")
    ] = None,
    bootstrap: Annotated[int, typer.Option(min=100, help="Resamples behind the 95 % intervals.")] = 1000,
) -> None:
    """Judge a classifier on the same tracks through codecs, filters, noise, rooms, other pitches and speeds."""
    from builder.recipe import EvaluationSettings, RobustnessSettings

    chosen = RobustnessSettings(benchmark=on, damages=tuple(damage or ()), limit=limit)
    _robustness(
        model, out or model.resolve().parent / "report", corpus, EvaluationSettings(bootstrap=bootstrap), chosen
    )


@app.command()
def fidelity(
    corpus: CorpusArgument,
    against: Annotated[
        str,
        typer.Option(
            help="Real music: a folder of audio, what `embed --out` wrote, NAME:PATH as of evaluate, another corpus; "
            "or `validation`: the corpus's own held-out clips, as a floor."
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Default: `fidelity` beside the corpus.")] = None,
    embedder: Annotated[
        str | None, typer.Option(help="melstats, passt, hf:<id or folder>. Default: the one in the corpus.")
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Its weights: a file or a folder.")] = None,
    clap: Annotated[
        str | None, typer.Option(help="A CLAP checkpoint, id or folder: compares clips with their prompts.")
    ] = None,
    similarity: Annotated[
        float | None, typer.Option(min=0, max=1, help="Cosine of near-duplicates. Default: nearer than chance.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Embed the real music anew.")] = False,
) -> None:
    """Tell how far a corpus is from real music: distances, coverage, duplicates, adherence; one page, one JSON."""
    from builder.recipe import EmbedderSettings
    from builder.validation import validate
    from evaluation.fidelity.measure import measure
    from evaluation.fidelity.page import table, write_page

    settings = validate(EmbedderSettings, {"name": embedder}, "options") if embedder else None
    out = out or corpus.resolve().parent / "fidelity"
    with _progress("embed") as progress:
        found = measure(
            corpus,
            against,
            out,
            settings,
            weights=weights,
            clap=clap,
            similarity=similarity,
            seed=seed,
            overwrite=overwrite,
            progress=progress,
        )
    print(f"{table(found)}\npage  {write_page(out)}")
    _tell_in_card(corpus, out)


@app.command()
def benchmarks(
    spec: Annotated[str | None, typer.Argument(help="NAME:PATH: check what is on disk of one.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write its list of tracks here, which `embed --out` takes: a data set on disk.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="With --out: in the labels of paper, gtzan, moods, instruments or vocals.")
    ] = None,
) -> None:
    """List the benchmarks: what each is, its licence, how to cite and get it. Or check one on disk: NAME:PATH."""
    from evaluation.benchmarks.catalogue import account, catalogue, find

    if spec is None:
        for line in catalogue():
            print(line)
        return
    benchmark, names = find(spec, labels)
    if out is not None:
        benchmark.dataset(names).save_to_disk(out)
    for line in account(benchmark):
        print(line)


@app.command()
def ablate(
    recipe: RecipeArgument,
    out: Annotated[Path, typer.Option(help="The folder that gets corpora/, models/ and ablation.{json,svg,txt}.")],
    vary: Annotated[
        list[str] | None,
        typer.Option(help="KEY=VALUE,VALUE,... the first is the baseline. Can be repeated. Default: the recipe's."),
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Trainings a cell. Default: the recipe's.")] = None,
    on: Annotated[
        list[str] | None, typer.Option(help="Score on folder:PATH, gtzan:PATH, ... too. Default: the recipe's.")
    ] = None,
    workers: Workers = None,
    executor: Workplace = "local",
    address: Address = None,
    gpus_per_worker: GpusPerWorker = 0.0,
    shard_timeout: ShardTimeout = None,
) -> None:
    """Vary keys of a recipe, hold all else: build, train and score each combination, and test the differences."""
    from evaluation.ablation import ablate as vary_and_score
    from evaluation.ablation import parse_vary
    from evaluation.reporting.result_files import write_result_files
    from evaluation.reporting.tables import format_ablation

    loaded = _recipe(recipe).with_options({"evaluation.benchmarks": on or None})
    scale = _scale(executor, address, gpus_per_worker, shard_timeout)
    found = vary_and_score(loaded, out, parse_vary(vary or []), seeds, workers, _progress, scale)
    write_result_files(found, out)
    print(f"{format_ablation(found)}\n\n{out / 'ablation.json'}\n{out / 'ablation.svg'}")


@app.command()
def compare(
    corpus: CorpusArgument,
    target: Annotated[
        str, typer.Option(help="Real music: gtzan:PATH or another benchmark, what `synthmir embed --out` wrote, ...")
    ],
    out: Annotated[Path, typer.Option(help="The folder that gets models/ and strategies.{json,svg,txt}.")],
    strategies: Annotated[str | None, typer.Option(help="synthetic,adapt,transfer,... Default: all six.")] = None,
    seeds: Annotated[str, typer.Option(help="0..4 or 0,3,7: trainings of each.")] = "0..4",
    shots: Annotated[int | None, typer.Option(min=1, help="Labelled real tracks a class. Default: all.")] = None,
    task: Annotated[str | None, typer.Option(help="genre, mood, instruments, ... Default: the recipe's.")] = None,
    embedder: Annotated[str | None, typer.Option(help="Train on these embeddings. Default: the recipe's.")] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Take the settings from here. Default: the corpus' own recipe.")
    ] = None,
) -> None:
    """Train by every strategy on a corpus and real music; score all on its test part, which no training sees."""
    from evaluation.reporting.result_files import write_result_files
    from evaluation.reporting.tables import format_strategies
    from evaluation.strategies import STRATEGIES, compare_strategies
    from training.seeds import parse_seeds
    from training.settings import choose

    chosen = choose(corpus, recipe, embedder, {"task": task, "target": target, "shots": shots})
    names = STRATEGIES if strategies is None else strategies.replace(" ", "").split(",")
    chosen = _with_target(corpus, chosen, out)
    with _progress("train", " trainings") as progress:
        found = compare_strategies(
            corpus, out, chosen.training, strategies=names, seeds=parse_seeds(seeds), embedder=chosen.embedder,
            split=chosen.split, progress=progress,
        )  # fmt: skip
    write_result_files(found, out)
    print(f"{format_strategies(found)}\n\n{out / 'strategies.json'}\n{out / 'strategies.svg'}")


@app.command()
def classify(
    model: ModelArgument,
    files: Annotated[list[Path], typer.Argument(help="Audio files of any rate, channels and length.")],
    top_k: Annotated[int, typer.Option(min=1, help="Labels a file.")] = 3,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="One JSON object a file instead of a table.")] = False,
) -> None:
    """Say what a classifier hears in audio files."""
    from evaluation.classify import classify as listen
    from evaluation.classify import show

    show(listen(model, files, top_k=top_k), jsonl)


@app.command()
def export(
    model: ModelArgument,
    out: Annotated[Path, typer.Option(help="The ONNX file to write.")],
    what: Annotated[
        str, typer.Option(help="whole: audio at 32 kHz in, of a melstats model. head: embeddings in, of any model.")
    ] = "whole",
) -> None:
    """Write a classifier as one ONNX file, compared with torch before it is kept."""
    from training.models.onnx_export import export as write

    worst = write(model, out, what)
    print(f"{out}: within {worst:.1e} of torch")


@app.command()
def explore(
    run: Annotated[
        str, typer.Argument(help="What `synthmir run --out` wrote, a corpus folder, or NAMESPACE/NAME on the Hub.")
    ],
    against: Annotated[str | None, typer.Option(help="Another run, corpus or repository, to compare with.")] = None,
    host: Annotated[
        str, typer.Option(help="Who may see the page: 0.0.0.0 is everybody on your network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 7860,
    limit: Annotated[
        int | None, typer.Option(min=1, help="So many clips at most, evenly from all genres. With --static: 500.")
    ] = None,
    export: Annotated[Path | None, typer.Option(help="Write the page as a Space into this folder instead.")] = None,
    static: Annotated[Path | None, typer.Option(help="Write it as plain files that need no server instead.")] = None,
    repo: Annotated[
        str | None, typer.Option(help="With --export: where the corpus is on the Hub. Default: it is copied in.")
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in your browser.")] = True,
) -> None:
    """Hear a corpus: filter and play clips, see their map, neighbours and duplicates, try prompts and own audio."""
    from evaluation.explorer.command import explore as show

    told = show(
        run, against, host=host, port=port, limit=limit, export=export, static=static, repo=repo, browser=browser,
        meter=_progress,
    )  # fmt: skip
    for line in told:
        print(line)


@app.command()
def convert(
    corpus: CorpusPlace,
    to: Annotated[
        str,
        typer.Option(help="mirdata: index, metadata.csv, audio. audiofolder: metadata.csv and audio, split by split."),
    ],
    out: Annotated[Path, typer.Option(help="The folder to write, or to go on with.")],
    audio: Annotated[str, typer.Option("--format", help="flac: as they are. wav: the same samples.")] = "flac",
    split: Annotated[list[str] | None, typer.Option(help="train, validation. Default: all. Can be repeated.")] = None,
) -> None:
    """Write a corpus as audio files beside a table, for tools that read no Parquet. Stopped anywhere, it goes on."""
    from builder.corpus.export.export import export_corpus

    with _progress("convert") as progress:
        found = export_corpus(corpus, to, out, audio=audio, splits=split or (), progress=progress)
    print(f"{to} {out}: {found.clips:,} clips" + (f", {found.kept:,} of them there already" if found.kept else ""))
    for table in found.tables:
        print(f"  {table}")


@app.command()
def publish(
    run: Annotated[
        Path,
        typer.Argument(
            help="What `synthmir run --out` wrote; or a corpus, model, metric or Space folder; "
            "with --what metrics also the name of a shipped metric, or all."
        ),
    ],
    repo: Annotated[
        str,
        typer.Option(
            help="NAMESPACE/NAME on the Hub: the corpus', or the model's if alone. Of metrics NAMESPACE will do: each "
            "keeps its name."
        ),
    ],
    what: Annotated[
        str | None, typer.Option(help="corpus, model, both, metrics or space. Default: both, or what RUN is.")
    ] = None,
    model_repo: Annotated[
        str | None, typer.Option(help="The model's repository. Default, with both: REPO-TASK. The cards link it.")
    ] = None,
    dataset_repo: Annotated[
        str | None, typer.Option(help="With a model alone: where its corpus is published, for the card to link it.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Create repositories that others do not see.")] = False,
    revision: Annotated[str | None, typer.Option(help="Tag the release so, when all of it is there: v1.0")] = None,
    pr: Annotated[bool, typer.Option("--pr", help="As a pull request, not to the main branch.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check, have the cards validated, list what would go; send no file.")
    ] = False,
) -> None:
    """Send corpus, model, metrics or a Space to the Hugging Face Hub, checked before and after. Resumes if stopped."""
    from contextlib import ExitStack

    from tqdm import tqdm

    from builder.hub.console import lines
    from builder.hub.publish import publish as send
    from evaluation.metrics import FOLDER

    def meter(stage: str) -> Callable[[int, int], None]:
        bars.close()
        return bars.enter_context(_progress(stage, " clips" if stage == "verify" else "B"))

    with ExitStack() as bars:
        targets = send(
            run, repo, what=what, model_repo=model_repo, dataset_repo=dataset_repo, private=private, revision=revision,
            pull_request=pr, dry_run=dry_run, metrics=FOLDER,
            meter=meter, notice=lambda line: tqdm.write(f"synthmir: {line}", file=sys.stderr),
        )  # fmt: skip
    for line in lines(targets, dry_run):
        print(line)


@app.command()
def run(
    recipe: RecipeArgument,
    out: Annotated[Path, typer.Option(help="The folder that gets corpus/, model/ and report/.")],
    workers: Workers = None,
    executor: Workplace = "local",
    address: Address = None,
    gpus_per_worker: GpusPerWorker = 0.0,
    shard_timeout: ShardTimeout = None,
) -> None:
    """All of it: prompts, corpus, embeddings, classifier, scores, report and cards. Goes on where it was stopped."""
    from builder.embedders.augment import tried
    from builder.executors import count_embedding_workers

    loaded = _recipe(recipe)
    tried(loaded.embedder.augment)  # a package that is missing is told before the work
    corpus, model, report = out / "corpus", out / "model", out / "report"
    scale = _scale(executor, address, gpus_per_worker, shard_timeout)
    _build(loaded, corpus, workers, None, scale)
    _embed(corpus, loaded.embedder, overwrite=False, workers=count_embedding_workers(workers, scale), scale=scale)
    _train(corpus, model, loaded)
    if loaded.evaluation.robustness is not None:
        _robustness(model, report, corpus, loaded.evaluation, loaded.evaluation.robustness)
    if loaded.evaluation.fidelity is not None:
        _fidelity(corpus, report / "fidelity", loaded.embedder, loaded.evaluation.fidelity)
    _evaluate(model, report, corpus, loaded.evaluation, (), count_embedding_workers(workers, scale), scale)
    print(f"\ncorpus  {corpus}\nmodel   {model}\nreport  {report / 'report.html'}\nscores  {report / 'scores.json'}")


def _recipe(name: str) -> Recipe:
    from builder.recipe import Recipe

    return Recipe.load(name)


def _scale(
    executor: str, address: str | None, gpus_per_worker: float, shard_timeout: float | None
) -> ExecutorSettings:
    from builder.executors import ExecutorSettings

    return ExecutorSettings(executor, address, gpus_per_worker, shard_timeout)  # type: ignore[arg-type]


def _build(
    recipe: Recipe,
    out: Path,
    workers: int | None,
    clips_per_shard: int | None,
    scale: ExecutorSettings,
    extend: bool = False,
) -> None:
    from builder.corpus.building.build import build as make
    from builder.corpus.corpus import Corpus

    with _progress("build") as progress:
        record = make(
            recipe, out, workers=workers, scale=scale, clips_per_shard=clips_per_shard, extend=extend,
            progress=progress,
        )  # fmt: skip
    print(f"corpus {out}: {record.rows:,} clips, {record.details['rejected']} rejected")
    corpus = Corpus(out)
    for name in corpus.behind():
        print(f"{name} has no embeddings of the new clips yet: {corpus.embed_command(name)}")


def _embed(corpus: Path, settings: Any, overwrite: bool, workers: int | None, scale: ExecutorSettings) -> None:
    from builder.embedders.augment import stored_name
    from builder.embedders.embed_corpus import embed_corpus

    with _progress("embed") as progress:
        record = embed_corpus(
            corpus, settings, overwrite=overwrite, workers=workers, scale=scale, progress=progress
        )  # fmt: skip
    print(f"embeddings {corpus / stored_name(settings)}: {record.rows:,} rows")


def _train(corpus: Path, out: Path, chosen: Any) -> None:
    from training.trainer import described, train

    chosen = _with_target(corpus, chosen, out.resolve().parent)
    record = train(corpus, out, chosen.training, chosen.embedder, split=chosen.split)
    if record is not None:
        print(f"model {out}: {described(record)}")


def _with_target(corpus: Path, chosen: Any, beside: Path) -> Any:
    """What `train` is called with, a benchmark for a target embedded first, into `beside`/real."""
    if ":" not in (chosen.training.target or ""):
        return chosen
    from evaluation.inference.embed_target import embed_target
    from training.settings import Chosen

    with _progress("embed") as progress:
        return embed_target(corpus, Chosen(chosen.training, chosen.embedder, chosen.split), beside, progress)


def _evaluate(
    model: Path,
    out: Path,
    corpus: Path | None,
    settings: Any,
    against: Sequence[Path],
    workers: int | None,
    scale: ExecutorSettings,
) -> None:
    from builder.executors import choose_executor
    from evaluation.evaluate import evaluate_model
    from evaluation.reporting.report import write_report
    from evaluation.reporting.tables import format_scores
    from training.card.card import write_card

    executor = choose_executor(scale, workers, one_core=False)
    scores = evaluate_model(
        model, list(settings.benchmarks), out, corpus, settings, against=against, executor=executor
    )  # fmt: skip
    write_card(model, out / "scores.json")
    write_report(out, model, corpus)
    print(format_scores(scores))


def _robustness(model: Path, out: Path, corpus: Path | None, settings: Any, chosen: Any) -> None:
    from evaluation.reporting.result_files import write_result_files
    from evaluation.reporting.tables import format_robustness
    from evaluation.robustness import evaluate_robustness

    with _ticks("robustness") as tick:
        found = evaluate_robustness(model, chosen.benchmark, out, chosen.damages, corpus, settings, chosen.limit, tick)
    write_result_files(found, out)
    print(format_robustness(found))
    if (out / "scores.json").exists():
        from training.card.card import write_card

        write_card(model, out / "scores.json")


def _fidelity(corpus: Path, out: Path, embedder: Any, chosen: Any) -> None:
    from evaluation.fidelity.measure import measure
    from evaluation.fidelity.page import table, write_page

    with _progress("embed") as progress:
        found = measure(corpus, chosen.against, out, embedder, clap=chosen.clap, progress=progress)
    write_page(out)
    print(table(found))
    _tell_in_card(corpus, out)


def _tell_in_card(corpus: Path, out: Path) -> None:
    from builder.corpus.card.add_fidelity import add_fidelity
    from builder.corpus.card.fidelity import FIDELITY

    if add_fidelity(corpus, out / FIDELITY):
        print(f"card  {corpus / 'README.md'}")


@contextmanager
def _progress(stage: str, unit: str = " clips") -> Iterator[Callable[[int, int | None], None]]:
    """A bar with speed and time left, from the first news on; what was there before does not count for the speed."""
    from tqdm import tqdm

    bar: Any = None

    def show(done: int, total: int | None) -> None:
        nonlocal bar
        if bar is None:
            scale = unit == "B"
            bar = tqdm(
                desc=stage, total=total, initial=done, unit=unit, unit_scale=scale, dynamic_ncols=True, smoothing=0.1
            )
        bar.update(done - bar.n)

    try:
        yield show
    finally:
        if bar is not None:
            bar.close()


@contextmanager
def _ticks(stage: str) -> Iterator[Callable[[int], None]]:
    """A bar for work whose end is not known beforehand."""
    done = 0
    with _progress(stage) as show:

        def tick(more: int) -> None:
            nonlocal done
            done += more
            show(done, None)

        yield tick


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def main() -> None:
    """Run a command; a user's mistake is told in words and ends with its exit code."""
    try:
        with handle_signals():
            app()
    except SynthmirError as error:
        if _debug:
            traceback.print_exception(error)
        else:
            print(f"synthmir: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            print("\nsynthmir: stopped; the same command goes on from here", file=sys.stderr)
        raise


if __name__ == "__main__":
    main()
