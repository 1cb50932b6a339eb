"""What a collection holds, and what is odd about it, as plain data for a terminal or for JSON."""

import math
import statistics
from collections.abc import Iterable
from typing import Any

from ragdistill.data.collection import Collection
from ragdistill.data.leakage import audit

_EXCERPT = 300
"""Characters of a text in an example."""


def describe(collection: Collection) -> dict[str, Any]:
    """Counts, splits, lengths and an example of ``collection``.

    Keys: ``name``, ``digest``; ``documents``, ``duplicate_documents`` (that repeat the content of
    an earlier one) and ``queries``; of these ``with_answers``, ``with_context``,
    ``with_rewrite`` and ``with_rationale``; ``splits``: by name ``judged_queries`` and ``relevant_pairs``; ``words``: of
    documents and queries the ``median``, ``p95`` and ``longest`` number of words between blanks
    (None where there is none); ``example``: a judged query with its document, else a document.
    """
    queries = collection.queries
    contents = [document.content for document in collection.documents]
    return {
        "name": collection.name,
        "digest": collection.digest,
        "documents": len(contents),
        "duplicate_documents": len(contents) - len(set(contents)),
        "queries": len(queries),
        "with_answers": sum(bool(query.answers) for query in queries),
        "with_context": sum(bool(query.context_turns) for query in queries),
        "with_rewrite": sum(query.rewrite is not None for query in queries),
        "with_rationale": sum(query.rationale is not None for query in queries),
        "splits": {split: _describe_split(collection, split) for split in collection.qrels},
        "words": {
            "documents": _lengths(contents),
            "queries": _lengths(query.text for query in queries),
        },
        "example": _example(collection),
    }


def near_duplicates(collection: Collection) -> dict[str, dict[str, Any]]:
    """What of each evaluation split nearly repeats ``train``: by split, the audits (see
    :func:`ragdistill.data.leakage.audit`) of ``queries`` and of ``positives``, the contents of the
    documents relevant to them. Empty where there is no split to train on."""
    if "train" not in collection.qrels:
        return {}
    train = _texts(collection, "train")
    return {
        split: {
            what: audit(train[what], texts) for what, texts in _texts(collection, split).items()
        }
        for split in collection.qrels
        if split != "train"
    }


def _texts(collection: Collection, split: str) -> dict[str, list[str]]:
    rows = collection.qrels[split].values()
    positive = {document for row in rows for document, grade in row.items() if grade > 0}
    return {
        "queries": [query.text for query in collection.judged(split)],
        "positives": [d.content for d in collection.documents if d.id in positive],
    }


def _describe_split(collection: Collection, split: str) -> dict[str, int]:
    rows = collection.qrels[split].values()
    return {
        "judged_queries": len(collection.judged(split)),
        "relevant_pairs": sum(grade > 0 for row in rows for grade in row.values()),
    }


def _lengths(texts: Iterable[str]) -> dict[str, int] | None:
    words = sorted(len(text.split()) for text in texts)
    if not words:
        return None
    return {
        "median": math.floor(statistics.median(words)),
        "p95": words[math.ceil(0.95 * len(words)) - 1],
        "longest": words[-1],
    }


def _example(collection: Collection) -> dict[str, Any] | None:
    """The first judged query of the first split with its best document, else the first document."""
    documents = {document.id: document for document in collection.documents}
    for split, rows in collection.qrels.items():
        for query in collection.judged(split):
            best = max(rows[query.id], key=lambda document: rows[query.id][document])
            if best in documents:
                text = documents[best].content[:_EXCERPT]
                return {"split": split, "query": query.text, "document": best, "text": text}
    for document in collection.documents[:1]:
        text = document.content[:_EXCERPT]
        return {"split": None, "query": None, "document": document.id, "text": text}
    return None
