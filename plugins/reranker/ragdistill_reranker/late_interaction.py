"""A student that keeps a vector for each token (ColBERT, arXiv:2004.12832), made of a sentence embedder.

Its token states already point where its pooled vector does, so they rank before anything is trained.
To fewer dimensions they are taken by the axes on which they spread most: of all maps to so many
dimensions those change cosines between tokens least, where a map that is drawn at random has to be learnt from
nothing.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules.dense import Dense
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from sentence_transformers.sentence_transformer.modules import Normalize
from sentence_transformers.util import batch_to_device
from torch import Tensor

from ragdistill.encoder import load_encoder
from ragdistill.errors import UserError

_AT_ONCE = 64


def make_late_interaction(
    base: Path, dimensions: int, texts: Sequence[str], device: str
) -> MultiVectorEncoder:
    """The embedder in ``base`` as one that keeps ``dimensions`` of each token.

    Args:
        texts: what its tokens are measured on; some hundreds do.

    Raises:
        UserError: it has fewer dimensions.
    """
    encoder = load_encoder(base, device)
    transformer: Any = encoder.model[0]
    hidden = int(transformer.get_embedding_dimension())
    if not 0 < dimensions <= hidden:
        raise UserError(
            f"{dimensions} dimensions are not among the {hidden} that {base.name} has a token",
            where="--token-dims",
            mend=f"give up to {hidden}",
        )
    # The library takes the name of the module's output from where it is used.
    dense = Dense(
        hidden,
        dimensions,
        bias=False,
        activation_function=torch.nn.Identity(),
        module_input_name="token_embeddings",
    )
    with torch.no_grad():
        dense.linear.weight.copy_(principal_axes(_states(encoder.model, texts), dimensions))
    modules = [
        transformer,
        dense,
        MultiVectorMask(),
        Normalize(module_input_name="token_embeddings"),
    ]
    return MultiVectorEncoder(modules=modules, device=str(encoder.model.device))


def principal_axes(states: Tensor, dimensions: int) -> Tensor:
    """The eigenvectors of the second moment of ``states`` ``[tokens, h]`` (as unit vectors) with the
    largest eigenvalues, ``[dimensions, h]``: with all of them, a rotation."""
    unit = torch.nn.functional.normalize(states.double(), dim=-1)
    _, vectors = torch.linalg.eigh(unit.T @ unit)
    axes = vectors[:, -dimensions:].T.flip(0)
    # An eigenvector has two signs; which comes out depends on the machine.
    signs = axes.gather(1, axes.abs().argmax(dim=1, keepdim=True)).sign()
    turned: Tensor = (axes * signs).float()
    return turned


@torch.inference_mode()
def _states(model: Any, texts: Sequence[str]) -> Tensor:
    """States of all tokens of ``texts``, ``[tokens, h]``."""
    found = []
    for start in range(0, len(texts), _AT_ONCE):
        features = model[0].preprocess(list(texts[start : start + _AT_ONCE]))
        said = model[0](batch_to_device(features, model.device))
        found.append(said["token_embeddings"][said["attention_mask"].bool()].cpu())
    return torch.cat(found)
