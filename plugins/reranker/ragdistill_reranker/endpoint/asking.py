"""How an endpoint is asked for scores: ``POST /rerank``, as Cohere and Jina have it, and vLLM, Infinity and
gateways.

::

    {"model": ..., "query": ..., "documents": [...], "top_n": ..., "return_documents": false}
    -> {"results": [{"index": ..., "relevance_score": ...}, ...], "usage": {"total_tokens": ...}}
"""

from collections.abc import Iterator, Sequence
from typing import Any

from ragdistill.endpoint.address import Address, Service
from ragdistill.endpoint.asking import Request, estimate
from ragdistill.endpoint.client import LEAST_BYTES, Question
from ragdistill_reranker.endpoint.reply import parse
from ragdistill_reranker.scales import Scores
from ragdistill_reranker.scoring import Pair

RERANK = Service(
    "rerank:", "/rerank", model="bge-reranker-v2-m3", url="http://127.0.0.1:8000/v1", task="rerank"
)
TOO_MUCH = (
    "if documents are too long for it, have the server truncate them; if they are too many at once, ask "
    "for fewer with --teacher-batch"
)
_ESCAPED = 6
"""Bytes of a byte in JSON, at the most: documents may be sent back."""


def by_query(pairs: Sequence[Pair]) -> Iterator[Request]:
    """All documents of each query, with their places in ``pairs``."""
    places: dict[str, list[int]] = {}
    for place, (query, _) in enumerate(pairs):
        places.setdefault(query, []).append(place)
    for query, at in places.items():
        yield _request(query, [pairs[place][1] for place in at], at)


def probe(texts: Sequence[str]) -> Request:
    """The request for a query, the first of ``texts``, and its documents."""
    query, *documents = texts
    return _request(query, documents, list(range(len(documents))))


def _request(query: str, documents: list[str], places: list[int]) -> Request:
    """A query is read again with each document."""
    asked = estimate(query)
    return Request(places, documents, [asked + estimate(text) for text in documents], query)


def put(request: Request, at: Address, *, priced: bool) -> Question[Scores]:
    """The question for the scores ``[b]`` of a request's documents; ``priced``: see
    :func:`~ragdistill_reranker.endpoint.reply.parse`."""
    documents = request.texts
    wish: dict[str, Any] = {
        "query": request.beside,
        "documents": documents,
        "top_n": len(documents),
        "return_documents": False,
    }
    if at.url.endswith("/v2"):
        # The second version of Cohere's interface refuses what it does not know.
        del wish["return_documents"]
    return Question(
        wish=wish,
        ask=request.ask,
        read=lambda body: parse(body, len(documents), priced=priced),
        check=lambda scores: None,
        most_bytes=LEAST_BYTES + _ESCAPED * request.ask.most,
    )
