"""Small MusicGen checkpoints for tests: the real classes with random weights, in the published format."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    EncodecConfig,
    GenerationConfig,
    MusicgenConfig,
    MusicgenDecoderConfig,
    MusicgenForConditionalGeneration,
    MusicgenMelodyConfig,
    MusicgenMelodyDecoderConfig,
    MusicgenMelodyForConditionalGeneration,
    PreTrainedTokenizerFast,
    T5Config,
)

VOCABULARY = 64  # codes
CHROMA = 23  # frames of melody in front of the text, in melody models
TEXTS = [
    "a rock track. distorted guitars over a driving beat",
    "an electronica track with a warm pad and a slow pulse",
    "a funk track, slap bass, tight drums, bright brass",
    "an orchestral piece for strings and soft horns",
    "a pop song with piano and hand claps, 120 bpm",
]


@lru_cache  # no two trainings need come out alike
def tokenizer() -> PreTrainedTokenizerFast:
    """A sub-word tokenizer trained on a few lines, which like T5's ends every text with `</s>`."""
    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    made.train_from_iterator(
        TEXTS, trainers.UnigramTrainer(vocab_size=96, special_tokens=special, unk_token="<unk>", show_progress=False)
    )
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=256
    )


def config(stereo: bool = False, melody: bool = False, **decoder: Any) -> MusicgenConfig | MusicgenMelodyConfig:
    """EnCodec at 32 kHz with 50 frames a second, as published, and otherwise as narrow as the classes allow."""
    text = T5Config(
        vocab_size=128,
        d_model=24,
        d_kv=8,
        d_ff=32,
        num_layers=2,
        num_heads=2,
        dropout_rate=0.0,
        decoder_start_token_id=0,
    )
    codec = EncodecConfig(
        sampling_rate=32_000,
        audio_channels=1,
        upsampling_ratios=[8, 5, 4, 4],
        num_filters=2,
        hidden_size=16,
        codebook_size=VOCABULARY,
        codebook_dim=16,
        target_bandwidths=[1.2],  # kbit/s: 4 codebooks of 6 bits, 50 times a second
        use_causal_conv=False,
        norm_type="weight_norm",
        num_lstm_layers=1,
        use_conv_shortcut=False,
    )
    sizes = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "ffn_dim": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_codebooks": 8 if stereo else 4,
        "audio_channels": 2 if stereo else 1,
        "max_position_embeddings": 2048,
        "pad_token_id": VOCABULARY,
        "bos_token_id": VOCABULARY,
        "initializer_factor": 0.2,
        **decoder,
    }
    parts = {"text_encoder": text.to_dict(), "audio_encoder": codec.to_dict()}
    if melody:
        decoder = MusicgenMelodyDecoderConfig(**sizes).to_dict()
        return MusicgenMelodyConfig(**parts, decoder=decoder, chroma_length=CHROMA)
    return MusicgenConfig(**parts, decoder=MusicgenDecoderConfig(**sizes).to_dict())


def model(seed: int = 0, **options: Any) -> Any:
    """Random weights with which every token occurs, and audio is neither silent nor clipped."""
    torch.manual_seed(seed)
    kind = MusicgenMelodyForConditionalGeneration if options.get("melody") else MusicgenForConditionalGeneration
    made: Any = kind(config(**options)).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for layer in made.audio_encoder.quantizer.layers:
            layer.codebook.embed.normal_()
        for weight in made.decoder.parameters():
            if weight.dim() > 1:
                weight.normal_(std=0.3)
        last = made.audio_encoder.decoder.layers[-1].conv  # a filter of mean 0 and no bias: the sound has no DC
        last.bias.zero_()
        last.weight = last.weight - last.weight.mean(-1, keepdim=True)
    pad = made.config.decoder.pad_token_id
    made.generation_config = GenerationConfig(
        decoder_start_token_id=pad,
        pad_token_id=pad,
        bos_token_id=pad,
        do_sample=True,
        guidance_scale=3.0,
        max_length=1500,
    )
    return made


def musicgen(folder: Path, **options: Any) -> Path:
    """Save a checkpoint with its tokenizer for `from_pretrained`."""
    model(**options).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder
