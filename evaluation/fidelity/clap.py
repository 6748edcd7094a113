"""Similarity between prompts and clips by a contrastive text-audio model, CLAP."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from builder.audio import load_audio
from builder.errors import BackendError, DataError
from builder.io.hf_progress import quiet_transformers
from builder.io.untrusted import refuse_code, require_hub

BATCH = 16


class Clap:
    """A CLAP checkpoint (Wu et al. 2023, "Large-scale contrastive language-audio pretraining", section 3).

    Args:
        source: An id on the Hub or a folder, for `ClapModel.from_pretrained` and `ClapProcessor.from_pretrained`.

    Raises:
        BackendError: It is not a complete CLAP checkpoint.
    """

    def __init__(self, source: str) -> None:
        from transformers import ClapModel, ClapProcessor

        path = str(Path(source).expanduser())
        try:
            with quiet_transformers():
                require_hub(path, "--clap {}")
                refuse_code(path)
                self._processor: Any = ClapProcessor.from_pretrained(path, trust_remote_code=False)
                loaded: Any = ClapModel.from_pretrained(path, output_loading_info=True)
        except BackendError:
            raise
        except Exception as error:  # transformers raises many kinds of errors for damaged files
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
            raise BackendError(
                f"--clap {source}: cannot be loaded as a CLAP checkpoint: {reason}",
                "check the id, connect once (it is kept), or give a folder with model, tokenizer and extractor",
            ) from error
        model, report = loaded
        if missing := sorted(report["missing_keys"]):
            raise BackendError(
                f"--clap {source}: {len(missing)} of its weights are missing, {missing[0]} the first",
                "give a complete checkpoint: transformers replaces missing weights by random numbers",
            )
        self.name = source
        self._model = model.eval()
        extractor = self._processor.feature_extractor
        self.sampling_rate = int(extractor.sampling_rate)
        self.max_samples = int(extractor.nb_max_samples)

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts as unit vectors, float32 [n, dim]."""
        import torch

        parts = []
        for start in range(0, len(texts), BATCH):
            batch = list(texts[start : start + BATCH])
            inputs = self._processor.tokenizer(batch, padding=True, truncation=True, return_tensors="pt")
            ids, mask = inputs["input_ids"], inputs["attention_mask"]
            with torch.inference_mode():
                parts.append(self._model.get_text_features(ids, mask).pooler_output.numpy())
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
                with torch.inference_mode():
                    parts.append(self._model.get_audio_features(**inputs).pooler_output.numpy())
        finally:
            np.random.set_state(state)
        return np.concatenate(parts)

    def compute_cosines(
        self, prompts: Sequence[str], other_prompts: Sequence[str], audio: Sequence[Path | bytes]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Compute the cosines of clips with their own prompts and with prompts of other clips.

        Args:
            prompts: The prompt of each clip.
            other_prompts: The prompt of another clip, for each clip.
            audio: Each clip's encoded audio or its file.

        Returns:
            float32 [n] each, in [-1, 1]; NaN for clips that cannot be decoded.
        """
        own, other = np.full(len(prompts), np.nan, np.float32), np.full(len(prompts), np.nan, np.float32)
        index = {text: number for number, text in enumerate(dict.fromkeys([*prompts, *other_prompts]))}
        texts = self.embed_texts(list(index))
        for start in range(0, len(audio), BATCH):
            decoded = {}
            for row in range(start, min(start + BATCH, len(audio))):
                try:
                    decoded[row] = load_audio(audio[row], self.sampling_rate)
                except DataError:
                    continue
            if not decoded:
                continue
            for vector, row in zip(self.embed_audio(list(decoded.values())), decoded, strict=True):
                own[row] = vector @ texts[index[prompts[row]]]
                other[row] = vector @ texts[index[other_prompts[row]]]
        return own, other
