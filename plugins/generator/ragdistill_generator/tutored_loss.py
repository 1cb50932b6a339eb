"""What a student loses by what a tutor says of the same tokens now, and the tutor by the student where it
learns, too."""

from typing import Any

import torch
from torch import Tensor, nn

from ragdistill.errors import Diverged, UserError
from ragdistill.losses import LogitObjective, SparseTargets, TeacherStates
from ragdistill.losses.targets import certain
from ragdistill.training.reading import Reader
from ragdistill_generator.objective import LABELS_ALONE, AnswerLoss
from ragdistill_generator.policy_options import ASKED, OWN, TutorName

_CHUNK = 256
"""Tokens whose logits are looked at together."""
Said = TeacherStates | Tensor
"""What a network says of tokens: its states with its head, or logits ``[n, v]``."""


class Learner(AnswerLoss):
    """A network that learns, or is learnt from, beside another: what it says is had once, for both uses."""

    def says(self, inputs: dict[str, Tensor], places: Tensor) -> Tensor:
        """States ``[n, h]`` at ``places``, or logits."""
        return self._said(self._reader, inputs, places)

    def as_teacher(self, said: Tensor, rows: Tensor | slice) -> Said:
        """Some of what it said, as what another learns."""
        told = said.detach()[rows]
        return TeacherStates(told, self._reader.head) if self._chunks else told

    @torch.no_grad()
    def is_sound(self, said: Tensor) -> bool:
        """Whether what it said is numbers throughout."""
        for start in range(0, len(said), _CHUNK):
            part = said[start : start + _CHUNK]
            if self._chunks:
                head = self._reader.head
                part = torch.nn.functional.linear(
                    part.to(head.weight.dtype), head.weight, head.bias
                )
            if not bool((part[:, : self._vocabulary] < float("inf")).all()):
                return False
        return True

    def loses(
        self,
        said: Tensor,
        told: SparseTargets | Said,
        labels: Tensor | None,
        normaliser: float | Tensor,
    ) -> Tensor:
        """By what ``told`` says: with labels as the objective has it, else by that alone."""
        objective = self._objective if labels is not None else self._alone
        return self._lost(said, told, labels, objective, normaliser)

    def loses_answers(self, said: Tensor, labels: Tensor, normaliser: float | Tensor) -> Tensor:
        """Cross-entropy, summed over tokens."""
        return self._lost(said, certain(labels), labels, LABELS_ALONE, normaliser)

    @property
    def _alone(self) -> LogitObjective:
        given = self._objective
        return LogitObjective(1.0, given.temperature, given.divergence, given.beta)


