"""How long it takes to rerank a hundred candidates, as each system is served: a pair reader and a
language model from the texts, the others with the documents' vectors made before and the query read."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ragdistill.data.sampling import sample
from ragdistill.metrics.latency import profile_requests
from ragdistill_reranker.first_stage import NONE, FirstStage
from ragdistill_reranker.scoring import Pair, Scorer
from ragdistill_reranker.systems import System

CANDIDATES = 100
_REQUESTS = 50


def measure(
    stage: FirstStage,
    queries: Sequence[str],
    documents: Sequence[str],
    scorers: Sequence[Scorer],
    serving: Mapping[str, System],
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
    systems: dict[str, Callable[[int], object]] = {
        "teacher": lambda n: [_ask(each, requests[n]) for each in scorers]
    }
    for name, system in serving.items():
        systems[name] = system.serve(requests)
    return profile_requests(systems, len(requests), items=len(requests[0]))


def _ask(scorer: Scorer, pairs: Sequence[Pair]) -> object:
    return list(scorer.answers(pairs))
