"""What rewrites do to the search: every system asks the same index with queries of its own."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragdistill.data.collection import Qrels, Query
from ragdistill.files import write_text
from ragdistill.first_stage import NONE, FirstStage, Words
from ragdistill.metrics import retrieval, trec
from ragdistill.metrics.lift import lift
from ragdistill.metrics.ranking import per_query
from ragdistill.metrics.retrieval import DEPTH, HEADLINE, Task
from ragdistill.metrics.trec import Rankings
from ragdistill.rag.retrieval import anchored, fused
from ragdistill.rag.stack import Fusion
from ragdistill_query_rewriter.effects import FOUND_WELL
from ragdistill_query_rewriter.expansions import separated

MEASURES = ("nDCG@10", "R@10", "R@100")
UNSKIPPED = "unskipped"
"""The student that adds what it would to each turn."""
ANCHORED, ANCHOR = "anchored", 5
"""The student's search, in which what the query finds first by itself keeps its place where the rewrite finds it
among its first five; see :func:`ragdistill.rag.retrieval.anchored`."""
MOST_LOST = {"R@10": 0.01, "R@100": 0.01}
"""Of recall, absolute, and so of its lift, that an export may lose on the judged queries."""
Values = NDArray[np.float64]


def search(
    stage: FirstStage,
    ids: Sequence[str],
    queries: Sequence[Query],
    texts: Sequence[str],
    depth: int = DEPTH,
) -> Rankings:
    """What ``texts``, rewrites of ``queries``, find; ``ids`` are the documents'."""
    found = _listed(stage, ids, texts, depth)
    return {query.id: ranked for query, ranked in zip(queries, found, strict=True)}


def search_together(
    stage: FirstStage,
    ids: Sequence[str],
    queries: Sequence[Query],
    texts: Sequence[str],
    depth: int = DEPTH,
) -> Rankings:
    """The same of texts with several variants each (:mod:`ragdistill_query_rewriter.expansions`): what
    they find, fused by reciprocal rank."""
    parts = [separated(text, None) or [text] for text in texts]
    found = iter(_listed(stage, ids, [part for each in parts for part in each], depth))
    rankings = {}
    for query, each in zip(queries, parts, strict=True):
        lists = [next(found) for _ in each]
        alone = len(lists) == 1
        rankings[query.id] = lists[0] if alone else fused(lists, Fusion().constant, depth)
    return rankings


def with_anchored(found: Mapping[str, Rankings]) -> dict[str, Rankings]:
    """``found``, by system, and the student's :data:`ANCHORED`."""
    raw, student = found["raw"], found["student"]
    kept = {query: anchored(raw[query], ranked, ANCHOR) for query, ranked in student.items()}
    return {**found, ANCHORED: kept}


def _listed(
    stage: FirstStage, ids: Sequence[str], texts: Sequence[str], depth: int
) -> list[list[tuple[str, float]]]:
    found = stage.find(list(texts), depth)
    return [
        [
            (ids[place], float(score))
            for place, score in zip(places, scores, strict=True)
            if place != NONE
        ]
        for places, scores in zip(found.places, found.scores, strict=True)
    ]


def values(qrels: Qrels, rankings: Rankings, measure: str = HEADLINE) -> Values:
    """A measure for each judged query ``[q]``."""
    return np.fromiter(per_query(qrels, rankings, [measure])[measure].values(), dtype=np.float64)


def harm(qrels: Qrels, raw: Rankings, other: Rankings) -> dict[str, Any]:
    """Over the turns that are found well as they are: how many, and which share of them gets worse by
    nDCG@10. None where there are none."""
    well = found_well(qrels, raw)
    worse = values(qrels, other)[well] < values(qrels, raw)[well] - 1e-9
    lost = ~found_well(qrels, other)[well]
    return {
        "queries": int(well.sum()),
        "worse": float(worse.mean()) if well.any() else None,
        "lost": float(lost.mean()) if well.any() else None,
    }


def found_well(qrels: Qrels, rankings: Rankings) -> NDArray[np.bool_]:
    """Whether a relevant document is among the first :data:`FOUND_WELL`, of each judged query ``[q]``."""
    firsts = {query: ranked[:FOUND_WELL] for query, ranked in rankings.items()}
    return values(qrels, firsts, "RR@10") > 0


def recall_lost(qrels: Qrels, mine: Rankings, its: Rankings) -> list[str]:
    """Each limit of :data:`MOST_LOST` that an export breaks, by what its queries find (``its``) and those of
    its model do (``mine``)."""
    reasons = []
    for measure, most in MOST_LOST.items():
        lost = float((values(qrels, mine, measure) - values(qrels, its, measure)).mean())
        if not lost <= most:
            reasons.append(f"{measure} lost {lost:.4f} > {most}")
    return reasons


def quality(task: Task, systems: Mapping[str, Rankings], seed: int) -> dict[str, Any]:
    """``quality`` of the report: each measure of raw turn, teacher, student and, where they are others,
    human and the student without its decision to leave turns alone, with the share of the teacher's lift
    that the student has; intervals at 95 %."""
    rows = retrieval.quality(task.qrels, systems["teacher"], systems["student"], seed, MEASURES)
    for measure, row in rows.items():
        found = {name: values(task.qrels, each, measure) for name, each in systems.items()}
        row["raw"] = float(found["raw"].mean())
        row["lift"] = lift(found["raw"], found["teacher"], found["student"], seed)
        for name in (UNSKIPPED, ANCHORED):
            if name in found:
                row[name] = float(found[name].mean())
        if ANCHORED in found:
            row["anchored_lift"] = lift(found["raw"], found["teacher"], found[ANCHORED], seed)
        if "human" in found:
            row["human"] = float(found["human"].mean())
            row["gap"] = lift(found["raw"], found["human"], found["student"], seed)
    return rows


def retention(folder: Path, measure: str = HEADLINE) -> tuple[Values, Values]:
    """What teacher and student add to the raw turns' ``measure``, ``[q]`` each, from the run's files."""
    at = folder / "rankings"
    qrels = trec.read_qrels(at / "qrels.trec")
    raw, teacher, student = (
        values(qrels, trec.read(at / f"{name}.trec"), measure)
        for name in ("raw", "teacher", "student")
    )
    return teacher - raw, student - raw


class Judge:
    """Says what rewrites of some turns are worth to the search."""

    def __init__(
        self, stage: Words, ids: Sequence[str], queries: Sequence[Query], judged: Qrels
    ) -> None:
        self._stage, self._ids, self._qrels = stage, ids, judged
        self.queries = [query for query in queries if query.id in judged]
        self._raw = self._found([query.text for query in self.queries]) if self.queries else {}

    def _found(self, texts: Sequence[str]) -> Rankings:
        return search(self._stage, self._ids, self.queries, texts)

    def __call__(self, texts: Sequence[str]) -> tuple[float, float | None]:
        """The mean nDCG@10 of rewrites, in the order of ``queries``, and the share of harm."""
        found = self._found(texts)
        return float(values(self._qrels, found).mean()), harm(self._qrels, self._raw, found)[
            "worse"
        ]


def keep(folder: Path, name: str, queries: Sequence[Query], rewrites: Sequence[str]) -> None:
    """``rewrites/NAME.jsonl``: of each turn its id, the turn, its conversation and the rewrite."""
    rows = [
        {
            "id": query.id,
            "text": query.text,
            "context_turns": list(query.context_turns),
            "rewrite": text,
        }
        for query, text in zip(queries, rewrites, strict=True)
    ]
    path = folder / "rewrites" / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
