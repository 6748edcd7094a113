"""What each audio pipeline of diffusers can do, read from the config files of its components."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

Configs = Mapping[str, Mapping[str, Any]]  # of each component, by its name in model_index.json


@dataclass(frozen=True, slots=True)
class Limits:
    """What a model can make, and what it makes by default."""

    sampling_rate: int  # Hz
    channels: int
    seconds: float  # the longest clip
    steps: int
    guidance: float
    guided: bool = True  # whether guidance above 1 and a negative prompt have an effect


@dataclass(frozen=True, slots=True)
class PipelineKind:
    """A pipeline class: its name for cards, the components it cannot do without, and how it is called."""

    title: str
    components: tuple[str, ...]
    read_limits: Callable[[Configs], Limits]
    length: str  # the argument for the length in seconds
    tokenizers: tuple[str, ...] = ("tokenizer",)
    max_tokens: int | None = None  # where the pipeline cuts earlier than its tokenizer
    songs: bool = False  # whether it takes lyrics, tempo and key, and no negative prompt


def _read_stable_audio(configs: Configs) -> Limits:
    vae, transformer = configs["vae"], configs["transformer"]
    rate = int(vae["sampling_rate"])
    longest = transformer["sample_size"] * prod(vae["downsampling_ratios"]) / rate
    longest = min(longest, configs["projection_model"]["max_value"])
    return Limits(rate, int(vae["audio_channels"]), longest, steps=100, guidance=7.0)


def _read_stable_audio_3(configs: Configs) -> Limits:
    vae, distilled = configs["vae"], bool(configs["scheduler"].get("stochastic_sampling", False))
    longest = float(configs["duration_embedder"].get("max_val", 384.0))
    return Limits(
        int(vae["sampling_rate"]), int(vae["audio_channels"]), longest, steps=8 if distilled else 100, guidance=1.0
    )


def _read_ace_step(configs: Configs) -> Limits:
    vae, transformer = configs["vae"], configs["transformer"]
    turbo = bool(transformer.get("is_turbo")) or transformer.get("model_version") == "turbo"
    steps, guidance = (8, 1.0) if turbo else (50, 7.0)
    return Limits(int(vae["sampling_rate"]), int(vae["audio_channels"]), 600.0, steps, guidance, guided=not turbo)


def _read_audioldm2(configs: Configs) -> Limits:
    vocoder, rate = configs["vocoder"], int(configs["vocoder"]["sampling_rate"])
    frames = configs["unet"]["sample_size"] * 2 ** (len(configs["vae"]["block_out_channels"]) - 1)
    return Limits(rate, 1, frames * prod(vocoder["upsample_rates"]) / rate, steps=200, guidance=3.5)


PIPELINES = {
    "StableAudioPipeline": PipelineKind(
        "Stable Audio",
        ("vae", "text_encoder", "projection_model", "tokenizer", "transformer", "scheduler"),
        _read_stable_audio,
        length="audio_end_in_s",
    ),
    "StableAudio3Pipeline": PipelineKind(
        "Stable Audio 3",
        ("vae", "text_encoder", "tokenizer", "duration_embedder", "transformer", "scheduler"),
        _read_stable_audio_3,
        length="duration",
        max_tokens=256,
    ),
    "AceStepPipeline": PipelineKind(
        "ACE-Step",
        ("vae", "text_encoder", "tokenizer", "transformer", "condition_encoder", "scheduler"),
        _read_ace_step,
        length="audio_duration",
        max_tokens=256,
        songs=True,
    ),
    "AudioLDM2Pipeline": PipelineKind(
        "AudioLDM 2",
        (
            *("vae", "text_encoder", "text_encoder_2", "projection_model", "language_model", "tokenizer"),
            *("tokenizer_2", "feature_extractor", "unet", "scheduler", "vocoder"),
        ),
        _read_audioldm2,
        length="audio_length_in_s",
        tokenizers=("tokenizer", "tokenizer_2"),
    ),
}
