"""The training's commands as functions: train, train_seeds, export.

They are here and not in `training`, whose import loads torch and transformers to register the model, and because a
benchmark as the target is read by `evaluation`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from builder.errors import RecipeError
from builder.progress import ProgressOption, count_progress

if TYPE_CHECKING:
    from builder.records import RunRecord
    from training.frames.model import FrameModel
    from training.models.classifier import SynthmirClassifier
    from training.settings import ChosenSettings


class TrainOptions(TypedDict, total=False):
    """The options of `train`."""

    recipe: str | Path | None
    embedder: str | None
    task: str | None
    label_column: str | None
    embedding_column: str | None
    problem: str | None
    head: str | None
    strategy: str | None
    target: str | Path | None
    shots: int | None
    where: str | None
    weight: str | None
    seed: int | None


def train(
    corpus: str | Path,
    out: str | Path,
    *,
    recipe: str | Path | None = None,
    embedder: str | None = None,
    task: str | None = None,
    label_column: str | None = None,
    embedding_column: str | None = None,
    problem: str | None = None,
    head: str | None = None,
    strategy: str | None = None,
    target: str | Path | None = None,
    shots: int | None = None,
    where: str | None = None,
    weight: str | None = None,
    seed: int | None = None,
    progress: ProgressOption = True,
) -> SynthmirClassifier | FrameModel:
    """Train a classifier on embeddings, or a frame model on annotations, and write its model folder.

    A stopped training resumes when called again.

    Args:
        corpus: A corpus, folder or address, or any data set on disk that has embeddings and labels.
        out: The model folder to write.
        recipe: Take the settings from here. Default: the corpus's own recipe.
        embedder: Train on these embeddings. Default: the recipe's.
        task: "genre", "subgenre", "mood", "vocals", "instruments", "tempo", ... Or what is annotated, one or several:
            "beats", "chords", "key", "time_signature", "melody", "notes", "instruments", as "beats,chords,key".
            Default: the recipe's.
        label_column: The column of the labels, if it is not named as the task.
        embedding_column: Default: "embedding".
        problem: "single_label_classification", "multi_label_classification", "regression". Default: by the column.
        head: "mlp", "linear", "logistic", "knn"; "frames": learn `key` or `instruments` alone from annotations.
            Default: the recipe's.
        strategy: "synthetic", "real", "joint", "transfer", "finetune", "adapt". Default: the recipe's.
        target: Real music: "gtzan:PATH" or another benchmark, what `embed` wrote, a corpus.
        shots: Labelled real tracks for each class. Default: all.
        where: Train on the clips of which this is true, by what `annotate` measured: "clap > 0.3 and agrees.genre".
            Validation clips stay as they are.
        weight: "agreement": a clip counts by the share of its labels that estimates agree with.
        seed: Default: the recipe's.
        progress: Of the epochs, and of the embedding of a benchmark; see `builder.progress.show_progress`.

    Returns:
        The trained classifier, as `load_model(out)` returns it; or the frame model, as `load_frame_model(out)` does.

    Raises:
        DataError: There are no embeddings or labels to train on.
        RecipeError: Options that do not go together.

    Examples:
        >>> model = synthmir.train("corpus", "model")
        >>> model.config.labels
        ['electronica', 'funk', 'orchestral', 'pop', 'rock']
        >>> synthmir.train("corpus", "beats", task="beats").annotate(samples, 44_100).beats
        array([0.52, 1.01, 1.5 , ...])
    """
    from training.frames.loading import load_frame_model
    from training.models.classifier import is_frame_folder, load_model

    train_to_folder(
        corpus, out, progress, recipe=recipe, embedder=embedder, task=task, label_column=label_column,
        embedding_column=embedding_column, problem=problem, head=head, strategy=strategy, target=target, shots=shots,
        where=where, weight=weight, seed=seed,
    )  # fmt: skip
    return load_frame_model(out) if is_frame_folder(out) else load_model(Path(out))


def train_to_folder(
    corpus: str | Path, out: str | Path, progress: ProgressOption = True, **options: Unpack[TrainOptions]
) -> RunRecord | None:
    """Train a classifier as `train` does, but return the run's record.

    Args:
        corpus: As in `train`.
        out: The model folder to write.
        progress: As in `train`.
        **options: The other options of `train`.

    Returns:
        The training record. In a launch of several processes only the main one returns it, the others None.

    Raises:
        DataError: The data cannot be read, or `out` cannot be written.
        RecipeError: The settings do not fit the data.
        BackendError: A package or a device is missing.
    """
    from builder.io.storage import to_path

    source = to_path(corpus)
    return train_with(source, Path(out), _choose(source, options), progress)


def train_seeds(
    corpus: str | Path,
    out: str | Path,
    seeds: str | Sequence[int],
    *,
    progress: ProgressOption = True,
    notice: Callable[[str], None] | None = None,
    **options: Unpack[TrainOptions],
) -> dict[str, Any] | None:
    """Train once for each seed: a model in `out`/seed-N, mean and spread in `out`/seeds.json.

    Args:
        corpus: As in `train`.
        out: The folder that gets the models.
        seeds: "0..9", "0,3,7" or a list.
        progress: As in `train`.
        notice: Called with a line for each model that is finished.
        **options: The other options of `train`.

    Returns:
        What seeds.json holds. In a launch of several processes only the main one returns it.

    Examples:
        >>> synthmir.train_seeds("corpus", "seeds", range(5))["summary"]["accuracy"]["mean"]
        0.97
    """
    from builder.io.storage import to_path
    from evaluation.steps import embed_benchmark_target
    from training.seeds import parse_seeds
    from training.seeds import train_seeds as train_all

    source, folder, report = to_path(corpus), Path(out), notice or (lambda line: None)
    chosen = _choose(source, options)
    numbers = parse_seeds(seeds) if isinstance(seeds, str) else list(seeds)
    chosen = embed_benchmark_target(source, chosen, folder, progress)
    return train_all(
        source, folder, chosen.training, numbers, chosen.embedder,
        lambda number, _: report(f"model {folder / f'seed-{number}'}"), split=chosen.split,
    )  # fmt: skip


def _choose(corpus: Path, options: TrainOptions) -> ChosenSettings:
    """The settings of a training: the recipe's, with the options on top."""
    from training.settings import choose_settings

    keys: dict[str, Any] = {key: value for key, value in options.items() if key not in ("recipe", "embedder")}
    keys |= {"target": None if keys.get("target") is None else str(keys["target"])}
    recipe = options.get("recipe")
    return choose_settings(corpus, None if recipe is None else str(recipe), options.get("embedder"), keys)


