"""How sure a stack is of each query, by what its parts said on the way to the answer: nothing is asked anew.

A ranking is sure of itself if its first document scores high, or far above those after it. That is how BM25,
cosines and rerankers' scores alike are read; what counts is how they differ between queries of one stack,
for no scale is known. An answer is sure of itself if its tokens were likely (Kadavath et al., Language Models
(Mostly) Know What They Know, arXiv:2207.05221), by their mean, so that long answers may be sure. Which of the signals tells, if any, is for :mod:`ragdistill.rag.escalation` to find out.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from ragdistill.rag.cells import Values
from ragdistill.rag.pipeline import Seen
from ragdistill.rag.retrieval import Ranking

UNSURE = -np.inf
"""Of a query on which a part failed, or for which too little was found: it is escalated first of all."""
_DEEP = 10
"""The rank, beside the second, over which the margin of the first is taken."""


def signals(seen: Sequence[Seen]) -> dict[str, Values]:
    """What may say how sure a stack is: by name, a value for each query ``[q]``, higher is surer. Signals that
    are the same for all queries say nothing and are left out."""
    stages = {"retrieval": [each.found for each in seen]}
    if any(each.ranked != each.found for each in seen):
        stages = {"reranker": [each.ranked for each in seen]} | stages
    told = {
        f"{stage}'s {name}": values
        for stage, rankings in stages.items()
        for name, values in _of(rankings).items()
    }
    failed = np.array([bool(each.error) for each in seen])
    likely = [each.log_probability for each in seen if not each.error]
    if likely and None not in likely:
        said = [UNSURE if each.error else each.log_probability for each in seen]
        told = {"generator's log-probability": np.array(said, np.float64)} | told
    known = {name: np.where(failed, UNSURE, values) for name, values in told.items()}
    return {name: values for name, values in known.items() if len(np.unique(values[~failed])) > 1}


def _of(rankings: Sequence[Ranking]) -> Mapping[str, Values]:
    """The score of the first document, and how far it stands off."""
    found = np.array([len(ranking) for ranking in rankings])

    def at(rank: int) -> Values:
        """The score at ``rank``, or the last one there is."""
        known = ([score for _, score in ranking[:rank]] or [0.0] for ranking in rankings)
        return np.array([scores[-1] for scores in known], np.float64)

    told = {"first score": np.where(found > 0, at(1), UNSURE)}
    for rank in sorted({2, min(_DEEP, max(2, int(found.max())))}):
        told[f"margin over rank {rank}"] = np.where(found > 1, at(1) - at(rank), UNSURE)
    return told
