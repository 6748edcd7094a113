"""The commands of the evaluation. Each is a thin layer over `evaluation.api`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from builder.cli import Address, Executor, GpusPerWorker, RecipeArgument, ShardTimeout, Workers

from . import api

app = typer.Typer()

ModelArgument = Annotated[Path, typer.Argument(help="A model folder.")]
LocalCorpusArgument = Annotated[Path, typer.Argument(help="A corpus folder.")]
ValidationCorpus = Annotated[
    Path | None, typer.Option(help="The corpus of `validation`. Default: what the model was trained on.")
]
Calibrate = Annotated[
    str | None,
    typer.Option(
        help="Standardise by the statistics of these recordings, 20 or more, without labels: a folder or a data set; "
        "`benchmark`: each benchmark's own."
    ),
]
Bootstrap = Annotated[int, typer.Option(min=100, help="Resamples of the 95 % intervals.")]


@app.command(rich_help_panel="Evaluation")
def evaluate(
    model: ModelArgument,
    on: Annotated[list[str], typer.Option(help="validation, folder:PATH, gtzan:PATH, ... Can be repeated.")],
    corpus: ValidationCorpus = None,
    out: Annotated[
        Path | None, typer.Option(help="Where report and scores go. Default: `report` beside the model.")
    ] = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(help="Another model to compare with, on the same tracks. Can be repeated."),
    ] = None,
    probe: Annotated[
        str | None,
        typer.Option(help="Compare with linear probes on so many real tracks of each label: 8, or 1,2,4,8,16,all."),
    ] = None,
    peers: Annotated[
        list[str] | None,
        typer.Option(
            help="Compare a model of beats, chords, ... with librosa-beats, key-profiles, chord-templates, pyin, or "
            "librosa: all of them. Can be repeated."
        ),
    ] = None,
    aggregate: Annotated[
        str, typer.Option(help="How a track's windows become one prediction: mean, logits, max, median, vote.")
    ] = "mean",
    calibrate: Calibrate = None,
    bootstrap: Bootstrap = 1000,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that embed tracks. Default: one, with many threads.")
    ] = None,
    executor: Executor = "local",
    address: Address = None,
    gpus_per_worker: GpusPerWorker = 0.0,
    shard_timeout: ShardTimeout = None,
) -> None:
    """Score a model with 95 % intervals; write report.html, its scores as JSON, and the card of a classifier.

    --against compares finished models; `compare` trains with several strategies and compares those. A model of beats,
    chords, ... is scored on annotated tracks: validation, corpus:PATH, folder:PATH, mirdata:DATASET:PATH.
    """
    from .reporting.annotation_report import format_annotation_scores
    from .reporting.tables import format_scores
    from .results.annotation_scores import AnnotationScores

    scores = api.evaluate(
        model, on, corpus=corpus, out=out, against=against or (), probe=probe or (), peers=peers or (),
        aggregate=aggregate, calibrate=calibrate, bootstrap=bootstrap, workers=workers, executor=executor,
        address=address, gpus_per_worker=gpus_per_worker, shard_timeout=shard_timeout,
    )  # fmt: skip
    if isinstance(scores, AnnotationScores):
        print(format_annotation_scores(scores))
    else:
        print(format_scores(scores.model_dump(mode="json", by_alias=True)))


@app.command(rich_help_panel="Evaluation")
def robustness(
    model: ModelArgument,
    on: Annotated[str, typer.Option(help="validation, folder:PATH, gtzan:PATH, ...")],
    damage: Annotated[list[str] | None, typer.Option(help="mp3, noise:10, ... Default: all. Can be repeated.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The most tracks: each once clean and once a level.")] = 500,
    corpus: ValidationCorpus = None,
    out: Annotated[
        Path | None, typer.Option(help="Where figures and picture go. Default: `report` beside the model.")
    ] = None,
    bootstrap: Bootstrap = 1000,
) -> None:
    """Score a classifier on the same tracks through codecs, filters, noise, rooms, other pitches and speeds."""
    from .reporting.tables import format_robustness

    result = api.robustness(
        model, on, damage=damage or (), limit=limit, corpus=corpus, out=out, bootstrap=bootstrap
    )  # fmt: skip
    print(format_robustness(result))


@app.command(rich_help_panel="Evaluation")
def fidelity(
    corpus: LocalCorpusArgument,
    against: Annotated[
        str,
        typer.Option(
            help="Real music: a folder of audio, what `embed --out` wrote, NAME:PATH as of evaluate, another corpus; "
            "or `validation`: the corpus's own held-out clips, as a floor."
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Default: `fidelity` beside the corpus.")] = None,
    embedder: Annotated[
        str | None, typer.Option(help="melstats, musicnn, passt, hf:<id or folder>. Default: the one in the corpus.")
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Its weights: a file or a folder.")] = None,
    clap: Annotated[
        str | None, typer.Option(help="A CLAP checkpoint, id or folder: compares clips with their prompts.")
    ] = None,
    similarity: Annotated[
        float | None, typer.Option(min=0, max=1, help="Cosine of near-duplicates. Default: higher than chance.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of what is sampled.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Embed the real music again.")] = False,
) -> None:
    """Measure how far a corpus is from real music: distances, coverage, duplicates, prompt adherence."""
    api.fidelity(
        corpus, against, out=out, embedder=embedder, weights=weights, clap=clap, similarity=similarity, seed=seed,
        overwrite=overwrite, notice=print,
    )  # fmt: skip


@app.command(rich_help_panel="Evaluation")
def agreement(
    corpus: LocalCorpusArgument,
    out: Annotated[Path | None, typer.Option(help="Default: `agreement` beside the corpus.")] = None,
    bootstrap: Annotated[int, typer.Option(min=100, help="Resamples of the intervals.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the resamples.")] = 0,
) -> None:
    """Compare what prompts ask for with what `annotate` measured in the sound, by label, genre and word."""
    api.agreement(corpus, out=out, bootstrap=bootstrap, seed=seed, notice=print)


@app.command(rich_help_panel="Evaluation")
def label_noise(
    corpus: Annotated[Path, typer.Argument(help="A corpus, or a data set on disk with embeddings and labels.")],
    out: Annotated[Path | None, typer.Option(help="Default: `label_noise` beside the corpus.")] = None,
    column: Annotated[str, typer.Option(help="The labels: genre, subgenre, mood, ... one for each clip.")] = "genre",
    embedder: Annotated[str | None, typer.Option(help="Its embeddings. Default: the first ones.")] = None,
    folds: Annotated[int, typer.Option(min=2, help="Clips of a fold are predicted by those of the others.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Of the folds.")] = 0,
) -> None:
    """List the clips whose label is probably wrong, by confident learning on embeddings."""
    api.label_noise(corpus, out=out, column=column, embedder=embedder, folds=folds, seed=seed, notice=print)


@app.command(rich_help_panel="Evaluation")
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
    for line in api.benchmarks(spec, out=out, labels=labels):
        print(line)


@app.command(rich_help_panel="Evaluation")
def ablate(
    recipe: RecipeArgument,
    out: Annotated[Path, typer.Option(help="The folder that gets corpora/, models/ and ablation.{json,svg,txt}.")],
    vary: Annotated[
        list[str] | None,
        typer.Option(help="KEY=VALUE,VALUE,... the first is the baseline. Can be repeated. Default: the recipe's."),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Trainings of each combination. Default: the recipe's.")
    ] = None,
    on: Annotated[
        list[str] | None, typer.Option(help="Score on folder:PATH, gtzan:PATH, ... too. Default: the recipe's.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="Shown: balanced_accuracy, macro_f1, ... Default: the task's first.")
    ] = None,
    probe: Annotated[
        str | None, typer.Option(help="Linear probes on so many real tracks of each label: 8, or 1,2,4,8,16,all.")
    ] = None,
    workers: Workers = None,
    executor: Executor = "local",
    address: Address = None,
    gpus_per_worker: GpusPerWorker = 0.0,
    shard_timeout: ShardTimeout = None,
) -> None:
    """Vary keys of a recipe, hold all else: build, train and score each combination, and test the differences."""
    from .reporting.tables import format_ablation

    result = api.ablate(
        recipe, out, vary=vary or (), seeds=seeds, on=on or (), metric=metric, probe=probe or (), workers=workers,
        executor=executor, address=address, gpus_per_worker=gpus_per_worker, shard_timeout=shard_timeout,
    )  # fmt: skip
    print(f"{format_ablation(result)}\n\n{out / 'ablation.json'}\n{out / 'ablation.svg'}")


@app.command(rich_help_panel="Evaluation")
def compare(
    corpus: LocalCorpusArgument,
    target: Annotated[
        str, typer.Option(help="Real music: gtzan:PATH or another benchmark, what `synthmir embed --out` wrote, ...")
    ],
    out: Annotated[Path, typer.Option(help="The folder that gets models/ and strategies.{json,svg,txt}.")],
    strategies: Annotated[str | None, typer.Option(help="synthetic,adapt,transfer,... Default: all six.")] = None,
    seeds: Annotated[str, typer.Option(help="0..4 or 0,3,7: trainings of each.")] = "0..4",
    shots: Annotated[
        int | None, typer.Option(min=1, help="Labelled real tracks for each class. Default: all.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="Orders and tests: balanced_accuracy, macro_f1, ... Default: the task's first.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="genre, mood, instruments, ... Default: the recipe's.")] = None,
    embedder: Annotated[str | None, typer.Option(help="Train on these embeddings. Default: the recipe's.")] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Take the settings from here. Default: the corpus's own recipe.")
    ] = None,
) -> None:
    """Train with every strategy on a corpus and real music; score all on its test part, which no training sees.

    This compares strategies; `evaluate --against` compares finished models.
    """
    from .reporting.tables import format_strategies

    result = api.compare(
        corpus, target, out, strategies=strategies, seeds=seeds, shots=shots, metric=metric, task=task,
        embedder=embedder, recipe=recipe,
    )  # fmt: skip
    print(f"{format_strategies(result)}\n\n{out / 'strategies.json'}\n{out / 'strategies.svg'}")


@app.command(rich_help_panel="Evaluation")
def classify(
    model: ModelArgument,
    files: Annotated[list[Path], typer.Argument(help="Audio files of any rate, channels and length.")],
    top_k: Annotated[int, typer.Option(min=1, help="Labels a file.")] = 3,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write what a model of beats, chords, ... predicts: song.jams, or a folder for several files."
        ),
    ] = None,
    calibrate: Annotated[
        str | None,
        typer.Option(help="Calibrate the model first, on the recordings of this folder, as the command `calibrate`."),
    ] = None,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="One JSON object a file instead of a table.")] = False,
) -> None:
    """Predict the labels of audio files, or their beats, chords, key, ... if that is what the model learnt.

    Files that cannot be read are listed on standard error, with exit code 3.
    """
    from .classify import check_readable, print_predictions

    predictions = api.classify(model, files, top_k=top_k, out=out, calibrate=calibrate)
    print_predictions(predictions, jsonl)
    check_readable(predictions)


@app.command(rich_help_panel="Evaluation")
def calibrate(
    model: ModelArgument,
    recordings: Annotated[
        str, typer.Argument(help="20 or more recordings, without labels: a folder of audio files, or a data set.")
    ],
    out: Annotated[Path, typer.Option(help="The model folder to write.")],
    workers: Annotated[int | None, typer.Option(min=1, help="Threads. Default: what suits the machine.")] = None,
) -> None:
    """Let a classifier standardise by the statistics of your recordings, not of its training set. No labels needed."""
    used = api.calibrate(model, recordings, out, workers=workers).config.calibration or {}
    print(f"model {out}: calibrated on {used['recordings']:,} recordings, {used['windows']:,} windows")


@app.command(rich_help_panel="Evaluation")
def tags(
    files: Annotated[list[Path], typer.Argument(help="Audio files of any rate, channels and length.")],
    arch: Annotated[
        str,
        typer.Option(help="MSD_musicnn, MSD_vgg: Million Song Dataset. MTT_musicnn, MTT_vgg: MagnaTagATune."),
    ] = "MSD_musicnn",
    weights: Annotated[Path | None, typer.Option(help="The wheel or folder of the package musicnn.")] = None,
    top_k: Annotated[int, typer.Option(min=1, help="Tags a file.")] = 5,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="One JSON object a file instead of a table.")] = False,
) -> None:
    """Predict the tags of audio files by musicnn. Those that cannot be read are listed, with exit code 3."""
    from .classify import check_readable, print_predictions

    predictions = api.tags(files, arch=arch, weights=weights, top_k=top_k)
    print_predictions(predictions, jsonl)
    check_readable(predictions)


@app.command(rich_help_panel="Evaluation")
def explore(
    run: Annotated[
        str, typer.Argument(help="What `synthmir run --out` wrote, a corpus folder, or NAMESPACE/NAME on the Hub.")
    ],
    against: Annotated[str | None, typer.Option(help="Another run, corpus or repository, to compare with.")] = None,
    host: Annotated[
        str, typer.Option(help="The address to listen on: 0.0.0.0 shows the page to your whole network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 7860,
    limit: Annotated[
        int | None, typer.Option(min=1, help="The most clips, evenly from all genres. With --static: 500.")
    ] = None,
    export: Annotated[Path | None, typer.Option(help="Write the page as a Space into this folder instead.")] = None,
    static: Annotated[Path | None, typer.Option(help="Write it as plain files that need no server instead.")] = None,
    repo: Annotated[
        str | None, typer.Option(help="With --export: where the corpus is on the Hub. Default: it is copied in.")
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in your browser.")] = True,
) -> None:
    """Show a corpus in the browser: filter and play clips, a map, neighbours, duplicates; try prompts and audio."""
    lines = api.explore(
        run, against=against, host=host, port=port, limit=limit, export=export, static=static, repo=repo,
        browser=browser,
    )  # fmt: skip
    for line in lines:
        print(line)
