"""Small embedders for tests: the real classes with random weights, in the published formats."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTModel,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
)

from builder.embedders import passt_network
from builder.embedders.passt_network import Arch

TINY = "tiny"  # a PaSST of one block, all else as released


def hear21passt(depth: int = 1, stride: int = 10, frames: int = 998, hop: int = 320, seed: int = 0) -> Any:
    """The model of hear21passt in its mode "embed_only", with random weights, biases and normalisations."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from hear21passt.models import passt as package
        from hear21passt.models.preprocess import AugmentMelSTFT
        from hear21passt.wrapper import PasstBasicWrapper

        package.first_RUN = False
        mel = AugmentMelSTFT(
            n_mels=128, sr=32000, win_length=800, hopsize=hop, n_fft=1024, freqm=48, timem=192,
            htk=False, fmin=0.0, fmax=None, norm=1, fmin_aug_range=10, fmax_aug_range=2000,
        )  # fmt: skip
        net = package.PaSST(img_size=(128, frames), stride=stride, depth=depth, distilled=True)
        draw = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, value in net.named_parameters():
                spread = 0.1 if value.ndim == 1 else 1.4 * value[0].numel() ** -0.5
                value.copy_(spread * torch.randn(value.shape, generator=draw) + (value if "norm" in name else 0))
        return PasstBasicWrapper(mel=mel, net=net, mode="embed_only").eval()


def scene_embeddings(model: Any, audio: torch.Tensor) -> torch.Tensor:
    """The embeddings of hear21passt, without its output and warnings."""
    from hear21passt.base import get_scene_embeddings

    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        embeddings: torch.Tensor = get_scene_embeddings(audio, model)
        return embeddings


def tiny_passt(folder: Path) -> Path:
    """Write the weights of `hear21passt()` to a file, and register its architecture as TINY."""
    passt_network.ARCHS.setdefault(TINY, Arch("none", depth=1))
    save_file(hear21passt().net.state_dict(), folder / "passt.safetensors")
    return folder / "passt.safetensors"


def transformers_model(kind: str, folder: Path) -> Path:
    """Write a checkpoint of a kind with save_pretrained."""
    narrow = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "ast":
            model, extractor = ASTModel(ASTConfig(**narrow)), ASTFeatureExtractor()
        elif kind == "wav2vec2":
            config = Wav2Vec2Config(
                **narrow, conv_dim=(8,) * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2
            )
            model, extractor = Wav2Vec2Model(config), Wav2Vec2FeatureExtractor()
        else:
            fused = kind == "clap-fused"
            sound = {"hidden_size": 64, "patch_embeds_hidden_size": 8, "depths": [1] * 4}
            sound |= {"num_attention_heads": [1, 2, 2, 2], "enable_fusion": fused, "aff_block_r": 2}
            sound |= {"fusion_type": "aff_2d"} if fused else {}
            text = {**narrow, "num_hidden_layers": 1, "vocab_size": 60}
            model = ClapModel(ClapConfig(text_config=text, audio_config=sound, projection_dim=16))
            extractor = ClapFeatureExtractor(truncation="fusion" if fused else "rand_trunc")
    model.save_pretrained(folder / kind)
    extractor.save_pretrained(folder / kind)
    return folder / kind
