"""Which of several ways are worth their cost."""

from collections.abc import Sequence


def front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """For each (cost, quality) whether no other point is at least as good in both and better in
    one; equal points stand or fall together."""
    kept = [False] * len(points)
    best, at = float("-inf"), float("nan")  # the best quality so far, and the cost it came at
    for place in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        cost, quality = points[place]
        if quality > best:
            best, at = quality, cost
        kept[place] = (cost, quality) == (at, best)
    return kept
