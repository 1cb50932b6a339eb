"""A text's student vector is to find the teacher's vector of it among others.

NT-Xent, Chen et al., "SimCLR", arXiv:2002.05709, between two encoders as in CRD, arXiv:1910.10699.
It differs from both in that others which the teacher itself holds for the same are left out, as
NV-Retriever, arXiv:2407.15831, leaves them out of mined negatives.
"""

import torch
from torch import Tensor
from torch.nn import functional

CEILING = 0.95
"""Cosine to a text in the teacher's space from which on another counts as the same."""


def info_nce(
    student: Tensor,
    teacher: Tensor,
    negatives: Tensor | None = None,
    *,
    temperature: float = 0.05,
    ceiling: float = CEILING,
) -> Tensor:
    """Mean over the batch of ``-log softmax_i(cos(s_i, t_j) / temperature)``, the softmax over the
    teacher's vectors of the batch and over the text's own hard negatives.

    Args:
        student: vectors ``[b, d]``.
        teacher: vectors of the same texts, ``[b, d]``; no gradient flows into them.
        negatives: the teacher's vectors of other texts, ``[b, n, d]``; a row of zeros is none.
        temperature: smaller looks at the hardest negatives only.
        ceiling: others whose cosine to ``t_i`` is above this are left out, as false negatives; so
            that a text told twice does not push itself away.

    Returns:
        Scalar >= 0.
    """
    if student.shape != teacher.shape:
        raise ValueError(
            f"student {tuple(student.shape)} against teacher {tuple(teacher.shape)}: unequal "
            "dimensions need a projection"
        )
    with torch.autocast(student.device.type, enabled=False):
        wide = torch.promote_types(student.dtype, torch.float32)
        mine = functional.normalize(student.to(wide), dim=-1)
        theirs = functional.normalize(teacher.detach().to(wide), dim=-1)
        logits = (mine @ theirs.T) / temperature
        same = theirs @ theirs.T > ceiling
        same.fill_diagonal_(False)  # the text itself is what is to be found
        logits = logits.masked_fill(same, float("-inf"))
        if negatives is not None:
            others = functional.normalize(negatives.detach().to(wide), dim=-1)
            near = torch.einsum("bd,bnd->bn", theirs, others)
            none = (others.square().sum(dim=-1) == 0) | (near > ceiling)
            more = torch.einsum("bd,bnd->bn", mine, others) / temperature
            logits = torch.cat([logits, more.masked_fill(none, float("-inf"))], dim=1)
        places = torch.arange(len(student), device=student.device)
        return functional.cross_entropy(logits, places)
