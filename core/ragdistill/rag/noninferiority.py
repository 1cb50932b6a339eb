"""May a distilled stack replace its teacher's? Several criteria at once.

*Go* is said if every criterion is met beyond doubt, each tested at 5 %. That needs no correction: go is
wrong only if some criterion is not met, and then that one's test alone errs in 5 % of cases at most
(intersection-union test; Berger: Multiparameter hypothesis testing and acceptance sampling,
Technometrics 24, 1982). *No-go* is said if any criterion is missed beyond doubt, which is the other
way round: each further one is a further chance to err, so these tests are Holm's.

Quality is tested as :mod:`ragdistill.metrics.verdict` tests it, at 4 % for 5: the bootstrap is not
exact, and 5 % are promised (``benchmarks/verdicts.py``). Latency and errors have exact bounds. What
was not measured is never met.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragdistill.metrics.bootstrap import checked
from ragdistill.metrics.exact import (
    holm,
    quantile_bounds,
    rate_bounds,
    rate_p,
    smallest_alpha,
)
from ragdistill.metrics.studentised import studentised
from ragdistill.metrics.verdict import (
    ALPHA,
    Decision,
    fewest_queries,
    queries_needed,
)
from ragdistill.rag.criteria import Criteria

Values = NDArray[np.float64]
_CAUTION = 0.8
"""The level at which *go* of quality is tested, as a share of the one promised."""
_LOWER_IS_BETTER = ("p95_ms", "error_rate")
_SLOW = 0.05
"""Share of requests that may be slower than the 95th percentile."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was measured of both stacks; None was not."""

    quality: Mapping[str, tuple[Values, Values]] = field(default_factory=dict)
    """By measure, values per query of teacher and student ``[q]``, the same queries in the same order."""
    student_ms: Values | None = None
    """Milliseconds of single requests ``[n]``."""
    teacher_ms: Values | None = None
    errors: tuple[int, int] | None = None
    """Of the student: how many requests failed, of how many."""
    saving: float | None = None
    """Share of the teacher's cost."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One criterion."""

    criterion: str
    decision: Decision
    value: float | None
    """What was seen: the share kept, milliseconds, the rate, the share saved; None: not measured."""
    limit: float
    interval: tuple[float, float] | None
    """Of ``value``, of quality of its margin above ``limit``; each end a one-sided bound at the
    level of its test."""
    p_missed: float | None
    """How likely so bad a figure is if the criterion is met; None where it isn't a draw."""
    queries: int | None
    queries_needed: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class JointVerdict:
    """All criteria together; the first five keys are those of ``verdict`` in report.json."""

    decision: Decision
    margin: float | None
    """Of the criterion that decides, value - limit with its sign such that above 0 is good."""
    reason: str
    queries_needed: int | None
    """Only if inconclusive: requests or judged queries that would settle all that is undecided, each
    with a chance of 80 %; None if none would, or something was not measured."""
    measure: str
    """The criterion that decides."""
    findings: list[Finding]

    def as_json(self) -> dict[str, Any]:
        """As report.json holds it: unknown is null, intervals are lists."""
        told = asdict(self)
        for finding in told["findings"]:
            ends = finding["interval"]
            # An infinite bound is an unknown one.
            finding["interval"] = ends and [end if np.isfinite(end) else None for end in ends]
        return told


def judge(criteria: Criteria, evidence: Evidence, seed: int, alpha: float = ALPHA) -> JointVerdict:
    """Go, no-go or inconclusive on all ``criteria``.

    Args:
        seed: of the resampling of quality.

    Raises:
        ValueError: no criterion at all, values that do not pair up or are not finite, a count of
            errors above that of requests.
    """
    found = [*_qualities(criteria, evidence, seed, alpha)]
    if criteria.p95_ms is not None:
        found.append(_latency(criteria, evidence, alpha))
    if criteria.error_rate is not None:
        found.append(_errors(criteria.error_rate, evidence.errors, alpha))
    if criteria.saving is not None:
        found.append(_saving(criteria.saving, evidence.saving))
    if not found:
        raise ValueError("no criterion is asked for")
    return _joint(_corrected(found, alpha))


