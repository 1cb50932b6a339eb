"""The unlabelled text that an embedder learns from.

A student has to place two kinds of text as its teacher does: documents, and the short things
people type. Where there are no train queries, pieces of the documents stand in for them: titles,
sentences, and short spans of words (as the inverse cloze task does, arXiv:1906.00300).
"""

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ragdistill.data.collection import Collection, Document
from ragdistill.data.sampling import sample

Role = Literal["query", "passage"]

_SENTENCE_END = re.compile(r"(?<=[.!?;:])\s+|\n\s*\n")
_MIN_WORDS = 3
_SPAN_WORDS = (4, 16)
_WORDS_PER_SPAN = 12


@dataclass(frozen=True, slots=True)
class TrainText:
    """One text to learn from, and which of the teacher's prompts goes before it."""

    text: str
    role: Role


def training_texts(
    collection: Collection, *, limit: int | None, seed: int, avoid: Iterable[str] = ()
) -> list[TrainText]:
    """Documents, their sentences, and queries or what stands in for them, each text once.

    Args:
        collection: its documents are used, and the queries of its ``train`` split; queries of
            other splits never.
        limit: at most this many texts, drawn with ``seed``; None for all.
        seed: of what is drawn.
        avoid: texts that must not be learnt from (the evaluation queries), compared without
            case and white space.
    """
    banned = {_folded(text) for text in avoid}
    train_ids = set(collection.qrels.get("train", {}))
    queries = [query.text for query in collection.queries if query.id in train_ids]
    found: dict[TrainText, None] = {}
    for item in _all_texts(collection.documents, queries, seed):
        if item.text and _folded(item.text) not in banned:
            found.setdefault(item)
    texts = list(found)
    if limit is None or len(texts) <= limit:
        return texts
    return sample(texts, limit, seed, key=lambda item: f"{item.role} {item.text}")


def _all_texts(
    documents: Sequence[Document], queries: Sequence[str], seed: int
) -> Iterator[TrainText]:
    for document in documents:
        yield TrainText(document.content, "passage")
    for text in queries:
        yield TrainText(text, "query")
    for document in documents:
        if document.title:
            yield TrainText(document.title, "query")
        for sentence in sentences(document.text):
            yield TrainText(sentence, "passage")
        # Seeded by the document, so that one more document does not change the others' spans.
        for span in spans(document.text, random.Random(f"{seed} {document.id}")):
            yield TrainText(span, "query")


def sentences(text: str) -> list[str]:
    """Pieces of ``text`` that end like a sentence or a paragraph and have three words or more."""
    pieces = (" ".join(piece.split()) for piece in _SENTENCE_END.split(text))
    return [piece for piece in pieces if len(piece.split()) >= _MIN_WORDS]


def spans(text: str, rng: random.Random) -> list[str]:
    """Random runs of 4 to 16 words, about one per twelve words, as long as a typed query."""
    words = text.split()
    shortest, longest = _SPAN_WORDS
    if len(words) <= longest:
        return []
    found = []
    for _ in range(max(1, len(words) // _WORDS_PER_SPAN)):
        length = rng.randint(shortest, longest)
        start = rng.randrange(len(words) - length)
        found.append(" ".join(words[start : start + length]))
    return found


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())
