"""Late interaction of vectors that are ready (Khattab and Zaharia, ColBERT, arXiv:2004.12832);
:func:`ragdistill.losses.maxsim` is the same with a gradient."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


def max_similarities(query: Vectors, documents: Vectors, lengths: Sequence[int]) -> Vectors:
    """``sum_i max_j q_i d_j`` of a query with each of n documents, ``[n]``; 0 where either has no token.

    Args:
        query: vectors of its tokens, ``[l, d]``.
        documents: those of all documents behind one another, ``[tokens, d]``.
        lengths: tokens of each document, n numbers.

    Raises:
        ValueError: the lengths do not add up.
    """
    told = np.asarray(lengths, np.int64)
    if len(documents) != told.sum():
        raise ValueError(f"{len(documents)} tokens, of which the lengths tell {told.sum()}")
    scores = np.zeros(len(told), np.float32)
    whole = told > 0  # reduceat takes an empty part for its first element
    if len(query) and whole.any():
        similar = np.asarray(query, np.float32) @ documents.T
        starts = (np.cumsum(told) - told)[whole]
        scores[whole] = np.maximum.reduceat(similar, starts, axis=1).sum(axis=0)
    return scores