def _corrected(found: list[Finding], alpha: float) -> list[Finding]:
    """No-go only where Holm's test says so; a tentative no-go that it does not is inconclusive."""
    drawn = [finding for finding in found if finding.p_missed is not None]
    fallen = holm([finding.p_missed or 0.0 for finding in drawn], alpha)
    missed = {finding.criterion for finding, falls in zip(drawn, fallen, strict=True) if falls}
    settled = []
    for finding in found:
        decision = finding.decision
        if finding.p_missed is not None and decision != "go":
            decision = "no-go" if finding.criterion in missed else "inconclusive"
        settled.append(_worded(finding, decision))
    return settled


def _worded(finding: Finding, decision: Decision) -> Finding:
    values = {name: getattr(finding, name) for name in Finding.__dataclass_fields__}
    values["decision"] = decision
    if decision != "inconclusive":
        values["queries_needed"] = None
    said = {"go": "is met", "no-go": "is missed", "inconclusive": "is undecided"}[decision]
    if finding.value is None:
        said = "was not measured"
    needed = values["queries_needed"]
    more = f"; about {needed:,} would tell" if needed is not None else ""
    unit = "requests" if finding.criterion in _LOWER_IS_BETTER else "queries"
    over = "" if finding.queries is None else f", {finding.queries:,} {unit}"
    seen = "" if finding.value is None else f" (seen: {finding.value:.4g}{over}{more})"
    values["reason"] = f"{finding.reason} {said}{seen}"
    return Finding(**values)


def _joint(found: list[Finding]) -> JointVerdict:
    by = {
        decision: [finding for finding in found if finding.decision == decision]
        for decision in ("no-go", "inconclusive", "go")
    }
    if by["no-go"]:
        decides, decision = min(by["no-go"], key=_slack), "no-go"
    elif by["inconclusive"]:
        decides, decision = max(by["inconclusive"], key=_needs), "inconclusive"
    else:
        decides, decision = min(by["go"], key=_slack), "go"
    needed = [finding.queries_needed for finding in by["inconclusive"]]
    known = [count for count in needed if count is not None]
    settled = max(known, default=None) if len(known) == len(needed) else None
    told = by[decision] if decision != "go" else found
    return JointVerdict(
        decision,  # type: ignore[arg-type]  # a key of a literal
        _margin(decides),
        "; ".join(finding.reason for finding in told),
        settled if decision == "inconclusive" else None,
        decides.criterion,
        found,
    )


def _needs(finding: Finding) -> float:
    if finding.value is None:
        return np.inf
    return np.inf if finding.queries_needed is None else finding.queries_needed


def _margin(finding: Finding) -> float | None:
    if finding.value is None:
        return None
    off = finding.value - finding.limit
    return -off if finding.criterion in _LOWER_IS_BETTER else off


def _slack(finding: Finding) -> float:
    margin = _margin(finding)
    return (margin or 0.0) / abs(finding.limit or 1.0)


def _qualities(criteria: Criteria, evidence: Evidence, seed: int, alpha: float) -> list[Finding]:
    found = []
    for measure, (teacher, student) in evidence.quality.items():
        if (gate := criteria.gate(measure)) is not None:
            found.append(_quality(measure, gate, teacher, student, seed, alpha))
    for measure, gate in criteria.quality.items():
        if measure not in evidence.quality and not any(sign in measure for sign in "*?["):
            found.append(_unmeasured(measure, gate, f"{measure} at {gate:.4g} of the teacher's"))
    if criteria.quality and not found:
        asked = next(iter(criteria.quality.items()))
        found.append(_unmeasured("quality", asked[1], f"{asked[1]:.4g} of the teacher's quality"))
    return found


