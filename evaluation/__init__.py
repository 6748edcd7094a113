"""From a classifier, a corpus and real music to scores, plots, reports and the explorer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.lazy import lazy_exports

if TYPE_CHECKING:
    from .evaluate import evaluate_model
    from .reporting.report import write_report
    from .results.ablation import Ablation
    from .results.fidelity import Fidelity
    from .results.robustness import Robustness
    from .results.scores import Scores
    from .results.strategies import StrategyComparison
    from .robustness import evaluate_robustness
    from .strategies import compare_strategies

__all__ = [
    "Ablation",
    "Fidelity",
    "Robustness",
    "Scores",
    "StrategyComparison",
    "compare_strategies",
    "evaluate_model",
    "evaluate_robustness",
    "write_report",
]
_MODULES = {
    "Ablation": "evaluation.results.ablation",
    "Fidelity": "evaluation.results.fidelity",
    "Robustness": "evaluation.results.robustness",
    "Scores": "evaluation.results.scores",
    "StrategyComparison": "evaluation.results.strategies",
    "compare_strategies": "evaluation.strategies",
    "evaluate_model": "evaluation.evaluate",
    "evaluate_robustness": "evaluation.robustness",
    "write_report": "evaluation.reporting.report",
}
__getattr__, __dir__ = lazy_exports(__name__, _MODULES)
