"""Batches filled to a budget of padded tokens: little padding, even memory, any model."""

from collections.abc import Sequence


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
