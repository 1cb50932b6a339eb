"""Asking the teacher where the student is unsure: what is certain of any signal, and what noise may not claim."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from page_helpers import Parsed
from rag_helpers import FakePart, fake_parts, write_conversations, write_stack
from ragdistill.data.collection import Query
from ragdistill.metrics import bootstrap
from ragdistill.metrics.auroc import auroc
from ragdistill.metrics.verdict import decide
from ragdistill.rag.cells import rows
from ragdistill.rag.compare import SURENESS, Comparison, compare
from ragdistill.rag.criteria import Criteria
from ragdistill.rag.escalation import ALWAYS, NEVER, Outcomes, escalation, halves, least
from ragdistill.rag.pipeline import Seen
from ragdistill.rag.sureness import UNSURE, signals
from ragdistill.report.stacks.escalation import lines


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "RESAMPLES", 400)


def outcomes(lost: np.ndarray, ms: tuple[float, float] = (100.0, 10.0)) -> Outcomes:
    """A teacher that is always right, and a student that is unless a query is lost."""
    count = len(lost)
    return Outcomes(np.ones(count), 1.0 - lost, np.full(count, ms[0]), np.full(count, ms[1]))


def told(
    signal: np.ndarray, of: Outcomes, gate: float | None = 0.93, seed: int = 0
) -> dict[str, Any]:
    found = escalation({"signal": signal}, of, gate, seed)
    assert found is not None
    json.dumps(found, allow_nan=False)
    return found


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(4, 80))
def test_the_ends_are_the_student_and_the_teacher(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    of = Outcomes(*random.random((2, count)), *(1 + random.random((2, count))))
    signal = random.integers(0, 5, count).astype(float)
    signal[random.random(count) < 0.1] = -np.inf
    found = told(signal, of, 0.9, seed)
    new = of.at(halves(count, seed)[1])
    never, *_, always = found["points"]
    assert (never["threshold"], never["share"]) == (None, 0)
    assert never["quality"]["student"] == pytest.approx(new.student.mean())
    assert never["latency"]["mean_ms"] == pytest.approx(new.student_ms.mean())
    assert (always["threshold"], always["share"]) == (None, 1)
    assert always["quality"]["student"] == pytest.approx(new.teacher.mean())
    assert always["quality"]["retention"] == pytest.approx(1)
    # Who is asked after the student is waited for after it.
    assert always["latency"]["mean_ms"] == pytest.approx((new.student_ms + new.teacher_ms).mean())
    assert found["teacher"]["latency"]["mean_ms"] == pytest.approx(new.teacher_ms.mean())
    shares = [point["share"] for point in found["points"]]
    assert shares == sorted(shares)
    assert sum(point["chosen"] for point in found["points"]) <= 1


def test_a_perfect_signal_reaches_the_teacher_at_the_share_of_lost_queries() -> None:
    random = np.random.default_rng(0)
    lost = random.random(400) < 0.2
    of = outcomes(lost)
    found = told(-lost.astype(float), of)
    share = lost[halves(400, 0)[1]].mean()
    assert found["auroc"] > 0.9
    assert found["tells"]
    (point,) = [each for each in found["points"] if each["chosen"]]
    assert point["share"] == pytest.approx(share)
    assert point["quality"]["student"] == 1
    assert point["latency"]["mean_ms"] == pytest.approx(10 + 100 * share)
    assert point["latency"]["p95_ms"] == pytest.approx(110)
    assert point["latency"]["share"] == pytest.approx((10 + 100 * share) / 100)
    assert found["advice"]["decision"] == "escalate"


def test_noise_claims_nothing(few_resamples: None) -> None:
    claims = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        of = outcomes(random.random(60) < 0.3)
        # Of several that are noise the luckiest is chosen on one half, and has to show it on the other.
        noise = {str(n): random.normal(size=60) for n in range(6)}
        found = escalation(noise, of, 0.93, seed)
        claims += found is not None and found["tells"]
    assert claims <= 12  # 5 are meant: more in one of a thousand cases
    found = told(np.arange(200.0) % 7, outcomes(np.arange(200) % 3 == 0))
    assert not found["tells"]
    assert found["advice"] == {
        "decision": "never",
        "reason": "the signal does not tell the queries that were lost from the others",
    }


def test_nothing_is_measured_on_the_queries_that_chose() -> None:
    random = np.random.default_rng(1)
    lost, signal = random.random(200) < 0.3, random.normal(size=200)
    choosing, measuring = halves(200, 3)
    assert sorted([*choosing, *measuring]) == list(range(200))
    found = told(signal - lost, outcomes(lost), seed=3)
    thresholds = [point["threshold"] for point in found["points"]]
    # Other outcomes where it is measured change what is measured, and nothing that is chosen.
    other = lost.copy()
    other[measuring] = ~other[measuring]
    again = told(signal - lost, outcomes(other), seed=3)
    assert [point["threshold"] for point in again["points"]] == thresholds
    assert [p["chosen"] for p in again["points"]] == [p["chosen"] for p in found["points"]]
    assert again["candidates"] == found["candidates"]
    assert again["auroc"] != found["auroc"]


@pytest.mark.parametrize("gate", [0.8, 0.93, 1.0])
def test_the_threshold_is_the_last_that_the_verdict_takes_from_the_safest_on(
    few_resamples: None, gate: float
) -> None:
    chosen = set()
    for seed in range(12):
        random = np.random.default_rng(seed)
        teacher, lost = random.beta(9, 1, 80), random.random(80) < 0.2
        student = np.where(lost, 0.0, teacher)
        signal = np.round(random.normal(size=80) - 2 * lost, 1)
        threshold = least(signal, Outcomes(teacher, student, teacher, student), gate, 0)

        def go(limit: float) -> bool:
            mixed = np.where(signal < limit, teacher, student)  # noqa: B023 - called in this turn
            return decide(teacher, mixed, gate, 0).decision == "go"  # noqa: B023

        # One in twenty queries more at each.
        between = np.sort(signal)[np.arange(4, 80, 4)]
        known = sorted({NEVER, *between[between > signal.min()], ALWAYS})
        assert threshold in known
        above = [each for each in known if threshold < each < ALWAYS]
        assert threshold == ALWAYS or go(threshold)
        assert all(map(go, above)) or gate == 1
        chosen.add(threshold)
    assert (chosen == {ALWAYS}) is (gate == 1)


def test_it_is_rarely_wrong_that_a_threshold_keeps_enough(few_resamples: None) -> None:
    """Of a signal that is noise: the truth of a threshold is the share of queries that it escalates."""
    wrong = chosen = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        signal, lost = random.normal(size=120), random.random(120) < 0.2
        teacher = random.beta(2, 0.5, 120)
        of = Outcomes(teacher, np.where(lost, 0.0, teacher), teacher, teacher)
        threshold = least(signal, of, 0.85, seed)
        assert threshold is not None
        chosen += threshold < ALWAYS
        wrong += 1 - 0.2 * (1 - stats.norm.cdf(threshold)) < 0.85
    assert chosen > 100
    assert wrong <= 19  # 10 are meant: more in five of a thousand cases


def test_too_few_queries_choose_no_threshold() -> None:
    found = told(np.arange(60.0), outcomes(np.arange(60) < 10))
    assert found["tells"]
    assert not any(point["chosen"] for point in found["points"])
    assert "it takes 42 of one half" in found["advice"]["reason"]


def test_what_the_other_half_does_not_keep_is_not_advised() -> None:
    choosing, measuring = halves(200, 0)
    lost = np.zeros(200, bool)
    lost[choosing[:20]], lost[measuring[:60]] = True, True
    signal = -lost.astype(float)
    signal[measuring[40:60]] = 0  # lost, and not to be told from others
    found = told(signal, outcomes(lost))
    assert found["tells"]
    assert found["advice"]["decision"] == "never"
    assert "on the other queries" in found["advice"]["reason"]


@pytest.mark.parametrize(
    ("lost", "ms", "gate", "decision", "reason"),
    [
        (0.0, (100, 10), 0.93, "never", "no query was lost"),
        (1.0, (100, 10), 0.93, "never", "every query was lost"),
        (0.02, (100, 10), 0.9, "never", "the student alone keeps"),
        (0.3, (100, 10), None, "never", "no share of the teacher's quality"),
        (0.3, (100, 95), 0.93, "teacher", "no less time on average"),
    ],
)
def test_what_is_advised(
    lost: float, ms: tuple[float, float], gate: float | None, decision: str, reason: str
) -> None:
    which = np.arange(1000) < 1000 * lost
    random = np.random.default_rng(0)
    found = told(random.normal(size=1000) - 4 * which, outcomes(which, ms), gate)
    assert found["advice"]["decision"] == decision
    assert reason in found["advice"]["reason"]


def test_a_request_that_failed_is_escalated_first_and_takes_the_teachers_time() -> None:
    lost = np.arange(200) % 4 == 0
    of = outcomes(lost)
    signal = np.where(lost, -np.inf, 1.0)
    of.student_ms[lost] = np.nan
    found = told(signal, of)
    (point,) = [each for each in found["points"] if each["chosen"]]
    assert point["threshold"] == 1.0
    assert point["quality"]["student"] == 1
    # Of these the teacher's time alone is known.
    share = point["share"]
    assert point["latency"]["mean_ms"] == pytest.approx((1 - share) * 10 + share * 100)


def test_too_few_queries_tell_nothing() -> None:
    assert escalation({"signal": np.arange(3.0)}, outcomes(np.arange(3) < 1), 0.9, 0) is None
    assert escalation({}, outcomes(np.arange(9) < 1), 0.9, 0) is None


def test_the_area_is_by_hand_and_its_interval_leaves_out_what_the_u_test_rejects() -> None:
    found = auroc(np.array([3.0, 1.0, 2.0, 1.0]), np.array([1, 1, 0, 0], bool))
    assert found is not None
    assert found.value == (1 + 1 + 0 + 0.5) / 4
    assert auroc(np.arange(3.0), np.zeros(3, bool)) is None
    random = np.random.default_rng(0)
    for _ in range(300):
        count, ours = int(random.integers(6, 60)), int(random.integers(1, 5))
        scores, positive = random.normal(size=count), np.arange(count) < ours
        scores[positive] += random.choice([0, 1, 2])
        found = auroc(scores, positive)
        assert found is not None
        test = stats.mannwhitneyu(
            scores[positive], scores[~positive], method="asymptotic", use_continuity=False
        )
        low, high = found.ci95
        assert 0 <= low <= found.value <= high <= 1
        assert (low > 0.5 or high < 0.5) == (test.pvalue < 0.05)


def test_a_stack_is_as_sure_as_its_scores_say() -> None:
    def seen(*scores: float, error: str = "") -> Seen:
        found = tuple((f"d{place}", score) for place, score in enumerate(scores))
        return Seen(Query("q", "which"), "which", found, found, error=error)

    told = signals([seen(9, 7, 4), seen(5), seen(), seen(9, 8, 2, error="reranker: no")])
    assert {name: list(values) for name, values in told.items()} == {
        "retrieval's first score": [9, 5, UNSURE, UNSURE],
        "retrieval's margin over rank 2": [2, UNSURE, UNSURE, UNSURE],
        "retrieval's margin over rank 3": [5, UNSURE, UNSURE, UNSURE],
    }
    assert signals([seen(3), seen(3)]) == {}
    reranked = Seen(Query("q", "which"), "which", (("a", 1.0), ("b", 0.5)), (("b", 8.0),))
    assert next(iter(signals([reranked, seen(9, 7)]))) == "reranker's first score"


@pytest.mark.parametrize("told", [None, -0.5])
def test_answers_are_sure_where_all_of_them_say_so(told: float | None) -> None:
    seen = [
        Seen(Query("q", "which"), "which", answer="it", log_probability=each, error=error)
        for each, error in ((-0.1, ""), (told, ""), (None, "generator: no"))
    ]
    found = {name: list(values) for name, values in signals(seen).items()}
    assert found == ({"generator's log-probability": [-0.1, -0.5, UNSURE]} if told else {})


def test_two_stacks_say_where_to_escalate(tmp_path: Path) -> None:
    def slow(part: str, what: tuple[Any, ...]) -> None:
        if part == "generator good":
            time.sleep(0.02)

    data = write_conversations(tmp_path / "data", 80)
    one, other = (
        write_stack(
            tmp_path / f"{name}.yaml",
            rewriter="fake:rewriter/good",
            embedder={"model": "fake:embedder/good", "k": 8},
            generator={"model": f"fake:generator/{name}", "contexts": 2},
        )
        for name in ("good", "fair")
    )
    with fake_parts():
        FakePart.trouble = slow
        asked = Comparison(one, other, str(data), tmp_path / "run", criteria=Criteria({"*": 0.85}))
        report = compare(asked)
    found = report["escalation"]
    assert found["measure"] == "F1"
    assert found["gate"] == 0.85
    assert found["signal"] == "generator's log-probability"
    assert found["auroc"] > 0.9
    assert found["advice"]["decision"] == "escalate"
    sure = rows(tmp_path / "run" / SURENESS)
    assert [row["query"] for row in sure] == [f"q{n}" for n in range(80)]
    halves = [row["half"] for row in sure]
    assert found["chosen_on"] == halves.count("chosen on") == 40
    assert found["measured_on"] == halves.count("measured on") == 40
    (point,) = [each for each in found["points"] if each["chosen"]]
    assert 0 < point["share"] < 0.5
    assert point["quality"]["retention"] > 0.85
    assert point["latency"]["share"] < 1
    signal = [row["signals"][found["signal"]] for row in sure if row["half"] == "measured on"]
    assert point["share"] == np.mean([each < point["threshold"] for each in signal])
    page = Parsed((tmp_path / "run/report.html").read_text(encoding="utf-8"))
    for line in lines(found):
        assert line[1:] in page.text  # the page begins it with a capital
