"""Where a training can be watched: TensorBoard or trackio, through accelerate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from builder.errors import BackendError
from builder.settings import TrainingSettings

from .outcome import Epoch

RUNS = "runs"  # beside the model folder: tensorboard --logdir runs


def tracker_options(settings: TrainingSettings | None, out: Path | None) -> dict[str, Any]:
    """Options of `Accelerator` for the tracker. Raises BackendError for a tracker that is not installed."""
    if settings is None or settings.tracker == "none" or out is None:
        return {}
    if find_spec(settings.tracker) is None:
        raise BackendError(f"training.tracker: {settings.tracker} is not installed", f"pip install {settings.tracker}")
    return {"log_with": settings.tracker, "project_dir": str(out.resolve().parent / RUNS)}


@contextmanager
def tracked(
    accelerator: Accelerator, out: Path, settings: TrainingSettings, on_epoch: Callable[[Epoch], None] | None
) -> Iterator[Callable[[Epoch], None]]:
    """Start the trackers of a training, and finish them when the block ends.

    Args:
        accelerator: The accelerator, which may have trackers.
        out: The model folder, whose name is the run's name.
        settings: The training settings, which are logged.
        on_epoch: Called with each point of the learning curve after it is logged. None: not called.

    Yields:
        A function to call with each point of the learning curve.
    """
    if accelerator.log_with:
        config = {key: _plain(value) for key, value in settings.model_dump(mode="json").items() if value is not None}
        accelerator.init_trackers(out.name, config=config)

    def report_epoch(point: Epoch) -> None:
        stage = f"{point['stage']}/" if "stage" in point else ""  # each stage counts its epochs from 1
        values = {
            stage + key: value for key, value in point.items() if key != "epoch" and isinstance(value, int | float)
        }
        accelerator.log(values, step=point["epoch"])
        if on_epoch:
            on_epoch(point)

    try:
        yield report_epoch
    finally:
        for tracker in accelerator.trackers:  # `end_training` would part the processes too
            tracker.finish()


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str) else str(value)
