"""A student that keeps a vector for each token (ColBERT, arXiv:2004.12832), made of a sentence embedder.

Its token states already point where its pooled vector does, so they rank before anything is trained.
To fewer dimensions they are taken by the axes on which they spread most: of all maps to so many
dimensions those change cosines between tokens least, where a map that is drawn at random has to be learnt from
nothing.

It reads texts as colbert-ai does, which serves it then (:mod:`ragdistill_reranker.colbert_checkpoint`): a marker
behind the first token says whether a query or a document follows, queries are cut, and where wanted padded with the
mask token, to one length, and the punctuation of documents is read but not kept.
"""

import string
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
from transformers import AddedToken

from ragdistill.encoder import Encoder, is_static, load_encoder
from ragdistill.errors import UserError
from ragdistill.training.preparing import keep_some
from ragdistill_reranker.narrowing import keep_neurons

MARKERS = {"query": "[unused0]", "document": "[unused1]"}
"""The tokens that stand for ``[Q]`` and ``[D]``: BERT has them in its vocabulary, for such uses."""
_AT_ONCE = 64
QUERY_LENGTH, DOCUMENT_LENGTH = 32, 300
"""Tokens after which a query and a document are cut unless that is said, as colbert-ai cuts them."""


def make_late_interaction(
    base: Path,
    dimensions: int | None,
    texts: Sequence[str],
    device: str,
    *,
    layers: str | None = None,
    neurons: int | None = None,
    query_length: int = QUERY_LENGTH,
    document_length: int = DOCUMENT_LENGTH,
    expanded: bool = False,
) -> MultiVectorEncoder:
    """The embedder in ``base`` as one that keeps ``dimensions`` of each token.

    Args:
        dimensions: None for as many as it has: fewer rank worse before training, and codes make indexes
            smaller for less (benchmarks/LOG.md).
        texts: what its tokens are measured on; some hundreds do.
        layers: which of its layers are kept, as ``--student-layers`` has it; None for all.
        neurons: how many of each layer's neurons are kept; None for all.
        query_length: tokens after which a query is cut, marks of its ends included.
        document_length: those of a document; no more than the embedder itself reads.
        expanded: whether queries are filled up to ``query_length`` with mask tokens, whose vectors
            are compared too (ColBERT's query augmentation).

    Raises:
        UserError: it has fewer dimensions.
    """
    encoder = load_reader(base, device)
    keep_some(encoder.model, layers)
    keep_neurons(encoder.model, neurons, texts)
    transformer: Any = encoder.model[0]
    dimensions = _checked(dimensions, int(transformer.get_embedding_dimension()), base)
    axes = principal_axes(_states(encoder.model, texts), dimensions)
    prompts = _marked(encoder.model)
    transformer.document_length = min(document_length, encoder.max_length)
    if expanded:
        transformer.query_expansion = {"strategy": "fixed", "length": query_length}
    else:
        transformer.query_length = query_length
    modules = [
        transformer,
        _projection(axes),
        MultiVectorMask(skiplist_words=punctuation(encoder.tokenizer)),
        Normalize(module_input_name="token_embeddings"),
    ]
    return MultiVectorEncoder(modules=modules, prompts=prompts, device=str(encoder.model.device))


def load_reader(base: Path, device: str) -> Encoder:
    """The embedder in ``base``, which reads a token by those around it.

    Raises:
        UserError: it does not load, or is a table of token vectors.
    """
    encoder = load_encoder(base, device)
    if is_static(encoder.model):
        raise UserError(
            "is a table of token vectors, which does not read, and learns no ranking here",
            where=base,
            mend="name a transformer with --student-model; ragdistill embedder makes static students",
        )
    return encoder


def _checked(dimensions: int | None, hidden: int, base: Path) -> int:
    """So many of the ``hidden`` dimensions of a token; None for all."""
    wanted = hidden if dimensions is None else dimensions
    if not 0 < wanted <= hidden:
        raise UserError(
            f"{wanted} dimensions are not among the {hidden} that {base.name} has a token",
            where="--token-dims",
            mend=f"give up to {hidden}",
        )
    return wanted


def punctuation(tokenizer: Any) -> list[str]:
    """The tokens that colbert-ai leaves out of documents: the first of each mark of punctuation."""
    firsts = {tokenizer.encode(mark, add_special_tokens=False)[0] for mark in string.punctuation}
    words: list[str] = tokenizer.convert_ids_to_tokens(sorted(firsts))
    return words


def token_features(model: MultiVectorEncoder, texts: Sequence[str], task: str) -> dict[str, Any]:
    """Padded inputs of ``query`` or ``document`` texts, marked as ``encode_query`` and
    ``encode_document`` mark them, ``[b, l]``."""
    return dict(model.preprocess(list(texts), prompt=model.prompts.get(task), task=task))


def _marked(model: Any) -> dict[str, str]:
    """Prompts of one token, put in where nothing is lost by it before anything is trained.

    A token that no training has seen is noise to all others: it begins as the mean of all. And what
    follows it keeps the place that it was trained in: a model that learnt positions has them moved.
    """
    tokenizer, inner = model.tokenizer, model[0].model
    added = [AddedToken(token, normalized=False, special=True) for token in MARKERS.values()]
    tokenizer.add_tokens(added, special_tokens=True)
    if len(tokenizer) > inner.get_input_embeddings().num_embeddings:
        inner.resize_token_embeddings(len(tokenizer))
    tokens = inner.get_input_embeddings().weight
    positions = getattr(getattr(inner, "embeddings", None), "position_embeddings", None)
    with torch.no_grad():
        tokens[tokenizer.convert_tokens_to_ids(list(MARKERS.values()))] = tokens.mean(dim=0)
        if positions is not None:
            first = 0 if positions.padding_idx is None else positions.padding_idx + 1
            positions.weight[first + 1 :] = positions.weight[first:-1].clone()
    return {task: f"{token} " for task, token in MARKERS.items()}


def _projection(axes: Tensor) -> Dense:
    """States to their shares of ``axes`` ``[d, h]``."""
    dimensions, hidden = axes.shape
    # The library takes the name of the module's output from where it is used.
    return Dense(
        hidden,
        dimensions,
        bias=False,
        activation_function=torch.nn.Identity(),
        init_weight=axes.contiguous(),
        module_input_name="token_embeddings",
    )


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
