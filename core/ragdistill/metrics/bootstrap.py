"""How much of the teacher is left, with a paired bootstrap interval.

Resampling queries, not systems' scores one by one, keeps a query's difficulty common to both
systems (Sakai: Evaluating Evaluation Metrics based on the Bootstrap, SIGIR 2006).
"""

import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

RESAMPLES = 9_999
ELEMENTS = 1 << 22
"""Numbers resampled at a time, which bounds memory to about 100 MB."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One measure of two systems over the same queries."""

    teacher: float
    """Mean over the queries."""
    student: float
    """Mean over the queries."""
    retention: float | None
    """Student / teacher; None where the teacher's mean is 0."""
    ci95: tuple[float, float] | None
    """Two-sided 95 % interval of the retention; None where it cannot be told."""

    def as_json(self) -> dict[str, Any]:
        """As report.json holds it: unknown is null, the interval a list."""
        return asdict(self) | {"ci95": list(self.ci95) if self.ci95 else None}


def compare(teacher: NDArray[np.float64], student: NDArray[np.float64], seed: int) -> Comparison:
    """Means, their ratio and its interval.

    The interval is the percentile bootstrap of the ratio of means. It is defined however little the
    systems differ, and stays within what was observed. In simulations with nDCG-like values BCa
    covered no better from 60 queries on, and it fails where no resample differs, the usual case
    of a good student. A resample in which the teacher scores 0 throughout has no ratio, and is
    left out.

    Args:
        teacher: values per query ``[q]``.
        student: values of the same queries in the same order ``[q]``.
        seed: of the resampling; the same seed gives the same interval.

    Raises:
        ValueError: no queries, other shapes, or a value that is not finite.
    """
    teacher, student = checked(teacher, student)
    means = float(teacher.mean()), float(student.mean())
    if means[0] == 0:
        return Comparison(*means, retention=None, ci95=None)
    if len(teacher) == 1:
        return Comparison(*means, retention=means[1] / means[0], ci95=None)
    interval = retention_interval(teacher, student, seed, alpha=0.05)
    return Comparison(*means, retention=means[1] / means[0], ci95=interval)


def retention_interval(
    teacher: NDArray[np.float64], student: NDArray[np.float64], seed: int, *, alpha: float
) -> tuple[float, float] | None:
    """The two-sided interval of :func:`compare` at the level 1 - ``alpha``; None where it cannot be
    told. Of k systems at ``alpha / k`` each, all hold at once at 1 - ``alpha`` (Bonferroni)."""
    teacher, student = checked(teacher, student)
    if len(teacher) == 1 or teacher.mean() == 0:
        return None
    draws = _resampled_retention(teacher, student, seed)
    low, high = np.quantile(draws[np.isfinite(draws)], (alpha / 2, 1 - alpha / 2))
    return float(low), float(high)


def _resampled_retention(
    teacher: NDArray[np.float64], student: NDArray[np.float64], seed: int
) -> NDArray[np.float64]:
    """The retention of each resample ``[RESAMPLES]``; NaN or infinite where the teacher has 0."""

    def retention(t: NDArray[np.float64], s: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(s.mean(axis=axis) / t.mean(axis=axis))

    return resample((teacher, student), retention, seed)


def resample(
    samples: tuple[NDArray[np.float64], ...], statistic: Callable[..., Any], seed: int
) -> NDArray[np.float64]:
    """``statistic(*samples, axis)`` of 9,999 paired resamples, through scipy.stats.bootstrap."""
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        # scipy's own interval is not used; it warns where some resamples have no finite value.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        result = stats.bootstrap(
            samples,
            statistic,
            paired=True,
            vectorized=True,
            n_resamples=RESAMPLES,
            batch=max(1, ELEMENTS // len(samples[0])),
            method="percentile",
            rng=np.random.default_rng(seed),
        )
    return np.asarray(result.bootstrap_distribution)


def checked(
    teacher: NDArray[np.float64], student: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both as float64 ``[q]``; ValueError unless they pair up, are finite and at least one."""
    pair = np.asarray(teacher, np.float64), np.asarray(student, np.float64)
    if pair[0].ndim != 1 or pair[0].shape != pair[1].shape or not len(pair[0]):
        raise ValueError(f"values per query do not pair up: {pair[0].shape} and {pair[1].shape}")
    if not (np.isfinite(pair[0]).all() and np.isfinite(pair[1]).all()):
        raise ValueError("a value per query is NaN or infinite")
    return pair
