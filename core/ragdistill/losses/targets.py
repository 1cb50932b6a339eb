"""What a teacher said of the tokens of an answer, and which tokens those are."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ragdistill.signals.distributions import TokenDistributions

IGNORED = -100
"""The label of a token that is only read, as transformers has it."""
_NEVER = -1e30  # the logarithm of nothing, finite so that 0 times it is 0
_LEAST_TAIL = -24 * math.log(2)


@dataclass(frozen=True)
class SparseTargets:
    """What a teacher said of n tokens, at the temperature of the loss: its probabilities are not
    tempered again.

    Either its most likely ids with the mass of all others in one bucket, or ids sampled in
    proportion to their probability with weights that sum to 1 (Random Sampling KD,
    arXiv:2503.16870); of the latter only forward KL is an unbiased estimate.

    Attributes:
        ids: ids of tokens, int64 ``[n, k]``, each once a row.
        probs: their probabilities, float32 ``[n, k]``; 0 where a row is padded, by whatever id.
        tail: probability of all other ids together, float32 ``[n]``; 0 for sampled targets.

    Raises:
        ValueError: the shapes do not agree, or ids are no int64.
    """

    ids: Tensor
    probs: Tensor
    tail: Tensor

    def __post_init__(self) -> None:
        shapes = [tuple(each.shape) for each in (self.ids, self.probs, self.tail)]
        if self.ids.ndim != 2 or shapes[1] != shapes[0] or shapes[2] != shapes[0][:1]:
            raise ValueError(
                f"ids, probs and tail {shapes[0]}, {shapes[1]}, {shapes[2]}: "
                "they must be [n, k], [n, k], [n]"
            )
        if self.ids.dtype != torch.int64:
            raise ValueError(f"ids of {self.ids.dtype}: they must be int64")

    @classmethod
    def of(cls, answers: Sequence[TokenDistributions]) -> "SparseTargets":
        """What the signal store has of some answers, the tokens of one behind those of the other.

        The store's settings tell at what temperature it was taken (``LogitCodec.kept``): the loss has to
        have the same one.
        """
        counts = np.concatenate([np.empty(0, np.int64), *(said.counts for said in answers)])
        real = np.arange(counts.max(initial=1)) < counts[:, None]
        ids, probs = np.zeros(real.shape, np.int64), np.zeros(real.shape, np.float32)
        ids[real] = np.concatenate([np.empty(0), *(said.ids for said in answers)])
        probs[real] = np.concatenate([np.empty(0), *(said.probs for said in answers)])
        tail = np.concatenate([np.empty(0, np.float32), *(said.tail for said in answers)])
        return cls(*(torch.from_numpy(part) for part in (ids, probs, tail)))

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: slice) -> "SparseTargets":
        """What was said of some of the tokens."""
        return SparseTargets(self.ids[rows], self.probs[rows], self.tail[rows])

    def to(self, device: torch.device | str) -> "SparseTargets":
        """The same on ``device``."""
        return SparseTargets(self.ids.to(device), self.probs.to(device), self.tail.to(device))

    @property
    def real(self) -> Tensor:
        """Which entries are no padding, ``[n, k]``."""
        return self.probs > 0

    def buckets(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Probabilities and their logarithms ``[n, k + 1]``, the tail last.

        The logarithm of a tail of nothing is that of half a unit of float32 at 1, the least that
        ``1 - probs.sum()`` can tell from it: else reverse KL would be infinite for a teacher whose
        other ids were merely rounded away.
        """
        probs = torch.cat([self.probs, self.tail.unsqueeze(1)], dim=1).to(dtype)
        logs = probs.log()
        logs[:, :-1].masked_fill_(~self.real, _NEVER)
        logs[:, -1].clamp_(min=_LEAST_TAIL)
        return probs, logs

    def among(self, logs: Tensor, rest: Tensor) -> Tensor:
        """Another's logarithms of the same buckets, ``[n, k]`` of the ids and ``[n]`` of the rest,
        as ``[n, k + 1]``."""
        tail = rest.clamp(min=math.log(torch.finfo(rest.dtype).tiny))
        return torch.cat([logs.masked_fill(~self.real, _NEVER), tail.unsqueeze(1)], dim=1)


def certain(labels: Tensor) -> SparseTargets:
    """Targets that are sure of ``labels``, int64 ``[n]``: forward KL to them is cross-entropy."""
    probs = torch.ones(len(labels), 1, device=labels.device)
    return SparseTargets(labels.unsqueeze(1), probs, torch.zeros_like(probs[:, 0]))


def answer_tokens(states: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The states that foretell an answer's tokens, with those tokens: state i foretells label i + 1.

    Args:
        states: hidden states, or logits, ``[b, l, h]``.
        labels: ids of the answer's tokens, :data:`IGNORED` for all others, ``[b, l]``; the same
            places as the input ids, not shifted. The first token of a row is never foretold.

    Returns:
        States ``[n, h]`` and labels ``[n]``, row by row.

    Raises:
        ValueError: states and labels are not of the same tokens.
    """
    if states.ndim != 3 or states.shape[:2] != labels.shape:
        raise ValueError(
            f"states {tuple(states.shape)} against labels {tuple(labels.shape)}: "
            "they must be [b, l, h] and [b, l]"
        )
    told = labels[:, 1:]
    chosen = told != IGNORED
    return states[:, :-1][chosen], told[chosen]
