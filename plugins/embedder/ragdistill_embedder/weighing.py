"""How much each of several teachers counts, chosen on text that nothing is measured with.

Where training queries are judged, those are asked; else titles and spans of documents that training
leaves out. The
weights are those under which the right document is likeliest among the others
(:mod:`ragdistill.metrics.mixing`).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ragdistill.data.sampling import sample
from ragdistill.data.training_texts import pieces
from ragdistill.metrics.mixing import Matrix, fit_factors
from ragdistill.run import read_manifest
from ragdistill_embedder.lesson import in_order

if TYPE_CHECKING:
    from ragdistill_embedder.setup import Setup

_JUDGED = 50
"""Judged training queries from which on they say more than pieces of documents do."""
_QUERIES, _DOCUMENTS = 512, 4096
KEPT = "teacher_weights"
"""Where in what training has found a run keeps its weights: all later stages measure by them."""


def choose_weights(setup: "Setup") -> tuple[float, ...]:
    """The weights of the teachers of ``setup``, whose vectors of the training text are stored; equal
    ones where there is nothing to choose by."""
    documents, pairs = _questions(setup)
    count = len(setup.sources)
    if not pairs:
        return (1 / count,) * count
    queries = list(dict.fromkeys(query for query, _ in pairs))
    relevant = np.zeros((len(queries), len(documents)), dtype=bool)
    places = {query: place for place, query in enumerate(queries)}
    for query, document in pairs:
        relevant[places[query], document] = True
    cosines = [
        setup.said(place, queries, "query") @ setup.said(place, documents, "passage").T
        for place in range(count)
    ]
    return fit_weights(np.stack(cosines).astype(np.float64), relevant)


def kept_weights(folder: Path, teachers: int) -> tuple[float, ...] | None:
    """The weights that the run in ``folder`` was trained with; None before that."""
    if not (folder / "run.json").exists():
        return None
    train = read_manifest(folder)["stages"].get("train", {})
    if train.get("state") != "done":
        return None
    kept = train["result"]["training"].get(KEPT)
    return tuple(map(float, kept)) if kept and len(kept) == teachers else None


def fit_weights(cosines: Matrix, relevant: NDArray[np.bool_]) -> tuple[float, ...]:
    """Weights, none negative, that sum to 1, under which ``relevant`` documents are likeliest.

    Args:
        cosines: of each teacher between queries and documents, ``[k, q, n]``.
        relevant: the documents that a query is to find, ``[q, n]``; at least one each.
    """
    factors = fit_factors(cosines, relevant)
    total = float(factors.sum())
    if total == 0:  # no teacher finds anything: none is better than another
        return (1 / len(cosines),) * len(cosines)
    return tuple(float(factor) / total for factor in factors)


def _questions(setup: "Setup") -> tuple[list[str], list[tuple[str, int]]]:
    """Documents, and pairs of a query's text and the place of a document it is to find: first the
    queries are drawn, then documents beside those that they are to find."""
    seed = setup.config.seed
    asked = {item.text for item in setup.wanted() if item.role == "passage"}
    pairs = list(dict.fromkeys(pair for pair in _judged(setup) if pair[1] in asked))
    if len({query for query, _ in pairs}) < _JUDGED:
        pairs = list(dict.fromkeys(pair for pair in _pieces(setup) if pair[1] in asked))
    drawn = set(sample(list(dict.fromkeys(q for q, _ in pairs)), _QUERIES, seed, key=str))
    pairs = [pair for pair in pairs if pair[0] in drawn]
    right = dict.fromkeys(text for _, text in pairs)
    told = dict.fromkeys(document.content for document in setup.collection.documents)
    others = [text for text in told if text in asked and text not in right]
    documents = [*right, *sample(others, max(0, _DOCUMENTS - len(right)), seed, key=str)]
    places = {text: place for place, text in enumerate(documents)}
    return documents, [(query, places[text]) for query, text in pairs]


def _judged(setup: "Setup") -> Iterator[tuple[str, str]]:
    """Training queries that are learnt from, each with the content of a document that was judged
    relevant to it."""
    learnt = {item.text for item in setup.texts if item.role == "query"}
    collection = setup.collection
    contents = {document.id: document.content for document in collection.documents}
    rows = collection.qrels.get("train", {})
    for query in collection.queries:
        if query.text in learnt:
            for document, grade in rows.get(query.id, {}).items():
                if grade > 0:
                    yield query.text, contents[document]


def _pieces(setup: "Setup") -> Iterator[tuple[str, str]]:
    """Held-out titles and spans, each with the content of the document it is of."""
    texts, count = in_order(setup.texts, setup.config.seed)
    held_out = {item.text for item in texts[count:] if item.role == "query"}
    for document, piece in pieces(setup.collection.documents, setup.config.seed):
        if piece.role == "query" and piece.text in held_out:
            yield piece.text, document.content
