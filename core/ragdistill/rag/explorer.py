"""The queries that a person can look through on the page: lost, won and the same, with what each stage of
either stack made of them and the texts of the documents."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from ragdistill.data.collection import Qrels
from ragdistill.metrics.worst import shortened
from ragdistill.rag import drilldown
from ragdistill.rag.cells import Cell, Values, name
from ragdistill.rag.matrix import Results
from ragdistill.rag.pipeline import Seen
from ragdistill.rag.serving import SIDES, Side

FILE = "explorer.jsonl"
LOST, WON, SAME = "lost", "won", "same"
SHOWN = {LOST: 200, WON: 100, SAME: 50}
"""The most queries of each kind: a page of some megabytes still opens on a phone."""
_WANTED, _FIRST, _LENGTH = 5, 3, 200
"""Documents told of a query: of those wanted, and the first of each stage; characters of each."""


def rows(
    results: Results,
    found: Mapping[str, Cell],
    measure: str,
    qrels: Qrels,
    texts: Mapping[str, str],
) -> list[dict[str, Any]]:
    """The queries that lost most first, those that won most last: of lost and won ones those that did most so,
    each kind up to its number in ``SHOWN``. Queries that ``measure`` does not apply to are left out.

    Args:
        texts: of the documents, by id.

    Returns:
        As :func:`ragdistill.rag.drilldown.row` tells of a query, but for ``fault``: ``outcome``, the
        ``part`` that lost or won it (None where it is the same), the ``ms`` that it took in either stack,
        the ``turns`` before it, and ``documents`` with where each stage had them.
    """
    values = {cell: each[measure] for cell, each in found.items()}
    return [
        _row(results, values, qrels, place, outcome, texts)
        for outcome, place in _chosen(
            values[name(results.pure("teacher"))] - values[name(results.pure("student"))]
        )
    ]


def _chosen(gap: Values) -> list[tuple[str, int]]:
    """Outcome and place of each query that is shown; of ``gap`` ``[q]``, what each lost, NaN is unknown."""
    least = drilldown.LEAST
    kinds = {LOST: gap > least, WON: gap < -least, SAME: np.abs(gap) <= least}
    chosen = []
    for outcome, of in kinds.items():
        places = np.flatnonzero(of)
        most = places[np.argsort(-np.abs(gap[places]), kind="stable")][: SHOWN[outcome]]
        chosen += [(outcome, int(place)) for place in most]
    return sorted(chosen, key=lambda one: (-gap[one[1]], one[1]))


def _row(
    results: Results,
    values: Mapping[str, Values],
    qrels: Qrels,
    place: int,
    outcome: str,
    texts: Mapping[str, str],
) -> dict[str, Any]:
    told = drilldown.row(results, values, qrels, place)
    lost = told.pop("fault")
    if outcome == WON:
        # What is won is what would be lost the other way round.
        gains = {cell: -value for cell, value in told["cells"].items()}
        lost, _ = drilldown.fault(gains, results.swapped)
    seen = {side: results.seen[results.pure(side)][place] for side in SIDES}
    query = seen["teacher"].query
    wanted = {doc: grade for doc, grade in qrels.get(query.id, {}).items() if grade > 0}
    return {
        "outcome": outcome,
        "part": None if outcome == SAME else lost,
        **told,
        "ms": {
            side: None if s.error else 1000 * sum(s.seconds.values()) for side, s in seen.items()
        },
        "turns": [shortened(turn, _LENGTH) for turn in query.context_turns],
        "documents": _documents(seen, list(wanted), texts),
    }


def _documents(
    seen: Mapping[Side, Seen], wanted: Sequence[str], texts: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The documents that were wanted and those that came first, with their ranks (1 first, None where it is
    not among them) by stage and stack."""
    stages = {
        stage: {
            side: {doc: rank for rank, (doc, _) in enumerate(getattr(each, stage), start=1)}
            for side, each in seen.items()
        }
        for stage in ("found", "ranked")
    }
    first = chain.from_iterable(
        list(ranks)[:_FIRST] for sides in stages.values() for ranks in sides.values()
    )
    return [
        {
            "id": doc,
            "text": shortened(texts[doc], _LENGTH) if doc in texts else None,
            "wanted": doc in wanted,
            "ranks": {
                stage: {side: ranks.get(doc) for side, ranks in sides.items()}
                for stage, sides in stages.items()
            },
        }
        for doc in dict.fromkeys([*wanted[:_WANTED], *first])
    ]
