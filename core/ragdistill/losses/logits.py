"""The student gives the next token the probabilities that its teacher gives it.

Hinton et al., arXiv:1503.02531; the divergences as in generalised knowledge distillation (GKD),
arXiv:2306.13649. All answer tokens of a step count alike: a sum over tokens is divided once, by the
answer tokens of the whole step. Here the logits of all tokens exist; ``chunked`` does without.
"""

import math
from collections.abc import Sized
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from ragdistill.losses.targets import SparseTargets

Divergence = Literal["forward", "reverse", "symmetric", "jsd"]


@dataclass(frozen=True)
class LogitObjective:
    """``alpha T² D(teacher, student) + (1 - alpha) CE(label)`` of a token, where D compares the
    distributions at temperature T and the label is compared at 1.

    With P the teacher's distribution and Q the student's, D is ``forward`` KL(P || Q), ``reverse``
    KL(Q || P), ``symmetric`` the mean of both, or ``jsd``, GKD's
    ``beta KL(P || M) + (1 - beta) KL(Q || M)`` with ``M = beta P + (1 - beta) Q``. At its ends, where
    that is 0 by definition, ``jsd`` is forward (``beta`` 0) and reverse KL (1), as in TRL's
    ``generalized_jsd_loss``. It equals that given labels, but for T², which TRL leaves out; without
    labels TRL divides by sequences, not by tokens.

    Attributes:
        alpha: what the teacher weighs against the labels, 0 to 1.
        temperature: of both sides of D, above 0; its square keeps the gradient's size.
        divergence: D.
        beta: of ``jsd``, 0 to 1.

    Raises:
        ValueError: a value is outside its range.
    """

    alpha: float = 0.5
    temperature: float = 2.0
    divergence: Divergence = "forward"
    beta: float = 0.5

    def __post_init__(self) -> None:
        if not (0 <= self.alpha <= 1 and 0 <= self.beta <= 1):
            raise ValueError(f"alpha {self.alpha} and beta {self.beta} must be from 0 to 1")
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"a temperature of {self.temperature}: it must be above 0")
        if self.divergence not in get_args(Divergence):
            known = ", ".join(get_args(Divergence))
            raise ValueError(f"no divergence {self.divergence!r}; there are {known}")

    @property
    def kind(self) -> Divergence:
        """The divergence that D is; one end of ``jsd`` where ``beta`` is 0 or 1."""
        ends: dict[float, Divergence] = {0.0: "forward", 1.0: "reverse"}
        return ends.get(self.beta, "jsd") if self.divergence == "jsd" else self.divergence

    def between(self, student: Tensor, teacher: Tensor, teacher_logs: Tensor) -> Tensor:
        """D of each of n tokens, ``[n]``.

        Args:
            student: logarithms of its probabilities, ``[n, m]``, finite.
            teacher: its probabilities, ``[n, m]``.
            teacher_logs: their logarithms, ``[n, m]``, finite.
        """
        if self.kind == "forward":
            return _kl(teacher, teacher_logs, student)
        own = student.exp()
        if self.kind == "reverse":
            return _kl(own, student, teacher_logs)
        if self.kind == "symmetric":
            both = _kl(teacher, teacher_logs, student) + _kl(own, student, teacher_logs)
            return both / 2
        mixed = torch.logaddexp(
            teacher_logs + math.log(self.beta), student + math.log1p(-self.beta)
        )
        theirs, ours = _kl(teacher, teacher_logs, mixed), _kl(own, student, mixed)
        return self.beta * theirs + (1 - self.beta) * ours


BALANCED = LogitObjective()
"""The teacher and the labels alike, at a temperature of 2: the usual start for language models."""


