"""Fitting a term selector, and choosing the chance above which it adds a word."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from transformers import set_seed

from ragdistill.training import language
from ragdistill.training.fitting import Pace
from ragdistill.training.preparing import without_dropout
from ragdistill_query_rewriter.lesson import Batches, Example, make_course
from ragdistill_query_rewriter.objective import Objective, TermLoss
from ragdistill_query_rewriter.terms import TermStudent
from ragdistill_query_rewriter.words import pick

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))
"""Chances that are tried."""


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


def choose_threshold(
    texts: Sequence[str],
    chances: Sequence[Mapping[str, float]],
    most: int,
    judge: Callable[[Sequence[str]], tuple[float, float | None]],
) -> tuple[float, list[Tried]]:
    """The threshold whose rewrites serve the search best, and all that were tried.

    Neighbours are taken together, for on a few hundred turns the best by itself is the luckiest.

    Args:
        texts: the turns.
        chances: of each turn its words' chances.
        most: words that are added, at most.
        judge: of the rewrites to the mean of the measure and the share of harm.
    """
    tried = []
    for threshold in THRESHOLDS:
        rewritten = [
            pick(text, told, threshold, most) for text, told in zip(texts, chances, strict=True)
        ]
        tried.append(Tried(threshold, *judge(rewritten)))
    values = np.array([each.value for each in tried])
    smooth = np.convolve(np.pad(values, 1, mode="edge"), np.ones(3) / 3, mode="valid")
    return tried[int(smooth.argmax())].threshold, tried
