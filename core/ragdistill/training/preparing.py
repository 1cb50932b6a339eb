"""A model made ready to learn, whatever it is made for: embedders, rerankers, late interaction."""

from sentence_transformers.base.modules.transformer import Transformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from torch import nn

from ragdistill.errors import UserError
from ragdistill.training.pruning import choose_layers, keep_layers, layer_list


def transformer_of(model: nn.Module) -> Transformer:
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


def layers_of(model: nn.Module) -> nn.ModuleList:
    """The transformer layers of a sentence-transformers model."""
    return layer_list(transformer_of(model).auto_model)


def keep_some(model: nn.Module, layers: str | None) -> None:
    """Leave ``model`` with the layers that ``layers`` names, in place; None for all.

    Raises:
        UserError: layers out of range, or an architecture whose layers cannot be left out.
    """
    if layers is not None:
        transformer = transformer_of(model).auto_model
        keep_layers(transformer, choose_layers(layers, len(layer_list(transformer))))


_RATES = ("dropout_prob", "attention_dropout", "activation_dropout", "dropout", "layerdrop")
"""What networks call rates that they hand to a function, in place of a module (T5, BART, ModernBERT)."""


def without_dropout(model: nn.Module) -> None:
    """Switch dropout off, in place. The teacher's answers are exact targets, so there is nothing
    to regularise against; and a step without random numbers is the same step after a restart."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name in _RATES:
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


def freeze_words(model: nn.Module) -> None:
    """Keep the token embeddings as they are, in place. A corpus holds few of the vocabulary's
    words; training only those would move them away from the words that queries will bring. They
    are also most of a small student's weights, so each step and checkpoint gets cheaper."""
    if not any(isinstance(module, StaticEmbedding) for module in model.modules()):
        transformer_of(model).auto_model.get_input_embeddings().requires_grad_(False)


def parameters(model: nn.Module) -> int:
    """Number of weights."""
    return sum(parameter.numel() for parameter in model.parameters())
