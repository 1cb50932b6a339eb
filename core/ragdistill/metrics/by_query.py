"""One figure of teacher and student for each query, and what it is for some of the queries: short
and long ones, those that resemble the training text and those that do not."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragdistill.data.leakage import Match, words
from ragdistill.metrics.bootstrap import compare
from ragdistill.metrics.ranking import overlaps, per_query
from ragdistill.metrics.retrieval import AGREEMENT, HEADLINE, Task
from ragdistill.metrics.trec import Rankings


@dataclass(frozen=True, slots=True)
class Paired:
    """The headline measure of a task's queries, in their order."""

    measure: str
    teacher: NDArray[np.float64]
    """``[q]``; without judgments the agreement of the teacher with itself, 1."""
    student: NDArray[np.float64]
    """``[q]``"""


def paired(task: Task, teacher: Rankings, student: Rankings) -> Paired:
    """nDCG@10 of both for each query; where nothing is judged, overlap@10 with the teacher."""
    if not task.qrels:
        shared = overlaps(teacher, student)
        return Paired(AGREEMENT, np.ones_like(shared), shared)
    ours, theirs = (
        per_query(task.qrels, found, [HEADLINE])[HEADLINE] for found in (teacher, student)
    )
    rows = [(ours[query.id], theirs[query.id]) for query in task.queries]
    values = np.array(rows, dtype=np.float64)
    return Paired(HEADLINE, values[:, 0], values[:, 1])


def quality_by(
    task: Task,
    teacher: Rankings,
    student: Rankings,
    duplicates: Sequence[Match] | None,
    seed: int,
) -> dict[str, Any]:
    """``quality_by`` of report.json: what is kept by the length of the query, and by whether the
    training text has a near-duplicate of it.

    Args:
        duplicates: what :func:`ragdistill.data.leakage.near_duplicates` found of the queries; None
            where it was not looked for.
        seed: of the intervals.
    """
    return grouped(paired(task, teacher, student), task.query_texts, duplicates, seed)


def grouped(
    values: Paired, texts: Sequence[str], duplicates: Sequence[Match] | None, seed: int
) -> dict[str, Any]:
    """:func:`quality_by` of any measure's values, of queries with these ``texts``."""
    lengths = np.array([len(words(text)) for text in texts])
    return {
        "measure": values.measure,
        "length": [
            {"words": bounds, **_group(values, chosen, seed)}
            for bounds, chosen in terciles(lengths)
        ],
        "near_duplicate": None
        if duplicates is None
        else [
            {"near_duplicate": alike, **_group(values, chosen, seed)}
            for alike, chosen in _split(len(lengths), {place for _, place, _ in duplicates})
        ],
    }


_ASKED = (
    "how many",
    "how much",
    "how",
    "what",
    "when",
    "where",
    "which",
    "who",
    "whom",
    "whose",
    "why",
)


def by_asking(values: Paired, texts: Sequence[str], seed: int) -> list[dict[str, Any]]:
    """Groups of questions by the first question word in them, English ("how many", "who"), the most
    frequent first; those without one are ``other``. ``asks`` of ``quality_by``."""
    kinds = np.array([_asks(words(text)) for text in texts])
    counted = Counter(kinds.tolist()).most_common()
    return [{"asks": kind, **_group(values, kinds == kind, seed)} for kind, _ in counted]


def _asks(said: Sequence[str]) -> str:
    for pair in zip(said, [*said[1:], ""], strict=True):
        if found := next((each for each in (" ".join(pair), pair[0]) if each in _ASKED), None):
            return found
    return "other"


def terciles(lengths: NDArray[np.int64]) -> list[tuple[list[int], NDArray[np.bool_]]]:
    """Up to three groups of about equal size: smallest and greatest length, and who is in it
    ``[q]``. Queries of one length stay together, so that there may be fewer groups.

    Args:
        lengths: words of each query ``[q]``.
    """
    ends = np.unique(np.quantile(lengths, (1 / 3, 2 / 3, 1), method="inverted_cdf"))
    group = np.searchsorted(ends, lengths)
    masks = [group == number for number in range(len(ends))]
    return [([int(lengths[m].min()), int(lengths[m].max())], m) for m in masks]


def _split(count: int, alike: set[int]) -> list[tuple[bool, NDArray[np.bool_]]]:
    """Those in ``alike`` and the others, as far as there are any."""
    mask = np.isin(np.arange(count), list(alike))
    return [(flag, mask == flag) for flag in (False, True) if (mask == flag).any()]


def _group(values: Paired, chosen: NDArray[np.bool_], seed: int) -> dict[str, Any]:
    found = compare(values.teacher[chosen], values.student[chosen], seed)
    return {"queries": int(chosen.sum()), **found.as_json()}
