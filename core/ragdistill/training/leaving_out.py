"""Which layers a language model can do without, by what it says without them.

Song et al., "SLEB: Streamlining LLMs through Redundancy Verification and Elimination of Transformer
Blocks", arXiv:2402.09025: one after another the layer is left out without which what is left does best.
There the perplexity of a text tells; here the divergence from what the whole model says of it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from heapq import heapify, heappop, heappush
from typing import Any

import torch
from torch import Tensor, nn

from ragdistill.losses import (
    LogitObjective,
    TeacherStates,
    chunked_distillation,
    logit_distillation,
)
from ragdistill.progress import track
from ragdistill.training.pruning import layer_list
from ragdistill.training.reading import INPUTS, Reader, last_states

_DIVERGENCE = LogitObjective(alpha=1.0, temperature=1.0)


@torch.no_grad()
def keep_saying(
    network: Any, inputs: Mapping[str, Tensor], places: Tensor, count: int
) -> list[int]:
    """The ``count`` layers that are left when those are gone, one after another, without which the
    network says what it says most nearly: by forward KL at ``places`` of ``inputs`` ``[r, l]``, counted row
    by row. Where a head is a matrix, logits are made of some tokens at a time, and made again of the whole
    network: all of them are more than the layers.

    The fewer layers there are, the more each is missed, so what one was missed by before is a bound: only
    those are tried again that might now be the least (lazy greedy search, Minoux 1978).
    """
    reader, layers = Reader(network), layer_list(network)
    told = {name: value for name, value in inputs.items() if name in INPUTS}
    whole = _said(reader, told, places)
    gone: list[int] = []
    entered = _entered(reader, told)

    def missed(number: int) -> float:
        # What comes before it is as it was, and is not computed again.
        idle = [layers[place] for place in {*range(number), *gone}]
        with without(idle), _handing(layers[number], lambda given: entered[number]):
            said = _said(reader, told, places)
        return float(_apart(reader, said, whole))

    with track("layers", len(layers) - count) as advance:
        bounds = [(missed(number), number) for number in range(len(layers))]
        heapify(bounds)
        while len(gone) < len(layers) - count:
            _, number = heappop(bounds)
            found = (missed(number) if gone else -1.0, number)
            if bounds and found > bounds[0]:
                heappush(bounds, found)
                continue
            gone.append(number)
            with without([layers[place] for place in gone]):
                entered = _entered(reader, told)
            advance(1, 0)
    return [number for number in range(len(layers)) if number not in gone]


def _said(reader: Reader, inputs: Mapping[str, Tensor], places: Tensor) -> Tensor:
    """States ``[n, h]`` at ``places``; where a head is more than a matrix logits, ``[n, v]``."""
    return (reader.logits if reader.factor is None else reader.states)(inputs, places)


def _apart(reader: Reader, said: Tensor, whole: Tensor) -> Tensor:
    """How far what is said now is from what the whole network said, the mean over tokens."""
    if reader.factor is None:
        return logit_distillation(said, whole, objective=_DIVERGENCE)
    teacher = TeacherStates(whole, reader.head)
    return chunked_distillation(said, reader.head, teacher, objective=_DIVERGENCE)


def _entered(reader: Reader, inputs: Mapping[str, Tensor]) -> list[Tensor]:
    """What enters each layer, as it is now."""
    found: list[Tensor] = []

    def keep(layer: nn.Module, args: Any, named: Any) -> None:
        found.append(args[0] if args else named["hidden_states"])

    hooks = [
        layer.register_forward_pre_hook(keep, with_kwargs=True)
        for layer in layer_list(reader.network)
    ]
    try:
        last_states(reader.network, inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return found


@contextmanager
def without(layers: Iterable[nn.Module]) -> Iterator[None]:
    """Within, each of ``layers`` hands on what it is given."""
    with ExitStack() as last:
        for layer in layers:
            last.enter_context(_handing(layer, lambda given: given))
        yield


@contextmanager
def _handing(layer: nn.Module, say: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within, ``layer`` says what ``say`` makes of what enters it."""
    kept = vars(layer).get("forward")

    def forward(hidden_states: Tensor, *args: Any, **named: Any) -> Tensor:
        return say(hidden_states)

    layer.forward = forward
    try:
        yield
    finally:
        if kept is None:
            del layer.forward
        else:
            layer.forward = kept
