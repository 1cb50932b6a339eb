"""Tokens drawn so that what is drawn for a row depends on that row alone, whatever is read beside it.

The Gumbel-max trick (Gumbel, Statistical Theory of Extreme Values, 1954; Maddison et al., A* Sampling,
arXiv:1411.0030): the largest of log-probabilities to each of which noise of its own was added is a draw from
their distribution. With a stream of noise for each row, batches may be cut in any way.
"""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessor


class Drawn(LogitsProcessor):
    """Adds a row's own noise to its scores, of which the largest is then taken.

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
        """``scores`` ``[b, v]``, a row for each seed."""
        waits = torch.stack(
            [
                torch.empty(scores.shape[1]).exponential_(generator=stream)
                for stream in self._streams
            ]
        )
        noise = -waits.clamp(min=torch.finfo(waits.dtype).tiny).log()
        return scores.float() / self._temperature + noise.to(scores.device)


def _number(seed: str) -> int:
    return int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big")
