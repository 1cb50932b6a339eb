"""One score from several: those of the teachers, and of the first stage where it is fused.

The factors are fitted where the right document is known (McFadden's conditional logit,
:mod:`ragdistill.metrics.mixing`), on questions that train and on no others. The sum is calibrated: its
differences are log-odds, on whatever scales its parts are. So scales may be mixed that have to be
kept apart where factors are given.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragdistill.errors import UserError
from ragdistill.metrics.mixing import fit_factors
from ragdistill_reranker.first_stage import Scores

Present = NDArray[np.bool_]


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


def fit(parts: Sequence[Part], scores: Sequence[Scores], there: Present, known: Present) -> Blend:
    """The blend under which known positives are likeliest in their lists.

    Args:
        scores: of each part ``[q, n]``, the positive first.
        there: ``[q, n]``, false where a list has no document.
        known: ``[q]``, whether the positive is known to be one.

    Raises:
        UserError: no positive is known, or no part puts them above the others.
    """
    if not known.any():
        raise UserError(
            "no training question has a document that is known to answer it, so scores cannot be "
            "calibrated",
            where="--data",
            mend="bring judged queries (qrels/train.tsv), or documents of two sentences and more",
        )
    lists, found = there[known], np.stack([score[known] for score in scores]).astype(np.float64)
    least = np.where(lists, found, np.inf).min(axis=2, keepdims=True)
    relevant = np.zeros_like(lists)
    relevant[:, 0] = True
    # Where a list has no document, the worst one stands there again: as good as nothing.
    factors = fit_factors(np.where(lists, found, least), relevant)
    if not factors.any():
        raise UserError(
            f"{parts[0].name} does not put documents that answer training questions above others",
            where="--teacher",
            mend="choose another teacher, or look at what it is asked (--reading)",
        )
    return Blend(tuple(parts), tuple(float(factor) for factor in factors))


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
