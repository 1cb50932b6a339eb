"""Where a student made of the teacher's layers begins, if the teacher's vectors are not those layers'
own: behind its pooling there may be maps that the student has not.

Token states hold such a student where the layers were. A map drawn at random would have it look for
the teacher's space from there, and the steps that this takes are missing in the end. What follows
the layers need not be known: on some texts it is seen what comes of it.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ragdistill.data.sampling import sample
from ragdistill.encoder import Encoder
from ragdistill.metrics.retrieval import Vectors
from ragdistill_embedder.lesson import tokenised
from ragdistill_embedder.panel import unit
from ragdistill_embedder.setup import Setup

_TEXTS_A_DIMENSION = 2


def map_to_teacher(setup: Setup, whole: Callable[[], Encoder]) -> Tensor | None:
    """The map ``[d_t, d_s]`` from the student's vectors to the teacher's, as its layers have it before
    any is left out; None where there is none to be found, or none needed: no layers are shared or not
    the whole width of them, or the student is of the very model that teaches.

    Args:
        whole: makes the student with all its layers.
    """
    same = setup.base.weights_digest == setup.teacher.digest
    if same or setup.config.narrower or not setup.shares_layers:
        return None
    student = whole()
    count = _TEXTS_A_DIMENSION * student.dimensions
    drawn = sample(setup.texts, count, setup.config.seed, key=lambda item: item.text)
    said = np.empty((len(drawn), student.dimensions), dtype=np.float32)
    for places, answer in student.batches(tokenised(student, drawn, setup.by_role)):
        said[places] = answer.vectors
    return nearest_map(unit(said), setup.stored_all(drawn))


def nearest_map(vectors: Vectors, wanted: Vectors) -> Tensor:
    """The linear map ``[d_t, d_s]`` that takes ``vectors`` ``[n, d_s]`` nearest to what is ``wanted``
    of them, ``[n, d_t]``, both of length 1.

    The squares are least around the nearest map that keeps angles (orthogonal Procrustes;
    Schönemann, 1966), which weighs as much as one text in each direction: it stands where few texts
    or none tell anything.
    """
    known, told = (torch.from_numpy(part).double() for part in (vectors, wanted))
    left, _, right = torch.linalg.svd(known.T @ told, full_matrices=False)
    rigid = left @ right  # [d_s, d_t]
    seen = known.T @ known + torch.eye(known.shape[1], dtype=known.dtype)
    found: Tensor = rigid + torch.linalg.solve(seen, known.T @ (told - known @ rigid))
    return found.T.float().contiguous()
