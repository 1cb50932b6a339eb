"""What a language model's logits are made of, and which models read several texts in one row."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GraniteConfig,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    Olmo2Config,
    OPTConfig,
    PhiConfig,
    PreTrainedConfig,
    Qwen3Config,
)

from ragdistill.packing import Group, Row
from ragdistill.training.reading import Reader, packed, padded, shares

SIZES = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": None,
}
HEADS = {"head_dim": 8}
GPT2 = {"vocab_size": 60, "n_embd": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.3}
MODELS: dict[str, tuple[PreTrainedConfig, float | None]] = {
    "llama": (LlamaConfig(**SIZES), 1.0),
    "qwen": (Qwen3Config(**SIZES, **HEADS), 1.0),
    "olmo": (Olmo2Config(**SIZES), 1.0),
    "gpt2": (GPT2Config(**GPT2), 1.0),
    "opt": (OPTConfig(**SIZES, ffn_dim=64, word_embed_proj_dim=32), 1.0),
    "phi": (PhiConfig(**SIZES), 1.0),  # its head has a bias
    "gemma3": (Gemma3TextConfig(**SIZES, **HEADS), 1.0),
    "granite": (GraniteConfig(**SIZES, logits_scaling=8.0), 0.125),
    "cohere": (CohereConfig(**SIZES, logit_scale=0.0625), 0.0625),
    "gemma2": (Gemma2Config(**SIZES, **HEADS, final_logit_softcapping=30.0), None),
}


def made(config: PreTrainedConfig) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).eval()


def rows(together: bool) -> list[Row]:
    groups = [
        Group(list(range(5, 17)), [(0, [3, 4, 5]), (1, [7, 8]), (2, [30])]),
        Group([20, 21], [(3, [22, 23, 24])]),
    ]
    if not together:
        groups = [
            Group(group.beginning, [each]) for group in groups for each in group.continuations
        ]
    filled = [Row() for _ in groups]
    for row, group in zip(filled, groups, strict=True):
        row.add(group)
    return filled


def foretelling(told: list[Row], wide: int) -> Tensor:
    spans = [(number * wide, span) for number, row in enumerate(told) for span in row.spans]
    return torch.tensor([start + place for start, span in spans for place in span.before])


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_states_and_head_are_the_logits_wherever_they_can_be(name: str) -> None:
    config, factor = MODELS[name]
    network = made(config)
    if name == "phi":
        network.lm_head.bias.normal_()
    reader = Reader(network)
    assert reader.factor == (None if factor is None else pytest.approx(factor))
    inputs = padded(rows(together=False), 0)
    places = foretelling(rows(together=False), inputs["input_ids"].shape[1])
    logits = reader.logits(inputs, places)
    if factor is not None:
        head = reader.head
        found = torch.nn.functional.linear(reader.states(inputs, places), head.weight, head.bias)
        torch.testing.assert_close(found, logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_a_text_in_a_shared_row_reads_as_it_does_alone(name: str) -> None:
    network = made(MODELS[name][0])
    assert shares(network, 20)
    said = []
    for together, make in ((True, packed), (False, padded)):
        told = rows(together)
        inputs = make(told, 0)
        places = foretelling(told, inputs["input_ids"].shape[1])
        said.append(Reader(network).logits(inputs, places))
    torch.testing.assert_close(said[0], said[1], rtol=1e-4, atol=1e-4)


def test_in_half_precision_too() -> None:
    network = made(MODELS["granite"][0]).to(torch.bfloat16)
    assert Reader(network).factor == pytest.approx(0.125, rel=1e-3)
    assert shares(network, 20)


def test_models_that_hand_states_on_are_found_out() -> None:
    plain = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}
    mamba = made(MambaConfig(**plain, initializer_range=0.3))
    assert not shares(mamba, 20)
    assert Reader(mamba).factor == 1.0


def test_layers_that_do_not_see_far_enough_are_found_out() -> None:
    sliding = made(MistralConfig(**SIZES, sliding_window=16))
    assert shares(sliding, 16)
    assert not shares(sliding, 17)
    types = ["full_attention", "sliding_attention"]
    mixed = {**SIZES, "use_sliding_window": True, "sliding_window": 16}
    assert not shares(made(Qwen3Config(**mixed, **HEADS, layer_types=types)), 17)
    assert shares(made(Qwen3Config(**SIZES, **HEADS)), 1 << 20)
