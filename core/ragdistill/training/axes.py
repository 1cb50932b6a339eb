"""The axes along which vectors differ most, so that few of them tell most of the vectors."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Axes:
    """Where a Matryoshka student learns the teacher's vectors."""

    dims: tuple[int, ...]
    """Lengths of the prefixes, longest first."""
    matrix: NDArray[np.float32]
    """``[d_t, dims[0]]``: the teacher's vectors times this are the targets."""


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
