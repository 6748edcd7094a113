"""Tags: what musicnn predicts of a clip, among 50 tags of genres, instruments, voices and moods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..embedders.musicnn import MUSICNN_MODELS, Musicnn
from ..embedders.windows import cut_windows
from ..settings import EmbedderSettings
from .base import Estimate, EstimatorSettings
from .sound import Sound
from .tag_labels import find_vocal_tags


class MusicTags:
    """The probabilities of musicnn's 50 tags (Pons and Serra 2019, "musicnn: pre-trained convolutional neural networks
    for music audio tagging"), and of a voice over time.

    Tags are those of the mean embedding of windows of three seconds, as `synthmir tags` has them. `voice_activity` is
    the highest probability of a tag that means singing in each window, and `voice` that of the clip.

    Args:
        settings: Its source is a model (MSD_musicnn, MTT_musicnn, ...), or a file or folder with weights of
            MSD_musicnn. Default: MSD_musicnn of the package musicnn.
    """

    name = "tags"
    light = False

    def __init__(self, settings: EstimatorSettings) -> None:
        source = settings.source
        arch, weights = (source, None) if source in MUSICNN_MODELS else (MUSICNN_MODELS[0], source)
        self._model = Musicnn(EmbedderSettings(name="musicnn", arch=arch, weights=weights, device=settings.device))
        self.revision = self._model.revision
        self.about = (
            f"Probabilities of 50 tags by musicnn ({arch}; Pons and Serra 2019); `voice` is the highest of those that "
            "mean singing, `voice_activity` that of each window of 3 s."
        )
        vocal = find_vocal_tags(str(arch)[:3])
        self._vocal = [self._model.tag_names.index(tag) for tag in vocal]

    def columns(self) -> dict[str, Any]:
        """`tags`, a probability for each tag; `voice`, and `voice_activity` every three seconds."""
        from datasets import List, Value

        number = Value("float32")
        return {"tags": dict.fromkeys(self._model.tag_names, number), "voice": number, "voice_activity": List(number)}

    def estimate(self, sounds: Sequence[Sound]) -> list[Estimate]:
        """Predict the tags of each clip."""
        rate = self._model.sampling_rate
        window = round(self._model.window_seconds * rate)
        pieces = [list(cut_windows([sound.at(rate)], window)) for sound in sounds]
        vectors = self._embed([piece for own in pieces for piece in own])
        ends = np.cumsum([len(own) for own in pieces])
        return [self._describe(vectors[end - len(own) : end]) for own, end in zip(pieces, ends, strict=True)]

    def _embed(self, pieces: Sequence[np.ndarray]) -> np.ndarray:
        """Embed windows, those of one length together, float32 [windows, dim]."""
        vectors = np.zeros((len(pieces), self._model.dim), np.float32)
        lengths = np.array([len(piece) for piece in pieces])
        for length in np.unique(lengths):
            places = np.flatnonzero(lengths == length).tolist()
            vectors[places] = self._model.embed(np.stack([pieces[place] for place in places]))
        return vectors

    def _describe(self, vectors: np.ndarray) -> Estimate:
        tags = self._model.predict_tags(vectors.mean(axis=0, keepdims=True))[0]
        voices = self._model.predict_tags(vectors)[:, self._vocal].max(axis=1)
        return {
            "tags": {name: round(float(tag), 4) for name, tag in zip(self._model.tag_names, tags, strict=True)},
            "voice": round(float(tags[self._vocal].max()), 4),
            "voice_activity": [round(float(voice), 4) for voice in voices],
        }
