"""The student before it has learnt anything."""

import json
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules.dense import Dense
from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding
from sentence_transformers.sentence_transformer.modules.pooling import Pooling
from torch import Tensor, nn

from ragdistill.encoder import Encoder, Prompts, is_static, is_table
from ragdistill.training.preparing import keep_some, transformer_of


def make_student(base: Encoder, layers: str | None, prompts: Prompts) -> SentenceTransformer:
    """``base`` itself, left with the layers that ``layers`` names and given the teacher's prompts.

    Raises:
        UserError: layers out of range, or an architecture whose layers cannot be left out.
    """
    student = base.model
    keep_some(student, layers)
    student.prompts = {"query": prompts.query, "document": prompts.passage}
    for module in student.modules():
        if isinstance(module, Pooling):
            module.include_prompt = True  # it learns its own way with the prompt's tokens
    return student


def states_of(model: SentenceTransformer) -> int:
    """Dimensions of a token's last state."""
    return int(transformer_of(model).get_embedding_dimension())


def append_map(model: SentenceTransformer, weight: Tensor) -> None:
    """Give ``model`` the linear map ``weight`` ``[m, d]``, in place, after all that shapes its
    vectors and before what scales them to length 1. In a table of tokens each token is mapped, which
    comes to the same."""
    if is_table(model):
        bags: Any = model[0]
        mapped = bags.embedding.weight.detach() @ weight.T.to(model.device)
        model[0] = StaticEmbedding(bags.tokenizer, embedding_weights=mapped.contiguous())
        model.to(model.device)
        return
    narrow, wide = weight.shape
    dense = Dense(wide, narrow, bias=False, activation_function=nn.Identity())
    with torch.no_grad():
        dense.linear.weight.copy_(weight)
    last = len(model)
    while isinstance(model[last - 1], Normalize):
        last -= 1
    model.insert(last, dense.to(model.device))


def reach(
    model: SentenceTransformer, dimensions: int, seed: int, start: Tensor | None = None
) -> None:
    """Map the vectors of ``model`` into a space of so many ``dimensions``, in place, where they are
    not in one: the map is part of the student, saved and exported with it. It begins as ``start``
    ``[dimensions, d]``, or without one orthogonal."""
    width = int(model.get_embedding_dimension() or 0)
    if width != dimensions:
        append_map(model, orthogonal(dimensions, width, seed) if start is None else start)


def orthogonal(rows: int, columns: int, seed: int) -> Tensor:
    """A map ``[rows, columns]`` that keeps all angles it can, drawn with ``seed``."""
    weight = torch.empty(rows, columns)
    nn.init.orthogonal_(weight, generator=torch.Generator().manual_seed(seed))
    return weight


def projection(
    student: int, teacher: int, seed: int, start: Tensor | None = None
) -> nn.Linear | None:
    """A linear map without bias from ``student`` to ``teacher`` dimensions, which begins as ``start``
    ``[teacher, student]``, or without one orthogonal; None where the dimensions agree."""
    if student == teacher:
        return None
    layer = nn.Linear(student, teacher, bias=False)
    with torch.no_grad():
        layer.weight.copy_(orthogonal(teacher, student, seed) if start is None else start)
    return layer


def same_transformer(one: SentenceTransformer, other: SentenceTransformer) -> bool:
    """Whether both have the same transformer, weight for weight, whatever follows it."""
    if is_static(one) or is_static(other):
        return False
    mine, theirs = (transformer_of(model).auto_model.state_dict() for model in (one, other))
    return mine.keys() == theirs.keys() and all(
        weight.shape == theirs[name].shape and bool((weight == theirs[name]).all())
        for name, weight in mine.items()
    )


def same_tokens(student: Encoder, teacher: Encoder) -> bool:
    """Whether a ``student`` that is cut where the ``teacher`` is has the same tokens of any text, by
    what their tokenizers do, not by their files. Of one whose rules cannot be read nothing is known."""
    rules = [_rules(encoder.tokenizer) for encoder in (student, teacher)]
    return (
        student.max_length >= teacher.max_length and rules[0] is not None and rules[0] == rules[1]
    )


def _rules(tokenizer: Any) -> dict[str, Any] | None:
    """Everything that makes tokens of a text, but for where it is cut, which each call tells."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    told: dict[str, Any] = json.loads(backend.to_str())
    return {
        **{key: value for key, value in told.items() if key not in ("truncation", "padding")},
        "cut": tokenizer.truncation_side,
    }
