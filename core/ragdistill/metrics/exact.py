"""Bounds and tests that hold whatever the distribution, and several tests at once.

Rates by Clopper and Pearson (Biometrika 26, 1934); quantiles by order statistics (David and
Nagaraja: Order Statistics, 2003, section 7.1); differences by flipping their signs (Fisher: The Design
of Experiments, 1935, section 21); several by Holm (Scandinavian Journal of Statistics 6, 1979).
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ragdistill.metrics.bootstrap import ELEMENTS, RESAMPLES

Values = NDArray[np.float64]


def rate_bounds(count: int, of: int, alpha: float) -> tuple[float, float]:
    """One-sided bounds of a rate of which ``count`` of ``of`` were seen, each at 1 - ``alpha``."""
    low = stats.beta.ppf(alpha, count, of - count + 1) if count else 0.0
    high = stats.beta.ppf(1 - alpha, count + 1, of - count) if count < of else 1.0
    return float(low), float(high)


def rate_p(count: int, of: int, limit: float) -> tuple[float, float]:
    """How likely so few are if the rate is ``limit`` or more, and so many if it is that or less."""
    return float(stats.binom.cdf(count, of, limit)), float(stats.binom.sf(count - 1, of, limit))


def quantile_bounds(values: Values, quantile: float, alpha: float) -> tuple[float, float]:
    """One-sided bounds of a quantile of what ``values`` ``[n]`` were drawn from, each at 1 - ``alpha``;
    infinite where there are too few to tell.

    So many of n values lie at or below the quantile as a binomial draw says. The bound at the k-th
    smallest holds unless fewer than k (more than k - 1) lie there.
    """
    ordered, count = np.sort(values), len(values)
    below = int(stats.binom.ppf(alpha, count, quantile))
    if stats.binom.cdf(below, count, quantile) > alpha:
        below -= 1
    above = int(stats.binom.isf(alpha, count, quantile)) + 1
    low = float(ordered[below]) if below >= 0 else -math.inf
    high = float(ordered[above - 1]) if above <= count else math.inf
    return low, high


def flipped(differences: Values, seed: int) -> float:
    """How likely so large a mean, either way, is if each of ``differences`` ``[q]`` had the other sign as
    easily: of all ways to choose the signs, or of 9,999 of them."""
    found = stats.permutation_test(
        (differences,),
        lambda values, axis: np.abs(values.sum(axis=axis)),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, ELEMENTS // len(differences)),
        alternative="greater",
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def smallest_alpha(holds: Callable[[float], bool]) -> float:
    """The p-value of a test that is known by whether it rejects at a level: the lowest level at which
    it does, 1 where it never does."""
    low, high = math.log(1e-12), 0.0
    if not holds(0.5):
        return 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(math.exp(middle)) else (middle, high)
    return math.exp(high)


def holm(p_values: Sequence[float], alpha: float) -> list[bool]:
    """Which nulls fall so that any false one among them is in a share ``alpha`` of cases at most."""
    rejected = [False] * len(p_values)
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[place] > alpha / (len(p_values) - rank):
            break
        rejected[place] = True
    return rejected
