"""The same losses from hidden states, so that the logits of all tokens never exist at once.

Some tokens at a time go through the head; their loss, and its gradient with respect to the hidden
states and the head, are computed before the next ones are, in one buffer. The backward pass only
scales what was found. As in the fused linear losses of Liger-Kernel, arXiv:2410.10989, without
kernels of one's own; here with distillation from sparse targets. Scaling comes last and sums are
held in float32, so that a mean over many tokens does not vanish in float16.
"""

from collections.abc import Callable
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

CHUNK_BYTES = 24 << 20
"""What the logits of one chunk may take, in float32, where its length is not given."""
_LABELS = LogitObjective(divergence="forward")

_Slope = Callable[[Tensor, slice], Tensor]
"""Loss of each token of a chunk, ``[c]``; the logits given become the gradient of their sum."""


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
    chunk: int | None = None,
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
        chunk: tokens at a time; None for as many as fit in :data:`CHUNK_BYTES`.

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
    wide = torch.promote_types(hidden.dtype, torch.float32)
    fitting = max(1, CHUNK_BYTES // (wide.itemsize * words))
    length = fitting if chunk is None else chunk
    if length < 1:
        raise ValueError(f"chunks of {length} tokens")
    parts = (hidden, head.weight, head.bias)
    wanted = tuple(torch.is_grad_enabled() and p is not None and p.requires_grad for p in parts)
    work = _Work(_slope(teacher, labels, objective, words), words, length, wanted)
    total: Tensor = _Chunked.apply(*parts, work)  # type: ignore[no-untyped-call]
    return total / (max(len(hidden), 1) if normaliser is None else normaliser)


@dataclass(frozen=True)
class _Work:
    """What is to be done with the logits of ``words`` ids of ``length`` tokens at a time, and whether
    gradients of states, weight and bias are ``wanted``."""

    slope: _Slope
    words: int
    length: int
    wanted: tuple[bool, ...]


class _Chunked(torch.autograd.Function):
    """The sum over tokens of ``work.slope``."""

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
                total += work.slope(slope, rows).sum()
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


def _slope(
    teacher: SparseTargets | TeacherStates,
    labels: Tensor | None,
    objective: LogitObjective,
    words: int,
) -> _Slope:
    """The objective, summed over tokens."""
    alpha, temperature = objective.alpha, objective.temperature

    def taught(logits: Tensor, rows: slice) -> Tensor:
        if isinstance(teacher, SparseTargets):
            found = _sparse_slope(logits, teacher[rows], objective, alpha * temperature)
        else:
            theirs = _teacher_logits(teacher, rows, words)
            found = _whole_slope(logits, theirs.div_(temperature), objective, alpha * temperature)
        return alpha * temperature**2 * found

    def slope(logits: Tensor, rows: slice) -> Tensor:
        if labels is None or alpha == 1:
            return taught(logits.div_(temperature), rows)
        tempered = logits / temperature if alpha > 0 else None
        found = _sparse_slope(logits, certain(labels[rows]), _LABELS, 1 - alpha)
        losses = (1 - alpha) * found
        if tempered is not None:
            losses = losses + taught(tempered, rows)
            logits.add_(tempered)
        return losses

    return slope


def _teacher_logits(teacher: TeacherStates, rows: slice, words: int) -> Tensor:
    states, head = teacher.states[rows].detach(), teacher.head
    wide = torch.promote_types(states.dtype, torch.float32)
    precision = torch.promote_types(states.dtype, head.weight.dtype)
    out = states.new_empty(len(states), words, dtype=wide)
    return _read(states.to(precision), _narrowed(head, words, precision), out)


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
