"""The plot and the text table of an experiment, written beside its JSON file."""

from __future__ import annotations

from pathlib import Path

from builder.io.atomic import write_bytes, write_text

from ..results.ablation import Ablation
from ..results.robustness import Robustness
from ..results.strategies import StrategyComparison
from .result_plots import plot_ablation, plot_robustness, plot_strategies
from .tables import format_ablation, format_strategies


def write_result_files(result: Ablation | Robustness | StrategyComparison, out: Path) -> None:
    """Draw an experiment's plot, and write its text table where it has one.

    Args:
        result: What an experiment returned.
        out: The folder that holds its JSON file. Gets `ablation.{svg,txt}`, `strategies.{svg,txt}` or
            `robustness.svg`.
    """
    out = Path(out)
    if isinstance(result, Robustness):
        write_bytes(out / "robustness.svg", plot_robustness(result))
    elif isinstance(result, Ablation):
        write_bytes(out / "ablation.svg", plot_ablation(result))
        write_text(out / "ablation.txt", format_ablation(result) + "\n")
    else:
        write_bytes(out / "strategies.svg", plot_strategies(result))
        write_text(out / "strategies.txt", format_strategies(result) + "\n")
