"""Axes on which few coordinates tell most of a vector."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from ragdistill.losses import over_prefixes, similarity_kl

_STEPS = 200
_BATCH = 1024
_LR = 2e-3
_TEMPERATURE = 0.05


@dataclass(frozen=True)
class Axes:
    """Where a Matryoshka student learns the teacher's vectors."""

    dims: tuple[int, ...]
    """Lengths of the prefixes, longest first."""
    matrix: NDArray[np.float32]
    """``[d_t, dims[0]]``: the teacher's vectors times this are the targets."""


def ranking_axes(vectors: NDArray[np.float32], dims: Sequence[int], seed: int) -> Axes:
    """Axes on which each prefix ranks texts by similarity as the whole vectors do, as nearly as a
    linear map can.

    Principal axes keep inner products of all texts equally well; a ranking is decided among the
    nearest. So they are only where the search begins: the map goes on to lower the divergence of
    each prefix's neighbours from the whole vector's (:func:`ragdistill.losses.similarity_kl`) on
    batches drawn with ``seed``. After Yoon et al., "Matryoshka-Adaptor", arXiv:2407.20243, which
    compares similarities by their difference.

    Args:
        vectors: unit vectors ``[n, d]``.
        dims: lengths of the prefixes, longest first, none above ``d``.
    """
    start = torch.from_numpy(principal_axes(vectors, dims[0]))
    matrix, known = torch.nn.Parameter(start.clone()), torch.from_numpy(vectors)
    draw = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam([matrix], lr=_LR)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _decay)
    kl = partial(similarity_kl, temperature=_TEMPERATURE)
    for _ in range(_STEPS):
        batch = known[torch.randperm(len(known), generator=draw)[:_BATCH]]
        loss = over_prefixes(kl, batch @ matrix, batch, dims, cut_teacher=False)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return Axes(tuple(dims), np.ascontiguousarray(matrix.detach().numpy()))


def _decay(step: int) -> float:
    """A short warm-up, then half a cosine."""
    return min(1.0, (step + 1) / 20) * 0.5 * (1 + math.cos(math.pi * step / _STEPS))


def principal_axes(vectors: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """The ``count`` orthonormal axes that keep most of the inner products of ``vectors``.

    These are the eigenvectors of the second moment, greatest eigenvalue first, each signed so that
    its largest component is positive. Nothing is centred: a cosine is measured from the origin
    (Eckart and Young, 1936).

    Args:
        vectors: ``[n, d]``; unit vectors where they are compared by the cosine.
        count: how many axes, at most ``d``.

    Returns:
        ``[d, count]``: ``vectors @ axes`` are the coordinates. With ``count == d`` a rotation, which
        changes no inner product.
    """
    if not 1 <= count <= vectors.shape[1]:
        raise ValueError(f"{count} axes of vectors of {vectors.shape[1]} dimensions")
    wide = vectors.astype(np.float64)
    _, found = np.linalg.eigh(wide.T @ wide)
    axes = found[:, ::-1][:, :count]
    largest = np.abs(axes).argmax(axis=0)
    axes = axes * np.sign(axes[largest, np.arange(count)])
    return np.ascontiguousarray(axes, dtype=np.float32)
