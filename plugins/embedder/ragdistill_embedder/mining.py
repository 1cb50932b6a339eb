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

from ragdistill.losses.contrastive import CEILING
from ragdistill.metrics.retrieval import Vectors
from ragdistill_embedder.texts import TrainText

if TYPE_CHECKING:
    from ragdistill_embedder.setup import Setup

DEPTH, COUNT = 20, 7
"""How many nearest texts are looked at, and how many of them are kept."""
_AT_ONCE = 4096
_SHOWN = 20
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
    for query, document in pairs:
        scores = documents @ queries[query]
        rank = int((scores > scores[document]).sum()) + 1
        if rank > worst:
            found.append(Suspicious(query, document, rank, float(scores[document])))
    return sorted(found, key=lambda item: -item.rank)


def judged_suspiciously(setup: "Setup") -> dict[str, Any] | None:
    """The report's ``data.suspicious_positives``: what the teacher makes of the judgments that may
    train; None where there are none."""
    collection = setup.collection
    rows = collection.qrels.get("train", {}).items()
    train = {query: {d for d, grade in row.items() if grade > 0} for query, row in rows}
    documents = {document.id: place for place, document in enumerate(collection.documents)}
    queries = [query for query in collection.queries if train.get(query.id)]
    pairs = [(n, documents[d]) for n, q in enumerate(queries) for d in sorted(train[q.id])]
    if not pairs:
        return None
    asked = [TrainText(query.text, "query") for query in queries]
    told = [TrainText(document.content, "passage") for document in collection.documents]
    setup.collect(setup.wishes([*asked, *told]))
    found = suspicious_positives(
        setup.stored([item.text for item in asked], "query"),
        setup.stored([item.text for item in told], "passage"),
        pairs,
    )
    examples = [
        {"query": queries[item.query].id, "document": collection.documents[item.document].id,
         "rank": item.rank, "similarity": item.similarity}
        for item in found[:_SHOWN]
    ]  # fmt: skip
    return {"count": len(found), "of": len(pairs), "examples": examples}
