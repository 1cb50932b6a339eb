"""Queries made of documents: nobody asked them, but of each the document is known that it is of.

A student that begins from nothing has little to learn from a few hundred judged queries; documents there are more
of (as queries are made of documents for doc2query, arXiv:1904.08375, though by a model there).
"""

import random
from collections.abc import Sequence

from ragdistill.data.collection import Document, Query
from ragdistill.data.sampling import sample
from ragdistill.first_stage import FirstStage
from ragdistill_query_rewriter.evaluation import values
from ragdistill_query_rewriter.expansions import Expansion
from ragdistill_query_rewriter.filtering import Filtered, Outcome
from ragdistill_query_rewriter.ways import Way

_SHORTEST, _LONGEST = 4, 8
"""Words of a query."""


def queries_of(documents: Sequence[Document], count: int, seed: int) -> list[Query]:
    """Some words in a row of each of so many documents, drawn with the seed; of their ids those of the
    documents. Of a document that has no more words than a query nothing is made."""
    long = [each for each in documents if len(each.content.split()) > _LONGEST]
    chosen = sample(long, count, seed, key=lambda document: document.id)
    return [Query(each.id, _drawn(each, seed)) for each in chosen]


def _drawn(document: Document, seed: int) -> str:
    rng = random.Random(f"{seed} {document.id}")
    words = document.content.split()
    wide = rng.randint(_SHORTEST, _LONGEST)
    start = rng.randint(0, len(words) - wide)
    return " ".join(words[start : start + wide])


def kept(
    stage: FirstStage,
    ids: Sequence[str],
    way: Way,
    queries: Sequence[Query],
    expansions: Sequence[Expansion],
) -> Filtered:
    """Every whole expansion that still finds its query's document among the first hundred; most such
    queries are too good for anything to be better."""
    pairs = zip(queries, expansions, strict=True)
    texts = [way.text(query.text, each.variants) for query, each in pairs]
    found = way.find(stage, ids, queries, texts)
    there = values({query.id: {query.id: 1} for query in queries}, found, "R@100") > 0
    outcomes: list[Outcome] = [
        "fault" if each.fault else "better" if still else "worse"
        for each, still in zip(expansions, there.tolist(), strict=True)
    ]
    told = zip(outcomes, expansions, strict=True)
    targets = [each.variants if outcome == "better" else None for outcome, each in told]
    return Filtered(queries, outcomes, targets, expansions)
