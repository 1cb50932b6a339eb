"""A causal language model read at some of its tokens: what its logits are made of, and whether it minds a
mask that says which token sees which. Both are found out by trying: no list of architectures is."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ragdistill.losses import Head
from ragdistill.packing import Group, Row

INPUTS = frozenset({"input_ids", "attention_mask", "position_ids"})
"""What a model reads of a batch."""
UNSEEN = torch.finfo(torch.bfloat16).min
"""What is added to attention's logits where a token does not see another: finite in every precision."""
_WIDE = 1e4
"""Logits of this size show whether a model bends them."""
_APART = {torch.float32: 1e-3, torch.float64: 1e-6}
_COARSE = 0.05  # of half precision


class Reader:
    """A causal language model, and how its logits come of its last states.

    Most have ``states @ weight.T``, some multiply that by a number of their own (Granite, Cohere), and
    some bend it (Gemma 2's ``tanh``): of those the logits themselves are needed.
    """

    def __init__(self, network: Any) -> None:
        self.network = network
        self.factor = _factor(network)
        """What states are multiplied by before the head reads them; None where logits are more."""

    @property
    def head(self) -> Head:
        """The last layer; only where there is a factor."""
        layer = self.network.get_output_embeddings()
        return Head(layer.weight, getattr(layer, "bias", None))

    def states(self, inputs: Mapping[str, Any], places: Tensor) -> Tensor:
        """What the head reads at ``places`` of ``inputs`` ``[r, l]``, counted row by row, ``[n, h]``."""
        states = last_states(self.network, inputs)
        chosen = states.reshape(-1, states.shape[-1])[places]
        return chosen if self.factor in (None, 1.0) else chosen * self.factor

    def logits(self, inputs: Mapping[str, Any], places: Tensor) -> Tensor:
        """Logits at ``places``, ``[n, v]``."""
        logits: Tensor = self.network(**_own(self.network, inputs), use_cache=False).logits
        return logits.reshape(-1, logits.shape[-1])[places]


def last_states(network: Any, inputs: Mapping[str, Tensor]) -> Tensor:
    """Last states ``[r, l, h]``."""
    states: Tensor = network.base_model(**_own(network, inputs), use_cache=False).last_hidden_state
    return states