def logit_distillation(
    student: Tensor,
    teacher: Tensor | SparseTargets,
    labels: Tensor | None = None,
    objective: LogitObjective = BALANCED,
    normaliser: float | Tensor | None = None,
    vocabulary: int | None = None,
) -> Tensor:
    """The objective's mean over answer tokens.

    Args:
        student: logits of answer tokens, ``[n, v_s]``.
        teacher: the teacher's of the same tokens, ``[n, v_t]``, or what was kept of them; no
            gradient flows into it.
        labels: the tokens themselves, int64 ``[n]``; needed where ``alpha`` is below 1.
        objective: what is minimised.
        normaliser: what the sum over tokens is divided by; None for n. The answer tokens of the
            whole step, where it comes in parts; over w processes whose gradients are averaged, those
            of all of them divided by w.
        vocabulary: ids that exist, from 0; None for all that both sides have. Rows beyond, with
            which a head was padded, are no part of either distribution.

    Returns:
        Scalar; 0 where no answer token is, with a gradient of zeros.

    Raises:
        ValueError: shapes do not agree, labels are missing, or there is no such id.
    """
    words = shared_words(student.shape[1], _ids_of(teacher), vocabulary)
    check(len(student), teacher, labels, objective, words)
    wide = torch.promote_types(student.dtype, torch.float32)
    with torch.autocast(student.device.type, enabled=False):
        logits = student[:, :words].to(wide)
        total = logits.new_zeros(())
        if objective.alpha > 0:
            divergences = token_divergences(logits, teacher, objective, words)
            total = total + objective.alpha * objective.temperature**2 * divergences.sum()
        if objective.alpha < 1 and labels is not None:
            crossed = functional.cross_entropy(logits, labels, reduction="sum")
            total = total + (1 - objective.alpha) * crossed
        return total / (max(len(student), 1) if normaliser is None else normaliser)


def token_divergences(
    student: Tensor,
    teacher: Tensor | SparseTargets,
    objective: LogitObjective,
    vocabulary: int | None = None,
) -> Tensor:
    """The objective's D of each token, ``[n]``, without T²; arguments as in
    :func:`logit_distillation`. Over sparse targets it is of their buckets."""
    words = shared_words(student.shape[1], _ids_of(teacher), vocabulary)
    wide = torch.promote_types(student.dtype, torch.float32)
    with torch.autocast(student.device.type, enabled=False):
        logits = student[:, :words].to(wide) / objective.temperature
        if isinstance(teacher, SparseTargets):
            probs, logs = teacher.buckets(wide)
            return objective.between(_in_buckets(logits, teacher), probs, logs)
        logs = teacher.detach()[:, :words].to(wide) / objective.temperature
        logs = functional.log_softmax(logs, dim=-1)
        return objective.between(functional.log_softmax(logits, dim=-1), logs.exp(), logs)


def shared_words(ours: int, theirs: int | None, vocabulary: int | None) -> int:
    """How many ids count where the student has ``ours`` and the teacher ``theirs`` (None: as many)."""
    both = ours if theirs is None else min(ours, theirs)
    if vocabulary is None:
        return both
    if not 0 < vocabulary <= both:
        raise ValueError(f"{vocabulary} ids, of which the student has {ours}, the teacher {theirs}")
    return vocabulary


def check(
    tokens: int,
    teacher: Sized,
    labels: Tensor | None,
    objective: LogitObjective,
    words: int,
) -> None:
    """Raise ValueError unless teacher and labels are of ``tokens`` tokens, labels are there as needed,
    and what both name are among the first ``words`` ids."""
    if len(teacher) != tokens:
        raise ValueError(f"{tokens} tokens of the student against {len(teacher)} of the teacher")
    if labels is None and objective.alpha < 1:
        raise ValueError(f"no labels, of which alpha {objective.alpha} wants to learn")
    if labels is not None and labels.shape != (tokens,):
        raise ValueError(f"labels {tuple(labels.shape)} of {tokens} tokens: they must be [n]")
    ids = teacher.ids if isinstance(teacher, SparseTargets) else None
    for name, named in (("labels", labels), ("the teacher's ids", ids)):
        if named is not None and named.numel():
            least, most = (int(end) for end in named.aminmax())
            if least < 0 or most >= words:
                raise ValueError(f"{name} are from {least} to {most}, of {words} ids from 0")


def _ids_of(teacher: Tensor | SparseTargets) -> int | None:
    return None if isinstance(teacher, SparseTargets) else teacher.shape[1]


def _kl(probs: Tensor, logs: Tensor, others: Tensor) -> Tensor:
    """KL of each row, ``[n, m]`` thrice -> ``[n]``."""
    return (probs * (logs - others)).sum(dim=-1)


def _in_buckets(logits: Tensor, targets: SparseTargets) -> Tensor:
    """Logarithms of the student's probabilities of the ids and of the rest: ``[n, v]`` ->
    ``[n, k + 1]``. The rest is summed itself, never taken as 1 minus what is large."""
    whole = logits.logsumexp(dim=1)
    told = logits.gather(1, targets.ids) - whole.unsqueeze(1)
    marks = torch.zeros_like(logits).scatter_add_(1, targets.ids, targets.real.to(logits.dtype))
    rest = logits.masked_fill(marks > 0, -1e30).logsumexp(dim=1) - whole
    return targets.among(told, rest)
