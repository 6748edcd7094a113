"""A classifier as ONNX, the head alone or with the melstats front end, compared with torch before it is kept."""

from __future__ import annotations

import json
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from builder.embedders.melstats import MelStats
from builder.errors import BackendError, DataError, RecipeError, SynthmirError
from builder.io.atomic import write_file

from .audio_classifier import mean_logits
from .audio_embedding import OVERLAP, embed_recordings, load_trained_embedder
from .classifier import MULTI, REGRESSION, SynthmirClassifier, load_model
from .onnx_melstats import RATE, WINDOW, MelGraph

PARTS = ("whole", "head")
TOLERANCE = 1e-5  # of each number, or of its share where it is above one
OPSET = 18
SPACING = round(OVERLAP * WINDOW)


def export_onnx(folder: Path, out: Path, what: str = "whole") -> float:
    """Write a model folder's classifier as one ONNX file.

    The file gives `logits` [batch, labels] and, unless it is a regression, `probabilities`. Its metadata holds the
    labels and what the input must be. All windows of a batch are embedded together, 50 MB each: cut recordings of
    hours, and average the probabilities.

    Args:
        folder: The model folder.
        out: The file to write. It is only kept if its numbers agree with torch's.
        what: "head": the input is `embeddings`, float32 [batch, dim]. "whole", of a model on melstats: the input is
            `audio`, float32 [batch, samples] mono at 32 kHz, of any length, cut into windows as
            `synthmir classify` does.

    Returns:
        The largest difference from torch.

    Raises:
        RecipeError: There is no such part.
        DataError: "whole" of a model on another embedder, or the folder cannot be read.
        BackendError: The onnx packages are missing or cannot export the model, or the difference is above the
            tolerance.
    """
    if what not in PARTS:
        raise RecipeError(f"--what: there is no part {what!r}", f"use one of: {', '.join(PARTS)}")
    runtime = import_runtime()
    model = load_model(folder)
    embedder = model.config.embedder or {}
    if what == "whole" and embedder.get("name") != MelStats.name:
        raise DataError(
            f"{folder}: its embedder {embedder.get('name')!r} cannot be exported, only melstats can",
            "export the classifier alone, and feed it embeddings: --what head",
        )
    graph = HeadGraph(model) if what == "head" else AudioGraph(model)
    worst = 0.0

    def fill(part: Path) -> None:
        nonlocal worst
        try:
            _write(graph.eval(), model, part)
            session = runtime.InferenceSession(part, providers=["CPUExecutionProvider"])
            for probe in _embeddings(model) if what == "head" else probe_audio():
                found = session.run(None, {graph.takes: probe})
                worst = max(worst, *map(measure_difference, found, _expected(model, probe, what)))
        except (SynthmirError, OSError):
            raise
        except Exception as error:  # whatever torch's exporter and onnxruntime raise
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
            raise BackendError(f"{folder}: cannot be exported by this torch and onnxruntime: {reason}") from error
        if not worst <= TOLERANCE:
            raise BackendError(
                f"the exported model's numbers differ from torch's by {worst:.1e}, more than {TOLERANCE:.0e}",
                "use another version of onnxruntime or of torch, or export --what head",
            )

    write_file(out, fill)
    return worst


def measure_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, as a share of numbers above one; infinite for another shape."""
    if found.shape != expected.shape:
        return math.inf
    return float((np.abs(found - expected) / np.maximum(1.0, np.abs(expected))).max())


def import_runtime() -> Any:
    """Import onnxruntime. Raises BackendError if it, or what an export needs beside it, is not installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise BackendError(
            f"the export needs the package {error.name!r}, which is not installed",
            "uv sync --extra onnx   (or: pip install 'synthmir[onnx]')",
        ) from error
    return onnxruntime


class HeadGraph(nn.Module):
    """float32 [batch, dim] -> logits and, but for a regression, probabilities, [batch, labels]."""

    takes = "embeddings"

    def __init__(self, model: SynthmirClassifier) -> None:
        super().__init__()
        self.head, self.problem = model, model.config.problem
        if model.config.examples:
            neighbours: Any = model.output
            neighbours.at_once = 0  # a loop over parts of the batch would be unrolled for one size of it
        self.outputs = ("logits",) if self.problem == REGRESSION else ("logits", "probabilities")

    @property
    def example(self) -> Tensor:
        """An input to trace with."""
        return torch.zeros(2, len(self.head.mean))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        return self.with_probabilities(self.head(x).logits)

    def with_probabilities(self, logits: Tensor) -> tuple[Tensor, ...]:
        """Logits with the probabilities that they stand for."""
        if self.problem == REGRESSION:
            return (logits,)
        return logits, logits.sigmoid() if self.problem == MULTI else logits.softmax(dim=-1)


