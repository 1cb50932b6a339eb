"""The student's vector of a text follows the teacher's vector of it.

Reimers and Gurevych, "Making Monolingual Sentence Embeddings Multilingual using Knowledge
Distillation", arXiv:2004.09813 (mean squared error); the projection for unequal dimensions as in
EmbedDistill, arXiv:2301.12005.
"""

import torch
from torch import Tensor
from torch.nn import functional


def mse_regression(student: Tensor, teacher: Tensor, projection: Tensor | None = None) -> Tensor:
    """Mean over batch and dimensions of the squared difference.

    Args:
        student: vectors ``[b, d_s]``.
        teacher: vectors ``[b, d_t]``; no gradient flows into them.
        projection: matrix ``[d_t, d_s]`` that maps the student's space into the teacher's; needed
            where ``d_s != d_t``.

    Returns:
        Scalar; 0 where student (projected) and teacher agree.
    """
    return functional.mse_loss(_projected(student, teacher, projection), teacher.detach())


def cosine_regression(student: Tensor, teacher: Tensor, projection: Tensor | None = None) -> Tensor:
    """Mean over the batch of ``1 - cos(student, teacher)``: half the squared distance of the
    normalised vectors. Length does not count.

    Args, returns: as :func:`mse_regression`.
    """
    projected = _projected(student, teacher, projection)
    return (1 - functional.cosine_similarity(projected, teacher.detach(), dim=-1)).mean()


def _projected(student: Tensor, teacher: Tensor, projection: Tensor | None) -> Tensor:
    projected = student if projection is None else functional.linear(student, projection)
    if projected.shape != teacher.shape:
        raise ValueError(
            f"student vectors {tuple(projected.shape)} against teacher vectors "
            f"{tuple(teacher.shape)}: unequal dimensions need a projection [d_t, d_s]"
        )
    if not torch.is_floating_point(teacher):
        raise ValueError(f"teacher vectors must be floating point, not {teacher.dtype}")
    return projected