def train_with(corpus: Path, out: Path, chosen: ChosenSettings, progress: ProgressOption) -> RunRecord | None:
    """Train a classifier with settings that were chosen already.

    A benchmark that is the target is embedded into `real` beside the model.

    Args:
        corpus: A corpus folder, or another data set of embeddings.
        out: The model folder to write.
        chosen: The settings of the training, of the embedder and of the split.
        progress: See `builder.progress.show_progress`.

    Returns:
        The training record. In a launch of several processes only the main one returns it, the others None.

    Raises:
        DataError: The data or the target cannot be read, or `out` cannot be written.
        RecipeError: The settings do not fit the data.
        BackendError: A package or a device is missing.
    """
    from evaluation.steps import embed_benchmark_target
    from training.trainer import train as train_model

    chosen = embed_benchmark_target(corpus, chosen, out.resolve().parent, progress)
    with count_progress(progress, "train", " epochs") as add:
        return train_model(
            corpus, out, chosen.training, chosen.embedder, lambda epoch: add(1), split=chosen.split
        )  # fmt: skip


def export(model: str | Path, out: str | Path, *, what: str = "whole") -> float:
    """Export a classifier or a frame model to one ONNX file, which is compared with torch before it is kept.

    `synthmir.convert` writes a corpus in other formats; this writes a model.

    Args:
        model: A model folder.
        out: The ONNX file to write.
        what: "whole": audio at 32 kHz in, of a model on melstats; at 16 kHz, of a frame model. "head": embeddings in,
            of any classifier.

    Returns:
        The largest difference from torch.

    Raises:
        DataError: The model's embedder cannot be exported.
        BackendError: The ONNX packages are missing, or the difference is too large.

    Examples:
        >>> synthmir.export("model", "model.onnx")
        2.4e-07
    """
    from training.frames.onnx_export import export_frames_onnx
    from training.models.classifier import is_frame_folder
    from training.models.onnx_export import export_onnx

    if is_frame_folder(model):
        if what != "whole":
            raise RecipeError(f"--what {what}: {model} has no embeddings as its input", "export it --what whole")
        return export_frames_onnx(Path(model), Path(out))
    return export_onnx(Path(model), Path(out), what)
