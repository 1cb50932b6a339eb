"""Fitting the student to the teacher's scores of lists."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ragdistill import losses
from ragdistill.data.sampling import sample
from ragdistill.first_stage import Places, Scores
from ragdistill.training import encoders
from ragdistill.training.fitting import COLUMN, Course, Pace
from ragdistill.training.preparing import freeze_words, without_dropout
from ragdistill.training.schedule import Schedule, evaluation_schedule, training_schedule
from ragdistill_reranker.list_loss import Features, list_loss
from ragdistill_reranker.lists import Findings, Lists
from ragdistill_reranker.students import Student

Objective = Literal["listwise", "margin-mse", "hinge", "ranknet", "mse", "mix"]
HELD_OUT, HELD_OUT_MOST, HELD_OUT_LEAST = 0.05, 256, 8
"""Share of the lists that only the held-out loss sees, and how many at most and at least."""
SCALE = "scale.safetensors"
_PROBED = 32
"""Lists that the student's scale is taken from before it learns."""


@dataclass(frozen=True, kw_only=True)
class Recipe(Pace):
    """How the student is fitted."""

    objective: Objective
    epochs: float
    batch_lists: int
    chunk_tokens: int
    temperature: float = 1.0
    margin: float = 0.3
    alpha: float = 0.5
    """Of the mix: the share of the divergence, the rest is that of the scores themselves."""
    in_batch: float = 0.0
    """Weight of the contrast with the documents of the other lists of a step."""


class Scale(nn.Module):
    """The student's scores on the teacher's scale: MaxSim and cosines are on scales of their own, and
    a head's bias is far from that of the teacher. Ranking needs none, so it is left behind when training
    ends."""

    def __init__(self, factor: float, offset: float) -> None:
        super().__init__()
        self.log_factor = nn.Parameter(torch.tensor(float(np.log(factor))))
        self.offset = nn.Parameter(torch.tensor(offset))

    def forward(self, scores: Tensor) -> Tensor:
        """``[b, n]`` to ``[b, n]``."""
        return scores * self.log_factor.exp() + self.offset


@dataclass(frozen=True)
class Lesson:
    """Lists to learn from, the teacher's scores of them, and what of them counts."""

    lists: Lists
    target: Scores
    findings: Findings
    places: Places
    """Which documents are listed, ``[q, n]``."""
    relevant: Sequence[Sequence[int]]
    """Places of all documents that are known to answer each query."""

    def strangers(self, rows: Sequence[int]) -> NDArray[np.bool_]:
        """Which documents of the lists ``rows`` are in no way a query's own, ``[b, n, b]``: of the last axis
        is the query."""
        own = [{*self.places[row].tolist(), *self.relevant[row]} for row in rows]
        listed, there = self.places[rows], self.lists.there[rows]
        return np.stack([there & ~np.isin(listed, list(each)) for each in own], axis=-1)

    def chosen(self) -> list[int]:
        """The lists on which the teacher has an opinion."""
        return np.flatnonzero(self.findings.confident).tolist()


class Batches:
    """The collator: padded inputs of some lists, and the teacher's scores with what counts of them."""

    # Read by sentence-transformers' trainer from every collator.
    valid_label_columns = ("label",)

    def __init__(self, student: Student, lesson: Lesson) -> None:
        self._student, self._lesson = student, lesson

    def __call__(self, batch: Sequence[Mapping[str, int]]) -> dict[str, Any]:
        """``{"document_input_ids": [b * n, l], ..., "label": [b, n, 3 + b]}``: of each document the score,
        whether it is there, whether it may be taken for worse than the first, and of which queries of the
        batch it may be taken for a negative, for it is in another's list."""
        rows, lesson = [row[COLUMN] for row in batch], self._lesson
        features = self._student.features(
            [lesson.lists.queries[row] for row in rows], [lesson.lists.texts[row] for row in rows]
        )
        made: dict[str, Any] = {
            f"{kind}_{key}": value
            for kind, inputs in features.items()
            for key, value in inputs.items()
        }
        told = (
            lesson.target[rows],
            lesson.lists.there[rows],
            lesson.findings.usable[rows],
        )
        label = np.concatenate([np.stack(told, axis=-1), lesson.strangers(rows)], axis=-1)
        made["label"] = torch.from_numpy(label.astype(np.float32))
        return made


class ListLoss(nn.Module):
    """What a student is fitted by, as sentence-transformers' trainer calls it."""

    def __init__(self, student: Student, scale: Scale, recipe: Recipe) -> None:
        super().__init__()
        self.model, self.scale = student.model, scale
        self._student, self._recipe = student, recipe

    def forward(self, features: Sequence[Features], label: Tensor) -> Tensor:
        """Scalar; ``label`` is that of :class:`Batches`, ``features`` its inputs by kind."""
        kinds = ("query", "document") if len(features) > 1 else ("pair",)
        recipe = self._recipe
        return list_loss(
            self._student.read,
            self._student.compare(label.shape[1], across=recipe.in_batch > 0),
            dict(zip(kinds, features, strict=True)),
            lambda scores: score_loss(self.scale(scores), label, recipe),
            chunk_tokens=recipe.chunk_tokens,
            parameters=list(self.scale.parameters()),
        )


