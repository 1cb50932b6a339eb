"""May the student replace the teacher? A test of non-inferiority over queries.

The student is held to ``gate`` times the teacher's mean, so each query counts with
``d = student - gate * teacher``, and *go* means that mean(d) is above 0 beyond doubt. ``d`` is
skewed where a student is usually right and rarely useless, or the other way round. Simulated at
exactly a gate of 0.95, where 5 % of wrong *go* are meant: a student that fails outright on 5 % of
100 queries passes the percentile bootstrap in 12 % of the cases; one that makes up for small
losses by rare gains passes BCa in 11 % (60 queries). The studentised bootstrap stayed below 7 %
throughout (Efron and Tibshirani: An Introduction to the Bootstrap, 1993, chapter 12).
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ragdistill.metrics.bootstrap import checked
from ragdistill.metrics.studentised import studentised

Decision = Literal["go", "no-go", "inconclusive"]

ALPHA = 0.05
"""Share of wrong *go* (and of wrong *no-go*) that is accepted at exactly the gate."""
POWER = 0.8
"""Chance that ``queries_needed`` queries settle it, if the difference seen is the true one."""
_NEVER = 100_000  # more judged queries than anybody will have


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the student keeps ``gate`` of the teacher's quality."""

    decision: Decision
    margin: float
    """mean(student) - gate * mean(teacher), in units of the measure; above 0 is good."""
    reason: str
    """One sentence for people."""
    queries_needed: int | None
    """Only if inconclusive: how many judged queries in all would settle it; None if none would."""
    gate: float
    interval: tuple[float, float] | None
    """Of the margin; each end is a one-sided bound at 95 %, or, of several compared, at
    1 - 0.05 / their number. None where it cannot be told."""
    queries: int

    def as_json(self) -> dict[str, Any]:
        """As report.json holds it: unknown is null, the interval a list."""
        return asdict(self) | {"interval": list(self.interval) if self.interval else None}


def decide(
    teacher: NDArray[np.float64],
    student: NDArray[np.float64],
    gate: float,
    seed: int,
    *,
    compared: int = 1,
    of: str = "quality",
    within: tuple[float, float] | None = None,
) -> Verdict:
    """Go, no-go or inconclusive.

    Go if the lower one-sided 95 % bound of the margin is above 0 and there are at least
    :func:`fewest_queries`; no-go if the upper one is below 0; else inconclusive.

    Args:
        teacher: values per query ``[q]``.
        student: values of the same queries in the same order ``[q]``.
        gate: the retention asked for, such as 0.95.
        seed: of the resampling.
        compared: how many systems are held to the gate so that one can be chosen by the outcome.
            Each is tested at ``ALPHA / compared`` (Bonferroni), so that whichever is chosen, a wrong
            *go* stays as rare as of one alone.
        of: what the values are of, in words.
        within: the least and greatest value there can be, where known; the interval is cut to fit.

    Raises:
        ValueError: no queries, other shapes, a value not finite or ``within``, or a gate not above 0.
    """
    alpha = ALPHA / compared
    if not gate > 0:
        raise ValueError(f"gate {gate} is not above 0")
    teacher, student = checked(teacher, student)
    differences = student - gate * teacher
    found = studentised(differences, seed)
    interval, margin = _cut(found.bounds(alpha), teacher, student, gate, within), found.mean
    telling, fewest = int(np.count_nonzero(teacher > 0)), fewest_queries(gate, alpha)
    decision: Decision = "inconclusive"
    if interval is not None and telling and interval[1] < 0:
        decision = "no-go"
    elif interval is not None and interval[0] > 0 and telling >= fewest:
        decision = "go"
    needed, reason = None, _settled(decision, gate, len(teacher), compared, of)
    if decision == "inconclusive":
        needed = queries_needed(differences, telling, gate, alpha)
        reason = _undecided(gate, len(teacher), telling, needed, of)
        if 0 < telling < fewest:
            needed = max(needed or 0, math.ceil(fewest * len(teacher) / telling))
            reason = _too_few(len(teacher), telling, fewest)
    return Verdict(decision, margin, reason, needed, gate, interval, len(teacher))


def fewest_queries(gate: float, alpha: float = ALPHA) -> int:
    """How many queries, on which the teacher scores at all, a *go* takes at the least.

    A student that fails outright on a share 1 - gate of the queries is at the gate; with fewer
    than log(alpha) / log(gate) queries, not one failure may be seen in a share alpha of the cases
    or more, and no resampling can find what was not seen. 59 for a gate of 0.95 and 5 %.
    """
    return math.ceil(math.log(alpha) / math.log(gate)) if gate < 1 else 1


def queries_needed(
    differences: NDArray[np.float64], telling: int, gate: float, alpha: float
) -> int | None:
    """How many queries in all would settle it, ``telling`` of those that there are having something
    to lose: by the normal approximation, with ``POWER``; at least one more than there are. None
    where no number that can be had would."""
    queries, mean = len(differences), differences.mean()
    if not telling or mean == 0:
        return None
    z = stats.norm.ppf(1 - alpha) + stats.norm.ppf(POWER)
    variance = differences.var(ddof=1) if queries > 1 else 0.0
    needed = max(math.ceil(variance * (z / mean) ** 2), queries + 1)
    if mean > 0:
        needed = max(needed, math.ceil(fewest_queries(gate, alpha) * queries / telling))
    return needed if needed < _NEVER else None


def _cut(
    interval: tuple[float, float] | None,
    teacher: NDArray[np.float64],
    student: NDArray[np.float64],
    gate: float,
    within: tuple[float, float] | None,
) -> tuple[float, float] | None:
    """``interval`` of the mean of student - gate * teacher without what is beyond all such differences:
    of few queries the studentised bootstrap, which knows no bounds, goes there. A cut end stays on its side of 0, so no decision changes."""
    if within is None:
        return interval
    low, high = within
    values = np.concatenate([teacher, student])
    # Sums of gains in floating point may end a rounding beyond 1.
    if values.min() < low - 1e-9 or values.max() > high + 1e-9:
        raise ValueError(f"a value is not between {low:g} and {high:g}")
    if interval is None:
        return None
    least, most = low - gate * high, high - gate * low
    return max(interval[0], least), min(interval[1], most)


def _settled(decision: Decision, gate: float, queries: int, compared: int, of: str) -> str:
    """Of a verdict that settles it."""
    sure = "95 % confidence" + (f" in all {compared} compared" if compared > 1 else "")
    held = f"{gate:.4g} of the teacher's {of} ({sure}, {queries:,} queries)"
    return f"the student keeps {'at least' if decision == 'go' else 'less than'} {held}"


def _too_few(queries: int, telling: int, fewest: int) -> str:
    on = telling < queries
    where = " on which the teacher is above 0" if on else ""
    among = (
        f"; of the {queries:,} here it is on {telling:,}" if on else f", and here are {queries:,}"
    )
    return f"too few queries for a verdict: at least {fewest:,}{where} at this gate{among}"


def _undecided(gate: float, queries: int, telling: int, needed: int | None, of: str) -> str:
    if not telling:
        return "the teacher finds nothing on these queries, so there is nothing to keep"
    if needed is None:
        return (
            f"{queries:,} queries do not tell on which side of {gate:.4g} the student is, and no number "
            "that can be had would: it is too near"
        )
    return (
        f"{queries:,} queries do not tell whether the student keeps {gate:.4g} of the teacher's "
        f"{of}; about {needed:,} would ({needed - queries:,} more)"
    )
