"""Tests that may be looked at after every pair, and stopped at any.

Each keeps evidence against its null that exceeds 1 / alpha in a share alpha of streams at most,
however long they run (Ville's inequality), so nobody has to say beforehand when to look. What was good for long
outweighs what is bad since: a watch is to begin anew from time to time.

- :class:`Betting`, for scores within bounds: capital that bets on the alternative, a mixture over
  stakes (Waudby-Smith and Ramdas: Estimating means of bounded random variables by betting,
  arXiv:2010.09686). Exact for every distribution, two outcomes among them, for which it is a mixture
  of likelihood ratios. This is why it is the rule here.
- :class:`Mixture`, for scores without bounds: the mSPRT of Johari, Pekelis and Walsh
  (arXiv:1512.04922) with one half of a normal prior, for the tests are one-sided. The variance is
  that of the pairs so far, which only holds for many: it waits for 100.
- :class:`Sprt`, for rates: Wald's test (Annals of Mathematical Statistics 16, 1945).
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

Values = NDArray[np.float64]

STAKES = np.geomspace(0.005, 0.9, 12)
"""Shares of what can be staked without ruin; which is best depends on the true mean."""
FEWEST = 100
RATIO = 0.2
"""Standard deviation of the prior, in standard deviations of a difference."""


def log_capital(differences: Values, worst: float) -> Values:
    """Log of the capital after each of ``differences`` ``[..., n]`` that bets on a mean above 0.

    Args:
        worst: no difference is below ``-worst``.
    """
    mixed = np.full(differences.shape, -math.inf)
    for stake in STAKES / worst:
        np.logaddexp(mixed, np.log1p(stake * differences).cumsum(axis=-1), out=mixed)
    return mixed - math.log(len(STAKES))


def log_mixture(total: Any, count: Any, variance: Any) -> Any:
    """Log of the mixture's likelihood ratio of a mean above 0 against 0, element by element.

    ``integral of 2 N(m; 0, (RATIO sd)^2) exp((m total - count m^2 / 2) / variance) dm`` over m > 0.
    """
    prior = RATIO**2 * count
    z = total / np.sqrt(variance * count)
    tail = log_ndtr(z * np.sqrt(prior / (1 + prior)))
    return math.log(2) - np.log1p(prior) / 2 + z**2 * prior / (2 * (1 + prior)) + tail


@dataclass
class Betting:
    """Whether the mean of differences is above 0; none is below ``-worst``."""

    worst: float
    logs: list[float] = field(default_factory=lambda: [0.0] * len(STAKES))
    most: float = 0.0
    """The highest log of the evidence so far."""

    def add(self, difference: float) -> None:
        grown = np.asarray(self.logs) + np.log1p(STAKES / self.worst * difference)
        self.logs = grown.tolist()
        now = float(np.logaddexp.reduce(grown)) - math.log(len(STAKES))
        self.most = max(self.most, now)

    def proven(self, alpha: float) -> bool:
        return self.most >= -math.log(alpha)


@dataclass
class Mixture:
    """The same of differences without bounds."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    """Sum of squared deviations from the mean (Welford)."""
    most: float = 0.0

    def add(self, difference: float) -> None:
        """One more difference, above 0 where what is asked about holds, in the scores' own unit."""
        self.count += 1
        off = difference - self.mean
        self.mean += off / self.count
        self.squares += off * (difference - self.mean)
        if self.count >= FEWEST and self.squares > 0:
            variance = self.squares / (self.count - 1)
            found = log_mixture(self.mean * self.count, self.count, variance)
            self.most = max(self.most, float(found))

    def proven(self, alpha: float) -> bool:
        return self.most >= -math.log(alpha)


@dataclass
class Sprt:
    """Whether a rate is ``high`` rather than ``low``.

    Wald's other bound, in favour of ``low``, is left out: a service that is well is watched on.
    """

    low: float
    high: float
    log_ratio: float = 0.0
    most: float = 0.0

    def add(self, failed: float) -> None:
        """One more request; ``failed`` is 0 or 1."""
        step = (
            math.log(self.high / self.low)
            if failed
            else math.log1p(-self.high) - math.log1p(-self.low)
        )
        self.log_ratio += step
        self.most = max(self.most, self.log_ratio)

    def proven(self, alpha: float) -> bool:
        return self.most >= -math.log(alpha)
