"""The student first, and its teacher where it is unsure: what a threshold of sureness costs and keeps.

After FrugalGPT (Chen, Zaharia and Zou, arXiv:2305.05176), a cascade of models whose threshold is learnt, and
selective classification (Geifman and El-Yaniv, arXiv:1705.08500), which chooses the threshold by a bound on
one sample of what is given up. Other than there, no model is trained to score: the signal is one that the
stack gives anyway. What is not sure is not given up but asked of the teacher, and the test of a threshold is
the verdict's (:mod:`ragdistill.metrics.verdict`), for quality is not right or wrong alone. Thresholds are tested
from the safest on, each only where all safer ones passed, so that no number of them makes a wrong choice likelier
(a fixed sequence: Maurer, Hothorn and Lehmacher, 1995; learn then test, arXiv:2110.01052).

Signal and thresholds are chosen on one half of the queries and measured on the other, so no figure is of the
queries that it was chosen by. A query that is escalated takes the student's time and then the teacher's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ragdistill.metrics.auroc import Auroc, auroc
from ragdistill.metrics.bootstrap import compare
from ragdistill.metrics.latency import percentiles
from ragdistill.metrics.studentised import studentised
from ragdistill.metrics.verdict import ALPHA, fewest_queries
from ragdistill.rag.cells import Values
from ragdistill.rag.drilldown import LEAST

Decision = Literal["escalate", "never", "teacher"]
NEVER, ALWAYS = -np.inf, np.inf
"""Thresholds: a query is escalated if its signal is below."""
_SHARES = np.arange(1, 20) / 20
"""Of the queries, to be escalated, that thresholds are told of beside the chosen one and the two ends."""
_FEWEST = 4
"""Queries that can be divided."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What came of the same queries ``[q]`` in both stacks."""

    teacher: Values
    """Quality."""
    student: Values
    teacher_ms: Values
    """Milliseconds of the whole request; NaN where a part failed."""
    student_ms: Values

    def at(self, places: NDArray[np.integer[Any]]) -> "Outcomes":
        """Those of some queries."""
        return Outcomes(
            self.teacher[places],
            self.student[places],
            self.teacher_ms[places],
            self.student_ms[places],
        )

    @property
    def lost(self) -> NDArray[np.bool_]:
        """Where the student does worse."""
        return self.teacher - self.student > LEAST


