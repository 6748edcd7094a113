"""Aesthetics: the four scores of Meta's Audiobox Aesthetics, from the package `audiobox-aesthetics`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from importlib import metadata
from io import StringIO
from pathlib import Path
from typing import Any

from ..corpus.schema import SAMPLING_RATE
from ..errors import BackendError
from .base import Estimate, EstimatorSettings
from .sound import Sound

PACKAGE = "audiobox-aesthetics"
AXES = {
    "content_enjoyment": "CE",
    "content_usefulness": "CU",
    "production_complexity": "PC",
    "production_quality": "PQ",
}


class Aesthetics:
    """Scores from 1 to 10 that predict those of listeners (Tjandra et al. 2025, "Meta Audiobox Aesthetics: Unified
    automatic quality assessment for speech, music, and sound").

    Args:
        settings: Its source is a checkpoint file. Default: the published one, which the package downloads once.
    """

    name = "aesthetics"
    light = False
    about = (
        "Scores from 1 to 10 by Audiobox Aesthetics (Tjandra et al. 2025), which predict those of listeners: "
        "enjoyment and usefulness of the content, complexity and quality of the production."
    )

    def __init__(self, settings: EstimatorSettings) -> None:
        try:
            from audiobox_aesthetics.infer import initialize_predictor
        except ImportError as error:
            raise BackendError(
                f"estimates: aesthetics needs the package {PACKAGE}, which is not installed or too old",
                f"pip install {PACKAGE}",
            ) from error
        try:
            with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
                self._predictor = initialize_predictor(settings.source)
        except Exception as error:  # the package raises whatever its download or checkpoint raises
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
            raise BackendError(
                f"estimates: aesthetics: its model cannot be loaded: {reason}",
                "connect once (it is kept), or name a checkpoint: aesthetics:FILE",
            ) from error
        self.revision = metadata.version(PACKAGE)
        if settings.source is not None:
            self.revision += "-" + hashlib.sha256(Path(settings.source).read_bytes()).hexdigest()[:16]

    def columns(self) -> dict[str, Any]:
        """`aesthetics`, with the four scores."""
        from datasets import Value

        return {"aesthetics": dict.fromkeys(AXES, Value("float32"))}

    def estimate(self, sounds: Sequence[Sound]) -> list[Estimate]:
        """Score each clip by itself: the package pads clips of a batch."""
        import torch

        rows = []
        for sound in sounds:
            clip = {"path": torch.from_numpy(sound.samples.copy())[None], "sample_rate": SAMPLING_RATE}
            (scores,) = self._predictor.forward([clip])
            rows.append(json.loads(scores) if isinstance(scores, str) else scores)
        return [{"aesthetics": {name: round(float(row[axis]), 3) for name, axis in AXES.items()}} for row in rows]
