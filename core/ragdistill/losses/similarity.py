"""The student ranks the texts of a batch by similarity as the teacher does.

Relational distillation in the form of a distribution: Tung and Mori, "Similarity-Preserving
Knowledge Distillation", arXiv:1907.09682, with the row softmax of SEED, arXiv:2101.04731. Nothing
but similarities is compared, so the dimensions of student and teacher may differ. It differs from
SEED in that the batch itself is the queue, and a text is not compared with itself.
"""

import torch
from torch import Tensor
from torch.nn import functional


def similarity_kl(student: Tensor, teacher: Tensor, temperature: float = 0.05) -> Tensor:
    """``KL(teacher || student)`` of the distributions over the other texts of the batch.

    Row ``i`` is the softmax over ``j != i`` of ``cos(x_i, x_j) / temperature``; the loss is the
    mean over rows. The gradient is scaled neither by the temperature nor by its square.

    Args:
        student: vectors ``[b, d_s]``.
        teacher: vectors ``[b, d_t]`` of the same texts; no gradient flows into them.
        temperature: of both sides; smaller looks at nearer neighbours only.

    Returns:
        Scalar >= 0; 0 where all similarities agree, and for batches of fewer than three texts,
        whose rows have one entry.
    """
    if len(student) != len(teacher):
        raise ValueError(f"{len(student)} student vectors against {len(teacher)} teacher vectors")
    if len(student) < 3:
        return student.sum() * 0.0
    with torch.no_grad():
        target = _log_rows(teacher, temperature)
    return functional.kl_div(
        _log_rows(student, temperature), target, log_target=True, reduction="batchmean"
    )


def _log_rows(vectors: Tensor, temperature: float) -> Tensor:
    """Log-softmax over the other texts: ``[b, d]`` -> ``[b, b - 1]``."""
    count = len(vectors)
    others = ~torch.eye(count, dtype=torch.bool, device=vectors.device)
    # In full precision: bfloat16 is off by 0.004 in a cosine, a tenth after the temperature.
    with torch.autocast(vectors.device.type, enabled=False):
        wide = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
        unit = functional.normalize(wide, dim=-1)
        similarities = (unit @ unit.T)[others].view(count, count - 1)
        return functional.log_softmax(similarities / temperature, dim=-1)
