"""From a teacher's logits through the store to the loss: against the loss of all of its logits."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from logit_helpers import fingerprint
from ragdistill.losses import (
    Head,
    LogitObjective,
    SparseTargets,
    chunked_distillation,
    logit_distillation,
)
from ragdistill.losses.logits import Divergence
from ragdistill.signals.distributions import TokenDistributions
from ragdistill.signals.logits import LogitCodec, Sampled, TopK
from ragdistill.signals.store import SignalStore
from signals_helpers import keys

V, LENGTHS = 40, (3, 1, 5, 0, 2)
TOKENS = sum(LENGTHS)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def stored(folder: Path, codec: LogitCodec, logits: Tensor) -> list[TokenDistributions]:
    """What comes back of answers with ``LENGTHS`` tokens, whose logits are ``logits`` [n, V]."""
    space = SignalStore(folder).space(fingerprint(codec), teacher="T")
    names = keys(range(len(LENGTHS)))
    parts = np.split(logits.numpy(), np.cumsum(LENGTHS)[:-1])
    with space.writer() as writer:
        for key, part in zip(names, parts, strict=True):
            labels = part.argmin(axis=1)  # What is least likely is kept all the same.
            rng = np.random.default_rng(list(key))
            writer.append([key], [codec.kept.take(part, labels, rng)])
    return list(space.get(names))


def loss_and_slope(
    student: Tensor, teacher: Tensor | SparseTargets, objective: LogitObjective
) -> tuple[Tensor, Tensor]:
    logits = student.clone().requires_grad_()
    loss = logit_distillation(logits, teacher, objective=objective)
    return loss.detach(), torch.autograd.grad(loss, logits)[0]


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("kind", ["forward", "reverse", "symmetric", "jsd"])
def test_all_ids_of_the_store_give_the_full_loss(
    kind: Divergence, temperature: float, tmp_path: Path
) -> None:
    student, teacher = drawn(TOKENS, V), drawn(TOKENS, V, seed=1)
    objective = LogitObjective(1.0, temperature, kind)
    codec = LogitCodec(V, TopK(1.0, V, temperature), bits=12, floor=16)
    targets = SparseTargets.of(stored(tmp_path, codec, teacher))
    ours, theirs = (loss_and_slope(student, told, objective) for told in (targets, teacher))
    torch.testing.assert_close(ours[0], theirs[0], rtol=5e-3, atol=1e-4)
    torch.testing.assert_close(ours[1], theirs[1], rtol=0.02, atol=2e-4)


def test_fewer_ids_of_the_store_give_the_loss_of_their_buckets(tmp_path: Path) -> None:
    student, teacher = drawn(TOKENS, V), drawn(TOKENS, V, seed=1)
    objective = LogitObjective(1.0, 2.0)
    codec = LogitCodec(V, TopK(0.55, 12, 2.0), bits=10)
    targets = SparseTargets.of(stored(tmp_path, codec, teacher))
    said = (teacher / 2).softmax(dim=1)
    exact = said.gather(1, targets.ids) * targets.real
    buckets = SparseTargets(targets.ids, exact, 1 - exact.sum(dim=1))
    assert 1 < int(targets.real.sum(dim=1).min()) < targets.ids.shape[1] <= 13
    ours, theirs, full = (
        loss_and_slope(student, told, objective) for told in (targets, buckets, teacher)
    )
    torch.testing.assert_close(ours[0], theirs[0], rtol=0.02, atol=1e-3)
    torch.testing.assert_close(ours[1], theirs[1], rtol=0.05, atol=2e-3)
    assert float(ours[0]) < float(full[0])  # No buckets tell more than all ids do.
    chunked = chunked_distillation(
        student, Head(torch.eye(V)), targets, objective=objective, chunk=3
    )
    torch.testing.assert_close(chunked, ours[0])


def test_draws_of_the_store_pull_as_all_logits_do(tmp_path: Path) -> None:
    student, teacher = drawn(TOKENS, V), drawn(TOKENS, V, seed=1)
    objective = LogitObjective(1.0, 1.0)
    codec, copies = LogitCodec(V, Sampled(6)), 300
    wide = LogitCodec(V, Sampled(4000))
    _, expected = loss_and_slope(student, teacher, objective)
    near = SparseTargets.of(stored(tmp_path, wide, teacher))
    torch.testing.assert_close(
        loss_and_slope(student, near, objective)[1] * TOKENS,
        expected * TOKENS,
        rtol=0,
        atol=2 / 4000,
    )
    rng = np.random.default_rng(0)
    said = [codec.kept.take(teacher.numpy(), teacher.argmin(1).numpy(), rng) for _ in range(copies)]
    targets = SparseTargets.of(said)
    repeated = student.repeat(copies, 1)
    slope = loss_and_slope(repeated, targets, objective)[1]
    found = slope.view(copies, TOKENS, V).sum(dim=0)
    probs = teacher.softmax(dim=1)
    error = (probs * (1 - probs) / (6 * copies)).sqrt() / TOKENS
    assert ((found - expected).abs() < 5 * error + 1e-7).all()


def test_rows_are_padded_with_what_has_no_probability(tmp_path: Path) -> None:
    answers = stored(tmp_path, LogitCodec(V, TopK(0.7, 9)), drawn(TOKENS, V))
    targets = SparseTargets.of(answers)
    assert len(targets) == TOKENS
    assert targets.ids.shape[1] == max(int(each.counts.max(initial=0)) for each in answers)
    whole = torch.zeros(TOKENS, V).scatter_add_(1, targets.ids, targets.probs)
    dense = torch.cat([torch.from_numpy(each.dense(V)) for each in answers])
    named = whole > 0
    torch.testing.assert_close(whole[named], dense[named])
    torch.testing.assert_close(whole.sum(dim=1) + targets.tail, torch.ones(TOKENS))
    assert len(SparseTargets.of([])) == len(SparseTargets.of([answers[3]])) == 0
