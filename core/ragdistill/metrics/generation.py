"""How fast systems write: the wait for the first token, the rate of those after it, the peak memory.

The systems take turns as in :mod:`ragdistill.metrics.latency`, on the same prompts, so that ratios stay
true on a machine that others use.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from ragdistill.metrics.latency import percentiles, profile_requests
from ragdistill.metrics.memory import peak_memory

Generate = Callable[[Sequence[int], int], Iterable[int]]
"""Token ids of a prompt and how many new ones to write; gives each new id as soon as it is there.

To compare decoding it writes all of them, whatever ends a reply (``min_new_tokens``, no end token)."""


@dataclass(frozen=True, slots=True)
class _Reply:
    """When the tokens of one answer came, in seconds after it was asked for ``[tokens]``."""

    came: tuple[float, ...]

    @property
    def gaps(self) -> list[float]:
        """Seconds that each token but the first took ``[tokens - 1]``."""
        return [float(gap) for gap in np.diff(self.came)]


class _Watched:
    """A system with a stop watch."""

    def __init__(
        self, generate: Generate, prompts: Sequence[Sequence[int]], new_tokens: int
    ) -> None:
        self.generate, self.prompts, self.new_tokens = generate, prompts, new_tokens
        self.replies: list[_Reply] = []

    def __call__(self, number: int) -> None:
        """Answer the prompt of that number."""
        start = perf_counter()
        stream = self.generate(self.prompts[number], self.new_tokens)
        came = tuple(perf_counter() - start for _ in stream)
        if not came:
            raise ValueError(f"no token was written after prompt {number}")
        self.replies.append(_Reply(came))


def profile_generation(
    systems: Mapping[str, Generate],
    prompts: Sequence[Sequence[int]],
    *,
    new_tokens: int = 64,
    seconds: float = 20.0,
) -> dict[str, dict[str, Any]]:
    """``speed`` of report.json for systems that write, measured in turns.

    Args:
        systems: name to what writes.
        prompts: token ids of each, at least one; used in turn, the same by every system.
        new_tokens: written after each, at least 2.
        seconds: about how long each system is measured, at least three answers and at most 200.

    Returns:
        For each system ``p50_ms``, ``p95_ms``, ``p99_ms`` and ``latencies_ms`` of whole answers;
        ``per_second``, the tokens a second in decoding (those after the first; the median over
        answers, None where none had two); ``first_token`` and ``token``, the percentiles of the wait for
        the first token and of each later one; ``memory``, by
        :func:`ragdistill.metrics.memory.peak_memory` of an answer to the longest prompt; and what was
        measured: ``calls``, ``unit``, ``prompt_tokens`` and ``new_tokens`` (means).

    Raises:
        ValueError: no prompt, fewer than 2 new tokens, or a system that writes nothing.
    """
    if not prompts or new_tokens < 2:
        raise ValueError(f"cannot profile {len(prompts)} prompts with {new_tokens} new tokens")
    watched = {name: _Watched(each, prompts, new_tokens) for name, each in systems.items()}
    timed = profile_requests(watched, len(prompts), items=1, seconds=seconds)
    longest = max(range(len(prompts)), key=lambda number: len(prompts[number]))
    found = {}
    for name, each in watched.items():
        # The first calls warmed up, and are not among those that were counted.
        replies = each.replies[-timed[name]["calls"] :]
        memory = peak_memory(lambda each=each: each(longest))  # type: ignore[misc]
        found[name] = _summary(timed[name], replies) | {
            "prompt_tokens": float(np.mean([len(prompt) for prompt in prompts])),
            "memory": memory,
        }
    return found


def _summary(whole: Mapping[str, Any], replies: Sequence[_Reply]) -> dict[str, Any]:
    gaps = [gap for reply in replies for gap in reply.gaps]
    rates = [len(reply.gaps) / max(sum(reply.gaps), 1e-9) for reply in replies if reply.gaps]
    kept = {key: whole[key] for key in ("p50_ms", "p95_ms", "p99_ms", "calls", "latencies_ms")}
    return kept | {
        "per_second": float(np.median(rates)) if rates else None,
        "unit": "tokens",
        "first_token": percentiles([reply.came[0] for reply in replies]),
        "token": percentiles(gaps) if gaps else None,
        "new_tokens": float(np.mean([len(reply.came) for reply in replies])),
    }
