"""The lists that a reranker learns from: of each query some documents, of every difficulty, and what
in them is not to be believed."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ragdistill.first_stage import NONE, Candidates, Places, Scores
from ragdistill_reranker.scoring import Pair

HARD, MEDIUM = 0.5, 0.25
"""Shares of a list's other documents that come from the first and from the second half of the
candidates; the rest are documents that no first stage proposed."""
MARGIN = 0.05
"""How close to its positive a negative may score, as a share of what the teacher's scores of a list
typically spread: from there on it is taken for relevant."""
FLAT = 0.1
"""Spread of a list's scores, as a share of the median list's, below which the teacher has no opinion."""


@dataclass(frozen=True)
class Lists:
    """Queries, and documents of each."""

    queries: Sequence[str]
    texts: Sequence[Sequence[str]]
    """``n`` documents each; an empty one where there are fewer."""
    there: NDArray[np.bool_]
    """``[q, n]``, false where there are fewer."""

    @cached_property
    def pairs(self) -> list[Pair]:
        """All that a teacher has to score, query by query."""
        return [
            (query, text)
            for query, row, marks in zip(self.queries, self.texts, self.there, strict=True)
            for text, mark in zip(row, marks, strict=True)
            if mark
        ]

    @cached_property
    def documents(self) -> list[str]:
        """The texts of :attr:`pairs`, each once."""
        return list(dict.fromkeys(text for _, text in self.pairs))

    def spread(self, scores: Scores) -> Scores:
        """``scores`` of :attr:`pairs` as ``[q, n]``; 0 where there is no document."""
        found: Scores = np.zeros(self.there.shape, dtype=np.float32)
        found[self.there] = scores
        return found


def make_lists(
    candidates: Candidates,
    queries: Sequence[str],
    positives: Sequence[Sequence[int]],
    *,
    documents: int,
    ways: int,
    seed: int,
) -> Places:
    """Documents of each query, ``[q, ways]`` places, the positive first; :data:`NONE` where the corpus
    has no more.

    Args:
        candidates: of the ``queries``.
        positives: places of documents that are known to be relevant to each; one is drawn. Where none
            is known the first candidate stands in for it, for the teacher is to judge anyway.
        documents: how many there are.
        ways: documents in a list, at least 2.
        seed: of what is drawn; a query's list does not depend on the other queries.
    """
    lists: Places = np.full((len(candidates.places), ways), NONE, dtype=np.int64)
    for number, (query, row) in enumerate(zip(queries, candidates.places, strict=True)):
        draw = random.Random(f"{seed} {query}")
        found = [int(place) for place in row if place != NONE]
        known = sorted(set(positives[number]))
        first = draw.choice(known) if known else (found or [draw.randrange(documents)])[0]
        others = [place for place in found if place != first and place not in known]
        taken = [first, *_others(others, {first, *known}, documents, ways - 1, draw)]
        lists[number, : len(taken)] = taken
    return lists


def _others(
    near: list[int], known: set[int], documents: int, wanted: int, draw: random.Random
) -> list[int]:
    """Hard ones, then medium ones, then any."""
    half = -(-len(near) // 2)
    most = max(1, round(HARD * wanted))
    hard = sorted(draw.sample(near[:half], min(half, most)), key=near.index)
    rest = near[half:]
    medium = sorted(draw.sample(rest, min(len(rest), round(MEDIUM * wanted))), key=near.index)
    taken = [*hard, *medium]
    avoid = known | set(near)
    # Few documents are near: drawing again is cheaper than listing all that are far.
    for _ in range(20 * wanted):
        if len(taken) == wanted or len(avoid) >= documents:
            break
        place = draw.randrange(documents)
        if place not in avoid:
            avoid.add(place)
            taken.append(place)
    left = [place for place in near if place not in taken]
    return [*taken, *left[: wanted - len(taken)]]


def difficulty(places: Places, candidates: Candidates) -> dict[str, int]:
    """How many documents of lists ``[q, ways]``, the first of each left out, are among the first half of its
    candidates, among the second, and among none."""
    counts = {"hard": 0, "medium": 0, "random": 0}
    for row, found in zip(places, candidates.places, strict=True):
        near = [int(place) for place in found if place != NONE and place != row[0]]
        half = -(-len(near) // 2)
        for place in row[1:][row[1:] != NONE].tolist():
            name = "random" if place not in near else "hard" if place in near[:half] else "medium"
            counts[name] += 1
    return counts


@dataclass(frozen=True, slots=True)
class Findings:
    """What a look at the teacher's scores of lists has found."""

    usable: NDArray[np.bool_]
    """``[q, n]``: which documents may be learnt from as what they are listed for; false where a
    negative scores like a positive, and where there is no document."""
    confident: NDArray[np.bool_]
    """``[q]``: the lists on which the teacher has an opinion."""
    suspicious: NDArray[np.bool_]
    """``[q]``: those whose known positive the teacher puts under all its negatives."""

    def as_json(self) -> dict[str, int]:
        """The counts, as the report has them."""
        listed, lists = int(self.usable[:, 1:].size), len(self.confident)
        return {
            "lists": lists,
            "negatives": listed,
            "false_negatives": listed - int(self.usable[:, 1:].sum()),
            "flat_lists": lists - int(self.confident.sum()),
            "suspicious_positives": int(self.suspicious.sum()),
        }


def examine(scores: Scores, there: NDArray[np.bool_], known: NDArray[np.bool_]) -> Findings:
    """What of lists is to be believed, by the teacher's scores on any scale.

    Args:
        scores: ``[q, n]``, the positive first.
        there: ``[q, n]``, false where a list has no document; two a row at least.
        known: ``[q]``, whether the positive is known to be one, or only stands in for it.
    """
    counted = np.where(there, scores, np.nan)
    spread = np.nanstd(counted, axis=1)
    # Where most lists are flat, by the others.
    typical = float(np.median(spread)) or float(spread.max()) or 1.0
    positive = scores[:, :1]
    like = (scores > positive - MARGIN * typical) & known[:, None]
    like[:, 0] = False
    below = np.nanmin(counted[:, 1:], axis=1) > scores[:, 0]
    return Findings(there & ~like, spread > FLAT * typical, below & known)
