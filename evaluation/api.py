"""The commands of the evaluation as functions: evaluate, robustness, fidelity, agreement, label_noise, benchmarks,
ablate, compare, classify, calibrate, tags, explore.

Each has the name and the options of its command. Heavy packages are imported when a function is called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.api import make_executor_settings, read_recipe
from builder.errors import RecipeError
from builder.progress import ProgressOption, show_progress

from .steps import (
    embed_benchmark_target,
    evaluate_frames_with,
    evaluate_with,
    fidelity_with,
    parse_shots,
    robustness_with,
)

if TYPE_CHECKING:
    from builder.recipe import Recipe
    from training.models.classifier import SynthmirClassifier

    from .classify import Classification
    from .results.ablation import Ablation
    from .results.agreement import Agreement
    from .results.annotation_scores import AnnotationScores
    from .results.fidelity import Fidelity
    from .results.label_noise import LabelNoise
    from .results.robustness import Robustness
    from .results.scores import Scores
    from .results.strategies import StrategyComparison


def report_folder(model: str | Path) -> Path:
    """Return the folder that a model's report goes to by default: `report` beside it."""
    return Path(model).resolve().parent / "report"


def evaluate(
    model: str | Path,
    on: str | Sequence[str],
    *,
    corpus: str | Path | None = None,
    out: str | Path | None = None,
    against: Sequence[str | Path] = (),
    probe: int | str | Sequence[int | str] = (),
    peers: str | Sequence[str] = (),
    aggregate: str = "mean",
    calibrate: str | Path | None = None,
    bootstrap: int = 1000,
    workers: int | None = None,
    executor: str = "local",
    address: str | None = None,
    gpus_per_worker: float = 0.0,
    shard_timeout: float | None = None,
    progress: ProgressOption = True,
) -> Scores | AnnotationScores:
    """Score a model with 95 % intervals; write report.html, its scores as JSON, and the card of a classifier.

    Args:
        model: A model folder.
        on: "validation", "folder:PATH", "gtzan:PATH", ...; one or several. Of a model of beats, chords, ...:
            "validation", "corpus:PATH", "folder:PATH", "mirdata:DATASET:PATH".
        corpus: The corpus of "validation". Default: what the model was trained on.
        out: Where the report and the scores go. Default: `report` beside the model.
        against: Other models to compare with on the same tracks, by paired tests.
        probe: Compare with linear probes trained on so many real tracks of each label, of other artists: 8, or
            "1,2,4,8,16,all" for a learning curve, which says how many real tracks the model is worth.
        peers: Of a model of beats, chords, ...: compare with "librosa-beats", "key-profiles", "chord-templates",
            "pyin" on the same tracks, or with "librosa" for all of them.
        aggregate: How the predictions of a track's windows become one: "mean", "logits", "max", "median", "vote".
        calibrate: Recordings without labels, 20 or more, by whose statistics the model standardises: a folder or a
            data set; "benchmark": each benchmark's own recordings.
        bootstrap: Resamples of the confidence intervals.
        workers: Processes that embed tracks. Default: one, with many threads.
        executor: As in `synthmir.build`, with `address`, `gpus_per_worker` and `shard_timeout`.
        progress: See `builder.progress.show_progress`.

    Returns:
        What scores.json holds; of a model of beats, chords, ... what annotation_scores.json holds.

    Raises:
        DataError: The model, the corpus or the recordings cannot be read.
        RecipeError: An option is for models of the other kind.

    Examples:
        >>> scores = synthmir.evaluate("model", on=["validation", "folder:~/music"])
        >>> scores.benchmarks[0].accuracy.value
        0.984
        >>> scores = synthmir.evaluate("beats", on="mirdata:ballroom:~/ballroom", peers="librosa")
        >>> scores.sources[0].tasks[0].systems[0].scores["f_measure"].value
        0.91
    """
    from builder.settings import EvaluationSettings
    from builder.validation import validate
    from training.models.classifier import is_frame_folder

    options = {"benchmarks": [on] if isinstance(on, str) else on, "aggregate": aggregate, "bootstrap": bootstrap}
    options |= {"calibrate": None if calibrate is None else str(calibrate), "probe": parse_shots(probe)}
    settings = validate(EvaluationSettings, options, "options")
    names = [peers] if isinstance(peers, str) else peers
    if is_frame_folder(model):
        refused = {"--against": against, "--probe": settings.probe, "--calibrate": calibrate, "--workers": workers}
        refused |= {"--aggregate": aggregate != "mean", "--executor": executor != "local"}
        for option, value in refused.items():
            if value:
                raise RecipeError(
                    f"{option}: {model} has no embeddings, and its tracks are read one by one", "leave it out"
                )
        return evaluate_frames_with(model, out or report_folder(model), corpus, settings, names, progress)
    if names:
        raise RecipeError(f"--peers: {model} predicts no beats, chords, ...", "leave it out, or use --probe")
    scale = make_executor_settings(executor, address, gpus_per_worker, shard_timeout)
    return evaluate_with(model, out or report_folder(model), corpus, settings, scale, workers, against, progress)


