"""How much each of several teachers counts, chosen on text that trains nothing.

Where training queries are judged, those are asked; else held-out titles and spans of documents. The
weights are those under which the right document is most likely among the others, by a softmax over
the weighted sum of the teachers' cosines: McFadden's conditional logit (1974), which is convex, so
there is one best answer and no grid.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

from ragdistill.data.sampling import sample
from ragdistill.errors import UserError
from ragdistill_embedder.lesson import in_order
from ragdistill_embedder.texts import pieces

if TYPE_CHECKING:
    from ragdistill_embedder.setup import Setup

_JUDGED = 50
"""Judged training queries from which on they say more than pieces of documents do."""
_QUERIES, _DOCUMENTS = 512, 4096
_SHARPEST = 200.0
"""Bound of a cosine's factor (1 / temperature): past it a softmax over cosines is a maximum."""
_WHERE = "--teacher-weights"
Matrix = NDArray[np.float64]


def parse_weights(text: str | None, teachers: int) -> tuple[float, ...] | None:
    """``--teacher-weights`` as shares that sum to 1; None where they are to be chosen.

    Raises:
        UserError: not a number above 0 for each of the ``teachers``.
    """
    if text is None:
        return None
    if teachers == 1:
        raise UserError("there is one teacher", where=_WHERE, mend="leave it out")
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if len(found) != teachers or not all(0 < value < float("inf") for value in found):
        raise UserError(
            f"{text!r} is not {teachers} numbers above 0",
            where=_WHERE,
            mend="give one for each teacher, as 2,1, or leave it out to have them chosen",
        )
    return tuple(value / sum(found) for value in found)


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


def fit_weights(cosines: Matrix, relevant: NDArray[np.bool_]) -> tuple[float, ...]:
    """Weights, none negative, that sum to 1, under which ``relevant`` documents are most likely.

    Args:
        cosines: of each teacher between queries and documents, ``[k, q, n]``.
        relevant: the documents that a query is to find, ``[q, n]``; at least one each.
    """
    share = relevant / relevant.sum(axis=1, keepdims=True)
    wanted = np.einsum("kqn,qn->k", cosines, share) / len(relevant)

    def loss(factors: Matrix) -> tuple[float, Matrix]:
        logits = np.tensordot(factors, cosines, axes=1)
        expected = np.einsum("kqn,qn->k", cosines, softmax(logits, axis=1)) / len(relevant)
        return float(logsumexp(logits, axis=1).mean() - factors @ wanted), expected - wanted

    count = len(cosines)
    start = np.full(count, 20.0 / count)
    found = minimize(loss, start, jac=True, bounds=[(0.0, _SHARPEST)] * count, method="L-BFGS-B")
    total = float(found.x.sum())
    if total == 0:  # no teacher finds anything: none is better than another
        return (1 / count,) * count
    return tuple(float(factor) / total for factor in found.x)


def _questions(setup: "Setup") -> tuple[list[str], list[tuple[str, int]]]:
    """Documents, and pairs of a query's text and the place of a document it is to find."""
    seed = setup.config.seed
    asked = {item.text for item in setup.wanted() if item.role == "passage"}
    contents = dict.fromkeys(document.content for document in setup.collection.documents)
    documents = sample([text for text in contents if text in asked], _DOCUMENTS, seed, key=str)
    places = {text: place for place, text in enumerate(documents)}
    judged = [(query, places[text]) for query, text in _judged(setup) if text in places]
    pairs = judged
    if len({query for query, _ in judged}) < _JUDGED:
        pairs = [(query, places[text]) for query, text in _pieces(setup) if text in places]
    drawn = set(sample(list(dict.fromkeys(q for q, _ in pairs)), _QUERIES, seed, key=str))
    return documents, [pair for pair in pairs if pair[0] in drawn]


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
