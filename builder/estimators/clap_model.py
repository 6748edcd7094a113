"""CLAP, a model that embeds text and sound in one space, from transformers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BackendError
from ..io.hf_progress import quiet_transformers
from ..io.untrusted import refuse_code, require_hub

BATCH = 16


class ClapEncoder:
    """A CLAP checkpoint (Wu et al. 2023, "Large-scale contrastive language-audio pretraining", section 3).

    Args:
        source: An id on the Hub or a folder, for `ClapModel.from_pretrained` and `ClapProcessor.from_pretrained`.
        option: What names the checkpoint, for messages.
        device: As torch names it.

    Raises:
        BackendError: It is not a complete CLAP checkpoint.
    """

    def __init__(self, source: str, option: str = "--clap", device: str = "cpu") -> None:
        from transformers import ClapModel, ClapProcessor

        path = str(Path(source).expanduser())
        try:
            with quiet_transformers():
                require_hub(path, f"{option} {{}}")
                refuse_code(path)
                self._processor: Any = ClapProcessor.from_pretrained(path, trust_remote_code=False)
                loaded: Any = ClapModel.from_pretrained(path, output_loading_info=True)
        except BackendError:
            raise
        except Exception as error:  # transformers raises many kinds of errors for damaged files
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
            raise BackendError(
                f"{option} {source}: cannot be loaded as a CLAP checkpoint: {reason}",
                "check the id, connect once (it is kept), or give a folder with model, tokenizer and extractor",
            ) from error
        model, report = loaded
        if missing := sorted(report["missing_keys"]):
            raise BackendError(
                f"{option} {source}: {len(missing)} of its weights are missing, {missing[0]} the first",
                "give a complete checkpoint: transformers replaces missing weights by random numbers",
            )
        self.name = source
        self._device = device
        self._model = model.eval().to(device)
        extractor = self._processor.feature_extractor
        self.sampling_rate = int(extractor.sampling_rate)
        self.max_samples = int(extractor.nb_max_samples)

    def revision(self) -> str:
        """16 hex digits of the weights."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self._model.state_dict().items()):
            digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    @property
    def scale(self) -> float:
        """What cosines of sound and text are multiplied by before a softmax: the learnt inverse temperature."""
        return float(self._model.logit_scale_a.detach().exp())

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts as unit vectors, float32 [n, dim]."""
        import torch

        parts = []
        for start in range(0, len(texts), BATCH):
            batch = list(texts[start : start + BATCH])
            inputs = self._processor.tokenizer(batch, padding=True, truncation=True, return_tensors="pt")
            ids, mask = inputs["input_ids"].to(self._device), inputs["attention_mask"].to(self._device)
            with torch.inference_mode():
                parts.append(self._model.get_text_features(ids, mask).pooler_output.cpu().numpy())
        return np.concatenate(parts)

    def embed_audio(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """Embed clips as unit vectors.

        Longer clips are cut to their first `max_samples`, as the feature extractor would cut at a random place.

        Args:
            clips: float32 [samples] each, at `sampling_rate`.

        Returns:
            float32 [n, dim].
        """
        import torch

        parts = []
        state = np.random.get_state()
        try:
            for start in range(0, len(clips), BATCH):
                batch = [clip[: self.max_samples] for clip in clips[start : start + BATCH]]
                extractor = self._processor.feature_extractor
                inputs = extractor(batch, sampling_rate=self.sampling_rate, return_tensors="pt")
                # The extractor marks a random clip as longer where none is.
                inputs["is_longer"] = torch.zeros_like(torch.as_tensor(inputs["is_longer"]))
                inputs = {key: torch.as_tensor(value).to(self._device) for key, value in inputs.items()}
                with torch.inference_mode():
                    parts.append(self._model.get_audio_features(**inputs).pooler_output.cpu().numpy())
        finally:
            np.random.set_state(state)
        return np.concatenate(parts)