def robustness(
    model: str | Path,
    on: str,
    *,
    damage: Sequence[str] = (),
    limit: int = 500,
    corpus: str | Path | None = None,
    out: str | Path | None = None,
    bootstrap: int = 1000,
    progress: ProgressOption = True,
) -> Robustness:
    """Score a classifier on the same tracks clean and through codecs, filters, noise, rooms, other pitches and speeds.

    Args:
        model: A model folder.
        on: "validation", "folder:PATH", "gtzan:PATH", ...
        damage: Kinds ("mp3") or levels ("noise:10"). Default: all.
        limit: The most tracks. Each is predicted once clean and once for each level.
        corpus: The corpus of "validation". Default: what the model was trained on.
        out: Where the figures and the picture go. Default: `report` beside the model.
        bootstrap: Resamples of the confidence intervals.
        progress: See `builder.progress.show_progress`.

    Returns:
        What robustness.json holds.
    """
    from builder.settings import EvaluationSettings, RobustnessSettings

    chosen = RobustnessSettings(benchmark=on, damages=tuple(damage), limit=limit)
    settings = EvaluationSettings(bootstrap=bootstrap, robustness=chosen)
    return robustness_with(model, out or report_folder(model), corpus, settings, progress)


def fidelity(
    corpus: str | Path,
    against: str | Path,
    *,
    out: str | Path | None = None,
    embedder: str | None = None,
    weights: str | Path | None = None,
    clap: str | None = None,
    similarity: float | None = None,
    seed: int = 0,
    overwrite: bool = False,
    progress: ProgressOption = True,
    notice: Callable[[str], None] | None = None,
) -> Fidelity:
    """Measure how far a corpus is from real music: distances, coverage, duplicates, prompt adherence.

    Args:
        corpus: A corpus folder.
        against: Real music: a folder of audio, what `embed` wrote, NAME:PATH of a benchmark, another corpus; or
            "validation", the corpus's own held-out clips, as a floor.
        out: Where fidelity.json, its pictures and the page go. Default: `fidelity` beside the corpus.
        embedder: "melstats", "musicnn", "passt", "hf:ID". Default: the one in the corpus.
        weights: The embedder's weights, a file or a folder.
        clap: A CLAP checkpoint, id or folder, which compares clips with their prompts.
        similarity: The cosine from which two clips are near-duplicates. Default: higher than chance.
        seed: Of what is sampled.
        overwrite: Embed the real music again.
        progress: See `builder.progress.show_progress`.
        notice: Called with the figures as a table, and with a line about each page that was written.

    Returns:
        What fidelity.json holds.
    """
    from builder.settings import EmbedderSettings
    from builder.validation import validate

    corpus = Path(corpus)
    settings = validate(EmbedderSettings, {"name": embedder}, "options") if embedder else None
    return fidelity_with(
        corpus, str(against), out or corpus.resolve().parent / "fidelity", settings, progress, notice, clap=clap,
        weights=None if weights is None else str(weights), similarity=similarity, seed=seed, overwrite=overwrite,
    )  # fmt: skip


def agreement(
    corpus: str | Path,
    *,
    out: str | Path | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    notice: Callable[[str], None] | None = None,
) -> Agreement:
    """Compare what a corpus's prompts ask for with what `annotate` measured in its sound.

    Where the corpus has exact annotations, the accuracy of the estimators is measured too, so that a generator that
    did not play what was asked for and an estimator that errs can be distinguished.

    Args:
        corpus: A corpus folder that `annotate` has measured.
        out: Where agreement.json goes, and agreement.parquet with a row for each clip. Default: `agreement` beside the
            corpus. In `agreement` of a report's folder it becomes a section of the report.
        bootstrap: Resamples of the intervals, which draw clips of one prompt group together.
        seed: Of the resamples.
        notice: Called with the figures as tables.

    Returns:
        What agreement.json holds.

    Raises:
        DataError: The corpus has no estimates, or not of all its clips.

    Examples:
        >>> synthmir.agreement("corpus").labels[0].all.value
        0.91
    """
    from .agreement.measure import measure_agreement
    from .agreement.page import format_table

    folder = Path(corpus)
    result = measure_agreement(
        folder, Path(out) if out is not None else folder.resolve().parent / "agreement", bootstrap, seed
    )
    if notice is not None:
        notice(format_table(result))
    return result


