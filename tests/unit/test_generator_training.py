"""Fitting a causal student: what is shared, divided, accumulated, resumed or merged changes no number."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import TrainerCallback

from lesson_helpers import (
    CHECKPOINTS,
    batch_of,
    examples,
    gemma,
    gradients,
    llama,
    recipe,
    student,
    weights,
)
from ragdistill.losses import LogitObjective, logit_distillation
from ragdistill.losses.targets import SparseTargets
from ragdistill.training import fitting, language
from ragdistill.training.fitting import BLANK, COLUMN, Course
from ragdistill.training.reading import Reader
from ragdistill.training.schedule import Schedule
from ragdistill_generator import lesson as lessons
from ragdistill_generator.lesson import Batches, Example, Lesson, make_course
from ragdistill_generator.objective import AnswerLoss
from ragdistill_generator.training import fit, prepare

OBJECTIVE = LogitObjective(alpha=0.6, temperature=2.0)


def alone(network: Any, example: Example) -> Tensor:
    """The sum over the answer's tokens, from logits of the plain text."""
    ids = torch.tensor([[*example.beginning, *example.question, *example.answer]])
    said = network(input_ids=ids).logits[0, -len(example.answer) - 1 : -1]
    labels = torch.tensor(example.answer)
    if example.targets is None:
        return torch.nn.functional.cross_entropy(said, labels, reduction="sum")
    told = SparseTargets.of([example.targets])
    return logit_distillation(said, told, labels, OBJECTIVE, normaliser=1.0)


@pytest.mark.parametrize("make", [llama, gemma])
@pytest.mark.parametrize("together", [True, False])
def test_the_loss_is_that_of_each_example_alone(make: Callable[[], Any], together: bool) -> None:
    told = examples(8, taught=5)
    network, same = make(), make()
    loss = AnswerLoss(network, OBJECTIVE)(**batch_of(Lesson(told, 200, together=together)))
    loss.backward()
    tokens = sum(len(example.answer) for example in told)
    expected = sum((alone(same, example) for example in told), torch.zeros(())) / tokens
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    torch.testing.assert_close(gradients(network), gradients(same), rtol=1e-5, atol=1e-6)


def test_what_is_shared_is_read_once() -> None:
    told = examples(15, questions=5)
    shared, single = (Lesson(told, 500, together=each).rows(range(15)) for each in (True, False))
    assert len(shared) == 3
    assert len(single) == 15
    saved = sum(len(told[place].beginning) for place in range(15) if place % 5)
    tokens = [sum(len(row.tokens) for row in rows) for rows in (shared, single)]
    assert tokens[1] - tokens[0] == saved
    # Each row within the budget, none of the examples lost or doubled.
    narrow = Lesson(told, 40).rows(range(15))
    assert max(len(row.tokens) for row in narrow) <= 40
    assert sorted(span.place for row in narrow for span in row.spans) == list(range(15))


def test_a_live_teacher_is_what_its_distributions_say() -> None:
    network, teacher = llama(0), llama(1)
    batch = batch_of(Lesson(examples(8), 200))
    asked = AnswerLoss(network, OBJECTIVE, Reader(teacher))(**batch)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "position_ids")}
    said, told = (Reader(each).logits(inputs, batch["places"]) for each in (network, teacher))
    expected = logit_distillation(said, told, batch["labels"], OBJECTIVE)
    assert asked.item() == pytest.approx(expected.item(), rel=1e-6)
    bent = AnswerLoss(network, OBJECTIVE, Reader(gemma()))(**batch)
    assert math.isfinite(bent.item())
    # Of itself it has nothing to learn but the labels.
    itself = AnswerLoss(network, OBJECTIVE, Reader(network))(**batch)
    labels = AnswerLoss(network, LogitObjective(alpha=0))(**batch)
    assert itself.item() == pytest.approx(0.4 * labels.item(), rel=1e-6)


class Gradient(TrainerCallback):  # type: ignore[misc,unused-ignore]
    """Keeps what the optimiser is given."""

    kept: Tensor

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        parts = [part.grad for part in kwargs["model"].parameters() if part.grad is not None]
        Gradient.kept = torch.cat([part.flatten() for part in parts]).clone()


