"""The page of a metric in its Space: computes it on predictions and references that a visitor enters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import evaluate
import gradio

NAME = "METRIC"  # replaced when it is published
HERE = Path(__file__).parent


def compute(predictions: str, references: str, options: str) -> Any:
    """Compute the metric on lists in JSON.

    Args:
        predictions: A JSON list.
        references: A JSON list of the same length.
        options: A JSON object with the metric's other arguments. Empty: none.

    Returns:
        The metric's scores.

    Raises:
        gradio.Error: The text is not JSON, or the metric does not accept it.
    """
    try:
        lists = {"predictions": json.loads(predictions), "references": json.loads(references)}
        return metric.compute(**lists, **json.loads(options or "{}"))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise gradio.Error(str(error)) from error


metric = evaluate.load(str(HERE / f"{NAME}.py"))
page = gradio.Interface(
    compute,
    [
        gradio.Textbox(label="Predictions", placeholder="[0, 1, 1, 0]"),
        gradio.Textbox(label="References", placeholder="[0, 1, 0, 0]"),
        gradio.Textbox(label="Options", placeholder='{"labels": ["funk", "rock"]}'),
    ],
    gradio.JSON(label=NAME),
    title=NAME,
    description="Lists and options in JSON.",
    article=(HERE / "README.md").read_text(encoding="utf-8").split("\n---\n", 1)[-1],
    flagging_mode="never",
)

if __name__ == "__main__":
    page.launch()
