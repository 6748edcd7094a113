"""The classifier with its embedder: audio in, labels and scores out, for transformers' Auto classes and pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers import AudioClassificationPipeline, BatchFeature, SequenceFeatureExtractor
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.pipelines import PIPELINE_REGISTRY

from builder.audio import resample, stream_audio
from builder.embedders.base import EmbedderBackend
from builder.errors import DataError
from builder.io.hf_progress import quiet_transformers
from builder.names import MODEL_TYPES

from .audio_embedding import embed_recordings, embed_stream, load_trained_embedder, read_recording
from .classifier import MULTI, REGRESSION, SynthmirClassifier, SynthmirConfig

TASK = "audio-classification"
RATE = 32_000  # Hz, where no embedder says another
MAX_CHANNELS = 32
LONG = "recording"  # key of a recording that is read while it is embedded
TIMEOUT = 60  # seconds a server may be silent


class SynthmirFeatureExtractor(SequenceFeatureExtractor):
    """Audio of any rate and channels -> `input_values`, float32 [batch, samples], at the model's rate and mono.

    Clips of unequal length are followed by zeros; `attention_mask`, int8 [batch, samples], is 0 there.
    """

    model_input_names = ["input_values", "attention_mask"]

    def __init__(
        self, feature_size: int = 1, sampling_rate: int = RATE, padding_value: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(feature_size=feature_size, sampling_rate=sampling_rate, padding_value=padding_value, **kwargs)

    def __call__(
        self, raw_speech: Any, sampling_rate: int | None = None, return_tensors: str | None = None, **_: Any
    ) -> BatchFeature:
        """[samples], [channels, samples] or [samples, channels], or a list of such -> the model's input.

        `sampling_rate` (Hz) is that of `raw_speech`, the model's own by default. DataError for what is no audio.
        """
        clips = raw_speech if isinstance(raw_speech, list | tuple) and np.ndim(raw_speech[0]) else [raw_speech]
        rate = self.sampling_rate if sampling_rate is None else sampling_rate
        clips = [_mono(clip, rate, self.sampling_rate) for clip in clips]
        values = np.zeros((len(clips), max(map(len, clips))), np.float32)
        mask = np.zeros(values.shape, np.int8)
        for row, clip in enumerate(clips):
            values[row, : len(clip)], mask[row, : len(clip)] = clip, 1
        return BatchFeature({"input_values": values, "attention_mask": mask}, tensor_type=return_tensors)


@dataclass(frozen=True)
class Recording:
    """Audio too long to be held in memory: its source, and the model's sampling rate in Hz."""

    source: str | Path | bytes
    sampling_rate: int


class SynthmirForAudioClassification(SynthmirClassifier):
    """An embedder, then the classifier that was trained on its embeddings.

    The weights saved and loaded are the classifier's. The embedder is the one that config.json names; for one with
    weights in a file that lies elsewhere on this machine, give `from_pretrained` the keyword `embedder_weights`.
    """

    main_input_name = "input_values"

    def __init__(self, config: SynthmirConfig, embedder_weights: str | None = None) -> None:
        super().__init__(config)
        self._embedder_weights = embedder_weights
        self._loaded: tuple[str, EmbedderBackend] | None = None  # by device

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """As in transformers. Raises BackendError or DataError if the embedder is not here, or is another."""
        with quiet_transformers():  # one small file
            found = super().from_pretrained(*args, **kwargs)
        _ = (found[0] if isinstance(found, tuple) else found).embedder
        return found

    @property
    def embedder(self) -> EmbedderBackend:
        """What turns windows into embeddings, on the classifier's device."""
        device = str(self.device)
        if self._loaded is None or self._loaded[0] != device:
            self._loaded = device, load_trained_embedder(self.config, device, self._embedder_weights)
        return self._loaded[1]

    def forward(  # type: ignore[override]
        self,
        input_values: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        return_dict: bool | None = True,
        **_: Any,
    ) -> SequenceClassifierOutput | tuple[Any, ...]:
        """Classify audio of any length.

        Audio longer than a window is cut into windows that overlap by half, and the logits are those of the mean of
        the windows' probabilities (of their values in a regression). No gradient flows to the audio.

        Args:
            input_values: float32 [batch, samples], mono, at the embedder's rate.
            attention_mask: [batch, samples]: samples where it is 0, at the end, are left out. None: all samples count.
            labels: As in `SynthmirClassifier.forward`. With labels the loss is computed, the classifier's own.
            return_dict: Whether to return an output object. False: a tuple of the loss, if there is one, and the
                logits.

        Returns:
            The logits, float32 [batch, labels], and with labels their mean loss.
        """
        samples = input_values.detach().float().cpu().numpy()
        lengths = [samples.shape[1]] * len(samples) if attention_mask is None else attention_mask.sum(dim=1).tolist()
        embedded = embed_recordings(self.embedder, [row[:n] for row, n in zip(samples, lengths, strict=True)])
        # One call a clip: the same shapes, and so the same numbers, whatever shares its batch.
        each = [self._classify(vectors) for vectors in embedded]
        logits = torch.stack([mean_logits(logits, self.config.problem) for logits in each])
        loss = None if labels is None else self._loss(logits, labels)
        if return_dict is False:
            return (logits,) if loss is None else (loss, logits)
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def predict_recording(self, recording: Recording) -> torch.Tensor:
        """Compute the logits [labels] of a recording of any length, minutes of it in memory. Raises DataError."""
        blocks = stream_audio(recording.source, recording.sampling_rate)
        return mean_logits(self._classify(embed_stream(self.embedder, blocks)), self.config.problem)

    def _classify(self, vectors: np.ndarray) -> torch.Tensor:
        logits: torch.Tensor = super().forward(torch.from_numpy(vectors).to(self.device, self.dtype))[0]
        return logits


