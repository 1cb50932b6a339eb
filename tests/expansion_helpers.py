"""Small data, made in code, whose queries do not have the words of the documents that they are to find."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSeq2SeqLM, BartConfig, PretrainedConfig, T5Config

from conversation_helpers import write
from tiny_models import WORDS, make_tokenizer

TOPICS = tuple(zip(WORDS[15:27], WORDS[27:39], strict=True))
"""What queries call a thing, and what the documents do that are to be found."""
ASKED = (
    "where is the {}",
    "which {} is old",
    "how long is a {}",
    "who builds the {}",
    "what is the new {}",
    "the {} in the long night",
    "what {} breaks",
    "is it a {}",
    "a short {}",
    "{} on high",
)


def rows(topics: int = 8) -> tuple[list[Any], list[Any], list[str]]:
    """Documents, queries and judgments: of each topic two documents that have both of its names, and one,
    which is judged, that has the second alone."""
    documents, queries, judged = [], [], []
    for number, (asked, called) in enumerate(TOPICS[:topics]):
        for copy in range(2):
            text = f"{asked} {called} {called} z{number}{copy}"
            documents.append({"_id": f"both{number}{copy}", "text": text})
        documents.append({"_id": f"named{number}", "text": f"{called} y{number} w{number}"})
        for form, words in enumerate(ASKED):
            name = f"q{number}f{form}"
            queries.append({"_id": name, "text": words.format(asked)})
            judged.append(f"{name}\tnamed{number}\t1\n")
    return documents, queries, judged


def asking(folder: Path, topics: int = 8) -> Path:
    """A collection of them in ``folder``; one split."""
    write(folder, *rows(topics))
    return folder


def answered(query: str) -> str:
    """What a language model might write of a query: the other name of its topic, twice."""
    for asked, called in TOPICS:
        if asked in query.split():
            return f"where is the {called} ||| which {called} is it"
    return "the old bird ||| a new bird"


def save_seq2seq(folder: Path, config: PretrainedConfig | None = None) -> Path:
    """An encoder-decoder of random weights with a tokenizer that cannot write the separator; a T5 unless
    ``config`` says otherwise."""
    tokenizer = make_tokenizer()
    end = tokenizer.sep_token_id
    tokenizer.eos_token = tokenizer.sep_token
    config = config or T5Config(
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        pad_token_id=0,
        eos_token_id=end,
        decoder_start_token_id=0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForSeq2SeqLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def bart() -> BartConfig:
    """A tiny BART."""
    tokenizer = make_tokenizer()
    end = tokenizer.sep_token_id
    return BartConfig(
        vocab_size=len(tokenizer),
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=64,
        pad_token_id=0,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=end,
        decoder_start_token_id=end,
        forced_eos_token_id=None,
    )
