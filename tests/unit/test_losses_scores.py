"""Losses over scores of candidates, for whatever scores."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ragdistill.losses import (
    in_batch_nce,
    listwise_kl,
    margin_hinge,
    margin_mse,
    ranknet,
    score_mse,
)

Loss = Callable[..., Tensor]
LOSSES = [listwise_kl, margin_hinge, margin_mse, ranknet, score_mse]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_margin_hinge_by_hand() -> None:
    student = torch.tensor([[3.0, 1.0, 2.0], [0.0, 1.0, 5.0]])
    teacher = torch.tensor([[4.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
    # The teacher's margins are 3, 3 and 0, 1; the student's 2, 1 and -1, -5.
    assert float(margin_hinge(student, teacher, 0.0)) == pytest.approx((1 + 2 + 1 + 6) / 4)
    assert float(margin_hinge(student, teacher, 0.5)) == pytest.approx((1.5 + 2.5 + 1.5 + 6.5) / 4)
    assert float(margin_hinge(teacher, teacher, 0.3)) == pytest.approx(0.3)
    far = teacher * torch.tensor([1.0, 0.0, 0.0]) + torch.tensor([9.0, 0.0, 0.0])
    assert float(margin_hinge(far, teacher)) == 0  # further apart than asked for is no fault


def test_ranknet_by_hand() -> None:
    student = torch.tensor([[1.0, 3.0, 0.0]])
    teacher = torch.tensor([[2.0, 1.0, 1.0]])
    # The first before the second and before the third; those two are alike.
    expected = (torch.tensor([2.0, -1.0]).exp() + 1).log().mean()
    torch.testing.assert_close(ranknet(student, teacher), expected)
    torch.testing.assert_close(ranknet(student + 5, 100 * teacher), expected)
    assert float(ranknet(student, torch.ones(1, 3))) == 0


def test_score_mse_by_hand() -> None:
    usable = torch.tensor([[True, False]])
    student, teacher = torch.tensor([[1.0, 5.0]]), torch.tensor([[3.0, 4.0]])
    assert float(score_mse(student, teacher)) == pytest.approx(2.5)
    assert float(score_mse(student, teacher, usable)) == pytest.approx(4)


def test_in_batch_negatives_by_hand() -> None:
    scores, others = drawn(3, 3, 2).requires_grad_(), torch.ones(3, 3, 2, dtype=torch.bool)
    others[range(3), range(3)] = False  # its own list
    others[0, 1, 1] = False  # the same document again
    wanted = []
    for query in range(3):
        mine = scores[query, query, 0]
        against = [scores[query][others[query]], mine[None]]
        wanted.append(torch.cat(against).exp().sum().log() - mine)
    found = in_batch_nce(scores, others)
    torch.testing.assert_close(found, torch.stack(wanted).mean())
    found.backward()  # type: ignore[no-untyped-call]
    assert scores.grad is not None
    assert bool((scores.grad[range(3), range(3), 0] < 0).all())
    assert bool((scores.grad[others] > 0).all())
    assert float(scores.grad[0, 1, 1]) == float(scores.grad[1, 1, 1]) == 0
    assert float(in_batch_nce(scores.detach()[:1, :1], others[:1, :1])) == 0
    with pytest.raises(ValueError, match=r"\[b, b, n\]"):
        in_batch_nce(scores[:2], others[:2])


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_teach_the_student_alone_and_refuse_other_shapes(loss: Loss) -> None:
    student, teacher = drawn(4, 6).requires_grad_(), drawn(4, 6, seed=1).requires_grad_()
    found = loss(student, teacher)
    found.backward()  # type: ignore[no-untyped-call]
    assert teacher.grad is None
    assert student.grad is not None
    with torch.no_grad():
        assert float(loss(student - 0.1 * student.grad, teacher)) < float(found)
    with pytest.raises(ValueError, match=r"\[b, n\]"):
        loss(student, teacher[:, :3])


@pytest.mark.parametrize("loss", [listwise_kl, margin_mse, score_mse])
def test_a_student_that_agrees_has_nothing_to_learn(loss: Loss) -> None:
    teacher = drawn(4, 6)
    student = teacher.clone().requires_grad_()
    found = loss(student, teacher)
    found.backward()  # type: ignore[no-untyped-call]
    assert float(found.detach()) == pytest.approx(0, abs=1e-12)
    assert student.grad is not None
    assert float(student.grad.abs().max()) < 1e-12


@pytest.mark.parametrize("loss", [listwise_kl, margin_hinge, margin_mse, score_mse])
def test_one_batch_is_the_mean_of_its_pieces(loss: Loss) -> None:
    student, teacher = drawn(4, 6), drawn(4, 6, seed=1)
    parts = [loss(student[at : at + 2], teacher[at : at + 2]) for at in (0, 2)]
    torch.testing.assert_close(loss(student, teacher), torch.stack(parts).mean())
