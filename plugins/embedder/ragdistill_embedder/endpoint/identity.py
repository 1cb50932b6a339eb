"""Whether an endpoint places texts where it did."""

import numpy as np

from ragdistill.endpoint.identity import Answers, Probes

PROBES = (
    "How do I read a file line by line?",
    "Der Vertrag verlängert sich um ein Jahr.",
    "sum(values) / len(values)",
)
LEAST_COSINE = 0.999
"""Below it a text has moved. Servers that batch in half precision answer within about 1e-4; models
that were trained further, or quantised to four bits, differ by more than 1e-3."""


def difference(known: Answers, vectors: Answers) -> str | None:
    """How ``vectors`` of some texts, ``[n, d]``, differ from those that are ``known``; None where they
    do not."""
    if vectors.shape != known.shape:
        return f"its vectors have {vectors.shape[1]} dimensions, not {known.shape[1]}"
    mine, theirs = (item / np.linalg.norm(item, axis=1, keepdims=True) for item in (known, vectors))
    cosine = float((mine * theirs).sum(axis=1).min())
    if cosine >= LEAST_COSINE:
        return None
    return f"it places a text elsewhere (cosine {cosine:.4f} with where that was)"


KNOWN_BY = Probes(PROBES, difference, "vectors")