class SynthmirAudioClassificationPipeline(AudioClassificationPipeline):
    """transformers' pipeline; for our models it decodes files itself, without FFmpeg, and mixes them to mono.

    Other models are served as by its parent.
    """

    def check_model_type(self, supported_models: Any) -> None:
        """As the parent does, whose list cannot hold a class that is not part of transformers."""
        if not self._ours():
            super().check_model_type(supported_models)

    def preprocess(self, inputs: Any, **parameters: Any) -> Any:  # type: ignore[override]
        """A path, a URL, the bytes of a file, an array, a row of `datasets` -> the model's input."""
        if not self._ours():
            return super().preprocess(inputs, **parameters)
        extractor: Any = self.feature_extractor
        samples, rate = _open_input(inputs, extractor.sampling_rate)
        long = isinstance(samples, Recording)
        found = extractor(np.zeros(1, np.float32) if long else samples, rate, return_tensors="pt")
        return found | {LONG: samples if long else None}  # of the same keys, so that all make batches

    def _forward(self, model_inputs: Any, **parameters: Any) -> Any:  # type: ignore[override]
        """The model's output; of a long recording, of what is read of it here."""
        if not self._ours():
            return super()._forward(model_inputs, **parameters)
        model: Any = self.model
        recordings = model_inputs.pop(LONG, None)
        found = super()._forward(model_inputs, **parameters)
        for row, recording in enumerate(recordings if isinstance(recordings, list) else [recordings]):
            if recording is not None:
                found["logits"][row] = model.predict_recording(recording)
        return found

    def _ours(self) -> bool:
        return self.model.config.model_type in MODEL_TYPES


def register_pipeline() -> None:
    """Let `pipeline("audio-classification")` build ours, which is its own for every other model."""
    PIPELINE_REGISTRY.supported_tasks[TASK]["impl"] = SynthmirAudioClassificationPipeline


def mean_logits(logits: torch.Tensor, problem: str) -> torch.Tensor:
    """[windows, ..., labels] -> [..., labels] whose softmax (sigmoid, value) is the mean of the windows' own."""
    wide = logits.double()
    if problem == REGRESSION:
        mean = wide.mean(dim=0)
    elif problem == MULTI:
        mean = functional.logsigmoid(wide).logsumexp(dim=0) - functional.logsigmoid(-wide).logsumexp(dim=0)
    else:
        mean = wide.log_softmax(dim=-1).logsumexp(dim=0).log_softmax(dim=-1)
    return mean.to(logits.dtype)


def _open_input(inputs: Any, sampling_rate: int) -> tuple[Any, int]:
    """What the pipeline was given -> samples and their rate (Hz). Raises DataError."""
    if isinstance(inputs, dict):
        inputs = {key: value for key, value in inputs.items() if value is not None}
        for key in ("raw", "array"):
            if key in inputs and "sampling_rate" in inputs:
                return inputs[key], inputs["sampling_rate"]
        if not (inputs := inputs.get("bytes", inputs.get("path"))):
            raise DataError(
                "a dictionary of audio holds neither samples with their rate nor a file",
                'give {"array": SAMPLES, "sampling_rate": HZ}',
            )
    if isinstance(inputs, str) and inputs.startswith(("http://", "https://")):
        inputs = _fetch(inputs)
    if isinstance(inputs, str | Path | bytes):
        found = read_recording(inputs, sampling_rate)
        return (found if isinstance(found, np.ndarray) else Recording(inputs, sampling_rate)), sampling_rate
    if hasattr(inputs, "get_all_samples"):  # torchcodec's AudioDecoder, which the rows of `datasets` hold
        samples = inputs.get_all_samples()
        return samples.data, samples.sample_rate
    return inputs, sampling_rate


def _fetch(url: str) -> bytes:
    from huggingface_hub.utils import httpx

    try:
        content: bytes = httpx.get(url, follow_redirects=True, timeout=TIMEOUT).raise_for_status().content
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise DataError(f"{url}: cannot be fetched: {error}") from error
    return content


def _mono(samples: Any, rate: Any, target: int) -> np.ndarray:
    """[samples] or with channels, floats in [-1, 1] or signed integers -> float32 [samples] at `target` Hz."""
    if isinstance(samples, torch.Tensor):
        samples = samples.detach().cpu().numpy()
    if not isinstance(samples, np.ndarray) or samples.dtype.kind not in "fi":
        kind = getattr(samples, "dtype", type(samples).__name__)
        raise DataError(f"audio samples are an array of floats or signed integers, found {kind}")
    if not isinstance(rate, int | float | np.number) or float(rate) % 1 != 0 or rate < 1:
        raise DataError(f"sampling_rate: expected a whole number of Hz, found {rate!r}")
    scale = 1 if samples.dtype.kind == "f" else -float(np.iinfo(samples.dtype).min)
    mono = (samples / scale).astype(np.float32)
    if mono.ndim == 2 and 1 <= min(mono.shape) <= MAX_CHANNELS:
        mono = mono.mean(axis=int(np.argmin(mono.shape)))
    if mono.ndim != 1 or not mono.size:
        raise DataError(f"audio is [samples], [channels, samples] or [samples, channels], found {list(samples.shape)}")
    if not np.isfinite(mono).all():
        raise DataError("the audio holds samples that are NaN or infinite")
    return resample(mono, int(rate), target)
