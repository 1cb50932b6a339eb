"""Tiny language models whose tokens are others than those of ``answer_helpers``."""

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tiny_models import WORDS

TEMPLATE = "{% for message in messages %}<{{ message['content'] }}> {% endfor %}reply"
_SPECIAL = ["<none>", "<end>", "<what>"]


def other_tokenizer(
    words: Sequence[str] = WORDS, *, pieces: bool = True
) -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer of these whole words in another order, and of letters; without ``pieces`` any
    other word is unknown."""
    letters = "0123456789.,?!<>[]:'abcdefghijklmnopqrstuvwxyz"
    parts = [f"##{letter}" for letter in letters] if pieces else []
    names = dict.fromkeys([*_SPECIAL, *reversed(words), *letters, *parts])
    vocabulary = {piece: number for number, piece in enumerate(names)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="<what>"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A", pair="$A $B", special_tokens=[]
    )
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=1024,
        pad_token="<none>",
        eos_token="<end>",
        unk_token="<what>",
    )
    made.chat_template = TEMPLATE
    return made


def save_other(folder: Path, words: Sequence[str] = WORDS, *, pieces: bool = True) -> Path:
    """A Llama of two layers that reads :func:`other_tokenizer`'s tokens."""
    tokenizer = other_tokenizer(words, pieces=pieces)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=64,
        max_position_embeddings=2048,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
