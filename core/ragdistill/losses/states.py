"""The student's token states follow the teacher's, told as means of runs of tokens.

Hidden-state distillation as in TinyBERT, arXiv:1909.10351, between models that cut a text into the
same tokens. The mean of each run of ``window`` tokens stands in for its tokens: it holds most of
what they say in a fraction of the space, so that it can be stored.
"""

import torch
from torch import Tensor


def window_means(states: Tensor, mask: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Means over runs of ``window`` tokens; padding, on whichever side, belongs to none.

    Args:
        states: one vector a token, ``[b, l, d]``.
        mask: 1 for a token, 0 for padding, ``[b, l]``.
        window: tokens of a run; the last of a text may be shorter.

    Returns:
        Means ``[b, w, d]``, zero where a text has fewer runs, and the number of tokens in each
        run, ``[b, w]``; ``w`` is the number of runs of the longest text.
    """
    real = mask.to(torch.bool)
    run = ((real.cumsum(dim=1) - 1) // window).clamp(min=0)
    runs = torch.arange(int(run.max()) + 1, device=run.device)
    member = (run.unsqueeze(-1) == runs) & real.unsqueeze(-1)
    counts = member.sum(dim=1)
    # As a product of matrices: unlike a scatter, it is the same from call to call on any device.
    # In full precision: a mean of eight is to be closer than the states are.
    with torch.autocast(states.device.type, enabled=False):
        wide = states.to(torch.promote_types(states.dtype, torch.float32))
        sums = member.to(wide.dtype).transpose(1, 2) @ wide
    return sums / counts.clamp(min=1).unsqueeze(-1), counts


def state_regression(student: Tensor, teacher: Tensor, counts: Tensor) -> Tensor:
    """Squared distance of the means, weighted by their tokens, over the teacher's squared length;
    the mean over texts.

    Args:
        student: means ``[b, w, d]`` from :func:`window_means`.
        teacher: the teacher's of the same texts, ``[b, w, d]``; no gradient flows into them.
        counts: tokens of each run, ``[b, w]``, 0 where a text has fewer runs.

    Returns:
        Scalar; 0 where student and teacher agree, 1 for a student of all zeros.
    """
    if student.shape != teacher.shape or student.shape[:2] != counts.shape:
        raise ValueError(
            f"student states {tuple(student.shape)} against teacher states {tuple(teacher.shape)} "
            f"with counts {tuple(counts.shape)}: the tokens are not the same"
        )
    target = teacher.detach()
    wide = torch.promote_types(student.dtype, torch.float32)
    distance = (student.to(wide) - target).square().sum(dim=-1)
    length = target.to(wide).square().sum(dim=-1)
    weights = counts.to(wide)
    # A text without any token has neither distance nor length.
    whole = (weights * length).sum(dim=1).clamp(min=torch.finfo(wide).tiny)
    return ((weights * distance).sum(dim=1) / whole).mean()
