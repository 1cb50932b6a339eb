"""What scores the documents of a query, wherever it runs: by token vectors, by text vectors, or by pairs.

A student in PyTorch and its exports differ in how they read texts; how scores come of that, and what is left
to do once documents are known, is the same for all of a kind.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np

from ragdistill.first_stage import Scores
from ragdistill_reranker.lists import Lists
from ragdistill_reranker.max_similarity import max_similarities
from ragdistill_reranker.scoring import Pair

Request = Sequence[Pair]
"""A query with its candidates."""
Serve = Callable[[int], Scores]
"""Scores of the request of a number."""


class System(ABC):
    """Scores documents of queries."""

    @abstractmethod
    def score(self, lists: Lists) -> Scores:
        """Scores ``[q, n]``; 0 where there is no document."""

    @abstractmethod
    def serve(self, requests: Sequence[Request]) -> Serve:
        """What it does on a request; what can be made of documents before a query comes is made here."""


class TokenSystem(System):
    """Late interaction: a vector of each token."""

    @abstractmethod
    def encode(self, texts: Sequence[str], task: str) -> list[Scores]:
        """Vectors of the tokens of each text, ``[tokens, d]``; ``task`` is ``query`` or ``document``."""

    def score(self, lists: Lists) -> Scores:
        """See :class:`System`."""
        texts = lists.documents
        told = dict(zip(texts, self.encode(texts, "document"), strict=True))
        asked = self.encode(lists.queries, "query")
        found: Scores = np.zeros(lists.there.shape, dtype=np.float32)
        for row, (query, documents, there) in enumerate(
            zip(asked, lists.texts, lists.there, strict=True)
        ):
            if there.any():
                listed = [told[text] for text, mark in zip(documents, there, strict=True) if mark]
                found[row, there] = compared(query, listed)
        return found

    def serve(self, requests: Sequence[Request]) -> Serve:
        """See :class:`System`."""
        texts = _documents(requests)
        told = dict(zip(texts, self.encode(texts, "document"), strict=True))

        def rerank(number: int) -> Scores:
            pairs = requests[number]
            (query,) = self.encode([pairs[0][0]], "query")
            return compared(query, [told[text] for _, text in pairs])

        return rerank


class VectorSystem(System):
    """A vector of each text."""

    @abstractmethod
    def encode(self, texts: Sequence[str], task: str) -> Scores:
        """Unit vectors ``[n, d]``; ``task`` is ``query`` or ``document``."""

    def score(self, lists: Lists) -> Scores:
        """See :class:`System`."""
        texts = lists.documents
        places = {text: place for place, text in enumerate(texts)}
        told = np.array([[places.get(text, 0) for text in row] for row in lists.texts])
        asked, vectors = self.encode(lists.queries, "query"), self.encode(texts, "document")
        scores = np.stack([vectors[row] @ query for row, query in zip(told, asked, strict=True)])
        return np.where(lists.there, scores, 0).astype(np.float32)

    def serve(self, requests: Sequence[Request]) -> Serve:
        """See :class:`System`."""
        texts = _documents(requests)
        places = {text: place for place, text in enumerate(texts)}
        vectors = self.encode(texts, "document")
        rows = [np.array([places[text] for _, text in pairs]) for pairs in requests]

        def rerank(number: int) -> Scores:
            query = self.encode([requests[number][0][0]], "query")[0]
            scores: Scores = vectors[rows[number]] @ query
            return scores

        return rerank


class PairSystem(System):
    """Query and document read together: nothing can be made before."""

    @abstractmethod
    def score_pairs(self, pairs: Sequence[Pair]) -> Scores:
        """Scores ``[n]``."""

    def score(self, lists: Lists) -> Scores:
        """See :class:`System`."""
        return lists.spread(self.score_pairs(lists.pairs))

    def serve(self, requests: Sequence[Request]) -> Serve:
        """See :class:`System`."""
        return lambda number: self.score_pairs(requests[number])


def compared(query: Scores, documents: Sequence[Scores]) -> Scores:
    """A query's token vectors with those of each document, ``[n]``."""
    lengths = [len(each) for each in documents]
    return max_similarities(query, np.concatenate(documents), lengths)


def _documents(requests: Sequence[Request]) -> list[str]:
    """The documents of all requests, each once."""
    return list(dict.fromkeys(text for pairs in requests for _, text in pairs))
