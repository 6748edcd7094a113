"""Similarity between prompts and clips by a contrastive text-audio model, CLAP."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from builder.audio import load_audio
from builder.errors import DataError
from builder.estimators.clap_model import BATCH, ClapEncoder


def compute_cosines(
    clap: ClapEncoder, prompts: Sequence[str], other_prompts: Sequence[str], audio: Sequence[Path | bytes]
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the cosines of clips with their own prompts and with prompts of other clips.

    Args:
        clap: The model.
        prompts: The prompt of each clip.
        other_prompts: The prompt of another clip, for each clip.
        audio: Each clip's encoded audio or its file.

    Returns:
        float32 [n] each, in [-1, 1]; NaN for clips that cannot be decoded.
    """
    own, other = np.full(len(prompts), np.nan, np.float32), np.full(len(prompts), np.nan, np.float32)
    index = {text: number for number, text in enumerate(dict.fromkeys([*prompts, *other_prompts]))}
    texts = clap.embed_texts(list(index))
    for start in range(0, len(audio), BATCH):
        decoded = {}
        for row in range(start, min(start + BATCH, len(audio))):
            try:
                decoded[row] = load_audio(audio[row], clap.sampling_rate)
            except DataError:
                continue
        if not decoded:
            continue
        for vector, row in zip(clap.embed_audio(list(decoded.values())), decoded, strict=True):
            own[row] = vector @ texts[index[prompts[row]]]
            other[row] = vector @ texts[index[other_prompts[row]]]
    return own, other
