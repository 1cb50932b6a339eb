"""Token states: means of runs, and the regression onto them, against plain numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ragdistill.losses import state_regression, window_means


def batch(lengths: list[int], seed: int, *, left: bool = False) -> tuple[Tensor, Tensor]:
    """States ``[b, l, 5]``, garbage in the padding, and their mask."""
    longest = max(lengths)
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(len(lengths), longest, 5, dtype=torch.float64, generator=generator)
    mask = torch.zeros(len(lengths), longest, dtype=torch.int64)
    for row, length in enumerate(lengths):
        mask[row, longest - length if left else 0 : longest if left else length] = 1
    return states, mask


@settings(max_examples=50, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=5),
    window=st.integers(1, 9),
    left=st.booleans(),
)
def test_means_are_those_of_the_tokens_of_each_run(
    lengths: list[int], window: int, left: bool
) -> None:
    states, mask = batch(lengths, seed=0, left=left)
    means, counts = window_means(states, mask, window)
    assert means.shape == (len(lengths), -(-max(lengths) // window), 5)
    for row, length in enumerate(lengths):
        tokens = states[row][mask[row].bool()].numpy()
        runs = [tokens[start : start + window] for start in range(0, length, window)]
        assert counts[row].tolist() == [len(r) for r in runs] + [0] * (means.shape[1] - len(runs))
        expected = np.stack([run.mean(axis=0) for run in runs])
        np.testing.assert_allclose(means[row, : len(runs)].numpy(), expected, atol=1e-12)
        assert not means[row, len(runs) :].any()


def of(lengths: list[int], seed: int) -> tuple[Tensor, Tensor]:
    return window_means(*batch(lengths, seed), 4)


def test_the_loss_equals_its_definition() -> None:
    student, counts = of([9, 4, 1], 1)
    teacher, _ = of([9, 4, 1], 2)
    expected = np.mean(
        [
            (c * ((s - t) ** 2).sum(-1)).sum() / (c * (t**2).sum(-1)).sum()
            for s, t, c in zip(student.numpy(), teacher.numpy(), counts.numpy(), strict=True)
        ]
    )
    assert state_regression(student, teacher, counts).item() == pytest.approx(expected, rel=1e-12)


def test_what_any_loss_must_keep_to() -> None:
    teacher, counts = of([9, 4, 1], 2)
    assert state_regression(teacher, teacher, counts) == 0
    assert state_regression(torch.zeros_like(teacher), teacher, counts).item() == pytest.approx(1)
    student = of([9, 4, 1], 1)[0].requires_grad_()
    given_teacher = teacher.clone().requires_grad_()
    state_regression(student, given_teacher, counts).backward()  # type: ignore[no-untyped-call]
    assert given_teacher.grad is None
    assert student.grad is not None
    assert not student.grad[counts == 0].any()
    lower = state_regression(student - 1e-3 * student.grad, teacher, counts)
    assert lower < state_regression(student, teacher, counts)
    assert torch.autograd.gradcheck(lambda x: state_regression(x, teacher, counts), student)


def test_a_batch_equals_its_texts_one_by_one_and_one_unit_of_length_is_as_good_as_another() -> None:
    student, counts = of([9, 4, 1, 7], 1)
    teacher, _ = of([9, 4, 1, 7], 2)
    whole = state_regression(student, teacher, counts)
    rows = [
        state_regression(s[None], t[None], c[None])
        for s, t, c in zip(student, teacher, counts, strict=True)
    ]
    torch.testing.assert_close(torch.stack(rows).mean(), whole)
    torch.testing.assert_close(state_regression(7 * student, 7 * teacher, counts), whole)


def test_half_precision_loses_no_more_than_its_input_did() -> None:
    student, counts = of([64, 40], 1)
    teacher, _ = of([64, 40], 2)
    half = state_regression(student.bfloat16(), teacher.float(), counts)
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(state_regression(student, teacher, counts).item(), rel=1e-2)


@pytest.mark.parametrize(("shape", "runs"), [((2, 4, 5), 3), ((2, 3, 4), 3), ((2, 3, 5), 4)])
def test_states_of_other_tokens_are_refused(shape: tuple[int, ...], runs: int) -> None:
    with pytest.raises(ValueError, match="the tokens are not the same"):
        state_regression(torch.ones(shape), torch.ones(2, 3, 5), torch.ones(2, runs))


def test_a_text_of_no_tokens_spoils_nothing() -> None:
    student, counts = of([9, 4, 1], 1)
    teacher, _ = of([9, 4, 1], 2)
    none = counts.clone()
    none[1] = 0
    found = state_regression(student, teacher, none).item()
    rest = state_regression(student[[0, 2]], teacher[[0, 2]], counts[[0, 2]]).item()
    assert found == pytest.approx(rest * 2 / 3)
