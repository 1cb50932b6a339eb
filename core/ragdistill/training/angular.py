"""Which layers a model can do without, by how far each turns what goes through it.

Gromov et al., "The Unreasonable Ineffectiveness of the Deeper Layers", arXiv:2403.17887: the angle
between what enters a block of layers and what leaves it, over pi. They leave out the block, of as many
layers as shall go, that turns its input least; here also single layers, wherever they are. They measure
at the last token of a text; here where it is said, the tokens that foretell the answer's.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ragdistill.training.pruning import layer_list
from ragdistill.training.reading import last_states


@torch.no_grad()
def layer_states(network: Any, inputs: Mapping[str, Tensor], places: Tensor) -> Tensor:
    """What enters each layer, and what leaves the last, at ``places`` of ``inputs`` ``[r, l]``, counted row
    by row: float32 ``[layers + 1, n, h]``. (Before the last norm, unlike transformers' hidden states.)"""
    found: list[Tensor] = []

    def keep(layer: nn.Module, args: Any, named: Any, said: Any) -> None:
        entered = args[0] if args else named["hidden_states"]
        left = said[0] if isinstance(said, tuple) else said
        for states in (entered, left)[bool(found) :]:
            found.append(states.reshape(-1, states.shape[-1])[places.to(states.device)].float())

    hooks = [layer.register_forward_hook(keep, with_kwargs=True) for layer in layer_list(network)]
    try:
        last_states(network, inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(found)


def angular_distances(states: Tensor, span: int = 1) -> Tensor:
    """By how much each block of ``span`` layers turns its input, from 0 to 1 (the opposite), the mean over
    tokens: ``[layers + 1, n, h]`` -> ``[layers + 1 - span]``."""
    cosines = torch.cosine_similarity(states[:-span], states[span:], dim=-1)
    return torch.acos(cosines.clamp(-1, 1)).mean(dim=1) / torch.pi


def keep_turning(states: Tensor, count: int) -> list[int]:
    """The ``count`` layers that turn their inputs most, in their order; states as in
    :func:`layer_states`."""
    distances = angular_distances(states)
    return sorted(distances.argsort(descending=True, stable=True)[:count].tolist())


def without_block(states: Tensor, count: int) -> list[int]:
    """``count`` layers, without the block that turns its input least of those as long as what goes."""
    total = len(states) - 1
    if count == total:
        return list(range(total))
    start = int(angular_distances(states, total - count).argmin())
    return [number for number in range(total) if not start <= number < start + total - count]
