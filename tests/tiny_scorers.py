"""Tiny models that score pairs, made in code."""

from pathlib import Path

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from tiny_models import make_tokenizer


def save_language_model(folder: Path, *, seed: int = 0) -> Path:
    """Two layers of 32 dimensions; it says nothing sensible, but another thing of every text."""
    tokenizer = make_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=64,
        max_position_embeddings=1024,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=None,
    )
    torch.manual_seed(seed)
    LlamaForCausalLM(config).eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_in_its_words(folder: Path) -> Path:
    """A language model that sentence-transformers reads by a template and words of its own."""
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.cross_encoder.modules import LogitScore

    save_language_model(folder / "plain")
    transformer = Transformer(str(folder / "plain"), transformer_task="text-generation")
    transformer.tokenizer.chat_template = "{% for message in messages %}{{ message['role'] }} {{ message['content'] }} {% endfor %}answer"
    words = [transformer.tokenizer.convert_tokens_to_ids(word) for word in ("the", "of")]
    CrossEncoder(modules=[transformer, LogitScore(*words)], device="cpu").save(
        str(folder / "whole")
    )
    return folder / "whole"


def save_roberta(folder: Path) -> Path:
    """A cross-encoder that counts positions from one after its padding, as its family does, with a
    tokenizer that names no greatest length."""
    tokenizer = make_tokenizer()
    tokenizer.model_max_length = int(1e30)
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        type_vocab_size=2,
        pad_token_id=tokenizer.pad_token_id,
        num_labels=1,
    )
    torch.manual_seed(0)
    RobertaForSequenceClassification(config).eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_cross_encoder(folder: Path, *, seed: int = 0, labels: int = 1) -> Path:
    """Two layers of 32 dimensions, and a head."""
    tokenizer = make_tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.3,
        num_labels=labels,
    )
    torch.manual_seed(seed)
    BertForSequenceClassification(config).eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
