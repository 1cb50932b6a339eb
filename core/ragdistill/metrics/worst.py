"""The queries in which the student lost most against its teacher, with the texts: what should have
been found, where each of them ranked it, and what the student put first instead."""

from collections.abc import Mapping, Sequence
from math import log2
from typing import Any

import numpy as np

from ragdistill.data.collection import Document
from ragdistill.metrics.by_query import Paired, paired
from ragdistill.metrics.retrieval import DEPTH, Task
from ragdistill.metrics.trec import Rankings

QUERIES = 20
"""Queries told of."""
_CUTOFF = 10  # the headline measure's
_WANTED = 5  # documents told of those that should have been found
_INSTEAD = 3  # and of those that the student put first
_QUERY_LENGTH, _DOCUMENT_LENGTH = 1000, 400  # characters


def worst(task: Task, teacher: Rankings, student: Rankings, count: int = QUERIES) -> dict[str, Any]:
    """``worst`` of report.json: the ``count`` queries of the greatest loss, the greatest first.

    ``worse`` and ``better`` count the queries in which the student is below and above its teacher.
    A rank is null where the document is not among the first ``depth``. Without judgments the first
    ten of the teacher are what should have been found.
    """
    values = paired(task, teacher, student)
    lost = values.teacher - values.student
    documents = {document.id: document for document in task.documents}
    places = [int(place) for place in np.argsort(-lost, kind="stable")[:count] if lost[place] > 0]
    return {
        "measure": values.measure,
        "depth": DEPTH,
        "worse": int((lost > 0).sum()),
        "better": int((lost < 0).sum()),
        "queries": [
            _entry(task, place, values, _Ranks(task, place, teacher, student), documents)
            for place in places
        ],
    }


class _Ranks:
    """What both made of one query: ranks begin with 1."""

    def __init__(self, task: Task, place: int, teacher: Rankings, student: Rankings) -> None:
        query = task.queries[place].id
        self.teacher, self.student = (
            {document: rank for rank, (document, _) in enumerate(found.get(query, ()), start=1)}
            for found in (teacher, student)
        )
        self.grades: Mapping[str, int] | None = task.qrels.get(query) if task.qrels else None
        own = (document for document, rank in self.teacher.items() if rank <= _CUTOFF)
        self.wanted = {d: g for d, g in (self.grades or dict.fromkeys(own, 1)).items() if g > 0}

    def lost_gain(self, document: str) -> float:
        """How much less the document adds to the student's DCG@10 than to the teacher's."""
        return self._gain(self.teacher, document) - self._gain(self.student, document)

    def _gain(self, ranks: Mapping[str, int], document: str) -> float:
        rank = ranks.get(document, DEPTH)
        return self.wanted[document] / log2(1 + rank) if rank <= _CUTOFF else 0.0


def _entry(
    task: Task,
    place: int,
    values: Paired,
    ranks: _Ranks,
    documents: Mapping[str, Document],
) -> dict[str, Any]:
    query = task.queries[place]
    # What cost most comes first, what both missed after it, what the student gained last.
    missed = sorted(ranks.wanted, key=ranks.lost_gain, reverse=True)
    first = [document for document in ranks.student if document not in ranks.wanted]

    def told(chosen: Sequence[str]) -> list[dict[str, Any]]:
        return [_document(documents.get(each), each, ranks) for each in chosen]

    return {
        "id": query.id,
        "text": shortened(query.text, _QUERY_LENGTH),
        "teacher": float(values.teacher[place]),
        "student": float(values.student[place]),
        "relevant": len(ranks.wanted),
        "wanted": told(missed[:_WANTED]),
        "instead": told(first[:_INSTEAD]),
    }


def _document(document: Document | None, key: str, ranks: _Ranks) -> dict[str, Any]:
    """One document of an entry; its text is null where the judgments name one that is not there."""
    return {
        "id": key,
        "text": None if document is None else shortened(document.content, _DOCUMENT_LENGTH),
        "grade": None if ranks.grades is None else ranks.grades.get(key),
        "teacher_rank": ranks.teacher.get(key),
        "student_rank": ranks.student.get(key),
    }


def shortened(text: str, limit: int) -> str:
    """``text`` in at most ``limit`` characters, cut after a word where one ends near there; blanks
    and lines are folded."""
    folded = " ".join(text.split())
    if len(folded) <= limit:
        return folded
    cut = folded[: limit - 1]
    head, _, tail = cut.rpartition(" ")
    return (head if head and len(tail) < limit // 5 else cut).rstrip(" .,;:") + "…"
