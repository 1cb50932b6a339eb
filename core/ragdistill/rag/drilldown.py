"""Which queries the distilled cascade lost, what each stage saw of them, and which stage is at fault.

The teachers' stack becomes the students' one part after another, in the order in which a query meets them:
TTT, STT, SST, SSS. What is lost at a step is that part's; the steps add up to all that was lost. At fault is
the first part from which on the query stays lost: a loss that a later part makes good again is none. Where
only single swaps were run, it is the first part that loses the query by itself; where none does, all
together.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ragdistill.data.collection import Qrels
from ragdistill.metrics.worst import shortened
from ragdistill.rag.cells import Cell, Values, name
from ragdistill.rag.matrix import Results, alone, step
from ragdistill.rag.pipeline import Seen
from ragdistill.rag.serving import Role

TOGETHER = "together"
LEAST = 1e-9
"""What is closer than this is the same."""
TOLD = 50
"""Lost queries that the report itself tells of; ``faults.jsonl`` has all."""
_LENGTH, _TOP = 400, 5


def lost(results: Results, found: Mapping[str, Cell], measure: str, qrels: Qrels) -> dict[str, Any]:
    """``faults`` of the report: how many queries were lost by ``measure`` (and won), of how many each part
    is at fault, and ``queries``, the worst first, with what either stack saw."""
    values = {cell: each[measure] for cell, each in found.items()}
    teacher, student = (
        values[name(results.pure("teacher"))],
        values[name(results.pure("student"))],
    )
    gap = np.nan_to_num(teacher - student)
    order = [int(place) for place in np.argsort(-gap, kind="stable") if gap[place] > LEAST]
    rows = [row(results, values, qrels, place) for place in order]
    counted = Counter(each["fault"] for each in rows)
    by_part = {
        part: {
            "queries": counted[part],
            "lost": float(sum(each["lost"].get(part, 0.0) for each in rows)),
        }
        for part in (*results.swapped, TOGETHER)
        if part != TOGETHER or counted[part]
    }
    return {
        "measure": measure,
        "worse": len(rows),
        "better": int((gap < -LEAST).sum()),
        "parts": by_part,
        "queries": rows,
    }


def fault(values: Mapping[str, float], swapped: Sequence[Role]) -> tuple[str, dict[str, float]]:
    """The part at fault for one query, and what each part lost of it.

    Args:
        values: the measure of the query in each cell.
        swapped: the parts in their order.
    """
    chain = [name(step(len(swapped), place)) for place in range(len(swapped) + 1)]
    if all(cell in values for cell in chain):
        steps = [values[cell] for cell in chain]
        gaps = [before - after for before, after in pairwise(steps)]
        # The last step at which it was not lost, if only by what a later part made good.
        kept = max(place for place, value in enumerate(steps) if value >= steps[0] - LEAST)
        return swapped[min(kept, len(swapped) - 1)], dict(zip(swapped, gaps, strict=True))
    singles = [name(alone(len(swapped), place)) for place in range(len(swapped))]
    whole = values["T" * len(swapped)]
    gaps = [whole - values[cell] for cell in singles]
    first = next((role for role, gap in zip(swapped, gaps, strict=True) if gap > LEAST), TOGETHER)
    return first, dict(zip(swapped, gaps, strict=True))


def row(results: Results, values: Mapping[str, Values], qrels: Qrels, place: int) -> dict[str, Any]:
    """What is told of the query at ``place``; ``values``: of the measure, by cell."""
    of_query = {cell: float(each[place]) for cell, each in values.items()}
    part, lost_at = fault(of_query, results.swapped)
    teacher, student = (results.seen[results.pure(side)][place] for side in ("teacher", "student"))
    query = teacher.query
    wanted = [doc for doc, grade in qrels.get(query.id, {}).items() if grade > 0]
    return {
        "id": query.id,
        "text": shortened(query.text, _LENGTH),
        "fault": part,
        "lost": lost_at,
        "cells": of_query,
        "references": list(query.answers),
        "teacher": _saw(teacher, wanted),
        "student": _saw(student, wanted),
    }


def _saw(seen: Seen, wanted: Sequence[str]) -> dict[str, Any]:
    """What one stack made of a query, stage by stage; ranks of the documents that are ``wanted`` begin with
    1, and are null where they are not there."""
    places = {
        stage: {doc: rank for rank, (doc, _) in enumerate(getattr(seen, stage), start=1)}
        for stage in ("found", "ranked")
    }
    return {
        "question": seen.question,
        "found": [doc for doc, _ in seen.found[:_TOP]],
        "ranked": [doc for doc, _ in seen.ranked[:_TOP]],
        "wanted": {
            stage: {doc: ranks.get(doc) for doc in wanted} for stage, ranks in places.items()
        },
        "answer": None if seen.answer is None else shortened(seen.answer, _LENGTH),
        "error": seen.error or None,
    }
