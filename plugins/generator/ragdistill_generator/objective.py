"""What a student loses by an answer: answer tokens count alike, all others are only read."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ragdistill.losses import (
    LogitObjective,
    SparseTargets,
    TeacherStates,
    chunked_distillation,
    logit_distillation,
)
from ragdistill.losses.targets import certain
from ragdistill.training.reading import Reader
from ragdistill_generator.terms import Heard, Terms

LABELS_ALONE = LogitObjective(alpha=0.0)
"""The answer's own tokens: cross-entropy, of the teacher's answers (sequence distillation,
arXiv:1606.07947) or of gold ones."""


class AnswerLoss(nn.Module):
    """The sum over answer tokens of an objective against what a teacher said of them, and of
    cross-entropy where none did.

    Args:
        student: the network that is trained.
        objective: what is minimised.
        teacher: one that is asked on the fly, in place of what was stored; it has the student's
            vocabulary.
        vocabulary: ids that exist, from 0; None for all that both sides have.
        reading: what a token of the contexts weighs, of which it is stored what the teacher said; an
            answer's weighs 1.
        terms: what is learnt besides.
    """

    def __init__(
        self,
        student: Any,
        objective: LogitObjective,
        teacher: Reader | None = None,
        vocabulary: int | None = None,
        reading: float = 0.0,
        terms: Terms | None = None,
    ) -> None:
        super().__init__()
        self.student = student
        self._reader = Reader(student)
        self._objective, self._vocabulary = objective, vocabulary
        self._reading = reading
        self.terms = Terms() if terms is None else terms
        # A reader is no module: the teacher is neither trained nor moved.
        self._teacher = teacher if objective.alpha > 0 else None
        self._chunks = all(
            each.factor is not None for each in (self._reader, self._teacher) if each is not None
        )

    def forward(
        self,
        labels: Tensor,
        places: Tensor,
        target_ids: Tensor,
        target_probs: Tensor,
        target_tail: Tensor,
        read_places: Tensor,
        read_ids: Tensor,
        read_probs: Tensor,
        read_tail: Tensor,
        normaliser: float | Tensor | None = None,
        **inputs: Tensor,
    ) -> Tensor:
        """Scalar, of what :class:`ragdistill_generator.lesson.Batches` makes; over ``normaliser``, None for
        the number of labels."""
        normaliser = max(len(labels), 1) if normaliser is None else normaliser
        heard = len(read_places) if self._reading else 0
        chosen = torch.cat([places, read_places[:heard]])
        with self.terms.listening(self.student) as layers:
            every = self._said(self._reader, inputs, chosen)
        said, read = every[: len(places)], every[len(places) :]
        told = Heard(self._reader, inputs, chosen, labels, every, self._reading)
        total: Tensor = self.terms(told, layers) / normaliser
        if heard:
            context = SparseTargets(read_ids, read_probs, read_tail)
            alone = replace(self._objective, alpha=1.0)
            lost = self._lost(read, context, None, alone, normaliser)
            total = total + self._reading * lost
        if self._teacher is not None:
            asked = self._asked(self._teacher, inputs, places)
            return total + self._lost(said, asked, labels, self._objective, normaliser)
        stored = SparseTargets(target_ids, target_probs, target_tail)
        taught = len(stored) if self._objective.alpha > 0 else 0
        rest = certain(labels[taught:])
        total = total + self._lost(said[taught:], rest, labels[taught:], LABELS_ALONE, normaliser)
        if taught:
            total = total + self._lost(
                said[:taught], stored, labels[:taught], self._objective, normaliser
            )
        return total

    def parts(self) -> dict[str, float]:
        """The terms, as of :meth:`Terms.parts`."""
        return self.terms.parts()

    def _said(self, reader: Reader, inputs: dict[str, Tensor], places: Tensor) -> Tensor:
        """States ``[n, h]``; where a head is more than a matrix logits, ``[n, v]``."""
        return (reader.states if self._chunks else reader.logits)(inputs, places)

    @torch.no_grad()
    def _asked(
        self, teacher: Reader, inputs: dict[str, Tensor], places: Tensor
    ) -> TeacherStates | Tensor:
        """What the teacher says of the same tokens now."""
        said = self._said(teacher, inputs, places)
        return TeacherStates(said, teacher.head) if self._chunks else said

    def _lost(
        self,
        said: Tensor,
        teacher: SparseTargets | TeacherStates | Tensor,
        labels: Tensor | None,
        objective: LogitObjective,
        normaliser: float | Tensor,
    ) -> Tensor:
        if isinstance(teacher, TeacherStates) or (self._chunks and not isinstance(teacher, Tensor)):
            head = self._reader.head
            return chunked_distillation(
                said, head, teacher, labels, objective, normaliser, self._vocabulary
            )
        return logit_distillation(said, teacher, labels, objective, normaliser, self._vocabulary)
