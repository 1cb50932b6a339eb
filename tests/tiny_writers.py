"""Tiny causal language models, made in code, and fakes of them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PretrainedConfig

from tiny_models import make_tokenizer

TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }} {{ message['content'] }} {% endfor %}answer"
)


def save_writer(
    folder: Path, config: PretrainedConfig | None = None, *, ends: Sequence[int] = (), **sizes: Any
) -> Path:
    """Two layers of 32 dimensions with a chat template; of random weights. ``ends`` end a reply; ``sizes``
    are its config's."""
    tokenizer = make_tokenizer()
    tokenizer.chat_template = TEMPLATE
    usual = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 256,
        "initializer_range": 0.3,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    config = config or LlamaConfig(**{**usual, **sizes})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config).eval()
    for name, weight in model.named_parameters():
        if name.endswith("bias"):  # as they are made, zeros
            torch.nn.init.normal_(weight, generator=torch.Generator().manual_seed(0))
    model.generation_config.eos_token_id = list(ends) or None
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


class FakeWriter:
    """Says the same at every step, ``probabilities`` [vocabulary], and writes ``replies``."""

    def __init__(self, probabilities: Sequence[float], replies: Sequence[list[int]]) -> None:
        self.said = np.log(np.array(probabilities, np.float32))
        self.replies = list(replies)

    def generate(self, prompts: Sequence[Sequence[int]], new_tokens: int) -> list[list[int]]:
        return [reply[:new_tokens] for reply in self.replies]

    def stream(self, prompt: Sequence[int], new_tokens: int) -> Iterator[int]:
        return iter(self.replies[0][:new_tokens])

    def log_probs(self, prompt: Sequence[int], answer: Sequence[int]) -> np.ndarray:
        return np.tile(self.said, (len(answer), 1))
