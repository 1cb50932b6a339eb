"""The cells of the swap matrix as figures: every measure of every query, and the files that they can be
computed from again."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragdistill.errors import UserError
from ragdistill.files import write_text
from ragdistill.metrics import answers, trec
from ragdistill.metrics.latency import percentiles
from ragdistill.metrics.ranking import overlaps, per_query
from ragdistill.metrics.retrieval import AGREEMENT, Task
from ragdistill.metrics.trec import Rankings
from ragdistill.rag.matrix import Mix, Results
from ragdistill.rag.pipeline import Seen
from ragdistill.rag.serving import ROLES

Values = NDArray[np.float64]
Cell = Mapping[str, Values]
"""Measure to its value of each query ``[q]``, in the order of the task; NaN where it does not apply."""

FOLDER = "cells"
RANKED = ("nDCG@10", "RR@10", "R@5", "R@10")
"""Measures of the documents that are left in the end; of those that retrieval found, behind its name."""
FOUND = "retrieval "
MS, ERROR = "ms", "error"
"""Milliseconds of the whole request, and whether a part failed (1) or not (0)."""
_TEXT_MEASURES = ("F1", "EM", "ROUGE-L", answers.AGREEMENT)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question as the answers' measures want it."""

    contexts: tuple[str, ...]
    references: tuple[str, ...]
    answerable: bool | None


def name(mix: Mix) -> str:
    """What a cell is called: a letter for each swapped part in the order of a query, T or S."""
    return "".join(side[0].upper() for side in mix)


def cells(task: Task, results: Results, depth: int) -> dict[str, Cell]:
    """Every measure of every cell.

    Args:
        task: the queries, and what is right.
        results: what came of the mixes.
        depth: documents that retrieval finds in both stacks, at the least.
    """
    teacher = results.seen[results.pure("teacher")]
    return {
        name(mix): _ranked(task, seen, teacher, depth) | _answered(seen, teacher) | _served(seen)
        for mix, seen in results.seen.items()
    }


def _ranked(
    task: Task, seen: Sequence[Seen], teacher: Sequence[Seen], depth: int
) -> dict[str, Values]:
    stages = {"": "ranked", FOUND: "found"}
    if all(each.ranked == each.found for each in (*seen, *teacher)):
        stages = {"": "ranked"}
    told: dict[str, Values] = {}
    for prefix, stage in stages.items():
        mine = rankings(seen, stage)
        if not task.qrels:
            told[prefix + AGREEMENT] = overlaps(rankings(teacher, stage), mine)
            continue
        deep = ("R@100",) if depth >= 100 and stage == "found" else ()
        for measure, by_query in per_query(task.qrels, mine, (*RANKED, *deep)).items():
            told[prefix + measure] = np.array([by_query[query.id] for query in task.queries])
    return told


def rankings(seen: Sequence[Seen], stage: str) -> Rankings:
    """What was ``found`` or ``ranked``; of a query on which a part failed, nothing."""
    return {each.query.id: () if each.error else getattr(each, stage) for each in seen}


def _answered(seen: Sequence[Seen], teacher: Sequence[Seen]) -> dict[str, Values]:
    if all(each.answer is None for each in (*seen, *teacher)):
        return {}
    asked = [_Asked(each.contexts, each.query.answers, each.query.answerable) for each in seen]
    told = [each.answer or "" for each in seen]
    found = answers.values(asked, told)
    theirs = [[each.answer or ""] for each in teacher]
    found[answers.AGREEMENT] = answers.token_f1(told, theirs)
    failed = np.array([bool(each.error) for each in seen])
    # An empty answer is right where there is none; one that never came is not.
    return {
        measure: np.where(failed & np.isfinite(values), 0.0, values)
        if measure in _TEXT_MEASURES
        else np.where(failed, np.nan, values)
        for measure, values in found.items()
    }


def _served(seen: Sequence[Seen]) -> dict[str, Values]:
    taken = [np.nan if each.error else 1000 * sum(each.seconds.values()) for each in seen]
    return {MS: np.array(taken), ERROR: np.array([float(bool(each.error)) for each in seen])}


