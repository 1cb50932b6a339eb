"""How several scores become one."""

import numpy as np
import pytest

from ragdistill.errors import UserError
from ragdistill_reranker.blending import JUDGED, Part, calibrated, given, refuse_constant

LISTS, WAYS = 400, 6
PARTS = (Part("teacher", "log-likelihood"), Part("first stage", "cosine"))


def scored(seed: int, *, good: float, noise: float, unit: float) -> np.ndarray:
    """Scores ``[q, n]`` that put the first document ``good`` above the others, in ``unit``s."""
    rng = np.random.default_rng(seed)
    scores = noise * rng.normal(size=(LISTS, WAYS))
    scores[:, 0] += good
    return (unit * scores).astype(np.float32)


ALL, EVERY = np.ones((LISTS, WAYS), dtype=bool), np.ones(LISTS, dtype=bool)


def test_judged_questions_weigh_parts_by_what_they_know() -> None:
    """Two normal scores of one document: the better factor is mean / variance of each."""
    scores = scored(0, good=2, noise=1, unit=1), scored(1, good=1, noise=1, unit=0.01)
    blend = calibrated(PARTS, scores, ALL, EVERY, EVERY)
    assert blend.factors[0] == pytest.approx(2, rel=0.3)
    assert blend.factors[1] == pytest.approx(100, rel=0.3)
    again = calibrated(PARTS, (5 * scores[0] + 3, scores[1]), ALL, EVERY, EVERY)
    assert again.factors[0] == pytest.approx(blend.factors[0] / 5, rel=1e-3)


def test_pieces_weigh_parts_alike_by_their_spread_among_candidates() -> None:
    scores = scored(0, good=0.5, noise=1, unit=1), scored(1, good=0.5, noise=1, unit=0.01)
    few = np.arange(LISTS) < JUDGED - 1
    blend = calibrated(PARTS, scores, ALL, EVERY, few)
    assert blend.factors[1] / blend.factors[0] == pytest.approx(100, rel=0.1)
    # What no first stage finds does not count: here a document that only the second part spurns.
    far = (scores[0].copy(), scores[1].copy())
    far[1][:, -1] -= 5
    near = ALL.copy()
    near[:, -1] = False
    same = calibrated(PARTS, far, near, EVERY, few)
    assert same.factors[1] / same.factors[0] == pytest.approx(100, rel=0.1)


def test_lists_whose_positive_nobody_finds_say_nothing() -> None:
    """Else a first stage would be wrong wherever it is asked."""
    first = scored(1, good=1, noise=1, unit=1)
    lost = np.arange(LISTS) % 2 == 0
    first[lost, 0] = -9
    near = ALL.copy()
    near[lost, 0] = False
    blend = calibrated(PARTS[1:], (first,), near, near[:, 0], EVERY)
    assert blend.factors[0] == pytest.approx(1, rel=0.3)


def test_a_teacher_that_knows_nothing_is_refused_where_queries_are_judged() -> None:
    wrong = (scored(0, good=-2, noise=1, unit=1),)
    with pytest.raises(UserError, match="--teacher: teacher does not put documents that answer"):
        calibrated(PARTS[:1], wrong, ALL, EVERY, EVERY)
    told = calibrated(PARTS[:1], wrong, ALL, EVERY, ~EVERY)  # pieces are no proof
    assert told.factors[0] > 0


def test_scales_are_not_mixed_and_constants_not_taught() -> None:
    assert given(PARTS[:1], (2.0,)).factors == (2.0,)
    with pytest.raises(UserError, match=r"--teacher-weights: scores on different scales .*cosine"):
        given(PARTS, (1.0, 1.0))
    with pytest.raises(UserError, match=r"tiny scores all 2,400 pairs alike \(0.25\)"):
        refuse_constant("tiny", np.full((LISTS, WAYS), 0.25, np.float32), ALL)
