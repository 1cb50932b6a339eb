"""Exact search, and measures per query spelt and computed as ir_measures does.

MacAvaney, Macdonald, Ounis: Streamlining Evaluation with ir-measures, ECIR 2022.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter

import faiss
import ir_measures
import numpy as np
from numpy.typing import NDArray

from ragdistill.data.collection import Qrels
from ragdistill.errors import UserError, nearest
from ragdistill.metrics.trec import Rankings, strictly_decreasing

MEASURES = ("nDCG@10", "R@10", "R@100", "RR@10", "AP@100")
"""What a ranking is measured by unless the caller says otherwise."""
_TIMED = 100  # queries that a search is timed with


def search(
    queries: NDArray[np.float32], documents: NDArray[np.float32], ids: Sequence[str], k: int
) -> list[list[tuple[str, float]]]:
    """The ``k`` documents of greatest inner product per query, exactly (no approximation).

    Args:
        queries: vectors ``[q, d]``.
        documents: vectors ``[n, d]``.
        ids: the ``n`` document ids, in the order of ``documents``.
        k: how many to return; fewer come where there are fewer documents.

    Returns:
        ``q`` rankings, best first; equal scores in the order of ``ids``.

    Raises:
        UserError: a vector holds NaN or infinity.
    """
    if len(documents) != len(ids):
        raise ValueError(f"{len(documents)} vectors for {len(ids)} document ids")
    for name, vectors in (("query", queries), ("document", documents)):
        check_finite(name, vectors)
    index = faiss.IndexFlatIP(documents.shape[1])
    index.add(np.ascontiguousarray(documents, dtype=np.float32))
    scores, rows = index.search(
        np.ascontiguousarray(queries, dtype=np.float32), max(1, min(k, len(ids)))
    )
    return as_rankings(scores, rows, ids)


def check_finite(name: str, vectors: NDArray[np.float32]) -> None:
    """Refuse vectors that cannot be compared.

    Raises:
        UserError: one holds NaN or infinity.
    """
    if not np.isfinite(vectors).all():
        raise UserError(
            f"a {name} vector holds NaN or infinity, so nothing can be ranked by it",
            mend="the model is broken: try another, or train with a lower learning rate",
        )


def as_rankings(
    scores: NDArray[np.float32], rows: NDArray[np.int64], ids: Sequence[str]
) -> list[list[tuple[str, float]]]:
    """What an index found, ``scores`` and ``rows`` ``[q, k]``, as ``q`` rankings, best first; equal
    scores in the order of ``ids``. A row of -1 is none."""
    order = np.lexsort((rows, -scores), axis=1)
    scores, rows = np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)
    return [
        [(ids[row], float(score)) for score, row in zip(*pair, strict=True) if row >= 0]
        for pair in zip(scores, rows, strict=True)
    ]


def search_ms(
    queries: NDArray[np.float32], documents: NDArray[np.float32], *, k: int = 10, repeats: int = 5
) -> float:
    """Milliseconds of one exact search for the ``k`` nearest, queries ``[q, d]`` one at a time in
    documents ``[n, d]``: the median over queries and repeats, after a first round that warms up."""
    index = faiss.IndexFlatIP(documents.shape[1])
    index.add(np.ascontiguousarray(documents, dtype=np.float32))
    return single_ms(partial(index.search, k=k), queries, repeats=repeats)


def single_ms(
    search: Callable[[NDArray[np.float32]], object],
    queries: NDArray[np.float32],
    *,
    repeats: int = 5,
) -> float:
    """Milliseconds of one ``search``, of the queries ``[q, d]`` one at a time on one thread: the
    median over queries and repeats, after a first round that warms up. What takes longer than a
    second is repeated less often."""
    asked = np.ascontiguousarray(queries[:_TIMED], dtype=np.float32)
    taken: list[float] = []
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        for _ in range(repeats + 1):
            for query in asked:
                started = perf_counter()
                search(query[None])
                taken.append(perf_counter() - started)
            if sum(taken) > 1:
                break
    finally:
        faiss.omp_set_num_threads(threads)
    return float(1000 * np.median(taken[len(asked) :] or taken))


def per_query(
    qrels: Qrels, rankings: Rankings, measures: Sequence[str] = MEASURES
) -> dict[str, dict[str, float]]:
    """Each measure's value for each judged query.

    Equals ir_measures on the file that :func:`ragdistill.metrics.trec.write` makes of ``rankings``.

    Returns:
        Measure to query id to value, the queries in the order of ``qrels`` in every measure, so
        that two systems' values pair up. A judged query without a ranking counts 0; a ranked
        query without judgments is left out.

    Raises:
        UserError: no such measure.
    """
    asked = {name: _measure(name) for name in measures}
    judged = {query: dict(grades) for query, grades in qrels.items() if grades}
    run = {
        query: dict(strictly_decreasing(ranking))
        for query, ranking in rankings.items()
        if query in judged and ranking
    }
    values = {name: dict.fromkeys(judged, 0.0) for name in measures}
    names = {measure: name for name, measure in asked.items()}
    if run:
        for row in ir_measures.iter_calc(list(names), judged, run):
            values[names[row.measure]][row.query_id] = float(row.value)
    return values


def _measure(name: str) -> ir_measures.Measure:
    # ir_measures.parse_measure goes through parts of `ast` that Python 3.14 no longer has.
    spelt = re.fullmatch(r"([A-Za-z]+)(?:@([1-9][0-9]*))?", name)
    if not spelt or spelt[1] not in ir_measures.measures.registry:
        raise UserError(f"no measure {name!r}{nearest(name, MEASURES)}")
    measure: ir_measures.Measure = ir_measures.measures.registry[spelt[1]]
    return measure @ int(spelt[2]) if spelt[2] else measure


def overlaps(a: Rankings, b: Rankings, k: int = 10) -> NDArray[np.float64]:
    """Share of documents that two systems' top ``k`` have in common, per query of ``a`` ``[q]``.

    It is taken of the longer of the two lists; where both are empty it is 1.
    """
    shares = [_shared(ranking, b.get(query, ()), k) for query, ranking in a.items()]
    return np.array(shares, dtype=np.float64)


def overlap(a: Rankings, b: Rankings, k: int = 10) -> float:
    """The mean of :func:`overlaps`.

    Raises:
        ValueError: ``a`` has no query.
    """
    if not a:
        raise ValueError("no queries to compare")
    return float(overlaps(a, b, k).mean())


def _shared(a: Sequence[tuple[str, float]], b: Sequence[tuple[str, float]], k: int) -> float:
    top_a, top_b = ({document for document, _ in ranking[:k]} for ranking in (a, b))
    longest = max(len(top_a), len(top_b))
    return len(top_a & top_b) / longest if longest else 1.0
