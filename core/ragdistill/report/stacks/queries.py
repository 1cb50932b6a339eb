"""The queries of the page's explorer: what each stage of both stacks made of them, stage by stage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragdistill.rag.cells import rows
from ragdistill.rag.explorer import FILE, LOST, SAME, WON
from ragdistill.rag.serving import ROLES
from ragdistill.report.stacks.matrix import pure

_LEAST = 1e-9
_TOLD = 5


@dataclass(frozen=True, slots=True)
class Step:
    """A stage of one query."""

    role: str
    state: str
    """``fault`` at the part that lost the query, ``won`` at that which won it, else empty: a CSS class."""
    said: str
    """What became of the measure when the student took this part over."""
    teacher: str | None
    """What it made of the query."""
    student: str | None


@dataclass(frozen=True, slots=True)
class Entry:
    """A query."""

    row: Mapping[str, Any]
    before: float
    after: float
    """The measure in the teachers' and in the students' stack."""
    steps: Sequence[Step]


@dataclass(frozen=True, slots=True)
class Explorer:
    """What ``stacks/queries.html.j2`` shows."""

    measure: str
    entries: Sequence[Entry]
    counts: Mapping[str, tuple[int, int]]
    """Of each outcome, how many queries are on the page, and how many there are."""
    parts: Sequence[str]
    """Those that lost or won any of them."""
    stages: Sequence[tuple[str, str]]
    """Of the documents' ranks: the key, and what it is called."""


def explorer(section: Mapping[str, Any], folder: Path | None) -> Explorer:
    """The queries of ``rag`` of report.json; of a run's ``folder`` those with the documents' texts, and the
    won ones, too."""
    kept = folder / FILE if folder else None
    told = rows(kept) if kept and kept.exists() else _from_report(section)
    faults = section["faults"]
    both = section["cells"][pure(section, "teacher")]["queries"].get(faults["measure"], 0)
    totals = {LOST: faults["worse"], WON: faults["better"]}
    totals[SAME] = max(0, both - sum(totals.values()))
    shown = [row["outcome"] for row in told]
    stages = [("found", "found")]
    if "reranker" in _roles(section):
        stages.append(("ranked", "ranked"))
    parts = dict.fromkeys(row["part"] for row in told if row["part"])
    return Explorer(
        faults["measure"],
        [_entry(section, row) for row in told],
        {outcome: (shown.count(outcome), total) for outcome, total in totals.items()},
        sorted(parts, key=lambda part: (*ROLES, part).index(part)),
        stages,
    )


def _from_report(section: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The lost queries that report.json has itself."""
    return [
        {**row, "outcome": LOST, "part": row["fault"], "ms": {}, "turns": [], "documents": []}
        for row in section["faults"]["queries"]
    ]


def _roles(section: Mapping[str, Any]) -> list[str]:
    there = {*section["swapped"], *section["same"]}
    return [role for role in ROLES if role in there]


def _entry(section: Mapping[str, Any], row: Mapping[str, Any]) -> Entry:
    before, after = (row["cells"][pure(section, side)] for side in ("teacher", "student"))
    return Entry(row, before, after, [_step(section, row, role) for role in _roles(section)])


def _step(section: Mapping[str, Any], row: Mapping[str, Any], role: str) -> Step:
    state, said = "", "the same part in both"
    lost = row["lost"].get(role)
    if lost is not None:
        said = "nothing lost"
        if abs(lost) > _LEAST:
            said = f"{'lost' if lost > 0 else 'gained'} {abs(lost):.2f}"
    if role == row["part"]:
        state = "fault" if row["outcome"] == LOST else "won"
        said = f"{'at fault' if state == 'fault' else 'won here'}, {said}"
    teacher, student = (_made(role, row, row[side]) for side in ("teacher", "student"))
    return Step(role, state, said, teacher, student)


def _made(role: str, row: Mapping[str, Any], saw: Mapping[str, Any]) -> str | None:
    """What a part of one stack made of a query; None where it was not asked or said nothing."""
    error = saw["error"] or ""
    if error.startswith(f"{role}: "):
        return f"failed: {error.removeprefix(f'{role}: ')}"
    if role == "rewriter":
        return str(saw["question"])
    if role == "generator":
        return None if saw["answer"] is None else str(saw["answer"]) or "(an empty answer)"
    return (
        None
        if error and not saw["found"]
        else _ranks(saw, "found" if role == "embedder" else "ranked")
    )


def _ranks(saw: Mapping[str, Any], stage: str) -> str:
    """Where the documents that are wanted stand; without judgments, what came first."""
    wanted = saw["wanted"][stage]
    if not wanted:
        return f"first {', '.join(saw[stage][:_TOLD])}" if saw[stage] else "nothing"
    ranks = sorted(rank for rank in wanted.values() if rank is not None)
    more = "" if len(ranks) <= _TOLD else ", …"
    said = [f"wanted at {', '.join(map(str, ranks[:_TOLD]))}{more}"] if ranks else []
    if missing := len(wanted) - len(ranks):
        none = "wanted, but not there" if missing == 1 else f"none of {missing} wanted is there"
        said.append(f"{missing} more not there" if ranks else none)
    return "; ".join(said)
