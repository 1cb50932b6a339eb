"""The student scores candidates of a text as the teacher does. For whatever scores: embedders by
the cosine, rerankers by their own score."""

import torch
from torch import Tensor
from torch.nn import functional


def margin_mse(student: Tensor, teacher: Tensor, usable: Tensor | None = None) -> Tensor:
    """Mean squared difference of the margins between the first candidate and the others:
    ``((s_0 - s_j) - (t_0 - t_j))²``. Hofstätter et al., arXiv:2010.02666.

    Args:
        student: scores ``[b, 1 + n]``, the positive first; on the teacher's scale.
        teacher: the teacher's of the same, ``[b, 1 + n]``; no gradient flows into them.
        usable: which of the others count, ``[b, n]``; None for all.

    Returns:
        Scalar; 0 where all margins agree, and where no other counts.
    """
    _check(student, teacher)
    margins = [scores[:, :1] - scores[:, 1:] for scores in (student, teacher.detach())]
    return _mean((margins[0] - margins[1]).square(), usable)


def listwise_kl(
    student: Tensor, teacher: Tensor, temperature: float = 1.0, usable: Tensor | None = None
) -> Tensor:
    """``T² KL(softmax(t / T) || softmax(s / T))``, the mean over lists. Hinton et al.,
    arXiv:1503.02531; over ranked lists as in ColBERTv2, arXiv:2112.01488.

    Args:
        student: scores ``[b, n]``, on the teacher's scale.
        teacher: the teacher's of the same, ``[b, n]``; no gradient flows into them.
        temperature: of both sides; its square keeps the gradient's size from depending on it.
        usable: which candidates count, ``[b, n]``, one a row at least; None for all.

    Returns:
        Scalar >= 0; 0 where the scores agree up to a constant of each list.
    """
    _check(student, teacher)
    rows = []
    for scores in (student, teacher.detach()):
        wide = scores.to(torch.promote_types(scores.dtype, torch.float32)) / temperature
        if usable is not None:
            wide = wide.masked_fill(~usable, torch.finfo(wide.dtype).min)
        rows.append(functional.log_softmax(wide, dim=-1))
    loss = functional.kl_div(rows[0], rows[1], log_target=True, reduction="batchmean")
    return temperature**2 * loss


def margin_hinge(
    student: Tensor, teacher: Tensor, margin: float = 0.3, usable: Tensor | None = None
) -> Tensor:
    """Mean of ``relu((t_0 - t_j) - (s_0 - s_j) + margin)`` over the others: the student has to set the
    first candidate apart at least as far as the teacher does, and by ``margin`` more.

    Args:
        student: scores ``[b, 1 + n]``, the positive first; on the teacher's scale.
        teacher: the teacher's of the same, ``[b, 1 + n]``; no gradient flows into them.
        margin: at least 0; with it a student that agrees with its teacher has this loss.
        usable: which of the others count, ``[b, n]``; None for all.

    Returns:
        Scalar >= 0; 0 where the student's margins exceed the teacher's by ``margin`` or more.
    """
    _check(student, teacher)
    theirs, mine = (scores[:, :1] - scores[:, 1:] for scores in (teacher.detach(), student))
    return _mean(functional.relu(theirs - mine + margin), usable)


def ranknet(student: Tensor, teacher: Tensor, usable: Tensor | None = None) -> Tensor:
    """Mean of ``log(1 + exp(s_j - s_i))`` over the pairs of a list of which the teacher prefers i:
    only its order counts. Burges et al., "Learning to Rank using Gradient Descent", 2005.

    Args:
        student: scores ``[b, n]``, on any scale.
        teacher: the teacher's of the same, ``[b, n]``; pairs that it scores alike do not count.
        usable: which candidates count, ``[b, n]``; None for all.

    Returns:
        Scalar > 0, or 0 where no pair counts.
    """
    _check(student, teacher)
    preferred = teacher.detach().unsqueeze(2) > teacher.detach().unsqueeze(1)
    if usable is not None:
        preferred = preferred & usable.unsqueeze(2) & usable.unsqueeze(1)
    return _mean(functional.softplus(student.unsqueeze(1) - student.unsqueeze(2)), preferred)


def score_mse(student: Tensor, teacher: Tensor, usable: Tensor | None = None) -> Tensor:
    """Mean squared difference of the scores themselves, ``[b, n]`` each, on one scale; ``usable`` says
    which count. Returns a scalar."""
    _check(student, teacher)
    return _mean((student - teacher.detach()).square(), usable)


def in_batch_nce(scores: Tensor, others: Tensor) -> Tensor:
    """Mean of ``-log softmax`` of each query's positive among itself and the documents of the other lists
    of the batch, which nobody has judged for it. Karpukhin et al. (DPR), arXiv:2004.04906.

    Args:
        scores: of each query with the documents of each list, ``[b, b, n]``; ``scores[i, i, 0]`` is that of
            its positive.
        others: which documents are negatives of which query, ``[b, b, n]``.

    Returns:
        Scalar >= 0; 0 where there are no others.
    """
    if scores.ndim != 3 or len(scores) != scores.shape[1] or others.shape != scores.shape:
        raise ValueError(
            f"scores {tuple(scores.shape)} and others {tuple(others.shape)}: both must be [b, b, n]"
        )
    positive = scores.diagonal(dim1=0, dim2=1)[:1].T
    masked = scores.masked_fill(~others, torch.finfo(scores.dtype).min).flatten(1)
    return (torch.cat([positive, masked], dim=1).logsumexp(dim=1) - positive[:, 0]).mean()


def _mean(values: Tensor, usable: Tensor | None) -> Tensor:
    """The mean of the values that count; 0 where none does."""
    if usable is None:
        return values.mean()
    weights = usable.to(values.dtype)
    return (weights * values).sum() / weights.sum().clamp(min=1)


def _check(student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape or student.ndim != 2:
        raise ValueError(
            f"student scores {tuple(student.shape)} against teacher scores {tuple(teacher.shape)}: "
            "both must be [b, n]"
        )
