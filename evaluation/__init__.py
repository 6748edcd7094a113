"""From a classifier, a corpus and real music to scores, plots, reports and the explorer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.lazy import lazy_exports

if TYPE_CHECKING:
    from .annotation_scores.evaluate import evaluate_annotations
    from .annotation_scores.track_scores import score_annotation
    from .evaluate import evaluate_model
    from .reporting.report import write_report
    from .results.ablation import Ablation
    from .results.annotation_scores import AnnotationScores
    from .results.fidelity import Fidelity
    from .results.robustness import Robustness
    from .results.scores import Scores
    from .results.strategies import StrategyComparison
    from .robustness import evaluate_robustness
    from .strategies import compare_strategies

__all__ = [
    "Ablation",
    "AnnotationScores",
    "Fidelity",
    "Robustness",
    "Scores",
    "StrategyComparison",
    "compare_strategies",
    "evaluate_annotations",
    "evaluate_model",
    "evaluate_robustness",
    "score_annotation",
    "write_report",
]
_MODULES = {
    "Ablation": "evaluation.results.ablation",
    "AnnotationScores": "evaluation.results.annotation_scores",
    "Fidelity": "evaluation.results.fidelity",
    "Robustness": "evaluation.results.robustness",
    "Scores": "evaluation.results.scores",
    "StrategyComparison": "evaluation.results.strategies",
    "compare_strategies": "evaluation.strategies",
    "evaluate_annotations": "evaluation.annotation_scores.evaluate",
    "evaluate_model": "evaluation.evaluate",
    "evaluate_robustness": "evaluation.robustness",
    "score_annotation": "evaluation.annotation_scores.track_scores",
    "write_report": "evaluation.reporting.report",
}
__getattr__, __dir__ = lazy_exports(__name__, _MODULES)