def _quality(
    measure: str, gate: float, teacher: Values, student: Values, seed: int, alpha: float
) -> Finding:
    teacher, student = checked(teacher, student)
    differences = student - gate * teacher
    margin, telling = studentised(differences, seed), int(np.count_nonzero(teacher > 0))
    level = alpha * _CAUTION
    interval = margin.bounds(level)
    met = interval is not None and interval[0] > 0 and telling >= fewest_queries(gate, level)
    return Finding(
        measure,
        "go" if met else "inconclusive",
        float(student.mean() / teacher.mean()) if teacher.mean() else None,
        gate,
        interval,
        margin.p_below() if telling else 1.0,
        len(teacher),
        queries_needed(differences, telling, gate, level),
        f"{measure} at {gate:.4g} of the teacher's",
    )


def _latency(criteria: Criteria, evidence: Evidence, alpha: float) -> Finding:
    limit, own = criteria.p95_ms or 0.0, evidence.student_ms
    teacher = evidence.teacher_ms if criteria.p95_of_teacher else None
    words = f"p95 within {limit:g} ms" + (" or the teacher's" if teacher is not None else "")
    if own is None or not len(own):
        return _unmeasured("p95_ms", limit, words)
    own, other = checked(own, own)[0], None if teacher is None else checked(teacher, teacher)[0]
    # Two ways to meet it: each is tested at half the level, a comparison with half of that each.
    level = alpha if other is None else alpha / 2
    met = quantile_bounds(own, 1 - _SLOW, level)[1] <= limit
    slower = rate_p(int(np.count_nonzero(own > limit)), len(own), _SLOW)[1]
    if other is not None:
        met = met or _below(own, other, level)
        slower = max(slower, smallest_alpha(lambda at: _below(other, own, at)))
        limit = max(limit, float(np.quantile(other, 1 - _SLOW)))
    above = int(np.count_nonzero(own > limit))
    return Finding(
        "p95_ms",
        "go" if met else "inconclusive",
        float(np.quantile(own, 1 - _SLOW)),
        limit,
        quantile_bounds(own, 1 - _SLOW, alpha),
        slower,
        len(own),
        _requests_needed(above, len(own), _SLOW, level),
        words,
    )


def _below(fast: Values, slow: Values, alpha: float) -> bool:
    """Whether the 95th percentile of ``fast`` is below that of ``slow``, tested at ``alpha``."""
    ahead = quantile_bounds(fast, 1 - _SLOW, alpha / 2)[1]
    return ahead < quantile_bounds(slow, 1 - _SLOW, alpha / 2)[0]


def _errors(limit: float, errors: tuple[int, int] | None, alpha: float) -> Finding:
    words = f"an error rate below {limit:.2%}"
    if errors is None or not errors[1]:
        return _unmeasured("error_rate", limit, words)
    failed, asked = errors
    if not 0 <= failed <= asked:
        raise ValueError(f"{failed} errors in {asked} requests")
    few, many = rate_p(failed, asked, limit)
    return Finding(
        "error_rate",
        "go" if few <= alpha else "inconclusive",
        failed / asked,
        limit,
        rate_bounds(failed, asked, alpha),
        many,
        asked,
        _requests_needed(failed, asked, limit, alpha),
        words,
    )


def _saving(limit: float, saving: float | None) -> Finding:
    words = f"a saving above {limit:.0%}"
    if saving is None:
        return _unmeasured("saving", limit, words)
    if not np.isfinite(saving):
        raise ValueError(f"a saving of {saving}")
    decision: Decision = "go" if saving > limit else "no-go"
    return Finding("saving", decision, saving, limit, None, None, None, None, words)


def _unmeasured(criterion: str, limit: float, words: str) -> Finding:
    return Finding(criterion, "inconclusive", None, limit, None, None, None, None, words)


def _requests_needed(seen: int, of: int, limit: float, alpha: float) -> int | None:
    """As :func:`queries_needed`, of a rate that is to be below ``limit``: each request counts
    ``limit``, less 1 if it failed. (A teacher who never fails, and a student held to 1 - limit.)"""
    differences = np.full(of, limit)
    differences[:seen] -= 1
    return queries_needed(differences, of, 1 - limit, alpha)
