"""The commands that use all stages: publish, and run, the whole pipeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.progress import ProgressOption, Update, show_progress

if TYPE_CHECKING:
    from builder.corpus.corpus import Corpus
    from builder.hub.publish import Target
    from builder.recipe import Recipe
    from evaluation.results.annotation_scores import AnnotationScores
    from evaluation.results.scores import Scores

Notice = Callable[[str], None]


def publish(
    run: str | Path,
    repo: str,
    *,
    what: str | None = None,
    model_repo: str | None = None,
    dataset_repo: str | None = None,
    private: bool = False,
    revision: str | None = None,
    pr: bool = False,
    dry_run: bool = False,
    progress: ProgressOption = True,
    notice: Notice | None = None,
) -> list[Target]:
    """Publish a corpus, model, metrics or a Space on the Hugging Face Hub, checked before and after.

    An upload that was stopped resumes and sends nothing twice.

    Args:
        run: What `run` wrote; or a corpus, model, metric or Space folder. With what="metrics" also the name of a
            shipped metric, or "all".
        repo: NAMESPACE/NAME: the corpus's repository, or the model's if it is alone. Of metrics the namespace is
            enough.
        what: "corpus", "model", "both", "metrics" or "space". Default: what `run` holds.
        model_repo: The model's repository. Default, with both: REPO-TASK.
        dataset_repo: With a model alone, where its corpus is published.
        private: Create repositories that others do not see.
        revision: The tag of the release, set last: "v1.0".
        pr: Open a pull request, instead of a commit to the main branch.
        dry_run: Check everything, ask the Hub what it holds, and list what would be sent; send no file.
        progress: See `builder.progress.show_progress`.
        notice: Called with a line about what happens: a retry, say.

    Returns:
        Each folder with its repository and address.

    Raises:
        DataError: A folder that is damaged or not finished.
        HubError: The Hub refuses something.
    """
    from builder.hub.publish import publish as publish_folders
    from evaluation.metrics import FOLDER

    with ExitStack() as bars:

        def start_bar(stage: str) -> Update:
            bars.close()
            return bars.enter_context(show_progress(progress, stage, " clips" if stage == "verify" else "B"))

        return publish_folders(
            Path(run), repo, what=what, model_repo=model_repo, dataset_repo=dataset_repo, private=private,
            revision=revision, pull_request=pr, dry_run=dry_run, metrics=FOLDER, meter=start_bar,
            notice=notice or (lambda line: None),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Run:
    """What `run` made."""

    corpus: Corpus
    model: Path
    report: Path  # report.html
    scores: Scores | AnnotationScores  # the latter of beats, chords, ..., which are learnt from annotations
    scores_file: Path  # scores.json, or annotation_scores.json


def run(
    recipe: Recipe | str | Path | Mapping[str, Any],
    out: str | Path,
    *,
    on: str | Sequence[str] = (),
    workers: int | None = None,
    executor: str = "local",
    address: str | None = None,
    gpus_per_worker: float = 0.0,
    shard_timeout: float | None = None,
    progress: ProgressOption = True,
    notice: Notice | None = None,
) -> Run:
    """Run the whole pipeline: prompts, corpus, embeddings, classifier, scores, report and cards. Resumes when stopped.

    With a task that is learnt from annotations (`training.task: [beats, chords, key]`) there are no embeddings: the
    network is trained and evaluated on audio.

    Args:
        recipe: See `read_recipe`.
        out: The folder that gets corpus/, model/ and report/.
        on: "folder:PATH", "gtzan:PATH", ...: one or several benchmarks to evaluate on besides the recipe's. If the
            recipe compares the corpus with its held-out clips (`evaluation.fidelity`), it is compared with the first
            of these instead.
        workers: As in `build`, with `executor`, `address`, `gpus_per_worker` and `shard_timeout`.
        progress: See `builder.progress.show_progress`.
        notice: Called with the results of each step, in lines for a terminal.

    Returns:
        The corpus, the paths of the model and the report, and the scores.

    Raises:
        RecipeError: The recipe or `on` names what does not exist, such as a benchmark. Both are checked first.
        BackendError: The generator's or the embedder's weights are missing. The embedder is checked first.
        DataError: `out` holds something other than a run.

    Examples:
        >>> synthmir.run("demo", "runs/demo").scores.benchmarks[0].accuracy.value
        0.98
        >>> synthmir.run("demo", "runs/demo", on="folder:~/music").scores.benchmarks[1].name
        'folder:~/music'
    """
    from builder.api import build, describe_corpus, make_executor_settings, read_recipe
    from builder.embedders.augment import augmented_config_name
    from builder.embedders.embed_corpus import embed_corpus
    from builder.executors import count_embedding_workers
    from evaluation.api import agreement
    from evaluation.evaluate import SCORES
    from evaluation.reporting.annotation_report import format_annotation_scores
    from evaluation.reporting.tables import format_robustness, format_scores
    from evaluation.results.annotation_scores import FILE as ANNOTATION_SCORES
    from evaluation.steps import evaluate_frames_with, evaluate_with, fidelity_with, robustness_with
    from training.settings import ChosenSettings
    from training.trainer import summarize_training

    from .preflight import check_embedder, check_estimators, check_label_counts, check_recipe, check_run_folder
    from .training_api import train_with

    report = notice or (lambda line: None)
    loaded, folder = read_recipe(recipe), Path(out)
    check_run_folder(folder)
    embeds = not loaded.training.frame_tasks
    evaluated = _add_benchmarks(loaded, [on] if isinstance(on, str) else on)
    check_recipe(evaluated)
    check_label_counts(loaded)
    if embeds:
        check_embedder(loaded)
    check_estimators(loaded)
    scale = make_executor_settings(executor, address, gpus_per_worker, shard_timeout)
    embedding_workers = count_embedding_workers(workers, scale)

    corpus = build(
        loaded, folder / "corpus", workers=workers, executor=executor, address=address,
        gpus_per_worker=gpus_per_worker, shard_timeout=shard_timeout, progress=progress,
    )  # fmt: skip
    report("\n".join(describe_corpus(corpus)))

    if embeds:
        with show_progress(progress, "embed") as update:
            record = embed_corpus(
                corpus.root, loaded.embedder, workers=embedding_workers, scale=scale, progress=update
            )
        report(f"embeddings {corpus.root / augmented_config_name(loaded.embedder)}: {record.rows:,} rows")

    if loaded.estimates:
        from builder.estimators.annotate_corpus import annotate_corpus

        with show_progress(progress, "annotate") as update:
            record = annotate_corpus(
                corpus.root, loaded.estimates, workers=embedding_workers, scale=scale, progress=update
            )
        report(f"estimates {corpus.root / 'estimates'}: {record.rows:,} rows")

    model, pages = folder / "model", folder / "report"
    chosen = ChosenSettings(loaded.training, loaded.embedder, loaded.split)
    if (trained := train_with(corpus.root, model, chosen, progress)) is not None:
        report(f"model {model}: {summarize_training(trained)}")

    if loaded.estimates:
        agreement(corpus.root, out=pages / "agreement", bootstrap=evaluated.evaluation.bootstrap, notice=report)
    settings = evaluated.evaluation
    if not embeds:
        annotated = evaluate_frames_with(model, pages, corpus.root, settings, progress=progress)
        report(format_annotation_scores(annotated))
        return Run(corpus, model, pages / "report.html", annotated, pages / ANNOTATION_SCORES)
    if settings.robustness is not None:
        report(format_robustness(robustness_with(model, pages, corpus.root, settings, progress)))
    if settings.fidelity is not None:
        against, clap = settings.fidelity.against, settings.fidelity.clap
        fidelity_with(corpus.root, against, pages / "fidelity", loaded.embedder, progress, report, clap=clap)
    scores = evaluate_with(model, pages, corpus.root, settings, scale, embedding_workers, progress=progress)
    report(format_scores(scores.model_dump(mode="json", by_alias=True)))
    return Run(corpus, model, pages / "report.html", scores, pages / SCORES)


def _add_benchmarks(recipe: Recipe, on: Sequence[str]) -> Recipe:
    """The recipe with more benchmarks, the first of which also replaces the held-out clips of `fidelity`.

    The corpus keeps the recipe without them: it is published, and they name folders of this machine.
    """
    if not on:
        return recipe
    chosen = recipe.evaluation
    values: dict[str, Any] = {"evaluation.benchmarks": list(dict.fromkeys([*chosen.benchmarks, *on]))}
    if chosen.fidelity is not None and chosen.fidelity.against == "validation":
        values["evaluation.fidelity.against"] = next((name for name in on if name != "validation"), "validation")
    return recipe.with_values(values)
