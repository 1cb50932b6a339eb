"""What a reranker is given: the documents that a first stage finds for each query."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import bm25s
import numpy as np
from numpy.typing import NDArray

from ragdistill.encoder import Encoder, Prompts
from ragdistill.errors import UserError
from ragdistill.metrics.ranking import search
from ragdistill.metrics.trec import Rankings

NONE = -1
Places = NDArray[np.int64]
Scores = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Of each query the first documents."""

    places: Places
    """Among the documents, ``[q, n]``, best first; :data:`NONE` where there are fewer."""
    scores: Scores
    """The first stage's, ``[q, n]``; 0 where there is no document."""


def by_bm25(queries: Sequence[str], documents: Sequence[str], depth: int) -> Candidates:
    """The ``depth`` documents whose words fit best (BM25 as Lucene counts it, through bm25s: Lù,
    arXiv:2407.03618); no stemming and no stop words, for the language is not known. A document
    without any of a query's words is no candidate."""
    depth = min(depth, len(documents))
    options = {"stopwords": [], "show_progress": False, "return_ids": False}
    index = bm25s.BM25(method="lucene")
    index.index(bm25s.tokenize(list(documents), **options), show_progress=False)
    asked = bm25s.tokenize(list(queries), **options)
    places, scores = index.retrieve(asked, k=depth, show_progress=False, sorted=True)
    found = scores > 0
    return Candidates(
        np.where(found, places, NONE).astype(np.int64), np.where(found, scores, 0).astype("f4")
    )


def by_vectors(
    encoder: Encoder,
    queries: Sequence[str],
    documents: Sequence[str],
    prompts: Prompts,
    depth: int,
) -> Candidates:
    """The ``depth`` documents of greatest cosine, by exact search."""
    found = search(
        encoder.encode(list(queries), prompts.query),
        encoder.encode(list(documents), prompts.passage),
        [str(place) for place in range(len(documents))],
        depth,
    )
    return _padded([[(int(place), score) for place, score in row] for row in found], depth)


def from_rankings(
    rankings: Rankings, queries: Sequence[str], documents: Sequence[str], depth: int, where: Path
) -> Candidates:
    """The candidates that somebody else found.

    Args:
        rankings: read from ``where``, a TREC run file.
        queries: ids, those that candidates are wanted of.
        documents: ids, in the order of the corpus.

    Raises:
        UserError: a query that is not ranked, or a document that is not in the corpus.
    """
    places: Mapping[str, int] = {name: place for place, name in enumerate(documents)}
    rows = []
    for query in queries:
        if query not in rankings:
            raise UserError(
                f"ranks nothing for the query {query!r}",
                where=where,
                mend="rank documents for every query that is judged",
            )
        for document, _ in rankings[query][:depth]:
            if document not in places:
                raise UserError(
                    f"names the document {document!r} for the query {query!r}, which is not in the "
                    "corpus",
                    where=where,
                    mend="give the corpus that was searched with --data",
                )
        rows.append([(places[document], score) for document, score in rankings[query][:depth]])
    return _padded(rows, depth)


def _padded(rows: Sequence[Sequence[tuple[int, float]]], depth: int) -> Candidates:
    wide = min(depth, max(map(len, rows), default=0))
    places: Places = np.full((len(rows), wide), NONE, dtype=np.int64)
    scores: Scores = np.zeros((len(rows), wide), dtype=np.float32)
    for number, row in enumerate(rows):
        for rank, (place, score) in enumerate(row[:wide]):
            places[number, rank], scores[number, rank] = place, score
    return Candidates(places, scores)
