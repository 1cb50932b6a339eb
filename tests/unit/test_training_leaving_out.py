"""Which layers a network can do without, by what it says without them."""

from itertools import combinations

import pytest
import torch

from lesson_helpers import gemma, llama
from ragdistill.training.leaving_out import keep_saying, without
from ragdistill.training.pruning import keep_layers, layer_list
from ragdistill.training.reading import Reader


def inputs() -> dict[str, torch.Tensor]:
    ids = torch.arange(3, 15)[None]
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def said(network: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = network(**inputs(), use_cache=False).logits
    return found


def test_a_layer_that_is_stepped_over_is_one_that_is_left_out() -> None:
    network, pruned = llama(layers=4), llama(layers=4)
    whole = said(network)
    keep_layers(pruned, [0, 2, 3])
    with without([layer_list(network)[1]]):
        torch.testing.assert_close(said(network), said(pruned))
    torch.testing.assert_close(said(network), whole)


def test_layers_that_do_nothing_are_left_out_first() -> None:
    network = llama(layers=5)
    with torch.no_grad():
        for number in (1, 3):
            layer = layer_list(network)[number]
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
    assert keep_saying(network, inputs(), torch.arange(12), 3) == [0, 2, 4]


def test_one_layer_less_is_the_best_there_is() -> None:
    network = llama(layers=4)
    whole = said(network).log_softmax(dim=-1)

    def lost(keep: tuple[int, ...]) -> float:
        left = [layer_list(network)[number] for number in range(4) if number not in keep]
        with without(left):
            ours = said(network).log_softmax(dim=-1)
        return float((whole.exp() * (whole - ours)).sum())

    best = min(combinations(range(4), 3), key=lost)
    assert keep_saying(network, inputs(), torch.arange(12), 3) == list(best)


def test_one_after_another_the_least_missed_goes() -> None:
    network = llama(layers=6)
    layers, whole, gone = layer_list(network), said(network).log_softmax(dim=-1), list[int]()
    for _ in range(3):

        def lost(number: int, before: tuple[int, ...]) -> float:
            with without([layers[place] for place in (*before, number)]):
                ours = said(network).log_softmax(dim=-1)
            return float((whole.exp() * (whole - ours)).sum())

        left = [number for number in range(6) if number not in gone]
        gone.append(min(left, key=lambda number: lost(number, tuple(gone))))
    kept = [number for number in range(6) if number not in gone]
    assert keep_saying(network, inputs(), torch.arange(12), 3) == kept


def test_logits_of_all_tokens_are_never_there(monkeypatch: pytest.MonkeyPatch) -> None:
    network = llama(layers=4)
    expected = keep_saying(network, inputs(), torch.arange(12), 2)
    monkeypatch.delattr(Reader, "logits")
    assert keep_saying(network, inputs(), torch.arange(12), 2) == expected


def test_what_bends_its_logits_is_judged_by_them() -> None:
    network = gemma()
    whole = said(network).log_softmax(dim=-1)
    lost = []
    for layer in layer_list(network):
        with without([layer]):
            ours = said(network).log_softmax(dim=-1)
        lost.append(float((whole.exp() * (whole - ours)).sum()))
    gone = lost.index(min(lost))
    assert keep_saying(network, inputs(), torch.arange(12), 1) == [1 - gone]
