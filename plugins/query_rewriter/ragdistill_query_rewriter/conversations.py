"""Which turns are learnt from, which settings are chosen by, and which are measured on: never two of one
conversation on two sides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ragdistill.data.collection import Collection, Qrels, Query
from ragdistill.data.sampling import rank
from ragdistill.data.splits import choose, opening, split
from ragdistill.errors import UserError

_APART = 0.1
"""Share of the training conversations that choose settings, where the data names no such part."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The turns of a collection."""

    learnt: tuple[Query, ...]
    chosen: tuple[Query, ...]
    """What the threshold is chosen on."""
    name: str
    """Of the part that is measured on."""
    measured: Qrels


def divide(collection: Collection, seed: int, *, elsewhere: bool = False) -> Parts:
    """The collection's own split against the rest, by conversation; where it has one split only that is
    divided 80/10/10, and the last part is measured on.

    Args:
        seed: of what is drawn.
        elsewhere: whether something else is measured on, so that nothing here needs to be judged.

    Raises:
        UserError: nothing is judged, or too little to be divided.
    """
    if elsewhere and not collection.qrels:
        return _parted(collection, {}, "none", seed)
    name, judged = choose(collection)
    if set(collection.qrels) != {name}:
        return _parted(collection, judged, name, seed)
    learnt, chosen, last = (set(part) for part in split(collection, seed, by="conversation"))
    told = {query: row for query, row in judged.items() if query in last}
    if not told and not elsewhere:
        raise UserError(
            "none of the last tenth of the conversations is judged",
            where=collection.source or collection.name,
            mend="judge more turns, or bring qrels/train.tsv and qrels/test.tsv",
        )
    label = f"{name}, the last tenth by conversation"
    return Parts(_of(collection, learnt), _of(collection, chosen), label, told)


def _parted(collection: Collection, judged: Qrels, name: str, seed: int) -> Parts:
    """What shares no conversation with ``judged``: those that another split judges for evaluation choose
    settings, or else a tenth does."""
    others = {
        query
        for split_name, rows in collection.qrels.items()
        if split_name not in ("train", name)
        for query in rows
    }
    held = {opening(query) for query in collection.queries if query.id in judged}
    rest = [query for query in collection.queries if opening(query) not in held]
    apart = {opening(query) for query in rest if query.id in others}
    if not apart:
        order = sorted({opening(query) for query in rest}, key=lambda text: rank(seed, text))
        apart = set(order[: max(1, round(_APART * len(order)))])
    chosen = {query.id for query in rest if opening(query) in apart}
    learnt = {query.id for query in rest} - chosen
    return Parts(_of(collection, learnt), _of(collection, chosen), name, dict(judged))


def _of(collection: Collection, ids: set[str]) -> tuple[Query, ...]:
    return tuple(query for query in collection.queries if query.id in ids)


def judgments(collection: Collection, queries: Sequence[Query]) -> Mapping[str, Mapping[str, int]]:
    """What any split says of ``queries``, those with a relevant document."""
    found: dict[str, dict[str, int]] = {}
    ids = {query.id for query in queries}
    for rows in collection.qrels.values():
        for query in ids & rows.keys():
            found.setdefault(query, {}).update(rows[query])
    return {
        query.id: found[query.id]
        for query in queries
        if any(grade > 0 for grade in found.get(query.id, {}).values())
    }
