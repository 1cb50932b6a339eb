"""What a term selector learns from, and in which steps: pages, the words that the teacher added, and what
words would do to the search."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ragdistill.data.sampling import sample
from ragdistill.training.fitting import BLANK, COLUMN, Course
from ragdistill.training.language import LABELS
from ragdistill.training.schedule import Schedule, evaluation_schedule, training_schedule
from ragdistill_query_rewriter.effects import Effect
from ragdistill_query_rewriter.reading import Page
from ragdistill_query_rewriter.terms import TermStudent

HELD_OUT = 128
"""Turns that the held-out loss is of, at most: it is taken ten times."""
UNKNOWN = -1.0
"""In place of a label where there is none."""


@dataclass(frozen=True, slots=True)
class Example:
    """A turn."""

    page: Page
    added: frozenset[str] | None
    """Words that the teacher's rewrite has and the turn has not; None where it wrote none."""
    effect: Effect | None


def useful(example: Example) -> bool:
    """Whether there is anything to decide, and anybody who knows."""
    return bool(example.page.words) and not (example.added is None and example.effect is None)


class Batches:
    """The collator: padded inputs of some turns with their labels and effects."""

    def __init__(self, student: TermStudent, examples: Sequence[Example]) -> None:
        self._student, self._examples = student, examples

    def __call__(self, rows: Sequence[Mapping[str, int]]) -> dict[str, Any]:
        """The network's inputs ``[b, l]``; ``word_of`` ``[b, l]``, which word a token begins, one more than
        there are where none; ``added`` ``[b, w]``; ``base`` ``[b, c]``, ``gains`` ``[b, w, c]`` and
        ``relevant`` ``[b, c]``, none where nothing is known; ``lacking`` ``[b]``, whether the turn does not
        find them by itself; and ``labels`` ``[b]``, of no other use than to be counted: turns."""
        chosen = [self._examples[max(0, row[COLUMN])] for row in rows]
        made: dict[str, Any] = dict(self._student.inputs([each.page for each in chosen]))
        wide = max(len(each.page.words) for each in chosen)
        made["word_of"] = torch.full(made["input_ids"].shape, wide)
        made["added"] = torch.full((len(chosen), wide), UNKNOWN)
        for row, each in enumerate(chosen):
            for word, places in enumerate(each.page.words.values()):
                made["word_of"][row, places] = word
            if each.added is not None:
                told = [float(word in each.added) for word in each.page.words]
                made["added"][row, : len(told)] = torch.tensor(told)
        made |= _effects([each.effect for each in chosen], wide)
        made["lacking"] = torch.tensor([_lacking(each.effect) for each in chosen])
        if any(row[COLUMN] != BLANK for row in rows):
            made[LABELS] = torch.ones(len(chosen), dtype=torch.long)
        return made


def _lacking(effect: Effect | None) -> float:
    return UNKNOWN if effect is None else float(not effect.found_well)


def _effects(effects: Sequence[Effect | None], wide: int) -> dict[str, Tensor]:
    """Padded; a document that is not there has a score that nothing lifts."""
    compared = max((len(effect.base) for effect in effects if effect), default=1)
    shape = (len(effects), compared)
    base, relevant = torch.full(shape, -1e4), torch.zeros(shape, dtype=torch.bool)
    gains = torch.zeros(len(effects), wide, compared)
    for row, effect in enumerate(effects):
        if effect is not None:
            words, count = effect.gains.shape
            base[row, :count] = torch.from_numpy(effect.base)
            relevant[row, :count] = torch.from_numpy(effect.relevant)
            gains[row, :words, :count] = torch.from_numpy(effect.gains)
    return {"base": base, "gains": gains, "relevant": relevant}


def make_course(
    learnt: Sequence[Example],
    chosen: Sequence[Example],
    *,
    epochs: float,
    batch_tokens: int,
    seed: int,
) -> tuple[Course, list[Example]]:
    """The steps over ``learnt`` and the held-out loss over ``chosen``, and the list that both name
    places of: what is learnt first, without turns of which nothing is known."""
    first, apart = ([each for each in part if useful(each)] for part in (learnt, chosen))
    few = sample(range(len(apart)), HELD_OUT, seed, key=str)
    apart = [apart[place] for place in few]
    lengths, others = ([len(each.page.ids) for each in part] for part in (first, apart))
    course = course_of(lengths, others, epochs=epochs, batch_tokens=batch_tokens, seed=seed)
    return course, [*first, *apart]


def course_of(
    lengths: Sequence[int],
    others: Sequence[int],
    *,
    epochs: float,
    batch_tokens: int,
    seed: int,
) -> Course:
    """The steps over items of so many tokens, and the held-out loss over ``others``, whose places come
    behind theirs."""
    train = training_schedule(
        lengths,
        epochs=epochs,
        max_tokens=int(np.ceil(epochs)) * sum(lengths),
        batch_tokens=batch_tokens,
        seed=seed,
    )
    check = evaluation_schedule(others, 2 * batch_tokens)
    moved = Schedule([[len(lengths) + place for place in batch] for batch in check])
    tokens = [sum(lengths[place] for place in batch) for batch in train]
    return Course(len(lengths) + len(others), train, moved, tokens)
