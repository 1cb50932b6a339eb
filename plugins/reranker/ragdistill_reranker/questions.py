"""What a reranker is taught with: queries of a train split, and where there are few, pieces of documents.

A piece is put as a query to its document *without* that piece (the inverse cloze task, Lee et al.,
arXiv:1906.00300): else it would be found by being the same, which no real query is.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ragdistill.data.collection import Collection, Document
from ragdistill.data.sampling import rank, sample
from ragdistill.data.training_texts import folded, sentences

_QUERY_WORDS = (3, 40)
"""A piece of fewer words asks nothing, one of more is no query."""
_LEFT_WORDS = 4
"""What must be left of its document."""
_LETTERS = 12
"""A run of so many letters without a space is more than one word."""


@dataclass(frozen=True, slots=True)
class Question:
    """A query to learn from."""

    text: str
    relevant: tuple[int, ...]
    """Places of documents that answer it, of which one is known at least."""
    rest: str | None = None
    """What is left of the (one) relevant document, if it is a piece of that."""


def questions(
    collection: Collection, *, limit: int | None, seed: int, avoid: Iterable[str]
) -> list[Question]:
    """At most ``limit`` questions: judged ones of the ``train`` split first, then pieces of documents,
    one of each.

    Args:
        avoid: texts that must not be learnt from, compared without case and white space.
    """
    banned = {folded(text) for text in avoid}
    found: dict[str, Question] = {}
    for question in sample(list(_judged(collection)), limit, seed, key=lambda item: item.text):
        if folded(question.text) not in banned:
            found.setdefault(folded(question.text), question)
    order = sorted(
        range(len(collection.documents)), key=lambda n: rank(seed, collection.documents[n].id)
    )
    for place in order:
        if limit is not None and len(found) >= limit:
            break
        piece = cut_out(collection.documents[place], seed)
        if piece and folded(piece[0]) not in banned:
            found.setdefault(folded(piece[0]), Question(piece[0], (place,), piece[1]))
    return list(found.values())


def _judged(collection: Collection) -> Iterator[Question]:
    places = {document.id: place for place, document in enumerate(collection.documents)}
    judgments = collection.qrels.get("train", {})
    for query in collection.judged("train"):
        relevant = [
            places[document]
            for document, grade in judgments[query.id].items()
            if grade > 0 and document in places
        ]
        if relevant:
            yield Question(query.text, tuple(relevant))


def cut_out(document: Document, seed: int) -> tuple[str, str] | None:
    """A piece of ``document`` (its title, or one of its sentences) and what is left of it; None where
    it has none to spare. Drawn with ``seed`` and the document's id."""
    least, most = _QUERY_WORDS
    pieces = _pieces(document)
    fitting = [
        (piece, rest)
        for piece, rest in pieces
        if least <= _words(piece) <= most and _words(rest) >= _LEFT_WORDS
    ]
    return random.Random(f"{seed} {document.id}").choice(fitting) if fitting else None


def _words(text: str) -> int:
    """How many words ``text`` has, about: not every script puts spaces between them."""
    return max(len(text.split()), len(text) // _LETTERS)


def _pieces(document: Document) -> list[tuple[str, str]]:
    """Every piece, and the document without it."""
    parts: Sequence[str] = sentences(document.text)
    found = [(document.title, document.text)] if document.title else []
    for number, part in enumerate(parts):
        rest = " ".join([*parts[:number], *parts[number + 1 :]])
        found.append((part, f"{document.title} {rest}".strip()))
    return found