class AudioGraph(HeadGraph):
    """float32 [batch, samples] at 32 kHz -> as `HeadGraph`: the mean over ten-second windows that overlap by half."""

    takes = "audio"

    def __init__(self, model: SynthmirClassifier) -> None:
        super().__init__(model)
        self.embedder = MelGraph()

    @property
    def example(self) -> Tensor:
        """An input to trace with."""
        return torch.zeros(2, 2 * WINDOW + 1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        batch, samples = x.shape
        spare = torch.sym_max(samples - WINDOW, 0)
        starts = (torch.arange((spare + SPACING - 1) // SPACING + 1) * SPACING).clamp(max=spare)
        padded = functional.pad(x, (0, WINDOW))  # of what is shorter than a window; a tail of zeros does not count
        cut = padded[:, starts[:, None] + torch.arange(WINDOW)]
        each = self.head(self.embedder(cut.flatten(0, 1))).logits.unflatten(0, (batch, -1)).transpose(0, 1)
        return self.with_probabilities(mean_logits(each, self.problem))


def _write(graph: HeadGraph, model: SynthmirClassifier, part: Path) -> None:
    import onnx

    dimensions = {0: torch.export.Dim("batch")}
    if graph.takes == "audio":
        dimensions[1] = torch.export.Dim("samples")
    with without_export_logs(), torch.no_grad():
        program: Any = torch.onnx.export(
            graph, (graph.example,), dynamo=True, opset_version=OPSET, verbose=False,
            input_names=[graph.takes], output_names=list(graph.outputs), dynamic_shapes=[dimensions],
        )  # fmt: skip
    made = program.model_proto
    embedder = model.config.embedder or {}
    properties = {
        "labels": list(model.config.labels),
        "task": model.config.task,
        "problem_type": model.config.problem,
        "embedder": {key: embedder.get(key) for key in ("name", "revision", "dim")},
        "sampling_rate": embedder.get("sampling_rate"),
    }
    onnx.helper.set_model_props(made, {key: json.dumps(value) for key, value in properties.items()})
    onnx.save(made, part)


@contextmanager
def without_export_logs() -> Iterator[None]:
    """No log lines and no warnings of torch's exporter."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _embeddings(model: SynthmirClassifier) -> Iterator[np.ndarray]:
    """Embeddings like those of the training set, one and many."""
    draw = np.random.default_rng(0)
    for rows in (1, 300):
        drawn = draw.standard_normal((rows, len(model.mean)))
        yield (drawn * model.std.numpy() + model.mean.numpy()).astype(np.float32)


def probe_audio(sampling_rate: int = RATE) -> Iterator[np.ndarray]:
    """Noise under a beat and a chord, of several lengths; silence; a tail of zeros; a tenth of a second."""
    draw = np.random.default_rng(0)

    def piece(seconds: float) -> np.ndarray:
        time = np.arange(round(seconds * sampling_rate)) / sampling_rate
        chord = sum(np.sin(2 * np.pi * pitch * time) for pitch in 220 * 2 ** (draw.integers(0, 24, 3) / 12))
        noise = draw.standard_normal(len(time)) * np.exp(-8 * (time * draw.uniform(1, 3) % 1))
        return (0.1 * (np.asarray(chord) + noise)).astype(np.float32)

    yield piece(10.0)[None]
    yield np.stack([piece(23.4), np.zeros(round(23.4 * sampling_rate), np.float32)])
    yield np.pad(piece(6.7), (0, sampling_rate))[None]
    yield np.stack([piece(0.1), piece(0.1)])


def _expected(model: SynthmirClassifier, probe: np.ndarray, what: str) -> list[np.ndarray]:
    """The outputs of torch for a probe, with the embedder itself before the classifier."""
    with torch.inference_mode():
        if what == "head":
            logits = model(torch.from_numpy(probe)).logits
        else:
            clips = embed_recordings(load_trained_embedder(model.config, "cpu"), list(probe))
            each = [model(torch.from_numpy(clip)).logits for clip in clips]
            logits = torch.stack([mean_logits(windows, model.config.problem) for windows in each])
        return [output.numpy() for output in HeadGraph(model).with_probabilities(logits)]
