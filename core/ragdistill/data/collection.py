"""What every component trains on and is measured on: documents, queries and judgments."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

Qrels = Mapping[str, Mapping[str, int]]
"""Query id to document id to relevance grade; a grade above 0 is relevant."""


@dataclass(frozen=True, slots=True)
class Document:
    """One entry of a corpus."""

    id: str
    text: str
    title: str = ""

    @property
    def content(self) -> str:
        """Title and text as one string: what is embedded and indexed (as BEIR does)."""
        return f"{self.title} {self.text}".strip()


@dataclass(frozen=True, slots=True)
class Query:
    """One question, with what the data knows of it."""

    id: str
    text: str
    answers: tuple[str, ...] = ()
    context_turns: tuple[str, ...] = ()
    rewrite: str | None = None
    answerable: bool | None = None
    rationale: str | None = None
    """What leads to the first of the answers, as a person would reason."""


@dataclass(frozen=True)
class Collection:
    """A corpus, its queries and its judgments, by split."""

    name: str
    documents: tuple[Document, ...]
    queries: tuple[Query, ...] = ()
    qrels: Mapping[str, Qrels] = field(default_factory=dict)
    """Split name (``train``, ``dev``, ``test``) to judgments."""
    source: Path | None = None

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content: documents, queries and judgments, in their order. Taken piece by
        piece, for a corpus as one string would take as much memory again."""
        total = hashlib.sha256()
        for document in self.documents:
            total.update(_canonical(document.id, document.title, document.text))
        for q in self.queries:
            known = (q.id, q.text, q.answers, q.context_turns, q.rewrite, q.answerable)
            # Collections without reasoning keep the digests that run folders know them by.
            told = () if q.rationale is None else (q.rationale,)
            total.update(_canonical(*known, *told))
        for split, rows in self.qrels.items():
            for query, grades in rows.items():
                total.update(_canonical(split, query, dict(grades)))
        return total.hexdigest()

    def judged(self, split: str) -> tuple[Query, ...]:
        """The queries that have at least one relevant document in ``split``, in file order."""
        rows = self.qrels.get(split, {})
        return tuple(q for q in self.queries if any(g > 0 for g in rows.get(q.id, {}).values()))


def _canonical(*values: object) -> bytes:
    """One line of JSON: no two different lists of values give the same bytes."""
    return (json.dumps(values, sort_keys=True, separators=(",", ":")) + "\n").encode()
