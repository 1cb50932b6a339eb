"""Late interaction: each token of a query takes the token of a document that is most like it.

Khattab and Zaharia, ColBERT, arXiv:2004.12832. The usual way holds the similarities of all tokens of
all documents of a batch, padded, for the backward pass. But only the chosen tokens have a gradient: here
one query at a time is compared, no token is padded, and what is kept is which token was chosen.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

Lengths = Sequence[Sequence[int]]


def maxsim(
    queries: Tensor,
    documents: Tensor,
    query_lengths: Sequence[int],
    document_lengths: Lengths,
    *,
    shared: bool = False,
) -> Tensor:
    """``sum_i max_j q_i d_j`` of each query with each document of its list.

    Args:
        queries: the tokens of all queries behind one another, ``[tokens, d]``.
        documents: those of all lists, likewise, ``[tokens, d]``.
        query_lengths: tokens of each query, b numbers.
        document_lengths: tokens of each document of each query's list, b times n numbers; 0 where a
            list has no document.
        shared: all queries have one list; ``documents`` holds it once, ``document_lengths`` is its
            one row of n numbers.

    Returns:
        ``[b, n]``; 0 where there is no document.

    Raises:
        ValueError: the lengths do not add up, or lists differ in length.
    """
    if shared and len(document_lengths) != 1:
        raise ValueError("a list that is shared is one list")
    told = sum(query_lengths), sum(map(sum, document_lengths))
    if (len(queries), len(documents)) != told:
        raise ValueError(
            f"{len(queries)} and {len(documents)} tokens, of which the lengths tell {told}"
        )
    if len({len(row) for row in document_lengths}) > 1:
        raise ValueError("lists are to be of one length")
    lists = list(document_lengths) * len(query_lengths) if shared else document_lengths
    scores: Tensor = _MaxSim.apply(queries, documents, query_lengths, lists, shared)  # type: ignore[no-untyped-call]
    return scores


class _MaxSim(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        documents: Tensor,
        asked: Sequence[int],
        told: Lengths,
        shared: bool,
    ) -> Tensor:
        scores = queries.new_zeros(len(told), len(told[0]) if told else 0)
        chosen: list[Tensor] = []
        for row, (query, starts) in enumerate(_rows(asked, told, shared)):
            first, last = starts[0], starts[-1] + told[row][-1]
            similar = queries[query] @ documents[first:last].T
            for way, (start, length) in enumerate(zip(starts, told[row], strict=True)):
                if length:
                    at = start - first
                    best, which = similar[:, at : at + length].max(dim=1)
                    scores[row, way] = best.sum()
                    chosen.append(which + start)
        ctx.save_for_backward(queries, documents, *chosen)
        ctx.lengths = asked, told, shared
        return scores

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        queries, documents, *chosen = ctx.saved_tensors
        asked, told, shared = ctx.lengths
        to_queries, to_documents = torch.zeros_like(queries), torch.zeros_like(documents)
        left = iter(chosen)
        for row, (query, _) in enumerate(_rows(asked, told, shared)):
            for way, length in enumerate(told[row]):
                if length:
                    which, share = next(left), upstream[0][row, way]
                    to_queries[query] += share * documents[which]
                    to_documents.index_add_(0, which, share * queries[query])
        return to_queries, to_documents, None, None, None


def _rows(asked: Sequence[int], told: Lengths, shared: bool) -> Iterator[tuple[slice, list[int]]]:
    """Where each query's tokens are, and where each of its documents' begin."""
    query = document = 0
    for length, lengths in zip(asked, told, strict=True):
        starts = []
        document = 0 if shared else document
        for each in lengths:
            starts.append(document)
            document += each
        yield slice(query, query + length), starts
        query += length
