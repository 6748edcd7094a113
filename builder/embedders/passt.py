"""PaSST: 768 features of an audio transformer trained on AudioSet (Koutini et al. 2022, arXiv 2110.05069)."""

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
from .weights import file_revision, find_weights_file, read_tensors, select_tensors

if TYPE_CHECKING:
    from ..settings import EmbedderSettings

DEFAULT_ARCH = "passt_s_swa_p16_128_ap476"


class Passt:
    """The embeddings of `hear21passt` in its mode "embed_only", from the same weights and several times faster.

    A window has ten seconds. Longer audio is cut into windows every 2.5 s, with its ends mirrored, and averaged;
    shorter audio is one shorter window: both as in `hear21passt.get_scene_embeddings` (see `windows.cut_windows`).
    Audio shorter than a patch (1/6 s) is padded with zeros.

    Settings:
        weights: A file, or a folder with one (safetensors, or tensors saved by torch). Default: the release of the
            PaSST authors, downloaded once as hear21passt does.
        arch: The variant, by its name in hear21passt.
        dtype: float32 is within 1e-5 of the package. bfloat16 has a cosine similarity above 0.999 with it, and takes
            about half the time on processors that support it.
        device: "auto" takes a GPU if there is one.
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
                f"embedder.arch: there is no PaSST of ten seconds called {arch!r}{suggest(arch, ARCHS)}",
                f"use one of: {', '.join(ARCHS)}",
            )
        file = download_weights(arch) if settings.weights is None else find_weights_file(settings.weights)
        weights = select_tensors(read_tensors(file), ARCHS[arch].shapes(), ("head",), f"{file} as {arch}")
        self.revision = "-".join(
            [file_revision(file), arch, *([settings.dtype] if settings.dtype != "float32" else [])]
        )
        self.about = (
            f"PaSST ({arch}) is an audio transformer trained on AudioSet; its 768 features are the mean of its two "
            f"class tokens over ten-second windows."
        )
        self._start(weights, arch, settings.dtype, settings.torch_device())

    def _start(self, weights: Mapping[str, Tensor], arch: str, dtype: str, device: str) -> None:
        """Build the network, and on a CPU its threads."""
        self._device = torch.device(device)
        self._network = PasstNetwork(weights, ARCHS[arch], getattr(torch, dtype), self._device)
        self._workers: ThreadPoolExecutor | None = None
        if self._device.type == "cpu":
            tune_allocator()
            self._workers = make_single_threads(torch.get_num_threads())

    def embed(self, audio: np.ndarray) -> np.ndarray:
        """Embed float32 [batch, samples] in [-1, 1] at 32 kHz, up to ten seconds: float32 [batch, 768]."""
        missing = max(0, self._network.shortest - audio.shape[1])
        batch = torch.from_numpy(np.pad(audio, ((0, 0), (0, missing))))
        if self._workers is None:
            batch = batch.pin_memory() if self._device.type == "cuda" else batch
            vectors: np.ndarray = self._network(batch.to(self._device, non_blocking=True)).cpu().numpy()
            return vectors
        # One window on each core: no waiting within a layer, and a vector is the same bit for bit in any batch.
        return np.concatenate(list(self._workers.map(lambda window: self._network(window[None]).numpy(), batch)))


def make_single_threads(count: int) -> ThreadPoolExecutor:
    """Start threads in which torch uses one core each; the calling thread keeps its number of cores."""
    cores, all_started = torch.get_num_threads(), Barrier(count)
    pool = ThreadPoolExecutor(count, "passt", torch.set_num_threads, (1,))
    list(pool.map(lambda _: all_started.wait(), range(count)))
    torch.set_num_threads(cores)  # the threads have also set the default for threads that start later
    return pool


def download_weights(arch: str) -> Path:
    """Find the released weights in torch's cache, and download them if they are not there. Raises BackendError."""
    url = RELEASES + ARCHS[arch].checkpoint
    file = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])  # where hear21passt also keeps them
    try:
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(file), progress=False)
    except OSError as error:  # URLError is one
        raise BackendError(
            f"the weights of PaSST ({arch}) could not be downloaded from {url}: {error}",
            "connect once (they are cached), or download that file elsewhere and name it: embedder.weights",
        ) from error
    return file
