"""A frame model as transformers' audio classifier: the key or the time signature of a recording."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers.modeling_outputs import SequenceClassifierOutput

from builder.audio import stream_audio

from ..models.audio_classifier import Recording, SynthmirFeatureExtractor, register_pipeline
from .model import FrameModel

__all__ = ["FrameModelForAudioClassification", "SynthmirFeatureExtractor", "register_pipeline"]


class FrameModelForAudioClassification(FrameModel):
    """The first clip task of a frame model (`FrameConfig.clip_task`), for `pipeline("audio-classification")`."""

    def forward(  # type: ignore[override]
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        return_dict: bool | None = True,
        **_: Any,
    ) -> SequenceClassifierOutput | tuple[Any, ...]:
        """Classify audio of any length; recordings longer than a window are cut into windows, as `annotate` does.

        Args:
            input_values: float32 [batch, samples], mono at 16 kHz.
            attention_mask: [batch, samples]: samples where it is 0, at the end, are left out. None: all samples count.
            labels: int64 [batch]. With labels the cross-entropy is computed.
            return_dict: Whether to return an output object. False: a tuple of the loss, if there is one, and the
                logits.

        Returns:
            The logarithms of the probabilities, float32 [batch, labels], and with labels the mean loss.
        """
        samples = input_values.detach().float().cpu().numpy()
        lengths = [samples.shape[1]] * len(samples) if attention_mask is None else attention_mask.sum(dim=1).tolist()
        each = [self._classify([row[:length]]) for row, length in zip(samples, lengths, strict=True)]
        logits = torch.stack(each).to(self.device)
        loss = None if labels is None else functional.cross_entropy(logits, labels)
        if return_dict is False:
            return (logits,) if loss is None else (loss, logits)
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def predict_recording(self, recording: Recording) -> Tensor:
        """Compute the logits [labels] of a recording of any length, minutes of it in memory. Raises DataError."""
        return self._classify(stream_audio(recording.source, recording.sampling_rate))

    def _classify(self, blocks: Any) -> Tensor:
        found = self.predict_blocks(blocks, self.config.clip_task).tasks[self.config.clip_task]
        return torch.from_numpy(found).float().clamp(min=1e-9).log()
