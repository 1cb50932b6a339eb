"""Vectors whose prefixes are vectors themselves: Kusupati et al., "Matryoshka Representation
Learning", arXiv:2205.13147."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def over_prefixes(
    loss: Callable[[Tensor, Tensor], Tensor],
    student: Tensor,
    teacher: Tensor,
    dims: Sequence[int],
    *,
    cut_teacher: bool = True,
) -> Tensor:
    """The mean of ``loss`` over prefixes of the vectors.

    Args:
        loss: of student vectors ``[b, m]`` and teacher vectors.
        student: vectors ``[b, d_s]``.
        teacher: vectors ``[b, d_t]``; for regression on axes on which a prefix tells most of the
            whole, as :func:`ragdistill.training.axes.ranking_axes` finds them.
        dims: lengths of the prefixes, none longer than ``d_s``.
        cut_teacher: whether the teacher's vectors are cut, too; a loss that compares similarities
            alone can be held against the whole of them.

    Returns:
        Scalar.
    """
    if not dims or max(dims) > student.shape[1] or min(dims) < 1:
        raise ValueError(f"prefixes {tuple(dims)} of vectors of {student.shape[1]} dimensions")
    losses = [
        loss(student[:, :length], teacher[:, :length] if cut_teacher else teacher)
        for length in dims
    ]
    return torch.stack(losses).mean()
