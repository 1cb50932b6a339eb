"""The built-in data set ``pydocs-turns``: a small part of ``pydocs``, searched in conversations, too.

Nobody held these conversations: they are made of the documentation by rule. Each asks first what a class or
module is (``What is queue.Queue?``), has its summary said, and then goes on with the summary of one of its
members (a known item of ``pydocs``), which does not name it. So the member can hardly be told from others like it
without what was said before.

Splits:

- ``train``: such turns;
- ``test``: such turns of other classes and modules, and all hand-written questions, with their answers.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ragdistill.data.sampling import rank, sample

if TYPE_CHECKING:
    from ragdistill.data.collection import Collection, Document, Qrels, Query

DOCUMENTS = 2000
TRAIN_TURNS, TEST_TURNS = 240, 150
MEMBERS = 3
"""Turns about the members of one class or module, at most."""
_KNOWN = "known:"


def load() -> "Collection":
    """The collection; the same on every call with one Python. Takes as long as ``pydocs``.

    Raises:
        UserError: as ``pydocs``.
    """
    from ragdistill.data import pydocs
    from ragdistill.data.collection import Collection

    whole = pydocs.load()
    documents = {document.id: document for document in whole.documents}
    asked = [query for query in whole.queries if not query.id.startswith(_KNOWN)]
    train, test = _turns(documents, whole.queries)
    judged = {query.id: whole.qrels["questions"][query.id] for query in asked}
    qrels: dict[str, Qrels] = {
        "train": {query.id: {_member(query): 1} for query in train},
        "test": {query.id: {_member(query): 1} for query in test} | judged,
    }
    wanted = {name for rows in qrels.values() for row in rows.values() for name in row}
    wanted |= {_member(query).rpartition(".")[0] for query in (*train, *test)}
    others = [document for document in whole.documents if document.id not in wanted]
    more = sample(others, max(0, DOCUMENTS - len(wanted)), 0, key=lambda document: document.id)
    kept = wanted | {document.id for document in more}
    return Collection(
        "pydocs-turns",
        tuple(document for document in whole.documents if document.id in kept),
        (*train, *test, *asked),
        qrels,
    )


def _member(query: "Query") -> str:
    return query.id.partition(":")[2]


def _turns(
    documents: "Mapping[str, Document]", queries: "Sequence[Query]"
) -> "tuple[list[Query], list[Query]]":
    """Those to learn from, and those to measure on; a class or module is on one side."""
    from ragdistill.data.collection import Query

    known = {_member(query): query.text for query in queries if query.id.startswith(_KNOWN)}
    members: defaultdict[str, list[str]] = defaultdict(list)
    for name, text in known.items():
        parent = name.rpartition(".")[0]
        if parent in documents and parent not in text:
            members[parent].append(name)
    parts: tuple[list[Query], list[Query]] = ([], [])
    for parent, names in members.items():
        said = known.get(parent) or documents[parent].text.partition("\n\n")[0]
        turns = (f"What is {parent}?", " ".join(said.split()))
        chosen = sample(names, MEMBERS, 0, key=str)
        side = parts[0] if rank(0, f"turns {parent}")[0] % 3 else parts[1]
        side += [Query(f"turn:{name}", known[name], context_turns=turns) for name in chosen]
    limits = zip(parts, (TRAIN_TURNS, TEST_TURNS), strict=True)
    train, test = (sample(part, limit, 0, key=lambda query: query.id) for part, limit in limits)
    return train, test