def label_noise(
    corpus: str | Path,
    *,
    out: str | Path | None = None,
    column: str = "genre",
    embedder: str | None = None,
    folds: int = 5,
    seed: int = 0,
    notice: Callable[[str], None] | None = None,
) -> LabelNoise:
    """Find the clips of a corpus whose label is probably wrong, by confident learning on embeddings.

    Classifiers predict the clips of each fold from those of the others, and cleanlab compares what they say with the
    labels (Northcutt, Jiang and Chuang 2021). Clips of one prompt group are in one fold.

    Args:
        corpus: A corpus, or any data set on disk that has embeddings and labels.
        out: Where label_noise.json and its page go, with excerpts of the most doubtful clips. Default: `label_noise`
            beside the corpus. In a report's folder it becomes a section of report.html.
        column: A column with one label for each clip: "genre", "subgenre", "mood", ...
        embedder: The embeddings of a corpus. Default: the first ones.
        folds: The number of folds.
        seed: Of the folds.
        notice: Called with the figures as tables.

    Returns:
        What label_noise.json holds: the estimated noise, of each pair of labels too, and the doubtful clips.

    Raises:
        DataError: There are no embeddings or labels, or a label is in a single prompt group.
        BackendError: The package cleanlab is not installed: pip install 'synthmir[labels]'.

    Examples:
        >>> synthmir.label_noise("corpus").doubtful[0].predicted
        'rock'
    """
    from .label_noise.measure import measure_label_noise
    from .label_noise.page import format_table, write_page

    folder = Path(out) if out is not None else Path(corpus).resolve().parent / "label_noise"
    result = measure_label_noise(corpus, folder, column, embedder, folds, seed)
    page = write_page(folder)
    if notice is not None:
        notice(f"{format_table(result)}\n\nplayers of the most doubtful clips: {page}")
    return result


def benchmarks(spec: str | None = None, *, out: str | Path | None = None, labels: str | None = None) -> Iterator[str]:
    """Describe the benchmarks, or what is on disk of one, in lines for a terminal.

    Args:
        spec: "gtzan:PATH": compare what is on disk with the published counts. Default: describe all benchmarks.
        out: Write the benchmark's list of tracks here, a data set on disk that `embed` takes.
        labels: With `out`, in the labels of "paper", "gtzan", "moods", "instruments" or "vocals".

    Raises:
        DataError: After the last line, where the counts differ.
    """
    from .benchmarks.catalogue import check_files, find, list_benchmarks

    if spec is None:
        yield from list_benchmarks()
        return
    benchmark, names = find(spec, labels)
    if out is not None:
        benchmark.dataset(names).save_to_disk(out)
    yield from check_files(benchmark)


def ablate(
    recipe: Recipe | str | Path | Mapping[str, Any],
    out: str | Path,
    *,
    vary: Sequence[str] | Mapping[str, Sequence[Any]] = (),
    seeds: int | None = None,
    on: Sequence[str] = (),
    metric: str | None = None,
    probe: int | str | Sequence[int | str] = (),
    workers: int | None = None,
    executor: str = "local",
    address: str | None = None,
    gpus_per_worker: float = 0.0,
    shard_timeout: float | None = None,
    progress: ProgressOption = True,
) -> Ablation:
    """Vary keys of a recipe and hold all others: build, train and score each combination, and test the differences.

    Args:
        recipe: See `synthmir.read_recipe`.
        out: The folder that gets corpora/, models/ and ablation.{json,svg,txt}.
        vary: {"training.hidden": [[], [128]]}, or texts "KEY=VALUE,VALUE". The first value is the baseline. Default:
            the recipe's.
        seeds: Trainings of each combination. Default: the recipe's.
        on: Benchmarks to score on besides validation. Default: the recipe's.
        metric: What the table and the picture show: "balanced_accuracy", ... Default: the first of the task.
        probe: Linear probes on real tracks of the benchmarks, as in `evaluate`. Default: the recipe's.
        workers: As in `synthmir.build`, with `executor`, `address`, `gpus_per_worker` and `shard_timeout`.
        progress: See `builder.progress.show_progress`.

    Returns:
        What ablation.json holds.

    Examples:
        >>> synthmir.ablate("demo", "ablation", vary={"prompts.vocals": ["unspecified", "instrumental"]}, seeds=3)
    """
    from .ablation import ablate as ablate_recipe
    from .ablation import parse_vary
    from .reporting.result_files import write_result_files

    options = {"evaluation.benchmarks": list(on) or None, "evaluation.probe": parse_shots(probe) or None}
    loaded = read_recipe(recipe).with_options(options)
    varied = vary if isinstance(vary, Mapping) else parse_vary(vary)
    scale = make_executor_settings(executor, address, gpus_per_worker, shard_timeout)
    result = ablate_recipe(loaded, Path(out), varied, seeds, workers, partial(show_progress, progress), scale, metric)
    write_result_files(result, Path(out))
    return result


