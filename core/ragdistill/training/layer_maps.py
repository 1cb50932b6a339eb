"""Which of the teacher's layers each of the student's follows.

``uniform``: the student's layer m follows layer m * L / l of the teacher's, its last the last (TinyBERT,
arXiv:1909.10351). ``skip`` is that without the last, whose states the answers already teach, and
``last`` are the layers right before the last (both of PKD, arXiv:1908.09355). ``learned``: each layer follows
all, in shares that are trained along.
"""

from collections.abc import Mapping
from typing import Literal

from ragdistill.errors import UserError

LayerMap = Literal["uniform", "skip", "last", "learned"]


def mapped(kind: LayerMap, ours: int, theirs: int) -> Mapping[int, tuple[int, ...]]:
    """Numbers of the student's layers that follow, from 0, each with those of the teacher's that it
    follows.

    Args:
        kind: as above.
        ours: how many layers the student has.
        theirs: the teacher.

    Raises:
        UserError: no layer is left that could follow one.
    """
    if kind == "learned":
        return {number: tuple(range(theirs)) for number in range(ours)}
    if kind == "uniform":
        return {number: (_spread(number, ours, theirs),) for number in range(ours)}
    if ours < 2 or (kind == "last" and ours > theirs):
        raise UserError(
            f"of {ours} layers none follows the {theirs} of the teacher as {kind!r} has it",
            where="--layer-map",
            mend="give uniform",
        )
    if kind == "skip":
        return {number: (_spread(number, ours, theirs),) for number in range(ours - 1)}
    return {number: (theirs - ours + number,) for number in range(ours - 1)}


def _spread(number: int, ours: int, theirs: int) -> int:
    return max(1, round((number + 1) * theirs / ours)) - 1
