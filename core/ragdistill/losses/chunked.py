"""The same losses from hidden states, so that the logits of all tokens never exist at once.

Some tokens at a time go through the head; their loss, and its gradient with respect to the hidden
states and the head, are computed before the next ones are, in one buffer. The backward pass only
scales what was found. As in the fused linear losses of Liger-Kernel, arXiv:2410.10989, without
kernels of one's own; here with distillation from sparse targets. Scaling comes last and sums are
held in float32, so that a mean over many tokens does not vanish in float16.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ragdistill.losses.logits import (
    BALANCED,
    LogitObjective,
    check,
    shared_words,
    token_divergences,
)
from ragdistill.losses.targets import SparseTargets, certain

CHUNK = 256
"""Tokens at a time, where it is not given: fewer read the head, and its gradient, too often."""
_CACHED = 4 << 20  # bytes of logits that stay in a processor's cache from one pass to the next
_LABELS = LogitObjective(divergence="forward")


@dataclass(frozen=True)
class Head:
    """A language model's last layer: logits are ``states @ weight.T + bias`` and nothing else.

    Attributes:
        weight: ``[v, h]``.
        bias: ``[v]``, or None.
    """

    weight: Tensor
    bias: Tensor | None = None


@dataclass(frozen=True)
class TeacherStates:
    """A teacher's hidden states of n tokens, ``[n, h_t]``, and the head that reads them."""

    states: Tensor
    head: Head

    def __len__(self) -> int:
        return len(self.states)


def chunked_distillation(
    hidden: Tensor,
    head: Head,
    teacher: SparseTargets | TeacherStates,
    labels: Tensor | None = None,
    objective: LogitObjective = BALANCED,
    normaliser: float | Tensor | None = None,
    vocabulary: int | None = None,
    chunk: int = CHUNK,
) -> Tensor:
    """:func:`ragdistill.losses.logit_distillation` of ``hidden`` read by ``head``.

    A head that requires no gradient costs none. Under autocast, and from half-precision states, the
    head's products are in that precision, all else in float32. The gradient is found in the forward
    pass, unless grad mode is off, and can be had once.

    Args:
        hidden: the student's states of answer tokens, ``[n, h]``.
        head: the student's; its weight may be the embeddings'.
        teacher: what was kept of the teacher's words, or its states, whose logits are computed
            here; no gradient flows into it.
        labels: the tokens themselves, int64 ``[n]``; needed where ``alpha`` is below 1.
        objective: what is minimised.
        normaliser: what the sum over tokens is divided by; None for n.
        vocabulary: ids that exist, from 0; None for all that both sides have.
        chunk: tokens that go through the head at a time.

    Returns:
        Scalar; 0 where no answer token is, with a gradient of zeros.

    Raises:
        ValueError: shapes do not agree, labels are missing, or there is no such id.
    """
    if hidden.ndim != 2 or hidden.shape[1:] != head.weight.shape[1:]:
        raise ValueError(f"states {tuple(hidden.shape)}, head {tuple(head.weight.shape)}")
    theirs = None if isinstance(teacher, SparseTargets) else len(teacher.head.weight)
    words = shared_words(len(head.weight), theirs, vocabulary)
    check(len(hidden), teacher, labels, objective, words)
    if chunk < 1:
        raise ValueError(f"chunks of {chunk} tokens")
    parts = (hidden, head.weight, head.bias)
    wanted = tuple(torch.is_grad_enabled() and p is not None and p.requires_grad for p in parts)
    if isinstance(teacher, TeacherStates):
        teacher = _ready(teacher, words)
    work = _Work(teacher, labels, objective, words, chunk, wanted)
    total: Tensor = _Chunked.apply(*parts, work)  # type: ignore[no-untyped-call]
    return total / (max(len(hidden), 1) if normaliser is None else normaliser)


@dataclass(frozen=True)
class _Work:
    """What is learnt, in ``words`` ids and ``length`` tokens at a time, and whether gradients of states,
    weight and bias are ``wanted``."""

    teacher: SparseTargets | TeacherStates
    labels: Tensor | None
    objective: LogitObjective
    words: int
    length: int
    wanted: tuple[bool, ...]

    def targets(self, rows: slice) -> tuple[Tensor | SparseTargets | None, Tensor | None]:
        """What there is to learn of some tokens, from the teacher and from the labels."""
        alpha = self.objective.alpha
        labels = None if self.labels is None or alpha == 1 else self.labels[rows]
        if alpha == 0:
            return None, labels
        if isinstance(self.teacher, SparseTargets):
            return self.teacher[rows], labels
        return _teacher_logits(self.teacher, rows), labels


