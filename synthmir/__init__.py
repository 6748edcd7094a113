"""Labelled music made by generative models, and scores of models that are trained on it.

Each command of `synthmir` is a function here, with the same name and options:

    import synthmir as sm

    sm.build("demo", "corpus")
    sm.embed("corpus")
    model = sm.train("corpus", "model")
    scores = sm.evaluate("model", on=["validation", "folder:~/music"])

Names are imported when they are used, so that `import synthmir` stays light.
"""

# No `from __future__ import annotations`: its name would hide the module `synthmir.annotations`.
from importlib import import_module
from typing import TYPE_CHECKING, Any

from builder.lazy import lazy_exports

if TYPE_CHECKING:
    from builder.api import (
        annotate,
        build,
        convert,
        embed,
        estimate,
        load_batches,
        load_tensors,
        plan,
        prompts,
        read_recipe,
        select,
        verify,
    )
    from builder.corpus.corpus import Corpus
    from builder.corpus.hf_builder import MusicGenCorpus
    from builder.corpus.load import load_corpus
    from builder.embedders.base import load_embedder
    from builder.embedders.embedded_dataset import EmbeddedDataset, open_dataset
    from builder.embedders.embedder import Embedder
    from builder.errors import BackendError, DataError, HubError, RecipeError, SynthmirError
    from builder.generators.base import load_generator
    from builder.generators.generator import Generator
    from builder.recipe import Recipe
    from builder.records import RunRecord
    from evaluation.annotation_scores.track_scores import score_annotation
    from evaluation.api import (
        ablate,
        agreement,
        benchmarks,
        calibrate,
        classify,
        compare,
        evaluate,
        explore,
        fidelity,
        label_noise,
        robustness,
        tags,
    )
    from evaluation.benchmarks.annotated import AnnotatedTrack, load_annotated
    from evaluation.results.ablation import Ablation
    from evaluation.results.agreement import Agreement
    from evaluation.results.annotation_scores import AnnotationScores
    from evaluation.results.fidelity import Fidelity
    from evaluation.results.label_noise import LabelNoise
    from evaluation.results.robustness import Robustness
    from evaluation.results.scores import Scores
    from evaluation.results.strategies import StrategyComparison
    from training.frames.loading import load_frame_model
    from training.frames.model import FrameModel
    from training.models.classifier import SynthmirClassifier, SynthmirConfig, load_model

    from .pipeline import Run, publish, run
    from .training_api import export, train, train_seeds

    __version__: str

_EXPORTS = {
    "builder.api": (
        "annotate", "build", "convert", "embed", "estimate", "load_batches", "load_tensors", "plan", "prompts",
        "read_recipe", "select", "verify",
    ),
    "builder.corpus.corpus": ("Corpus",),
    "builder.corpus.hf_builder": ("MusicGenCorpus",),
    "builder.corpus.load": ("load_corpus",),
    "builder.embedders.base": ("load_embedder",),
    "builder.embedders.embedded_dataset": ("EmbeddedDataset", "open_dataset"),
    "builder.embedders.embedder": ("Embedder",),
    "builder.errors": ("BackendError", "DataError", "HubError", "RecipeError", "SynthmirError"),
    "builder.generators.base": ("load_generator",),
    "builder.generators.generator": ("Generator",),
    "builder.recipe": ("Recipe",),
    "builder.records": ("RunRecord",),
    "evaluation.annotation_scores.track_scores": ("score_annotation",),
    "evaluation.results.ablation": ("Ablation",),
    "evaluation.results.annotation_scores": ("AnnotationScores",),
    "evaluation.api": (
        "ablate", "agreement", "benchmarks", "calibrate", "classify", "compare", "evaluate", "explore", "fidelity",
        "label_noise", "robustness", "tags",
    ),
    "evaluation.benchmarks.annotated": ("AnnotatedTrack", "load_annotated"),
    "evaluation.results.agreement": ("Agreement",),
    "evaluation.results.fidelity": ("Fidelity",),
    "evaluation.results.label_noise": ("LabelNoise",),
    "evaluation.results.scores": ("Scores",),
    "evaluation.results.robustness": ("Robustness",),
    "evaluation.results.strategies": ("StrategyComparison",),
    "training.frames.loading": ("load_frame_model",),
    "training.frames.model": ("FrameModel",),
    "training.models.classifier": ("SynthmirClassifier", "SynthmirConfig", "load_model"),
    "synthmir.pipeline": ("Run", "publish", "run"),
    "synthmir.training_api": ("export", "train", "train_seeds"),
}  # fmt: skip
_MODULES = {name: module for module, names in _EXPORTS.items() for name in names}
__all__ = [
    "Ablation",
    "Agreement",
    "AnnotatedTrack",
    "AnnotationScores",
    "BackendError",
    "Corpus",
    "DataError",
    "EmbeddedDataset",
    "Embedder",
    "Fidelity",
    "FrameModel",
    "Generator",
    "HubError",
    "LabelNoise",
    "MusicGenCorpus",
    "Recipe",
    "RecipeError",
    "Robustness",
    "Run",
    "RunRecord",
    "Scores",
    "StrategyComparison",
    "SynthmirClassifier",
    "SynthmirConfig",
    "SynthmirError",
    "__version__",
    "ablate",
    "agreement",
    "annotate",
    "benchmarks",
    "build",
    "calibrate",
    "classify",
    "compare",
    "convert",
    "embed",
    "estimate",
    "evaluate",
    "explore",
    "export",
    "fidelity",
    "label_noise",
    "load_annotated",
    "load_batches",
    "load_corpus",
    "load_embedder",
    "load_frame_model",
    "load_generator",
    "load_model",
    "load_tensors",
    "open_dataset",
    "plan",
    "prompts",
    "publish",
    "read_recipe",
    "robustness",
    "run",
    "score_annotation",
    "select",
    "tags",
    "train",
    "train_seeds",
    "verify",
]


_import_export, __dir__ = lazy_exports(__name__, _MODULES)


def __getattr__(name: str) -> Any:
    """Import a name when it is first used."""
    if name == "annotations":
        return import_module(".annotations", __name__)
    return _version() if name == "__version__" else _import_export(name)


def _version() -> str:
    """The version of the installed package, or of a source tree that is not installed, by its pyproject.toml."""
    from importlib import metadata

    try:
        return metadata.version("synthmir")
    except metadata.PackageNotFoundError:
        import tomllib
        from pathlib import Path

        file = Path(__file__).parents[1] / "pyproject.toml"
        return str(tomllib.loads(file.read_text(encoding="utf-8"))["project"]["version"])