def score_loss(scores: Tensor, label: Tensor, recipe: Recipe) -> Tensor:
    """The loss of scores ``[b, n]`` on the teacher's scale, against the label of :class:`Batches`; with
    in-batch negatives of scores ``[b, b * n]``."""
    if recipe.in_batch > 0:
        count, ways = label.shape[:2]
        every = scores.view(count, count, ways)
        own = every.diagonal(dim1=0, dim2=1).T
        alone = score_loss(own, label, replace(recipe, in_batch=0.0))
        others = label[..., 3:].bool().permute(2, 0, 1)
        return alone + recipe.in_batch * losses.in_batch_nce(every, others)
    teacher, there, usable = label[..., 0], label[..., 1].bool(), label[..., 2].bool()
    negatives = usable[:, 1:]

    def divergence() -> Tensor:
        return losses.listwise_kl(scores, teacher, recipe.temperature, there)

    def distance() -> Tensor:
        return losses.score_mse(scores, teacher, there)

    chosen: dict[Objective, Callable[[], Tensor]] = {
        "listwise": divergence,
        "margin-mse": lambda: losses.margin_mse(scores, teacher, there[:, 1:]),
        "hinge": lambda: losses.margin_hinge(scores, teacher, recipe.margin, negatives),
        "ranknet": lambda: losses.ranknet(scores, teacher, there),
        "mse": distance,
        "mix": lambda: recipe.alpha * divergence() + (1 - recipe.alpha) * distance(),
    }
    return chosen[recipe.objective]()


def fit(student: Student, lesson: Lesson, recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Train ``student`` in place; returns what happened. See :func:`ragdistill.training.encoders.run`."""
    without_dropout(student.model)
    freeze_words(student.model)
    scale = first_scale(student, lesson)
    course, held_out = make_course(lesson, recipe)
    found = encoders.run(
        student.model,
        ListLoss(student, scale, recipe),
        course,
        Batches(student, lesson),
        recipe,
        folder,
        {SCALE: scale},
    )
    return found | {"items": len(lesson.chosen()) - held_out, "held_out_items": held_out}


def first_scale(student: Student, lesson: Lesson) -> Scale:
    """By least squares, over lists, each less its mean; where the student knows nothing yet, the one
    that spreads its scores as the teacher's. A cross-encoder's factor is 1: its head spreads its scores
    itself, and what was fitted to a head that knows nothing would only multiply its gradients."""
    rows = lesson.chosen()[:_PROBED]
    part = Lists(
        [lesson.lists.queries[row] for row in rows],
        [lesson.lists.texts[row] for row in rows],
        lesson.lists.there[rows],
    )
    mine, theirs, there = student.score(part), lesson.target[rows], part.there
    centred = [_centred(scores, there) for scores in (mine, theirs)]
    spread = max(float(centred[0] @ centred[0]), 1e-12)
    slope = float(centred[0] @ centred[1]) / spread
    fallback = (float(centred[1] @ centred[1]) / spread) ** 0.5
    factor = 1.0 if student.spreads else slope if slope > 0.05 * fallback else fallback
    offset = float(theirs[there].mean() - factor * mine[there].mean())
    return Scale(max(factor, 1e-6), offset).to(student.model.device)


def _centred(scores: Scores, there: np.ndarray[Any, np.dtype[np.bool_]]) -> np.ndarray[Any, Any]:
    """Scores less the mean of their list, ``[documents that are there]``."""
    counted = np.where(there, scores, np.nan).astype(np.float64)
    centred: np.ndarray[Any, Any] = (counted - np.nanmean(counted, axis=1, keepdims=True))[there]
    return centred


def held_out_of(lists: int) -> int:
    """How many of so many ``lists`` are not learnt from."""
    wanted = max(HELD_OUT_LEAST, round(HELD_OUT * lists))
    return max(1, min(wanted, HELD_OUT_MOST, lists // 2))


def make_course(lesson: Lesson, recipe: Recipe) -> tuple[Course, int]:
    """The steps, and how many lists are held out."""
    rows = lesson.chosen()
    apart = sample(rows, held_out_of(len(rows)), recipe.seed, key=str)
    learnt = sorted(set(rows) - set(apart))
    steps = training_schedule(
        [1] * len(learnt),
        epochs=recipe.epochs,
        max_tokens=len(learnt) * (int(recipe.epochs) + 1),
        batch_tokens=recipe.batch_lists,
        seed=recipe.seed,
    )
    train = Schedule([[learnt[place] for place in batch] for batch in steps])
    checked = evaluation_schedule([1] * len(apart), 2 * recipe.batch_lists)
    check = Schedule([[apart[place] for place in batch] for batch in checked])
    words = [
        len(query.split()) + sum(len(text.split()) for text in row)
        for query, row in zip(lesson.lists.queries, lesson.lists.texts, strict=True)
    ]
    # About four tokens come of three words; what is shown is a rate, not a bill.
    tokens = [round(sum(words[row] for row in batch) * 4 / 3) for batch in train]
    return Course(len(lesson.lists.queries), train, check, tokens), len(apart)