def _own(network: Any, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``inputs`` where the model is, a mask that is added in its precision."""
    moved = {name: value.to(network.device) for name, value in inputs.items()}
    if moved["attention_mask"].is_floating_point():
        moved["attention_mask"] = moved["attention_mask"].to(network.dtype)
    return moved


def packed(rows: Sequence[Row], pad: int) -> dict[str, Tensor]:
    """Inputs ``[r, l]`` of ``rows`` with a mask ``[r, 1, l, l]`` that is added; what pads a row sees
    itself alone."""
    wide = max(len(row.tokens) for row in rows)
    seen = torch.eye(wide, dtype=torch.bool).repeat(len(rows), 1, 1)
    for place, row in enumerate(rows):
        seen[place, : len(row.tokens), : len(row.tokens)] = row.seen()
    mask = torch.zeros(seen.shape).masked_fill_(~seen, UNSEEN)
    return {
        "input_ids": _filled([row.tokens for row in rows], wide, pad),
        "position_ids": _filled([row.positions for row in rows], wide, 0),
        "attention_mask": mask[:, None],
    }


def padded(rows: Sequence[Row], pad: int) -> dict[str, Tensor]:
    """Inputs of ``rows`` that hold one text each, as any model reads them."""
    wide = max(len(row.tokens) for row in rows)
    return {
        "input_ids": _filled([row.tokens for row in rows], wide, pad),
        "attention_mask": _filled([[1] * len(row.tokens) for row in rows], wide, 0),
    }


def seen_by(inputs: Mapping[str, Tensor]) -> Tensor:
    """``[r, l, l]`` of a batch that :func:`packed` or :func:`padded` made: true where a token (row) sees
    another (column), and for itself."""
    mask = inputs["attention_mask"]
    wide = mask.shape[-1]
    own = torch.eye(wide, dtype=torch.bool, device=mask.device)
    if mask.ndim == 4:
        return (mask[:, 0] > UNSEEN / 2) | own
    causal = torch.ones(wide, wide, dtype=torch.bool, device=mask.device).tril()
    return (causal & mask.bool()[:, None]) | own


def _filled(rows: Sequence[Sequence[int]], wide: int, pad: int) -> Tensor:
    return torch.tensor([[*row, *[pad] * (wide - len(row))] for row in rows])


@torch.no_grad()
def shares(network: Any, longest: int) -> bool:
    """Whether a row may hold several texts that share a beginning: whether all layers go by the mask
    they are given, which a network that hands a state from token to token does not. A layer that sees
    only so far back does not either, where a text of ``longest`` tokens is longer than that."""
    if longest > _reach(network.config):
        return False
    words = network.get_input_embeddings().weight.shape[0]
    begun, asked = [number % words for number in range(1, 9)], [[9 % words] * 3, [7 % words] * 2]
    together = Row()
    together.add(Group(begun, list(enumerate(asked))))
    alone = [Row() for _ in asked]
    for row, tokens in zip(alone, asked, strict=True):
        row.add(Group(begun, [(0, tokens)]))
    places = torch.tensor([place for span in together.spans for place in span.before])
    try:
        shared = last_states(network, packed([together], 0))[0, places]
        single = [last_states(network, padded([row], 0))[0, row.spans[0].before] for row in alone]
    except (TypeError, ValueError, RuntimeError):  # it takes no such mask at all
        return False
    return _alike(shared, torch.cat(single))


def _reach(config: Any) -> float:
    """How far back every layer sees."""
    told = [
        getattr(config, name, None)
        for name, kind in (
            ("sliding_window", "sliding_attention"),
            ("attention_chunk_size", "chunked_attention"),
        )
        if kind in (getattr(config, "layer_types", None) or [kind])
    ]
    if not getattr(config, "use_sliding_window", True):
        return float("inf")
    return min((each for each in told if each), default=float("inf"))


@torch.no_grad()
def _factor(network: Any) -> float | None:
    """By what the states are multiplied on the whole, found by having the head say what is known:
    what comes of it shows what follows the head, what it was given what precedes it."""
    base, head = network.base_model, network.get_output_embeddings()
    if head is None or base is network:
        return None
    words = len(head.weight)
    told = torch.linspace(-_WIDE, _WIDE, words, device=head.weight.device)
    read: list[Tensor] = []

    def say(layer: Any, given: tuple[Tensor, ...], said: Tensor) -> Tensor:
        read.append(given[0])
        return told.to(said.dtype).expand_as(said)

    ids = torch.arange(min(8, words), device=head.weight.device)[None]
    hook = head.register_forward_hook(say)
    try:
        logits = network(input_ids=ids, use_cache=False).logits
    finally:
        hook.remove()
    states = base(input_ids=ids, use_cache=False).last_hidden_state
    if len(read) != 1 or read[0].shape != states.shape or logits.shape[-1] != words:
        return None
    before, after = _ratio(read[0], states), _ratio(logits, told.expand_as(logits))
    if before is None or after is None or (after != 1 and getattr(head, "bias", None) is not None):
        return None
    return before * after


def _ratio(one: Tensor, other: Tensor) -> float | None:
    """The number that ``other`` is multiplied by to be ``one``; None if there is none."""
    wide, known = one.double(), other.double()
    found = float((wide * known).sum() / (known * known).sum())
    if not _alike(one, (found * known).to(one.dtype)):
        return None
    return 1.0 if abs(found - 1) < 1e-3 else found


def _alike(one: Tensor, other: Tensor) -> bool:
    limit = _APART.get(one.dtype, _COARSE)
    return float((one - other).abs().max()) <= limit * max(float(other.abs().max()), 1e-12)
