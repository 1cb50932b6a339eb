"""From hidden states, some tokens at a time: the loss and the gradients of all logits at once."""

from collections.abc import Callable, Iterable
from functools import partial
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from ragdistill.losses import (
    Head,
    LogitObjective,
    SparseTargets,
    TeacherStates,
    chunked,
    chunked_distillation,
    logit_distillation,
)
from ragdistill.losses.logits import Divergence

KINDS: list[Divergence] = ["forward", "reverse", "symmetric", "jsd"]
TOKENS, WORDS, HIDDEN = 7, 13, 4


def drawn(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)


def top(states: TeacherStates, count: int, temperature: float) -> SparseTargets:
    logits = functional.linear(states.states, states.head.weight, states.head.bias)
    probs, ids = (logits / temperature).softmax(dim=1).topk(count, dim=1)
    probs[::2, -1] = 0  # padded
    return SparseTargets(ids, probs, (1 - probs.sum(dim=1)).clamp(min=0))


class Case:
    """A student, its teacher, and what both of them think of some tokens."""

    def __init__(self, tokens: int = TOKENS, words: int = WORDS, scale: float = 1.0) -> None:
        self.hidden = drawn(tokens, HIDDEN, scale=scale).requires_grad_()
        self.weight = drawn(words, HIDDEN, seed=1).requires_grad_()
        self.bias = drawn(words, seed=2).requires_grad_()
        self.teacher = TeacherStates(
            drawn(tokens, 3, seed=3), Head(drawn(words, 3, seed=4), drawn(words, seed=5))
        )
        self.labels = torch.arange(tokens) * 5 % words

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.hidden, self.weight, self.bias

    def chunked(self, targets: SparseTargets | TeacherStates, *words: Any, **more: Any) -> Tensor:
        head = Head(self.weight, self.bias)
        return chunked_distillation(self.hidden, head, targets, self.labels, *words, **more)

    def whole(self, targets: SparseTargets | TeacherStates, *words: Any) -> Tensor:
        logits = functional.linear(self.hidden, self.weight, self.bias)
        if isinstance(targets, TeacherStates):
            head = targets.head
            theirs = functional.linear(targets.states, head.weight, head.bias)
            return logit_distillation(logits, theirs, self.labels, *words)
        return logit_distillation(logits, targets, self.labels, *words)


def with_gradients(loss: Tensor, parts: Iterable[Tensor]) -> tuple[Tensor, ...]:
    return (loss, *torch.autograd.grad(loss, tuple(parts)))


