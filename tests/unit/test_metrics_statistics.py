"""Intervals and verdicts: reproducible, right where the answer is known, and honest at the gate."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from ragdistill.metrics import bootstrap, verdict

Values = NDArray[np.float64]


def _ndcg(random: np.random.Generator, queries: int) -> Values:
    """Values as nDCG with one relevant document has them: many 0 and 1, some between."""
    return random.choice([0, 1, 0.63, 0.5], size=queries, p=[0.3, 0.4, 0.2, 0.1])


def test_retention_and_interval_are_of_the_ratio_of_means() -> None:
    random = np.random.default_rng(0)
    teacher = random.uniform(0.2, 1, 400)
    student = 0.9 * teacher + random.normal(0, 0.1, 400)
    result = bootstrap.compare(teacher, student, seed=1)
    ratio = student.mean() / teacher.mean()
    assert (result.teacher, result.student) == (teacher.mean(), student.mean())
    assert result.retention == ratio
    assert result.ci95 is not None
    # The delta method is the reference: in this benign case the bootstrap agrees with it.
    error = (student - ratio * teacher).std(ddof=1) / math.sqrt(400) / teacher.mean()
    np.testing.assert_allclose(result.ci95, [ratio - 1.96 * error, ratio + 1.96 * error], atol=2e-3)
    assert bootstrap.compare(teacher, student, seed=1) == result
    assert bootstrap.compare(teacher, student, seed=2) != result


def test_pairing_makes_equal_systems_certain() -> None:
    values = np.random.default_rng(0).uniform(size=50)
    assert bootstrap.compare(values, values, seed=0).ci95 == (1.0, 1.0)
    half = bootstrap.compare(np.full(20, 0.5), np.full(20, 0.25), seed=0)
    assert (half.retention, half.ci95) == (0.5, (0.5, 0.5))


def test_unknown_is_none_never_zero() -> None:
    nothing = bootstrap.compare(np.zeros(5), np.ones(5), seed=0)
    assert (nothing.retention, nothing.ci95) == (None, None)
    single = bootstrap.compare(np.array([0.5]), np.array([0.4]), seed=0)
    assert (single.retention, single.ci95) == (0.8, None)
    assert single.as_json()["ci95"] is None
    # One query of three that counts: some resamples have no ratio at all.
    rare = bootstrap.compare(np.array([0, 0, 1.0]), np.array([0, 0, 0.5]), seed=0)
    assert rare.ci95 == (0.5, 0.5)


@pytest.mark.parametrize("bad", [np.array([]), np.ones(3), np.ones((2, 1)), np.array([1, np.nan])])
def test_values_that_do_not_pair_up_are_refused(bad: Values) -> None:
    with pytest.raises(ValueError, match="quer"):
        bootstrap.compare(bad, np.ones(2) if bad.size else bad, seed=0)


@pytest.mark.parametrize(
    ("loss", "expected"), [(0.0, "go"), (0.02, "go"), (0.2, "no-go"), (0.05, "inconclusive")]
)
def test_decisions(loss: float, expected: str) -> None:
    random = np.random.default_rng(3)
    teacher = random.uniform(0.3, 1, 300)
    student = teacher * (1 - loss) + random.normal(0, 0.03, 300)
    found = verdict.decide(teacher, student, gate=0.95, seed=0)
    assert found.decision == expected
    assert found.margin == pytest.approx(student.mean() - 0.95 * teacher.mean())
    assert found.interval is not None
    assert found.interval[0] <= found.margin <= found.interval[1]
    assert (found.queries_needed is None) == (expected != "inconclusive")


@pytest.mark.parametrize("student", ["equal", "rare failures"])
def test_false_go_at_exactly_the_gate_is_within_five_percent(
    student: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """300 comparisons whose true retention is the gate: go may be said in 5 % of them."""
    monkeypatch.setattr(bootstrap, "RESAMPLES", 999)
    random, gate, trials = np.random.default_rng(11), 0.9, 300
    false_go = 0
    for trial in range(trials):
        teacher = _ndcg(random, 120)
        if student == "equal":
            values = gate * teacher + random.normal(0, 0.1, 120)
        else:
            values = np.where(random.random(120) < 1 - gate, 0, teacher)
        false_go += verdict.decide(teacher, values, gate, seed=trial).decision == "go"
    assert false_go <= stats.binom.ppf(0.995, trials, verdict.ALPHA)


def test_a_choice_among_several_is_wrong_as_rarely_as_of_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Four students exactly at the gate: any go, and so any that is chosen, is in 5 % of cases."""
    monkeypatch.setattr(bootstrap, "RESAMPLES", 999)
    random, gate, trials = np.random.default_rng(7), 0.9, 120
    wrong = 0
    for trial in range(trials):
        teacher = _ndcg(random, 120)
        students = [gate * teacher + random.normal(0, 0.1, 120) for _ in range(4)]
        found = [verdict.decide(teacher, one, gate, trial, compared=4) for one in students]
        wrong += any(one.decision == "go" for one in found)
    assert wrong <= stats.binom.ppf(0.995, trials, verdict.ALPHA)
    one, several = (verdict.decide(teacher, students[0], gate, 0, compared=k) for k in (1, 4))
    assert one.interval is not None
    assert several.interval is not None
    assert several.interval[0] < one.interval[0] < one.interval[1] < several.interval[1]
    assert verdict.fewest_queries(0.95, verdict.ALPHA / 4) == 86


