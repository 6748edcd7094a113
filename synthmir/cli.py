"""The command line: the commands of all stages, errors as messages, and exit codes.

The commands of the builder and the evaluation are in their own cli.py. Here are those that need more than one stage,
and those of the training: importing `training` loads torch, so nothing that `synthmir --help` needs may be there.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated

import typer

import builder.cli
import evaluation.cli
from builder.cli import Address, Executor, GpusPerWorker, RecipeArgument, ShardTimeout, Workers
from builder.errors import SynthmirError
from builder.garbage import collect_garbage_rarely
from builder.interrupts import handle_signals
from builder.io.storage import to_path
from evaluation.cli import ModelArgument

from . import pipeline, training_api

INTERRUPTED = 130  # the exit code of Ctrl-C, which typer turns into SystemExit

app = typer.Typer(
    help="Labelled music made by generative models, and scores of models that are trained on it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_debug = False


def _print_version(wanted: bool) -> None:
    if wanted:
        from . import __version__

        print(f"synthmir {__version__}")
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


@app.command(rich_help_panel="Whole pipeline")
def run(
    recipe: RecipeArgument,
    out: Annotated[Path, typer.Option(help="The folder that gets corpus/, model/ and report/.")],
    on: Annotated[
        list[str] | None,
        typer.Option(
            help="Evaluate on folder:PATH, gtzan:PATH, ... too. If the recipe compares the corpus with held-out clips "
            "(fidelity), it is compared with the first of these instead. Can be repeated."
        ),
    ] = None,
    workers: Workers = None,
    executor: Executor = "local",
    address: Address = None,
    gpus_per_worker: GpusPerWorker = 0.0,
    shard_timeout: ShardTimeout = None,
) -> None:
    """Run all of it: prompts, corpus, embeddings, classifier, scores, report and cards. Resumes if it is stopped."""
    result = pipeline.run(
        recipe, out, on=on or (), workers=workers, executor=executor, address=address, gpus_per_worker=gpus_per_worker,
        shard_timeout=shard_timeout, notice=print,
    )  # fmt: skip
    print(f"\ncorpus  {out / 'corpus'}\nmodel   {result.model}\nreport  {result.report}\nscores  {result.scores_file}")


app.registered_commands += builder.cli.app.registered_commands


@app.command(rich_help_panel="Corpus")
def recipe(
    recipe: Annotated[
        str | None, typer.Argument(help="A recipe file, or the name of a shipped one. Default: list the shipped ones.")
    ] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of recipes, for editors.")] = False,
) -> None:
    """Check a recipe and print it with all its defaults; or list the shipped recipes; or print the JSON schema."""
    from builder.api import read_recipe
    from builder.recipe import Recipe, list_recipes

    from .preflight import check_recipe

    if schema:
        print(Recipe.json_schema(), end="")
    elif recipe is None:
        print("\n".join(list_recipes()))
    else:
        loaded = read_recipe(recipe)
        check_recipe(loaded)
        print(loaded.to_yaml(), end="")


@app.command(rich_help_panel="Training")
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
        str | None, typer.Option(help="Take the settings from here. Default: the corpus's own recipe.")
    ] = None,
    embedder: Annotated[str | None, typer.Option(help="Train on these embeddings. Default: the recipe's.")] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="genre, subgenre, mood, vocals, instruments, tempo, ... Or what is annotated, one or several: "
            "beats,chords,key,time_signature,melody,notes,instruments. Default: the recipe's."
        ),
    ] = None,
    label_column: Annotated[
        str | None, typer.Option(help="The column of the labels, if it is not named as the task.")
    ] = None,
    embedding_column: Annotated[str | None, typer.Option(help="Default: embedding.")] = None,
    problem: Annotated[
        str | None,
        typer.Option(
            help="single_label_classification, multi_label_classification, regression. Default: the column's."
        ),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(
            help="mlp, linear, logistic, knn; frames: learn key or instruments alone from annotations. "
            "Default: the recipe's."
        ),
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(help="synthetic, real, joint, transfer, finetune, adapt. Default: the recipe's.")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(help="Real music: gtzan:PATH or another benchmark, what `synthmir embed --out` wrote, a corpus."),
    ] = None,
    shots: Annotated[
        int | None, typer.Option(min=1, help="Labelled real tracks for each class. Default: all.")
    ] = None,
    where: Annotated[
        str | None, typer.Option(help="Train on clips of which this is true: 'clap > 0.3 and agrees.genre'.")
    ] = None,
    weight: Annotated[
        str | None, typer.Option(help="agreement: a clip counts by how many of its labels its estimates agree with.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Default: the recipe's.")] = None,
    seeds: Annotated[
        str | None,
        typer.Option(help="0..9 or 0,3,7: one model for each seed in OUT/seed-N, mean and spread in OUT/seeds.json."),
    ] = None,
) -> None:
    """Train a classifier on embeddings, or a network on annotations (--task beats,chords,key).

    If it is stopped, the same command resumes. `accelerate launch` works too.
    """
    chosen: training_api.TrainOptions = {
        "recipe": recipe, "embedder": embedder, "task": task, "label_column": label_column,
        "embedding_column": embedding_column, "problem": problem, "head": head, "strategy": strategy,
        "target": target, "shots": shots, "where": where, "weight": weight, "seed": seed,
    }  # fmt: skip
    if seeds is None:
        record = training_api.train_to_folder(corpus, out, **chosen)
        if record is not None:
            from training.trainer import summarize_training

            print(f"model {out}: {summarize_training(record)}")
        return
    summary = training_api.train_seeds(corpus, out, seeds, notice=print, **chosen)
    if summary is not None:
        from training.seeds import format_seed_table

        print(f"\n{format_seed_table(summary)}\n\nseeds {out / 'seeds.json'}")


app.registered_commands += evaluation.cli.app.registered_commands


@app.command(rich_help_panel="Sharing")
def export(
    model: ModelArgument,
    out: Annotated[Path, typer.Option(help="The ONNX file to write.")],
    what: Annotated[
        str,
        typer.Option(
            help="whole: audio in, of a melstats model or a frame model. head: embeddings in, of any classifier."
        ),
    ] = "whole",
) -> None:
    """Write a model as one ONNX file, compared with torch before it is kept. (`convert` writes a corpus.)"""
    difference = training_api.export(model, out, what=what)
    print(f"{out}: within {difference:.1e} of torch")


@app.command(rich_help_panel="Sharing")
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
            help="NAMESPACE/NAME on the Hub: the corpus's, or the model's if it is alone. Of metrics NAMESPACE is "
            "enough: each keeps its name."
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
    revision: Annotated[
        str | None, typer.Option(help="Tag the release with this name when all of it is there: v1.0")
    ] = None,
    pr: Annotated[bool, typer.Option("--pr", help="As a pull request, not to the main branch.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Check all and list what would be sent; send no file. The Hub is asked what it has."
        ),
    ] = False,
) -> None:
    """Send corpus, model, metrics or a Space to the Hugging Face Hub, checked before and after. Resumes if stopped."""
    from tqdm import tqdm

    from builder.hub.console import format_targets

    targets = pipeline.publish(
        run, repo, what=what, model_repo=model_repo, dataset_repo=dataset_repo, private=private, revision=revision,
        pr=pr, dry_run=dry_run, notice=lambda line: tqdm.write(f"synthmir: {line}", file=sys.stderr),
    )  # fmt: skip
    for line in format_targets(targets, dry_run):
        print(line)


@cache
def _make_command() -> Callable[[], None]:
    return typer.main.get_command(app)


def main() -> None:
    """Run a command. A user's mistake is printed as a message and ends with its exit code."""
    collect_garbage_rarely()
    try:
        with handle_signals():
            _make_command()()
    except SynthmirError as error:
        if _debug:
            traceback.print_exception(error)
        else:
            print(f"synthmir: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            print("\nsynthmir: stopped; the same command resumes from here", file=sys.stderr)
        raise
