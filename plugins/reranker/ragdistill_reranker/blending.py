"""One score from several: those of the teachers, and of the first stage where it is fused.

Where enough queries are judged the factors are fitted on those (McFadden's conditional logit,
:mod:`ragdistill.metrics.mixing`), on questions that train and on no others; else each part counts alike. The sum
is calibrated: its
differences are log-odds, on whatever scales its parts are. So scales may be mixed that have to be
kept apart where factors are given.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragdistill.errors import UserError
from ragdistill.first_stage import Scores
from ragdistill.metrics.mixing import fit_factors

Present = NDArray[np.bool_]
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Part:
    """One of the scores that are added."""

    name: str
    scale: str
    """logit, probability, log-odds, log-likelihood, cosine, BM25 or rank."""


@dataclass(frozen=True, slots=True)
class Blend:
    """How parts make one score."""

    parts: tuple[Part, ...]
    factors: tuple[float, ...]

    def __call__(self, scores: Sequence[Scores]) -> Scores:
        """The sum ``[q, n]`` of each part's ``[q, n]``."""
        summed: Scores = np.tensordot(np.array(self.factors), np.stack(scores), axes=1)
        return summed.astype(np.float32)

    def as_json(self) -> list[dict[str, object]]:
        """As the report has it."""
        return [
            {"name": part.name, "scale": part.scale, "factor": factor}
            for part, factor in zip(self.parts, self.factors, strict=True)
        ]


JUDGED = 50
"""Judged questions from which on they say how much each part should count. Pieces of documents do not: they
share words with their document as no query does, which flatters whatever looks at words."""


def calibrated(
    parts: Sequence[Part],
    scores: Sequence[Scores],
    near: Present,
    reached: Present,
    judged: Present,
) -> Blend:
    """The blend of calibrated scores. With :data:`JUDGED` judged questions and more, the factors are those
    under which their right documents are likeliest; with fewer each part counts alike, by how far it spreads
    the candidates of a list, and only the scale of the sum is fitted.

    Args:
        scores: of each part ``[q, n]``, the positive first.
        near: ``[q, n]``, the documents that the first stage finds: what is reranked is among them.
        reached: ``[q]``, whether the known positive is one of them: the others are never reranked,
            and a first stage would seem to be always wrong by them.
        judged: ``[q]``, whether the question is a judged query.

    Raises:
        UserError: no part puts judged documents above the others.
    """
    stacked = np.stack(scores).astype(np.float64)
    if (reached & judged).sum() >= JUDGED:
        factors = _fitted(stacked, near, reached & judged)
        if not factors.any():
            raise UserError(
                f"{parts[0].name} does not put documents that answer training queries above others",
                where="--teacher",
                mend="choose another teacher, or look at what it is asked (--reading)",
            )
        return Blend(tuple(parts), tuple(float(factor) for factor in factors))
    spreads = np.array([_spread(score, near) for score in stacked])
    summed = np.tensordot(1 / spreads / len(parts), stacked, axes=1)
    scale = float(_fitted(summed[None], near, reached)[0]) if reached.any() else 0.0
    # A teacher that has no better idea than the first stage still has an order.
    factors = (scale or 1 / _spread(summed, near)) / spreads / len(parts)
    return Blend(tuple(parts), tuple(float(factor) for factor in factors))


def _fitted(stacked: Values, near: Present, chosen: Present) -> Values:
    """The factors of ``stacked`` scores ``[k, q, n]`` under which the first documents of the ``chosen``
    lists are likeliest."""
    lists, found = near[chosen], stacked[:, chosen]
    least = np.where(lists, found, np.inf).min(axis=2, keepdims=True)
    relevant = np.zeros_like(lists)
    relevant[:, 0] = True
    # Where a list has no document, the worst one stands there again: as good as nothing.
    return fit_factors(np.where(lists, found, least), relevant)


def _spread(scores: Values, near: Present) -> float:
    """How far scores ``[q, n]`` of a list's documents are spread, the mean over lists."""
    rows = [row[mark].std() for row, mark in zip(scores, near, strict=True) if mark.sum() > 1]
    return float(np.mean(rows)) if rows and np.mean(rows) > 0 else 1.0


def given(parts: Sequence[Part], weights: Sequence[float]) -> Blend:
    """The blend with ``weights`` as they are.

    Raises:
        UserError: the parts are on different scales, which no weight alone makes comparable.
    """
    scales = {part.scale for part in parts}
    if len(scales) > 1:
        told = ", ".join(f"{part.name}: {part.scale}" for part in parts)
        raise UserError(
            f"scores on different scales cannot be added as they are ({told})",
            where="--teacher-weights",
            mend="leave it out: then they are calibrated",
        )
    return Blend(tuple(parts), tuple(weights))


def refuse_constant(name: str, scores: Scores, there: Present) -> None:
    """Refuse a teacher that says the same of everything.

    Raises:
        UserError: it does.
    """
    said = scores[there]
    if len(said) > 1 and float(said.max() - said.min()) <= 1e-6 * max(
        1.0, float(np.abs(said).max())
    ):
        raise UserError(
            f"{name} scores all {len(said):,} pairs alike ({said[0]:.4g}), so nothing can be learnt "
            "from it",
            where="--teacher",
            mend="choose another teacher: the head of this one may be untrained",
        )
