"""musicnn: 200 features of a music tagger that was trained on the Million Song Dataset (Pons and Serra 2019)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..cpu_kernels import tune_allocator
from ..errors import RecipeError
from ..validation import suggest
from .musicnn_network import (
    MUSICNN_FRAMES,
    MUSICNN_RATE,
    MUSICNN_SHAPES,
    VGG_SHAPES,
    MusicnnMel,
    MusicnnNetwork,
    MusicnnVggNetwork,
)
from .musicnn_weights import read_musicnn_files
from .passt import make_single_threads
from .tf_checkpoint import read_checkpoint
from .weights import select_tensors

if TYPE_CHECKING:
    from ..settings import EmbedderSettings

MUSICNN_MODELS = ("MSD_musicnn", "MTT_musicnn", "MSD_vgg", "MTT_vgg")
MUSICNN_WINDOW = 48_000  # samples, 3 s
MUSICNN_DATASETS = {"MSD": "the Million Song Dataset", "MTT": "MagnaTagATune"}
MUSICNN_TAGS = {
    "MSD": """rock, pop, alternative, indie, electronic, female vocalists, dance, 00s, alternative rock, jazz,
        beautiful, metal, chillout, male vocalists, classic rock, soul, indie rock, Mellow, electronica, 80s, folk,
        90s, chill, instrumental, punk, oldies, blues, hard rock, ambient, acoustic, experimental, female vocalist,
        guitar, Hip-Hop, 70s, party, country, easy listening, sexy, catchy, funk, electro, heavy metal,
        Progressive rock, 60s, rnb, indie pop, sad, House, happy""",
    "MTT": """guitar, classical, slow, techno, strings, drums, electronic, rock, fast, piano, ambient, beat, violin,
        vocal, synth, female, indian, opera, male, singing, vocals, no vocals, harpsichord, loud, quiet, flute, woman,
        male vocal, no vocal, pop, soft, sitar, solo, man, classic, choir, voice, new age, dance, male voice,
        female vocal, beats, harp, cello, no voice, weird, country, metal, female voice, choral""",
}
"""The 50 tags of each data set in the order of the models' outputs."""


class Musicnn:
    """Features and tags of the package `musicnn` 0.1.0, from its weights, without TensorFlow.

    A window has three seconds. Longer audio is cut into windows end to end and averaged; shorter audio is repeated to
    three seconds, as spectrograms were when the models were trained. The embedding is the penultimate layer (200
    features), of the VGG models their last pooling layer (256).

    Settings:
        arch: MSD_musicnn (the default) and MSD_vgg were trained on the Million Song Dataset, MTT_musicnn and MTT_vgg
            on MagnaTagATune.
        weights: The package's wheel or folder, or a folder with `.index` and `.data-00000-of-00001`. Default: the
            installed package, else its wheel, which pip downloads once.
        dtype: float32 is within 1e-4 of the package, relative to each layer's largest value. bfloat16 has a cosine
            similarity above 0.999 with it, and takes two thirds of the time (of the VGG models half) on processors
            that support it.
        device: "auto" takes a GPU if there is one.

    Example:
        >>> embedder = Musicnn(EmbedderSettings(name="musicnn"))
        >>> embedder.embed(np.zeros((1, 48_000), np.float32)).shape
        (1, 200)
    """

    name = "musicnn"
    sampling_rate = MUSICNN_RATE
    window_seconds = MUSICNN_WINDOW / MUSICNN_RATE

    def __init__(self, settings: EmbedderSettings) -> None:
        settings.refuse("layer")
        arch = settings.arch or MUSICNN_MODELS[0]
        if arch not in MUSICNN_MODELS:
            raise RecipeError(
                f"embedder.arch: musicnn has no model {arch!r}{suggest(arch, MUSICNN_MODELS)}",
                f"use one of: {', '.join(MUSICNN_MODELS)}",
            )
        dataset, _, kind = arch.partition("_")
        index, data, where = read_musicnn_files(settings.weights, arch)
        shapes = (VGG_SHAPES if kind == "vgg" else MUSICNN_SHAPES).shapes()
        weights = select_tensors(read_checkpoint(index, data, where), shapes, (), f"{where} as {arch}")
        parts = [hashlib.sha256(index + data).hexdigest()[:16], arch]
        self.revision = "-".join(parts if settings.dtype == "float32" else [*parts, settings.dtype])
        self.arch = arch
        self.tag_names = tuple(" ".join(tag.split()) for tag in MUSICNN_TAGS[dataset].split(","))
        self._device = torch.device(settings.torch_device())
        self._mel = MusicnnMel(self._device)
        network = MusicnnVggNetwork if kind == "vgg" else MusicnnNetwork
        self._network = network(weights, self._device, getattr(torch, settings.dtype))
        self.dim = self._network.width
        self.about = (
            f"musicnn ({arch}) is a convolutional network trained to predict the tags of "
            f"{MUSICNN_DATASETS[dataset]}; the {self.dim} features are its last hidden layer over windows of 3 s."
        )
        self._workers = None
        if self._device.type == "cpu":
            tune_allocator()
            self._workers = make_single_threads(torch.get_num_threads())

    def embed(self, audio: np.ndarray) -> np.ndarray:
        """Embed windows.

        Args:
            audio: float32 [batch, samples] in [-1, 1] at 16 kHz, up to three seconds.

        Returns:
            float32 [batch, 200], of the VGG models [batch, 256].
        """
        return self._compute(audio, self._network.embedding)

    def tags(self, audio: np.ndarray) -> np.ndarray:
        """Predict tags of windows.

        Args:
            audio: float32 [batch, samples] in [-1, 1] at 16 kHz, up to three seconds.

        Returns:
            float32 [batch, 50]: the probability of each tag in `tag_names`. A window can have several tags.
        """
        return self.predict_tags(self.embed(audio))

    def predict_tags(self, embeddings: np.ndarray) -> np.ndarray:
        """Predict tags from embeddings, also of clips that were embedded earlier: the network does not run again.

        Only a linear layer and a sigmoid follow the embedding. The embedding of a clip is the mean over its windows,
        so its tags follow from the mean of the windows' logits.

        Args:
            embeddings: float32 [n, 200], of the VGG models [n, 256].

        Returns:
            float32 [n, 50]: the probability of each tag in `tag_names`. NaN where the embedding is NaN.
        """
        vectors = torch.from_numpy(np.require(embeddings, np.float32, ["C", "W"]))
        with torch.inference_mode():
            probabilities: np.ndarray = self._network.logits(vectors.to(self._device)).sigmoid().cpu().numpy()
        return probabilities

    def _compute(self, audio: np.ndarray, layer: str) -> np.ndarray:
        """A layer's output for each window: float32 [batch, features]. No samples are silence."""
        audio = audio if audio.shape[1] else np.zeros((len(audio), 1), np.float32)
        repeats = -(-MUSICNN_WINDOW // audio.shape[1])
        batch = torch.from_numpy(np.tile(audio, (1, repeats))[:, :MUSICNN_WINDOW])
        # One window on each core: no waiting within a layer, and a vector is the same bit for bit in any batch.
        run = map if self._workers is None else self._workers.map
        return np.stack([layers[layer].cpu().numpy() for layers in run(self.layers, batch)])

    def layers(self, window: Tensor) -> dict[str, Tensor]:
        """All layers by name for one window: float32 [48,000]. See `MusicnnNetwork` and `MusicnnVggNetwork`."""
        with torch.inference_mode():
            return self._network(self._mel(window.to(self._device))[:MUSICNN_FRAMES])