def one_step(
    tmp_path: Path, batches: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> tuple[Any, Tensor, Any]:
    """What was logged, the gradient and the weights after a step of 8 rows in ``batches``."""
    made = student()
    lesson = Lesson(examples(8, taught=4), 200, together=False)
    rows = lesson.rows(range(8))
    course = Course(8, Schedule(batches), Schedule([[0, 1], [2]]), [1] * len(batches))
    pace = recipe(accumulate=len(batches), clip=1e9)
    prepare(made.network, pace)
    monkeypatch.setattr(fitting, "MarkComplete", Gradient)
    loss = AnswerLoss(made.network, OBJECTIVE)
    folder = tmp_path / f"{len(batches)}/checkpoints"
    found = language.run(made.network, loss, course, Batches(lesson, rows), pace, folder, {})
    return found, Gradient.kept, weights(made)


def test_a_step_in_parts_is_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = one_step(tmp_path, [list(range(8))], monkeypatch)
    answers = [len(example.answer) for example in examples(8)]
    assert sum(answers[:4]) != sum(answers[4:])
    parts = one_step(tmp_path, [[0, 1, 2, 3], [4, 5, 6, 7]], monkeypatch)
    assert whole[0]["steps"] == parts[0]["steps"] == 1
    for ours, theirs in zip(whole[0]["losses"], parts[0]["losses"], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-6)
    torch.testing.assert_close(parts[1], whole[1], rtol=1e-5, atol=1e-6)
    for name, weight in whole[2].items():
        torch.testing.assert_close(parts[2][name], weight, rtol=0, atol=1e-5)


def test_the_held_out_loss_is_a_mean_over_tokens(tmp_path: Path) -> None:
    """Whatever batches it is taken in."""
    lesson, told = Lesson(examples(8, taught=4), 200, together=False), []
    for check in ([[0, 1, 2]], [[0], [1, 2]]):
        made = student()
        course = Course(8, Schedule([[4, 5]]), Schedule(check), [1])
        batches = Batches(lesson, lesson.rows(range(8)))
        loss = AnswerLoss(made.network, OBJECTIVE)
        pace = recipe(lr=0.0)
        found = language.run(made.network, loss, course, batches, pace, tmp_path / "c", {})
        told += [row["held_out"] for row in found["losses"] if "held_out" in row]
    rows = batch_of(replace(lesson, examples=lesson.examples[:3]))
    assert told[0] == pytest.approx(AnswerLoss(llama(), OBJECTIVE)(**rows).item(), rel=1e-6)
    assert told[0] == pytest.approx(told[1], rel=1e-6)


@pytest.mark.parametrize("together", [True, False])
def test_half_precision_is_the_same_but_for_rounding(together: bool) -> None:
    network = llama().float()
    batch = batch_of(Lesson(examples(8, taught=5), 200, together=together))
    whole = AnswerLoss(network, OBJECTIVE)(**batch)
    with torch.autocast("cpu", torch.bfloat16):
        half = AnswerLoss(network, OBJECTIVE, None)(**batch)
    half.backward()
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(whole.item(), rel=0.02)
    assert gradients(network).isfinite().all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("more", [{}, {"lora": 4, "accumulate": 2}])
def test_a_gpu_learns_the_same(tmp_path: Path, more: dict[str, Any]) -> None:
    told = []
    for device in ("cpu", "cuda"):
        made = student()
        made.network.float().to(device)
        lesson = Lesson(examples(40, taught=20), 90)
        found = fit(made, lesson, recipe(**more), tmp_path / device / CHECKPOINTS)
        told.append([row["held_out"] for row in found["losses"] if "held_out" in row])
    assert told[1] == pytest.approx(told[0], rel=0.05)


def test_a_share_without_rows_costs_nothing_and_has_a_gradient() -> None:
    lesson = Lesson(examples(4, taught=2), 200)
    network = llama()
    batch = Batches(lesson, lesson.rows(range(4)))([{COLUMN: BLANK}])
    loss = AnswerLoss(network, OBJECTIVE)(**batch)
    loss.backward()
    assert loss.item() == 0
    assert not gradients(network).any()


@pytest.mark.parametrize("more", [{}, {"lora": 4}, {"words": True}, {"accumulate": 2}])
def test_a_student_learns_its_lesson_by_heart(tmp_path: Path, more: dict[str, Any]) -> None:
    made = student()
    lesson = Lesson(examples(8), 200)
    names = set(made.network.state_dict())
    words = made.network.get_input_embeddings().weight.clone()
    quick = recipe(objective=LogitObjective(alpha=0), lr=2e-2, epochs=80, **more)
    found = fit(made, lesson, quick, tmp_path / CHECKPOINTS)
    train = [row["train"] for row in found["losses"] if "train" in row]
    # Only what is held out makes it stop before.
    assert train[-1] < 0.3 * train[0]
    assert found["read_together"]
    assert set(made.network.state_dict()) == names
    changed = not torch.equal(made.network.get_input_embeddings().weight, words)
    assert changed is more.get("words", False)
    assert not (tmp_path / CHECKPOINTS).exists()


@pytest.mark.parametrize("more", [{}, {"lora": 3, "accumulate": 2}])
def test_a_run_cut_short_ends_in_the_same_student(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]
) -> None:
    lesson, learn = Lesson(examples(40, taught=20), 90), recipe(**more)
    calm = student()
    found = fit(calm, lesson, learn, tmp_path / "calm" / CHECKPOINTS)
    step, calls = Batches.__call__, 0

    def cut_short(self: Batches, batch: Any) -> dict[str, Any]:
        nonlocal calls
        calls += 1
        if calls == 24:
            raise KeyboardInterrupt
        return step(self, batch)

    monkeypatch.setattr(lessons.Batches, "__call__", cut_short)
    folder = tmp_path / "hard" / CHECKPOINTS
    with pytest.raises(KeyboardInterrupt):
        fit(student(), lesson, learn, folder)
    assert list(folder.glob("*/complete"))
    hard = student()
    again = fit(hard, lesson, learn, folder)
    assert again["steps"] == found["steps"]
    assert again["losses"] == found["losses"]
    for name, weight in weights(calm).items():
        assert torch.equal(weights(hard)[name], weight)


def test_held_out_contexts_are_none_that_are_learnt_from() -> None:
    told = examples(90)
    lesson = Lesson(told, 90)
    learnt, apart = lesson.divided(seed=0)
    contexts = [{tuple(told[place].beginning) for place in side} for side in (learnt, apart)]
    assert not contexts[0] & contexts[1]
    assert len(contexts[1]) == 8
    assert sorted(learnt + apart) == list(range(90))
    course, rows, _ = make_course(lesson, epochs=2, seed=0)
    named = {place for batch in course.train for place in batch}
    assert named == {
        number for number, row in enumerate(rows) if {span.place for span in row.spans} <= {*learnt}
    }


def test_what_is_no_example_is_refused() -> None:
    good = examples(2, taught=1)[0]
    with pytest.raises(ValueError, match="an answer has tokens"):
        replace(good, answer=[], targets=None)
    with pytest.raises(ValueError, match="distributions"):
        replace(good, answer=[*good.answer, 3])
