"""Whether an export may stand for the model it was made from: its numbers, and its rankings.

Numbers alone mislead: an int8 model whose vectors look close can still rank worse, and one whose
components differ by a tenth can rank just as well. So an export is held to both: of vectors the
cosines, of a reranker's scores the correlations, list by list, for what its scale is does not matter.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from ragdistill.data.collection import Qrels
from ragdistill.metrics.ranking import overlap, per_query
from ragdistill.metrics.trec import Rankings

log = logging.getLogger(__name__)

Vectors = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Limits:
    """How far an export may be from its model."""

    min_cosine: float
    """The least cosine that any text's two vectors may have."""
    min_correlation: float
    """The least correlation that any query's two lists of scores may have."""
    overlap_at_10: float
    """The least mean share of the first ten documents that the two must have in common."""
    ndcg_loss: float
    """The most nDCG@10, absolute, that may be lost on the judged queries."""


FP32 = Limits(min_cosine=0.9999, min_correlation=0.9999, overlap_at_10=0.99, ndcg_loss=0.001)
"""For a graph of the same precision."""

INT8 = Limits(min_cosine=0.95, min_correlation=0.9, overlap_at_10=0.85, ndcg_loss=0.01)
"""For int8. Seven bits of weight and eight of activation leave MiniLM-L6 a smallest cosine of
0.976 over 11,429 abstracts, an overlap of 0.89 to 0.93 and at most 0.0015 less nDCG@10; a
cross-encoder of its weights a smallest correlation of 0.955 over 40 lists of 20, on average 0.983."""


FLAT = 0.1
"""Spread of a list's scores, as a share of the median list's, up to which the model has no opinion on
their order, and the export need not share it."""


@dataclass(frozen=True, slots=True)
class GateResult:
    """What was measured, and which limits it breaks."""

    max_abs_diff: float
    """Greatest difference of a component of the vectors, or of a score."""
    min_cosine: float | None
    """None of scores."""
    overlap_at_10: float
    ndcg_difference: float | None
    """nDCG@10 of the export less that of its model; None without judgments."""
    reasons: tuple[str, ...]
    """Each limit that is broken, with the figure; empty when it passed."""
    min_correlation: float | None = None
    """None of vectors."""

    @property
    def passed(self) -> bool:
        """Whether every limit holds."""
        return not self.reasons

    def as_json(self) -> dict[str, Any]:
        """As report.json holds it: figures that are no number are None."""
        figures = asdict(self) | {"reasons": list(self.reasons), "passed": self.passed}
        return {
            key: None if isinstance(value, float) and not np.isfinite(value) else value
            for key, value in figures.items()
        }


def check(
    reference: Vectors,
    candidate: Vectors,
    reference_rankings: Rankings,
    candidate_rankings: Rankings,
    qrels: Qrels,
    limits: Limits,
) -> GateResult:
    """Hold an export (candidate) against its model (reference) on the same texts.

    Args:
        reference: [n, d] the model's vectors.
        candidate: [n, d] the export's vectors of the same texts, in the same order.
        reference_rankings: what the model finds for each query, best first.
        candidate_rankings: what the export finds, documents and queries both embedded by it.
        qrels: judgments; empty where there are none, then nDCG is not compared.
        limits: what passes.
    """
    max_abs_diff = float(np.abs(reference - candidate).max(initial=0.0))
    min_cosine = float(_cosines(reference, candidate).min(initial=1.0))
    least = too_small("smallest cosine", min_cosine, limits.min_cosine, ".4f")
    ranked = _check_rankings(reference_rankings, candidate_rankings, qrels, limits)
    return GateResult(
        max_abs_diff, min_cosine, ranked.shared, ranked.gained, (*least, *ranked.reasons)
    )


def check_scores(
    reference: Scores,
    candidate: Scores,
    there: npt.NDArray[np.bool_],
    reference_rankings: Rankings,
    candidate_rankings: Rankings,
    qrels: Qrels,
    limits: Limits,
) -> GateResult:
    """Hold a reranker's export (candidate) against its model (reference) on the same lists.

    Scores are held to their correlation (Pearson's). A rank correlation would count swaps among
    irrelevant documents, whose scores are all but equal: rounding cannot keep their order, and nobody
    sees it. For what is seen, the first ten, the rankings answer.

    Args:
        reference: [q, n] the model's scores of each query's documents.
        candidate: [q, n] the export's scores of the same pairs.
        there: [q, n] false where a list has no document.
        reference_rankings: the documents as the model orders them, best first.
        candidate_rankings: as the export orders them.
        qrels: judgments; empty where there are none, then nDCG is not compared.
        limits: what passes.
    """
    max_abs_diff = float(np.abs(reference[there] - candidate[there]).max(initial=0.0))
    correlation = float(np.min(_correlations(reference, candidate, there), initial=1.0))
    least = too_small("smallest correlation", correlation, limits.min_correlation, ".4f")
    ranked = _check_rankings(reference_rankings, candidate_rankings, qrels, limits)
    reasons = (*least, *ranked.reasons)
    return GateResult(max_abs_diff, None, ranked.shared, ranked.gained, reasons, correlation)


