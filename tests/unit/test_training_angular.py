"""Layers chosen by how far they turn what goes through them."""

import math

import torch
from torch import Tensor

from lesson_helpers import llama
from ragdistill.training.angular import (
    angular_distances,
    keep_turning,
    layer_states,
    without_block,
)


def turned(*degrees: float) -> Tensor:
    """States ``[layers + 1, 2, 2]``: each layer turns both tokens by so much, and lengthens them."""
    angles = torch.tensor([0.0, *degrees]).cumsum(0) * math.pi / 180
    circle = torch.stack([angles.cos(), angles.sin()], dim=-1)[:, None].repeat(1, 2, 1)
    return circle * torch.arange(1, len(circle) + 1)[:, None, None]


def test_angles_are_shares_of_a_half_turn() -> None:
    states = turned(90, 9, 18, 45, 36)
    one, two = angular_distances(states), angular_distances(states, 2)
    torch.testing.assert_close(one, torch.tensor([0.5, 0.05, 0.1, 0.25, 0.2]), atol=1e-4, rtol=0)
    torch.testing.assert_close(two, torch.tensor([0.55, 0.15, 0.35, 0.45]), atol=1e-4, rtol=0)


def test_what_turns_least_goes() -> None:
    states = turned(90, 9, 18, 45, 10)
    assert keep_turning(states, 3) == [0, 2, 3]
    assert keep_turning(states, 5) == [0, 1, 2, 3, 4]
    assert without_block(states, 3) == [0, 3, 4]
    assert without_block(states, 5) == [0, 1, 2, 3, 4]
    # Turned back by the next layer, a block does nothing that its layers do.
    assert without_block(turned(90, 60, -60, 20, 30), 3) == [0, 3, 4]


def test_states_are_those_between_the_layers() -> None:
    network = llama(layers=3)
    ids = torch.arange(6, 18).view(2, 6)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    places = torch.tensor([2, 5, 6])
    states = layer_states(network, inputs, places)
    said = network(**inputs, output_hidden_states=True)
    wanted = torch.stack(said.hidden_states[:-1]).flatten(1, 2)[:, places]
    torch.testing.assert_close(states[:-1], wanted.float())
    last = network.model.norm(states[-1].double())
    torch.testing.assert_close(
        last, said.hidden_states[-1].flatten(0, 1)[places], atol=1e-5, rtol=0
    )
