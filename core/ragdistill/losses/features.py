"""A student's layers hold what its teacher's hold: hidden states, and which token is like which.

Hidden states: Romero et al., "FitNets", arXiv:1412.6550, and Jiao et al., "TinyBERT", arXiv:1909.10351,
regress onto them, through a learned projection where widths differ; here over the teacher's squared
length, so that no layer counts more because its numbers are larger. Relations of a layer's queries, keys
and values: Wang et al., "MiniLMv2", arXiv:2012.15828, after "MiniLM", arXiv:2002.10957. Heads of both
sides are put together until there are as many, so their numbers may differ.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Distance = Literal["mse", "cosine"]
_UNSEEN = -1e30
"""In place of the logarithm of nothing: finite, so that 0 times it is 0."""


def state_distances(student: Tensor, teacher: Tensor, kind: Distance = "mse") -> Tensor:
    """How far states of n tokens are from the teacher's, ``[n]``; the sum over some tokens is a loss.

    Args:
        student: its states, projected to the teacher's width, ``[n, d]``.
        teacher: the teacher's, ``[n, d]``; no gradient flows into them.
        kind: ``mse``, the squared distance over the teacher's squared length: 0 where both agree, 1 for
            a student of zeros; ``cosine``, 1 less the cosine, whatever the lengths.

    Raises:
        ValueError: shapes do not agree.
    """
    if student.shape != teacher.shape or student.ndim != 2:
        raise ValueError(f"states {tuple(student.shape)} against {tuple(teacher.shape)}")
    wide = torch.promote_types(student.dtype, torch.float32)
    ours, theirs = student.to(wide), teacher.detach().to(wide)
    if kind == "cosine":
        return 1 - functional.cosine_similarity(ours, theirs, dim=-1)
    length = theirs.square().sum(dim=-1).clamp(min=torch.finfo(wide).tiny)
    return (ours - theirs).square().sum(dim=-1) / length


def relations(states: Tensor, places: Tensor, seen: Tensor, groups: int) -> Tensor:
    """Logarithms of the softmax, over the tokens that one sees, of how like they are to it:
    ``[groups, n, l]``, in each group of heads over the root of its width.

    Args:
        states: queries, keys or values of one text's tokens, ``[l, w]``.
        places: the n tokens that look, ``[n]``.
        seen: true for each token that they see, themselves at least, ``[n, l]``.
        groups: into how many ``w`` is divided.

    Raises:
        ValueError: ``w`` is not that often divisible.
    """
    if states.shape[1] % groups:
        raise ValueError(f"{groups} groups of heads in {states.shape[1]} dimensions")
    wide = states.to(torch.promote_types(states.dtype, torch.float32))
    heads = wide.reshape(len(wide), groups, -1).transpose(0, 1)  # [g, l, w / g]
    alike: Tensor = heads[:, places] @ heads.transpose(1, 2) / heads.shape[2] ** 0.5
    return alike.masked_fill(~seen, _UNSEEN).log_softmax(dim=-1)


def relation_divergences(
    student: Tensor, teacher: Tensor, places: Tensor, seen: Tensor, groups: int
) -> Tensor:
    """KL(teacher || student) of the :func:`relations` of each of n tokens, the mean over groups: ``[n]``.

    Args:
        student: ``[l, w_s]``.
        teacher: of the same text, ``[l, w_t]``; no gradient flows into it.
        places, seen, groups: as there.

    Raises:
        ValueError: the texts are not of as many tokens, or a width is not divisible.
    """
    if len(student) != len(teacher):
        raise ValueError(f"{len(student)} tokens of the student, {len(teacher)} of the teacher")
    ours = relations(student, places, seen, groups)
    theirs = relations(teacher.detach(), places, seen, groups)
    return (theirs.exp() * (theirs - ours)).sum(dim=-1).mean(dim=0)
