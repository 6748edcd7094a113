"""The steps of the evaluation with the settings of a recipe, for `run` and for the functions of `evaluation.api`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import RecipeError
from builder.progress import ProgressOption, count_progress, show_progress

if TYPE_CHECKING:
    from builder.executors import ExecutorSettings
    from builder.settings import EmbedderSettings, EvaluationSettings
    from training.settings import ChosenSettings

    from .results.annotation_scores import AnnotationScores
    from .results.fidelity import Fidelity
    from .results.robustness import Robustness
    from .results.scores import Scores


def parse_shots(probe: int | str | Sequence[int | str]) -> list[int | str]:
    """Return the numbers of real tracks of each label that linear probes are trained on.

    Args:
        probe: 8, "1,8,all", or a list of these.

    Returns:
        Numbers from 1, and "all".

    Raises:
        RecipeError: It is neither.
    """
    listed = [probe] if isinstance(probe, int) else probe
    parts = listed.replace(" ", "").split(",") if isinstance(listed, str) else listed
    shots = [int(part) if isinstance(part, str) and part.isdecimal() else part for part in parts]
    for part in shots:
        if part != "all" and not (isinstance(part, int) and part >= 1):
            raise RecipeError(f"--probe: {part!r} is not a number of tracks", "write 8, or 1,2,4,8,16,all")
    return shots


def evaluate_with(
    model: str | Path,
    out: str | Path,
    corpus: str | Path | None,
    settings: EvaluationSettings,
    scale: ExecutorSettings,
    workers: int | None,
    against: Sequence[str | Path] = (),
    progress: ProgressOption = True,
) -> Scores:
    """Evaluate a model as `evaluate` does, with the settings of a recipe.

    Args:
        model: A model folder. Its card gets the scores.
        out: The folder that gets the report and the scores.
        corpus: The corpus of "validation". None: the corpus that the model was trained on.
        settings: The benchmarks, how windows are aggregated, and the bootstrap.
        scale: The executor, and how many workers and GPUs it uses.
        workers: Processes that embed tracks. None: one, with many threads.
        against: Folders of other models, which are compared with the model on the same tracks.
        progress: See `builder.progress.show_progress`.

    Returns:
        What scores.json holds.

    Raises:
        DataError: A model, the corpus or a benchmark cannot be read.
        RecipeError: A setting is not valid.
        BackendError: The embedder cannot be loaded.
    """
    from builder.executors import choose_executor
    from training.card.card import write_card

    from .evaluate import SCORES, evaluate_model
    from .reporting.report import write_report
    from .results.scores import Scores

    model, out, corpus = Path(model), Path(out), None if corpus is None else Path(corpus)
    pool = choose_executor(scale, workers, one_core=False)
    rivals = [Path(folder) for folder in against]
    with count_progress(progress, "evaluate", " tracks") as add:
        evaluate_model(
            model, list(settings.benchmarks), out, corpus, settings, tick=add, against=rivals, executor=pool
        )  # fmt: skip
    write_card(model, out / SCORES)
    write_report(out, model, corpus)
    return Scores.read(out / SCORES)


def evaluate_frames_with(
    model: str | Path,
    out: str | Path,
    corpus: str | Path | None,
    settings: EvaluationSettings,
    peers: Sequence[str] = (),
    progress: ProgressOption = True,
) -> AnnotationScores:
    """Evaluate a frame model as `evaluate` does, with the settings of a recipe.

    Args:
        model: The folder of a frame model.
        out: The folder that gets the report and the scores.
        corpus: The corpus of "validation". None: the corpus that the model was trained on.
        settings: The sources of annotated tracks, and the bootstrap.
        peers: Names of `evaluation.annotation_scores.peers.PEERS`.
        progress: See `builder.progress.show_progress`.

    Returns:
        What annotation_scores.json holds.

    Raises:
        DataError: The model or a source cannot be read, or has no annotations of the model's tasks.
        RecipeError: A source or a peer is not known.
        BackendError: A package is missing.
    """
    from training.frames.loading import load_frame_model

    from .annotation_scores.evaluate import evaluate_sources
    from .annotation_scores.peers import choose_peers
    from .inference.evaluated_model import VALIDATION, corpus_of, read_training_record
    from .reporting.annotation_report import write_annotation_report

    folder, given = Path(model), None if corpus is None else Path(corpus)
    frames = load_frame_model(folder)
    trained = read_training_record(folder)
    place = corpus_of(trained, folder, given) if VALIDATION in settings.benchmarks else given
    tasks = [*frames.config.tasks, *(["tempo"] if "beats" in frames.config.tasks else [])]
    chosen = choose_peers(peers, tasks)
    with count_progress(progress, "evaluate", " tracks") as add:
        scores = evaluate_sources(
            frames.annotate, settings.benchmarks, Path(out), str(folder), tasks, chosen, settings, place,
            trained.fingerprint, add,
        )  # fmt: skip
    write_annotation_report(Path(out))
    return scores


def robustness_with(
    model: str | Path,
    out: str | Path,
    corpus: str | Path | None,
    settings: EvaluationSettings,
    progress: ProgressOption,
) -> Robustness:
    """Evaluate a model as `robustness` does, with the settings of a recipe.

    If `out` holds the model's scores, the model's card is written again with the results.

    Args:
        model: A model folder.
        out: The folder that gets the results.
        corpus: The corpus of "validation". None: the corpus that the model was trained on.
        settings: The bootstrap and, in `robustness`, the benchmark, the damages and the largest number of tracks.
        progress: See `builder.progress.show_progress`.

    Returns:
        What robustness.json holds.

    Raises:
        DataError: The model, the corpus or the benchmark cannot be read.
        RecipeError: A damage or a setting is not valid.
        BackendError: The embedder, or a package that a damage needs, is missing.
    """
    from builder.settings import RobustnessSettings
    from training.card.card import write_card

    from .evaluate import SCORES
    from .reporting.result_files import write_result_files
    from .robustness import evaluate_robustness

    chosen = settings.robustness or RobustnessSettings()
    model, out, corpus = Path(model), Path(out), None if corpus is None else Path(corpus)
    with count_progress(progress, "robustness") as add:
        result = evaluate_robustness(model, chosen.benchmark, out, chosen.damages, corpus, settings, chosen.limit, add)
    write_result_files(result, out)
    if (out / SCORES).exists():
        write_card(model, out / SCORES)
    return result


def fidelity_with(
    corpus: Path,
    against: str,
    out: str | Path,
    settings: EmbedderSettings | None,
    progress: ProgressOption,
    notice: Callable[[str], None] | None,
    **options: Any,
) -> Fidelity:
    """Measure the fidelity of a corpus as `fidelity` does, with the settings of a recipe.

    The page is written, and the corpus's card gets the figures.

    Args:
        corpus: A corpus folder.
        against: Real music, as in `fidelity`.
        out: The folder that gets fidelity.json, its plots and the page.
        settings: The embedder. None: the one that the corpus was embedded with.
        progress: See `builder.progress.show_progress`.
        notice: Called with the figures as a table, and with a line about each page that was written. None: not called.
        **options: Other options of `evaluation.fidelity.measure.measure_fidelity`, such as `clap` and `seed`.

    Returns:
        What fidelity.json holds.

    Raises:
        DataError: A set cannot be read, or the sets are of different embedders.
        RecipeError: There is no such benchmark or embedder.
        BackendError: The embedder or the CLAP checkpoint cannot be loaded.
    """
    from builder.corpus.card.add_fidelity import add_fidelity
    from builder.corpus.card.fidelity import FIDELITY
    from builder.corpus.corpus import CARD

    from .fidelity.measure import measure_fidelity
    from .fidelity.page import format_table, write_page

    out, report = Path(out), notice or (lambda line: None)
    with show_progress(progress, "embed") as update:
        result = measure_fidelity(corpus, against, out, settings, progress=update, **options)
    report(format_table(result))
    report(f"page  {write_page(out)}")
    if add_fidelity(corpus, out / FIDELITY):
        report(f"card  {corpus / CARD}")
    return result


def embed_benchmark_target(
    corpus: Path, chosen: ChosenSettings, out: Path, progress: ProgressOption
) -> ChosenSettings:
    """Embed a benchmark that is the target of a training into `out`/real.

    Args:
        corpus: The corpus that the training learns from. Its labels and its embedder are used.
        chosen: The settings of the training.
        out: The folder in which `real` is made.
        progress: See `builder.progress.show_progress`.

    Returns:
        The settings with the folder of embeddings as the target. If the target is not a benchmark, the settings
        unchanged.

    Raises:
        DataError: The benchmark cannot be read, or the corpus does not name its embedder.
        RecipeError: The target is not valid, or several processes are running.
        BackendError: The embedder cannot be loaded.
    """
    if ":" not in (chosen.training.target or ""):
        return chosen
    from .inference.embed_target import embed_target

    with show_progress(progress, "embed") as update:
        return embed_target(corpus, chosen, out, update)
