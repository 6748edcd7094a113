"""How near clips are to their prompts: cosines of a contrastive text-audio model (CLAP; Wu et al. 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from builder.audio import load_audio
from builder.errors import BackendError, DataError
from builder.io.untrusted import refuse_code, require_hub

BATCH = 16


class Clap:
    """A checkpoint as `ClapModel.from_pretrained` and `ClapProcessor.from_pretrained` take it: an id or a folder."""

    def __init__(self, source: str) -> None:
        """Raises BackendError for what is no whole checkpoint."""
        from transformers import ClapModel, ClapProcessor
        from transformers.utils import logging

        path = str(Path(source).expanduser())
        bars = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()
        try:
            require_hub(path, "--clap {}")
            refuse_code(path)
            self._processor: Any = ClapProcessor.from_pretrained(path, trust_remote_code=False)
            loaded: Any = ClapModel.from_pretrained(path, output_loading_info=True)
        except BackendError:
            raise
        except Exception as error:  # whatever a checkpoint's files make transformers raise
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
            raise BackendError(
                f"--clap {source}: cannot be loaded as a CLAP checkpoint: {reason}",
                "check the id, connect once (it is kept), or give a folder with model, tokenizer and extractor",
            ) from error
        finally:
            if bars:
                logging.enable_progress_bar()
        model, report = loaded
        if missing := sorted(report["missing_keys"]):
            raise BackendError(
                f"--clap {source}: {len(missing)} of its weights are missing, {missing[0]} the first",
                "give a whole checkpoint; numbers from weights drawn at random would mean nothing",
            )
        self.name = source
        self._model = model.eval()
        extractor = self._processor.feature_extractor
        self.sampling_rate = int(extractor.sampling_rate)
        self.longest = int(extractor.nb_max_samples)

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors float32 [n, dim] of texts."""
        import torch

        parts = []
        for start in range(0, len(texts), BATCH):
            some = list(texts[start : start + BATCH])
            inputs = self._processor.tokenizer(some, padding=True, truncation=True, return_tensors="pt")
            ids, mask = inputs["input_ids"], inputs["attention_mask"]
            with torch.inference_mode():
                parts.append(self._model.get_text_features(ids, mask).pooler_output.numpy())
        return np.concatenate(parts)

    def audio(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """Unit vectors float32 [n, dim] of float32 [samples] at `sampling_rate`; what is longer than it takes is cut.

        Cut to the first seconds here, as the extractor would draw where to cut.
        """
        import torch

        parts = []
        state = np.random.get_state()
        try:
            for start in range(0, len(clips), BATCH):
                some = [clip[: self.longest] for clip in clips[start : start + BATCH]]
                extractor = self._processor.feature_extractor
                inputs = extractor(some, sampling_rate=self.sampling_rate, return_tensors="pt")
                inputs["is_longer"] = torch.zeros_like(torch.as_tensor(inputs["is_longer"]))  # else one is, at random
                with torch.inference_mode():
                    parts.append(self._model.get_audio_features(**inputs).pooler_output.numpy())
        finally:
            np.random.set_state(state)
        return np.concatenate(parts)

    def cosines(
        self, prompts: Sequence[str], others: Sequence[str], sound: Sequence[Path | bytes]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Clips' cosines with their own prompts and with others: float32 [n] each, NaN for a clip nobody can read."""
        own, foreign = np.full(len(prompts), np.nan, np.float32), np.full(len(prompts), np.nan, np.float32)
        distinct = {text: place for place, text in enumerate(dict.fromkeys([*prompts, *others]))}
        written = self.texts(list(distinct))
        for start in range(0, len(sound), BATCH):
            held = {}
            for place in range(start, min(start + BATCH, len(sound))):
                try:
                    held[place] = load_audio(sound[place], self.sampling_rate)
                except DataError:
                    continue
            if not held:
                continue
            heard = self.audio(list(held.values()))
            for vector, place in zip(heard, held, strict=True):
                own[place] = vector @ written[distinct[prompts[place]]]
                foreign[place] = vector @ written[distinct[others[place]]]
        return own, foreign
