"""A student learns lists in the memory of a few documents.

A list of 32 documents is 32 times the activations of one. Here texts are read in chunks and read
again for their gradient (GradCache, :mod:`ragdistill.training.gradcache`), and token vectors are compared
one query at a time (:mod:`ragdistill.losses.maxsim`): loss and gradients are those of the whole batch.
What may be held at once is read once.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ragdistill.batching import token_budget_batches
from ragdistill.encoder import BATCH_TOKENS
from ragdistill.losses import maxsim
from ragdistill.training.gradcache import cached_loss

Features = dict[str, Any]
Read = Callable[[Features, str], tuple[Tensor, list[int]]]
"""Inputs of some texts, and of which kind they are, to rows ``[r, d]`` and how many are of each text."""
Compare = Callable[[Mapping[str, Tensor], Mapping[str, list[int]]], Tensor]
"""Rows of each kind in the order of its texts, and how many each text has, to scores ``[b, ways]``, or of all
documents of the batch ``[b, b * ways]``."""
Chunk = tuple[str, list[int]]
"""A kind, and places among the texts of that kind."""


def list_loss(
    read: Read,
    compare: Compare,
    inputs: Mapping[str, Features],
    score_loss: Callable[[Tensor], Tensor],
    *,
    chunk_tokens: int,
    parameters: Sequence[Tensor] = (),
) -> Tensor:
    """``score_loss`` of the scores that ``compare`` makes; its ``backward`` needs the memory of one chunk.

    Args:
        read: without dropout, for texts may be read twice.
        inputs: by kind of text, padded ``[texts, l]``.
        score_loss: of scores to a scalar.
        chunk_tokens: padded tokens whose activations are held at once.
        parameters: those on which ``score_loss`` itself depends.
    """
    chunks: list[Chunk] = []
    padded = 0
    for kind, features in inputs.items():
        told = _seen(features).sum(dim=1).tolist()
        # Smaller batches of like length are the faster ones, where all are held, too.
        fast = BATCH_TOKENS[features["attention_mask"].device.type]
        for part in token_budget_batches(told, min(chunk_tokens, fast)):
            chunks.append((kind, part))
            padded += len(part) * max(told[place] for place in part)
    lengths = {kind: [0] * len(part["attention_mask"]) for kind, part in inputs.items()}

    def embed(chunk: Chunk) -> Tensor:
        kind, places = chunk
        rows, counts = read(_part(inputs[kind], places), kind)
        for place, count in zip(places, counts, strict=True):
            lengths[kind][place] = count
        return rows

    def loss(rows: Tensor) -> Tensor:
        order = _in_order(chunks, lengths, rows.device)
        return score_loss(compare({kind: rows[order[kind]] for kind in inputs}, lengths))

    if padded <= chunk_tokens:
        return loss(torch.cat([embed(chunk) for chunk in chunks]))
    return cached_loss(embed, chunks, loss, parameters)


def by_tokens(ways: int, *, across: bool = False) -> Compare:
    """Late interaction of queries with the ``ways`` documents of each; ``across``: with those of all."""

    def compare(rows: Mapping[str, Tensor], lengths: Mapping[str, list[int]]) -> Tensor:
        told = lengths["document"]
        queries, documents = lengths["query"], rows["document"]
        if across:
            return maxsim(rows["query"], documents, queries, [told], shared=True)
        listed = [told[at : at + ways] for at in range(0, len(told), ways)]
        return maxsim(rows["query"], documents, queries, listed)

    return compare


def by_vectors(ways: int, *, across: bool = False) -> Compare:
    """The inner product of a query's vector with those of its ``ways`` documents; ``across``: of all."""

    def compare(rows: Mapping[str, Tensor], lengths: Mapping[str, list[int]]) -> Tensor:
        queries, documents = rows["query"], rows["document"]
        if across:
            return queries @ documents.T
        return torch.einsum("bd,bnd->bn", queries, documents.view(len(queries), ways, -1))

    return compare


def by_pairs(ways: int) -> Compare:
    """Scores as they come, of pairs."""

    def compare(rows: Mapping[str, Tensor], lengths: Mapping[str, list[int]]) -> Tensor:
        return rows["pair"].view(-1, ways)

    return compare


def _seen(features: Features) -> Tensor:
    """Where tokens are that have a vector, ``[b, l]``: a query's expansion too, which no token sees."""
    seen: Tensor = features["attention_mask"].bool()
    expansion = features.get("query_expansion_positions")
    return seen if expansion is None else seen | expansion.bool()


def _part(features: Features, places: Sequence[int]) -> Features:
    """Some rows of ``features``, without the columns that only longer rows need."""
    which = torch.tensor(places, device=features["attention_mask"].device)
    used = _seen(features)[which].any(dim=0)
    return {
        key: value[which][:, used] if torch.is_tensor(value) and value.ndim == 2 else value
        for key, value in features.items()
    }


def _in_order(
    chunks: Sequence[Chunk], lengths: Mapping[str, Sequence[int]], device: torch.device
) -> dict[str, Tensor]:
    """Where the rows of each kind of text are among all, in the order of the texts."""
    starts: dict[str, dict[int, int]] = {kind: {} for kind in lengths}
    at = 0
    for kind, places in chunks:
        for place in places:
            starts[kind][place] = at
            at += lengths[kind][place]
    return {
        kind: torch.cat(
            [
                torch.arange(begun[place], begun[place] + count, device=device)
                for place, count in enumerate(lengths[kind])
            ]
        )
        for kind, begun in starts.items()
    }
