"""A student by leaving out layers."""

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertModel,
    DeepseekV3Config,
    GPT2Config,
    LlamaConfig,
    ModernBertConfig,
    ModernBertModel,
    PreTrainedConfig,
    Qwen2Config,
    SmolLM3Config,
)

from ragdistill import UserError
from ragdistill.training.pruning import check_config, choose_layers, keep_layers, layer_list


@pytest.mark.parametrize(
    ("spec", "total", "kept"),
    [
        ("3", 6, [0, 2, 5]),
        ("1", 6, [0]),
        ("2", 12, [0, 11]),
        ("6", 12, [0, 2, 4, 7, 9, 11]),
        ("6", 6, [0, 1, 2, 3, 4, 5]),
        ("0,2,5", 6, [0, 2, 5]),
        (" 1 , 3 ", 6, [1, 3]),
        ("5,", 6, [5]),
    ],
)
def test_layers_are_spread_or_named(spec: str, total: int, kept: list[int]) -> None:
    assert choose_layers(spec, total) == kept


def test_spread_layers_are_distinct_and_keep_both_ends() -> None:
    for total in range(2, 49):
        for count in range(2, total + 1):
            kept = choose_layers(str(count), total)
            assert len(set(kept)) == count
            assert (kept[0], kept[-1]) == (0, total - 1)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("0", "cannot keep 0 layers of a model that has 6; choose from 1 to 6"),
        ("7", "cannot keep 7 layers of a model that has 6"),
        ("0,6", "'0,6' does not name layers of a model that has 6.*from 0 to 5"),
        ("2,1", "in ascending order"),
        ("1,1", "each once"),
        ("", "neither a number of layers nor a list"),
        (",", "neither a number"),
        ("-1", "neither a number"),
        ("2.5", "neither a number"),
        ("three", "'three' is neither"),
        ("²", "neither a number"),
    ],
)
def test_layers_that_are_not_there_are_refused(spec: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        choose_layers(spec, 6)
    assert caught.value.format_message().startswith("--student-layers: ")


def bert() -> BertModel:
    torch.manual_seed(0)
    return BertModel(
        BertConfig(
            vocab_size=50,
            hidden_size=16,
            num_hidden_layers=4,
            num_attention_heads=2,
            intermediate_size=24,
        )
    ).eval()


def modern_bert() -> ModernBertModel:
    torch.manual_seed(0)
    return ModernBertModel(
        ModernBertConfig(
            vocab_size=50,
            hidden_size=16,
            num_hidden_layers=4,
            num_attention_heads=2,
            intermediate_size=24,
            global_attn_every_n_layers=2,
            pad_token_id=0,
        )
    ).eval()


def said(model: nn.Module) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(input_ids=torch.arange(1, 13).view(2, 6)).last_hidden_state
    return found


@pytest.mark.parametrize("make", [bert, modern_bert])
def test_the_layers_that_are_kept_are_the_very_same(make: type[nn.Module]) -> None:
    model = make()
    whole = copy.deepcopy(model)
    keep_layers(model, [0, 2])
    assert len(layer_list(model)) == model.config.num_hidden_layers == 2
    for kept, former in zip(layer_list(model), (0, 2), strict=True):
        original = layer_list(whole)[former].state_dict()
        assert kept.state_dict().keys() == original.keys()
        assert all(torch.equal(original[name], value) for name, value in kept.state_dict().items())
    assert said(model).shape == (2, 6, 16)


@pytest.mark.parametrize("make", [bert, modern_bert])
def test_keeping_all_layers_changes_nothing(make: type[nn.Module]) -> None:
    model = make()
    before = said(model)
    keep_layers(model, range(4))
    assert torch.equal(said(model), before)


def test_a_pruned_model_is_saved_and_loaded_as_it_is(tmp_path: object) -> None:
    model = bert()
    keep_layers(model, [1, 3])
    model.save_pretrained(str(tmp_path))
    assert torch.equal(said(BertModel.from_pretrained(str(tmp_path)).eval()), said(model))


def test_what_each_layer_is_goes_with_it() -> None:
    model = modern_bert()
    types = list(model.config.layer_types)
    keep_layers(model, [1, 2])
    assert model.config.layer_types == types[1:3]


def test_layers_know_their_new_place() -> None:
    model = nn.Module()
    model.config = SimpleNamespace(num_hidden_layers=3)  # type: ignore[assignment]
    model.layers = nn.ModuleList(nn.Linear(1, 1) for _ in range(3))
    for number, layer in enumerate(model.layers):
        layer.layer_idx = number  # type: ignore[assignment]
    keep_layers(model, [0, 2])
    assert [layer.layer_idx for layer in model.layers] == [0, 1]


def test_a_model_without_a_list_of_layers_is_refused() -> None:
    model = nn.Linear(1, 1)
    model.config = SimpleNamespace(num_hidden_layers=3)  # type: ignore[assignment]
    with pytest.raises(UserError, match="layers of a Linear cannot be left out"):
        layer_list(model)


CAUSAL = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "initializer_range": 0.5,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": 0,
}
SLIDING = {"layer_types": ["full_attention", "sliding_attention"] * 2, "use_sliding_window": True}