class TutoredLoss(nn.Module):
    """The objective against a tutor that is read beside the student.

    A ``live`` or ``average`` tutor is only read; a ``trained`` one learns the answers by cross-entropy, and
    the student learns from it as it is (online distillation); a ``peer`` learns as the student does, each
    from the other (deep mutual learning, arXiv:1706.00384).

    While the tutor changes, a divergence from it says nothing of the student, so the held-out loss, in
    ``eval``, is then of the answers' tokens alone; of peers it is the mean of both.

    Args:
        student: the network that is trained.
        tutor: the other one, over the same ids.
        name: who it is.
        objective: what is minimised, with ``alpha`` above 0.
        vocabulary: ids that exist, from 0; None for all that both sides have.
        reading: what a token of the contexts weighs; by what is stored of it, or by what the tutor says.
    """

    def __init__(
        self,
        student: Any,
        tutor: Any,
        name: TutorName,
        objective: LogitObjective,
        vocabulary: int | None = None,
        reading: float = 0.0,
    ) -> None:
        super().__init__()
        self._name, self._reading = name, reading
        self.ours = Learner(student, objective, Reader(tutor), vocabulary)
        theirs = Learner(tutor, objective, Reader(student), vocabulary)
        learns = name in ("trained", "peer")
        self._asked_why = False
        self.fault: UserError | None = None
        """What else than the student's rate it was, where the loss is no number."""
        # In a tuple it is no module: neither trained nor moved.
        self._theirs = (theirs,)
        self.theirs = theirs if learns else None

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
        sampled: Tensor | None = None,
        normaliser: float | Tensor | None = None,
        **inputs: Tensor,
    ) -> Tensor:
        """Scalar, of what ``Batches`` and ``LiveBatches`` make; what is stored of answers is not read.

        Args:
            sampled: labels that the student drew, of which only what the tutor says is learnt.
            normaliser: what the sum is divided by; None for the number of labels.

        Raises:
            UserError: a live tutor says NaN or infinity.
        """
        normaliser = max(len(labels), 1) if normaliser is None else normaliser
        heard = len(read_places) if self._reading else 0
        every = torch.cat([places, read_places[:heard]])
        (theirs,) = self._theirs
        says = self.ours.says(inputs, every)
        if self._moving and not self.training:
            return self._looked_at(says, inputs, places, labels, normaliser)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.theirs is not None):
            told = theirs.says(inputs, every)
        stored = SparseTargets(read_ids, read_probs, read_tail) if len(read_ids) else None
        marks = torch.zeros_like(labels, dtype=torch.bool) if sampled is None else sampled
        common = (labels, marks, stored, normaliser)
        total = self._taught(self.ours, says, theirs, told, *common)
        if self._name == "peer":
            total = total + self._taught(theirs, told, self.ours, says, *common)
        if self._name == "trained":
            known = ~marks
            total = total + theirs.loses_answers(
                told[: len(labels)][known], labels[known], normaliser
            )
        if not bool(total.isfinite()):
            self._ask_why(told)
        return total

    def _ask_why(self, told: Tensor) -> None:
        """Find out whether a loss that is no number is the tutor's fault, by what it said, once: what comes after
        it is no number, either."""
        self._asked_why, asked = True, self._asked_why
        if asked or self._name not in ASKED or self._theirs[0].is_sound(told):
            return
        what, weights = (
            "the teacher says NaN or infinity of what the student reads",
            "check its weights",
        )
        if self._name == "live":
            raise UserError(
                what, where="--tutor live", mend=f"{weights}, or give --precision float32"
            )
        self.fault = Diverged(
            f"training diverged: {what}", where="--tutor-lr", mend=f"lower it, or {weights}"
        )

    def _taught(
        self,
        learner: Learner,
        said: Tensor,
        teacher: Learner,
        told: Tensor,
        labels: Tensor,
        sampled: Tensor,
        stored: SparseTargets | None,
        normaliser: float | Tensor,
    ) -> Tensor:
        """What ``learner``, which says ``said``, loses by ``teacher``, which says ``told``."""
        count = len(labels)
        known = (~sampled).nonzero()[:, 0]
        total = learner.loses(
            said[known], teacher.as_teacher(told, known), labels[known], normaliser
        )
        if len(known) < count:
            own = sampled.nonzero()[:, 0]
            total = total + learner.loses(
                said[own], teacher.as_teacher(told, own), None, normaliser
            )
        if len(said) > count:
            behind = slice(count, None)
            read = teacher.as_teacher(told, behind) if stored is None else stored
            total = total + self._reading * learner.loses(said[behind], read, None, normaliser)
        return total

    @property
    def _moving(self) -> bool:
        return self._name == "trained" or self._name in OWN

    def _looked_at(
        self,
        says: Tensor,
        inputs: dict[str, Tensor],
        places: Tensor,
        labels: Tensor,
        normaliser: float | Tensor,
    ) -> Tensor:
        own = self.ours.loses_answers(says[: len(places)], labels, normaliser)
        if self._name != "peer":
            return own
        (theirs,) = self._theirs
        other = theirs.loses_answers(theirs.says(inputs, places), labels, normaliser)
        return (own + other) / 2
