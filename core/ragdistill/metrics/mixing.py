"""How much each of several scores should count: McFadden's conditional logit (1974).

A query's right documents are to be likely among its candidates, by a softmax over the weighted sum of
their scores. The loss is convex, and a little ridge makes it strictly so (it is flat where the right
documents are first throughout): there is one best answer, and no grid. The sum is a calibrated score,
too: its differences are log-odds.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

Matrix = NDArray[np.float64]


_RIDGE = 1e-3


def fit_factors(scores: Matrix, relevant: NDArray[np.bool_]) -> Matrix:
    """Factors, none negative, under which ``relevant`` documents are likeliest.

    Args:
        scores: by each of k systems, of each query's n candidates, ``[k, q, n]``.
        relevant: which candidates a query is to find, ``[q, n]``; at least one each.

    Returns:
        ``[k]``; all 0 where no system puts the right documents above the others.
    """
    spread = np.maximum(scores.std(axis=(1, 2)), np.finfo(float).tiny)
    scaled = scores / spread[:, None, None]  # so that the ridge is the same for any scale of scores
    share = relevant / relevant.sum(axis=1, keepdims=True)
    wanted = np.einsum("kqn,qn->k", scaled, share) / len(relevant)

    def loss(factors: Matrix) -> tuple[float, Matrix]:
        logits = np.tensordot(factors, scaled, axes=1)
        expected = np.einsum("kqn,qn->k", scaled, softmax(logits, axis=1)) / len(relevant)
        missed = logsumexp(logits, axis=1).mean() - factors @ wanted
        ridge = _RIDGE * float(factors @ factors) / 2
        return float(missed) + ridge, expected - wanted + _RIDGE * factors

    count = len(scores)
    bounds, options = [(0.0, None)] * count, {"ftol": 1e-12, "gtol": 1e-8}
    found = minimize(
        loss, np.ones(count), jac=True, bounds=bounds, method="L-BFGS-B", options=options
    )
    factors: Matrix = found.x / spread
    return factors
