"""How long it takes to rerank a hundred candidates, as each system is served: a pair reader and a
language model from the texts, the others with the documents' vectors made before and the query read."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ragdistill.data.sampling import sample
from ragdistill.metrics.latency import profile_requests
from ragdistill_reranker.first_stage import NONE, FirstStage
from ragdistill_reranker.scoring import Pair, Scorer
from ragdistill_reranker.students import (
    BiEncoder,
    JointReader,
    LateInteraction,
    Student,
    max_similarities,
)

CANDIDATES = 100
_REQUESTS = 50
Serve = Callable[[int], object]


def measure(
    stage: FirstStage,
    queries: Sequence[str],
    documents: Sequence[str],
    scorers: Sequence[Scorer],
    serving: Mapping[str, Student],
    seed: int,
) -> dict[str, Any]:
    """``speed`` of the report: of the teachers together, and of each system in ``serving``."""
    asked = sample(list(queries), _REQUESTS, seed, key=str)
    found = stage.find(asked, CANDIDATES).places
    lists = [[documents[place] for place in row if place != NONE] for row in found]
    # Few have a word in common with the query: reranking fewer would flatter.
    full = [list((row * CANDIDATES)[: min(CANDIDATES, len(documents))]) for row in lists if row]
    requests = [
        [(query, text) for text in row]
        for query, row in zip(
            (q for q, row in zip(asked, lists, strict=True) if row), full, strict=True
        )
    ]
    if not requests:
        return {}
    systems: dict[str, Serve] = {"teacher": lambda n: [_ask(each, requests[n]) for each in scorers]}
    for name, student in serving.items():
        systems[name] = serve(student, requests)
    return profile_requests(systems, len(requests), items=len(requests[0]))


def _ask(scorer: Scorer, pairs: Sequence[Pair]) -> object:
    return list(scorer.answers(pairs))


def serve(student: Student, requests: Sequence[Sequence[Pair]]) -> Serve:
    """What ``student`` does on a request; document vectors are made here, before anything is timed."""
    texts = list(dict.fromkeys(text for pairs in requests for _, text in pairs))
    if isinstance(student, LateInteraction):
        told = dict(zip(texts, student.encode(texts, "document"), strict=True))

        def by_tokens(number: int) -> object:
            pairs = requests[number]
            (query,) = student.encode([pairs[0][0]], "query")
            return max_similarities(query, [told[text] for _, text in pairs])

        return by_tokens
    if isinstance(student, BiEncoder):
        vectors = student.encode(texts, "document")
        places = {text: place for place, text in enumerate(texts)}
        rows = [np.array([places[text] for _, text in pairs]) for pairs in requests]

        def by_vectors(number: int) -> object:
            return vectors[rows[number]] @ student.encode([requests[number][0][0]], "query")[0]

        return by_vectors
    assert isinstance(student, JointReader)
    return lambda number: student.score_pairs(requests[number])