def compare(
    corpus: str | Path,
    target: str | Path,
    out: str | Path,
    *,
    strategies: str | Sequence[str] | None = None,
    seeds: str | Sequence[int] = "0..4",
    shots: int | None = None,
    metric: str | None = None,
    task: str | None = None,
    embedder: str | None = None,
    recipe: str | Path | None = None,
    progress: ProgressOption = True,
) -> StrategyComparison:
    """Train with every strategy on a corpus and real music; score all on the target's test part, which none sees.

    This compares strategies. `synthmir.evaluate(..., against=...)` compares finished models.

    Args:
        corpus: A corpus folder.
        target: Real music: "gtzan:PATH" or another benchmark, what `embed` wrote, a corpus.
        out: The folder that gets models/ and strategies.{json,svg,txt}.
        strategies: Names, in a list or separated by commas. Default: all six.
        seeds: Seeds of the trainings: "0..4", "0,3,7" or a list.
        shots: Labelled real tracks for each class. Default: all.
        metric: What orders the strategies and is tested: "balanced_accuracy", ... Default: the first of the task.
        task: "genre", "mood", "instruments", ... Default: the recipe's.
        embedder: Train on these embeddings. Default: the recipe's.
        recipe: Take the settings from here. Default: the corpus's own recipe.
        progress: See `builder.progress.show_progress`.

    Returns:
        What strategies.json holds, the best strategy first.
    """
    from training.seeds import parse_seeds
    from training.settings import choose_settings

    from .reporting.result_files import write_result_files
    from .strategies import STRATEGIES, compare_strategies

    corpus, out = Path(corpus), Path(out)
    options = {"task": task, "target": str(target), "shots": shots}
    chosen = choose_settings(corpus, None if recipe is None else str(recipe), embedder, options)
    if isinstance(strategies, str):
        strategies = strategies.replace(" ", "").split(",")
    numbers = parse_seeds(seeds) if isinstance(seeds, str) else seeds
    chosen = embed_benchmark_target(corpus, chosen, out, progress)
    with show_progress(progress, "train", " trainings") as update:
        result = compare_strategies(
            corpus, out, chosen.training, strategies=strategies or STRATEGIES, seeds=numbers,
            embedder=chosen.embedder, split=chosen.split, metric=metric, progress=update,
        )  # fmt: skip
    write_result_files(result, out)
    return result


def classify(
    model: str | Path,
    files: str | Path | Iterable[str | Path],
    *,
    top_k: int = 3,
    out: str | Path | None = None,
    calibrate: str | Path | None = None,
    workers: int | None = None,
) -> list[Classification]:
    """Predict the labels of audio files, or their beats, chords, key, ..., by a frame model.

    Args:
        model: A model folder.
        files: Audio files of any sampling rate, number of channels and length.
        top_k: Labels for each file.
        out: Write what a frame model predicts as JAMS: a file (song.jams) for one recording, or a folder.
        calibrate: Recordings to calibrate the model on first, as `synthmir.calibrate` does.
        workers: Threads. Default: what suits the machine.

    Returns:
        For each file its labels with their probabilities, a number (tempo), an annotation, or why it could not be
        read.

    Raises:
        DataError: No file can be read.
        RecipeError: An option is for models of the other kind.

    Examples:
        >>> synthmir.classify("model", ["song.mp3"])[0].labels
        (('rock', 0.91), ('pop', 0.06), ('funk', 0.02))
    """
    from training.models.classifier import is_frame_folder

    from .annotate import annotate_files, write_predictions
    from .classify import check_readable
    from .classify import classify as classify_files

    listed = [files] if isinstance(files, (str, Path)) else files
    if is_frame_folder(model):
        if calibrate is not None:
            raise RecipeError(f"--calibrate: {model} has no embeddings to standardise", "leave it out")
        predictions = annotate_files(Path(model), listed)
        if predictions and all(one.error for one in predictions):
            check_readable(predictions)
        if out is not None:
            write_predictions(predictions, Path(out))
        return predictions
    if out is not None:
        raise RecipeError(f"--out: {model} predicts labels, which JAMS is not for", "use --jsonl, or leave --out out")
    recordings = None if calibrate is None else str(calibrate)
    return classify_files(Path(model), listed, top_k=top_k, workers=workers, calibrate=recordings)


