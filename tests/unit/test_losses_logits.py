"""What a token's distribution costs, against definitions written out, with all logits at hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Categorical, kl_divergence
from torch.nn import functional

from ragdistill.losses import (
    LogitObjective,
    SparseTargets,
    answer_tokens,
    logit_distillation,
    token_divergences,
)
from ragdistill.losses.logits import Divergence

KINDS: list[Divergence] = ["forward", "reverse", "symmetric", "jsd"]


def drawn(*shape: int, seed: int = 0, scale: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)


def defined(student: Tensor, teacher: Tensor, kind: Divergence, beta: float) -> Tensor:
    """D of each row of probabilities, as the papers write it."""
    if kind == "jsd":
        mixed = Categorical(beta * teacher + (1 - beta) * student)
        theirs = kl_divergence(Categorical(teacher), mixed)
        return beta * theirs + (1 - beta) * kl_divergence(Categorical(student), mixed)
    forward = kl_divergence(Categorical(teacher), Categorical(student))
    reverse = kl_divergence(Categorical(student), Categorical(teacher))
    return {"forward": forward, "reverse": reverse, "symmetric": (forward + reverse) / 2}[kind]


def top(teacher: Tensor, count: int, temperature: float) -> SparseTargets:
    """Its likeliest ``count`` ids, the rest in the tail."""
    probs, ids = (teacher / temperature).softmax(dim=1).topk(count, dim=1)
    return SparseTargets(ids, probs, (1 - probs.sum(dim=1)).clamp(min=0))


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("kind", KINDS)
def test_divergences_are_what_the_papers_define(kind: Divergence, temperature: float) -> None:
    student, teacher = drawn(5, 11), drawn(5, 11, seed=1)
    objective = LogitObjective(1.0, temperature, kind, beta=0.3)
    expected = defined(
        (student / temperature).softmax(1), (teacher / temperature).softmax(1), kind, 0.3
    )
    torch.testing.assert_close(token_divergences(student, teacher, objective), expected)
    loss = logit_distillation(student, teacher, objective=objective)
    torch.testing.assert_close(loss, temperature**2 * expected.mean())


@pytest.mark.parametrize("kind", KINDS)
def test_sparse_divergences_are_those_of_the_buckets(kind: Divergence) -> None:
    student, teacher, temperature = drawn(4, 9), drawn(4, 9, seed=1), 2.0
    targets = top(teacher, 3, temperature)
    # A row that has less to say; what pads it is an id that it does name.
    ids, probs, tail = targets.ids.clone(), targets.probs.clone(), targets.tail.clone()
    tail[1] += probs[1, 2]
    ids[1, 2], probs[1, 2] = ids[1, 0], 0
    found = token_divergences(
        student, SparseTargets(ids, probs, tail), LogitObjective(1.0, temperature, kind, 0.3)
    )
    for row in range(4):
        named = ids[row, : 2 if row == 1 else 3]
        parts = []
        for logits in (student, teacher):
            said = (logits[row] / temperature).softmax(0)
            parts.append(torch.cat([said[named], (said.sum() - said[named].sum())[None]]))
        expected = defined(parts[0], parts[1], kind, 0.3)
        torch.testing.assert_close(found[row], expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_with_all_ids_sparse_is_full(kind: Divergence) -> None:
    student, teacher = drawn(4, 9).requires_grad_(), drawn(4, 9, seed=1)
    objective = LogitObjective(1.0, 2.0, kind, 0.3)
    sparse = top(teacher, 9, 2.0)
    found = []
    for targets in (SparseTargets(sparse.ids, sparse.probs, 0 * sparse.tail), teacher):
        loss = logit_distillation(student, targets, objective=objective)
        found.append((loss, *torch.autograd.grad(loss, student)))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_sampled_targets_pull_on_the_whole_distribution() -> None:
    """Weights that sum to 1 and no tail: the gradient is q - p, p being 0 where nothing was drawn."""
    student = drawn(2, 6).requires_grad_()
    ids, weights = torch.tensor([[4, 1], [0, 0]]), torch.tensor([[0.75, 0.25], [1.0, 0.0]])
    targets = SparseTargets(ids, weights, torch.zeros(2))
    loss = logit_distillation(student, targets, objective=LogitObjective(1.0, 1.0), normaliser=1)
    (slope,) = torch.autograd.grad(loss, student)
    said = torch.zeros(2, 6, dtype=torch.float64)
    said[0, 4], said[0, 1], said[1, 0] = 0.75, 0.25, 1
    torch.testing.assert_close(slope, student.softmax(1) - said)


def test_jsd_is_that_of_trl_times_the_square_of_the_temperature() -> None:
    """``generalized_jsd_loss`` of TRL 1.16 written out; ``benchmarks/logit_losses.py`` runs it."""
    student, teacher, temperature = drawn(4, 9), drawn(4, 9, seed=1), 2.0
    logs = [(each / temperature).log_softmax(1) for each in (student, teacher)]
    for beta in (0.0, 0.2, 0.9, 1.0):
        if beta in (0, 1):
            pair = logs if beta == 0 else logs[::-1]
            theirs = functional.kl_div(*pair, reduction="batchmean", log_target=True)
        else:
            mixed = torch.logsumexp(
                torch.stack([logs[0] + math.log1p(-beta), logs[1] + math.log(beta)]), dim=0
            )
            parts = [
                functional.kl_div(mixed, each, reduction="batchmean", log_target=True)
                for each in logs
            ]
            theirs = beta * parts[1] + (1 - beta) * parts[0]
        ours = logit_distillation(
            student, teacher, objective=LogitObjective(1.0, temperature, "jsd", beta)
        )
        torch.testing.assert_close(ours, temperature**2 * theirs)


def test_alpha_mixes_the_teacher_and_the_labels() -> None:
    student, teacher, labels = drawn(4, 9), drawn(4, 9, seed=1), torch.tensor([3, 0, 8, 3])

    def at(alpha: float) -> Tensor:
        return logit_distillation(student, teacher, labels, LogitObjective(alpha, 2.0))

    torch.testing.assert_close(at(0), functional.cross_entropy(student, labels))
    without = logit_distillation(student, teacher, objective=LogitObjective(1.0, 2.0))
    torch.testing.assert_close(at(1), without)
    torch.testing.assert_close(at(0.3), 0.3 * at(1) + 0.7 * at(0))


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    beta=st.floats(0, 1),
    temperature=st.floats(0.3, 5),
    scale=st.floats(0, 30),
    seed=st.integers(0, 99),
)
def test_no_divergence_is_negative_and_agreement_leaves_nothing_to_learn(
    kind: Divergence, beta: float, temperature: float, scale: float, seed: int
) -> None:
    objective = LogitObjective(1.0, temperature, kind, beta)
    student, teacher = drawn(3, 7, scale=scale, seed=seed), drawn(3, 7, seed=seed + 1)
    for targets in (teacher, top(teacher, 2, temperature)):
        assert token_divergences(student, targets, objective).min() > -1e-7
        agreed = (teacher + 5).requires_grad_()
        loss = logit_distillation(agreed, targets, objective=objective)
        (slope,) = torch.autograd.grad(loss, agreed)
        assert abs(loss.item()) < 1e-6
        assert slope.abs().max() < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_ids_that_no_tokenizer_has_are_no_part_of_it(kind: Divergence) -> None:
    student, teacher, labels = drawn(4, 9), drawn(4, 9, seed=1), torch.tensor([3, 0, 8, 3])
    objective = LogitObjective(0.5, 2.0, kind)

    def padded(logits: Tensor, by: int) -> Tensor:
        return torch.cat([logits, drawn(len(logits), by, seed=7, scale=9.0)], dim=1)

    plain = logit_distillation(student, teacher, labels, objective)
    for ours, theirs, known in ((0, 3, None), (2, 0, None), (2, 3, 9)):
        logits = padded(student, ours).requires_grad_()
        found = logit_distillation(logits, padded(teacher, theirs), labels, objective, None, known)
        assert torch.equal(found, plain)
        (slope,) = torch.autograd.grad(found, logits)
        assert not slope[:, 9:].any()
    # What that comes to: probability 0 for them, on the side that has them.
    masked = padded(teacher, 3).index_fill(1, torch.arange(9, 12), -torch.inf)
    torch.testing.assert_close(masked.softmax(1)[:, :9], teacher.softmax(1))
    sparse = top(teacher, 2, 2.0)
    torch.testing.assert_close(
        logit_distillation(padded(student, 2), sparse, labels, objective, None, 9),
        logit_distillation(student, sparse, labels, objective),
    )
    with pytest.raises(ValueError, match="10 ids, of which the student has 9, the teacher 12"):
        logit_distillation(student, padded(teacher, 3), labels, objective, vocabulary=10)


def test_the_heads_of_two_qwens() -> None:
    """151,936 and 152,064 rows, of which the tokenizer has 151,665."""
    teacher = drawn(2, 152_064, seed=1).float()
    student, labels = drawn(2, 151_936).float(), torch.tensor([0, 151_664])
    for known in (151_936, 151_665):
        plain = logit_distillation(student[:, :known].clone(), teacher[:, :known].clone(), labels)
        found = logit_distillation(student, teacher, labels, vocabulary=known)
        assert torch.equal(found, plain)


@pytest.mark.parametrize("sparse", [False, True])
def test_parts_with_one_normaliser_are_the_whole(sparse: bool) -> None:
    student, labels = drawn(5, 9).requires_grad_(), torch.tensor([3, 0, 8, 3, 1])
    teacher = drawn(5, 9, seed=1)
    targets = top(teacher, 3, 2.0) if sparse else teacher
    (whole,) = torch.autograd.grad(logit_distillation(student, targets, labels), student)
    for part in (slice(0, 1), slice(1, 5)):
        loss = logit_distillation(student[part], targets[part], labels[part], normaliser=5)
        loss.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(student.grad, whole)


def test_an_answer_of_no_token_costs_nothing() -> None:
    student = drawn(0, 9).requires_grad_()
    labels = torch.zeros(0, dtype=torch.int64)
    for teacher in (drawn(0, 9), top(drawn(0, 9), 3, 2.0)):
        loss = logit_distillation(student, teacher, labels)
        assert loss.item() == 0
        (slope,) = torch.autograd.grad(loss, student)
        assert slope.shape == (0, 9)


def test_answer_tokens_are_foretold_by_the_state_before() -> None:
    ids = torch.tensor([[5, 6, 7, 8], [9, 4, 3, 2]])
    labels = torch.tensor([[5, -100, 7, 8], [-100, -100, 3, -100]])
    # The state of a token says which token it was of.
    states, told = answer_tokens(ids.unsqueeze(2), labels)
    assert states.squeeze(1).tolist() == [6, 7, 4]
    assert told.tolist() == [7, 8, 3]
    none, _ = answer_tokens(ids.unsqueeze(2), torch.full((2, 4), -100))
    assert none.shape == (0, 1)
    with pytest.raises(ValueError, match=r"\[b, l, h\] and \[b, l\]"):
        answer_tokens(ids.unsqueeze(2), labels[:, 1:])


def test_what_cannot_be_meant_is_refused() -> None:
    student, ids = drawn(2, 9), torch.tensor([[0], [1]])
    targets = SparseTargets(ids, torch.full((2, 1), 0.5), torch.full((2,), 0.5))
    with pytest.raises(ValueError, match="no labels"):
        logit_distillation(student, targets)
    with pytest.raises(ValueError, match="2 tokens of the student against 1"):
        logit_distillation(student, targets[:1], torch.tensor([1, 1]))
    with pytest.raises(ValueError, match=r"labels \(1,\) of 2 tokens"):
        logit_distillation(student, targets, torch.tensor([1]))
    with pytest.raises(ValueError, match="labels are from -100 to 1, of 9 ids"):
        logit_distillation(student, targets, torch.tensor([1, -100]))
    with pytest.raises(ValueError, match="teacher's ids are from 0 to 1, of 1 ids"):
        logit_distillation(student, targets, torch.tensor([0, 0]), vocabulary=1)
    with pytest.raises(ValueError, match=r"\[n, k\], \[n, k\], \[n\]"):
        SparseTargets(ids, targets.probs, targets.probs)
    with pytest.raises(ValueError, match="int64"):
        SparseTargets(ids.int(), targets.probs, targets.tail)
    with pytest.raises(ValueError, match="alpha 2"):
        LogitObjective(alpha=2)
    with pytest.raises(ValueError, match="temperature of 0"):
        LogitObjective(temperature=0)
    with pytest.raises(ValueError, match="no divergence 'kl'; there are forward"):
        LogitObjective(divergence="kl")  # type: ignore[arg-type]
