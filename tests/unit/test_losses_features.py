"""Losses of layers: hand-worked values, gradients, and what must not matter."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ragdistill.errors import UserError
from ragdistill.losses import relation_divergences, relations, state_distances
from ragdistill.training.layer_maps import mapped


def states(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_distances_by_hand() -> None:
    ours, theirs = torch.tensor([[3.0, 4.0], [0.0, 0.0]]), torch.tensor([[0.0, 4.0], [2.0, 0.0]])
    assert state_distances(ours, theirs).tolist() == pytest.approx([9 / 16, 1.0])
    assert state_distances(ours[:1], theirs[:1], "cosine").tolist() == pytest.approx([1 - 0.8])
    assert state_distances(theirs, theirs).tolist() == [0.0, 0.0]
    # In another unit of length nothing changes.
    assert state_distances(7 * ours, 7 * theirs).tolist() == pytest.approx([9 / 16, 1.0])
    with pytest.raises(ValueError, match="against"):
        state_distances(ours, theirs[:1])


@pytest.mark.parametrize("kind", ["mse", "cosine"])
def test_the_gradient_of_a_distance(kind: str) -> None:
    ours, theirs = states(4, 3).requires_grad_(), states(4, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: state_distances(x, theirs, kind), ours)  # type: ignore[arg-type]
    state_distances(ours, theirs, kind).sum().backward()  # type: ignore[no-untyped-call, arg-type]
    assert theirs.grad is None
    assert ours.grad is not None
    lower = state_distances(ours - 1e-3 * ours.grad, theirs, kind)  # type: ignore[arg-type]
    assert lower.sum() < state_distances(ours, theirs, kind).sum()  # type: ignore[arg-type]


def reference(states: Tensor, places: list[int], seen: Tensor, groups: int) -> np.ndarray:
    """Softmax of scaled products, token by token in numpy: ``[groups, n, l]``."""
    told = np.zeros((groups, len(places), len(states)))
    width = states.shape[1] // groups
    for group in range(groups):
        part = states[:, group * width : (group + 1) * width].numpy()
        for row, place in enumerate(places):
            others = [int(each) for each in seen[row].nonzero()]
            scores = np.exp([part[place] @ part[other] / math.sqrt(width) for other in others])
            told[group, row, others] = scores / scores.sum()
    return told


def test_relations_are_those_of_the_tokens_that_are_seen() -> None:
    told, places = states(5, 6), [1, 4]
    seen = torch.tensor([[1, 1, 0, 0, 0], [1, 0, 1, 1, 1]]).bool()
    found = relations(told, torch.tensor(places), seen, 3).exp()
    np.testing.assert_allclose(found.numpy(), reference(told, places, seen, 3), atol=1e-12)


def test_divergences_by_their_definition_between_unequal_heads() -> None:
    ours, theirs, places = states(5, 6), states(5, 8, seed=1), [2, 4]
    seen = torch.ones(5, 5).tril().bool()[places]
    p, q = (reference(each, places, seen, 2) for each in (theirs, ours))
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.nansum(p * np.log(p / q), axis=2).mean(axis=0)
    found = relation_divergences(ours, theirs, torch.tensor(places), seen, 2)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)
    same = relation_divergences(theirs, theirs, torch.tensor(places), seen, 2)
    np.testing.assert_allclose(same.numpy(), 0, atol=1e-12)
    with pytest.raises(ValueError, match="4 groups"):
        relation_divergences(ours, theirs, torch.tensor(places), seen, 4)
    with pytest.raises(ValueError, match="4 of the teacher"):
        relation_divergences(ours, theirs[:4], torch.tensor(places), seen, 2)


def test_tokens_that_nobody_sees_change_nothing_and_learn_nothing() -> None:
    ours, theirs = states(7, 4).requires_grad_(), states(7, 4, seed=1)
    places, seen = torch.tensor([2, 4]), torch.ones(7, 7).tril().bool()[[2, 4]]
    found = relation_divergences(ours, theirs, places, seen, 2)
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert ours.grad is not None
    assert ours.grad.isfinite().all()
    assert not ours.grad[5:].any()
    assert ours.grad[:5].any()
    short = relation_divergences(ours[:5], theirs[:5], places, seen[:, :5], 2)
    torch.testing.assert_close(found, short)
    assert torch.autograd.gradcheck(
        lambda x: relation_divergences(x, theirs, places, seen, 2), ours
    )


def test_maps_as_their_papers_have_them() -> None:
    assert mapped("uniform", 4, 12) == {0: (2,), 1: (5,), 2: (8,), 3: (11,)}
    assert mapped("skip", 6, 12) == {n: (2 * n + 1,) for n in range(5)}
    assert mapped("last", 6, 12) == {n: (6 + n,) for n in range(5)}
    assert mapped("learned", 2, 3) == {0: (0, 1, 2), 1: (0, 1, 2)}
    # As many as the teacher: each its own.
    assert mapped("uniform", 5, 5) == {n: (n,) for n in range(5)}
    for kind, ours, theirs in (("skip", 1, 4), ("last", 1, 4), ("last", 5, 4)):
        with pytest.raises(UserError, match="none follows"):
            mapped(kind, ours, theirs)  # type: ignore[arg-type]
