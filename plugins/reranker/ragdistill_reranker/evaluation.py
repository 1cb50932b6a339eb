"""Everybody reranks the same candidates: the first stage's own order, the teacher, the student and its
exports."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from scipy.stats import spearmanr

from ragdistill.first_stage import NONE, Candidates, Scores
from ragdistill.metrics import retrieval
from ragdistill.metrics.lift import lift
from ragdistill.metrics.ranking import per_query
from ragdistill.metrics.retrieval import Task
from ragdistill.metrics.trec import Rankings
from ragdistill_reranker.blending import Present

MEASURES = ("nDCG@10", "RR@10", "AP@1000", "R@5", "R@10")
Values = NDArray[np.float64]


def reranked(task: Task, candidates: Candidates, scores: Scores) -> Rankings:
    """The candidates by ``scores`` ``[q, n]``, best first; what is scored alike stays in the first
    stage's order."""
    found = {}
    for query, places, row in zip(task.queries, candidates.places, scores, strict=True):
        listed = [
            (task.documents[place].id, float(score))
            for place, score in zip(places, row, strict=True)
            if place != NONE
        ]
        found[query.id] = sorted(listed, key=lambda item: -item[1])
    return found


def quality(
    task: Task, first: Rankings, teacher: Rankings, other: Rankings, seed: int
) -> dict[str, Any]:
    """Each measure of first stage, teacher and ``other``, what is kept, and the share of the teacher's
    lift over the first stage; intervals at 95 %, by paired bootstrap over the queries."""
    rows = retrieval.quality(task.qrels, teacher, other, seed, MEASURES)
    if not task.qrels:
        return rows
    systems = [per_query(task.qrels, each, MEASURES) for each in (first, teacher, other)]
    for measure, row in rows.items():
        values = [np.array(list(system[measure].values())) for system in systems]
        row |= {
            "first_stage": float(values[0].mean()),
            "lift": lift(values[0], values[1], values[2], seed),
        }
    return rows


def agreement(target: Scores, scores: Scores, there: Present) -> dict[str, float | None]:
    """How alike the orders and the softmaxes of teacher and student are, ``[q, n]`` each, the means over
    lists: Spearman's rank correlation, and ``KL(softmax(t) || softmax(f s))`` with the factor f under which
    it is least, for the student's scale is its own."""
    lists = [
        (t[mark].astype(np.float64), s[mark].astype(np.float64))
        for t, s, mark in zip(target, scores, there, strict=True)
        if mark.sum() > 1
    ]
    orders = [float(spearmanr(t, s).statistic) for t, s in lists if np.ptp(t) > 0 and np.ptp(s) > 0]

    def divergence(log_factor: float) -> float:
        return float(np.mean([_divergence(t, float(np.exp(log_factor)) * s) for t, s in lists]))

    least = minimize_scalar(divergence, bounds=(-8, 8), method="bounded").fun if lists else None
    return {
        "spearman": float(np.mean(orders)) if orders else None,
        "kl": None if least is None else float(least),
    }


def _divergence(teacher: Values, student: Values) -> float:
    """``KL(softmax(t) || softmax(s))`` of one list."""
    logs = log_softmax(teacher), log_softmax(student)
    return float(np.exp(logs[0]) @ (logs[0] - logs[1]))
