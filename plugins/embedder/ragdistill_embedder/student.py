"""The student before it has learnt anything."""

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules.transformer import Transformer
from sentence_transformers.sentence_transformer.modules.pooling import Pooling
from torch import nn

from ragdistill.errors import UserError
from ragdistill.training.pruning import choose_layers, keep_layers, layer_list
from ragdistill_embedder.encoder import Encoder, Prompts


def make_student(base: Encoder, layers: str | None, prompts: Prompts) -> SentenceTransformer:
    """``base`` itself, left with the layers that ``layers`` names and given the teacher's prompts.

    Raises:
        UserError: layers out of range, or an architecture whose layers cannot be left out.
    """
    student = base.model
    if layers is not None:
        transformer = transformer_of(student).auto_model
        keep_layers(transformer, choose_layers(layers, len(layers_of(student))))
    student.prompts = {"query": prompts.query, "document": prompts.passage}
    for module in student.modules():
        if isinstance(module, Pooling):
            module.include_prompt = True  # it learns its own way with the prompt's tokens
    return student


def transformer_of(model: SentenceTransformer) -> Transformer:
    """The transformer at the bottom of a sentence-transformers model.

    Raises:
        UserError: it has none (a static model, say).
    """
    for module in model.modules():
        if isinstance(module, Transformer):
            found: Transformer = module
            return found
    raise UserError(
        "the student has no transformer, so layers cannot be left out",
        where="--student-layers",
        mend="leave --student-layers out, or choose another --student",
    )


def states_of(model: SentenceTransformer) -> int:
    """Dimensions of a token's last state."""
    return int(transformer_of(model).get_embedding_dimension())


def layers_of(model: SentenceTransformer) -> nn.ModuleList:
    """The transformer layers of a sentence-transformers model."""
    return layer_list(transformer_of(model).auto_model)


def without_dropout(model: nn.Module) -> None:
    """Switch dropout off, in place. The teacher's vectors are exact targets, so there is nothing
    to regularise against; and a step without random numbers is the same step after a restart."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name in ("dropout_prob", "attention_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


def freeze_words(model: SentenceTransformer) -> None:
    """Keep the token embeddings as they are, in place. A corpus holds few of the vocabulary's
    words; training only those would move them away from the words that queries will bring. They
    are also most of a small student's weights, so each step and checkpoint gets cheaper."""
    transformer_of(model).auto_model.get_input_embeddings().requires_grad_(False)


def projection(student: int, teacher: int, seed: int) -> nn.Linear | None:
    """A linear map without bias from ``student`` to ``teacher`` dimensions, orthogonal at the
    start; None where the dimensions agree."""
    if student == teacher:
        return None
    layer = nn.Linear(student, teacher, bias=False)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        nn.init.orthogonal_(layer.weight, generator=generator)
    return layer


def parameters(model: nn.Module) -> int:
    """Number of weights."""
    return sum(parameter.numel() for parameter in model.parameters())
