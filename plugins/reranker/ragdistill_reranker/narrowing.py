"""Students of fewer feed-forward neurons: those stay that matter most on what they will read."""

from collections.abc import Iterator, Sequence
from typing import Any

from sentence_transformers.base.model import BaseModel
from torch import Tensor

from ragdistill.errors import UserError
from ragdistill.training.narrowing import narrow_neurons, widths_of
from ragdistill.training.preparing import transformer_of
from ragdistill_reranker.scoring import Pair

_AT_ONCE = 32


def keep_neurons(
    model: BaseModel, neurons: int | None, read: Sequence[str] | Sequence[Pair]
) -> None:
    """Leave ``model`` with so many ``neurons`` in each layer, in place; None for all.

    Args:
        read: what it is measured on which ones matter, texts or pairs; some hundreds do. Without any
            the first are kept: of such a student nothing but its size means anything.

    Raises:
        UserError: it has no more, or its architecture is not understood.
    """
    if neurons is None:
        return
    transformer = transformer_of(model)
    whole: Any = transformer.auto_model
    base = whole.base_model
    if neurons == widths_of(base).neurons:
        raise UserError(
            f"keeps all {neurons} neurons of a layer",
            where="--student-intermediate",
            mend="choose fewer, or leave it out",
        )
    batches = list(_batches(transformer, read, str(base.device)))
    made: Any = narrow_neurons(base, neurons, batches)
    if base is whole:
        transformer.model = made
    else:  # a head of pairs on top of it, which reads the same configuration
        setattr(whole, whole.base_model_prefix, made)
        whole.config = made.config


def _batches(
    transformer: Any, read: Sequence[str] | Sequence[Pair], device: str
) -> Iterator[dict[str, Tensor]]:
    for start in range(0, len(read), _AT_ONCE):
        part = read[start : start + _AT_ONCE]
        sides = (
            [list(part)]
            if isinstance(part[0], str)
            else [list(side) for side in zip(*part, strict=True)]
        )
        found = transformer.tokenizer(
            *sides,
            padding=True,
            truncation="longest_first",
            max_length=transformer.max_seq_length,
            return_tensors="pt",
        )
        yield dict(found.to(device))
