"""How well a score tells two kinds of queries apart: the area under the ROC curve.

It is the chance that a query of one kind scores above one of the other, and so Mann and Whitney's U over the
number of pairs. Its interval is Newcombe's (Statistics in Medicine 25, 2006, pages 559 to 573, method 5): the
areas that are not refuted, with Hanley and McNeil's error at each. At 0.5 that is the error of the U test, so
the interval leaves out 0.5 if and only if that test (two-sided, 5 %, no correction of ties or continuity)
rejects it, and it is not too short where one kind is rare or its scores are the highest of all, as a
bootstrap's is.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

_Z = float(stats.norm.ppf(0.975))


@dataclass(frozen=True, slots=True)
class Auroc:
    """Of one score."""

    value: float
    ci95: tuple[float, float]

    @property
    def tells(self) -> bool:
        """Whether what it is meant to tell is told beyond doubt: 0.5 is below the interval."""
        return self.ci95[0] > 0.5


def auroc(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> Auroc | None:
    """How often the ``positive`` of ``scores`` ``[n]`` are above the others; None unless there are both.

    Equal scores count half; infinite ones are scores like others.
    """
    ours, others = scores[positive], scores[~positive]
    if not len(ours) or not len(others):
        return None
    with np.errstate(divide="ignore", invalid="ignore"):  # its p-value, where all are equal
        found = stats.mannwhitneyu(ours, others, method="asymptotic").statistic
    area = float(found) / (len(ours) * len(others))
    return Auroc(area, _interval(area, len(ours), len(others)))


def _interval(area: float, ours: int, others: int) -> tuple[float, float]:
    more = (ours + others) / 2 - 1

    def error(true: float) -> float:
        beside = (1 - true) / (2 - true) + true / (1 + true)
        return math.sqrt(true * (1 - true) * (1 + more * beside) / (ours * others))

    def low(true: float) -> float:
        return area - true - _Z * error(true)

    def high(true: float) -> float:
        return true - area - _Z * error(true)

    # Within 1e-9 of 0 and 1 there is no error left, and an end that lies there is 0 or 1.
    near, far = 1e-9, 1 - 1e-9
    return (
        float(optimize.brentq(low, near, far)) if low(near) > 0 > low(far) else 0.0,
        float(optimize.brentq(high, near, far)) if high(near) < 0 < high(far) else 1.0,
    )
