"""Fitting a term selector, and choosing the chances above which it adds a word, and changes a turn at all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import set_seed

from ragdistill.training import language
from ragdistill.training.fitting import Pace
from ragdistill.training.preparing import without_dropout
from ragdistill_query_rewriter.lesson import Batches, Example, make_course
from ragdistill_query_rewriter.objective import Objective, TermLoss
from ragdistill_query_rewriter.selecting import Opinion, decide
from ragdistill_query_rewriter.settings import Settings
from ragdistill_query_rewriter.terms import TermStudent

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))
"""Chances that are tried."""
GIVEN_UP = 0.02
"""Share of what rewrites add to the measure that may be given up so that they do less harm."""


@dataclass(frozen=True, kw_only=True)
class Recipe(Pace):
    """How the student is fitted."""

    epochs: float
    batch_tokens: int
    objective: Objective = field(default_factory=Objective)


def fit(
    student: TermStudent,
    learnt: Sequence[Example],
    chosen: Sequence[Example],
    recipe: Recipe,
    folder: Path,
) -> dict[str, Any]:
    """Train ``student`` in place; returns what happened. See :func:`ragdistill.training.language.run`.

    The token embeddings stay as they are: conversations hold few of the words that others will bring.
    """
    set_seed(recipe.seed)
    network = student.network
    without_dropout(network)
    network.get_input_embeddings().requires_grad_(False)
    course, examples = make_course(
        learnt, chosen, epochs=recipe.epochs, batch_tokens=recipe.batch_tokens, seed=recipe.seed
    )
    loss, batches = TermLoss(network, recipe.objective), Batches(student, examples)
    network.train()
    found = language.run(network, loss, course, batches, recipe, folder, {})
    network.eval()
    apart = sum(len(batch) for batch in course.check)
    return found | {"items": course.items - apart, "held_out_items": apart}


@dataclass(frozen=True, slots=True)
class Tried:
    """One threshold, and what its rewrites do."""

    threshold: float
    value: float
    """Mean of the measure."""
    harm: float | None
    """Share of the turns found well as they were that get worse."""


Judge = Callable[[Sequence[str]], tuple[float, float | None]]
"""Of rewrites to the mean of the measure and the share of harm."""


def choose_threshold(
    texts: Sequence[str], opinions: Sequence[Opinion], told: Settings, judge: Judge
) -> tuple[Settings, list[Tried]]:
    """The settings with the threshold whose rewrites serve the search best, and all that were tried.

    Neighbours are taken together, for on a few hundred turns the best by itself is the luckiest.

    Args:
        texts: the turns.
        opinions: of each turn.
        told: the other settings.
        judge: says what rewrites are worth.
    """
    tried = _try(texts, opinions, told.with_threshold, judge)
    best = tried[int(_smooth(tried).argmax())]
    return told.with_threshold(best.threshold), tried


def choose_skip(
    texts: Sequence[str], opinions: Sequence[Opinion], told: Settings, judge: Judge
) -> tuple[Settings, list[Tried]]:
    """The settings with the chance up to which turns are left alone that does least harm among those that
    give up no more than :data:`GIVEN_UP` of what the best adds, and all that were tried; of those that
    do the same the least. See :func:`choose_threshold`."""
    without = Tried(0.0, *judge(_rewritten(texts, opinions, told.with_skip(0))))
    tried = [without, *_try(texts, opinions, told.with_skip, judge)]
    values, harms = _smooth(tried), np.array([each.harm or 0.0 for each in tried])
    raw, _ = judge(texts)
    enough = values >= values.max() - GIVEN_UP * max(0.0, float(values.max()) - raw)
    best = tried[int(np.where(enough, harms, np.inf).argmin())]
    return told.with_skip(best.threshold), tried


def _try(
    texts: Sequence[str],
    opinions: Sequence[Opinion],
    setting: Callable[[float], Settings],
    judge: Judge,
) -> list[Tried]:
    return [Tried(each, *judge(_rewritten(texts, opinions, setting(each)))) for each in THRESHOLDS]


def _rewritten(texts: Sequence[str], opinions: Sequence[Opinion], settings: Settings) -> list[str]:
    return [decide(text, each, settings) for text, each in zip(texts, opinions, strict=True)]


def _smooth(tried: Sequence[Tried]) -> NDArray[np.float64]:
    values = np.array([each.value for each in tried])
    return np.convolve(np.pad(values, 1, mode="edge"), np.ones(3) / 3, mode="valid")