@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(**CAUSAL),
        Qwen2Config(**CAUSAL, **SLIDING, sliding_window=4),
        SmolLM3Config(**CAUSAL, no_rope_layers=[1, 0, 0, 1]),
    ],
    ids=lambda config: config.model_type,
)
def test_a_pruned_causal_model_writes_with_its_cache_as_without(
    config: PreTrainedConfig, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    whole = AutoModelForCausalLM.from_config(config).eval()
    model = copy.deepcopy(whole)
    keep_layers(model, [1, 3])
    check_config(model)
    ids = torch.arange(5, 15)[None]
    told = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 12, "do_sample": False}
    written = model.generate(ids, **told, use_cache=True)
    assert torch.equal(written, model.generate(ids, **told, use_cache=False))
    # Each layer is what it was: the whole model, whose other layers add nothing, says the same.
    for number in (0, 2):
        layer = whole.model.layers[number]
        layer.self_attn.o_proj.weight.data.zero_()
        layer.mlp.down_proj.weight.data.zero_()
    assert torch.equal(written, whole.generate(ids, **told))
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert torch.equal(written, loaded.generate(ids, **told))


def gpt2(**more: Any) -> Any:
    torch.manual_seed(0)
    sizes = {"n_embd": 32, "n_layer": 4, "n_head": 4, "n_positions": 64, "initializer_range": 0.5}
    config = GPT2Config(vocab_size=60, bos_token_id=None, eos_token_id=None, **sizes, **more)
    return AutoModelForCausalLM.from_config(config).eval()


def test_gpt_2_loses_layers_as_others_do(tmp_path: Path) -> None:
    whole, ids = gpt2(), torch.arange(5, 15)[None]
    model = copy.deepcopy(whole)
    keep_layers(model, [1, 3])
    check_config(model)
    for number in (0, 2):
        for part in (whole.transformer.h[number].attn, whole.transformer.h[number].mlp):
            part.c_proj.weight.data.zero_()
    torch.testing.assert_close(model(ids).logits, whole(ids).logits)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert loaded.config.n_layer == 2
    assert loaded.lm_head.weight is loaded.transformer.wte.weight
    assert torch.equal(loaded(ids).logits, model(ids).logits)


def test_layers_that_their_number_scales_cannot_change_it() -> None:
    kept, model = (gpt2(scale_attn_by_inverse_layer_idx=True) for _ in range(2))
    keep_layers(kept, [0, 1])
    check_config(kept)
    keep_layers(model, [0, 3])
    with pytest.raises(UserError, match="its config cannot name them"):
        check_config(model)


def test_layers_that_the_config_cannot_name_are_refused() -> None:
    sizes = {"n_routed_experts": 4, "moe_intermediate_size": 16, "n_group": 1, "topk_group": 1}
    sizes |= {"q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 8, "num_experts_per_tok": 2}
    config = DeepseekV3Config(**CAUSAL, **sizes, first_k_dense_replace=2)
    model = AutoModelForCausalLM.from_config(config)
    kept = copy.deepcopy(model)
    keep_layers(kept, [0, 1, 3])
    check_config(kept)
    keep_layers(model, [0, 2, 3])
    with pytest.raises(UserError, match="its config cannot name them"):
        check_config(model)
