"""Late interaction, one query at a time, is what the padded form gives, gradients too."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ragdistill.losses import listwise_kl, maxsim
from ragdistill.training.gradcache import cached_loss

Lengths = list[list[int]]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def padded(queries: Tensor, documents: Tensor, asked: list[int], told: Lengths) -> Tensor:
    """As the paper writes it."""
    of_queries = queries.split(asked)
    of_documents = iter(documents.split([length for row in told for length in row]))
    rows = []
    for query, row in zip(of_queries, told, strict=True):
        parts = [(query @ next(of_documents).T) for _ in row]
        rows.append(
            torch.stack([p.max(dim=1).values.sum() if p.shape[1] else p.sum() for p in parts])
        )
    return torch.stack(rows)


@settings(max_examples=40, deadline=None)
@given(
    asked=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    ways=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_scores_and_gradients_are_those_of_the_padded_form(
    asked: list[int], ways: int, seed: int
) -> None:
    told = torch.randint(0, 6, (len(asked), ways), generator=torch.Generator().manual_seed(seed))
    lengths: Lengths = told.tolist()
    weights = drawn(len(asked), ways, seed=seed + 1)
    found = []
    for score in (maxsim, padded):
        queries = drawn(sum(asked), 8, seed=seed).requires_grad_()
        documents = drawn(sum(map(sum, lengths)), 8, seed=seed + 2).requires_grad_()
        scores = score(queries, documents, asked, lengths)
        (scores * weights).sum().backward()  # type: ignore[no-untyped-call]
        found.append((scores.detach(), queries.grad, documents.grad))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_lengths_have_to_add_up() -> None:
    with pytest.raises(ValueError, match=r"3 and 4 tokens.*\(3, 5\)"):
        maxsim(drawn(3, 2), drawn(4, 2), [3], [[2, 3]])
    with pytest.raises(ValueError, match="one length"):
        maxsim(drawn(2, 2), drawn(3, 2), [1, 1], [[1, 1], [1]])


def test_lists_are_learnt_from_in_chunks_as_in_one_piece() -> None:
    """Tokens of queries and documents as rows of one cached batch."""
    torch.manual_seed(0)
    encoder = torch.nn.Linear(6, 4).double()
    told: Lengths = [[3, 5, 2], [4, 1, 6]]
    rows = [drawn(count, 6, seed=count) for count in (4, 3, *(n for row in told for n in row))]
    teacher = drawn(2, 3, seed=9)

    def loss(vectors: Tensor) -> Tensor:
        return listwise_kl(maxsim(vectors[:7], vectors[7:], [4, 3], told), teacher)

    gradients = []
    for chunks in ([torch.cat(rows)], rows, [torch.cat(rows[:5]), torch.cat(rows[5:])]):
        encoder.zero_grad()
        cached_loss(encoder, chunks, loss).backward()  # type: ignore[no-untyped-call]
        assert encoder.weight.grad is not None
        gradients.append(encoder.weight.grad.clone())
    encoder.zero_grad()
    loss(encoder(torch.cat(rows))).backward()  # type: ignore[no-untyped-call]
    for found in gradients:
        torch.testing.assert_close(found, encoder.weight.grad)
