"""Whether an endpoint scores pairs as it did."""

import numpy as np

from ragdistill.endpoint.identity import Probes
from ragdistill_reranker.scales import PROBABILITY, Scores, scale_of, to_log_odds

PROBES = (
    "How do I read a file line by line?",
    "A file object yields one line after the other: for line in open(path).",
    "readlines() returns all lines of a file as a list.",
    "A line in a chess opening may be read from any file of the board.",
    "Der Vertrag verlängert sich um ein Jahr.",
    "The river is widest a mile before the sea.",
)
"""A query, and documents from the right one to such as have nothing to do with it."""
MOST_MOVED = 0.02
"""Of the largest score of a probe: what a score may move by. A server that computes in half precision
says something else in every batch: SmolLM2-135M in bfloat16 moves log-likelihoods by 0.007 of the largest,
quantised to four bits by 0.2."""
MOST_MOVED_LOGIT = 0.2
"""And a logit in any case: log-odds of two logits above 16 are an eighth apart in bfloat16, which is what
they move by there; by 0.9 at four bits."""
MOST_MOVED_PROBABILITY = MOST_MOVED_LOGIT / 4
"""The same where a probability moves most."""
_TELLING = (-8.0, 3.0)
"""Log-odds that half precision tells apart: above, a step of bfloat16 in a probability is 0.1 and more."""


def difference(known: Scores, scores: Scores) -> str | None:
    """How ``scores`` of some pairs, ``[n]``, differ from those that are ``known``; None where they may
    be one model's, whose server computes in half precision and batches differently every time."""
    scale = scale_of(known)
    moved = np.abs(scores - known)
    mine, theirs = (_telling(item, scale) for item in (known, scores))
    least = MOST_MOVED_LOGIT if scale in (PROBABILITY, "logit") else 0.0
    worst = np.abs(theirs - mine) > max(least, MOST_MOVED * np.abs(mine).max())
    if scale == PROBABILITY:
        worst |= moved > MOST_MOVED_PROBABILITY
    if not worst.any():
        return None
    place = int(np.where(worst, moved, -1).argmax())
    return f"it scores a pair otherwise ({scores[place]:.4g} where that was {known[place]:.4g})"


def _telling(scores: Scores, scale: str) -> Scores:
    return to_log_odds(scores, scale).clip(*_TELLING) if scale == PROBABILITY else scores


KNOWN_BY = Probes(PROBES, difference, "scores")
