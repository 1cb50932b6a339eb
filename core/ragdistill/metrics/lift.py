"""By how much two systems are better than what there was before, with paired bootstrap intervals."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragdistill.metrics.bootstrap import resample

Values = NDArray[np.float64]


def lift(first: Values, teacher: Values, other: Values, seed: int) -> dict[str, Any]:
    """By how much teacher and ``other`` are better than the ``first`` system, values per query ``[q]`` each.

    Returns:
        ``teacher`` and ``student`` (differences of means), ``teacher_ci95``, and the ``share`` of the
        one in the other with ``share_ci95``: null where the teacher does not lift anything.
    """
    gained = float((teacher - first).mean()), float((other - first).mean())
    found: dict[str, Any] = {
        "teacher": gained[0],
        "student": gained[1],
        "teacher_ci95": None,
        "share": gained[1] / gained[0] if gained[0] > 0 else None,
        "share_ci95": None,
    }
    if len(first) < 2:
        return found

    def both(a: Values, b: Values, axis: int) -> Values:
        return np.stack([a.mean(axis=axis), b.mean(axis=axis)])

    draws = resample((teacher - first, other - first), both, seed)
    found["teacher_ci95"] = [float(end) for end in np.quantile(draws[0], (0.025, 0.975))]
    if gained[0] > 0 and (draws[0] > 0).mean() > 0.975:
        shares = draws[1][draws[0] > 0] / draws[0][draws[0] > 0]
        found["share_ci95"] = [float(end) for end in np.quantile(shares, (0.025, 0.975))]
    return found
