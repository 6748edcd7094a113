"""From a classifier, a corpus and real music to scores, plots, reports and the explorer."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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


def __getattr__(name: str) -> Any:
    """Import a name when it is used, so that `import evaluation` stays light."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return __all__