class _Chunked(torch.autograd.Function):
    """The sum over tokens of what is learnt."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, work: _Work
    ) -> Tensor:
        parts = (hidden, weight, bias)
        wide = torch.promote_types(hidden.dtype, torch.float32)
        sums = [
            torch.zeros_like(part, dtype=wide) if part is not None and wanted else None
            for part, wanted in zip(parts, work.wanted, strict=True)
        ]
        precision = _precision(hidden, weight)
        head = _narrowed(Head(weight, bias), work.words, precision)
        total = hidden.new_zeros((), dtype=wide)
        logits = hidden.new_empty(min(work.length, len(hidden)), work.words, dtype=wide)
        with torch.autocast(hidden.device.type, enabled=False):
            for start in range(0, len(hidden), work.length):
                rows = slice(start, start + work.length)
                states = hidden[rows].to(precision)
                slope = _read(states, head, logits[: len(states)])
                total += _slopes(slope, *work.targets(rows), work.objective)
                _collect(sums, rows, states, head, slope)
        ctx.save_for_backward(*sums)
        ctx.dtypes = [None if part is None else part.dtype for part in parts]
        return total

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator,unused-ignore]
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        # In place: a second copy of the head's gradient may be what does not fit any more. Autograd
        # notices, and refuses to hand out a second time what was scaled.
        found = [
            None if each is None else each.mul_(upstream).to(dtype)
            for each, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        ]
        return (*found, None)


def _precision(hidden: Tensor, weight: Tensor) -> torch.dtype:
    """In what the head's products are taken: as a linear layer's would be."""
    kind = hidden.device.type
    if torch.is_autocast_enabled(kind) and hidden.dtype != torch.float64:
        return torch.get_autocast_dtype(kind)
    return torch.promote_types(hidden.dtype, weight.dtype)


def _narrowed(head: Head, words: int, precision: torch.dtype) -> Head:
    """The head of the first ``words`` ids; a view where it has the precision already."""
    bias = None if head.bias is None else head.bias[:words]
    return Head(head.weight[:words].to(precision), bias)


def _read(states: Tensor, head: Head, out: Tensor) -> Tensor:
    """Logits ``[c, words]`` of states ``[c, h]``, in ``out``."""
    if out.dtype == states.dtype:
        torch.mm(states, head.weight.T, out=out)
    else:
        out.copy_(states @ head.weight.T)
    return out if head.bias is None else out.add_(head.bias)


def _collect(
    sums: list[Tensor | None], rows: slice, states: Tensor, head: Head, slope: Tensor
) -> None:
    """Add a chunk's gradients, of logits ``slope``, to those of states, weight and bias."""
    to_states, to_weight, to_bias = sums
    words = slope.shape[1]
    if to_bias is not None:
        to_bias[:words] += slope.sum(dim=0)
    narrow = slope.to(states.dtype)
    if to_states is not None:
        to_states[rows] = narrow @ head.weight
    if to_weight is not None and to_weight.dtype == narrow.dtype:
        to_weight[:words].addmm_(narrow.T, states)
    elif to_weight is not None:
        to_weight[:words] += narrow.T @ states


