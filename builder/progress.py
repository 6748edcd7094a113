"""Progress of long work: tqdm bars, a callback of the caller's, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Update = Callable[[int, int | None], None]  # done so far, and of how many where that is known
ProgressOption = bool | Callable[[str, int, int | None], None]  # a callback takes the stage, done and total


@contextmanager
def show_progress(option: ProgressOption, stage: str, unit: str = " clips") -> Iterator[Update]:
    """Show the progress of one stage.

    Args:
        option: True draws a tqdm bar on stderr, False shows nothing. A function is called with the stage's name,
            the amount done and the total (None where it is not known).
        stage: The stage's name: "build", "embed", ...
        unit: What is counted. "B" is shown as kB, MB, ...

    Yields:
        A function that takes the amount done so far and the total.
    """
    if callable(option):
        report = option
        yield lambda done, total: report(stage, done, total)
    elif option:
        with _progress_bar(stage, unit) as update:
            yield update
    else:
        yield lambda done, total: None


@contextmanager
def count_progress(option: ProgressOption, stage: str, unit: str = " clips") -> Iterator[Callable[[int], None]]:
    """Show the progress of work whose total is not known.

    Args:
        option: True draws a tqdm bar on stderr, False shows nothing. A function is called with the stage's name,
            the amount done and None.
        stage: The stage's name: "train", "evaluate", ...
        unit: What is counted. Default: " clips".

    Yields:
        A function that takes how much has been added.
    """
    done = 0
    with show_progress(option, stage, unit) as update:

        def add(count: int) -> None:
            nonlocal done
            done += count
            update(done, None)

        yield add


@contextmanager
def _progress_bar(stage: str, unit: str) -> Iterator[Update]:
    """A bar that starts at the first update, so that work of an earlier session does not count for the speed."""
    from tqdm import tqdm

    bar: Any = None

    def update(done: int, total: int | None) -> None:
        nonlocal bar
        if bar is None:
            bar = tqdm(
                desc=stage, total=total, initial=done, unit=unit, unit_scale=unit == "B", dynamic_ncols=True,
                smoothing=0.1,
            )  # fmt: skip
        bar.update(done - bar.n)

    try:
        yield update
    finally:
        if bar is not None:
            bar.close()
