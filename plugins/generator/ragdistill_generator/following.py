"""Layers that follow the teacher's, which is asked while the student learns.

What they would follow is not stored: a token's states take hundreds of times the bytes of its
distribution (docs/generator.md has figures), and the relations are of every token to every other.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ragdistill.losses.features import Distance, relation_divergences, state_distances
from ragdistill.training.layer_maps import LayerMap, mapped
from ragdistill.training.pruning import layer_list
from ragdistill.training.reading import seen_by
from ragdistill.training.watching import last_projections
from ragdistill_generator.terms import Heard, Term


class FeatureTerm(Term):
    """The distance of layers' states from the teacher's, the mean over the layers that follow.

    Args:
        weight: what it is multiplied by.
        student, teacher: networks of the same tokens; only their sizes are looked at.
        layer_map: see :mod:`ragdistill.training.layer_maps`. A learned one weighs the distances of each
            layer from all the teacher's by a softmax, from the same weight of all on.
        kind: of distance.

    Raises:
        UserError: no layer is left that could follow one.
    """

    def __init__(
        self,
        weight: float,
        student: Any,
        teacher: Any,
        layer_map: LayerMap = "uniform",
        kind: Distance = "mse",
    ) -> None:
        super().__init__("feature", weight)
        totals = [len(layer_list(network)) for network in (student, teacher)]
        self._map, self._kind = mapped(layer_map, *totals), kind
        self._followed = sorted({each for those in self._map.values() for each in those})
        ours, theirs = (_width(network) for network in (student, teacher))
        same = ours == theirs
        self.projections = nn.ModuleList(
            nn.Identity() if same else nn.Linear(ours, theirs, bias=False) for _ in self._map
        )
        self.shares: nn.Parameter | None = None
        if layer_map == "learned":
            self.shares = nn.Parameter(torch.zeros(totals[0], totals[1]))

    def of_student(self, network: Any) -> Sequence[nn.Module]:
        """Its layers that follow."""
        return [layer_list(network)[number] for number in self._map]

    def of_teacher(self, network: Any) -> Sequence[nn.Module]:
        """Those that are followed."""
        return [layer_list(network)[number] for number in self._followed]

    def forward(self, heard: Heard, ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Tensor:
        """See :class:`Term`."""
        weights = heard.weights
        told = dict(zip(self._followed, (_at(each, heard.places) for each in theirs), strict=True))
        total = weights.new_zeros(())
        for row, (number, layer) in enumerate(zip(self._map, ours, strict=True)):
            states = self.projections[row](_at(layer, heard.places))
            apart = [
                (weights * state_distances(states, told[each], self._kind)).sum()
                for each in self._map[number]
            ]
            total = total + self._mean(torch.stack(apart), row)
        return total / len(self._map)

    def _mean(self, apart: Tensor, row: int) -> Tensor:
        """Of distances ``[L]`` of one layer."""
        if self.shares is None:
            return apart.mean()
        return (self.shares[row].softmax(dim=0) * apart).sum()


class AttentionTerm(Term):
    """How far the tokens of the last layer are related otherwise than in the teacher's last, the mean
    over queries, keys and values, each before positions are told to them.

    Args:
        weight: what it is multiplied by.
        student, teacher: networks of the same tokens; only their sizes are looked at.

    Raises:
        UserError: one does not make its queries, keys and values apart.
    """

    def __init__(self, weight: float, student: Any, teacher: Any) -> None:
        super().__init__("attention", weight)
        for network in (student, teacher):
            last_projections(network)
        heads = [_heads(network.config) for network in (student, teacher)]
        self._groups = [math.gcd(*pair) for pair in zip(*heads, strict=True)]

    def of_student(self, network: Any) -> Sequence[nn.Module]:
        """What makes its last queries, keys and values."""
        return last_projections(network)

    def of_teacher(self, network: Any) -> Sequence[nn.Module]:
        """The same."""
        return last_projections(network)

    def forward(self, heard: Heard, ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Tensor:
        """See :class:`Term`."""
        total = heard.weights.new_zeros(())
        for row, places, seen, weights in _by_row(heard):
            for mine, its, groups in zip(ours, theirs, self._groups, strict=True):
                apart = relation_divergences(mine[row], its[row], places, seen, groups)
                total = total + (weights * apart).sum()
        return total / len(self._groups)


def _by_row(heard: Heard) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
    """Of each row that has any its number, the places in it ``[n]``, what each sees ``[n, l]``, and their
    weights ``[n]``."""
    wide = heard.inputs["input_ids"].shape[1]
    rows, within, seen = heard.places // wide, heard.places % wide, seen_by(heard.inputs)
    for row in sorted({*rows.tolist()}):
        chosen = rows == row
        yield row, within[chosen], seen[row, within[chosen]], heard.weights[chosen]


def _at(states: Tensor, places: Tensor) -> Tensor:
    return states.reshape(-1, states.shape[-1])[places]


def _width(network: Any) -> int:
    return int(network.config.get_text_config().hidden_size)


def _heads(config: Any) -> tuple[int, int, int]:
    """How many make queries, keys and values."""
    told = config.get_text_config()
    pairs = getattr(told, "num_key_value_heads", None) or told.num_attention_heads
    return int(told.num_attention_heads), int(pairs), int(pairs)
