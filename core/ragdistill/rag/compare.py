"""Two stacks and their mixes on one data set: from the files to the report."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np

from ragdistill.data import loading
from ragdistill.files import sha256_json, write_json, write_text, writing
from ragdistill.metrics.bootstrap import compare as compared
from ragdistill.metrics.latency import percentiles
from ragdistill.metrics.retrieval import Task, make_task
from ragdistill.rag import cells, drilldown, explorer, judging, load
from ragdistill.rag.cache import Cache
from ragdistill.rag.cells import ERROR, MS, Cell
from ragdistill.rag.criteria import Criteria
from ragdistill.rag.matrix import Matrix, Mix, Results, Swaps, digest
from ragdistill.rag.parts import open_parts
from ragdistill.rag.retrieval import Corpus
from ragdistill.rag.serving import ROLES, SIDES, Role, Side
from ragdistill.rag.stack import read
from ragdistill.report import schema
from ragdistill.run import locked, refuse_strangers, versions

COMPONENT, METHOD = "rag", "rag/compare"
FAULTS, SURENESS = "faults.jsonl", "sureness.jsonl"
SWAPS: Mapping[str, Swaps] = {name: name for name in get_args(Swaps)}


@dataclass(frozen=True, slots=True)
class Comparison:
    """What ``ragdistill rag compare`` is asked for."""

    teacher: Path
    student: Path
    data: str
    out: Path
    swaps: Swaps = "all"
    eval_queries: int | None = None
    seed: int = 0
    criteria: Criteria = field(default_factory=Criteria)
    cache: Path | None = None
    """The folder below which what parts say is kept; None: ``out``."""
    concurrency: int | None = None
    """Requests at once that the two stacks themselves are put under load with; None: they are not."""


def compare(asked: Comparison) -> dict[str, Any]:
    """Run every mix, leave ``cells/``, ``rankings/``, ``answers/``, ``faults.jsonl``, ``explorer.jsonl``,
    ``sureness.jsonl``, ``load/``, ``run.json``, ``report.json`` and ``report.html`` in ``asked.out``, and return
    the report.

    What parts said is kept by content: the same command goes on where it was cut off, and another one
    with the same ``out`` asks for what is new to it.

    Raises:
        UserError: whatever a stack, its parts or the data are refused for; the folder holds
            something else.
    """
    refuse_strangers(asked.out, COMPONENT)
    teacher, student = (open_parts(read(file)) for file in (asked.teacher, asked.student))
    task = make_task(loading.load(asked.data), limit=asked.eval_queries, seed=asked.seed)
    matrix = Matrix(teacher, student, Corpus.of(task.documents), Cache(asked.cache or asked.out))
    started = time.perf_counter()
    with writing(asked.out), locked(asked.out):
        manifest = _manifest(asked, matrix, task)
        write_json(asked.out / "run.json", manifest | {"stages": {"compare": {"state": "running"}}})
        mixes = matrix.mixes(asked.swaps)
        results = matrix.run(task.queries, mixes)
        under = load.loads(asked, matrix, task, results)
        load.write(asked.out, under)
        report = _finished(asked, matrix, task, results, under)
        _write_page(asked.out, report, manifest)
        done = {"state": "done", "seconds": time.perf_counter() - started}
        write_json(asked.out / "run.json", manifest | {"stages": {"compare": done}})
    return report


def _finished(
    asked: Comparison,
    matrix: Matrix,
    task: Task,
    results: Results,
    under: Mapping[Side, load.Load],
) -> dict[str, Any]:
    """The figures of finished mixes, written."""
    depth = min(parts.stack.depth for parts in matrix.parts.values())
    found = cells.cells(task, results, depth)
    cells.write(asked.out, task, results, found)
    lost = drilldown.lost(results, found, cells.headline(found), task.qrels)
    cells.write_lines(asked.out / FAULTS, lost["queries"])
    shown = explorer.rows(results, found, lost["measure"], task.qrels, matrix.corpus.by_id)
    cells.write_lines(asked.out / explorer.FILE, shown)
    report = _report(asked, matrix, task, results, found)
    for side, measured in under.items():
        report["speed"][side]["load"] = measured.as_json()
    report["rag"]["faults"] = {**lost, "queries": lost["queries"][: drilldown.TOLD]}
    told, sure = judging.escalated(results, found, asked.criteria, asked.seed)
    report["escalation"] = told
    cells.write_lines(asked.out / SURENESS, sure)
    schema.validate(report)
    write_json(asked.out / "report.json", report)
    return report


def _write_page(folder: Path, report: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Write report.html of a comparison, from its report.json, run.json and the files beside them."""
    from ragdistill.report import html

    page = html.render(report, extra=schema.extra(state), folder=folder)
    write_text(folder / "report.html", page)


