"""A student by leaving out layers."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel, ModernBertConfig, ModernBertModel

from ragdistill import UserError
from ragdistill.training.pruning import choose_layers, keep_layers, layer_list


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
