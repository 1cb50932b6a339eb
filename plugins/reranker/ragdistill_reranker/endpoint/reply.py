"""What an endpoint answers, checked before anybody believes it.

The form is that of https://docs.cohere.com/reference/rerank, as far as the servers that follow it agree:
``results`` with an ``index`` and a ``relevance_score`` each; tokens in ``usage`` or ``meta`` where they
count.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ragdistill.endpoint.reply import Content, Reply, Unusable, by_index, count, read, usage
from ragdistill.errors import UserError
from ragdistill_reranker.scales import Scores


def parse(body: bytes, documents: int, *, priced: bool = False) -> Reply[Scores]:
    """The scores of as many ``documents``, float32 ``[n]``, put in order by ``index``; ``priced`` where
    money is counted in tokens.

    Raises:
        Unusable: no JSON, or not one finite score for each document.
        UserError: it is priced, and bills something else.
    """

    def find(content: Content) -> Scores:
        if priced and _by_search(content):
            raise UserError(
                "this endpoint bills searches, not tokens",
                where="--teacher-price",
                mend="leave it and --teacher-budget out, and set a limit with the provider",
            )
        items = by_index(content.get("results"), documents, "scores")
        return _finite([item.get("relevance_score") for item in items])

    return read(body, find, _billed)


def _finite(values: Sequence[Any]) -> Scores:
    if not all(type(value) in (int, float) for value in values):
        raise Unusable("a score is no number")
    try:
        with np.errstate(over="ignore"):  # what float32 cannot hold is told as infinity
            scores = np.asarray([float(value) for value in values], dtype=np.float32)
    except OverflowError:
        scores = np.full(len(values), np.inf, dtype=np.float32)
    if not np.isfinite(scores).all():
        raise Unusable("a score is NaN or infinity")
    return scores


def _meta(content: Content, name: str) -> Any:
    meta = content.get("meta")
    return meta.get(name) if isinstance(meta, Mapping) else None


def _billed(content: Content) -> int | None:
    """Tokens, in ``usage`` as Jina and vLLM tell them, or in ``meta`` as gateways do."""
    names = ("total_tokens", "input_tokens")
    told = (
        usage(content),
        *(count(_meta(content, part), *names) for part in ("billed_units", "tokens")),
    )
    return next((tokens for tokens in told if tokens is not None), None)


def _by_search(content: Content) -> bool:
    """Whether it bills by the search, as Cohere does."""
    units = _meta(content, "billed_units")
    tokens = usage(content) or count(units, "total_tokens", "input_tokens")
    return tokens is None and count(units, "search_units") is not None
