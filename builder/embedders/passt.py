"""PaSST: 768 features from an audio transformer trained on AudioSet (Koutini et al. 2022, arXiv 2110.05069)."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..cpu_kernels import tune_allocator
from ..errors import BackendError, RecipeError
from ..validation import suggest
from .passt_network import ARCHS, RELEASES, SAMPLING_RATE, WIDTH, PasstNetwork
from .weights import fitting, read_tensors, revision, weights_file

if TYPE_CHECKING:
    from ..recipe import EmbedderSettings

DEFAULT_ARCH = "passt_s_swa_p16_128_ap476"


class Passt:
    """What `hear21passt` gives with mode "embed_only", from the same weights and several times faster.

    Ten seconds are one window. Longer audio is heard every 2.5 s with its ends mirrored, and averaged; shorter is
    heard as it is: both as `hear21passt.get_scene_embeddings` does (see `windows.cut`). Only what is shorter than a
    patch, a sixth of a second, is followed by zeros up to one.

    Settings: `weights`, a file or a folder with one (safetensors, or tensors saved by torch); without it the release
    of the PaSST authors is fetched once, as hear21passt does. `arch`, its name in hear21passt. `dtype`: float32 is
    within 1e-5 of the package, bfloat16 has a cosine above 0.999 with it and is about half as long at work on
    processors that know it. `device`: "auto" takes a GPU if there is one.
    """

    name = "passt"
    dim = WIDTH
    sampling_rate = SAMPLING_RATE
    window_seconds = 10.0
    hop_seconds = 2.5

    def __init__(self, settings: EmbedderSettings) -> None:
        settings.refuse("layer")
        arch = settings.arch or DEFAULT_ARCH
        if arch not in ARCHS:
            raise RecipeError(
                f"embedder.arch: there is no PaSST for ten seconds called {arch!r}{suggest(arch, ARCHS)}",
                f"use one of: {', '.join(ARCHS)}",
            )
        file = download(arch) if settings.weights is None else weights_file(settings.weights)
        weights = fitting(read_tensors(file), ARCHS[arch].shapes(), ("head",), f"{file} as {arch}")
        self.revision = "-".join([revision(file), arch, *([settings.dtype] if settings.dtype != "float32" else [])])
        self.about = (
            f"PaSST ({arch}) is an audio transformer trained on AudioSet; its 768 features are the mean of its two "
            f"class tokens over ten-second windows."
        )
        self._start(weights, arch, settings.dtype, settings.torch_device())

    def _start(self, weights: Mapping[str, Tensor], arch: str, dtype: str, device: str) -> None:
        self._device = torch.device(device)
        self._network = PasstNetwork(weights, ARCHS[arch], getattr(torch, dtype), self._device)
        self._workers: ThreadPoolExecutor | None = None
        if self._device.type == "cpu":
            tune_allocator()
            self._workers = single_threads(torch.get_num_threads())

    def embed(self, audio: np.ndarray) -> np.ndarray:
        """float32 [batch, samples] in [-1, 1] at 32 kHz, up to ten seconds -> float32 [batch, 768]."""
        missing = max(0, self._network.shortest - audio.shape[1])
        batch = torch.from_numpy(np.pad(audio, ((0, 0), (0, missing))))
        if self._workers is None:
            batch = batch.pin_memory() if self._device.type == "cuda" else batch
            found: np.ndarray = self._network(batch.to(self._device, non_blocking=True)).cpu().numpy()
            return found
        # A window on each core: nothing to wait for within a layer, and no vector depends on its neighbours by a bit.
        return np.concatenate(list(self._workers.map(lambda one: self._network(one[None]).numpy(), batch)))


def single_threads(count: int) -> ThreadPoolExecutor:
    """Threads in which torch uses one core each. The calling thread keeps its number of cores."""
    here, all_there = torch.get_num_threads(), Barrier(count)
    pool = ThreadPoolExecutor(count, "passt", torch.set_num_threads, (1,))
    list(pool.map(lambda _: all_there.wait(), range(count)))
    torch.set_num_threads(here)  # what later threads start with is shared, and was set to one
    return pool


def download(arch: str) -> Path:
    """The released weights in torch's cache, fetched if they are not there. Raises BackendError."""
    url = RELEASES + ARCHS[arch].checkpoint
    file = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])  # where hear21passt keeps them, too
    try:
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(file), progress=False)
    except OSError as error:  # URLError is one
        raise BackendError(
            f"the weights of PaSST ({arch}) could not be fetched from {url}: {error}",
            "connect once (they are kept), or fetch that file elsewhere and give it: embedder.weights",
        ) from error
    return file
