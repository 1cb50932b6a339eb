"""What is made of the cells of a swap matrix: which student loses what, whether all together may replace
the teachers, and whether the teachers are worth asking where the students are unsure."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ragdistill.rag import cells
from ragdistill.rag.cells import ERROR, MS, Cell
from ragdistill.rag.criteria import Criteria
from ragdistill.rag.effects import Mix, effects
from ragdistill.rag.escalation import Outcomes, escalation, halves
from ragdistill.rag.matrix import Results
from ragdistill.rag.noninferiority import Evidence, Values, judge
from ragdistill.rag.serving import SIDES
from ragdistill.rag.sureness import signals

MEASURES = ("F1", "nDCG@10", "retrieval nDCG@10")
"""What people are told of, where it is measured; by the first two, unless others are named, the stacks
are judged."""


def told_effects(results: Results, found: Mapping[str, Cell], seed: int) -> dict[str, Any]:
    """``rag.effects`` of report.json: by measure, see :func:`ragdistill.rag.effects.effects`."""
    if not results.swapped:
        return {}
    chosen = _known(found, (*MEASURES, cells.headline(found)))
    return {measure: _effects(results, found, measure, seed) for measure in chosen}


def _effects(
    results: Results, found: Mapping[str, Cell], measure: str, seed: int
) -> dict[str, Any]:
    """Over the queries that it applies to in every mix."""
    all_known = np.all([np.isfinite(cell[measure]) for cell in found.values()], axis=0)
    mixes = {
        Mix(role for role, side in zip(results.swapped, mix, strict=True) if side == "student"): mix
        for mix in results.seen
    }
    values = {chosen: found[cells.name(mix)][measure][all_known] for chosen, mix in mixes.items()}
    return effects(values, measure, seed).as_json()


def verdict(
    teacher: Cell, student: Cell, criteria: Criteria, headline: str, seed: int
) -> dict[str, Any]:
    """``verdict`` of report.json, on ``criteria``; see :mod:`ragdistill.rag.noninferiority`.

    What is saved is the share of the teacher's seconds on this machine: prices are for ``rag cost``.
    """
    named = [name for name in criteria.quality if name in teacher]
    chosen = _known({"teacher": teacher, "student": student}, (*MEASURES[:2], *named))
    pairs = {
        measure: _paired(teacher[measure], student[measure]) for measure in chosen or [headline]
    }
    ours, theirs = (cell[MS][np.isfinite(cell[MS])] for cell in (student, teacher))
    failed = int(np.nansum(student[ERROR]))
    found = judge(
        criteria,
        Evidence(
            quality=pairs,
            student_ms=ours,
            teacher_ms=theirs,
            errors=(failed, len(student[ERROR])),
            saving=float(1 - ours.mean() / theirs.mean()) if len(ours) and len(theirs) else None,
        ),
        seed,
    ).as_json()
    criterion = found.pop("measure")
    measure = criterion if criterion in pairs else next(iter(pairs))
    return found | {"measure": measure, "criterion": criterion, "criteria": criteria.as_json()}


def escalated(
    results: Results, found: Mapping[str, Cell], criteria: Criteria, seed: int
) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """``escalation`` of report.json, by the headline measure (see :mod:`ragdistill.rag.escalation`), and what
    it is made of: of each query that the measure applies to, the signals and the half that it is in."""
    measure = cells.headline(found)
    teacher, student = (found[cells.name(results.pure(side))] for side in SIDES)
    both = np.flatnonzero(np.isfinite(teacher[measure]) & np.isfinite(student[measure]))
    outcomes = Outcomes(teacher[measure], student[measure], teacher[MS], student[MS]).at(both)
    seen = results.seen[results.pure("student")]
    known = {name: values[both] for name, values in signals(seen).items()}
    told = escalation(known, outcomes, criteria.gate(measure), seed)
    choosing = {int(place) for place in halves(len(both), seed)[0]}
    rows = [
        {
            "query": seen[int(at)].query.id,
            "half": "chosen on" if place in choosing else "measured on",
            "signals": {
                name: float(values[place]) if np.isfinite(values[place]) else None
                for name, values in known.items()
            },
        }
        for place, at in enumerate(both)
    ]
    return told and {"measure": measure, **told}, rows


def _known(found: Mapping[str, Cell], measures: tuple[str, ...]) -> list[str]:
    """Those that are measured of some query in every cell, each once."""
    return [
        measure
        for measure in dict.fromkeys(measures)
        if all(measure in cell and np.isfinite(cell[measure]).any() for cell in found.values())
    ]


def _paired(teacher: Values, student: Values) -> tuple[Values, Values]:
    both = np.isfinite(teacher) & np.isfinite(student)
    return teacher[both], student[both]
