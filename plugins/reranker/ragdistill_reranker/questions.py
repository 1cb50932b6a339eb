"""What a reranker is taught with: queries of a train split, and where there are few, pieces of documents,
or questions that a teacher writes for them (:mod:`ragdistill_reranker.generated`).

A piece is put as a query to its document *without* that piece (the inverse cloze task, Lee et al.,
arXiv:1906.00300): else it would be found by being the same, which no real query is.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
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
    generated: bool = False
    """Whether a teacher has written it."""

    @property
    def judged(self) -> bool:
        """Whether somebody has put it as a query, and judged what answers it."""
        return self.rest is None and not self.generated


Ask = Callable[[Iterable[int], int], Iterator[Question]]
"""Questions of the documents in these places, made as they are taken; about so many will be."""


def questions(
    collection: Collection,
    *,
    limit: int | None,
    seed: int,
    avoid: Iterable[str],
    ask: Ask | None = None,
) -> list[Question]:
    """At most ``limit`` questions: judged ones of the ``train`` split first, then those of documents,
    one of each.

    Args:
        avoid: texts that must not be learnt from, compared without case and white space.
        ask: what is asked of documents; None for a piece of each.
    """
    banned = {folded(text) for text in avoid}
    found: dict[str, Question] = {}
    judged = [item for item in _judged(collection) if folded(item.text) not in banned]
    for question in sample(judged, limit, seed, key=lambda item: item.text):
        found.setdefault(folded(question.text), question)
    order = sorted(
        range(len(collection.documents)), key=lambda n: rank(seed, collection.documents[n].id)
    )
    wished = len(order) if limit is None else limit - len(found)
    made = ask(order, wished) if ask else _cut_out(collection, order, seed)
    while limit is None or len(found) < limit:
        wanted = next(made, None)
        if wanted is None:
            break
        if folded(wanted.text) not in banned:
            found.setdefault(folded(wanted.text), wanted)
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


def _cut_out(collection: Collection, places: Iterable[int], seed: int) -> Iterator[Question]:
    for place in places:
        piece = cut_out(collection.documents[place], seed)
        if piece:
            yield Question(piece[0], (place,), piece[1])


def cut_out(document: Document, seed: int) -> tuple[str, str] | None:
    """A piece of ``document`` (its title, or one of its sentences) and what is left of it; None where
    it has none to spare. Drawn with ``seed`` and the document's id."""
    fitting = [
        (piece, rest)
        for piece, rest in _pieces(document)
        if asks(piece) and _words(rest) >= _LEFT_WORDS
    ]
    return random.Random(f"{seed} {document.id}").choice(fitting) if fitting else None


def asks(text: str) -> bool:
    """Whether ``text`` is as long as queries are."""
    least, most = _QUERY_WORDS
    return least <= _words(text) <= most


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