def check_effect(
    max_abs_diff: float,
    reference_rankings: Rankings,
    candidate_rankings: Rankings,
    qrels: Qrels,
    limits: Limits,
) -> GateResult:
    """Hold the export (candidate) of what changes queries against its model (reference), by what the
    queries then find.

    Args:
        max_abs_diff: greatest difference of what the two say, before anything is made of it.
        reference_rankings: what the model's queries find, best first.
        candidate_rankings: what the export's find.
        qrels: judgments; empty where there are none, then nDCG is not compared.
        limits: what passes.
    """
    ranked = _check_rankings(reference_rankings, candidate_rankings, qrels, limits)
    return GateResult(max_abs_diff, None, ranked.shared, ranked.gained, ranked.reasons)


def _correlations(
    reference: Scores, candidate: Scores, there: npt.NDArray[np.bool_]
) -> list[float]:
    """Of each list that is not flat; NaN where either has no number, flat or not."""
    lists = [
        (mine[listed].astype(np.float64), its[listed].astype(np.float64))
        for mine, its, listed in zip(reference, candidate, there, strict=True)
        if listed.any()
    ]
    spreads = [float(np.ptp(mine)) for mine, _ in lists]
    flat = FLAT * float(np.median(spreads or [0.0]))
    found = []
    for (mine, its), spread in zip(lists, spreads, strict=True):
        if not np.isfinite([mine, its]).all() or (spread > flat and np.ptp(its) == 0):
            found.append(np.nan)
        elif spread > flat:
            found += _cosines((mine - mine.mean())[None], (its - its.mean())[None]).tolist()
    return found


class _Ranked(NamedTuple):
    """What two systems' rankings have in common."""

    shared: float
    gained: float | None
    reasons: tuple[str, ...]


def _check_rankings(mine: Rankings, its: Rankings, qrels: Qrels, limits: Limits) -> _Ranked:
    """The overlap of the model's rankings and the export's, and what of nDCG the export has more."""
    shared = overlap(mine, its) if mine else 1.0
    reasons = too_small("overlap@10", shared, limits.overlap_at_10, ".3f")
    if not qrels:
        return _Ranked(shared, None, reasons)
    lost = _ndcg(qrels, mine) - _ndcg(qrels, its)
    if not lost <= limits.ndcg_loss:
        reasons = (*reasons, f"nDCG@10 lost {lost:.4f} > {limits.ndcg_loss}")
    return _Ranked(shared, -lost, reasons)


def too_small(name: str, figure: float, least: float, digits: str) -> tuple[str, ...]:
    """The reason why ``figure`` fails, if it does: one that is NaN breaks its limit."""
    return () if figure >= least else (f"{name} {figure:{digits}} < {least}",)


def _cosines(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """[n] cosines of the rows of ``a`` and ``b`` [n, d]; NaN where a vector has no direction."""
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(wide_a, axis=1) * np.linalg.norm(wide_b, axis=1)
    products = np.einsum("nd,nd->n", wide_a, wide_b)
    cosines: npt.NDArray[np.float64] = np.full(len(a), np.nan)
    np.divide(products, lengths, out=cosines, where=lengths > 0)
    return cosines


def _ndcg(qrels: Qrels, rankings: Rankings) -> float:
    return float(np.mean(list(per_query(qrels, rankings, ("nDCG@10",))["nDCG@10"].values())))


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way to make an export."""

    name: str
    build: Callable[[], Path]
    """Makes the export and says in which folder."""


class Result(Protocol):
    """What a gate says of an export."""

    @property
    def reasons(self) -> tuple[str, ...]:
        """Each limit that is broken, with the figure."""

    @property
    def passed(self) -> bool:
        """Whether every limit holds."""


R = TypeVar("R", bound=Result)


@dataclass(frozen=True, slots=True)
class Outcome(Generic[R]):
    """The export that was kept, and those that were not."""

    name: str
    folder: Path
    result: R
    failed: tuple[tuple[str, R], ...]
    """Name and figures of each attempt before it."""


def with_fallback(attempts: Sequence[Attempt], measure: Callable[[Path], R]) -> Outcome[R]:
    """Make exports in the order of ``attempts`` until one passes; say what each failure was.

    Where none passes the last is returned, and its result says that it did not pass.

    Args:
        attempts: the best first; at least one. They may all write the same folder.
        measure: an export's folder to its gate's result.

    Raises:
        ValueError: no attempts.
    """
    failed: list[tuple[str, R]] = []
    for attempt in attempts:
        folder = attempt.build()
        result = measure(folder)
        if result.passed or len(failed) == len(attempts) - 1:
            return Outcome(attempt.name, folder, result, tuple(failed))
        log.warning("%s fails its gate: %s", attempt.name, "; ".join(result.reasons))
        failed.append((attempt.name, result))
    raise ValueError("no attempts")