def halves(count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of the queries to choose by and of those to measure on, drawn with ``seed``."""
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[: count // 2]), np.sort(order[count // 2 :])


def escalation(
    signals: Mapping[str, Values], outcomes: Outcomes, gate: float | None, seed: int
) -> dict[str, Any] | None:
    """``escalation`` of report.json, but for its measure; None where there is no signal, or too few queries.

    Args:
        signals: what may say how sure the student is of each query ``[q]``, higher is surer.
        gate: the share of the teacher's quality that the threshold is to keep; None chooses none.
        seed: of the halves, and of the resampling.
    """
    if not signals or len(outcomes.teacher) < _FEWEST:
        return None
    choosing, measuring = halves(len(outcomes.teacher), seed)
    known, new = outcomes.at(choosing), outcomes.at(measuring)
    areas = {name: auroc(-values[choosing], known.lost) for name, values in signals.items()}
    # The first of equal ones is that of the later stage.
    name = max(areas, key=lambda each: _area(areas[each]))
    sure = signals[name]
    chosen = None if gate is None else least(sure[choosing], known, gate, seed)
    points = [
        _point(threshold, sure[measuring], new, seed, chosen=threshold == chosen)
        for threshold in _thresholds(sure[choosing], chosen)
    ]
    told = auroc(-sure[measuring], new.lost)
    decision, reason = _advice(told, points, new, gate)
    return {
        "gate": gate,
        "signal": name,
        "chosen_on": len(choosing),
        "measured_on": len(measuring),
        "lost": int(new.lost.sum()),
        "auroc": told and told.value,
        "ci95": told and list(told.ci95),
        "tells": told is not None and told.tells,
        "candidates": {each: area and area.value for each, area in areas.items()},
        "teacher": {"latency": _latency(new.teacher_ms, new)},
        "points": points,
        "advice": {"decision": decision, "reason": reason},
    }


def _area(found: Auroc | None) -> float:
    return 0.0 if found is None else found.value


def least(sure: Values, outcomes: Outcomes, gate: float, seed: int) -> float | None:
    """The threshold that escalates the fewest of these queries and keeps more than ``gate`` of the teacher's
    quality beyond doubt (one-sided, 5 %), as all do that escalate more; ``ALWAYS`` where none does, None where
    there are too few queries for any to.

    Args:
        sure: the signal ``[q]``.
        seed: of the resampling.
    """
    if np.count_nonzero(outcomes.teacher > 0) < fewest_queries(gate):
        return None
    chosen = ALWAYS
    for threshold in reversed(_thresholds(sure, None)[:-1]):
        quality = np.where(sure < threshold, outcomes.teacher, outcomes.student)
        bounds = studentised(quality - gate * outcomes.teacher, seed).bounds(ALPHA)
        if bounds is None or bounds[0] <= 0:
            break
        chosen = threshold
    return chosen


def _thresholds(sure: Values, chosen: float | None) -> list[float]:
    """The two ends, those that escalate about ``_SHARES`` of these queries, and the chosen one."""
    ranked = np.sort(sure)
    between = ranked[(_SHARES * len(ranked)).astype(int)]
    telling = [float(each) for each in between if each > ranked[0]]
    known = {NEVER, *telling, ALWAYS}
    return sorted(known if chosen is None else {*known, chosen})


def _point(
    threshold: float, sure: Values, outcomes: Outcomes, seed: int, *, chosen: bool
) -> dict[str, Any]:
    """What a threshold makes of queries that had no part in choosing it."""
    asked = np.ones(len(sure), bool) if threshold == ALWAYS else sure < threshold
    quality = np.where(asked, outcomes.teacher, outcomes.student)
    # What the student took before it failed is not known, and counts as nothing.
    both = np.nan_to_num(outcomes.student_ms) + outcomes.teacher_ms
    taken = np.where(asked, both, outcomes.student_ms)
    return {
        "threshold": threshold if np.isfinite(threshold) else None,
        "share": float(asked.mean()),
        "quality": compare(outcomes.teacher, quality, seed).as_json(),
        "latency": _latency(taken, outcomes),
        "chosen": chosen,
    }


def _latency(taken: Values, outcomes: Outcomes) -> dict[str, float | None]:
    """Mean and 95th percentile of the milliseconds ``taken``, and the mean as a share of the teacher's."""
    known, teacher = (ms[np.isfinite(ms)] for ms in (taken, outcomes.teacher_ms))
    if not len(known):
        return {"mean_ms": None, "p95_ms": None, "share": None}
    mean, whole = float(known.mean()), float(teacher.mean()) if len(teacher) else 0.0
    return {
        "mean_ms": mean,
        "p95_ms": percentiles([ms / 1000 for ms in known])["p95_ms"],
        "share": mean / whole if whole else None,
    }


def _advice(
    told: Auroc | None, points: list[dict[str, Any]], outcomes: Outcomes, gate: float | None
) -> tuple[Decision, str]:
    """What to do, and why."""
    if told is None:
        kind = "every" if outcomes.lost.any() else "no"
        return "never", f"{kind} query was lost, so nothing can tell which to escalate"
    if not told.tells:
        return "never", "the signal does not tell the queries that were lost from the others"
    if gate is None:
        return "never", "no share of the teacher's quality is asked for, so no threshold is chosen"
    point = next((each for each in points if each["chosen"]), None)
    if point is None:
        fewest = fewest_queries(gate)
        return "never", (
            f"too few queries to choose a threshold by: it takes {fewest:,} of one half on which the teacher is above 0"
        )
    if point is points[-1]:
        return "teacher", "no threshold keeps what is asked for beyond doubt"
    if (point["quality"]["retention"] or 0.0) < gate:
        return (
            "never",
            "the threshold that was chosen does not keep what is asked for on the other queries",
        )
    if point is points[0]:
        return "never", "the student alone keeps what is asked for"
    if (point["latency"]["share"] or 0.0) >= 1:
        return "teacher", "a request takes no less time on average than the teacher's alone"
    return "escalate", "the fewest queries with which what is asked for is kept beyond doubt"
