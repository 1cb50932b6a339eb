"""Matryoshka students: vectors that can be cut after some of their dimensions.

No teacher's axes need be made for cutting. So its vectors are first mapped onto axes on which each
prefix ranks as the whole does, and the student learns them there. The same map takes a teacher of
more dimensions down to the student's.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

from ragdistill.data.sampling import sample
from ragdistill.data.training_texts import TrainText
from ragdistill.errors import UserError
from ragdistill.metrics.indexes import unit_prefix
from ragdistill.metrics.ranking import search_ms
from ragdistill.metrics.retrieval import Task, Vectors, quality, rank, write_rankings
from ragdistill.metrics.trec import Rankings
from ragdistill.training.axes import Axes, ranking_axes
from ragdistill_embedder.setup import Setup
from ragdistill_embedder.student import append_map, orthogonal

_TEXTS_FOR_AXES = 20_000
_FLOAT_BYTES = 4
Dims = tuple[int, ...]


def parse_dims(text: str | None, teacher: int) -> Dims:
    """``"384,128"`` as lengths, longest first; none where there is no text.

    Raises:
        UserError: no whole numbers, one twice, one below 1 or above the ``teacher``'s dimensions.
    """
    if text is None:
        return ()
    mend = f"name numbers of dimensions up to the teacher's {teacher}, as {teacher},{teacher // 2}"
    try:
        dims = sorted((int(part) for part in text.split(",")), reverse=True)
    except ValueError as error:
        raise UserError(
            f"{text!r} is no list of whole numbers", where="--dims", mend=mend
        ) from error
    if dims[-1] < 1 or dims[0] > teacher:
        wrong = dims[-1] if dims[-1] < 1 else dims[0]
        raise UserError(f"no vector has a prefix of {wrong} dimensions", where="--dims", mend=mend)
    if twice := [one for one, other in pairwise(dims) if one == other]:
        raise UserError(f"{twice[0]} is named twice", where="--dims", mend=mend)
    return tuple(dims)


def find_axes(setup: Setup, texts: Sequence[TrainText], dims: Dims, seed: int) -> Axes:
    """The axes that suit the teacher's stored vectors of ``texts``."""
    drawn = sample(texts, _TEXTS_FOR_AXES, seed, key=lambda item: f"{item.role} {item.text}")
    vectors = [
        setup.stored([item.text for item in drawn if item.role == role], role)
        for role in setup.by_role
    ]
    return ranking_axes(np.concatenate(vectors), dims, seed)


def turn(student: SentenceTransformer, axes: Axes, seed: int, start: Tensor | None = None) -> None:
    """Give ``student`` the map onto ``axes``, in place, after all that shapes its vectors.

    With a map ``start`` ``[d_t, d]`` into the teacher's space it begins with that and the axes, and
    one of the teacher's width with the axes themselves: made of the teacher's layers, it begins
    where its targets are.
    """
    wide, narrow = axes.matrix.shape
    width = int(student.get_embedding_dimension() or 0)
    onto = torch.from_numpy(axes.matrix.T)
    if start is not None:
        append_map(student, onto @ start)
    elif width == wide:
        append_map(student, onto)
    else:
        append_map(student, orthogonal(narrow, width, seed))


def measure(
    folder: Path,
    task: Task,
    teacher: Rankings,
    vectors: tuple[Vectors, Vectors],
    dims: Dims,
    seed: int,
) -> dict[str, Any]:
    """Each prefix's quality against the whole teacher, bytes of a document's vector in float32, and
    milliseconds of an exact search in this corpus; leaves ``rankings/student-M.trec``.

    Args:
        vectors: the student's of queries ``[q, d]`` and documents ``[n, d]``.
    """
    found: dict[str, Any] = {}
    for length in dims:
        queries, documents = (unit_prefix(part, length) for part in vectors)
        ranked = rank(task, queries, documents)
        write_rankings(folder, task, {f"student-{length}": ranked})
        found[str(length)] = {
            "bytes_per_document": _FLOAT_BYTES * length,
            "search_ms": search_ms(queries, documents),
            "quality": quality(task.qrels, teacher, ranked, seed),
        }
    return found


def rankings_of(dims: Dims) -> tuple[str, ...]:
    """Names of the files that :func:`measure` leaves."""
    return tuple(f"rankings/student-{length}.trec" for length in dims)
