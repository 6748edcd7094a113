"""Small random pipelines of every class that the generator `diffusers` supports, as saved by diffusers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AceStepPipeline,
    AceStepTransformer1DModel,
    AudioLDM2Pipeline,
    AudioLDM2ProjectionModel,
    AudioLDM2UNet2DConditionModel,
    AutoencoderKL,
    AutoencoderOobleck,
    CosineDPMSolverMultistepScheduler,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    StableAudioDiTModel,
    StableAudioPipeline,
    StableAudioProjectionModel,
)
from transformers import (
    ClapAudioConfig,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    ClapTextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3Model,
    RobertaTokenizerFast,
    SpeechT5HifiGan,
    SpeechT5HifiGanConfig,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

from ..musicgen.checkpoints import tokenizer as make_tokenizer

VOCABULARY = 128
WIDTH = 16
RATE = 1000  # Hz


def text_encoder() -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(vocab_size=VOCABULARY, d_model=WIDTH, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    ).eval()


def tokenizer(kind: type = PreTrainedTokenizerFast, length: int = 64) -> Any:
    made = make_tokenizer()
    return kind(
        tokenizer_object=made.backend_tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=length,
    )


def oobleck(latents: int, ratios: tuple[int, int] = (2, 4)) -> AutoencoderOobleck:
    return AutoencoderOobleck(
        encoder_hidden_size=8,
        downsampling_ratios=list(ratios),
        channel_multiples=[1, 2],
        decoder_channels=8,
        decoder_input_channels=latents,
        audio_channels=2,
        sampling_rate=RATE,
    )


def stable_audio() -> StableAudioPipeline:
    return StableAudioPipeline(
        vae=oobleck(4),
        text_encoder=text_encoder(),
        projection_model=StableAudioProjectionModel(
            text_encoder_dim=WIDTH, conditioning_dim=WIDTH, min_value=0, max_value=32
        ),
        tokenizer=tokenizer(T5TokenizerFast),
        transformer=StableAudioDiTModel(
            sample_size=250,  # 2 s
            in_channels=4,
            out_channels=4,
            num_layers=1,
            attention_head_dim=4,
            num_attention_heads=4,
            num_key_value_attention_heads=2,
            cross_attention_dim=WIDTH,
            time_proj_dim=8,
            global_states_input_dim=2 * WIDTH,
            cross_attention_input_dim=WIDTH,
        ),
        scheduler=CosineDPMSolverMultistepScheduler(solver_order=2, sigma_data=1.0),
    )


def stable_audio_3() -> Any:
    from diffusers import AutoencoderSAME, StableAudio3DiTModel, StableAudio3DurationEmbedder, StableAudio3Pipeline
    from transformers import GemmaTokenizerFast, T5GemmaConfig, T5GemmaEncoderModel, T5GemmaModuleConfig

    part = T5GemmaModuleConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
    )
    vae = AutoencoderSAME(
        patch_size=4,
        encoder_channels=8,
        encoder_c_mults=(1,),
        encoder_strides=(2,),
        encoder_transformer_depths=(1,),
        latent_dim=4,
        dim_heads=4,
        sampling_rate=RATE,
    )
    transformer = StableAudio3DiTModel(
        io_channels=4,
        embed_dim=16,
        depth=1,
        num_heads=2,
        cond_token_dim=WIDTH,
        global_cond_dim=WIDTH,
        local_add_cond_dim=5,
        timestep_features_dim=8,
        num_memory_tokens=2,
    )
    for model in (vae, transformer):  # what is published as zeros would make every clip silent
        for weights in model.parameters():
            if not weights.any():
                torch.nn.init.normal_(weights, std=0.2)
    return StableAudio3Pipeline(
        vae=vae,
        text_encoder=T5GemmaEncoderModel(T5GemmaConfig(encoder=part, decoder=part, is_encoder_decoder=False)).eval(),
        tokenizer=tokenizer(GemmaTokenizerFast, length=512),
        duration_embedder=StableAudio3DurationEmbedder(output_dim=WIDTH, fourier_dim=8),
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(stochastic_sampling=True, num_train_timesteps=1, shift=1.0),
    )


def ace_step(turbo: bool = False) -> AceStepPipeline:
    from diffusers.pipelines.ace_step import AceStepConditionEncoder

    shared = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "sliding_window": 16,
    }
    text = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
    )
    encoder = AceStepConditionEncoder(
        text_hidden_dim=WIDTH,
        timbre_hidden_dim=4,
        num_lyric_encoder_hidden_layers=1,
        num_timbre_encoder_hidden_layers=1,
        **shared,
    )
    return AceStepPipeline(
        vae=oobleck(4, ratios=(5, 8)),  # 25 latents a second
        text_encoder=Qwen3Model(text).eval(),
        tokenizer=tokenizer(length=2048),
        transformer=AceStepTransformer1DModel(
            num_hidden_layers=1, in_channels=12, audio_acoustic_hidden_dim=4, patch_size=2, is_turbo=turbo, **shared
        ),
        condition_encoder=encoder.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1, shift=1.0),
    )


def audioldm2() -> AudioLDM2Pipeline:
    clap = ClapConfig(
        text_config=ClapTextConfig(
            vocab_size=VOCABULARY,
            hidden_size=16,
            intermediate_size=16,
            num_attention_heads=2,
            num_hidden_layers=1,
            projection_dim=16,
            pad_token_id=0,
        ).to_dict(),
        audio_config=ClapAudioConfig(
            spec_size=64,
            window_size=4,
            num_mel_bins=64,
            depths=[1, 1],
            num_attention_heads=[2, 2],
            num_hidden_layers=2,
            hidden_size=32,
            projection_dim=16,
            patch_size=2,
            patch_stride=2,
            patch_embed_input_channels=4,
            patch_embeds_hidden_size=16,
        ).to_dict(),
        projection_dim=16,
    )
    language = GPT2LMHeadModel(GPT2Config(n_embd=16, n_head=2, n_layer=1, vocab_size=VOCABULARY, n_positions=99))
    language.config.max_new_tokens = 2
    vocoder = SpeechT5HifiGan(
        SpeechT5HifiGanConfig(
            model_in_dim=8,
            sampling_rate=RATE,
            upsample_initial_channel=8,
            upsample_rates=[2, 2],
            upsample_kernel_sizes=[4, 4],
            resblock_kernel_sizes=[3],
            resblock_dilation_sizes=[[1, 3]],
            normalize_before=False,
        )
    )
    for weights in vocoder.parameters():  # new ones are nearly silent
        torch.nn.init.normal_(weights, std=0.3)
    return AudioLDM2Pipeline(
        vae=AutoencoderKL(
            block_out_channels=[8, 8],
            norm_num_groups=4,
            in_channels=1,
            out_channels=1,
            down_block_types=["DownEncoderBlock2D"] * 2,
            up_block_types=["UpDecoderBlock2D"] * 2,
            latent_channels=4,
        ),
        text_encoder=ClapModel(clap).eval(),
        text_encoder_2=text_encoder(),
        projection_model=AudioLDM2ProjectionModel(
            text_encoder_dim=16, text_encoder_1_dim=WIDTH, langauge_model_dim=16
        ),
        language_model=language.eval(),
        tokenizer=tokenizer(RobertaTokenizerFast),
        tokenizer_2=tokenizer(T5TokenizerFast),
        feature_extractor=ClapFeatureExtractor(),
        unet=AudioLDM2UNet2DConditionModel(
            block_out_channels=(8, 8),
            norm_num_groups=4,
            layers_per_block=1,
            sample_size=256,  # 2.05 s
            in_channels=4,
            out_channels=4,
            attention_head_dim=2,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=([None, WIDTH, 16], [None, WIDTH, 16]),
        ),
        scheduler=DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
        ),
        vocoder=vocoder,
    )


MAKERS: dict[str, Callable[[], Any]] = {
    "stable-audio": stable_audio,
    "stable-audio-3": stable_audio_3,
    "ace-step": ace_step,
    "audioldm2": audioldm2,
}


def save(name: str, folder: Path) -> Path:
    """Save a pipeline with weights that depend on nothing but its name."""
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        MAKERS[name]().save_pretrained(folder)
    return folder
