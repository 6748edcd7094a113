"""A frame model as one ONNX file, compared with torch before it is kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from builder.errors import BackendError, SynthmirError
from builder.io.atomic import write_file

from ..models.onnx_export import OPSET, import_runtime, measure_difference, probe_audio, without_export_logs
from . import FRAME_RATE
from .loading import load_frame_model
from .model import CLASSES, FrameModel
from .spectrogram import FRAME_HOP, FRAMES_SAMPLING_RATE, compute_spectrogram

FRAMES_TOLERANCE = 1e-4  # of each probability
LEAST_SAMPLES = 2 * FRAME_HOP


class FrameGraph(nn.Module):
    """float32 [batch, samples] at 16 kHz -> the probabilities of each task, as `FrameModel` has them of a window."""

    def __init__(self, model: FrameModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, audio: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        logits = self.model.compute_logits(compute_spectrogram(audio))
        return tuple(found.softmax(dim=-1) if task in CLASSES else found.sigmoid() for task, found in logits.items())


def export_frames_onnx(folder: Path, out: Path) -> float:
    """Write a frame model as one ONNX file.

    Its input is `audio`, float32 [batch, samples], mono at 16 kHz, 40 ms or longer; long recordings are best cut into
    windows of the length that its metadata says. Each task is an output of its name with probabilities: of frame tasks
    [batch, frames, outputs], of clip tasks [batch, classes]. The metadata holds the labels. `training.frames.decoding`
    turns them into beats, chords and so on.

    Args:
        folder: The folder of a frame model.
        out: The file to write. It is only kept if its numbers agree with torch's.

    Returns:
        The largest difference from torch.

    Raises:
        DataError: The folder cannot be read.
        BackendError: The onnx packages are missing or cannot export the model, or the difference is above the
            tolerance.
    """
    runtime = import_runtime()
    model = load_frame_model(folder)
    graph, worst = FrameGraph(model).eval(), 0.0

    def fill(part: Path) -> None:
        nonlocal worst
        try:
            _write(graph, model, part)
            session = runtime.InferenceSession(part, providers=["CPUExecutionProvider"])
            for probe in probe_audio(FRAMES_SAMPLING_RATE):
                with torch.inference_mode():
                    expected = [output.numpy() for output in graph(torch.from_numpy(probe))]
                worst = max(worst, *map(measure_difference, session.run(None, {"audio": probe}), expected))
        except (SynthmirError, OSError):
            raise
        except Exception as error:  # whatever torch's exporter and onnxruntime raise
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
            raise BackendError(f"{folder}: cannot be exported by this torch and onnxruntime: {reason}") from error
        if not worst <= FRAMES_TOLERANCE:
            raise BackendError(
                f"the exported model's numbers differ from torch's by {worst:.1e}, more than {FRAMES_TOLERANCE:.0e}",
                "use another version of onnxruntime or of torch",
            )

    write_file(out, fill)
    return worst


def _write(graph: FrameGraph, model: FrameModel, part: Path) -> None:
    import onnx

    dimensions = {0: torch.export.Dim("batch"), 1: torch.export.Dim("samples", min=LEAST_SAMPLES)}
    example = torch.from_numpy(np.zeros((2, FRAMES_SAMPLING_RATE), np.float32))
    with without_export_logs(), torch.no_grad():
        program = torch.onnx.export(
            graph, (example,), dynamo=True, opset_version=OPSET, verbose=False, input_names=["audio"],
            output_names=list(model.config.tasks), dynamic_shapes=[dimensions],
        )  # fmt: skip
    assert program is not None
    made = program.model_proto
    classes = model.config.classes
    properties = {
        "tasks": list(model.config.tasks),
        "chords": list(classes.chords),
        "key": list(model.config.clip_labels("key")),
        "time_signatures": list(classes.time_signatures),
        "instruments": list(classes.instruments),
        "sampling_rate": FRAMES_SAMPLING_RATE,
        "frame_rate": FRAME_RATE,
        "window_seconds": model.config.window_seconds,
    }
    onnx.helper.set_model_props(made, {key: json.dumps(value) for key, value in properties.items()})
    onnx.save(made, part)
