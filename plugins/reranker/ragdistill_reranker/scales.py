"""What kind of number a reranker answers with, where nobody says, and probabilities as log-odds.

A server behind ``/rerank`` answers with a number and does not say what it is. Telling it from a sample
is a guess, for such servers only: a model that runs here knows its own scale. Logits that happen to lie
between 0 and 1 look like probabilities, and so do cosines none of which is below 0. The more scores are
looked at, the better: one outside a range settles that it is not that scale.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float32]

UNKNOWN = "unknown"
PROBABILITY = "probability"
_NEAREST = float(np.finfo(np.float32).eps)
"""How near to 0 and to 1 a probability is believed: float32 tells none nearer to 1 apart."""


def scale_of(scores: Any) -> str:
    """The scale that finite ``scores``, an array of any shape, look like: :data:`UNKNOWN` where there
    are none, ``probability`` in [0, 1], ``cosine`` in [-1, 1], ``log-likelihood`` where none is above
    0, else ``logit``. Only the smallest and the largest matter."""
    found = np.asarray(scores, dtype=np.float64)
    if not found.size:
        return UNKNOWN
    least, most = float(found.min()), float(found.max())
    if least >= 0 and most <= 1:
        return PROBABILITY
    if least >= -1 and most <= 1:
        return "cosine"
    return "log-likelihood" if most <= 0 else "logit"


def to_log_odds(scores: Any, scale: str) -> Scores:
    """``scores``, an array of any shape, as float32: probabilities as log p/(1-p), which is what they
    were before the sigmoid, at most 15.9 from 0; those of another ``scale`` as they are."""
    if scale != PROBABILITY:
        return np.asarray(scores, dtype=np.float32)
    clipped = np.clip(np.asarray(scores, dtype=np.float64), _NEAREST, 1 - _NEAREST)
    return np.asarray(np.log(clipped) - np.log1p(-clipped), dtype=np.float32)
