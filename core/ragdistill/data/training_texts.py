"""The unlabelled text that students learn from.

A student has to place two kinds of text as its teacher does: documents, and the short things
people type. Pieces of the documents stand in for the latter: titles, sentences, and short spans of
words (as the inverse cloze task does, arXiv:1906.00300). In an English corpus half of the spans
are put as questions: the teacher is asked about the very same text, so it need not be a sensible
question, only look like what comes.
"""

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from ragdistill.data.collection import Collection, Document
from ragdistill.data.sampling import sample

Role = Literal["query", "passage"]

_SENTENCE_END = re.compile(r"(?<=[.!?;:])\s+|\n\s*\n")
_MIN_WORDS = 3
_SPAN_WORDS = (4, 16)
_SPANS_IN_ALL = 24_000
_SPANS_PER_DOCUMENT = 24
_QUESTION_SHARE = 0.5
_QUESTION_OPENINGS = (
    "what is",
    "what are",
    "what happened to",
    "which",
    "who is",
    "who was",
    "where is",
    "when did",
    "why does",
    "why did",
    "how does",
    "how do I",
    "how many",
    "can you",
    "is there",
    "did",
)
_ENGLISH = frozenset(["the", "of", "and", "to", "a", "in", "is", "that", "for", "it"])
_ENGLISH_SHARE = 0.12


@dataclass(frozen=True, slots=True)
class TrainText:
    """One text to learn from, and which of the teacher's prompts goes before it."""

    text: str
    role: Role


def training_texts(
    collection: Collection,
    *,
    limit: int | None,
    seed: int,
    avoid: Iterable[str] = (),
    queries_only: bool = False,
) -> list[TrainText]:
    """Documents, their sentences, and queries or what stands in for them, each text once.

    Args:
        collection: its documents are used, and the queries of its ``train`` split; queries of
            other splits never.
        limit: at most this many texts, drawn with ``seed``, half of them whole documents where
            there are as many; None for all.
        seed: of what is drawn.
        avoid: texts that must not be learnt from (the evaluation queries), compared without
            case and white space.
        queries_only: leave whole documents out, and take their sentences as queries.
    """
    banned = {folded(text) for text in avoid}
    train_ids = set(collection.qrels.get("train", {}))
    queries = [query.text for query in collection.queries if query.id in train_ids]
    documents = collection.documents
    whole = dict.fromkeys(TrainText(document.content, "passage") for document in documents)
    parts = [TrainText(text, "query") for text in queries]
    parts += [piece for _, piece in pieces(documents, seed)]
    asked = (TrainText(item.text, "query") for item in parts)
    found: dict[TrainText, None] = {}
    for item in asked if queries_only else chain(whole, parts):
        if item.text and folded(item.text) not in banned:
            found.setdefault(item)
    texts = list(found)
    if limit is None or len(texts) <= limit:
        return texts
    # Half of them whole documents: they are what will be searched, and are asked about anyway.
    first = [item for item in texts if item in whole]
    rest = [item for item in texts if item not in whole]
    drawn = _draw(first, max(limit // 2, limit - len(rest)), seed)
    chosen = {*drawn, *_draw(rest, limit - len(drawn), seed)}
    return [item for item in texts if item in chosen]


def _draw(texts: Sequence[TrainText], count: int, seed: int) -> list[TrainText]:
    return sample(texts, count, seed, key=lambda item: f"{item.role} {item.text}")


def pieces(documents: Sequence[Document], seed: int) -> Iterator[tuple[Document, TrainText]]:
    """What documents are made of, each piece with the document it is of."""
    rate = min(_SPANS_IN_ALL / len(documents), _SPANS_PER_DOCUMENT)
    questions = _QUESTION_SHARE if is_english(documents) else 0.0
    for document in documents:
        if document.title:
            yield document, TrainText(document.title, "query")
        for sentence in sentences(document.text):
            yield document, TrainText(sentence, "passage")
        # Seeded by the document, so that one more document does not change the others' spans.
        rng = random.Random(f"{seed} {document.id}")
        count = int(rate) + (rng.random() < rate % 1)
        for span in spans(document.content, count, rng):
            asked = rng.random() < questions
            yield document, TrainText(as_question(span, rng) if asked else span, "query")


def sentences(text: str) -> list[str]:
    """Pieces of ``text`` that end like a sentence or a paragraph and have three words or more."""
    pieces = (" ".join(piece.split()) for piece in _SENTENCE_END.split(text))
    return [piece for piece in pieces if len(piece.split()) >= _MIN_WORDS]


def spans(text: str, count: int, rng: random.Random) -> list[str]:
    """``count`` random runs of 4 to 16 words, as long as a typed query; fewer of a short text, which
    has no more that differ."""
    words = text.split()
    shortest, longest = _SPAN_WORDS
    found = []
    for _ in range(min(count, len(words) - shortest)):
        length = min(rng.randint(shortest, longest), len(words) - 1)
        start = rng.randrange(len(words) - length + 1)
        found.append(" ".join(words[start : start + length]))
    return found


def as_question(span: str, rng: random.Random) -> str:
    """``span`` behind the opening of an English question."""
    return f"{rng.choice(_QUESTION_OPENINGS)} {span.rstrip('.,;:!?')}?"


def is_english(documents: Sequence[Document]) -> bool:
    """Whether the ten commonest English words make up an eighth of the text, as they do in English
    (about a quarter) and in no other language."""
    sampled = documents[:: max(1, len(documents) // 500)]
    words = [word for document in sampled for word in document.content.lower().split()]
    return sum(word in _ENGLISH for word in words) > _ENGLISH_SHARE * len(words)


def folded(text: str) -> str:
    """``text`` as it is compared with others: without case, and with single spaces."""
    return " ".join(text.casefold().split())