def _slopes(
    logits: Tensor,
    targets: Tensor | SparseTargets | None,
    labels: Tensor | None,
    objective: LogitObjective,
) -> Tensor:
    """The sum of a chunk's losses; its logits ``[c, v]`` become the gradient of it.

    A processor does a few tokens at a time, so that what it needs besides is little and stays in its
    cache. Elsewhere it is calls that cost.
    """
    size = max(1, len(logits))
    if logits.device.type == "cpu":
        size = max(1, _CACHED // (logits.shape[1] * logits.itemsize))
    total = logits.new_zeros(())
    for start in range(0, len(logits), size):
        rows = slice(start, start + size)
        told = None if targets is None else targets[rows]
        total += _slope(
            logits[rows], told, None if labels is None else labels[rows], objective
        ).sum()
    return total


def _slope(
    logits: Tensor,
    targets: Tensor | SparseTargets | None,
    labels: Tensor | None,
    objective: LogitObjective,
) -> Tensor:
    """The loss of each token, ``[c]``; ``logits`` become the gradient of their sum."""
    copy = logits.clone() if labels is not None and targets is not None else logits
    losses = logits.new_zeros(len(logits))
    if targets is not None:
        losses += _taught(copy, targets, objective)
    if labels is not None:
        share = 1 - objective.alpha
        losses += share * _sparse_slope(logits, certain(labels), _LABELS, share)
    if copy is not logits:
        logits.add_(copy)
    return losses


def _taught(logits: Tensor, targets: Tensor | SparseTargets, objective: LogitObjective) -> Tensor:
    """The teacher's part of :func:`_slope`."""
    temperature = objective.temperature
    logits.div_(temperature)
    scale = objective.alpha * temperature  # T² D, whose logits are divided by T
    if isinstance(targets, SparseTargets):
        losses = _sparse_slope(logits, targets, objective, scale)
    else:
        losses = _whole_slope(logits, targets.div_(temperature), objective, scale)
    return scale * temperature * losses


def _ready(teacher: TeacherStates, words: int) -> TeacherStates:
    """The teacher in the precision of its products, once and not a chunk, with ``words`` ids."""
    with torch.no_grad():
        precision = _precision(teacher.states, teacher.head.weight)
        head = _narrowed(teacher.head, words, precision)
        return TeacherStates(teacher.states.to(precision), head)


def _teacher_logits(teacher: TeacherStates, rows: slice) -> Tensor:
    states = teacher.states[rows]
    wide = torch.promote_types(states.dtype, torch.float32)
    shape = (len(states), len(teacher.head.weight))
    return _read(states, teacher.head, states.new_empty(shape, dtype=wide))


def _sparse_slope(
    logits: Tensor, targets: SparseTargets, objective: LogitObjective, scale: float
) -> Tensor:
    """D of each token over buckets, ``[c]``; ``logits`` ``[c, v]`` become ``scale`` times its gradient.

    With G the gradient with respect to the logarithms of the buckets, that of the logit v is
    ``G_v - q_v sum(G)`` for an id of its own, and ``q_v (G_tail / q_tail - sum(G))`` for the rest.
    """
    logits.sub_(logits.amax(dim=1, keepdim=True))
    told = logits.gather(1, targets.ids)
    logits.exp_()
    taken = logits.gather(1, targets.ids) * targets.real
    # The rest is summed without what is large, not had as a difference.
    logits.scatter_add_(1, targets.ids, -taken)
    rest = logits.sum(dim=1)
    whole = rest + taken.sum(dim=1)
    probs, logs = targets.buckets(logits.dtype)
    with torch.enable_grad():
        ours = targets.among(told - whole.log().unsqueeze(1), rest.log() - whole.log())
        ours.requires_grad_()
        losses = objective.between(ours, probs, logs)
        (slope,) = torch.autograd.grad(losses.sum(), ours)
    slope *= scale
    common = slope.sum(dim=1) / whole
    of_rest = slope[:, -1] / rest.clamp(min=torch.finfo(rest.dtype).tiny)
    logits.mul_((of_rest - common).unsqueeze(1))
    logits.scatter_add_(1, targets.ids, targets.real * slope[:, :-1] - taken * common.unsqueeze(1))
    return losses.detach()


def _whole_slope(
    logits: Tensor, teacher: Tensor, objective: LogitObjective, scale: float
) -> Tensor:
    """As :func:`_sparse_slope` over all ids, of tempered ``logits`` against ``teacher``'s, ``[c, v]``
    each, which are not what they were afterwards."""
    if objective.kind == "forward":
        return _forward_slope(logits, teacher, scale)
    with torch.enable_grad():
        leaf = logits.detach().requires_grad_()
        losses = token_divergences(leaf, teacher, replace(objective, temperature=1.0))
        (slope,) = torch.autograd.grad(losses.sum(), leaf)
    torch.mul(slope, scale, out=logits)
    return losses.detach()


def _forward_slope(logits: Tensor, teacher: Tensor, scale: float) -> Tensor:
    """Of forward KL, whose gradient is Q - P: autograd would hold several such matrices more."""
    logits.sub_(logits.logsumexp(dim=1, keepdim=True))
    teacher.sub_(teacher.logsumexp(dim=1, keepdim=True))
    probs = teacher.exp()
    losses = teacher.sub_(logits).mul_(probs).sum(dim=1)
    logits.exp_().sub_(probs).mul_(scale)
    return losses
