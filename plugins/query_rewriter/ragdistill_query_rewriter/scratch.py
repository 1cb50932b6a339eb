"""A small T5 (Raffel et al., arXiv:1910.10683) from nothing, with words of the data: what an encoder-decoder is
made of where no pretrained one can be had.

It knows the language of its corpus only, and what it was taught of that: a pretrained model is the better
start wherever there is one.
"""

from collections.abc import Iterable
from typing import Any

import torch
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from ragdistill.data.sampling import sample
from ragdistill.files import sha256_json
from ragdistill_query_rewriter.expansions import SEPARATOR

_PAD, _END, _UNKNOWN = "<pad>", "</s>", "<unk>"
_READ = 100_000
"""Texts that words are taken from, at most."""
WORDS = 8_000
SIZES: dict[str, Any] = {
    "d_model": 256,
    "d_kv": 32,
    "d_ff": 512,
    "num_layers": 4,
    "num_decoder_layers": 2,
    "num_heads": 8,
    "feed_forward_proj": "gated-gelu",
    "tie_word_embeddings": True,
}
"""Few layers write: each is gone through once for every token."""


def digest() -> str:
    """What it is made by; the rest is the data and the seed."""
    return sha256_json(["t5", SIZES, WORDS, _READ])


def make(texts: Iterable[str], seed: int) -> tuple[Any, Any]:
    """A network that has learnt nothing, and its tokenizer, whose words (byte-level BPE in lower case, up to
    :data:`WORDS`) are those of ``texts``."""
    tokenizer = _tokenizer(sample(list(texts), _READ, seed, key=str))
    tokens: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "decoder_start_token_id": tokenizer.pad_token_id,
    }
    config = T5Config(**tokens, **SIZES)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = T5ForConditionalGeneration(config)
    return network, tokenizer


def _tokenizer(texts: list[str]) -> Any:
    made = Tokenizer(models.BPE())
    made.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=WORDS,
        special_tokens=[_PAD, _END, _UNKNOWN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    made.add_tokens([SEPARATOR])
    ending = (_END, made.token_to_id(_END))
    made.post_processor = processors.TemplateProcessing(
        single=f"$A {_END}", special_tokens=[ending]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call,unused-ignore]
        tokenizer_object=made,
        pad_token=_PAD,
        eos_token=_END,
        unk_token=_UNKNOWN,
        model_max_length=512,
    )
