"""Losses: against plain numpy, and what must hold for any of them."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from ragdistill.losses import cosine_regression, mse_regression, similarity_kl

Loss = Callable[..., Tensor]
Array = NDArray[np.float64]

REGRESSIONS: list[Loss] = [mse_regression, cosine_regression]
LOSSES: list[Loss] = [*REGRESSIONS, similarity_kl]

all_losses = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
regressions = pytest.mark.parametrize("loss", REGRESSIONS, ids=lambda loss: loss.__name__)


def vectors(seed: int, rows: int = 12, columns: int = 6) -> Tensor:
    """Float64 ``[rows, columns]``, none of unit length."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, dtype=torch.float64, generator=generator) * 3 + 0.5


def learner(seed: int, rows: int = 12, columns: int = 6) -> Tensor:
    """The same, to be differentiated."""
    return vectors(seed, rows, columns).requires_grad_()


def gradient(loss: Tensor, of: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(loss, of)
    return found


def numpy_mse(student: Array, teacher: Array) -> float:
    return float(((student - teacher) ** 2).mean())


def numpy_cosine(student: Array, teacher: Array) -> float:
    norms = np.linalg.norm(student, axis=1) * np.linalg.norm(teacher, axis=1)
    return float(np.mean([1 - s @ t / n for s, t, n in zip(student, teacher, norms, strict=True)]))


def numpy_kl(student: Array, teacher: Array, temperature: float = 0.05) -> float:
    def distribution(x: Array, row: int) -> Array:
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        logits = np.delete(unit @ unit[row], row) / temperature
        weights = np.exp(logits - logits.max())
        return np.asarray(weights / weights.sum())

    rows = range(len(student))
    pairs = [(distribution(teacher, row), distribution(student, row)) for row in rows]
    return float(np.mean([(p * np.log(p / q)).sum() for p, q in pairs]))


@pytest.mark.parametrize(
    ("loss", "reference"),
    [
        (mse_regression, numpy_mse),
        (cosine_regression, numpy_cosine),
        (similarity_kl, numpy_kl),
    ],
    ids=lambda value: value.__name__,
)
def test_a_loss_equals_its_definition(loss: Loss, reference: Callable[..., float]) -> None:
    student, teacher = vectors(1), vectors(2)
    expected = reference(student.numpy(), teacher.numpy())
    assert loss(student, teacher).item() == pytest.approx(expected, rel=1e-10)


@all_losses
def test_a_student_that_equals_its_teacher_has_nothing_to_learn(loss: Loss) -> None:
    teacher = vectors(1)
    student = teacher.clone().requires_grad_()
    value = loss(student, teacher)
    assert value.item() == pytest.approx(0, abs=1e-12)
    assert gradient(value, student).abs().max() < 1e-12


@all_losses
def test_a_loss_is_a_scalar_not_below_zero(loss: Loss) -> None:
    for seed in range(20):
        value = loss(vectors(seed), vectors(seed + 100))
        assert value.shape == ()
        assert value.item() > 0


@all_losses
def test_no_gradient_flows_into_the_teacher(loss: Loss) -> None:
    student, teacher = learner(1), learner(2)
    value = loss(student, teacher)
    (into_teacher,) = torch.autograd.grad(value, teacher, allow_unused=True, retain_graph=True)
    assert into_teacher is None
    assert gradient(value, student).abs().max() > 0


@all_losses
def test_the_gradient_is_that_of_the_loss(loss: Loss) -> None:
    teacher = vectors(2, rows=5, columns=3)
    assert torch.autograd.gradcheck(lambda x: loss(x, teacher), learner(1, rows=5, columns=3))


@all_losses
def test_following_the_gradient_lessens_the_loss(loss: Loss) -> None:
    student, teacher = learner(1), vectors(2)
    before = loss(student, teacher)
    after = loss(student - 1e-3 * gradient(before, student), teacher)
    assert after < before


@all_losses
def test_the_order_of_the_texts_does_not_matter(loss: Loss) -> None:
    student, teacher = vectors(1), vectors(2)
    order = torch.randperm(len(student), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(loss(student[order], teacher[order]), loss(student, teacher))


@regressions
@pytest.mark.parametrize("pieces", [2, 3, 12])
def test_a_batch_equals_the_same_batch_in_pieces(loss: Loss, pieces: int) -> None:
    student, teacher = learner(1), vectors(2)
    whole = loss(student, teacher)
    parts = [
        loss(s, t) / pieces
        for s, t in zip(student.chunk(pieces), teacher.chunk(pieces), strict=True)
    ]
    accumulated = sum(gradient(part, student) for part in parts)
    torch.testing.assert_close(torch.stack(parts).sum(), whole)
    torch.testing.assert_close(accumulated, gradient(whole, student))


@regressions
def test_a_projection_joins_unequal_dimensions(loss: Loss) -> None:
    student, teacher = learner(1, columns=4), vectors(2, columns=6)
    projection = vectors(3, rows=6, columns=4).requires_grad_()
    value = loss(student, teacher, projection)
    torch.testing.assert_close(value, loss(student @ projection.T, teacher))
    assert gradient(value, projection).shape == (6, 4)
    exact = (student.detach() @ projection.detach().T).requires_grad_(False)
    assert loss(student, exact, projection).item() == pytest.approx(0, abs=1e-12)


@regressions
@pytest.mark.parametrize(
    ("student", "teacher", "projection"),
    [
        ((4, 3), (4, 5), None),
        ((4, 3), (5, 3), None),
        ((4, 3), (3,), None),
        ((4, 3), (4, 5), (4, 3)),
        ((1, 3), (4, 3), None),
    ],
)
def test_shapes_that_do_not_fit_are_refused_not_broadcast(
    loss: Loss,
    student: tuple[int, ...],
    teacher: tuple[int, ...],
    projection: tuple[int, ...] | None,
) -> None:
    matrix = None if projection is None else torch.ones(projection)
    with pytest.raises(ValueError, match=r"unequal dimensions need a projection \[d_t, d_s\]"):
        loss(torch.ones(student), torch.ones(teacher), matrix)


@regressions
def test_integer_vectors_are_refused(loss: Loss) -> None:
    with pytest.raises(ValueError, match=r"must be floating point, not torch\.int8"):
        loss(torch.ones(2, 3), torch.ones(2, 3, dtype=torch.int8))


def test_cosine_does_not_see_length_and_mse_does() -> None:
    student, teacher = vectors(1), vectors(2)
    torch.testing.assert_close(
        cosine_regression(7 * student, teacher), cosine_regression(student, teacher)
    )
    assert mse_regression(7 * student, teacher) > mse_regression(student, teacher)


def test_cosine_is_half_the_squared_distance_of_unit_vectors() -> None:
    student, teacher = (torch.nn.functional.normalize(vectors(seed)) for seed in (1, 2))
    squared = ((student - teacher) ** 2).sum(dim=1).mean()
    torch.testing.assert_close(cosine_regression(student, teacher), squared / 2)


def test_a_vector_of_zeros_gives_no_nan() -> None:
    student = torch.zeros(4, 3, requires_grad=True)
    for loss in LOSSES:
        value = loss(student, vectors(2, 4, 3).float())
        assert torch.isfinite(gradient(value, student)).all()


def test_similarities_compare_spaces_of_unequal_dimensions() -> None:
    teacher = vectors(1, columns=4)
    wider = torch.cat([teacher, torch.zeros(12, 5, dtype=torch.float64)], dim=1)
    assert similarity_kl(wider, teacher).item() == pytest.approx(0, abs=1e-12)


def test_similarities_do_not_see_a_rotation() -> None:
    teacher = vectors(1)
    turn, _ = torch.linalg.qr(vectors(2, rows=6))
    assert similarity_kl(teacher @ turn, teacher).item() == pytest.approx(0, abs=1e-12)


def test_a_high_temperature_hears_no_difference_and_a_low_one_the_nearest() -> None:
    student, teacher = vectors(1), vectors(2)
    values = [similarity_kl(student, teacher, t).item() for t in (0.02, 0.1, 1.0, 100.0)]
    assert values == sorted(values, reverse=True)
    assert values[-1] < 1e-4
    for temperature in (0.02, 1.0):
        assert similarity_kl(student, teacher, temperature).item() == pytest.approx(
            numpy_kl(student.numpy(), teacher.numpy(), temperature), rel=1e-9
        )


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_too_few_texts_to_compare_give_a_zero_that_can_be_differentiated(rows: int) -> None:
    student = learner(1, rows=rows)
    value = similarity_kl(student, vectors(2, rows=rows))
    assert value.item() == 0
    assert (gradient(value, student) == 0).all()


def test_similarities_of_unequal_batches_are_refused() -> None:
    with pytest.raises(ValueError, match="12 student vectors against 5 teacher vectors"):
        similarity_kl(vectors(1), vectors(2, rows=5))


@all_losses
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_loss_is_finite_in_half_precision(loss: Loss, dtype: torch.dtype) -> None:
    student = vectors(1).to(dtype).requires_grad_()
    value = loss(student, vectors(2).to(dtype))
    assert torch.isfinite(value)
    assert torch.isfinite(gradient(value, student)).all()
