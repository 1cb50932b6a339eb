"""The student before it has learnt anything."""

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


def reach(model: SentenceTransformer, dimensions: int, seed: int) -> None:
    """Map the vectors of ``model`` into a space of so many ``dimensions``, in place, where they are
    not in one: the map is part of the student, saved and exported with it."""
    width = int(model.get_embedding_dimension() or 0)
    if width != dimensions:
        append_map(model, orthogonal(dimensions, width, seed))


def orthogonal(rows: int, columns: int, seed: int) -> Tensor:
    """A map ``[rows, columns]`` that keeps all angles it can, drawn with ``seed``."""
    weight = torch.empty(rows, columns)
    nn.init.orthogonal_(weight, generator=torch.Generator().manual_seed(seed))
    return weight


def projection(student: int, teacher: int, seed: int) -> nn.Linear | None:
    """A linear map without bias from ``student`` to ``teacher`` dimensions, orthogonal at the
    start; None where the dimensions agree."""
    if student == teacher:
        return None
    layer = nn.Linear(student, teacher, bias=False)
    with torch.no_grad():
        layer.weight.copy_(orthogonal(teacher, student, seed))
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