def headline(found: Mapping[str, Cell]) -> str:
    """What a lost query is told by: F1 where answers are known, else the agreement with the teacher's
    answers, else nDCG@10, else the agreement with its ranking."""
    for measure in ("F1", answers.AGREEMENT, "nDCG@10", AGREEMENT):
        if all(np.isfinite(cell.get(measure, np.array([np.nan]))).any() for cell in found.values()):
            return measure
    raise UserError("no query can be measured", where="--data", mend="add judgments or answers")


def latency(seen: Sequence[Seen]) -> dict[str, dict[str, float | None]]:
    """Percentiles of the milliseconds of each part and of the whole, over the queries that no part failed
    on; those that these are too few for are None."""
    whole = [each for each in seen if not each.error]
    if not whole:
        return {}
    parts = [role for role in ROLES if any(role in each.seconds for each in whole)]
    told = {role: percentiles([each.seconds[role] for each in whole]) for role in parts}
    return told | {"total": percentiles([sum(each.seconds.values()) for each in whole])}


def write(folder: Path, task: Task, results: Results, found: Mapping[str, Cell]) -> None:
    """Leave all that the figures are made of: ``cells/CELL.jsonl`` with every value, seconds and error of
    every query; ``rankings/CELL.found.trec`` and ``CELL.ranked.trec`` with ``qrels.trec``; and, where
    something was written, ``answers/CELL.jsonl``."""
    if task.qrels:
        trec.write_qrels(folder / "rankings" / "qrels.trec", task.qrels)
    for mix, seen in results.seen.items():
        cell = name(mix)
        write_lines(folder / FOLDER / f"{cell}.jsonl", _rows(seen, found[cell]))
        for stage in ("found", "ranked"):
            trec.write(folder / "rankings" / f"{cell}.{stage}.trec", rankings(seen, stage), cell)
        if any(each.answer is not None for each in seen):
            write_lines(folder / "answers" / f"{cell}.jsonl", [_written(each) for each in seen])


def _rows(seen: Sequence[Seen], cell: Cell) -> list[dict[str, Any]]:
    return [
        {
            "query": each.query.id,
            "question": each.question,
            "measures": {
                measure: float(values[place]) if np.isfinite(values[place]) else None
                for measure, values in cell.items()
            },
            "seconds": dict(each.seconds),
            "error": each.error or None,
        }
        for place, each in enumerate(seen)
    ]


def _written(seen: Seen) -> dict[str, Any]:
    return {
        "id": seen.query.id,
        "question": seen.question,
        "contexts": list(seen.contexts),
        "references": list(seen.query.answers),
        "answerable": seen.query.answerable,
        "answer": seen.answer,
        "log_probability": seen.log_probability,
    }


def write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """``rows`` as JSONL, written whole or not at all."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def rows(path: Path) -> list[dict[str, Any]]:
    """What :func:`write_lines` left in ``path``."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def read(folder: Path) -> dict[str, dict[str, Values]]:
    """Every measure of every cell, as :func:`write` left them in a run's folder: cell to measure to values
    ``[q]``, aligned by query.

    Raises:
        UserError: there are none.
    """
    found = {}
    for path in sorted((folder / FOLDER).glob("*.jsonl")):
        measured = [row["measures"] for row in rows(path)]
        found[path.stem] = {
            measure: np.array([row[measure] for row in measured], dtype=np.float64)
            for measure in measured[0]
        }
    if not found:
        raise UserError(
            "holds no cells", where=folder, mend="name a folder that ragdistill rag compare wrote"
        )
    return found


def seconds(folder: Path, cell: str) -> dict[str, list[float]]:
    """What each part took of each query that none failed on, and ``total``, as :func:`write` left it."""
    taken = [row["seconds"] for row in rows(folder / FOLDER / f"{cell}.jsonl") if not row["error"]]
    parts = [role for role in ROLES if any(role in each for each in taken)]
    told: dict[str, list[float]] = {
        role: [each[role] for each in taken if role in each] for role in parts
    }
    return told | {"total": [sum(each.values()) for each in taken]}