def assert_same(ours: Iterable[Tensor], theirs: Iterable[Tensor], **close: Any) -> None:
    for found, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(found, expected, **close)


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_chunks_give_loss_and_gradients_of_the_whole(
    kind: Divergence, sparse: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunked, "_CACHED", 2 * WORDS * 8)  # two tokens
    case = Case()
    for alpha, temperature in product((0.0, 0.4, 1.0), (1.0, 2.5)):
        objective = LogitObjective(alpha, temperature, kind, beta=0.3)
        targets = top(case.teacher, 4, temperature) if sparse else case.teacher
        expected = with_gradients(case.whole(targets, objective), case.parts)
        for chunk in (1, 3, TOKENS, 100):
            found = with_gradients(case.chunked(targets, objective, chunk=chunk), case.parts)
            assert_same(found, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_the_loss(kind: Divergence) -> None:
    case = Case(tokens=3, words=6)
    objective = LogitObjective(0.4, 2.0, kind, beta=0.3)

    def loss(targets: SparseTargets | TeacherStates) -> Callable[..., Tensor]:
        def of(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            head = Head(weight, bias)
            return chunked_distillation(hidden, head, targets, case.labels, objective, chunk=2)

        return of

    for targets in (case.teacher, top(case.teacher, 2, 2.0)):
        # Checkpointed: each of its backward passes finds a gradient of its own, which is had once.
        fresh = partial(checkpoint, loss(targets), use_reentrant=False)
        assert torch.autograd.gradcheck(fresh, case.parts)


def test_float32_agrees_to_1e_5_where_logits_are_large() -> None:
    """Some of the student's tails are less than float32 can hold beside their ids."""
    case = Case(tokens=40, words=3000, scale=40.0)
    targets = top(case.teacher, 30, 2.0)
    objective = LogitObjective(0.5, 2.0)
    expected = with_gradients(case.whole(targets, objective), case.parts)
    for name in ("hidden", "weight", "bias"):
        setattr(case, name, getattr(case, name).detach().float().requires_grad_())
    found = with_gradients(case.chunked(targets, objective, chunk=16), case.parts)
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).abs().max() < 1e-5 * theirs.abs().max()


def test_a_student_surer_than_float32_can_say_has_a_finite_loss() -> None:
    weight = torch.tensor([[300.0], [0.0], [-300.0]])
    hidden = torch.ones(1, 1, requires_grad=True)
    targets = SparseTargets(torch.tensor([[0]]), torch.tensor([[0.9]]), torch.tensor([0.1]))
    for kind in KINDS:
        objective = LogitObjective(1.0, 1.0, kind)
        loss = chunked_distillation(hidden, Head(weight), targets, objective=objective)
        loss.backward()  # type: ignore[no-untyped-call]
        assert torch.isfinite(loss)
        assert hidden.grad is not None
        assert torch.isfinite(hidden.grad).all()


class _Largest(TorchDispatchMode):
    """Remembers the size of the largest tensor that came to be."""

    size = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if isinstance(found, Tensor):
            self.size = max(self.size, found.numel())
        return found


@pytest.mark.parametrize("sparse", [True, False])
def test_logits_of_all_tokens_never_exist(sparse: bool) -> None:
    case = Case(tokens=60, words=200)
    case.weight.requires_grad_(False)
    targets = top(case.teacher, 4, 2.0) if sparse else case.teacher
    with _Largest() as largest:
        case.chunked(targets, chunk=6).backward()  # type: ignore[no-untyped-call]
    # The head's 200 x 4 is never copied where it is frozen; the chunk's logits are.
    assert largest.size == 6 * 200
    assert case.weight.grad is None
    with _Largest() as largest:
        case.whole(targets)
    assert largest.size == 60 * 200


def test_the_teacher_learns_nothing() -> None:
    case = Case()
    case.teacher.states.requires_grad_()
    case.teacher.head.weight.requires_grad_()
    case.chunked(case.teacher).backward()  # type: ignore[no-untyped-call]
    assert case.teacher.states.grad is None
    assert case.teacher.head.weight.grad is None


def test_a_head_that_is_the_embeddings_gets_both_gradients() -> None:
    case = Case()
    inputs = torch.arange(TOKENS) % 3
    targets = top(case.teacher, 4, 2.0)

    def hidden() -> Tensor:
        return functional.embedding(inputs, case.weight).tanh()

    ours = chunked_distillation(hidden(), Head(case.weight), targets, case.labels, chunk=3)
    theirs = logit_distillation(hidden() @ case.weight.T, targets, case.labels)
    parts = [case.weight]
    assert_same(with_gradients(ours, parts), with_gradients(theirs, parts))


def test_parts_with_one_normaliser_are_the_whole() -> None:
    case = Case()
    targets = top(case.teacher, 4, 2.0)
    _, *whole = with_gradients(case.chunked(targets, chunk=3), case.parts)
    for part in (slice(0, 1), slice(1, 5), slice(5, 7)):
        loss = chunked_distillation(
            case.hidden[part],
            Head(case.weight, case.bias),
            targets[part],
            case.labels[part],
            normaliser=torch.tensor(TOKENS),
            chunk=3,
        )
        loss.backward()  # type: ignore[no-untyped-call]
    assert_same([part.grad for part in case.parts if part.grad is not None], whole)


def test_padded_heads_lose_exactly_what_the_unpadded_do() -> None:
    case = Case()
    plain = with_gradients(case.chunked(case.teacher, chunk=3), case.parts)
    rows = drawn(5, HIDDEN, seed=8, scale=9.0)
    weight = torch.cat([case.weight.detach(), rows]).requires_grad_()
    bias = torch.cat([case.bias.detach(), rows[:, 0]]).requires_grad_()
    theirs = case.teacher.head
    longer = Head(torch.cat([theirs.weight, rows[:, :3]]), torch.cat([theirs.bias, rows[:, 0]]))  # type: ignore[list-item]
    loss = chunked_distillation(
        case.hidden,
        Head(weight, bias),
        TeacherStates(case.teacher.states, longer),
        case.labels,
        vocabulary=WORDS,
        chunk=3,
    )
    loss, to_hidden, to_weight, to_bias = with_gradients(loss, (case.hidden, weight, bias))
    assert not to_weight[WORDS:].any()
    assert not to_bias[WORDS:].any()
    cut = (loss, to_hidden, to_weight[:WORDS], to_bias[:WORDS])
    for found, expected in zip(cut, plain, strict=True):
        assert torch.equal(found, expected)


def test_an_answer_of_no_token_costs_nothing_and_every_process_has_its_gradient() -> None:
    case = Case(tokens=0)
    for targets in (case.teacher, top(case.teacher, 4, 2.0)):
        loss, *gradients = with_gradients(case.chunked(targets), case.parts)
        assert loss.item() == 0
        for part, gradient in zip(case.parts, gradients, strict=True):
            assert torch.equal(gradient, torch.zeros_like(part))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_sums_in_float32(dtype: torch.dtype) -> None:
    """Divided by so many tokens, a gradient of float16 would be 0 if it were divided first."""
    case = Case(tokens=200, words=300)
    targets = top(case.teacher, 4, 2.0)
    expected = with_gradients(case.whole(targets), case.parts)
    for name in ("hidden", "weight", "bias"):
        setattr(case, name, getattr(case, name).detach().to(dtype).requires_grad_())
    loss = case.chunked(targets, normaliser=1e7, chunk=16)
    assert loss.dtype == torch.float32
    gradients = torch.autograd.grad(loss * 5e4, case.parts)  # as a GradScaler would
    for ours, theirs in zip((loss / 200 * 1e7, *gradients), expected, strict=True):
        if ours.ndim:
            assert ours.dtype == dtype
            ours = ours.double() / 5e4 / 200 * 1e7
        near = 0.02 * theirs.abs().max().item()
        torch.testing.assert_close(ours.double(), theirs, rtol=0, atol=near)


def test_autocast_decides_on_the_products_alone() -> None:
    case = Case()
    targets = top(case.teacher, 4, 2.0)
    for name in ("hidden", "weight", "bias"):
        setattr(case, name, getattr(case, name).detach().float().requires_grad_())
    plain = with_gradients(case.chunked(targets), case.parts)
    with torch.autocast("cpu", torch.bfloat16):
        loss = case.chunked(targets)
    found = with_gradients(loss, case.parts)
    assert [each.dtype for each in found] == [torch.float32] * 4
    assert not torch.equal(found[1], plain[1])
    assert_same(found, plain, rtol=0.05, atol=0.02)


def test_evaluation_costs_no_gradient_and_a_gradient_is_had_once() -> None:
    case = Case()
    targets = top(case.teacher, 4, 2.0)
    loss = case.chunked(targets)
    with torch.no_grad():
        judged = case.chunked(targets)
    assert not judged.requires_grad
    torch.testing.assert_close(judged, loss.detach())
    torch.autograd.grad(loss, case.hidden, retain_graph=True)
    with pytest.raises(RuntimeError, match="inplace"):
        torch.autograd.grad(loss, case.hidden)


def test_shapes_that_do_not_fit_are_refused() -> None:
    case = Case()
    with pytest.raises(ValueError, match=r"states \(7, 3\), head \(13, 4\)"):
        chunked_distillation(case.hidden[:, :3], Head(case.weight), case.teacher, case.labels)
    with pytest.raises(ValueError, match="chunks of 0"):
        case.chunked(case.teacher, chunk=0)
    with pytest.raises(ValueError, match="labels are from -100"):
        chunked_distillation(case.hidden, Head(case.weight), case.teacher, case.labels - 100)
