"""Hard negatives by the teacher's own vectors, from the store.

The store names vectors by what made them: by the digest of the weights, never by a model's name or
folder. So two models that lie in one folder each mine by their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np
from numpy.typing import NDArray

from ragdistill.data.sampling import sample
from ragdistill.data.training_texts import TrainText
from ragdistill.losses.contrastive import CEILING
from ragdistill.metrics.retrieval import Vectors

if TYPE_CHECKING:
    from ragdistill_embedder.setup import Setup

DEPTH, COUNT = 20, 7
"""How many nearest texts are looked at, and how many of them are kept."""
_AT_ONCE = 4096
_SHOWN = 20
_JUDGED, _PAIRS_AT_ONCE = 10_000, 256
NONE = -1
Places = NDArray[np.int64]


def hard_negatives(
    anchors: Vectors,
    pool: Vectors,
    *,
    own: Sequence[int] | None = None,
    depth: int = DEPTH,
    count: int = COUNT,
    ceiling: float = CEILING,
) -> Places:
    """The texts of ``pool`` that the teacher places nearest to each anchor, but for the anchor itself
    and those it all but holds for the same (de Souza et al., NV-Retriever, arXiv:2407.15831).

    Args:
        anchors: unit vectors ``[n, d]``.
        pool: unit vectors ``[m, d]``.
        own: the place in ``pool`` of each anchor, [n]; None if no anchor is in it.
        depth: nearest texts that are looked at.
        count: at most so many are kept of each anchor.
        ceiling: cosine above which a text counts as the anchor told in other words.

    Returns:
        ``[n, count]`` places in ``pool``, nearest first; :data:`NONE` where there are fewer.
    """
    index = faiss.IndexFlatIP(pool.shape[1])
    index.add(np.ascontiguousarray(pool, dtype=np.float32))
    found: Places = np.full((len(anchors), count), NONE, dtype=np.int64)
    for start in range(0, len(anchors), _AT_ONCE):
        part = np.ascontiguousarray(anchors[start : start + _AT_ONCE], dtype=np.float32)
        scores, places = index.search(part, min(depth + 1, len(pool)))
        for row, (near, which) in enumerate(zip(scores, places, strict=True), start):
            kept = which[(near <= ceiling) & (which >= 0)]
            if own is not None:
                kept = kept[kept != own[row]]
            found[row, : min(count, len(kept))] = kept[:count]
    return found


@dataclass(frozen=True, slots=True)
class Suspicious:
    """A judged pair that the teacher would not have judged so."""

    query: int
    document: int
    rank: int
    """Of the document among all, by the teacher, from 1."""
    similarity: float


def suspicious_positives(
    queries: Vectors, documents: Vectors, pairs: Sequence[tuple[int, int]], *, worst: int = 100
) -> list[Suspicious]:
    """Judged ``pairs`` of places in ``queries`` and ``documents`` that the teacher ranks below
    ``worst``, the lowest first: labels to look at before anything is taught by them.

    Args:
        queries: unit vectors ``[q, d]``.
        documents: unit vectors ``[n, d]``.
    """
    found = []
    for start in range(0, len(pairs), _PAIRS_AT_ONCE):
        part = pairs[start : start + _PAIRS_AT_ONCE]
        scores = queries[[query for query, _ in part]] @ documents.T
        for row, (query, document) in zip(scores, part, strict=True):
            rank = int((row > row[document]).sum()) + 1
            if rank > worst:
                found.append(Suspicious(query, document, rank, float(row[document])))
    return sorted(found, key=lambda item: -item.rank)


def judged_suspiciously(setup: "Setup") -> dict[str, Any] | None:
    """The report's ``data.suspicious_positives``: what the teacher makes of the judgments that may
    train, at most :data:`_JUDGED` of them; None where there are none. It is asked for nothing more: what it
    was not asked about is left out."""
    collection, asked = setup.collection, set(setup.wanted())
    documents = [d for d in collection.documents if TrainText(d.content, "passage") in asked]
    places = {document.id: place for place, document in enumerate(documents)}
    queries = [query for query in collection.queries if TrainText(query.text, "query") in asked]
    rows = collection.qrels.get("train", {})
    pairs = [
        (number, places[document])
        for number, query in enumerate(queries)
        for document, grade in sorted(rows.get(query.id, {}).items())
        if grade > 0 and document in places
    ]
    pairs = sample(pairs, _JUDGED, setup.config.seed, key=str)
    if not pairs:
        return None
    found = suspicious_positives(
        setup.stored([query.text for query in queries], "query"),
        setup.stored([document.content for document in documents], "passage"),
        pairs,
    )
    examples = [
        {"query": queries[item.query].id, "document": documents[item.document].id,
         "rank": item.rank, "similarity": item.similarity}
        for item in found[:_SHOWN]
    ]  # fmt: skip
    return {"count": len(found), "of": len(pairs), "examples": examples}
