"""Batches filled to a budget of padded tokens: little padding, even memory, any model."""

from collections.abc import Sequence
from heapq import heapify, heapreplace

_SHARES = (1.0, 0.875, 0.75, 0.625, 0.5)
_OVERHEAD = 24  # padded tokens that take as long as handing out a batch does, about
_MANY = 8  # batches for each worker, with which the wait for the last is short anyway


def token_budget_batches(
    lengths: Sequence[int], budget: int, max_items: int | None = None
) -> list[list[int]]:
    """Cut items into batches whose padded size, items x longest, is at most ``budget`` tokens.

    Items are taken longest first (equal lengths in their given order), so that a batch holds items
    of nearly one length, and a budget that does not fit into memory fails at once, not at the end.
    An item that is longer than the budget gets a batch of its own.

    Args:
        lengths: [n] tokens of each item, each at least 1.
        budget: padded tokens a batch may hold, at least 1.
        max_items: items a batch may hold, however short; None for no such bound.

    Returns:
        Batches of indices into ``lengths``: every index exactly once.

    Raises:
        ValueError: ``budget``, ``max_items`` or a length is below 1.
    """
    if budget < 1 or (max_items is not None and max_items < 1):
        raise ValueError("budget and max_items must be at least 1")
    if any(length < 1 for length in lengths):
        raise ValueError("every length must be at least 1")
    order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    batches: list[list[int]] = []
    start = 0
    while start < len(order):
        size = max(1, budget // lengths[order[start]])
        if max_items is not None:
            size = min(size, max_items)
        batches.append(order[start : start + size])
        start += size
    return batches


def shared_batches(lengths: Sequence[int], budget: int, workers: int) -> list[list[int]]:
    """Batches as :func:`token_budget_batches` cuts them, for ``workers`` that take one after another.

    Where there are few batches the budget may be lowered, to no less than a half: of five equal ones two
    workers do three and two, and of six that are smaller three each.

    Raises:
        ValueError: as there.
    """
    whole = token_budget_batches(lengths, budget)
    if workers < 2 or len(lengths) < 2 or len(whole) > _MANY * workers:
        return whole
    budgets = [int(share * budget) for share in _SHARES]
    if len(whole) == 1:
        budgets = [budget, -(-sum(lengths) // workers)]
    cuts = (token_budget_batches(lengths, max(1, each)) for each in budgets)
    return min(cuts, key=lambda batches: _finished(batches, lengths, workers))


def _finished(batches: Sequence[Sequence[int]], lengths: Sequence[int], workers: int) -> int:
    """When the last worker is done, in padded tokens; what is one batch is handed to nobody."""
    if len(batches) == 1:
        return len(lengths) * max(lengths)
    busy = [0] * workers
    heapify(busy)
    for batch in batches:
        heapreplace(busy, busy[0] + len(batch) * lengths[batch[0]] + _OVERHEAD)
    return max(busy)
