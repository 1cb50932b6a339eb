"""Which judgments are for evaluation, and splitting what came in one piece."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal, get_args

from ragdistill.data.collection import Collection, Qrels, Query
from ragdistill.data.sampling import rank
from ragdistill.errors import UserError, nearest

EVALUATION = ("test", "dev", "validation")
"""Splits to evaluate on, the first that there is."""

SHARES = (0.8, 0.1, 0.1)
"""Shares of the queries for training, for choosing (development) and for the report."""

By = Literal["document", "query", "conversation", "both"]


def choose(collection: Collection, split: str | None = None) -> tuple[str, Qrels]:
    """The split for evaluation and its judgments: ``split`` where named, else the first of
    :data:`EVALUATION`, else the only one that is not ``train``.

    Raises:
        UserError: no judgment at all, no such split, only ``train``, or several to choose from.
    """
    where = collection.source or collection.name
    known = collection.qrels
    if not known:
        mend = "add queries.jsonl and qrels/test.tsv, or name data with them for evaluation"
        raise UserError("no judged query to evaluate on", where=where, mend=mend)
    if split is not None:
        if split not in known:
            mend = f"there are: {', '.join(known)}"
            raise UserError(f"no split {split!r}{nearest(split, known)}", where=where, mend=mend)
        return split, known[split]
    found = [name for name in EVALUATION if name in known]
    found = found or [name for name in known if name != "train"]
    if not found:
        mend = "add qrels/test.tsv; what trains is never for evaluation"
        raise UserError("judgments only for training", where=where, mend=mend)
    if len(found) > 1 and found[0] not in EVALUATION:
        mend = "rename the one for evaluation to qrels/test.tsv"
        raise UserError(f"several splits: {', '.join(found)}", where=where, mend=mend)
    return found[0], known[found[0]]


def split(
    collection: Collection, seed: int, by: By = "document"
) -> tuple[list[str], list[str], list[str]]:
    """Query ids for training, for development and for the report: 80, 10 and 10 %, in file order.

    ``by="document"`` keeps queries together that share a relevant document, directly or through
    others; ``by="conversation"`` those whose conversation opens with the same turn; ``by="both"`` those
    that either holds together; ``by="query"`` none. Groups are laid in an order given by their hash and cut at 80 and 90 % of the queries, so
    the parts do not depend on the order of the file.

    Raises:
        UserError: too few queries, or groups too large, to fill the three parts.
    """
    if by not in get_args(By):
        raise ValueError(f"cannot split by {by!r}")
    groups = sorted(_groups(collection, by).items(), key=lambda group: rank(seed, group[0]))
    part_of: dict[str, int] = {}
    for _, members in groups:
        share = len(part_of) / len(collection.queries)
        part = 0 if share < SHARES[0] else 1 if share < SHARES[0] + SHARES[1] else 2
        part_of.update(dict.fromkeys(members, part))
    train, dev, test = ([q.id for q in collection.queries if part_of[q.id] == p] for p in range(3))
    if not (train and dev and test):
        raise UserError(
            f"{len(collection.queries)} queries in {len(groups)} groups (by {by}) cannot be split"
            " 80/10/10",
            where=collection.source or collection.name,
            mend="bring more queries, or splits of your own: qrels/train.tsv, dev.tsv, test.tsv",
        )
    return train, dev, test


def divided(collection: Collection, seed: int) -> Collection:
    """The same with its evaluation split in three, ``train``, ``dev`` and ``test``, no document and no
    conversation on two sides: for components that cannot learn without questions.

    Raises:
        UserError: nothing is judged, or too little to be divided.
    """
    _, judged = choose(collection)
    # What nobody judged belongs to no part, but stays there to be learnt from.
    asked = tuple(query for query in collection.queries if query.id in judged)
    part = replace(collection, queries=asked, qrels={"test": judged})
    parts = dict(zip(("train", "dev", "test"), split(part, seed, by="both"), strict=True))
    told = {name: {query: judged[query] for query in ids} for name, ids in parts.items()}
    return replace(collection, qrels=told)


def _groups(collection: Collection, by: By) -> Mapping[str, Sequence[str]]:
    """Query ids by a name of their group that does not depend on the order of the file."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    if by in ("document", "both"):
        names = _linked(collection, conversations=by == "both")
        for query in collection.queries:
            groups[names[query.id]].append(query.id)
    else:
        for query in collection.queries:
            groups[query.id if by == "query" else opening(query)].append(query.id)
    return groups


def opening(query: Query) -> str:
    """The first turn of the query's conversation: what the conversation goes by."""
    return query.context_turns[0] if query.context_turns else query.text


def _linked(collection: Collection, *, conversations: bool) -> dict[str, str]:
    """Query id to the smallest query id among those linked to it by shared relevant documents, and, if so
    asked, by their conversations."""
    parent = {query.id: query.id for query in collection.queries}

    def root(query: str) -> str:
        while parent[query] != query:
            parent[query] = parent[parent[query]]
            query = parent[query]
        return query

    def link(queries: Iterable[str]) -> None:
        roots = {root(query) for query in queries}
        parent.update(dict.fromkeys(roots, min(roots)))

    askers: defaultdict[str, list[str]] = defaultdict(list)
    for rows in collection.qrels.values():
        for query, row in rows.items():
            for document in (document for document, grade in row.items() if grade > 0):
                askers[document].append(query)
    openings: defaultdict[str, list[str]] = defaultdict(list)
    for asked in collection.queries if conversations else ():
        openings[opening(asked)].append(asked.id)
    for queries in (*askers.values(), *openings.values()):
        link(queries)
    return {query: root(query) for query in parent}
