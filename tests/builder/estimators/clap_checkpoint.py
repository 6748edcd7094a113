"""A small CLAP checkpoint with random weights."""

from __future__ import annotations

from pathlib import Path

import torch

WORDS = ("<s>", "<pad>", "</s>", "<unk>", "a", "rock", "jazz", "track", "loud", "quiet", "noise", "tones")


def clap_checkpoint(folder: Path) -> Path:
    """Write a small CLAP with random weights."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, ClapProcessor, PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
        model_max_length=64,
    )  # fmt: skip
    sound = {"hidden_size": 64, "patch_embeds_hidden_size": 8, "depths": [1] * 4, "num_attention_heads": [1, 2, 2, 2]}
    text = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        text |= {"vocab_size": len(WORDS), "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
        model = ClapModel(ClapConfig(text_config=text, audio_config=sound, projection_dim=16))
    model.save_pretrained(folder)
    ClapProcessor(ClapFeatureExtractor(truncation="rand_trunc"), tokenizer).save_pretrained(folder)
    return folder
