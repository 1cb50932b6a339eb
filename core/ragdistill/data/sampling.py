"""Choosing by seeded hash: the same choice on every machine, in whatever order the items come."""

import hashlib
import heapq
from collections.abc import Callable, Sequence
from typing import TypeVar

_Item = TypeVar("_Item")


def rank(seed: int, key: str) -> bytes:
    """16 bytes that order ``key`` among others at random, but always alike for one ``seed``."""
    return hashlib.blake2b(f"{seed}\0{key}".encode(), digest_size=16).digest()


def sample(
    items: Sequence[_Item], n: int | None, seed: int, key: Callable[[_Item], str]
) -> list[_Item]:
    """``n`` of ``items`` in their order, chosen by hash of ``key`` (all of them where n is None).

    The choice does not depend on the order of the items; a sample of n is part of one of n + 1,
    and adding an item drops at most one of those chosen before.

    Raises:
        ValueError: ``n`` is negative.
    """
    if n is None or n >= len(items):
        return list(items)
    if n < 0:
        raise ValueError(f"cannot sample {n} items")
    ranked = ((rank(seed, key(item)), place) for place, item in enumerate(items))
    return [items[place] for place in sorted(place for _, place in heapq.nsmallest(n, ranked))]
