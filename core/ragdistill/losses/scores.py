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
    squares = (margins[0] - margins[1]).square()
    if usable is None:
        return squares.mean()
    weights = usable.to(squares.dtype)
    return (weights * squares).sum() / weights.sum().clamp(min=1)


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


def _check(student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape or student.ndim != 2:
        raise ValueError(
            f"student scores {tuple(student.shape)} against teacher scores {tuple(teacher.shape)}: "
            "both must be [b, n]"
        )