def _manifest(asked: Comparison, matrix: Matrix, task: Task) -> dict[str, Any]:
    """run.json, but for how far it is."""
    return {
        "schema": 1,
        "component": COMPONENT,
        "method": METHOD,
        "config": {
            "teacher": str(asked.teacher),
            "student": str(asked.student),
            "data": asked.data,
            "swaps": asked.swaps,
            "eval_queries": asked.eval_queries,
            "seed": asked.seed,
            "concurrency": asked.concurrency,
            "criteria": asked.criteria.as_json(),
        },
        "inputs": {side: digest(matrix.stages[side]) for side in SIDES}
        | {"data": sha256_json([matrix.corpus.digest, [q.id for q in task.queries]])},
        "stacks": {side: parts.stack.as_json() for side, parts in matrix.parts.items()},
        "versions": versions(),
        "seed": asked.seed,
    }


def _report(
    asked: Comparison,
    matrix: Matrix,
    task: Task,
    results: Results,
    found: Mapping[str, Cell],
) -> dict[str, Any]:
    pure = {side: results.pure(side) for side in SIDES}
    teacher, student = (found[cells.name(pure[side])] for side in SIDES)
    return {
        "schema": schema.SCHEMA,
        "component": COMPONENT,
        **{side: _stack(matrix, side) for side in SIDES},
        "data": _data(asked, task, matrix.corpus),
        "quality": _quality(teacher, student, asked.seed),
        "exports": {},
        "speed": {side: _speed(results.seen[pure[side]]) for side in SIDES},
        "stages": {},
        "verdict": judging.verdict(
            teacher, student, asked.criteria, cells.headline(found), asked.seed
        ),
        "rag": {
            "effects": judging.told_effects(results, found, asked.seed),
            "swapped": list(results.swapped),
            "same": [
                r for r in ROLES if r in matrix.stages["teacher"] and r not in results.swapped
            ],
            "cells": {
                cells.name(mix): _cell(mix, results, found[cells.name(mix)]) for mix in results.seen
            },
            "calls": calls(results),
        },
    }


def _stack(matrix: Matrix, side: Side) -> dict[str, Any]:
    parts = matrix.parts[side]
    told = {
        role: part.describe() | {"fingerprint": part.fingerprint}
        for role in ROLES
        if (part := parts.of(role)) is not None
    }
    return {
        "name": parts.stack.name,
        "digest": digest(matrix.stages[side]),
        "parameters": _sum_of(told, "parameters"),
        "licence": None,
        "size_mb": _sum_of(told, "size_mb"),
        "stack": parts.stack.as_json(),
        "parts": told,
    }


def _sum_of(parts: Mapping[Role, Mapping[str, Any]], figure: str) -> Any:
    """None where one part does not know its own."""
    known = [part.get(figure) for part in parts.values()]
    return None if None in known else sum(known)


def _data(asked: Comparison, task: Task, corpus: Corpus) -> dict[str, Any]:
    return {
        "name": asked.data,
        "digest": corpus.digest,
        "documents": len(task.documents),
        "queries": len(task.queries),
        "split": task.split,
        "near_duplicates": None,
    }


def _quality(teacher: Cell, student: Cell, seed: int) -> dict[str, Any]:
    """Both stacks by each measure, over the queries that it applies to for both."""
    told = {}
    for measure in teacher:
        both = np.isfinite(teacher[measure]) & np.isfinite(student[measure])
        if measure not in (MS, ERROR) and both.any():
            row = compared(teacher[measure][both], student[measure][both], seed).as_json()
            told[measure] = row | {"queries": int(both.sum())}
    return told


def _speed(seen: Sequence[Any]) -> dict[str, Any]:
    taken = [sum(each.seconds.values()) for each in seen if not each.error]
    if not taken:
        return {}
    rate = len(taken) / max(sum(taken), 1e-9)
    return {**percentiles(taken), "per_second": rate, "calls": len(taken), "requests": True}


def _cell(mix: Mix, results: Results, found: Cell) -> dict[str, Any]:
    seen = results.seen[mix]
    finite = {measure: values[np.isfinite(values)] for measure, values in found.items()}
    means = {key: float(each.mean()) for key, each in finite.items() if len(each) and key != MS}
    errors = [each.error for each in seen if each.error]
    return {
        "parts": dict(zip(results.swapped, mix, strict=True)),
        "quality": {key: value for key, value in means.items() if key != ERROR},
        "queries": {key: len(finite[key]) for key in means if key != ERROR},
        "latency": cells.latency(seen),
        "errors": len(errors),
        "first_error": errors[0] if errors else None,
    }


def calls(results: Results) -> dict[str, Any]:
    """``calls`` of the report: the pieces of work (queries, pairs, answers) that each part is asked for by
    all mixes together (``matrix``) and by the pure stacks (``alone``), and the ``documents`` that are
    embedded for either; the seconds that they take one at a time, and how many ``times`` as long the
    matrix takes as the two stacks."""
    told: dict[str, Any] = {}
    matrix = alone = 0.0
    for role, sides in results.work.items():
        told[role] = {side: work.as_json() for side, work in sides.items()}
        for work in sides.values():
            matrix += work.seconds * work.matrix / max(work.alone, 1)
            alone += work.seconds
    times = matrix / alone if alone else None
    return {"parts": told, "seconds": {"matrix": matrix, "alone": alone, "times": times}}
