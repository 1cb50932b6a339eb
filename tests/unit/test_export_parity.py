"""The gate that holds an export's replies against its model's."""

import json
import math

import numpy as np
import pytest

from ragdistill.export.causal.parity import FP32, INT8, Reference, ReplyLimits
from tiny_writers import FakeWriter

MINE, ITS = [0.6, 0.395, 0.005], [0.3, 0.6, 0.1]
REPLIES = [[0, 0, 1], [0]]
PROMPTS = [[2], [1, 2]]
LOOSE = ReplyLimits(max_abs_diff=math.inf, agreement=0, quality_loss=math.inf)


def reference(judge=None) -> Reference:
    return Reference(FakeWriter(MINE, REPLIES), PROMPTS, 3, judge)


def test_a_model_is_its_own_equal() -> None:
    found = reference(lambda name, written: np.ones(2)).check(
        FakeWriter(MINE, REPLIES), FP32, "twin"
    )
    assert found.passed
    assert (found.max_abs_diff, found.kl, found.agreement, found.same_replies) == (0, 0, 1, 1)
    assert (found.tokens, found.quality_difference) == (4, 0)


def test_figures_are_those_of_likely_next_tokens() -> None:
    found = reference().check(FakeWriter(ITS, [[0, 0, 1], [1]]), LOOSE, "other")
    assert found.max_abs_diff == pytest.approx(
        math.log(2)
    )  # the third, 20 times as likely, is none
    kl = sum(p * math.log(p / q) for p, q in zip(MINE, ITS, strict=True))
    assert found.kl == pytest.approx(kl, rel=1e-5)
    assert (found.agreement, found.same_replies) == (0, 0.5)
    assert found.passed


def test_each_limit_has_its_reason() -> None:
    def judge(name: str, written: list[list[int]]) -> np.ndarray:
        return np.array([1.0, 1.0 if name == "student" else 0.9])

    found = reference(judge).check(FakeWriter(ITS, REPLIES), FP32, "other")
    assert found.quality_difference == pytest.approx(-0.05)
    assert found.reasons == (
        "same next tokens 0.0000 < 0.999",
        "log-probabilities differ by 0.69 > 0.001",
        "replies lost 0.0500 > 0.001",
    )


def test_better_replies_pass() -> None:
    better = reference(lambda name, written: np.full(2, float(name != "student")))
    assert better.check(FakeWriter(MINE, REPLIES), INT8, "other").passed


def test_what_is_no_number_passes_no_gate() -> None:
    nothing = FakeWriter([math.nan] * 3, REPLIES)
    with_values = reference(lambda name, written: np.full(2, math.nan))
    found = with_values.check(nothing, FP32, "nothing")
    assert len(found.reasons) >= 2
    assert "replies lost nan" in found.reasons[-1]
    told = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert told["max_abs_diff"] is told["kl"] is told["quality_difference"] is None


def test_a_judge_values_every_reply_and_there_is_something_to_judge() -> None:
    with pytest.raises(ValueError, match="1 values of 2 replies"):
        reference(lambda name, written: np.ones(1)).check(FakeWriter(MINE, REPLIES), INT8, "other")
    with pytest.raises(ValueError, match="no prompts"):
        Reference(FakeWriter(MINE, []), [], 3).check(FakeWriter(MINE, []), INT8, "other")
