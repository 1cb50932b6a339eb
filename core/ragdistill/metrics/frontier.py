"""Which of several students is served: the cheapest that passes the gate."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """A student in one of the formats that it is served in."""

    speed: float
    """Documents a second, or as a multiple of the teacher's: the same for all that are compared."""
    size_mb: float
    quality: float
    """Share of the teacher's that it keeps."""
    passes: bool
    """Whether it is above the gate beyond doubt."""


def choose(candidates: Sequence[Candidate]) -> int:
    """The place of the cheapest that passes: the fastest, of equal ones the smallest. Where none
    passes, of the one that keeps most, of equal ones the fastest.

    Raises:
        ValueError: there is no candidate.
    """
    places = range(len(candidates))
    if passing := [place for place in places if candidates[place].passes]:
        return min(passing, key=lambda at: (-candidates[at].speed, candidates[at].size_mb))
    return min(places, key=lambda at: (-candidates[at].quality, -candidates[at].speed))
