"""A recording of one's own: what the run's classifier hears in it, window by window."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from builder.errors import DataError

from .cards import text
from .theme import colour

MAX_SAMPLES = 120_000_000  # over all channels: 20 minutes of stereo at 48 kHz, half a gigabyte once decoded
WIDTH, HEIGHT = 1000, 200  # of the picture, in its own units
SHOWN = 12  # labels in the picture and in the list


@dataclass(frozen=True, slots=True)
class Heard:
    """Windows of a recording and what was heard in each."""

    seconds: float
    starts: np.ndarray  # float64 [n], seconds
    ends: np.ndarray
    values: np.ndarray  # float64 [n, labels]: probabilities, or numbers of a regression [n, 1]
    answer: np.ndarray  # float64 [labels], of the whole
    labels: tuple[str, ...]
    problem: str
    unit: str
    samples: np.ndarray  # float32 [samples], mono
    sampling_rate: int


class Listener:
    """The classifier of a run, loaded when it first listens."""

    def __init__(self, model: Path) -> None:
        self._folder, self._lock = model, Lock()
        self._parts: Any = None

    def hear(self, file: str | Path) -> Heard:
        """Listen to a file of any rate, channels and length. Raises DataError, BackendError."""
        from builder.audio import load_audio
        from training.models.audio_embedding import cut, embed_cuts

        from ..inference.predict import logits, pool, problem_of, to_probabilities
        from ..statistics.summary import TEMPO_TASKS

        refuse_long(Path(file))
        with self._lock:
            model, embedder = self._parts = self._parts or self._load()
            try:
                samples = load_audio(Path(file), embedder.sampling_rate)
            except (MemoryError, RuntimeError) as error:  # a length or a rate beyond what this machine can hold
                raise DataError(f"cannot be decoded: {error}") from error
            vectors = embed_cuts(embedder, [cut(samples, embedder)])[0]
            outputs = logits(model, vectors)
        problem, config = problem_of(model), model.config
        starts, ends = spans(len(samples), len(vectors), embedder)
        return Heard(
            len(samples) / embedder.sampling_rate, starts, ends,
            to_probabilities(outputs, problem), pool(outputs, problem),
            tuple(map(str, config.labels)), problem, "bpm" if config.task in TEMPO_TASKS else "", samples,
            embedder.sampling_rate,
        )  # fmt: skip

    def _load(self) -> tuple[Any, Any]:
        from training.models.classifier import load_model

        from ..inference.predict import load_model_embedder

        model = load_model(self._folder)
        return model, load_model_embedder(model)


def refuse_long(file: Path) -> None:
    """DataError for what would not fit into memory. What cannot be read at all is told by who reads it."""
    from builder.audio import ENDLESS, measure

    try:
        frames, channels, rate = measure(file)
    except DataError:
        return
    if frames * channels > MAX_SAMPLES and frames < ENDLESS:
        raise DataError(
            f"the recording is {frames / rate / 60:.0f} minutes long, more than fits here",
            "give an excerpt, or use the command: synthmir classify MODEL FILE",
        )


def spans(samples: int, count: int, embedder: Any) -> tuple[np.ndarray, np.ndarray]:
    """Where each window starts and ends, in seconds, as `training.models.audio_embedding.cut` cuts them."""
    from training.models.audio_embedding import OVERLAP

    rate = embedder.sampling_rate
    window = round(embedder.window_seconds * rate)
    hop = max(1, round(OVERLAP * window))
    starts = np.minimum(np.arange(count) * hop, max(0, samples - window))
    return starts / rate, np.minimum(starts + window, samples) / rate


def borders(heard: Heard) -> np.ndarray:
    """Seconds [n + 1] between which each window speaks: half way between the middles of neighbours."""
    middles = (heard.starts + heard.ends) / 2
    return np.concatenate([[0.0], (middles[1:] + middles[:-1]) / 2, [heard.seconds]])


def clock(seconds: float) -> str:
    """Minutes, seconds and tenths: 1:02.5."""
    return f"{int(seconds // 60)}:{seconds % 60:04.1f}"


def picture(heard: Heard) -> str:
    """SVG of the labels over time: shares on top of each other, or a line each where they are not shares of one."""
    edges = borders(heard) / max(heard.seconds, 1e-9) * WIDTH
    if heard.problem == "single_label_classification":
        drawn = _stacked(heard, edges)
        told = "share of each label"
    else:
        drawn = _lines(heard, edges)
        told = f"value in {heard.unit}" if heard.unit else "probability of each label"
    ticks = "".join(f"<span>{clock(place * heard.seconds)}</span>" for place in (0, 0.5, 1))
    return (
        f'<svg class="timeline" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="Over time: {told}">{drawn}</svg><div class="ticks soft">{ticks}</div>'
    )


def _stacked(heard: Heard, edges: np.ndarray) -> str:
    parts, seconds = [], borders(heard)
    for at, shares in enumerate(heard.values):
        top = 0.0
        for label, share in enumerate(shares):
            if share * HEIGHT >= 0.5:
                told = f"{clock(heard.starts[at])} to {clock(heard.ends[at])}: {heard.labels[label]} {share:.0%}"
                parts.append(
                    f'<rect x="{edges[at]:.1f}" y="{top:.1f}" width="{edges[at + 1] - edges[at] + 0.3:.1f}" '
                    f'height="{share * HEIGHT:.1f}" fill="{colour(label)}" data-seek="{seconds[at]:.2f}">'
                    f"<title>{text(told)}</title></rect>"
                )
            top += share * HEIGHT
    return "".join(parts)


def _lines(heard: Heard, edges: np.ndarray) -> str:
    values = heard.values
    low, high = (0.0, 1.0) if heard.problem.startswith("multi") else (float(values.min()) - 1, float(values.max()) + 1)
    lines = []
    for label in _strongest(heard):
        points = " ".join(
            f"{x:.1f},{(1 - (value - low) / (high - low)) * HEIGHT:.1f}"
            for at, value in enumerate(values[:, label])
            for x in (edges[at], edges[at + 1])
        )
        title = f"<title>{text(heard.labels[label])}</title>"
        lines.append(f'<polyline points="{points}" stroke="{colour(label)}">{title}</polyline>')
    return "".join(lines)


def _strongest(heard: Heard) -> list[int]:
    return [int(label) for label in np.argsort(-heard.answer, kind="stable")[:SHOWN]]


def account(heard: Heard, name: str, address: str | None) -> str:
    """The whole answer as HTML: the track's, the picture, and a table of the windows."""
    regression = heard.problem == "regression"
    if regression:
        said = f"{heard.answer[0]:.1f} {heard.unit}".strip()
    else:
        said = ", ".join(f"{heard.labels[label]} {heard.answer[label]:.0%}" for label in _strongest(heard)[:3])
    rows = []
    for at, values in enumerate(heard.values):
        best = (
            f"{values[0]:.1f} {heard.unit}"
            if regression
            else ", ".join(
                f"{heard.labels[label]} {values[label]:.0%}" for label in np.argsort(-values, kind="stable")[:2]
            )
        )
        begin, end = clock(heard.starts[at]), clock(heard.ends[at])
        rows.append(
            f'<tr><td><button type="button" class="choose" data-seek="{heard.starts[at]:.2f}" '
            f'aria-label="Play from {begin}">▶</button></td>'
            f'<th scope="row">{begin} to {end}</th><td>{text(best)}</td></tr>'
        )
    bars = (
        ""
        if regression
        else "".join(
            f'<dt><span style="color:{colour(label)}" aria-hidden="true">■</span> {text(heard.labels[label])}</dt>'
            f'<dd><meter min="0" max="1" value="{heard.answer[label]:.4f}"></meter> {heard.answer[label]:.1%}</dd>'
            for label in _strongest(heard)
        )
    )
    player = f'<audio controls preload="none" src="{address}" aria-label="{text(name)}"></audio>' if address else ""
    return (
        f'<article class="heard"><h2 dir="auto">{text(name)}</h2><p><b>{text(said)}</b> '
        f'<span class="soft">the whole of {clock(heard.seconds)}, {len(heard.values)} window(s)</span></p>'
        f'{player}{picture(heard)}<dl class="bars">{bars}</dl>'
        f'<details><summary>Window by window</summary><table class="windows"><tbody>{"".join(rows)}</tbody></table>'
        f"</details></article>"
    )
