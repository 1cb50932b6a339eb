"""Is a model right as often as it is sure? Expected calibration error and the reliability diagram.

Guo et al.: On Calibration of Modern Neural Networks, ICML 2017, arXiv:1706.04599. Beside their bins of
equal width there are bins of equal mass (Nguyen and O'Connor, arXiv:1508.05154): a language model is
sure of most tokens, and nearly all of them fall into the last bin of equal width.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 15
"""As many as Guo et al. take."""

Values = NDArray[np.float64]


HOTTEST = 10.0
"""The temperatures that are looked at are from 1 over it to it."""


def best_temperature(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """The temperature at which labels are foretold best: that of the least mean negative log-likelihood
    (temperature scaling, Guo et al.). It changes no order, so nothing but confidence.

    Args:
        logits: of ``n`` tokens, or log-probabilities ``[n, v]``.
        labels: the right ones ``[n]``.

    Raises:
        ValueError: no tokens.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    if not len(labels):
        raise ValueError("no temperature is the best of no tokens")
    own = logits[np.arange(len(labels)), labels]

    def loss(log: float) -> float:
        scale = np.float32(np.exp(-log))
        return float((logsumexp(logits * scale, axis=1) - own * scale).mean(dtype=np.float64))

    most = np.log(HOTTEST)
    found = minimize_scalar(loss, bounds=(-most, most), method="bounded", options={"xatol": 0.01})
    return float(np.exp(found.x))


def calibration(
    confidence: Values, correct: NDArray[np.bool_], *, bins: int = BINS
) -> dict[str, Any]:
    """``calibration`` of report.json for one system.

    Args:
        confidence: probability of the token that the model thinks likeliest ``[n]``, in [0, 1].
        correct: whether that token is the right one ``[n]``.
        bins: how many.

    Returns:
        ``tokens`` (n), mean ``confidence``, ``accuracy``, and ``equal_width`` and ``equal_mass``, each
        with ``ece``, ``mce`` and ``bins`` as :func:`reliability` has them.

    Raises:
        ValueError: no tokens, other shapes, a confidence outside [0, 1], or no bins.
    """
    sure, right = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    if sure.ndim != 1 or sure.shape != right.shape or not len(sure):
        raise ValueError(f"confidence and correctness do not pair up: {sure.shape}, {right.shape}")
    if not ((sure >= 0) & (sure <= 1)).all() or bins < 1:
        raise ValueError(f"a confidence is outside [0, 1], or there are no bins ({bins})")
    steps = np.arange(1, bins + 1) / bins
    return {
        "tokens": len(sure),
        "confidence": float(sure.mean()),
        "accuracy": float(right.mean()),
        "equal_width": reliability(sure, right, steps),
        # Equal confidences stay together, so that the order of tokens is of no account.
        "equal_mass": reliability(
            sure, right, np.unique(np.quantile(sure, steps, method="inverted_cdf"))
        ),
    }


def reliability(confidence: Values, correct: Values, ends: Values) -> dict[str, Any]:
    """The reliability table of ``[n]`` tokens in bins, each from beyond the end of the one before it up
    to its own.

    Args:
        confidence: in [0, 1] ``[n]``.
        correct: 1 where right ``[n]``.
        ends: rising ``[bins]``; the last is at least the greatest confidence.

    Returns:
        ``bins``, those that hold a token: ``confidence`` and ``accuracy`` (means) and ``count``;
        ``ece``, the mean over tokens of their bin's |accuracy - confidence|; ``mce``, its greatest.
    """
    place = np.searchsorted(ends, confidence)
    counts = np.bincount(place, minlength=len(ends))
    held = np.flatnonzero(counts)
    count = counts[held]
    sure, right = (
        np.bincount(place, weights=each, minlength=len(ends))[held] / count
        for each in (confidence, correct)
    )
    gaps = np.abs(right - sure)
    return {
        "ece": float(gaps @ count / len(confidence)),
        "mce": float(gaps.max()),
        "bins": [
            {"confidence": float(s), "accuracy": float(r), "count": int(n)}
            for s, r, n in zip(sure, right, count, strict=True)
        ],
    }
