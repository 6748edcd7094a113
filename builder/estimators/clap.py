"""CLAP: how well a clip fits its prompt, and the labels of the corpus that it fits best."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import RecipeError
from ..settings import EmbedderSettings
from .base import Estimate, EstimatorSettings
from .clap_model import ClapEncoder
from .sound import Sound

TEMPLATES = {"genre": "A {} track.", "mood": "A {} track.", "instruments": "A track with {}."}
COLUMNS = {
    "genre": "clap_genre",
    "mood": "clap_mood",
    "instruments": "clap_instruments",
    "vocals": "clap_vocals",
}
VOCALS = {"with-vocals": "A track with vocals.", "instrumental": "An instrumental track."}
SHORTEST = 0.1  # seconds that the feature extractor needs: shorter clips are padded


class Clap:
    """Similarity of prompt and sound, and probabilities of labels, by a CLAP checkpoint (Wu et al. 2023).

    Labels are written as sentences ("A funk track.") and compared with the sound without training, as Radford et al.
    2021 do with pictures ("Learning transferable visual models from natural language supervision", section 3.1): the
    softmax over the labels of a column of the cosines times the model's learnt scale. Of instruments, of which a clip
    has several, only the order says something.

    Args:
        settings: Its source is an id on the Hub or a folder with model, tokenizer and feature extractor.
    """

    name = "clap"
    light = False

    def __init__(self, settings: EstimatorSettings) -> None:
        if settings.source is None:
            raise RecipeError(
                "estimates: clap needs a checkpoint",
                "write clap:<id on the Hub, or a folder>, as clap:laion/clap-htsat-unfused",
            )
        device = EmbedderSettings(device=settings.device).torch_device()
        self._model = ClapEncoder(settings.source, "estimates: clap", device)
        self.revision = self._model.revision()
        labels = {column: getattr(settings.labels, column) for column in TEMPLATES}
        self._labels: dict[str, tuple[str, ...]] = {column: names for column, names in labels.items() if names}
        self.variant = "labels-" + hashlib.sha256(repr(sorted(self._labels.items())).encode()).hexdigest()[:8]
        self.about = (
            "`clap`: cosine of the prompt's and the sound's embedding by a CLAP model (Wu et al. 2023); the others "
            "are probabilities of the corpus's labels without training (softmax over each column)."
        )
        self._texts = {
            column: self._model.embed_texts([TEMPLATES[column].format(name) for name in names])
            for column, names in self._labels.items()
        } | {"vocals": self._model.embed_texts(list(VOCALS.values()))}
        self._labels["vocals"] = tuple(VOCALS)

    def columns(self) -> dict[str, Any]:
        """`clap` in [-1, 1]; `clap_genre`, `clap_mood`, `clap_instruments`, `clap_vocals`: probabilities of labels."""
        from datasets import Value

        number = Value("float32")
        labels = {COLUMNS[column]: dict.fromkeys(names, number) for column, names in self._labels.items()}
        return {"clap": number, **labels}

    def estimate(self, sounds: Sequence[Sound]) -> list[Estimate]:
        """Compare clips with their prompts and labels. `clap` is None without a prompt."""
        rate = self._model.sampling_rate
        shortest = round(SHORTEST * rate)
        clips = [sound.at(rate) for sound in sounds]
        vectors = self._model.embed_audio([np.pad(clip, (0, max(0, shortest - len(clip)))) for clip in clips])
        prompts = list(dict.fromkeys(sound.prompt for sound in sounds if sound.prompt))
        texts = dict(zip(prompts, self._model.embed_texts(prompts), strict=True)) if prompts else {}
        estimates: list[Estimate] = []
        for sound, vector in zip(sounds, vectors, strict=True):
            text = texts.get(sound.prompt or "")
            estimate: Estimate = {"clap": None if text is None else round(float(vector @ text), 4)}
            for column, names in self._labels.items():
                shares = _softmax(self._model.scale * (self._texts[column] @ vector))
                estimate[COLUMNS[column]] = {
                    name: round(float(share), 5) for name, share in zip(names, shares, strict=True)
                }
            estimates.append(estimate)
        return estimates


def _softmax(logits: np.ndarray) -> np.ndarray:
    shares = np.exp(logits.astype(np.float64) - logits.max())
    return np.asarray(shares / shares.sum())
