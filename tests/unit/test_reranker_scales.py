"""What scores look like, and probabilities as log-odds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ragdistill_reranker.scales import scale_of, to_log_odds

_EPS = float(np.finfo(np.float32).eps)
_FINITE = arrays(np.float32, st.integers(1, 20), elements=st.floats(-50, 50, width=32))
_PROBABILITIES = arrays(np.float32, st.integers(1, 20), elements=st.floats(0, 1, width=32))


@pytest.mark.parametrize(
    ("scores", "scale"),
    [
        ([], "unknown"),
        ([0.0, 1.0], "probability"),
        ([0.5], "probability"),
        ([1.0, -1.0], "cosine"),
        ([-0.5, -0.1], "cosine"),
        ([-1.0001, 0.0], "log-likelihood"),
        ([-7.0, -3.0], "log-likelihood"),
        ([-1.5, 0.001], "logit"),
        ([0.0, 1.0001], "logit"),
        ([-1.0, 1.0001], "logit"),
    ],
)
def test_a_scale_is_told_by_its_range(scores: list[float], scale: str) -> None:
    assert scale_of(np.array(scores, dtype=np.float32)) == scale


@given(scores=_FINITE, data=st.data())
def test_only_the_range_counts_and_nothing_leads_back_to_a_narrower_scale(
    scores: np.ndarray, data: st.DataObject
) -> None:
    whole = scale_of(scores)
    assert scale_of([scores.min(), scores.max()]) == whole
    order = ["probability", "cosine", "log-likelihood", "logit"]
    part = scores[: data.draw(st.integers(1, len(scores)))]
    assert order.index(scale_of(part)) <= order.index(whole)


@given(probabilities=_PROBABILITIES)
def test_log_odds_are_finite_ordered_and_lead_back(probabilities: np.ndarray) -> None:
    odds = to_log_odds(probabilities, "probability")
    assert odds.dtype == np.float32
    assert np.isfinite(odds).all()
    order = np.argsort(probabilities, kind="stable")
    assert (np.diff(odds[order]) >= 0).all()
    clipped = np.clip(probabilities.astype(np.float64), _EPS, 1 - _EPS)
    back = 1 / (1 + np.exp(-odds.astype(np.float64)))
    np.testing.assert_allclose(back, clipped, rtol=1e-5)
    mirrored = to_log_odds(1 - probabilities.astype(np.float64), "probability")
    np.testing.assert_allclose(mirrored, -odds, rtol=1e-6, atol=1e-6)


@given(scores=_FINITE, scale=st.sampled_from(["logit", "log-odds", "cosine", "unknown"]))
def test_other_scales_are_left_as_they_are(scores: np.ndarray, scale: str) -> None:
    assert np.array_equal(to_log_odds(scores, scale), scores)


def test_the_ends_are_as_far_as_float32_tells() -> None:
    low, middle, high = to_log_odds([0.0, 0.5, 1.0], "probability")
    assert middle == 0
    assert high == -low == pytest.approx(np.log((1 - _EPS) / _EPS), rel=1e-6)