def calibrate(
    model: str | Path,
    recordings: str | Path,
    out: str | Path,
    *,
    workers: int | None = None,
    progress: ProgressOption = True,
) -> SynthmirClassifier:
    """Calibrate a classifier on recordings without labels, and write it into a folder of its own.

    The calibrated model standardises embeddings by the statistics of these recordings in place of those of its
    training set. Everything that reads the folder does so: `classify`, `evaluate`, pipelines, ONNX.

    Args:
        model: A model folder.
        recordings: 20 or more recordings of the kind that will be classified: a folder of audio files, or a data set
            with audio. Labels are not used.
        out: The model folder to write.
        workers: Threads. Default: what suits the machine.
        progress: See `builder.progress.show_progress`.

    Returns:
        The calibrated classifier, as `load_model(out)` returns it.

    Raises:
        DataError: There are too few recordings, the model is calibrated already, or a folder cannot be used.

    Examples:
        >>> model = synthmir.calibrate("model", "~/music", "calibrated")
        >>> model.config.calibration["recordings"]
        120
    """
    from builder.progress import count_progress

    from .inference.calibrate import calibrate_folder

    with count_progress(progress, "calibrate", " recordings") as add:
        return calibrate_folder(Path(model), str(recordings), Path(out), workers, add)


def tags(
    files: str | Path | Iterable[str | Path],
    *,
    arch: str = "MSD_musicnn",
    weights: str | Path | None = None,
    top_k: int = 5,
) -> list[Classification]:
    """Predict the tags of audio files by `musicnn` (Pons and Serra 2019), which was trained on real music.

    It needs no model of yours. `synthmir.Embedder("musicnn", tags=True)` gives all 50 probabilities of each row of a
    data set beside its embedding.

    Args:
        files: Audio files of any sampling rate, number of channels and length.
        arch: "MSD_musicnn" or "MSD_vgg": 50 tags of the Million Song Dataset (genres, moods, decades, vocals).
            "MTT_musicnn" or "MTT_vgg": 50 tags of MagnaTagATune (instruments, vocals, tempo, genres).
        weights: The package's wheel or folder. Default: the installed package, else its wheel, which is downloaded
            once.
        top_k: Tags for each file.

    Returns:
        For each file its tags with their probabilities, which do not sum to 1, or why it could not be read.

    Raises:
        DataError: No file can be read.
        BackendError: The weights cannot be loaded.

    Examples:
        >>> synthmir.tags("song.mp3")[0].labels
        (('rock', 0.62), ('classic rock', 0.31), ('guitar', 0.17), ('70s', 0.14), ('male vocalists', 0.11))
    """
    from .classify import tag_files

    listed = [files] if isinstance(files, (str, Path)) else files
    return tag_files(listed, arch, None if weights is None else str(weights), top_k)


def explore(
    run: str | Path,
    *,
    against: str | Path | None = None,
    host: str = "127.0.0.1",
    port: int = 7860,
    limit: int | None = None,
    export: str | Path | None = None,
    static: str | Path | None = None,
    repo: str | None = None,
    browser: bool = True,
    progress: ProgressOption = True,
) -> list[str]:
    """Show a corpus in the browser: filter and play clips, see a map, neighbours, duplicates; try prompts and audio.

    Serves until it is interrupted, or, with `export` or `static`, writes the page and returns.

    Args:
        run: What `synthmir.run` wrote, a corpus folder, or NAMESPACE/NAME on the Hub.
        against: Another run, corpus or repository to compare with.
        host: The address to listen on. "0.0.0.0" shows the page to your whole network.
        port: 0 takes any free port.
        limit: The most clips, evenly from all genres.
        export: Write the page as a Space into this folder.
        static: Write the page as plain files that need no server.
        repo: With `export`, where the corpus is on the Hub. Default: it is copied into the Space.
        browser: Open the page in your browser.
        progress: See `builder.progress.show_progress`.

    Returns:
        Lines that say what was written.
    """
    from .explorer.command import explore as show_page

    other = None if against is None else str(against)
    return show_page(
        str(run), other, host=host, port=port, limit=limit, repo=repo, browser=browser,
        export=None if export is None else Path(export), static=None if static is None else Path(static),
        meter=partial(show_progress, progress),
    )  # fmt: skip
