"""How long it takes to rerank a hundred candidates, as each system is served: a pair reader and a
language model from the texts, the others with the documents' vectors made before and the query read."""

from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, islice
from typing import Any

from ragdistill.data.sampling import sample
from ragdistill.first_stage import NONE, FirstStage
from ragdistill.metrics.latency import profile_requests
from ragdistill_reranker.local import LocalScorer
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
    """``speed`` of the report: of the teachers together, where all run here (a server is not asked again
    what nobody needs and somebody bills), and of each system in ``serving``."""
    asked = sample(list(queries), _REQUESTS, seed, key=str)
    size, requests = min(CANDIDATES, len(documents)), []
    for query, places in zip(asked, stage.find(asked, size).places, strict=True):
        texts = [documents[place] for place in places if place != NONE]
        # Few documents may have a word in common with the query, and fewer would flatter.
        if texts:
            requests.append([(query, text) for text in islice(cycle(texts), size)])
    if not requests:
        return {}
    systems: dict[str, Callable[[int], object]] = {}
    if all(isinstance(scorer, LocalScorer) for scorer in scorers):
        systems["teacher"] = lambda n: [_ask(each, requests[n]) for each in scorers]
    for name, system in serving.items():
        systems[name] = system.serve(requests)
    return profile_requests(systems, len(requests), items=size)


def _ask(scorer: Scorer, pairs: Sequence[Pair]) -> object:
    return list(scorer.answers(pairs))
