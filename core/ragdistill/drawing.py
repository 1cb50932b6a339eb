"""Tokens drawn so that what is drawn for a row depends on that row alone, whatever is read beside it.

By inversion: of the cumulative probabilities of a row, the first above a number between 0 and 1 is the token's
(Devroye, Non-Uniform Random Variate Generation, 1986, chapter III.2). That is one number a token, of a stream
for each row, so batches may be cut in any way.
"""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessor

WAY = "inversion"
"""How it is drawn, for fingerprints: another way draws other tokens with the same seed."""


class Drawn(LogitsProcessor):
    """Leaves of each row's scores the one that is drawn, which is then the largest.

    Args:
        temperature: what scores are divided by, above 0.
        seeds: whatever names the draws of each row; equal ones draw alike.
    """

    def __init__(self, temperature: float, seeds: Sequence[str]) -> None:
        if not temperature > 0:
            raise ValueError(f"nothing can be drawn at a temperature of {temperature}")
        self._temperature = temperature
        # On the CPU, so that every device draws the same.
        self._streams = [torch.Generator().manual_seed(_number(seed)) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """``scores`` ``[b, v]``, a row for each seed: 0 where the token is drawn, else -inf."""
        exact = "cpu" if scores.device.type == "mps" else scores.device  # which has no float64
        points = torch.cat([torch.rand(1, dtype=torch.float64, generator=s) for s in self._streams])
        chances = (scores.to(exact).double() / self._temperature).softmax(dim=-1)
        below = chances.cumsum(dim=-1)
        # Of the sum of all, which rounding leaves beside 1: behind it there is no token.
        sought = points[:, None].to(exact) * below[:, -1:]
        tokens = torch.searchsorted(below, sought, right=True).to(scores.device)
        return torch.full_like(scores, -torch.inf).scatter_(1, tokens, 0.0)


def _number(seed: str) -> int:
    return int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big")
