"""Questions with what they are to be answered from: which are learnt from, and which are measured on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ragdistill.data.collection import Collection, Qrels, Query
from ragdistill.data.sampling import sample
from ragdistill.data.splits import choose, split
from ragdistill.errors import UserError

Find = Callable[[Sequence[Query]], Sequence[Sequence[str]]]
"""The contexts of each of some queries, best first."""


@dataclass(frozen=True, slots=True)
class Case:
    """A question, its contexts, and what is known of its answer."""

    id: str
    question: str
    contexts: tuple[str, ...]
    """Best first; ``[1]`` cites the first."""
    references: tuple[str, ...] = ()
    """Right answers, each for itself."""
    answerable: bool | None = None
    """Whether the contexts hold the answer; None where that is not known."""
    rationale: str | None = None
    """What leads to the first of the right answers."""


@dataclass(frozen=True, slots=True)
class Split:
    """Ids of the queries that are learnt from, and the judgments that are measured on."""

    train: frozenset[str]
    name: str
    """Of the part that is measured on."""
    test: Qrels


def divide(collection: Collection, seed: int) -> Split:
    """The collection's own splits; one that has a single split is divided 80/10/10 by document, and the
    last part is measured on (the second is for choosing settings, and is left alone).

    Raises:
        UserError: nothing is judged, or too little to be divided.
    """
    known = collection.qrels
    train = frozenset(known.get("train", {}))
    if train:
        name, judged = choose(collection)
        # A query that two splits judge is an evaluation query, too.
        held = {query for other, rows in known.items() if other != "train" for query in rows}
        return Split(train - held, name, judged)
    name, judged = choose(collection)
    # Of what nobody judged there are no contexts.
    asked = tuple(query for query in collection.queries if query.id in judged)
    part = Collection(
        collection.name, collection.documents, asked, {name: judged}, collection.source
    )
    learnt, _, last = split(part, seed, by="document")
    told = {query: judged[query] for query in last}
    return Split(frozenset(learnt), f"{name}, the last tenth by document", told)


def judged_contexts(collection: Collection, most: int) -> Find:
    """The documents that are judged to be relevant, those of the highest grade first, ``most`` of them."""
    content = {document.id: document.content for document in collection.documents}
    grades: dict[str, dict[str, int]] = {}
    for rows in collection.qrels.values():
        for query, row in rows.items():
            grades.setdefault(query, {}).update(row)

    def find(queries: Sequence[Query]) -> list[list[str]]:
        found = []
        for query in queries:
            row = grades.get(query.id, {})
            best = sorted((name for name in row if row[name] > 0), key=lambda name: -row[name])
            found.append([content[name] for name in best if name in content][:most])
        return found

    return find


def make_cases(queries: Sequence[Query], find: Find) -> list[Case]:
    """Cases of ``queries``, in their order; those without any context are left out."""
    return [
        Case(
            query.id,
            query.text,
            tuple(contexts),
            query.answers,
            query.answerable,
            query.rationale,
        )
        for query, contexts in zip(queries, find(queries), strict=True)
        if contexts
    ]


def learnt(
    collection: Collection, parts: Split, find: Find, limit: int | None, seed: int
) -> list[Case]:
    """What is learnt from, at most ``limit`` cases.

    Raises:
        UserError: there is nothing.
    """
    queries = [query for query in collection.queries if query.id in parts.train]
    cases = make_cases(sample(queries, limit, seed, key=lambda query: query.id), find)
    if not cases:
        raise UserError(
            "holds no question with a context to learn from",
            where=collection.source or collection.name,
            mend="bring questions (queries.jsonl) with judged documents (qrels/train.tsv), or "
            "--contexts-from bm25",
        )
    return cases


def measured(
    collection: Collection, judged: Qrels, find: Find, limit: int | None, seed: int
) -> list[Case]:
    """What is measured on, at most ``limit`` cases.

    Raises:
        UserError: there is nothing.
    """
    queries = [query for query in collection.queries if query.id in judged]
    cases = make_cases(sample(queries, limit, seed, key=lambda query: query.id), find)
    if not cases:
        raise UserError(
            "holds no question with a context to measure on",
            where=collection.source or collection.name,
            mend="judge documents above 0 for its questions, or give --contexts-from bm25",
        )
    return cases
