"""The mean of differences over queries, by the studentised bootstrap.

Efron and Tibshirani: An Introduction to the Bootstrap, 1993, chapter 12. Why studentised, see
:mod:`ragdistill.metrics.verdict`.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragdistill.metrics import bootstrap
from ragdistill.metrics.bootstrap import ELEMENTS

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Studentised:
    """A mean, its standard error, and by how many of these resamples' means are off."""

    mean: float
    error: float
    draws: Values | None
    """``[RESAMPLES]``, in units of each resample's own error; None where all values are one value."""
    count: int

    def bounds(self, alpha: float) -> tuple[float, float] | None:
        """One-sided bounds of the mean, each at 1 - ``alpha``; None where one would be infinite."""
        if self.count < 2:
            return None
        if self.draws is None:
            return self.mean, self.mean
        high = self.mean - self.error * np.quantile(self.draws, alpha, method="lower")
        low = self.mean - self.error * np.quantile(self.draws, 1 - alpha, method="higher")
        return (float(low), float(high)) if np.isfinite([low, high]).all() else None

    def p_above(self) -> float:
        """How likely so high a mean is if the true one is 0 or less."""
        return self._p(1.0)

    def p_below(self) -> float:
        """How likely so low a mean is if the true one is 0 or more."""
        return self._p(-1.0)

    def _p(self, sign: float) -> float:
        if self.count < 2:
            return 1.0
        if self.draws is None:
            return 0.0 if sign * self.mean > 0 else 1.0
        beyond = np.count_nonzero(sign * self.draws >= sign * self.mean / self.error)
        return float((1 + beyond) / (1 + len(self.draws)))


def studentised(differences: Values, seed: int) -> Studentised:
    """Resample ``differences`` ``[q]``; the same seed gives the same draws."""
    mean, count = float(differences.mean()), len(differences)
    if count < 2 or np.ptp(differences) == 0:
        return Studentised(mean, 0.0, None, count)

    error = float(differences.std(ddof=1) / math.sqrt(count))
    centred, random = differences - mean, np.random.default_rng(seed)
    batch = max(1, ELEMENTS // count)
    draws = [
        _off(centred[random.integers(count, size=(size, count), dtype=np.int32)])
        for size in np.diff([*range(0, bootstrap.RESAMPLES, batch), bootstrap.RESAMPLES])
    ]
    return Studentised(mean, error, np.concatenate(draws), count)


def _off(samples: Values) -> Values:
    """By how many of its own standard errors each sample's mean is off zero, ``[b, q] -> [b]``."""
    count = samples.shape[1]
    means, squares = samples.mean(axis=1), np.einsum("bq,bq->b", samples, samples)
    spread = squares - count * means**2
    spread[spread <= 1e-12 * squares] = 0.0  # what rounding leaves of a sample of one value
    # Such a sample lies infinitely far out, or nowhere.
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = means / np.sqrt(spread / (count - 1) / count)
    return np.asarray(np.nan_to_num(distance, nan=0.0, posinf=np.inf, neginf=-np.inf))
