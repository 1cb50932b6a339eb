"""Are the queries still those that were distilled on? A test in the space of embeddings.

The energy distance of two samples, ``2 E|X - Y| - E|X - X'| - E|Y - Y'|``, is 0 only for the same
distribution (Székely and Rizzo: Energy statistics, Journal of Statistical Planning and Inference 143,
2013). It is the maximum mean discrepancy of the distance kernel (arXiv:1207.6076), and unlike a
Gaussian one it has no width to be chosen. Its p-value is by permutation, exact for any distribution.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from ragdistill.errors import UserError

Vectors = NDArray[np.float64]

MOST = 500
"""Vectors of each sample that are compared, drawn with the seed. With many more, shifts are found that
no student would notice."""
PERMUTATIONS = 999


@dataclass(frozen=True, slots=True)
class Drift:
    """How far two samples of queries are from each other."""

    energy: float
    """The energy distance, in units of the vectors."""
    share: float
    """Of the mean distance between the samples: 0 for the same distribution, 1 for two points."""
    p: float
    compared: tuple[int, int]
    drifted: bool
    advice: str

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"compared": list(self.compared)}


def drift(reference: Vectors, recent: Vectors, seed: int, alpha: float = 0.01) -> Drift:
    """Compare queries of now with those distilled on.

    Args:
        reference: vectors of queries that the student was taught or judged on ``[n, d]``.
        recent: vectors of queries by the same model ``[m, d]``.

    Raises:
        ValueError: other dimensions, fewer than two vectors, or a value that is not finite.
    """
    if reference.ndim != 2 or recent.ndim != 2 or reference.shape[1] != recent.shape[1]:
        raise ValueError(f"not vectors of one space: {reference.shape} and {recent.shape}")
    if min(len(reference), len(recent)) < 2:
        raise ValueError("fewer than two vectors")
    if not (np.isfinite(reference).all() and np.isfinite(recent).all()):
        raise ValueError("a vector has a value that is NaN or infinite")
    random = np.random.default_rng(seed)
    first, second = _drawn(reference, random), _drawn(recent, random)
    pooled = np.concatenate([first, second])
    distances = cdist(pooled, pooled)
    weights = np.repeat([1 / len(first), -1 / len(second)], [len(first), len(second)])
    shuffled = random.permuted(np.tile(weights, (PERMUTATIONS, 1)), axis=1)
    energy, others = _energy(weights[None], distances)[0], _energy(shuffled, distances)
    # What rounding makes of equal values does not count as more.
    p = (1 + np.count_nonzero(others >= energy * (1 - 1e-9))) / (1 + PERMUTATIONS)
    between = float(distances[: len(first), len(first) :].mean())
    share = float(energy / (2 * between)) if between else 0.0
    sizes = len(first), len(second)
    found = bool(p <= alpha)
    return Drift(float(energy), share, float(p), sizes, found, _advice(found, share, float(p)))


def _drawn(vectors: Vectors, random: np.random.Generator) -> Vectors:
    if len(vectors) <= MOST:
        return vectors
    return vectors[random.choice(len(vectors), MOST, replace=False)]


def _energy(weights: Vectors, distances: Vectors) -> Vectors:
    """``-w' D w`` of each row ``[p, n] -> [p]``: the three means at once."""
    return np.asarray(-np.einsum("pn,pn->p", weights @ distances, weights))


def _advice(drifted: bool, share: float, p: float) -> str:
    seen = f"{share:.1%} of the distance between them, p {p:.3g}"
    if drifted:
        return f"re-distil: the queries are no longer those that were distilled on ({seen})"
    return f"no drift of the queries is seen ({seen})"


def read_vectors(path: Path) -> Vectors:
    """The vectors of a .npy file ``[n, d]``, as ``ragdistill embed`` writes one.

    Raises:
        UserError: it is missing, no array of vectors, or has a value that is not finite.
    """
    try:
        with path.open("rb") as stream:
            found = np.lib.format.read_array(stream, allow_pickle=False)
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=path) from error
    except (ValueError, EOFError) as error:
        raise UserError(
            "is no array of vectors", where=path, mend="write one with ragdistill embed"
        ) from error
    if found.ndim != 2 or found.dtype.kind != "f" or len(found) < 2 or not found.shape[1]:
        raise UserError(
            f"holds {found.dtype} {list(found.shape)}, not two vectors or more [n, d]", where=path
        )
    vectors = found.astype(np.float64)
    if not np.isfinite(vectors).all():
        raise UserError("has a value that is NaN or infinite", where=path, mend="embed anew")
    return vectors
