"""Calibration: Guo's formula by hand, what is known of any table, and bins that do not lie."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ragdistill.metrics.calibration import calibration


def by_the_paper(sure: NDArray[np.float64], right: NDArray[np.bool_], bins: int) -> float:
    """Equation 3 of Guo et al., bin m being ((m - 1) / M, m / M]."""
    total = 0.0
    edges = np.linspace(0, 1, bins + 1)
    for low, high in pairwise(edges):
        held = (sure > low) & (sure <= high)
        if held.any():
            total += held.sum() / len(sure) * abs(right[held].mean() - sure[held].mean())
    return total


def test_equal_width_is_the_paper_s() -> None:
    random = np.random.default_rng(0)
    sure = random.beta(5, 1, 2000)
    right = random.random(2000) < sure**2
    found = calibration(sure, right)
    assert found["equal_width"]["ece"] == pytest.approx(by_the_paper(sure, right, 15), abs=1e-12)
    assert found["equal_mass"]["ece"] == pytest.approx((sure - sure**2).mean(), abs=0.03)
    assert [b["count"] for b in found["equal_mass"]["bins"]] == pytest.approx(
        [2000 / 15] * 15, abs=1
    )
    json.dumps(found, allow_nan=False)


def test_a_table_by_hand() -> None:
    found = calibration(np.array([0.5, 0.5, 0.9, 1.0]), np.array([1, 0, 1, 0], bool), bins=2)
    assert found["equal_width"] == {
        "ece": pytest.approx(0.225),
        "mce": pytest.approx(0.45),
        "bins": [
            {"confidence": 0.5, "accuracy": 0.5, "count": 2},
            {"confidence": pytest.approx(0.95), "accuracy": 0.5, "count": 2},
        ],
    }
    assert (found["tokens"], found["accuracy"], found["confidence"]) == (4, 0.5, 0.725)


def test_who_is_as_right_as_sure_has_no_error_and_who_boasts_has() -> None:
    random = np.random.default_rng(1)
    sure = random.uniform(0.3, 1, 100_000)
    honest = calibration(sure, random.random(100_000) < sure)
    boaster = calibration(np.ones(1000), np.arange(1000) < 600)
    for way in ("equal_width", "equal_mass"):
        assert honest[way]["ece"] < 0.01
        assert boaster[way]["ece"] == boaster[way]["mce"] == pytest.approx(0.4)


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.1, 0.3, 0.7, 1.0]) | st.floats(0, 1), st.booleans()),
        min_size=1,
        max_size=60,
    ),
    st.integers(1, 20),
)
def test_any_table_is_whole_and_blind_to_the_order(
    tokens: list[tuple[float, bool]], bins: int
) -> None:
    sure, right = (np.array(each) for each in zip(*tokens, strict=True))
    found = calibration(sure, right, bins=bins)
    turned = calibration(sure[::-1], right[::-1], bins=bins)
    for way in ("equal_width", "equal_mass"):
        table = found[way]
        assert sum(row["count"] for row in table["bins"]) == len(tokens)
        assert len(table["bins"]) <= bins
        gap = abs(found["accuracy"] - found["confidence"])
        assert gap - 1e-9 <= table["ece"] <= table["mce"] + 1e-9 <= 1 + 2e-9
        assert turned[way]["ece"] == pytest.approx(table["ece"])


@pytest.mark.parametrize(
    ("sure", "right", "bins"),
    [([], [], 5), ([0.5], [1, 0], 5), ([1.1], [1], 5), ([np.nan], [1], 5), ([0.5], [1], 0)],
)
def test_what_is_no_confidence_is_refused(sure: list[float], right: list[int], bins: int) -> None:
    with pytest.raises(ValueError, match="confidence"):
        calibration(np.array(sure), np.array(right, bool), bins=bins)