def test_few_queries_never_go() -> None:
    """Not one failure among 58 queries is what a student at the gate shows in over 5 % of cases."""
    assert verdict.fewest_queries(0.95) == 59
    assert 0.95**59 < 0.05 < 0.95**58
    few = verdict.decide(np.ones(58), np.ones(58), gate=0.95, seed=0)
    assert (few.decision, few.queries_needed) == ("inconclusive", 59)
    assert few.reason == "too few queries for a verdict: at least 59 at this gate, and here are 58"
    worse = verdict.decide(np.ones(4), np.array([0.9, 0.9, 0.9, 0.8]), gate=0.95, seed=0)
    assert (worse.decision, worse.queries_needed) == ("inconclusive", 59)
    assert verdict.decide(np.ones(59), np.ones(59), gate=0.95, seed=0).decision == "go"
    # Queries on which the teacher finds nothing tell nothing.
    teacher = np.repeat([1.0, 0.0], 58)
    blind = verdict.decide(teacher, teacher, gate=0.95, seed=0)
    assert blind.queries_needed == 118
    assert (
        "at least 59 on which the teacher is above 0 at this gate; of the 116 here it is on 58"
        in blind.reason
    )


@pytest.mark.parametrize("student", [[1, 1, 1, 1, 0], [0, 0, 0, 0, 1]])
def test_a_margin_is_not_said_to_lie_where_none_can(student: list[float]) -> None:
    """Values are between 0 and 1, so no mean of student - gate x teacher is below -gate or above 1."""
    values = np.array(student, dtype=np.float64)
    teacher = np.linspace(0.4, 0.6, len(values))
    free = verdict.decide(teacher, values, gate=0.9, seed=0)
    held = verdict.decide(teacher, values, gate=0.9, seed=0, within=(0.0, 1.0))
    assert free.interval is not None
    assert held.interval is not None
    assert free.interval[0] < -0.9 or free.interval[1] > 1
    assert -0.9 <= held.interval[0] < held.margin < held.interval[1] <= 1
    assert (held.decision, held.reason) == (free.decision, free.reason)
    lifts = verdict.decide(teacher, values, gate=0.9, seed=0, within=(-1.0, 1.0))
    assert lifts.interval == (max(free.interval[0], -1.9), min(free.interval[1], 1.9))
    with pytest.raises(ValueError, match="between"):
        verdict.decide(teacher, -values, gate=0.9, seed=0, within=(0.0, 1.0))


def test_as_many_queries_as_said_do_settle_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "RESAMPLES", 499)
    random = np.random.default_rng(5)

    def sample(queries: int) -> tuple[Values, Values]:
        teacher = random.uniform(0.3, 1, queries)
        return teacher, 0.96 * teacher + random.normal(0, 0.08, queries)

    # The population's own figures, so that the estimate is not of one lucky sample.
    teacher, student = sample(200_000)
    differences = student - 0.95 * teacher
    z = stats.norm.ppf(0.95) + stats.norm.ppf(verdict.POWER)
    needed = math.ceil((z * differences.std() / differences.mean()) ** 2)
    settled = sum(
        verdict.decide(*sample(needed), gate=0.95, seed=seed).decision == "go"
        for seed in range(100)
    )
    assert 68 <= settled <= 92


def test_what_no_number_of_queries_settles() -> None:
    tied = verdict.decide(np.full(9, 0.5), np.full(9, 0.5), gate=1.0, seed=0)
    assert (tied.decision, tied.queries_needed) == ("inconclusive", None)
    nothing = verdict.decide(np.zeros(90), np.zeros(90), gate=0.9, seed=0)
    assert (nothing.decision, nothing.queries_needed) == ("inconclusive", None)
    assert "finds nothing" in nothing.reason
    one = verdict.decide(np.ones(1), np.zeros(1), gate=0.9, seed=0)
    assert (one.decision, one.interval) == ("inconclusive", None)
    with pytest.raises(ValueError, match="gate"):
        verdict.decide(np.ones(3), np.ones(3), gate=0, seed=0)


def test_a_student_above_its_teacher_goes() -> None:
    random = np.random.default_rng(2)
    teacher = random.uniform(0.2, 0.7, 200)
    assert verdict.decide(teacher, teacher + 0.1, gate=1.0, seed=0).decision == "go"
