"""Losses over candidates, and large batches in the memory of small ones."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from torch import Tensor, nn

from ragdistill.losses import info_nce, listwise_kl, margin_mse
from ragdistill.training.gradcache import cached_loss


def unit(*shape: int, seed: int = 0) -> Tensor:
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(drawn, dim=-1)


def test_info_nce_by_hand() -> None:
    student, teacher, others = unit(4, 6), unit(4, 6, seed=1), unit(4, 3, 6, seed=2)
    found = info_nce(student, teacher, others, temperature=0.2, ceiling=2.0)
    expected = []
    for row in range(4):
        near = [*(student[row] @ teacher.T), *(others[row] @ student[row])]
        expected.append(-log_softmax(np.array(near) / 0.2)[row])
    assert float(found) == pytest.approx(np.mean(expected))
    longer = info_nce(3 * student, 0.5 * teacher, 7 * others, temperature=0.2, ceiling=2.0)
    torch.testing.assert_close(found, longer)  # length does not count


def test_info_nce_does_not_push_away_what_the_teacher_holds_for_the_same() -> None:
    teacher, student = unit(3, 6), unit(3, 6, seed=1)
    twice = [part[:1].repeat(2, 1) for part in (student, teacher)]
    assert float(info_nce(*twice)) == 0  # nothing else is there
    assert float(info_nce(*twice, ceiling=2.0)) == pytest.approx(np.log(2))
    # Negatives: the text itself in other words, and one that is none at all.
    same = torch.stack([teacher, torch.zeros_like(teacher)], dim=1)
    torch.testing.assert_close(info_nce(student, teacher, same), info_nce(student, teacher))
    hard = info_nce(student, teacher, unit(3, 2, 6, seed=5))
    assert float(hard) > float(info_nce(student, teacher))


def test_info_nce_gives_the_teacher_no_gradient_and_pulls_towards_it() -> None:
    teacher = unit(5, 8).requires_grad_()
    student = unit(5, 8, seed=1).requires_grad_()
    loss = info_nce(student, teacher)
    loss.backward()  # type: ignore[no-untyped-call]
    assert teacher.grad is None
    assert student.grad is not None
    after = info_nce(student.detach() - 0.01 * student.grad, teacher)
    assert float(after.detach()) < float(loss.detach())
    with pytest.raises(ValueError, match="projection"):
        info_nce(student, unit(5, 4))


def test_margin_mse_by_hand() -> None:
    student = torch.tensor([[3.0, 1.0, 2.0], [0.0, 1.0, 5.0]])
    teacher = torch.tensor([[4.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
    # Margins 2, 1 and -1, -5 against 3, 3 and 0, 1.
    assert float(margin_mse(student, teacher)) == pytest.approx((1 + 4 + 1 + 36) / 4)
    usable = torch.tensor([[True, True], [True, False]])
    assert float(margin_mse(student, teacher, usable)) == pytest.approx((1 + 4 + 1) / 3)
    assert float(margin_mse(student, teacher, torch.zeros(2, 2, dtype=torch.bool))) == 0
    assert float(margin_mse(teacher + 7, teacher)) == 0  # a constant is no margin
    with pytest.raises(ValueError, match=r"\[b, n\]"):
        margin_mse(student, teacher[:, :2])


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_listwise_kl_by_hand(temperature: float) -> None:
    student, teacher = unit(3, 5) * 4, unit(3, 5, seed=1) * 4
    mine, theirs = (scores.numpy() / temperature for scores in (student, teacher))
    shares = softmax(theirs, axis=1)
    kl = (shares * (np.log(shares) - log_softmax(mine, axis=1))).sum(axis=1).mean()
    found = listwise_kl(student, teacher, temperature)
    assert float(found) == pytest.approx(temperature**2 * kl)
    assert float(listwise_kl(teacher + 3, teacher, temperature)) == pytest.approx(0, abs=1e-12)


def test_candidates_that_are_not_there_do_not_count() -> None:
    student, teacher = unit(2, 5), unit(2, 5, seed=1)
    usable = torch.tensor([[True, True, True, False, False]] * 2)
    spoilt = student.clone()
    spoilt[:, 3:] = 100
    torch.testing.assert_close(
        listwise_kl(spoilt, teacher, usable=usable), listwise_kl(student[:, :3], teacher[:, :3])
    )


def gradients(*modules: nn.Module) -> list[Tensor]:
    return [p.grad.clone() for m in modules for p in m.parameters() if p.grad is not None]


@pytest.mark.parametrize("sizes", [[1024], [32] * 32, [1, 1000, 23]])
def test_gradients_of_a_cached_batch_are_those_of_the_whole(sizes: list[int]) -> None:
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 8))
    head = nn.Linear(8, 10, bias=False)
    inputs, teacher = torch.randn(1024, 12), torch.randn(1024, 10)

    def loss(vectors: Tensor) -> Tensor:
        return info_nce(head(vectors), teacher)

    whole = loss(encoder(inputs))
    (0.5 * whole).backward()  # type: ignore[no-untyped-call]
    expected = gradients(encoder, head)
    for module in (encoder, head):
        module.zero_grad()
    cached = cached_loss(encoder, inputs.split(sizes), loss, [head.weight])
    torch.testing.assert_close(cached.detach(), whole.detach())
    (0.5 * cached).backward()  # type: ignore[no-untyped-call]
    for mine, theirs in zip(gradients(encoder, head), expected, strict=True):
        assert float((mine - theirs).abs().max()) <= 1e-5 * float(theirs.abs().max())
    # A second batch is added, as when gradients are accumulated.
    cached_loss(encoder, inputs.split(sizes), loss, [head.weight]).backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(gradients(head)[0], 3 * expected[-1], rtol=1e-4, atol=1e-7)


def test_no_more_than_a_chunk_is_kept_for_the_backward_pass() -> None:
    held: list[int] = []
    encoder = nn.Linear(4, 3)

    def embed(chunk: Tensor) -> Tensor:
        held.append(len(chunk) if torch.is_grad_enabled() else 0)
        return encoder(chunk)

    found = cached_loss(embed, torch.randn(64, 4).split(8), lambda v: v.square().mean())
    assert held == [0] * 8
    found.backward()  # type: ignore[no-untyped-call]
    assert held == [0] * 8 + [8] * 8
    with torch.no_grad():
        plain = cached_loss(embed, torch.randn(64, 4).split(8), lambda v: v.square().mean())
    assert not plain.requires_grad
