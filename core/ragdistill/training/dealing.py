"""Training steps shared by several processes: each step is the one that a single process would take.

A batch is cut into as many shares as there are processes. Each process embeds its share; then all
gather the outputs of the whole batch and take the whole loss, in which every text meets every
other. As in Chen et al., "A Simple Framework for Contrastive Learning", arXiv:2002.05709, only each
process's own rows carry a gradient; the sum over processes is that of the whole batch.
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, distributed

from ragdistill.training.schedule import Schedule


def dealt(schedule: Iterable[list[int]], count: int, blank: int) -> Schedule:
    """The shares of each batch, one after the other: accelerate deals batch ``k * count + r`` to
    process ``r`` (``BatchSamplerShard``), so step ``k`` is batch ``k`` of ``schedule``.

    A batch of fewer texts than processes leaves some ``[blank]``.
    """
    return Schedule(
        [
            share.tolist() or [blank]
            for batch in schedule
            for share in np.array_split(np.asarray(batch, dtype=np.int64), count)
        ]
    )


def repeated(schedule: Iterable[list[int]], count: int) -> Schedule:
    """Each batch whole for every process: for a loss that is only looked at."""
    return Schedule([batch for batch in schedule for _ in range(count)])


def gathered(own: Tensor) -> Tensor:
    """The rows of all processes ``[sum of b, ...]`` by rank, from ``own`` ``[b, ...]``.

    Other dimensions that differ are filled up with 0. The gradient reaches ``own`` only, times the
    number of processes: their mean, which DistributedDataParallel takes, is then the gradient of the
    whole batch.
    """
    count = distributed.get_world_size()
    shapes = _all(torch.tensor(own.shape, device=own.device), count)
    sizes = torch.stack(shapes).tolist()
    widest = torch.stack(shapes).amax(dim=0).tolist()
    if own.requires_grad:
        own.register_hook(lambda gradient: gradient * count)  # type: ignore[no-untyped-call]
    frame = own.new_zeros([len(own), *widest[1:]])
    frame[tuple(slice(size) for size in own.shape)] = own
    sent = own.new_zeros(widest)
    sent[: len(own)] = frame.detach()
    parts = [part[: size[0]] for part, size in zip(_all(sent, count), sizes, strict=True)]
    parts[distributed.get_rank()] = frame
    return torch.cat(parts)


def _all(tensor: Tensor, count: int) -> list[Tensor]:
    parts = [torch.empty_like(tensor) for _ in range(count)]
    distributed.all_gather(parts, tensor)
    return parts
