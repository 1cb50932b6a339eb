"""A late-interaction student learns lists in the memory of a few documents.

A list of 32 documents is 32 times the activations of one. Here tokens are embedded in chunks and embedded
again for their gradient (GradCache, :mod:`ragdistill.training.gradcache`), and compared one query at a time
(:mod:`ragdistill.losses.maxsim`): loss and gradients are those of the whole batch.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from sentence_transformers import MultiVectorEncoder
from torch import Tensor

from ragdistill.batching import token_budget_batches
from ragdistill.losses import maxsim
from ragdistill.training.gradcache import cached_loss

Features = dict[str, Any]
Chunk = tuple[str, list[int]]
"""``query`` or ``document``, and places among the texts of that kind."""


def list_loss(
    model: MultiVectorEncoder,
    queries: Features,
    documents: Features,
    ways: int,
    score_loss: Callable[[Tensor], Tensor],
    *,
    chunk_tokens: int,
) -> Tensor:
    """``score_loss`` of the MaxSim scores ``[b, ways]``; its ``backward`` needs the memory of one chunk.

    Args:
        model: without dropout, for it embeds twice.
        queries: padded inputs of b queries, ``[b, l]``.
        documents: those of their lists behind one another, ``[b * ways, l]``.
        ways: documents in a list.
        score_loss: of scores ``[b, ways]`` to a scalar.
        chunk_tokens: padded tokens whose activations are held at once.
    """
    inputs = {"query": queries, "document": documents}
    chunks: list[Chunk] = []
    for task, features in inputs.items():
        sizes = _read(features).sum(dim=1).tolist()
        chunks += [(task, part) for part in token_budget_batches(sizes, chunk_tokens)]
    lengths = {task: [0] * len(part["attention_mask"]) for task, part in inputs.items()}

    def embed(chunk: Chunk) -> Tensor:
        task, places = chunk
        said = model(_part(inputs[task], places), task=task)
        mask = said["attention_mask"].bool()
        for place, count in zip(places, mask.sum(dim=1).tolist(), strict=True):
            lengths[task][place] = count
        tokens: Tensor = said["token_embeddings"][mask]
        return tokens

    def loss(tokens: Tensor) -> Tensor:
        order = _in_order(chunks, lengths)
        asked, told = (tokens[order[task]] for task in inputs)
        rows = [
            lengths["document"][at : at + ways] for at in range(0, len(lengths["document"]), ways)
        ]
        return score_loss(maxsim(asked, told, lengths["query"], rows))

    return cached_loss(embed, chunks, loss)


def _read(features: Features) -> Tensor:
    """Where tokens are that have a vector, ``[b, l]``: a query's expansion too, which no token sees."""
    seen: Tensor = features["attention_mask"].bool()
    expansion = features.get("query_expansion_positions")
    return seen if expansion is None else seen | expansion


def _part(features: Features, places: Sequence[int]) -> Features:
    """Some rows of ``features``, without the columns that only longer rows need."""
    which = torch.tensor(places, device=features["attention_mask"].device)
    used = _read(features)[which].any(dim=0)
    return {
        key: value[which][:, used] if torch.is_tensor(value) and value.ndim == 2 else value
        for key, value in features.items()
    }


def _in_order(chunks: Sequence[Chunk], lengths: dict[str, list[int]]) -> dict[str, Tensor]:
    """Where the tokens of each kind of text are among all, in the order of the texts."""
    starts: dict[str, dict[int, int]] = {task: {} for task in lengths}
    at = 0
    for task, places in chunks:
        for place in places:
            starts[task][place] = at
            at += lengths[task][place]
    return {
        task: torch.cat(
            [
                torch.arange(begun[place], begun[place] + count)
                for place, count in enumerate(lengths[task])
            ]
        )
        for task, begun in starts.items()
    }
